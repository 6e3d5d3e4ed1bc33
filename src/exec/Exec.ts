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
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type LeadershipLost, type LockLost, LockUnavailable } from "../GatewayLockError.ts"
import { type ChildExit, ChildProgram, type SpawnFailed, type StartedChild } from "../host/ChildProgram.ts"
import type { WatchdogFailed } from "../host/CommandWatchdog.ts"
import type { FileHolders } from "../host/FileHolders.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { ReceivedSignals } from "../host/ReceivedSignals.ts"
import type { Signals } from "../host/Signals.ts"
import { atMost } from "../internal/atMost.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { shown } from "../internal/WaitDisplay.ts"
import { LockFile } from "../lock/LockFile.ts"
import { holdersOf, pipeDelay, stopChild, type StopOptions } from "./StopCommand.ts"

export { stopChild } from "./StopCommand.ts"

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
      formatDuration(this.timeout)
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
export interface ExecOptions extends StopOptions {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** The environment of the command. `start` adds the variables that name the lock, the instance and the fencing token. */
  readonly env: Readonly<Record<string, string>>
  readonly readiness: Readiness
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

/** The errors of a command that has started. Those of a lease occur only with `lead`. */
export type Failure = NotReady | LockLost | LockUnavailable | LeadershipLost | WatchdogFailed

/** The services that `run` needs. */
export type Requirements = LockFile | ChildProgram | ReceivedSignals | ProcessTable | FileHolders | Signals

/** The signals of keys such as Ctrl+C. The kernel sends them to every process in the terminal's foreground process group. */
const fromKeys: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT", "SIGTSTP"])

/** The pauses between two checks of the command's readiness. The first are short, because many commands are ready at once. */
const soon = Schedule.exponential("50 millis", 1.3).pipe(Schedule.union(Schedule.spaced("1 second")))

/** The pauses between two checks after the start timeout. They are longer, because checks are costly and may never succeed. */
const later = Schedule.spaced("5 seconds")

/** The signals that ask a process to end. Many programs read their configuration again on SIGHUP, so SIGHUP is not one of them. */
const asksToEnd: ReadonlySet<NodeJS.Signals> = new Set(["SIGTERM", "SIGINT", "SIGQUIT"])

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
    const waiting = shown({
      text: Effect.succeed(mode === "require" ? `waiting for ${JSON.stringify(command)} to be ready: ${rule}` : ""),
      limit: startTimeout,
      isShared: true
    })
    if (Option.isSome(yield* waiting(Effect.timeoutOption(untilReady(soon), startTimeout)))) return yield* ready
    if (mode === "require") return yield* new NotReady({ command, rule, timeout: startTimeout })
    yield* Effect.logWarning(
      `${JSON.stringify(command)} is not ready after ${
        formatDuration(startTimeout)
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
  /** Whether the command leads a session of its own. */
  readonly leadsSession: boolean
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
 * The command waits until `attend` lets it begin in three cases:
 *
 * - Only the record enforces the lock. If the command began before the record names it, and this process were then killed, no
 *   record would name the running command. Another start could take over the lock.
 * - It gets sockets. It would otherwise begin while this process may still find that the start has failed.
 * - It needs the leadership. If it began before the watchdog guards it, and this process were then killed, it would run on.
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
    const { lead } = options
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
            GATEWAY_INSTANCE_ID: lock.instanceId,
            ...(lead === undefined ? {} : { GATEWAY_FENCING_TOKEN: String(lead.fencingToken) })
          },
          inherits: options.inheritsLock ? descriptors : [],
          sockets,
          newSession,
          waits: lock.enforcement === "record" || sockets.length > 0 || lead !== undefined
        })).pipe(Effect.scoped)
    const child = yield* Effect.acquireRelease(
      lock.withDescriptors(startWith),
      (child) => Effect.unlessEffect(stopChild(child, options), Ref.get(isOver))
    )
    return { child, isOver, leadsSession: newSession }
  })

/**
 * Writes the command's pid into the lock file's record, and lets the command begin. Fails with `LockUnavailable` if the pid cannot be
 * written and only the record enforces the lock. If this process were then killed, no record would name the running command.
 */
const begin = ({ child, leadsSession }: Running, { command, inheritsLock, lead }: ExecOptions) =>
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
    if (lead !== undefined) {
      yield* lead.guard({
        process: { pid, ...(startTime === undefined ? {} : { startTime }) },
        mark: child.mark,
        leadsSession
      })
      yield* lead.check
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
): Effect.Effect<ChildExit, Failure, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const { child, isOver } = running
    const lock = yield* LockFile
    const { lead } = options
    const lost = lead === undefined ? lock.lost : Effect.raceFirst(lock.lost, lead.lost)
    yield* begin(running, options)
    const wasAsked = yield* Deferred.make<void>()
    yield* relay(child, wasAsked, options)
    const failed = yield* Deferred.make<never, NotReady>()
    const readiness = yield* awaitReady(child, options).pipe(
      Effect.catchTag("NotReady", (error) => Deferred.fail(failed, error)),
      Effect.interruptible,
      Effect.forkScoped
    )
    const stopping = yield* Deferred.await(wasAsked).pipe(
      Effect.zipRight(
        shown({
          text: Effect.succeed(`waiting for ${JSON.stringify(options.command)} (pid ${child.pid}) to end`),
          isShared: true
        })(child.ended)
      ),
      Effect.interruptible,
      Effect.forkScoped
    )
    const ended = yield* child.ended.pipe(
      Effect.raceFirst(Deferred.await(failed)),
      Effect.raceFirst(lost)
    )
    yield* Fiber.interruptAll([readiness, stopping])
    // Mostly the end of the pipe is seen before the end of the command, and there is nothing to wait for.
    if (!(yield* child.isDeserted)) yield* Effect.raceFirst(awaitInheritors(child, wasAsked, options), lost)
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
): Effect.Effect<ChildExit, SpawnFailed | Failure, Requirements | Scope.Scope> =>
  Effect.flatMap(start(options), (running) => attend(running, options))
