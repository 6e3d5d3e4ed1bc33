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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { type Address, toUrl } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { at, PortOwners } from "../host/PortOwners.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import type * as LockInspection from "../lock/LockInspection.ts"
import type * as OwnerRecord from "../lock/OwnerRecord.ts"
import { PortProbe, type PortState } from "../probe/PortProbe.ts"
import { untilEnded, untilGone } from "./OwnerEnd.ts"
import { OwnerNotEnded, OwnerSupervised, type StopError } from "./StopError.ts"
import { commandOf, defaults, type Requirements, type StopOptions } from "./StopOptions.ts"
import * as SupervisedOwner from "./SupervisedOwner.ts"
import { currentAdvice, look, refused, signal } from "./VerifiedOwner.ts"

/** @internal */
export { isPortClosed } from "./OwnerEnd.ts"
export { isStopError, OwnerNotEnded, OwnerSupervised, OwnerUnverified, type StopError } from "./StopError.ts"
export { defaults, type Requirements, type StopOptions, type Waiting } from "./StopOptions.ts"

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
          timeout,
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
