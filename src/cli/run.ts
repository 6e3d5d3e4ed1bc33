/**
 * `gateway run`: lock, then listen, then stay; and what a start does when somebody else is there.
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
  /** Wait for the present owner to end, for as long as it takes. */
  readonly standby: boolean
  /** Be content with this very gateway running healthy already. */
  readonly ensure: boolean
  /** What clients must show. */
  readonly token: Redacted.Redacted | undefined
}

/** Besides a wait itself, what systemd should grant until the next word from us. */
const notifyMargin = Duration.seconds(30)

/** For a supervisor without an end of patience: renewed at every change of state. */
const longestWait = Duration.minutes(10)

/** This very gateway, if it runs and is healthy: the lock's instance is the one that answers. */
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

/** What `systemctl status` shows of a gateway that has ended. */
const finalStatus = (exit: Exit.Exit<unknown, { readonly message: string }>): string => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return "stopped"
  return Option.match(Cause.failureOption(exit.cause), {
    onNone: () => "ended by a defect",
    onSome: ({ message }) => `ended: ${message}`
  })
}

const serving = Effect.promise(() => import("./serve.ts"))

/**
 * Loads all that a takeover needs. An upgrade may replace or remove the program's files while a start waits.
 */
const loadForTakeover = Effect.gen(function*() {
  yield* serving
  yield* Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor"))
  yield* Effect.promise(() => import("../page/findNeighbours.ts"))
  // Without the addon there is nothing to load.
  const { supported } = yield* KernelLock.KernelLock
  yield* Effect.ignore(supported)
})

/**
 * Ends by interruption, by a start error or by `LockLost`; successfully only where `ensure` is satisfied.
 */
export const run = (config: GatewayConfig, options: RunOptions, facts: Supervisor.ProcessFacts) =>
  Effect.gen(function*() {
    const verdict = yield* Supervisor.make(config.supervisor, facts)
    const systemd = yield* Effect.provideService(SystemdNotify.make(facts.pid), Supervisor.Supervisor, verdict)
    if (verdict.kind !== "systemd" && Option.isSome(yield* SystemdNotify.notifySocket)) {
      yield* Effect.logInfo(
        `NOTIFY_SOCKET is set, and systemd is not notified: ${verdict.reason}; if this gateway is the service, give --supervisor systemd`
      )
    }
    yield* runNotifying(config, options, facts, verdict, systemd).pipe(
      // After every release: systemd keeps this status.
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    )
  })

/** What a start knows of its process. */
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
    // A standby waits for the owner's end itself. Under a supervisor `health.timeout` bounds every wait for another owner.
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

/** Acquires the lock, then serves. */
const startOnce = (start: Start) => {
  const { address, config, options, passedSocket, systemd, verdict: { kind: supervisor } } = start
  const Lock = lockLayer(start)
  // A layer, because what it has acquired is released when it fails: the next try starts from nothing.
  const Started = Layer.scopedContext(Effect.gen(function*() {
    const lock = yield* Layer.build(Lock)
    // After the lock: a start that is refused does not load the server.
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
        // Somebody started it in the meantime.
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
