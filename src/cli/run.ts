/**
 * `gateway run`: lock, then listen, then stay; and what a start does when somebody else is there.
 */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { GatewayConfig } from "../GatewayConfig.ts"
import { spanned } from "../internal/spans.ts"
import * as LockFile from "../lock/LockFile.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import { untilLost } from "../LossReport.ts"
import { type Address, toUrl } from "../port/Address.ts"
import { lookAt } from "../port/AddressProbe.ts"
import * as HealthProbe from "../port/HealthProbe.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import { passedSocket } from "../supervisor/SocketActivation.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import * as SystemdNotify from "../supervisor/SystemdNotify.ts"

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
    const record = yield* LockFile.readOwner(LockFile.configLockPath(config))
    if (Option.isNone(record)) return Option.none<OwnerRecord>()
    const address: Address = { host: record.value.host, port: record.value.port }
    const { instanceId } = record.value
    const looks = yield* Effect.flatMap(HealthProbe.HealthProbe, (health) => lookAt(health, address))
    return looks.some(({ answer }) => answer._tag === "Healthy" && answer.instanceId === instanceId)
      ? record
      : Option.none<OwnerRecord>()
  })

const sayRunning = (record: { readonly host: string; readonly port: number; readonly pid: number }) =>
  Console.log(`gateway already running on ${toUrl(record)} (pid ${record.pid})`)

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
 * Ends by interruption, by a start error or by `LockLost`; successfully only where `ensure` is satisfied.
 */
export const run = (config: GatewayConfig, options: RunOptions, facts: Supervisor.ProcessFacts) =>
  Effect.flatMap(SystemdNotify.make(facts.pid), (systemd) =>
    runNotifying(config, options, facts, systemd).pipe(
      // After every release: systemd keeps this status.
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    ))

const runNotifying = (
  config: GatewayConfig,
  options: RunOptions,
  facts: Supervisor.ProcessFacts,
  systemd: SystemdNotify.SystemdNotify["Type"]
) =>
  Effect.gen(function*() {
    const { kind: supervisor, reason: supervisorReason } = yield* Supervisor.make(config.supervisor, facts)
    const passed = Option.getOrUndefined(yield* passedSocket(facts.pid))
    const address: Address = { host: config.host, port: config.port }

    const Lock = LockFile.layerWithProbes({
      stateDir: config.stateDir,
      configPath: config.configPath,
      address,
      isPassedSocket: passed !== undefined,
      // A standby waits for the owner's end itself. Under a supervisor `health.timeout` bounds every wait for another owner.
      timeout: options.standby
        ? Duration.zero
        : supervisor === "none"
        ? config.lockTimeout
        : Duration.min(config.lockTimeout, config.healthTimeout),
      pollInterval: config.lockPollInterval,
      staleAfter: config.lockStaleAfter,
      recheckInterval: config.lockRecheckInterval,
      healthProbeTimeout: config.healthProbeTimeout,
      supervisor,
      supervisorReason
    })
    // A layer, because what it has acquired is released when it fails: the next try starts from nothing.
    const Started = Layer.scopedContext(Effect.gen(function*() {
      const lock = yield* Layer.build(Lock)
      // After the lock: a start that is refused does not load the server.
      const { serve } = yield* serving
      yield* Effect.provide(serve(config, { passedSocket: passed, supervisor, systemd, token: options.token }), lock)
      return lock
    }))
    const start = Effect.map(Layer.build(Started), (context) => Context.get(context, LockFile.LockFile)).pipe(
      spanned("gateway.start", {
        "gateway.profile": config.profile,
        "gateway.supervisor": supervisor,
        "server.address": address.host,
        "server.port": address.port
      })
    )

    const recovery = {
      supervisor,
      address,
      retryInterval: config.healthRetryInterval,
      healthTimeout: config.healthTimeout,
      onWaiting: (waiting: { readonly status: string; readonly for: Duration.Duration }) =>
        systemd.notify(
          `STATUS=${waiting.status}`,
          SystemdNotify.extendTimeout(Duration.sum(Duration.min(waiting.for, longestWait), notifyMargin))
        )
    }

    if (options.ensure) {
      const running = yield* runningHealthy(config)
      if (Option.isSome(running)) return yield* sayRunning(running.value)
    }
    // While it waits there is time to load what a takeover needs.
    if (options.standby) yield* serving
    const lock = yield* (options.standby ? Recovery.standby(start, recovery) : Recovery.recover(start, recovery)).pipe(
      Effect.asSome,
      Effect.catchIf(
        // Somebody started it in the meantime.
        (error) => options.ensure && (error._tag === "PortInUse" || error._tag === "OwnerHealthy"),
        (error) =>
          Effect.flatMap(
            runningHealthy(config),
            Option.match({
              onNone: () => Effect.fail(error),
              onSome: (record) => Effect.as(sayRunning(record), Option.none<LockFile.LockFile["Type"]>())
            })
          )
      )
    )
    if (Option.isSome(lock)) return yield* Effect.never
  }).pipe(
    Effect.scoped,
    untilLost,
    Effect.provideServiceEffect(
      HealthProbe.HealthProbe,
      HealthProbe.make({ timeout: config.healthProbeTimeout })
    )
  )
