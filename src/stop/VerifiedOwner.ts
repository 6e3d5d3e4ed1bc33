/**
 * Finds the owner of a lock that may be signalled, and signals it. An owner that is not verified is refused, with the reason
 * and what to type next.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { HostPlatform } from "../host/HostPlatform.ts"
import { hasOpen } from "../host/OpenFiles.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { type Signal, Signals } from "../host/Signals.ts"
import { type Advice, adviceFor } from "../internal/advice.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import type * as OwnerRecord from "../lock/OwnerRecord.ts"
import { OwnerUnverified } from "./StopError.ts"
import { commandOf, type Requirements, type StopOptions } from "./StopOptions.ts"

/** What a person can type on this platform. */
export const currentAdvice = Effect.map(HostPlatform, adviceFor)

const asOther = (options: StopOptions, advice: Advice): string =>
  `as its own user, or ${advice.asRoot(options.commandAsOther ?? commandOf(options))}`

const seeWhoHolds = (path: string, advice: Advice): string => `to see who has it: ${advice.whoHasFile(path)}`

/** The refusal of a stop. */
export const refused = (reason: string, advice: string, owner?: LockInspection.Owner) =>
  new OwnerUnverified({ reason, advice, ...(owner === undefined ? {} : { pid: owner.record.pid }) })

/** Why the process that a held lock's record names is not one to signal, by its pid's meaning. */
const whyNotSignalled = (
  owner: LockInspection.Owner,
  options: StopOptions,
  advice: Advice
): OwnerUnverified | undefined => {
  const { pid, pidNamespace } = owner.record
  switch (owner.holder.pidMeaning) {
    case "Alive":
      return undefined
    case "Gone":
      return refused(
        `its lock ${options.path} is held, and pid ${pid} of its record is no longer running`,
        seeWhoHolds(options.path, advice)
      )
    case "OtherPidNamespace": {
      const inode = /\d+/.exec(pidNamespace ?? "")?.[0]
      return refused(
        "it runs in another PID namespace, as in a container, where that number is its",
        `stop it there (docker stop, kubectl delete pod)${inode === undefined ? "" : `; to find it: lsns ${inode}`}`,
        owner
      )
    }
    case "OtherBoot":
      return refused("it runs on another machine, or did before a reboot", "stop it there", owner)
    default:
      return refused(
        "nothing can be told about that process from here",
        asOther(options, advice),
        owner
      )
  }
}

/** The owner of a lock that was just looked at, if it may be signalled; `None` where nobody has the lock. */
const verify = (
  state: LockInspection.LockState,
  options: StopOptions
): Effect.Effect<Option.Option<LockInspection.Owner>, OwnerUnverified, Requirements> =>
  Effect.gen(function*() {
    const { path } = options
    const advice = yield* currentAdvice
    if (state._tag === "Absent" || state._tag === "Left") return Option.none()
    const owner = Option.getOrUndefined(state.owner)
    if (owner === undefined) {
      return yield* state._tag === "Held"
        ? refused(`its lock ${path} is held, and its record does not say by whom`, seeWhoHolds(path, advice))
        : refused(
          `its lock ${path} cannot be looked at (${state.reason})`,
          asOther(options, advice)
        )
    }
    const why = whyNotSignalled(owner, options, advice)
    if (why !== undefined) return yield* why
    if (state._tag === "Unknown") return yield* refused(state.reason, seeWhoHolds(path, advice), owner)
    const { pid } = owner.record
    const { pid: self } = yield* Effect.flatMap(ProcessTable, (table) => table.self)
    if (pid === self) return yield* refused("it is this very process", "interrupt the program instead", owner)
    const ancestors = yield* Effect.flatMap(Signals, (signals) => signals.ancestors)
    if (ancestors.includes(pid)) {
      return yield* refused(
        "this command runs below it, and would end with it",
        `from a shell that it did not start: ${commandOf(options)}`,
        owner
      )
    }
    if (Option.contains(yield* hasOpen(pid, path), false)) {
      return yield* refused(
        `it does not have ${path} open, so that its record is another's`,
        seeWhoHolds(path, advice),
        owner
      )
    }
    return Option.some(owner)
  })

/**
 * A look, and a verdict. Whoever ends or begins at this very moment looks odd: no file open any more, no record yet. So a
 * refusal is what several looks come to.
 */
export const look = (
  options: StopOptions,
  isWanted: (state: LockInspection.LockState) => boolean = () => true
): Effect.Effect<
  { readonly state: LockInspection.LockState; readonly owner: Option.Option<LockInspection.Owner> },
  OwnerUnverified,
  Requirements
> =>
  Effect.gen(function*() {
    const state = yield* LockInspection.inspect(options.path)
    return { state, owner: isWanted(state) ? yield* verify(state, options) : Option.none() }
  }).pipe(Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(3))))

/** Looks, and signals if that very instance has the lock, verified, and needs the signal. */
export const signal = (
  instance: OwnerRecord.OwnerRecord,
  what: Signal,
  options: StopOptions
): Effect.Effect<boolean, OwnerUnverified, Requirements> =>
  Effect.gen(function*() {
    const signals = yield* Signals
    const advice = yield* currentAdvice
    // One that lets go meanwhile may leave a state that says nothing of it; it is waited for then.
    const { owner } = yield* look(options, (state) => isOf(state, instance))
    if (Option.isNone(owner)) return false
    // A second SIGTERM would cut its drain short.
    if (what === "SIGTERM" && owner.value.record.phase === "draining") return false
    return yield* signals.send(owner.value.record, what).pipe(
      Effect.as(true),
      Effect.catchAll((error) =>
        error.why === "Gone"
          ? Effect.succeed(false)
          : refused(
            error.reason,
            error.why === "NotPermitted"
              ? asOther(options, advice)
              : `to look at it: ${advice.showProcess(error.pid)}`,
            owner.value
          )
      )
    )
  })

/** Whether a lock is still that instance's, as far as its record tells. */
const isOf = (state: LockInspection.LockState, instance: OwnerRecord.OwnerRecord): boolean =>
  (state._tag === "Held" || state._tag === "Unknown")
  && Option.exists(state.owner, ({ record }) => record.instanceId === instance.instanceId)
