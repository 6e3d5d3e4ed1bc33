/**
 * Ends the owner of a gateway's lock, and nobody else.
 *
 *     look → nobody                                     → was not running
 *          → an owner that is not verified              → refused, nobody is signalled
 *          → one that a supervisor runs, not `force`    → refused, with the supervisor's command
 *          → verified → draining already? wait : look again, SIGTERM, wait
 *                       not in time, `force`            → look again, SIGKILL, wait
 *
 * Verified is an owner whose lock is held, whose record is readable, whose process lives here and now under the recorded
 * pid, start time, boot and PID namespace, which (where the system tells) has the lock file open, and which is neither
 * this process nor an ancestor of it. Each signal has a look of its own, directly before it.
 *
 * It is over when that very instance has let go of the lock and its port is closed, whoever has either of them then.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as NodePath from "node:path"
import { type Address, toUrl } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { hasOpen } from "../host/OpenFiles.ts"
import { at, PortOwners } from "../host/PortOwners.ts"
import { parseProcStat, ProcessTable } from "../host/ProcessTable.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import { type Signal, Signals } from "../host/Signals.ts"
import { type Advice, adviceFor } from "../internal/advice.ts"
import { printable } from "../internal/printable.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as OwnerRecord from "../lock/OwnerRecord.ts"
import { PortProbe, type PortState } from "../probe/PortProbe.ts"
import * as SupervisedOwner from "./SupervisedOwner.ts"

const optionalPid = Schema.optionalWith(Schema.Number, { exact: true })
const pidOf = ({ pid }: { readonly pid?: number }): string => pid === undefined ? "" : ` (pid ${pid})`

/**
 * It cannot be told that ending this process ends the gateway, and only the gateway. Nobody was signalled, unless SIGTERM
 * is said to have been sent before. Exit status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerUnverified
  extends Schema.TaggedError<OwnerUnverified>("gateway-lock/OwnerUnverified")("OwnerUnverified", {
    pid: optionalPid,
    reason: Schema.String,
    /** What to type next. */
    advice: Schema.String
  })
{
  override get message() {
    return printable(`cannot stop the gateway${pidOf(this)}: ${this.reason}; ${this.advice}`)
  }
}

/**
 * The owner's supervisor would start it again, or take it for a failure. Nobody was signalled. Exit status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerSupervised
  extends Schema.TaggedError<OwnerSupervised>("gateway-lock/OwnerSupervised")("OwnerSupervised", {
    pid: Schema.Number,
    supervisor: Schema.String,
    /** What to type next. */
    advice: Schema.String
  })
{
  override get message() {
    return `the gateway (pid ${this.pid}) is in the hands of ${this.supervisor}; ${this.advice}`
  }
}

/**
 * The owner did not end in time. Exit status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerNotEnded extends Schema.TaggedError<OwnerNotEnded>("gateway-lock/OwnerNotEnded")("OwnerNotEnded", {
  pid: Schema.Number,
  /** How long was waited, in milliseconds. */
  timeoutMs: Schema.Number,
  /** Whether SIGKILL was sent. */
  killed: Schema.Boolean,
  /** What was still waited for. */
  waitingFor: Schema.String,
  /** What to type next. */
  advice: Schema.String
}) {
  override get message() {
    return `the gateway (pid ${this.pid}) did not end within ${this.timeoutMs}ms${
      this.killed ? " of SIGKILL" : ""
    }: ${this.waitingFor}; ${this.advice}`
  }
}

/**
 * What keeps a stop from succeeding, by `_tag`. Each has its `advice`.
 *
 * @since 0.1.0
 * @category errors
 */
export type StopError = OwnerUnverified | OwnerSupervised | OwnerNotEnded

/**
 * Whether a value is one of them.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isStopError: (u: unknown) => u is StopError = Schema.is(
  Schema.Union(OwnerUnverified, OwnerSupervised, OwnerNotEnded)
)

/**
 * Whose lock, and how patiently.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions {
  /** The lock file of the config. */
  readonly path: string
  /** Where the gateway listens by its settings: who is there is told where no owner is found. */
  readonly address: Address
  /** Names the service that a supervisor knows the owner by. */
  readonly profile: string
  /** How long the owner may take after SIGTERM: its drain timeout and `defaults.margin`, by rights. */
  readonly timeout: Duration.DurationInput
  /** SIGKILL after that. Default `false`. */
  readonly force?: boolean | undefined
  /** What becomes of an owner in the hands of a supervisor that has a command for it. Default: `refuse` without `force`. */
  readonly supervised?: "refuse" | "stop" | undefined
  /** The command that does this, as it was typed but for `--force`: advice repeats it. Default `gateway stop`. */
  readonly command?: string | undefined
  /** The same for another user, who has other folders. Default: `command`. */
  readonly commandAsOther?: string | undefined
  /** Is told what is waited for, every `progressInterval`. */
  readonly onWaiting?: ((waiting: Waiting) => Effect.Effect<void>) | undefined
  /** Default 3 seconds. */
  readonly progressInterval?: Duration.DurationInput | undefined
}

/**
 * What is waited for, while it is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Waiting {
  readonly pid: number
  /** In words. */
  readonly for: string
  /** Since the signal. */
  readonly elapsed: Duration.Duration
}

/**
 * - `NotRunning`: nobody has the lock. `left` is whom the file still names, `port` and `listeners` (in words) who is on the
 *   configured address.
 * - `Stopped`: the owner has let go of lock and port; `killed`: by SIGKILL. `successor` has the lock now.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome =
  | {
    readonly _tag: "NotRunning"
    readonly left: Option.Option<Holder>
    readonly port: PortState
    readonly listeners: ReadonlyArray<string>
  }
  | {
    readonly _tag: "Stopped"
    readonly record: OwnerRecord.OwnerRecord
    readonly killed: boolean
    readonly successor: Option.Option<Holder>
  }

/**
 * What holds where an option is left out, and what no option changes.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  /** Besides the drain: what the rest of a shutdown may take. */
  margin: Duration.seconds(5),
  /** What a process may take to be gone after SIGKILL. */
  killTimeout: Duration.seconds(5),
  progressInterval: Duration.seconds(3)
} as const

type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable | Signals | PortProbe | PortOwners

/** Between two looks, where nothing tells of a change: first often, since an idle gateway ends in a few milliseconds. */
const lookAgain = (looks: number): Duration.Duration =>
  Duration.min(Duration.times("10 millis", 1.5 ** Math.min(looks, 20)), "100 millis")

/** A process that has let go of everything is about to end; so long is waited for that too. */
const lastBreath = Duration.seconds(1)

const commandOf = ({ command }: StopOptions): string => command ?? "gateway stop"

const currentAdvice = Effect.map(HostPlatform, adviceFor)

const asOther = (options: StopOptions, advice: Advice): string =>
  `as its own user, or ${advice.asRoot(options.commandAsOther ?? commandOf(options))}`

const seeWhoHolds = (path: string, advice: Advice): string => `to see who has it: ${advice.whoHasFile(path)}`

// ---------------------------------------------------------------------------
// who is it?
// ---------------------------------------------------------------------------

const refused = (reason: string, advice: string, owner?: LockInspection.Owner) =>
  new OwnerUnverified({ reason, advice, ...(owner === undefined ? {} : { pid: owner.record.pid }) })

/** Why the process that a held lock's record names is not one to signal, by its pid's meaning. */
const stranger = (
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
    const why = stranger(owner, options, advice)
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
const look = (
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
const signal = (
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

// ---------------------------------------------------------------------------
// has it ended?
// ---------------------------------------------------------------------------

type Progress =
  | { readonly _tag: "Ended"; readonly successor: Option.Option<Holder> }
  | { readonly _tag: "Waiting"; readonly for: string }

const waiting = (what: string): Progress => ({ _tag: "Waiting", for: what })

/** Stopped by a signal or a debugger (proc(5)), where that can be told. */
const isSuspended = (pid: number): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(`/proc/${pid}/stat`)).pipe(
    Effect.map((text) => Option.exists(parseProcStat(text), ({ state }) => /^[Tt]$/.test(state))),
    Effect.orElseSucceed(() => false)
  )

/**
 * Whether a port is closed as far as an instance is concerned: nothing listens there, or another process does. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isPortClosed = (state: PortState, instanceId: string, isProcessGone: boolean): boolean => {
  switch (state._tag) {
    case "Free":
      return true
    case "Gateway":
      // A gateway that names no instance may be a program that the owner started: judged as any listener.
      return state.instanceId === undefined ? isProcessGone : state.instanceId !== instanceId
    case "Foreign":
      return isProcessGone
    case "Stalled":
      // Somebody who inherited the listening socket would look so.
      return false
  }
}

const describeAlive = (record: OwnerRecord.OwnerRecord) =>
  Effect.map(isSuspended(record.pid), (suspended) =>
    suspended
      ? `it is suspended (SIGSTOP), so that SIGTERM has to wait; kill -CONT ${record.pid} lets it go on`
      : record.phase === "draining"
      ? "it is draining"
      : `it is still ${record.phase}`)

const progress = (instance: OwnerRecord.OwnerRecord, path: string): Effect.Effect<Progress, never, Requirements> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const ports = yield* PortProbe
    const isGone = (yield* table.liveness(instance)) === "Gone"
    const state = yield* LockInspection.inspect(path)
    if (state._tag === "Unknown") return waiting(`its lock cannot be looked at (${state.reason})`)
    const other = state._tag === "Held"
      ? Option.filter(state.owner, ({ record }) => record.instanceId !== instance.instanceId)
      : Option.none()
    if (state._tag === "Held" && Option.isNone(other)) {
      return isGone
        ? waiting("its process has ended, and its lock is still held, perhaps by a child of it")
        : waiting(
          yield* describeAlive(Option.match(state.owner, { onNone: () => instance, onSome: ({ record }) => record }))
        )
    }
    const address = OwnerRecord.address(instance)
    const port = yield* ports.probe(address)
    return isPortClosed(port, instance.instanceId, isGone)
      ? { _tag: "Ended", successor: Option.map(other, ({ holder }) => holder) }
      : waiting(
        `its lock is free, and ${toUrl(address)} is still in use${port._tag === "Free" ? "" : ` (${port.detail})`}`
      )
  })

/** Whatever happens in the lock's folder: the last thing that an owner does is to remove its lock file. */
const changesBeside = (path: string): Effect.Effect<Queue.Dequeue<void>, never, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const changes = yield* Queue.sliding<void>(1)
    yield* fs.watch(NodePath.dirname(path)).pipe(
      Stream.runForEach(() => Queue.offer(changes, undefined)),
      // Where a folder cannot be watched, looking again now and then has to do.
      Effect.ignore,
      Effect.forkScoped
    )
    return changes
  })

/** Waits until the instance has ended. `None`: not in time; `last` says what was waited for. */
const untilEnded = (
  instance: OwnerRecord.OwnerRecord,
  options: StopOptions,
  timeout: Duration.Duration,
  last: Ref.Ref<string>
): Effect.Effect<Option.Option<Option.Option<Holder>>, never, Requirements> =>
  Effect.scoped(Effect.gen(function*() {
    const began = yield* Clock.currentTimeNanos
    const changes = yield* changesBeside(options.path)
    const { onWaiting } = options
    if (onWaiting !== undefined) {
      const interval = Duration.decode(options.progressInterval ?? defaults.progressInterval)
      yield* Effect.all([Ref.get(last), Clock.currentTimeNanos]).pipe(
        Effect.flatMap(([what, now]) =>
          onWaiting({ pid: instance.pid, for: what, elapsed: Duration.nanos(now - began) })
        ),
        Effect.schedule(Schedule.spaced(interval)),
        Effect.forkScoped
      )
    }
    const loop = (looks: number): Effect.Effect<Option.Option<Holder>, never, Requirements> =>
      Effect.flatMap(progress(instance, options.path), (now) =>
        now._tag === "Ended"
          ? Effect.succeed(now.successor)
          : Ref.set(last, now.for).pipe(
            Effect.zipRight(Effect.timeoutOption(Queue.take(changes), lookAgain(looks))),
            Effect.zipRight(loop(looks + 1))
          ))
    return yield* Effect.timeoutOption(loop(0), timeout)
  }))

/** Lets a process that has given everything back come to its end, for who looks for it afterwards. */
const untilGone = (instance: OwnerRecord.OwnerRecord) =>
  Effect.flatMap(ProcessTable, (table) => table.liveness(instance)).pipe(
    Effect.repeat({ while: (liveness) => liveness === "Alive", schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOption(lastBreath),
    Effect.asVoid
  )

// ---------------------------------------------------------------------------
// stop
// ---------------------------------------------------------------------------

/** The processes that listen there, as far as they can be seen. */
const whoListens = (address: Address): Effect.Effect<ReadonlyArray<string>, never, Requirements> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const seen = yield* Effect.flatMap(PortOwners, (owners) => owners.listeners(address.port))
    const listeners = seen._tag === "Seen" ? at(address, seen.listeners) : []
    const pids = [...new Set(listeners.flatMap(({ pid }) => pid ?? []))]
    return yield* Effect.forEach(pids, (pid) =>
      Effect.map(
        table.commandName(pid),
        Option.match({
          onNone: () => `pid ${pid}`,
          onSome: (command) => `pid ${pid} (${command})`
        })
      ))
  })

/** Nobody has the lock: fails where the gateway may serve nevertheless, because its lock file was removed. */
const notRunning = (state: LockInspection.LockState, options: StopOptions) =>
  Effect.gen(function*() {
    const { address, path } = options
    const port = yield* Effect.flatMap(PortProbe, (ports) => ports.probe(address))
    const listeners = port._tag === "Free" ? [] : yield* whoListens(address)
    // This program's gateways always name their instance: a responder without one is not this gateway.
    if ((port._tag === "Gateway" && port.instanceId !== undefined) || port._tag === "Stalled") {
      const by = listeners.length === 0 ? "" : ` by ${listeners.join(", ")}`
      return yield* refused(
        `nobody has its lock ${path}, and ${
          toUrl(address)
        } is in use${by} (${port.detail}): another gateway's, or this `
          + "one's whose lock file was removed",
        `to see who it is: ${(yield* currentAdvice).whoListens(address.port)}`
      )
    }
    const left = state._tag === "Left" ? Option.map(state.owner, ({ holder }) => holder) : Option.none<Holder>()
    return { _tag: "NotRunning", left, port, listeners } satisfies Outcome
  })

const refuseSupervised = (owner: LockInspection.Owner, options: StopOptions) =>
  Effect.gen(function*() {
    const { pid, supervisor } = owner.record
    const unit = supervisor === "systemd" ? yield* ServiceUnit.ofProcess(pid) : Option.none()
    const command = SupervisedOwner.stopCommand(supervisor, options.profile, unit)
    if (Option.isNone(command)) return
    return yield* new OwnerSupervised({ pid, supervisor, advice: `to stop it: ${command.value}` })
  })

/**
 * Ends the owner of a lock: SIGTERM, and with `force` SIGKILL if it does not end within `timeout`.
 *
 * Succeeds when its lock is free of it and its port closed, and where nobody has the lock. An owner that drains already is
 * not signalled again, which would cut its drain short; it is waited for. The shipped program takes the signals of several
 * stops at one time, before its record can say that it drains, for one.
 *
 * Fails with `OwnerUnverified` where it cannot be told that the process is the owner, `OwnerSupervised` where a
 * supervisor would start it again, `OwnerNotEnded` where it did not end in time.
 *
 * @example
 * import { Effect, Layer } from "effect"
 * import { Gateway, HealthProbe, LockFile, PortProbe, StopOwner } from "gateway-lock"
 *
 * const Machine = PortProbe.layer.pipe(
 *   Layer.provideMerge(HealthProbe.layer()),
 *   Layer.provideMerge(Gateway.layerNode)
 * )
 *
 * // By its lock file alone; Gateway.stop finds that from the options of the gateway.
 * const program = StopOwner.stop({
 *   path: LockFile.configLockPath({ stateDir: "/var/lib/importer", configPath: "/etc/importer.json" }),
 *   address: { host: "127.0.0.1", port: 18789 },
 *   profile: "default",
 *   timeout: "15 seconds"
 * }).pipe(
 *   Effect.catchTag("OwnerUnverified", ({ advice }) => Effect.logError(advice)),
 *   Effect.provide(Machine)
 * )
 *
 * @since 0.1.0
 * @category operations
 */
export const stop = (options: StopOptions): Effect.Effect<Outcome, StopError, Requirements> =>
  Effect.gen(function*() {
    const force = options.force === true
    const timeout = Duration.decode(options.timeout)
    const { owner, state } = yield* look(options)
    if (Option.isNone(owner)) return yield* notRunning(state, options)
    const { record } = owner.value
    if ((options.supervised ?? (force ? "stop" : "refuse")) === "refuse") yield* refuseSupervised(owner.value, options)

    const last = yield* Ref.make("it has just been told")
    const stopped = (killed: boolean) => (successor: Option.Option<Holder>) =>
      Effect.as(untilGone(record), { _tag: "Stopped", record, killed, successor } satisfies Outcome)
    const notEnded = (killed: boolean, timeout: Duration.Duration, advice: string) =>
      Effect.flatMap(Ref.get(last), (waitingFor) =>
        new OwnerNotEnded({
          pid: record.pid,
          timeoutMs: Duration.toMillis(timeout),
          killed,
          waitingFor,
          advice
        }))

    yield* signal(record, "SIGTERM", options)
    const ended = yield* untilEnded(record, options, timeout, last)
    if (Option.isSome(ended)) return yield* stopped(false)(ended.value)
    if (!force) {
      return yield* notEnded(false, timeout, `to end it at once: ${commandOf(options)} --force`)
    }
    const killed = yield* signal(record, "SIGKILL", options)
    const ended2 = yield* untilEnded(record, options, defaults.killTimeout, last)
    if (Option.isSome(ended2)) return yield* stopped(killed)(ended2.value)
    return yield* notEnded(killed, defaults.killTimeout, `to look at it: ps -o pid,stat,wchan,comm -p ${record.pid}`)
  })
