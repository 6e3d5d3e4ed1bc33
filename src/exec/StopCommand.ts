/**
 * Stops the command of `gateway exec`, and all that it has started.
 */
import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { StartedChild } from "../host/ChildProgram.ts"
import { FileHolders } from "../host/FileHolders.ts"
import type { ProcessIdentity } from "../host/ProcessIdentity.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { type Signal, Signals } from "../host/Signals.ts"
import { atMost } from "../internal/atMost.ts"
import { shown } from "../internal/WaitDisplay.ts"
import type { Lead } from "./Lead.ts"

/** How long the command may take to stop. */
export interface StopOptions {
  /** How long the command may take to end after SIGTERM. After that time, the command and its descendants get SIGKILL. */
  readonly stopTimeout: Duration.Duration
  /** The leadership that the command needs. Once it is lost, SIGKILL may come before `stopTimeout` is over. */
  readonly lead?: Lead | undefined
}

/** How long to wait for killed processes to end before a warning, and how long to wait for processes that were not found. */
const killTimeout = Duration.seconds(2)

/**
 * The pids of the processes that have inherited the lock's open file from the command. A daemon among them is found too, although
 * it is no longer a descendant of the command.
 */
export const holdersOf = ({ mark }: StartedChild) =>
  Option.match(mark, {
    onNone: () => Effect.succeed([]),
    onSome: (mark) => Effect.flatMap(FileHolders, ({ holdersOf }) => holdersOf(mark))
  })

/** Sends a signal to these processes. A process that has ended is skipped, even if another process has its pid now. */
const signalAll = (processes: ReadonlyArray<ProcessIdentity>, signal: Signal) =>
  Effect.flatMap(
    Signals,
    ({ send }) => Effect.forEach(processes, (process) => Effect.ignore(send(process, signal)), { discard: true })
  )

const identifyAll = (pids: ReadonlyArray<number>) =>
  Effect.flatMap(ProcessTable, ({ identify }) => Effect.forEach(pids, identify))

/** These processes and all their descendants, children before parents. */
const familyOf = (pids: ReadonlyArray<number>) =>
  Effect.map(Effect.flatMap(ProcessTable, ({ tree }) => tree(pids)), Array.reverse)

/** The command and all its descendants, children before parents. Empty if the command has ended. */
const treeOf = (child: StartedChild): Effect.Effect<ReadonlyArray<ProcessIdentity>, never, ProcessTable> =>
  Effect.flatMap(child.hasEnded, (hasEnded) => hasEnded ? Effect.succeed([]) : familyOf([child.pid]))

const isAlive = (process: ProcessIdentity) =>
  Effect.map(
    Effect.flatMap(ProcessTable, ({ liveness }) => liveness(process)),
    (liveness) => liveness === "Alive"
  )

/**
 * The pause between two checks whether a descendant still lives. Checks are needed, because the kernel reports only the end of
 * this process's own children.
 */
const livenessInterval = Duration.millis(50)

/**
 * How long to wait for `deserted` after a process has ended. `deserted` completes when every process that inherited a certain
 * pipe has closed it. The kernel closes the descriptors of an ended process one after the other, so this can take a moment.
 */
export const pipeDelay = Duration.millis(100)

/** Completes when the command and the processes of `tree` have ended. */
const treeEnded = (child: StartedChild, tree: ReadonlyArray<ProcessIdentity>) =>
  Effect.forEach(tree, (process) =>
    isAlive(process).pipe(
      Effect.repeat({ while: (isAlive) => isAlive, schedule: Schedule.spaced(livenessInterval) })
    ), { discard: true }).pipe(Effect.zipRight(child.ended))

/**
 * Completes when the command and the processes of `tree` have ended, and each process that inherited the lock's descriptors has ended
 * or has closed them.
 */
const allEnded = (child: StartedChild, tree: ReadonlyArray<ProcessIdentity>) =>
  Effect.zipRight(treeEnded(child, tree), child.deserted)

/**
 * Waits until processes that got SIGKILL have ended. SIGKILL does not end a process that is blocked in the kernel, for example by a
 * file server that does not answer. The wait has no time limit: after it, the lock file is removed, and the next start would run its
 * command beside the blocked process.
 */
const awaitKilled = (child: StartedChild, tree: ReadonlyArray<ProcessIdentity>) =>
  Effect.gen(function*() {
    if (Option.isNone(yield* atMost(killTimeout)(treeEnded(child, tree)))) {
      yield* Effect.logWarning(
        `pid ${child.pid} or a process that it started is still running after SIGKILL, probably blocked in the kernel; waiting for its end`
      )
      yield* treeEnded(child, tree)
    }
    yield* atMost(killTimeout)(child.deserted)
  })

/**
 * Sends SIGKILL to the command and its descendants, the descendants first. If a parent died first, its children would get
 * another parent, and could no longer be found as descendants. SIGTERM may have ended some parents already. So `before`, the list
 * of the processes before SIGTERM, is searched too.
 */
const killTree = (child: StartedChild, before: ReadonlyArray<ProcessIdentity>) =>
  Effect.gen(function*() {
    const survivors = yield* Effect.filter(before, isAlive)
    const family = yield* familyOf(survivors.map(({ pid }) => pid))
    yield* signalAll([...family, ...(yield* treeOf(child))].filter(({ pid }) => pid !== child.pid), "SIGKILL")
    yield* child.signal("SIGKILL", "group")
    yield* child.signal("SIGKILL", "child")
    if (Option.isSome(yield* atMost(pipeDelay)(child.deserted))) return
    // A process that became a daemon is no longer a descendant. It is found by the lock's open file, which it inherited. A search
    // by the lock's path could kill the wrong process: after a loss of the lock, another owner may have a new file at that path.
    yield* signalAll(yield* identifyAll(yield* holdersOf(child)), "SIGKILL")
  })

/** Sends SIGTERM to the processes that inherited the lock from a command that has ended. They are found by the open lock file. */
const endInheritors = (child: StartedChild) =>
  Effect.flatMap(Effect.flatMap(holdersOf(child), identifyAll), (inheritors) => signalAll(inheritors, "SIGTERM"))

/** Whether `self` completes before `stopTimeout` is over, and before the loss of the leadership allows no more time. */
const inTime = <A, R>(
  { lead, stopTimeout }: StopOptions,
  self: Effect.Effect<A, never, R>
): Effect.Effect<boolean, never, R> =>
  Effect.as(self, true).pipe(
    lead === undefined ? (self) => self : Effect.raceFirst(Effect.as(lead.cut, false)),
    atMost(stopTimeout),
    shown({ text: Effect.succeed("waiting for the command to end"), limit: stopTimeout, isShared: true }),
    Effect.map(Option.getOrElse(() => false))
  )

/**
 * Stops the command with SIGTERM. If the command or a process that it started still lives after `stopTimeout`, all of them get
 * SIGKILL. Then waits until they have ended.
 */
export const stopChild = (
  child: StartedChild,
  options: StopOptions
): Effect.Effect<void, never, ProcessTable | FileHolders | Signals> =>
  Effect.gen(function*() {
    const before = yield* treeOf(child)
    yield* child.signal("SIGCONT", "group")
    yield* child.signal("SIGTERM", "group")
    if (yield* child.hasEnded) yield* endInheritors(child)
    if (yield* inTime(options, allEnded(child, before))) return
    yield* killTree(child, before)
    yield* awaitKilled(child, before)
  })
