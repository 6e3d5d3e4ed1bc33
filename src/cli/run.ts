/**
 * `gateway run`: acquires the lock, listens, and keeps running. Also handles a start while another gateway is running.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { type Address, toUrl } from "../Address.ts"
import type { LeaseUnavailable } from "../GatewayLockError.ts"
import * as KernelLock from "../host/KernelLock.ts"
import * as PortOwners from "../host/PortOwners.ts"
import * as QuickFiles from "../host/QuickFiles.ts"
import { atMost } from "../internal/atMost.ts"
import { reported } from "../internal/WaitDisplay.ts"
import * as LockFile from "../lock/LockFile.ts"
import { untilLost } from "../lock/LossReport.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import { presentProcess } from "../lock/PresentProcess.ts"
import { lookAt } from "../probe/AddressProbe.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as OwnerHealth from "../ready/OwnerHealth.ts"
import { loadReport } from "../report/loadReport.ts"
import { type GatewayConfig, isLeased } from "../settings/GatewayConfig.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import { passedSocket } from "../supervisor/SocketActivation.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import * as SystemdNotify from "../supervisor/SystemdNotify.ts"
import { spanned } from "../telemetry/spans.ts"
import { print } from "./Stdout.ts"

export interface RunOptions {
  /** Whether to wait without a time limit until the process that holds the lock ends, and then to take over its lock. */
  readonly standby: boolean
  /** Whether to succeed if this gateway is already running and healthy. */
  readonly ensure: boolean
  /** The access token that clients must send. */
  readonly token: Redacted.Redacted | undefined
  /** The URL of the lease store. `undefined`: there is no lease. */
  readonly leaseUrl: Redacted.Redacted | undefined
}

/**
 * While a start waits for another gateway, it asks systemd to extend the start timeout of the unit. It asks for the time of the
 * wait plus this margin, so that its next notification arrives before the timeout ends.
 */
export const notifyMargin = Duration.seconds(30)

/**
 * The maximum wait for which the gateway requests time from systemd in one notification. The limit is needed, because a wait
 * may have no time limit. The gateway requests time again each time `Recovery` calls `onWaiting`.
 */
const longestWait = Duration.minutes(10)

/**
 * The lock file's record of the owner, if this gateway is already running and healthy. If the record has a rule (`ready`), the
 * rule decides whether the owner is healthy. Otherwise the instance that the record names must answer the health probe.
 */
export const runningHealthy = (config: GatewayConfig) =>
  Effect.gen(function*() {
    for (const record of yield* LockFile.readOwnersOf(config)) {
      const { configPath, host, instanceId, port, ready, stateDir } = record
      if (ready !== undefined) {
        const answer = yield* OwnerHealth.probe(
          LockFile.configLockPath({ configPath, stateDir }),
          instanceId,
          config.health
        )
        if (answer._tag === "Healthy") {
          return Option.some({ ...record, pid: (yield* presentProcess(record)).process.pid })
        }
        continue
      }
      const looks = yield* Effect.flatMap(HealthProbe.HealthProbe, (health) => lookAt(health, { host, port }))
      if (looks.some(({ answer }) => answer._tag === "Healthy" && answer.instanceId === instanceId)) {
        return Option.some(record)
      }
    }
    return Option.none<OwnerRecord>()
  })

export const sayRunning = (record: { readonly host: string; readonly port: number; readonly pid: number }) =>
  print(`gateway already running${record.port === 0 ? "" : ` on ${toUrl(record)}`} (pid ${record.pid})`)

/** The final status text, which `systemctl status` shows after the gateway has ended. */
export const finalStatus = (exit: Exit.Exit<unknown, { readonly message: string }>): string => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return "stopped"
  return Option.match(Cause.failureOption(exit.cause), {
    onNone: () => "ended by a defect",
    onSome: ({ message }) => `ended: ${message}`
  })
}

/** Loads the server, and what a gateway that loses its lock needs to report that. */
const serving = ({ logFormat }: Pick<GatewayConfig, "logFormat">) =>
  Effect.zipRight(
    Effect.when(loadReport, () => Option.contains(logFormat, "json")),
    Effect.promise(() => import("./serve.ts"))
  )

/**
 * Loads all code that the start needs after it has waited for the lock of another gateway. The code is loaded before the wait,
 * because an upgrade may replace or remove the program's files during the wait.
 */
const loadForTakeover = (config: Pick<GatewayConfig, "logFormat">, isLeased: boolean) =>
  Effect.gen(function*() {
    yield* serving(config)
    if (isLeased) yield* Effect.promise(() => import("./lead.ts"))
    yield* Effect.promise(() => import("@effect/platform-node/NodeCommandExecutor"))
    yield* Effect.promise(() => import("../page/findNeighbours.ts"))
    yield* Effect.promise(() => import("../page/monitoring.ts"))
    // `supported` loads the addon for kernel locks. A failure is ignored here, because `LockFile` handles a missing addon when it
    // acquires the lock.
    const { supported } = yield* KernelLock.KernelLock
    yield* Effect.ignore(supported)
  })

/** A rehearsal takes about a tenth of a second of processor time. A wait must not begin later because a rehearsal hangs. */
const longestRehearsal = Duration.seconds(2)

/**
 * Rehearses the takeover for which a start waits. With an exporter of metrics and spans, nothing is rehearsed, because the exporter
 * would export the rehearsal.
 */
const rehearseTakeover = (start: Start, options: RunOptions) =>
  Effect.gen(function*() {
    if (yield* FiberRef.get(FiberRef.currentTracerEnabled)) return
    const { rehearse, silentSystemd } = yield* Effect.promise(() => import("./rehearsal.ts"))
    const address = { host: "127.0.0.1", port: start.address.port }
    const rehearsed: Start = {
      ...start,
      address,
      config: { ...start.config, ...address, drainTimeout: Duration.zero },
      passedSocket: undefined,
      systemd: silentSystemd,
      beforeWaiting: Effect.void
    }
    yield* atMost(longestRehearsal)(
      rehearse(start.config, address, startOnce(rehearsed, { token: options.token, leaseUrl: undefined }))
    )
  })

/** Detects the supervisor of this process, and makes the service that sends notifications to systemd. */
export const supervision = (config: Pick<GatewayConfig, "supervisor">, facts: Supervisor.ProcessFacts) =>
  Effect.gen(function*() {
    const verdict = yield* Supervisor.make(config.supervisor, facts)
    const systemd = yield* Effect.provideService(SystemdNotify.make(facts.pid), Supervisor.Supervisor, verdict)
    if (verdict.kind !== "systemd" && Option.isSome(yield* SystemdNotify.notifySocket)) {
      yield* Effect.logInfo(
        `NOTIFY_SOCKET is set, but systemd is not notified: ${verdict.reason}; if this gateway is the service, use --supervisor systemd`
      )
    }
    return { verdict, systemd }
  })

/**
 * Runs the gateway. The effect ends by interruption, by an error of the start or by `LockLost`. It succeeds only if
 * `ensure` is set and this gateway is already running and healthy.
 */
export const run = (config: GatewayConfig, options: RunOptions, facts: Supervisor.ProcessFacts) =>
  Effect.gen(function*() {
    const { systemd, verdict } = yield* supervision(config, facts)
    yield* runNotifying(config, options, facts, verdict, systemd).pipe(
      // systemd shows the last status that it received, even after the gateway has ended. So this status is sent last, after
      // all resources are released.
      Effect.onExit((exit) => systemd.notify(`STATUS=${finalStatus(exit)}`))
    )
  })

/** The inputs of a start: settings, options, supervisor and address. */
export interface Start {
  readonly config: GatewayConfig
  readonly options: Pick<RunOptions, "standby">
  readonly verdict: Supervisor.Verdict
  readonly systemd: SystemdNotify.SystemdNotify["Type"]
  readonly address: Address
  readonly passedSocket: number | undefined
  readonly beforeWaiting: Effect.Effect<void>
}

/** The options with which a start acquires the lock. */
export const lockOptions = (
  { address, beforeWaiting, config, options, passedSocket, verdict }: Start
): LockFile.LockWithProbesOptions => ({
  stateDir: config.stateDir,
  configPath: config.configPath,
  configName: config.configName,
  address,
  isPassedSocket: passedSocket !== undefined,
  // With `--standby`, `Recovery.standby` waits until the owner of the lock ends. So an attempt to acquire the lock does not wait.
  // Under a supervisor, `health.timeout` limits every wait for another owner. So an attempt does not wait longer than that.
  lock: options.standby
    ? { ...config.lock, timeout: Duration.zero }
    : verdict.kind === "none"
    ? config.lock
    : { ...config.lock, timeout: Duration.min(config.lock.timeout, config.health.timeout) },
  health: config.health,
  beforeWaiting,
  supervisor: verdict.kind,
  supervisorReason: verdict.reason,
  keepsFirst: isLeased(config.lease)
})

/** What a gateway does once it serves: with a lease, it waits to lead. It never ends by itself. */
class Lead
  extends Context.Tag("gateway-lock/cli/Lead")<Lead, Effect.Effect<never, LeaseUnavailable, FileSystem.FileSystem>>()
{}

/** Acquires the lock, then serves. Fails if another process has the lock or the port. */
const startOnce = (start: Start, { leaseUrl, token }: Pick<RunOptions, "leaseUrl" | "token">) => {
  const { address, config, passedSocket, systemd, verdict: { kind: supervisor } } = start
  const Lock = LockFile.layerWithProbes(lockOptions(start))
  // The lock and the server are acquired in one layer. If this layer fails, it releases what it has acquired, so the next
  // attempt to start does not find resources of this attempt.
  const Started = Layer.scopedContext(Effect.gen(function*() {
    const lock = yield* Layer.build(Lock)
    // The server's code is loaded after the lock is acquired, so that a start that does not get the lock does not load it.
    const { serve } = yield* serving(config)
    // From here on, a file that is read at once would delay the answers to requests.
    MutableRef.set(yield* QuickFiles.IsAlone, false)
    const lead = yield* Effect.provide(serve(config, { passedSocket, supervisor, systemd, token, leaseUrl }), lock)
    return Context.make(Lead, lead === undefined ? Effect.never : Effect.provide(lead, lock))
  }))
  return Effect.map(Layer.build(Started), (context) => Context.get(context, Lead)).pipe(
    spanned("gateway.start", {
      "gateway.profile": config.profile,
      "gateway.supervisor": supervisor,
      "server.address": address.host,
      "server.port": address.port
    })
  )
}

export const recoveryOptions = (
  { address, beforeWaiting, config, systemd, verdict }: Start,
  report: (wait: string) => Effect.Effect<void>
): Recovery.RecoveryOptions => ({
  supervisor: verdict.kind,
  address,
  health: config.health,
  beforeWaiting,
  onWaiting: (waiting) =>
    Effect.zipRight(
      report(waiting.status),
      systemd.notify(
        `STATUS=${waiting.status}`,
        SystemdNotify.extendTimeout(Duration.sum(Duration.min(waiting.for, longestWait), notifyMargin))
      )
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
      beforeWaiting: Effect.provide(loadForTakeover(config, options.leaseUrl !== undefined), kernel)
    }

    if (options.ensure) {
      const running = yield* runningHealthy(config)
      if (Option.isSome(running)) return yield* sayRunning(running.value)
    }
    const recover = options.standby ? Recovery.standby : Recovery.recover
    const wait = yield* reported
    const machine = yield* Effect.context<Effect.Effect.Context<ReturnType<typeof rehearseTakeover>>>()
    const prepared = {
      ...start,
      beforeWaiting: Effect.zipRight(start.beforeWaiting, Effect.provide(rehearseTakeover(start, options), machine))
    }
    const lead = yield* recover(startOnce(start, options), recoveryOptions(prepared, wait.report)).pipe(
      wait.during(),
      Effect.asSome,
      Effect.catchIf(
        // With `ensure`, these errors can mean that another process started this gateway after `runningHealthy` was called above.
        (error) =>
          options.ensure
          && (error._tag === "PortInUse" || error._tag === "LockHeld" || error._tag === "OwnerHealthy"),
        (error) =>
          Effect.gen(function*() {
            const running = yield* runningHealthy(config)
            if (Option.isNone(running)) return yield* Effect.fail(error)
            yield* sayRunning(running.value)
            return Option.none<Lead["Type"]>()
          })
      )
    )
    if (Option.isSome(lead)) return yield* lead.value
  }).pipe(
    Effect.scoped,
    untilLost,
    Effect.provideServiceEffect(PortOwners.PortOwners, PortOwners.makeLive),
    Effect.provideServiceEffect(HealthProbe.HealthProbe, HealthProbe.make(config.health))
  )
