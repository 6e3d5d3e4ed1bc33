/**
 * `gateway stop`. Also the first part of `gateway run --force`, which stops the process that owns the lock before the gateway
 * starts.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type Address, toUrl } from "../Address.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import * as PortOwners from "../host/PortOwners.ts"
import * as Signals from "../host/Signals.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import { adviceFor } from "../internal/advice.ts"
import { reported } from "../internal/WaitDisplay.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as PortProbe from "../probe/PortProbe.ts"
import { type GatewayConfig, releaseTimeout } from "../settings/GatewayConfig.ts"
import { decodeGiven, durationSetting, type SettingInvalid } from "../settings/Setting.ts"
import * as StopOwner from "../stop/StopOwner.ts"
import { notice } from "./Notice.ts"
import { sameGateway, withFlags } from "./sameGateway.ts"
import { print } from "./Stdout.ts"

/** The settings that a stop needs. */
type StopConfig = Pick<
  GatewayConfig,
  "profile" | "configPath" | "configName" | "stateDir" | "host" | "port" | "drainTimeout" | "health" | "lease"
>

export interface StopCommand {
  readonly config: StopConfig
  /** The settings that were given on the command line. */
  readonly flags: ReadonlyMap<string, string>
  /** The value of `--timeout` in the form that was typed, not yet parsed. */
  readonly timeout: string | undefined
  readonly force: boolean
}

const timeoutSetting = durationSetting({
  name: "stop timeout",
  flag: "timeout",
  description: "time limit for the owner to end",
  default: Duration.sum(Duration.seconds(10), StopOwner.defaults.margin)
})

/** How long the owner may take to end. */
export const timeoutOf = (
  { config, timeout }: {
    readonly config: Pick<StopConfig, "drainTimeout" | "lease">
    readonly timeout: string | undefined
  }
): Effect.Effect<Duration.Duration, SettingInvalid> =>
  timeout === undefined
    ? Effect.succeed(
      Duration.sum(Duration.sum(config.drainTimeout, releaseTimeout(config.lease)), StopOwner.defaults.margin)
    )
    : decodeGiven(timeoutSetting, { raw: timeout, source: "--timeout" })

/**
 * The `stop` command that another user has to run. It contains every flag that selects this gateway, because the other user
 * has other defaults.
 */
const asOther = ({ configName, port, profile, stateDir }: StopConfig, platform: string): string =>
  withFlags("stop", [
    ["profile", profile],
    ["config", configName],
    ["state-dir", stateDir],
    ["port", String(port)]
  ], platform)

/** How often the wait for the owner is described. The line that shows it is updated as often. */
const reportInterval = Duration.seconds(1)

const Live = (config: StopConfig) =>
  Layer.mergeAll(
    Signals.layerLive,
    PortOwners.layerLive,
    OpenLockFiles.layerLive,
    PortProbe.layer.pipe(Layer.provide(HealthProbe.layer(config.health)))
  )

const options = (
  command: StopCommand,
  path: string,
  timeout: Duration.Duration,
  platform: string,
  report: (wait: string) => Effect.Effect<void>
): StopOwner.StopOptions => {
  const { config, flags } = command
  return {
    path,
    address: { host: config.host, port: config.port },
    profile: config.profile,
    timeout,
    force: command.force,
    command: sameGateway("stop", flags, platform),
    commandAsOther: asOther(config, platform),
    onWaiting: ({ for: what, pid }) => report(`waiting for pid ${pid} to end: ${what}`),
    progressInterval: reportInterval
  }
}

/** Describes the program that uses the port although this gateway is not running. */
const describePort = (
  { listeners, port }: Extract<StopOwner.Outcome, { readonly _tag: "NotRunning" }>,
  address: Address,
  platform: string
): ReadonlyArray<string> =>
  port._tag === "Free" ? [] : [
    `${toUrl(address)} is in use by another program, ${
      listeners.length === 0 ? "not visible from here" : listeners.join(", ")
    }: ${port.detail}; to see who it is: ${adviceFor(platform).showListeners(address.port)}`
  ]

/** Describes the outcome: `answer` for stdout, `notes` for stderr. Pure. */
export const describe = (
  outcome: StopOwner.Outcome,
  path: string,
  address: Address,
  platform: string
): { readonly answer: string; readonly notes: ReadonlyArray<string> } => {
  if (outcome._tag === "NotRunning") {
    const { left } = outcome
    const who = Option.match(left, {
      onNone: () => "",
      onSome: ({ pid }) => `; ${path} was left by pid ${pid}, and the next start reclaims it`
    })
    return { answer: `gateway is not running${who}`, notes: describePort(outcome, address, platform) }
  }
  const { inheritors, killed, pid, record, successor } = outcome
  const notes = [
    ...(inheritors.length === 0
      ? []
      : [
        `its command had ended; ${killed ? "killed" : "stopped"} the processes that had inherited its lock: ${
          inheritors.join(", ")
        }`
      ]),
    ...Option.match(successor, {
      onNone: () => [],
      onSome: (
        { phase, pid }
      ) => [`the lock is now held by pid ${pid} (${phase}), which was waiting as a standby or has just started`]
    }),
    ...(record.supervisor === "none"
      ? []
      : [`the gateway ran under ${record.supervisor}, which may start it again`])
  ]
  return {
    answer: `${killed ? "killed" : "stopped"} gateway${record.port === 0 ? "" : ` on ${toUrl(record)}`} (pid ${pid})`,
    notes
  }
}

/**
 * Stops the running systemd system service that `config` selects, if there is one. Such a service usually has another state
 * directory than the one in `config`, and therefore another lock.
 */
const stopService = (config: StopConfig, stopping: StopOwner.StopOptions) =>
  Effect.gen(function*() {
    const service = yield* SystemServices.find(config)
    if (Option.isNone(service) || service.value.pid === undefined) return Option.none<StopOwner.Outcome>()
    const path = yield* SystemServices.lockOf(service.value)
    // `path` is `None` if only root and the service's user may read the lock file. This process then cannot verify the lock's
    // owner.
    if (Option.isNone(path)) {
      return yield* new StopOwner.OwnerSupervised({
        pid: service.value.pid,
        supervisor: "systemd",
        advice: `to stop it: systemctl stop ${service.value.name}`
      })
    }
    return Option.some(yield* StopOwner.stop({ ...stopping, path: path.value }))
  })

const stopEither = (config: StopConfig, stopping: StopOwner.StopOptions) =>
  Effect.gen(function*() {
    const own = yield* Effect.either(StopOwner.stop(stopping))
    const isOpen = Either.isLeft(own) ? own.left._tag === "OwnerUnverified" : own.right._tag === "NotRunning"
    const service = isOpen ? yield* stopService(config, stopping) : Option.none<StopOwner.Outcome>()
    return Option.isSome(service) ? service.value : yield* own
  }).pipe(Effect.provide(Live(config)))

/**
 * Stops the gateway. Prints the outcome on stdout, and notes on stderr. Fails like `StopOwner.stop`, with `SettingInvalid`
 * for the timeout, or with `OutputFailed` if the outcome cannot be printed.
 */
export const stop = (command: StopCommand) =>
  Effect.gen(function*() {
    const { config } = command
    const timeout = yield* timeoutOf(command)
    const platform = yield* HostPlatform
    const wait = yield* reported
    const stopping = options(command, yield* LockInspection.lockPathOf(config), timeout, platform, wait.report)
    const outcome = yield* stopEither(config, stopping).pipe(wait.during({ limit: timeout }))
    const { answer, notes } = describe(outcome, stopping.path, stopping.address, platform)
    yield* print(answer)
    for (const note of notes) yield* notice(note)
  })

/**
 * Before a start with `--force`, stops the process that owns the lock. That process is stopped only if it is verified as the owner
 * and no supervisor runs it. Otherwise `makeRoom` logs a warning with the reason and succeeds, and the start that follows reports
 * its own error.
 */
export const makeRoom = (command: Omit<StopCommand, "timeout" | "force">) =>
  Effect.gen(function*() {
    const { config } = command
    const timeout = yield* timeoutOf({ config, timeout: undefined })
    const wait = yield* reported
    const outcome = yield* StopOwner.stop({
      ...options(
        { ...command, timeout: undefined, force: true },
        yield* LockInspection.lockPathOf(config),
        timeout,
        yield* HostPlatform,
        wait.report
      ),
      supervised: "refuse"
    }).pipe(
      wait.during({ limit: timeout }),
      Effect.provide(Live(config)),
      Effect.asSome,
      Effect.catchAll((error) =>
        Effect.as(Effect.logWarning(`--force stopped no process: ${error.message}`), Option.none())
      )
    )
    if (Option.isNone(outcome) || outcome.value._tag === "NotRunning") return
    const { killed, pid } = outcome.value
    yield* Effect.logInfo(
      killed
        ? `killed pid ${pid}, which did not end within ${Duration.toMillis(timeout)}ms`
        : `stopped pid ${pid}`
    )
  })
