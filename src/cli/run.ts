/**
 * `gateway run`: acquires the lock, listens, and keeps running. Also handles a start while another gateway is running.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { type Address, toUrl } from "../Address.ts"
import * as KernelLock from "../host/KernelLock.ts"
import * as LockFile from "../lock/LockFile.ts"
import { untilLost } from "../lock/LossReport.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import { lookAt } from "../probe/AddressProbe.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import { passedSocket } from "../supervisor/SocketActivation.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import * as SystemdNotify from "../supervisor/SystemdNotify.ts"
import { spanned } from "../telemetry/spans.ts"
import { print } from "./Stdout.ts"

export interface RunOptions {
  /** Wait without a time limit until the process that holds the lock ends, then take over its lock. */
  readonly standby: boolean
  /** Succeed if this gateway is already running and healthy. */
  readonly ensure: boolean
  /** The access token that clients must send. */
  readonly token: Redacted.Redacted | undefined
}

/**
 * The time that the gateway requests from systemd in addition to a wait, so that it can send its next notification in time.
 */
const notifyMargin = Duration.seconds(30)

/**
 * The maximum time that the gateway requests from systemd at once, because a wait may have no time limit. The gateway
 * requests time again at each change of the state that it waits in.
 */
const longestWait = Duration.minutes(10)

/**
 * The record in the lock file, if this gateway is already running and healthy. It is healthy if the instance that answers
 * the probe is the one that the record names.
 */
const runningHealthy = (config: GatewayConfig) =>
  Effect.gen(function*() {
    for (const record of yield* LockFile.readOwnersOf(config)) {
      const { host, instanceId, port } = record
      const looks = yield* Effect.flatMap(HealthProbe.HealthProbe, (health) => lookAt(health, { host, port }))
      if (looks.some(({ answer }) => answer._tag === "Healthy" && answer.instanceId === instanceId)) {
        return Option.some(record)
      }
    }
    return Option.none<OwnerRecord>()
  })

const sayRunning = (record: { readonly host: string; readonly port: number; readonly pid: number }) =>
  print(`gateway already running on ${toUrl(record)} (pid ${record.pid})`)

/** The final status text, which `systemctl status` shows after the gateway has ended. */
const finalStatus = (exit: Exit.Exit<unknown, { readonly message: string }>): string => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return "stopped"
  return Option.match(Cause.failureOption(exit.cause), {
    onNone: () => "ended by a defect",
    onSome: ({ message }) => `ended: ${message}`
  })
}

const serving = Effect.promise(() => import("./serve.ts"))

/**
 * Loads all code that a takeover needs before the start waits, because an upgrade may replace or remove the program's files
 * during the wait.
 */
const loadForTakeover = Effect.gen(function*() {
  yield* serving
  yield* Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor"))
  yield* Effect.promise(() => import("../page/findNeighbours.ts"))
  // `supported` loads the addon. Its failure is ignored here, because the acquisition handles a missing addon itself.
  const { supported } = yield* KernelLock.KernelLock
  yield* Effect.ignore(supported)
})

/**
 * Runs the gateway. The effect ends by interruption, by an error of the start or by `LockLost`. It succeeds only if
 * `ensure` is set and this gateway is already running and healthy.
 */
export const run = (config: GatewayConfig, options: RunOptions, facts: Supervisor.ProcessFacts) =>
  Effect.gen(function*() {
    const verdict = yield* Supervisor.make(config.supervisor, facts)
    const systemd = yield* Effect.provideService(SystemdNotify.make(facts.pid), Supervisor.Supervisor, verdict)
    if (verdict.kind !== "systemd" && Option.isSome(yield* SystemdNotify.notifySocket)) {
      yield* Effect.logInfo(
        `NOTIFY_SOCKET is set, but systemd is not notified: ${verdict.reason}; if this gateway is the service, use --supervisor systemd`
      )
    }
    yield* runNotifying(config, options, facts, verdict, systemd).pipe(
      // The status is sent after all resources are released, because systemd shows the last status even after the gateway
      // has ended.
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    )
  })

/** The inputs of a start: settings, options, supervisor and address. */
interface Start {
  readonly config: GatewayConfig
  readonly options: RunOptions
  readonly verdict: Supervisor.Verdict
  readonly systemd: SystemdNotify.SystemdNotify["Type"]
  readonly address: Address
  readonly passedSocket: number | undefined
  readonly beforeWaiting: Effect.Effect<void>
}

const lockLayer = ({ address, beforeWaiting, config, options, passedSocket, verdict }: Start) =>
  LockFile.layerWithProbes({
    stateDir: config.stateDir,
    configPath: config.configPath,
    configName: config.configName,
    address,
    isPassedSocket: passedSocket !== undefined,
    // A standby waits for the owner's end by itself, so the lock must not wait. Under a supervisor, `health.timeout` is the
    // limit of every wait for another owner, so the lock must not wait longer.
    lock: options.standby
      ? { ...config.lock, timeout: Duration.zero }
      : verdict.kind === "none"
      ? config.lock
      : { ...config.lock, timeout: Duration.min(config.lock.timeout, config.health.timeout) },
    health: config.health,
    beforeWaiting,
    supervisor: verdict.kind,
    supervisorReason: verdict.reason
  })

/** Acquires the lock, then serves. Fails if another process has the lock or the port. */
const startOnce = (start: Start) => {
  const { address, config, options, passedSocket, systemd, verdict: { kind: supervisor } } = start
  const Lock = lockLayer(start)
  // A layer releases what it has acquired if it fails, so that the next attempt starts without leftovers.
  const Started = Layer.scopedContext(Effect.gen(function*() {
    const lock = yield* Layer.build(Lock)
    // The server is loaded after the lock is acquired, so that a refused start does not load it.
    const { serve } = yield* serving
    yield* Effect.provide(serve(config, { passedSocket, supervisor, systemd, token: options.token }), lock)
    return lock
  }))
  return Effect.map(Layer.build(Started), (context) => Context.get(context, LockFile.LockFile)).pipe(
    spanned("gateway.start", {
      "gateway.profile": config.profile,
      "gateway.supervisor": supervisor,
      "server.address": address.host,
      "server.port": address.port
    })
  )
}

const recoveryOptions = ({ address, beforeWaiting, config, systemd, verdict }: Start): Recovery.RecoveryOptions => ({
  supervisor: verdict.kind,
  address,
  health: config.health,
  beforeWaiting,
  onWaiting: (waiting) =>
    systemd.notify(
      `STATUS=${waiting.status}`,
      SystemdNotify.extendTimeout(Duration.sum(Duration.min(waiting.for, longestWait), notifyMargin))
    )
})

const runNotifying = (
  config: GatewayConfig,
  options: RunOptions,
  facts: Supervisor.ProcessFacts,
  verdict: Supervisor.Verdict,
  systemd: SystemdNotify.SystemdNotify["Type"]
) =>
  Effect.gen(function*() {
    const kernel = yield* Effect.context<KernelLock.KernelLock>()
    const start: Start = {
      config,
      options,
      verdict,
      systemd,
      address: { host: config.host, port: config.port },
      passedSocket: Option.getOrUndefined(yield* passedSocket(facts.pid)),
      beforeWaiting: Effect.provide(loadForTakeover, kernel)
    }

    if (options.ensure) {
      const running = yield* runningHealthy(config)
      if (Option.isSome(running)) return yield* sayRunning(running.value)
    }
    const recover = options.standby ? Recovery.standby : Recovery.recover
    const lock = yield* recover(startOnce(start), recoveryOptions(start)).pipe(
      Effect.asSome,
      Effect.catchIf(
        // Another start of this gateway succeeded after the check above.
        (error) => options.ensure && (error._tag === "PortInUse" || error._tag === "OwnerHealthy"),
        (error) =>
          Effect.gen(function*() {
            const running = yield* runningHealthy(config)
            if (Option.isNone(running)) return yield* Effect.fail(error)
            yield* sayRunning(running.value)
            return Option.none<LockFile.LockFile["Type"]>()
          })
      )
    )
    if (Option.isSome(lock)) return yield* Effect.never
  }).pipe(
    Effect.scoped,
    untilLost,
    Effect.provideServiceEffect(HealthProbe.HealthProbe, HealthProbe.make(config.health))
  )
