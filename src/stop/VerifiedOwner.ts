/**
 * Verifies that a process is the owner of a lock, and signals that owner. If the verification fails, the error has the reason and
 * what to type next.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { HostPlatform } from "../host/HostPlatform.ts"
import { hasOpen } from "../host/OpenFiles.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { type SignalFailed, Signals } from "../host/Signals.ts"
import { type Advice, adviceFor } from "../internal/advice.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import type * as OwnerRecord from "../lock/OwnerRecord.ts"
import { childOf } from "../lock/PresentProcess.ts"
import { familyOf, killAll } from "./KillAll.ts"
import { OwnerUnverified } from "./StopError.ts"
import { commandOf, type Requirements, type StopOptions } from "./StopOptions.ts"

/** The advice for this platform: the commands that error messages tell the user to type. */
export const currentAdvice = Effect.map(HostPlatform, adviceFor)

const asOther = (options: StopOptions, advice: Advice): string =>
  `run this command as its own user, or ${advice.asRoot(options.commandAsOther ?? commandOf(options))}`

const seeWhoHolds = (path: string, advice: Advice): string =>
  `to see which process has it: ${advice.showFileUsers(path)}`

/** Makes the error of a refused stop. */
export const refused = (reason: string, advice: string, owner?: LockInspection.Owner) =>
  new OwnerUnverified({ reason, advice, ...(owner === undefined ? {} : { pid: owner.process.pid }) })

/**
 * Returns `undefined` if the recorded pid is valid here and belongs to the live owner, so that the owner may be signalled.
 * Otherwise returns the error of the refused stop, because a signal to that pid could reach another process.
 */
const whyNotSignalled = (
  owner: LockInspection.Owner,
  options: StopOptions,
  advice: Advice
): OwnerUnverified | undefined => {
  const { pid, pidNamespace } = owner.process
  switch (owner.holder.pidMeaning) {
    case "Alive":
      return undefined
    case "Gone":
      return refused(
        `its lock ${options.path} is held, but pid ${pid} in its record is no longer running`,
        seeWhoHolds(options.path, advice)
      )
    case "OtherPidNamespace": {
      const inode = /\d+/.exec(pidNamespace ?? "")?.[0]
      return refused(
        "it runs in another PID namespace, such as a container, and its pid is valid only there",
        `stop it there (docker stop, kubectl delete pod)${inode === undefined ? "" : `; to find it: lsns ${inode}`}`,
        owner
      )
    }
    case "OtherBoot":
      return refused("it runs on another machine, or ran before a reboot", "stop it there", owner)
    default:
      return refused(
        "the state of that process is unknown here",
        asOther(options, advice),
        owner
      )
  }
}

/**
 * Whether the owner's process must have the lock file open. `gateway exec` is a wrapper that holds the lock for a command. If the
 * wrapper was killed, the command is the owner, and the record says whether the command inherited the open file. If not, only the
 * pid, start time, boot and PID namespace identify the command.
 */
const mustHaveOpen = ({ process, record }: LockInspection.Owner): boolean =>
  process.pid === record.pid || record.inheritsLock === true

/** Sends a signal. Returns `true` if the signal was sent, and `false` if the process had already ended. */
const unlessGone = (send: Effect.Effect<void, SignalFailed>): Effect.Effect<boolean, SignalFailed> =>
  Effect.catchIf(Effect.as(send, true), ({ why }) => why === "Gone", () => Effect.succeed(false))

/**
 * Sends SIGKILL to the command that the wrapper `gateway exec` started, and to all descendants of the command. SIGKILL to the
 * wrapper alone would leave them running. Skips a process that has already ended. Returns whether a signal was sent to at least
 * one process.
 */
const killCommand = ({ record }: LockInspection.Owner) => {
  const child = childOf(record)
  return child === undefined
    ? Effect.succeed(false)
    : Effect.map(killAll((found) => familyOf([child, ...found])), (killed) => killed.length > 0)
}

/**
 * Returns the owner that the state of the lock names, if this owner may be signalled. Returns `None` if no process holds the
 * lock. Otherwise fails with `OwnerUnverified`.
 */
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
        ? refused(`its lock ${path} is held, but its record names no owner`, seeWhoHolds(path, advice))
        : refused(
          `its lock ${path} cannot be inspected (${state.reason})`,
          asOther(options, advice)
        )
    }
    const why = whyNotSignalled(owner, options, advice)
    if (why !== undefined) return yield* why
    if (state._tag === "Unknown") return yield* refused(state.reason, seeWhoHolds(path, advice), owner)
    const { pid } = owner.process
    const { pid: self } = yield* Effect.flatMap(ProcessTable, (table) => table.self)
    if (pid === self) return yield* refused("it is this process itself", "interrupt the program instead", owner)
    const ancestors = yield* Effect.flatMap(Signals, (signals) => signals.ancestors)
    if (ancestors.includes(pid)) {
      return yield* refused(
        "this command runs under it and would end with it",
        `run this command from a shell that the gateway did not start: ${commandOf(options)}`,
        owner
      )
    }
    if (mustHaveOpen(owner) && Option.contains(yield* hasOpen(pid, path), false)) {
      return yield* refused(
        `it does not have ${path} open, so the record belongs to another process`,
        seeWhoHolds(path, advice),
        owner
      )
    }
    return Option.some(owner)
  })

/**
 * Inspects the lock. If `isWanted` accepts the state of the lock, verifies the owner as well. If the verification fails, both
 * steps are repeated up to three times, 50 ms apart, because the cause can be temporary. An owner that is just ending has already
 * closed its lock file, and an owner that is just starting has no record yet.
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

/**
 * Verifies the owner of the lock, and signals it if it is still the given instance (one run of a gateway). The owner can be
 * `gateway exec`, a wrapper that relays SIGTERM to its command. With SIGKILL, the command and its descendants get the signal first.
 *
 * Returns whether the signal was sent. The result is `false` if the instance has released the lock or has ended. It is also
 * `false` if the signal is SIGTERM and the instance is already draining.
 */
export const signal = (
  instance: OwnerRecord.OwnerRecord,
  what: "SIGTERM" | "SIGKILL",
  options: StopOptions
): Effect.Effect<boolean, OwnerUnverified, Requirements> =>
  Effect.gen(function*() {
    const signals = yield* Signals
    const advice = yield* currentAdvice
    // Before this call, the instance may have released the lock, and another process may have acquired it. That new owner is not
    // verified, because a refusal would be about the wrong process. The result is then `false`, and the caller waits until the
    // instance has ended.
    const { owner } = yield* look(options, (state) => isOf(state, instance))
    if (Option.isNone(owner)) return false
    const { process, record } = owner.value
    // If the owner is already draining, no SIGTERM is sent, because a second SIGTERM would cut the drain short. If the wrapper
    // `gateway exec` was killed, only its command is left. The recorded `phase` is that of the wrapper and not of the command, so
    // the command gets the signal in any phase.
    if (what === "SIGTERM" && record.phase === "draining" && process.pid === record.pid) return false
    const send = Effect.zipWith(
      what === "SIGKILL" ? killCommand(owner.value) : Effect.succeed(false),
      unlessGone(signals.send(process, what)),
      (toCommand, toOwner) => toCommand || toOwner
    )
    return yield* Effect.catchAll(send, (error) =>
      refused(
        error.reason,
        error.why === "NotPermitted"
          ? asOther(options, advice)
          : `to look at it: ${advice.showProcess(error.pid)}`,
        owner.value
      ))
  })

/** Whether the record of the lock still names the given instance. */
const isOf = (state: LockInspection.LockState, instance: OwnerRecord.OwnerRecord): boolean =>
  (state._tag === "Held" || state._tag === "Unknown")
  && Option.exists(state.owner, ({ record }) => record.instanceId === instance.instanceId)
