/**
 * Finds and stops the processes that keep the lock of a `gateway exec` that has ended.
 *
 * `gateway exec` is a wrapper that starts a command. The command inherits the lock's open files, and so do the processes that the
 * command starts. If the wrapper and the command have ended, such a process can still hold the lock. The record in the lock file
 * does not name it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { hasOpen } from "../host/OpenFiles.ts"
import { OpenLockFiles } from "../host/OpenLockFiles.ts"
import type { ProcessIdentity } from "../host/ProcessIdentity.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { Signals } from "../host/Signals.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import type * as OwnerRecord from "../lock/OwnerRecord.ts"
import { familyOf, killAll } from "./KillAll.ts"
import type { Requirements } from "./StopOptions.ts"

/**
 * Whether other processes can have inherited the lock of this owner. The record of a wrapper that was killed while it started its
 * command does not say whether the command inherited the lock.
 */
const isInheritable = ({ inheritsLock, mode }: OwnerRecord.OwnerRecord): boolean =>
  mode === "exec" && inheritsLock !== false

/** Whether the lock is held, but the wrapper and the command in its record have ended. Pure. */
export const isOrphaned = (state: LockInspection.LockState): Option.Option<OwnerRecord.OwnerRecord> =>
  state._tag === "Held" && state.enforcement === "kernel"
    ? state.owner.pipe(
      Option.filter(({ holder, record }) => holder.pidMeaning === "Gone" && isInheritable(record)),
      Option.map(({ record }) => record)
    )
    : Option.none()

/** A process that holds the lock. */
export interface Inheritor {
  readonly process: ProcessIdentity
  /** Its pid and the name of its program, in words. */
  readonly name: string
}

const nameOf = ({ pid }: ProcessIdentity) =>
  Effect.map(
    Effect.flatMap(ProcessTable, ({ commandName }) => commandName(pid)),
    (command) => Option.match(command, { onNone: () => `pid ${pid}`, onSome: (command) => `pid ${pid} (${command})` })
  )

/**
 * The processes that hold the lock of this instance, although its wrapper and its command have ended. Each of them has the lock file
 * itself open, and not another file of the same path. Empty if the system does not show them, or if the lock is now another
 * instance's. Never contains this process or an ancestor of it.
 */
export const inheritors = (
  instance: Pick<OwnerRecord.OwnerRecord, "instanceId">,
  path: string
): Effect.Effect<ReadonlyArray<Inheritor>, never, Requirements> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const pids = yield* Effect.flatMap(OpenLockFiles, ({ holders }) => holders(path))
    if (pids.length === 0) return []
    const spared = new Set([(yield* table.self).pid, ...(yield* Effect.flatMap(Signals, ({ ancestors }) => ancestors))])
    const processes = yield* Effect.forEach(pids.filter((pid) => !spared.has(pid)), table.identify)
    // A process may have ended since the search, and another process may have got its pid before `identify` read its start time.
    // So each process is checked once more.
    const holders = yield* Effect.filter(
      processes,
      ({ pid, startTime }) =>
        startTime === undefined
          ? Effect.succeed(false)
          : Effect.map(hasOpen(pid, path), Option.getOrElse(() => true))
    )
    const found = yield* Effect.forEach(
      holders,
      (process) => Effect.map(nameOf(process), (name): Inheritor => ({ process, name }))
    )
    // The lock may have passed to another owner meanwhile.
    const record = isOrphaned(yield* LockInspection.inspect(path))
    return Option.exists(record, ({ instanceId }) => instanceId === instance.instanceId) ? found : []
  })

/** Whether this process, or an ancestor of it, holds the lock. */
export const isHeldHere = (path: string): Effect.Effect<boolean, never, Requirements> =>
  Effect.gen(function*() {
    const { pid } = yield* Effect.flatMap(ProcessTable, (table) => table.self)
    const ancestors = yield* Effect.flatMap(Signals, (signals) => signals.ancestors)
    const pids = yield* Effect.flatMap(OpenLockFiles, ({ holders }) => holders(path))
    return pids.some((holder) => holder === pid || ancestors.includes(holder))
  })

/** The lock counts as left to its inheritors only after this time, in nanoseconds. Usually it is free a moment after its owner's end. */
const graceNanos = 100_000_000n

/** The time between two searches for inheritors, in nanoseconds. A search reads the open files of all processes. */
const searchNanos = 500_000_000n

/** Stops the inheritors of one lock. */
export interface Sweeper {
  /**
   * Finds the inheritors and signals them, but does nothing if the last search was a moment ago. Returns the inheritors that still
   * held the lock at the last search, in words.
   */
  readonly sweep: Effect.Effect<ReadonlyArray<string>, never, Requirements>
  /** All processes that were signalled so far, in words. */
  readonly signalled: Effect.Effect<ReadonlyArray<string>>
}

/**
 * Makes a `Sweeper`. With SIGTERM, each inheritor gets the signal once. With SIGKILL, the inheritors and their descendants are killed,
 * and those that they start meanwhile. `isDue` says that the lock is known to be left to its inheritors, so that the first call of
 * `sweep` searches.
 */
export const makeSweeper = (
  instance: OwnerRecord.OwnerRecord,
  path: string,
  signal: "SIGTERM" | "SIGKILL",
  isDue: boolean
): Effect.Effect<Sweeper> =>
  Effect.gen(function*() {
    const due = yield* Ref.make(isDue ? Option.some(yield* Clock.currentTimeNanos) : Option.none<bigint>())
    const seen = yield* Ref.make<ReadonlyArray<string>>([])
    const signalled = yield* Ref.make<ReadonlyMap<string, string>>(new Map())
    const note = ({ name, process: { pid, startTime } }: Inheritor) =>
      Ref.update(signalled, (all) => new Map(all).set(`${pid}:${startTime ?? ""}`, name))
    const wasSignalled = ({ process: { pid, startTime } }: Inheritor) =>
      Effect.map(Ref.get(signalled), (all) => all.has(`${pid}:${startTime ?? ""}`))

    const ask = (found: ReadonlyArray<Inheritor>) =>
      Effect.gen(function*() {
        const { send } = yield* Signals
        for (const inheritor of found) {
          if (yield* wasSignalled(inheritor)) continue
          yield* Effect.matchEffect(send(inheritor.process, "SIGTERM"), {
            onSuccess: () => note(inheritor),
            // The inheritor has ended, or belongs to another user. In the second case it keeps the lock, and the stop fails with
            // its name.
            onFailure: () => Effect.void
          })
        }
      })
    const kill = (found: ReadonlyArray<Inheritor>) =>
      killAll((before) =>
        Effect.flatMap(inheritors(instance, path), (now) => familyOf([...before, ...now.map(({ process }) => process)]))
      ).pipe(
        Effect.flatMap((killed) =>
          Effect.forEach(
            found.filter(({ process }) => killed.some(({ pid }) => pid === process.pid)),
            note,
            { discard: true }
          )
        ),
        Effect.ignore
      )
    return {
      signalled: Effect.map(Ref.get(signalled), (all) => [...all.values()]),
      sweep: Effect.gen(function*() {
        const now = yield* Clock.currentTimeNanos
        const then = yield* Ref.get(due)
        if (Option.isNone(then)) yield* Ref.set(due, Option.some(now + graceNanos))
        if (Option.isSome(then) && now >= then.value) {
          yield* Ref.set(due, Option.some(now + searchNanos))
          const found = yield* inheritors(instance, path)
          yield* Ref.set(seen, found.map(({ name }) => name))
          if (found.length > 0) yield* (signal === "SIGTERM" ? ask(found) : kill(found))
        }
        return yield* Ref.get(seen)
      })
    }
  })
