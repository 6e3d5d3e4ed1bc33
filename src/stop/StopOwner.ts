/**
 * Ends the owner of a gateway's lock, and no other process.
 *
 *     look → no owner                                   → not running
 *          → an owner that is not verified              → refuse, send no signal
 *          → a supervised owner, without `force`        → refuse, with the supervisor's command
 *          → a verified owner → already draining? wait : look again, SIGTERM, wait
 *                               timed out, `force`      → look again, SIGKILL, wait
 *
 * An owner is verified if all of these hold:
 *
 * - The lock is held, and its record (the JSON text in the lock file) is readable.
 * - A process with the recorded pid, start time, boot and PID namespace runs on this host.
 * - That process has the lock file open. This is checked only on operating systems that show the open files of a process. It is not
 *   checked for a command of `gateway exec` that did not inherit the open file.
 * - That process is neither the process that performs the stop nor an ancestor of it.
 *
 * The stop verifies the owner again directly before each signal.
 *
 * The stop ends when the verified owner has released the lock and closed its port. By then, another process may have the lock or
 * the port.
 *
 * `gateway exec` is a wrapper: it holds the lock, and runs another server as its command. SIGTERM goes to the wrapper, which relays
 * it, or to the command if the wrapper has ended. SIGKILL goes to the command and all its descendants, and then to the wrapper.
 * The stop of such an owner ends when the lock is free. If the wrapper and the command have ended, and other processes still hold
 * the lock that they inherited, the signals go to these processes. They are found by the lock file that they have open.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { type Address, toUrl } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { listenersAt, PortOwners } from "../host/PortOwners.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import type * as OwnerRecord from "../lock/OwnerRecord.ts"
import { PortProbe, type PortState } from "../probe/PortProbe.ts"
import * as InheritedLock from "./InheritedLock.ts"
import { describeInheritors, untilEnded, untilGone } from "./OwnerEnd.ts"
import { OwnerNotEnded, OwnerSupervised, type OwnerUnverified, type StopError } from "./StopError.ts"
import { commandOf, defaults, type Requirements, type StopOptions } from "./StopOptions.ts"
import * as SupervisedOwner from "./SupervisedOwner.ts"
import { currentAdvice, look, refused, signal } from "./VerifiedOwner.ts"

/** @internal */
export { isPortClosed } from "./OwnerEnd.ts"
export { isStopError, OwnerNotEnded, OwnerSupervised, OwnerUnverified, type StopError } from "./StopError.ts"
export { defaults, type Requirements, type StopOptions, type Waiting } from "./StopOptions.ts"

/**
 * The outcome of a stop.
 *
 * - `NotRunning`: no process holds the lock. `left` is the last holder, if the lock file still names it. `port` and `listeners`
 *   (in words) describe what listens on the configured address.
 * - `Stopped`: the owner has released its lock and closed its port. `killed` tells whether SIGKILL was sent. `successor` is the
 *   process that holds the lock now, if there is one.
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
    /**
     * The pid of the owner's process. If the owner was `gateway exec` and had already ended, the pid of the command that it ran. If
     * the command had ended too, the pid of a process that had inherited the lock from it.
     */
    readonly pid: number
    /** The processes, in words, that had inherited the lock from `gateway exec`, and were signalled after the end of its command. */
    readonly inheritors: ReadonlyArray<string>
    readonly record: OwnerRecord.OwnerRecord
    readonly killed: boolean
    readonly successor: Option.Option<Holder>
  }

/** The processes that listen on an address, in words, as far as this process can see them. */
const whoListens = (address: Address): Effect.Effect<ReadonlyArray<string>, never, Requirements> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const seen = yield* Effect.flatMap(PortOwners, (owners) => owners.listeners(address.port))
    const listeners = seen._tag === "Seen" ? listenersAt(address, seen.listeners) : []
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

/**
 * Returns the outcome of `gateway stop` for a lock that no process holds. The lock also looks free if the lock file was removed
 * while the gateway serves. So this function fails if a gateway may be serving on the address.
 */
const notRunning = (state: LockInspection.LockState, options: StopOptions) =>
  Effect.gen(function*() {
    const { address, path } = options
    const port = yield* Effect.flatMap(PortProbe, (ports) => ports.probe(address))
    const listeners = port._tag === "Free" ? [] : yield* whoListens(address)
    // A stalled listener accepts connections but does not answer, so it may be this gateway. A listener that answers without an
    // instance id is not this gateway, because a gateway of this program always names its instance.
    if ((port._tag === "Gateway" && port.instanceId !== undefined) || port._tag === "Stalled") {
      const by = listeners.length === 0 ? "" : ` by ${listeners.join(", ")}`
      return yield* refused(
        `no process holds its lock ${path}, but ${
          toUrl(address)
        } is in use${by} (${port.detail}): that is another gateway, `
          + "or this one after its lock file was removed",
        `to identify it: ${(yield* currentAdvice).showListeners(address.port)}`
      )
    }
    const left = state._tag === "Left" ? Option.map(state.owner, ({ holder }) => holder) : Option.none<Holder>()
    return { _tag: "NotRunning", left, port, listeners } satisfies Outcome
  })

const refuseSupervised = (
  { pid, record: { supervisor } }: { readonly pid: number; readonly record: OwnerRecord.OwnerRecord },
  options: StopOptions
) =>
  Effect.gen(function*() {
    const unit = supervisor === "systemd" ? yield* ServiceUnit.ofProcess(pid) : Option.none()
    const command = SupervisedOwner.stopCommand(supervisor, options.profile, unit)
    if (Option.isNone(command)) return
    return yield* new OwnerSupervised({ pid, supervisor, advice: `to stop it: ${command.value}` })
  })

/** The owner to stop. `inherited` says that it has ended, and that `pid` is a process that inherited its lock and still holds it. */
interface Found {
  readonly inherited: boolean
  readonly owner: Option.Option<{ readonly pid: number; readonly record: OwnerRecord.OwnerRecord }>
  readonly state: LockInspection.LockState
}

/**
 * Finds the owner and verifies it. If the owner was `gateway exec`, and the wrapper and its command have ended, finds the processes
 * that inherited the lock and still hold it. Fails like `look` if there is no such process.
 */
const lookForOwner = (options: StopOptions): Effect.Effect<Found, OwnerUnverified, Requirements> =>
  look(options).pipe(
    Effect.map(({ owner, state }): Found => ({
      inherited: false,
      owner: Option.map(owner, ({ process, record }) => ({ pid: process.pid, record })),
      state
    })),
    Effect.catchTag("OwnerUnverified", (error) =>
      Effect.gen(function*() {
        const state = yield* LockInspection.inspect(options.path)
        const record = InheritedLock.isOrphaned(state)
        if (Option.isNone(record)) return yield* error
        if (yield* InheritedLock.isHeldHere(options.path)) {
          return yield* refused(
            "this command runs under a process that holds the lock, and would end with it",
            `run this command from a shell that the gateway did not start: ${commandOf(options)}`
          )
        }
        const [first] = yield* InheritedLock.inheritors(record.value, options.path)
        if (first === undefined) return yield* error
        return { inherited: true, owner: Option.some({ pid: first.process.pid, record: record.value }), state }
      }))
  )

/**
 * Signals the owner, as `signal` does. If the owner has ended, and other processes still hold the lock that they inherited, sends
 * nothing and returns `false`.
 */
const signalUnlessInherited = (
  record: OwnerRecord.OwnerRecord,
  what: "SIGTERM" | "SIGKILL",
  options: StopOptions
): Effect.Effect<boolean, OwnerUnverified, Requirements> =>
  Effect.catchTag(
    signal(record, what, options),
    "OwnerUnverified",
    (error) =>
      Effect.flatMap(
        LockInspection.inspect(options.path),
        (state) => Option.isSome(InheritedLock.isOrphaned(state)) ? Effect.succeed(false) : error
      )
  )

/**
 * Ends the owner of a lock: sends SIGTERM, and with `force` SIGKILL if the owner does not end within `timeout`.
 *
 * Succeeds when the owner has released its lock and closed its port. Also succeeds if no process holds the lock at the beginning.
 *
 * If the owner is already draining (waiting until its requests in flight end), the stop sends no SIGTERM and only waits, because a
 * second SIGTERM would cut the drain short. The owner's record says `draining` a moment after the drain begins. Until then, several
 * stops at the same time can each send a SIGTERM. The shipped program `gateway` counts these signals as one.
 *
 * Fails with
 *
 * - `OwnerUnverified` if there is no proof that the process with the recorded pid is the owner;
 * - `OwnerSupervised` if a supervisor would restart the owner;
 * - `OwnerNotEnded` if the owner does not end in time.
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
 * // Stops the gateway that holds this lock file. Gateway.stop computes the path from the options of a gateway.
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
    const { inherited, owner, state } = yield* lookForOwner(options)
    if (Option.isNone(owner)) return yield* notRunning(state, options)
    const { pid, record } = owner.value
    if (!inherited && (options.supervised ?? (force ? "stop" : "refuse")) === "refuse") {
      yield* refuseSupervised(owner.value, options)
    }

    const last = yield* Ref.make("it was told to stop just now")
    const term = yield* InheritedLock.makeSweeper(record, options.path, "SIGTERM", inherited)
    const stopped = (killed: boolean, inheritors: ReadonlyArray<string>) => (successor: Option.Option<Holder>) =>
      Effect.as(
        untilGone(record),
        { _tag: "Stopped", pid, record, inheritors: [...new Set(inheritors)], killed, successor } satisfies Outcome
      )
    /** Signals the inheritors of the lock at once. The signal must not depend on `timeout`, which may be short. */
    const sweepNow = ({ sweep }: InheritedLock.Sweeper) =>
      Effect.flatMap(sweep, (names) => Ref.set(last, describeInheritors(names)))
    const notEnded = (killed: boolean, timeout: Duration.Duration, advice: string) =>
      Effect.flatMap(Ref.get(last), (waitingFor) =>
        new OwnerNotEnded({
          pid,
          timeout,
          killed,
          waitingFor,
          advice
        }))

    yield* inherited ? sweepNow(term) : signalUnlessInherited(record, "SIGTERM", options)
    const ended = yield* untilEnded(record, options, timeout, last, term)
    const asked = yield* term.signalled
    if (Option.isSome(ended)) return yield* stopped(false, asked)(ended.value)
    if (!force) {
      return yield* notEnded(false, timeout, `to end it at once: ${commandOf(options)} --force`)
    }
    const isLeft = inherited || asked.length > 0
    const kill = yield* InheritedLock.makeSweeper(record, options.path, "SIGKILL", isLeft)
    const killed = isLeft
      ? yield* Effect.as(sweepNow(kill), false)
      : yield* signalUnlessInherited(record, "SIGKILL", options)
    const ended2 = yield* untilEnded(record, options, defaults.killTimeout, last, kill)
    const swept = yield* kill.signalled
    const isKilled = killed || swept.length > 0
    if (Option.isSome(ended2)) return yield* stopped(isKilled, [...asked, ...swept])(ended2.value)
    return yield* notEnded(isKilled, defaults.killTimeout, `to look at it: ps -o pid,stat,wchan,comm -p ${pid}`)
  })
