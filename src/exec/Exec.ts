/**
 * Runs a command as a child of this process for as long as the lock is held.
 *
 *     start the child with the lock's descriptors → write its pid into the record → relay signals
 *       the child ends   → wait for processes that it left behind → release the lock, return how it ended
 *       the lock is lost → stop the child and its descendants, fail with `LockLost`
 *       not ready in time, and readiness is required → stop the child and its descendants, fail with `NotReady`
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type LockLost, LockUnavailable } from "../GatewayLockError.ts"
import { type ChildExit, ChildProgram, type SpawnFailed, type StartedChild } from "../host/ChildProgram.ts"
import { FileHolders } from "../host/FileHolders.ts"
import type { ProcessIdentity } from "../host/ProcessIdentity.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { ReceivedSignals } from "../host/ReceivedSignals.ts"
import { type Signal, Signals } from "../host/Signals.ts"
import { atMost } from "../internal/atMost.ts"
import { LockFile } from "../lock/LockFile.ts"

/**
 * The command had to become ready within `timeout`, but did not, so it was stopped.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReady extends Data.TaggedError("NotReady")<{
  readonly command: string
  readonly rule: string
  readonly timeout: Duration.Duration
}> {
  override get message() {
    return `${JSON.stringify(this.command)} was not ready (${this.rule}) within ${
      Duration.format(this.timeout)
    }, so it was stopped`
  }
}

/**
 * When the command counts as ready, for each `mode`.
 *
 * - `none`: as soon as it has started.
 * - `report`: when `isReady` returns `true`. If that takes longer than `startTimeout`, a warning is logged, and the command
 *   continues.
 * - `require`: when `isReady` returns `true`. If that takes longer than `startTimeout`, the command is stopped.
 *
 * @since 0.1.0
 * @category models
 */
export interface Readiness {
  readonly mode: "none" | "report" | "require"
  /** The rule in words, for messages. */
  readonly rule: string
  readonly isReady: (child: StartedChild) => Effect.Effect<boolean>
  /** Details for the warning that the command is not ready, such as the ports on which the command listens instead. */
  readonly describe: (child: StartedChild) => Effect.Effect<string>
  readonly startTimeout: Duration.Duration
}

/**
 * The command to run, and how to run it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExecOptions {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** The environment of the command. `run` adds only the two variables that name the lock and the instance. */
  readonly env: Readonly<Record<string, string>>
  readonly readiness: Readiness
  /** How long the command may take to end after SIGTERM. After that time, the command and its descendants get SIGKILL. */
  readonly stopTimeout: Duration.Duration
  /** Whether the command inherits the lock's descriptors, which keep the kernel lock after a SIGKILL of this process. */
  readonly inheritsLock: boolean
  /** Whether signals are relayed to the process group of the command instead of the command alone. */
  readonly toGroup: boolean
  /** Runs when the command is ready. */
  readonly onReady: Effect.Effect<void>
  /** Runs in the mode `report`, if the command is not ready after `startTimeout` and continues. */
  readonly onLate: Effect.Effect<void>
  /** The queue of the signals that this process receives. The caller has started to listen for them. */
  readonly signals: Queue.Dequeue<NodeJS.Signals>
}

/** The services that `run` needs. */
export type Requirements = LockFile | ChildProgram | ReceivedSignals | ProcessTable | FileHolders | Signals

/** The signals of keys such as Ctrl+C. The kernel sends them to every process in the terminal's foreground process group. */
const fromKeys: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT", "SIGTSTP"])

/** The pauses between two checks of the command's readiness. The first are short, because many commands are ready at once. */
const soon = Schedule.exponential("50 millis", 1.3).pipe(Schedule.union(Schedule.spaced("1 second")))

/** The pauses between two checks after the start timeout. They are longer, because checks are costly and may never succeed. */
const later = Schedule.spaced("5 seconds")

/** How long to wait for killed processes to end before a warning, and how long to wait for processes that were not found. */
const killTimeout = Duration.seconds(2)

/**
 * The pids of the processes that have inherited the lock's open file from the command. A daemon among them is found too, although
 * it is no longer a descendant of the command.
 */
const holdersOf = ({ mark }: StartedChild) =>
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
const pipeDelay = Duration.millis(100)

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

/** The signals that ask a process to end. Many programs read their configuration again on SIGHUP, so SIGHUP is not one of them. */
const asksToEnd: ReadonlySet<NodeJS.Signals> = new Set(["SIGTERM", "SIGINT", "SIGQUIT"])

/** Sends SIGTERM to the processes that inherited the lock from a command that has ended. They are found by the open lock file. */
const endInheritors = (child: StartedChild) =>
  Effect.flatMap(Effect.flatMap(holdersOf(child), identifyAll), (inheritors) => signalAll(inheritors, "SIGTERM"))

/**
 * Stops the command with SIGTERM. If the command or a process that it started still lives after `stopTimeout`, all of them get
 * SIGKILL. Then waits until they have ended.
 */
export const stopChild = (
  child: StartedChild,
  { stopTimeout }: Pick<ExecOptions, "stopTimeout">
): Effect.Effect<void, never, ProcessTable | FileHolders | Signals> =>
  Effect.gen(function*() {
    const before = yield* treeOf(child)
    yield* child.signal("SIGCONT", "group")
    yield* child.signal("SIGTERM", "group")
    if (yield* child.hasEnded) yield* endInheritors(child)
    if (Option.isSome(yield* atMost(stopTimeout)(allEnded(child, before)))) return
    yield* killTree(child, before)
    yield* awaitKilled(child, before)
  })

/**
 * Relays signals to the command. If this process is in the foreground of a terminal, the kernel has already sent the signal of a
 * key such as Ctrl+C to the command. A relay would deliver that signal twice.
 */
const relay = (child: StartedChild, wasAsked: Deferred.Deferred<void>, { signals, toGroup }: ExecOptions) =>
  Effect.gen(function*() {
    const { terminal } = yield* ReceivedSignals
    yield* Queue.take(signals).pipe(
      Effect.flatMap((signal) =>
        Effect.gen(function*() {
          if (asksToEnd.has(signal)) yield* Deferred.succeed(wasAsked, undefined)
          if (fromKeys.has(signal) && (yield* terminal) === "Foreground") return
          yield* child.signal(signal, toGroup ? "group" : "child")
        })
      ),
      Effect.forever,
      Effect.interruptible,
      Effect.forkScoped
    )
  })

/**
 * Waits until the command is ready, and then writes the phase `listening` into the lock files. Fails with `NotReady` if readiness
 * is required and the command is not ready in time.
 */
const awaitReady = (child: StartedChild, options: ExecOptions) =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const { command, onLate, onReady, readiness: { describe, isReady, mode, rule, startTimeout } } = options
    const ready = Effect.zipRight(lock.update({ phase: "listening" }), onReady)
    if (mode === "none") return yield* ready
    const untilReady = <A>(schedule: Schedule.Schedule<A>) =>
      Effect.repeat(isReady(child), { until: (isReady) => isReady, schedule })
    if (Option.isSome(yield* Effect.timeoutOption(untilReady(soon), startTimeout))) return yield* ready
    if (mode === "require") return yield* new NotReady({ command, rule, timeout: startTimeout })
    yield* Effect.logWarning(
      `${JSON.stringify(command)} is not ready after ${
        Duration.format(startTimeout)
      } (${rule}), but runs on: ${yield* describe(
        child
      )}`
    )
    yield* onLate
    yield* Effect.zipRight(untilReady(later), ready)
  })

/**
 * Logs a warning if processes that inherited the lock from the command still hold it, and waits until they have ended. If a signal asks
 * this process to end, before or during the wait, they are stopped instead. Otherwise they would keep the lock after the end of
 * this process.
 */
const awaitInheritors = (child: StartedChild, wasAsked: Deferred.Deferred<void>, options: ExecOptions) =>
  Effect.gen(function*() {
    if (Option.isSome(yield* atMost(pipeDelay)(child.deserted))) return
    yield* Effect.flatMap(LockFile, ({ update }) => update({ phase: "draining" }))
    if (!(yield* Deferred.isDone(wasAsked))) {
      const pids = yield* holdersOf(child)
      yield* Effect.logWarning(
        `${JSON.stringify(options.command)} ended, but processes that it started${
          pids.length === 0 ? "" : ` (${pids.map((pid) => `pid ${pid}`).join(", ")})`
        } still run and keep the lock; run it in the foreground, or use --no-inherit-lock`
      )
    }
    yield* Effect.raceFirst(child.deserted, Effect.zipRight(Deferred.await(wasAsked), stopChild(child, options)))
  })

/**
 * A command that was started by `start`. It may still wait, without having executed anything, until `attend` lets it begin.
 *
 * @since 0.1.0
 * @category models
 */
export interface Running {
  readonly child: StartedChild
  /** Whether the command and the processes that it left behind have ended. They need no stop then. */
  readonly isOver: Ref.Ref<boolean>
}

/**
 * Listening sockets for the command, as descriptors of this process. The scope closes these descriptors.
 *
 * @since 0.1.0
 * @category models
 */
export type Sockets<E, R> = Effect.Effect<ReadonlyArray<number>, E, R | Scope.Scope>

/** The names of passed sockets in `LISTEN_FDNAMES`: the socket of the host, and that of the guard address (`PortBinding`). */
const socketNames = ["gateway", "loopback"]

/** The variables that say which sockets are passed, as in sd_listen_fds(3). `ChildProgram` adds `LISTEN_PID`. */
const socketVariables = (sockets: ReadonlyArray<number>) =>
  sockets.length === 0 ? {} : {
    LISTEN_FDS: String(sockets.length),
    LISTEN_FDNAMES: sockets.map((_, index) => socketNames[index] ?? "unknown").join(":")
  }

/**
 * Starts the command. Until the scope closes, it is the caller's: if it still runs then, it is stopped.
 *
 * `sockets` are bound, passed to the command, and closed in this process, in one go. If this process kept a copy of a socket,
 * connections could queue on it after the command has ended, and no process would ever accept them.
 *
 * The command waits until `attend` lets it begin in two cases:
 *
 * - Only the record enforces the lock. If the command began before the record names it, and this process were then killed, no
 *   record would name the running command. Another start could take over the lock.
 * - It gets sockets. It would otherwise begin while this process may still find that the start has failed.
 *
 * @since 0.1.0
 * @category operations
 */
export const start = <E = never, R = never>(
  options: ExecOptions,
  sockets: Sockets<E, R> = Effect.succeed([])
): Effect.Effect<Running, SpawnFailed | E, Requirements | R | Scope.Scope> =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const programs = yield* ChildProgram
    const { terminal } = yield* ReceivedSignals
    const newSession = (yield* terminal) === "None"
    const isOver = yield* Ref.make(false)
    const startWith = (descriptors: ReadonlyArray<number>) =>
      // The sockets are bound last, because Node would accept connections on them if anything waited for the event loop now.
      Effect.flatMap(sockets, (sockets) =>
        programs.start({
          command: options.command,
          args: options.args,
          env: {
            ...options.env,
            ...socketVariables(sockets),
            GATEWAY_LOCK_PATH: lock.path,
            GATEWAY_INSTANCE_ID: lock.instanceId
          },
          inherits: options.inheritsLock ? descriptors : [],
          sockets,
          newSession,
          waits: lock.enforcement === "record" || sockets.length > 0
        })).pipe(Effect.scoped)
    const child = yield* Effect.acquireRelease(
      lock.withDescriptors(startWith),
      (child) => Effect.unlessEffect(stopChild(child, options), Ref.get(isOver))
    )
    return { child, isOver }
  })

/**
 * Writes the command's pid into the lock file's record, and lets the command begin. Fails with `LockUnavailable` if the pid cannot be
 * written and only the record enforces the lock. If this process were then killed, no record would name the running command.
 */
const begin = ({ child }: Running, { command, inheritsLock }: ExecOptions) =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const { pid, startTime } = yield* Effect.flatMap(ProcessTable, ({ identify }) => identify(child.pid))
    const isRecorded = yield* lock.update({
      child: { pid, ...(startTime === undefined ? {} : { startTime }) },
      inheritsLock
    })
    if (!isRecorded && lock.enforcement === "record") {
      return yield* new LockUnavailable({
        path: lock.path,
        reason: `the pid of ${JSON.stringify(command)} could not be written into the lock files, so it was not started`
      })
    }
    yield* child.begin
  })

/**
 * Lets a started command begin, and returns how it ended. While it runs, signals are relayed to it.
 *
 * Fails with `NotReady` if readiness is required and the command is not ready in time, and with `LockLost` if the lock is lost. If only
 * the record enforces the lock and the command cannot be recorded, fails with `LockUnavailable`, and the command does not begin.
 *
 * @since 0.1.0
 * @category operations
 */
export const attend = (
  running: Running,
  options: ExecOptions
): Effect.Effect<ChildExit, NotReady | LockLost | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const { child, isOver } = running
    const lock = yield* LockFile
    yield* begin(running, options)
    const wasAsked = yield* Deferred.make<void>()
    yield* relay(child, wasAsked, options)
    const failed = yield* Deferred.make<never, NotReady>()
    const readiness = yield* awaitReady(child, options).pipe(
      Effect.catchTag("NotReady", (error) => Deferred.fail(failed, error)),
      Effect.interruptible,
      Effect.forkScoped
    )
    const ended = yield* child.ended.pipe(
      Effect.raceFirst(Deferred.await(failed)),
      Effect.raceFirst(lock.lost)
    )
    yield* Fiber.interrupt(readiness)
    // Mostly the end of the pipe is seen before the end of the command, and there is nothing to wait for.
    if (!(yield* child.isDeserted)) yield* Effect.raceFirst(awaitInheritors(child, wasAsked, options), lock.lost)
    yield* Ref.set(isOver, true)
    return ended
  })

/**
 * Starts the command, and returns how it ended. While it runs, signals are relayed to it.
 *
 * Fails with `SpawnFailed` if the command cannot be started, with `NotReady` if readiness is required and the command is not ready
 * in time, and with `LockLost` if the lock is lost. In the last two cases, and if the effect is interrupted, the command is
 * stopped before the effect ends.
 *
 * @since 0.1.0
 * @category operations
 */
export const run = (
  options: ExecOptions
): Effect.Effect<ChildExit, SpawnFailed | NotReady | LockLost | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.flatMap(start(options), (running) => attend(running, options))
