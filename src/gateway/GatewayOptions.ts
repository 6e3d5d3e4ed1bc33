/**
 * The options of a gateway, and the checks that refuse invalid ones. Exported by `Gateway`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { isLoopback } from "../Address.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import type { LeaseOptions } from "../leader/Leadership.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"
import type { LockOptions } from "../lock/LockFileOptions.ts"
import type { HealthProbeOptions } from "../probe/HealthProbe.ts"
import * as AccessToken from "../server/AccessToken.ts"
import { type ListenerOptions, longestTimer } from "../server/ListenerOptions.ts"
import * as OwnPaths from "../server/OwnPaths.ts"
import { type SettingInvalid, settings } from "../settings/GatewayConfig.ts"
import { checkName, refuse } from "../settings/GatewayIdentity.ts"

/**
 * The options of a gateway. The names are those of the config file, and all options are optional. Times accept any form of
 * `Duration.DurationInput`; a number is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayOptions extends Partial<Omit<ListenerOptions, "host" | "port">> {
  /** The base port, on which the gateway listens. 0 selects a free port. Default 18789. */
  readonly port?: number | undefined
  /**
   * The host to bind. Default `127.0.0.1`. A host that is not loopback is refused if `token` is not set. Clients without the
   * token cannot open the control socket (the gateway's own WebSocket). If you do not use the control socket, set a random
   * token. The token does not protect your own routes: use `authorized` of the `Gateway` service for them.
   */
  readonly host?: string | undefined
  /** Names this gateway. The default config file and state directory follow from the profile. Default `default`. */
  readonly profile?: string | undefined
  /** The config file. Its canonical path identifies the lock; the file is not read. Default: the profile's config file. */
  readonly configPath?: string | undefined
  /** The state directory. Default: the profile's state directory, in the folder that the platform has for program state. */
  readonly stateDir?: string | undefined
  /** How long a start waits for the lock, and how a gateway that holds the lock keeps it. */
  readonly lock?: LockOptions | undefined
  /** How the health of the lock's owner is probed. */
  readonly health?: HealthProbeOptions | undefined
  /**
   * Moves some of the gateway's own routes, or leaves their paths to the app: `{ "/health": false, "/": "/control" }`. By
   * default the gateway answers at all of its paths, and an app's routes at these paths are not reached.
   */
  readonly routes?: OwnPaths.OwnPaths | undefined
}

/**
 * Which gateway to inspect, and how to probe its health. All options are optional, with the defaults of `GatewayOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export type InspectOptions = Pick<
  GatewayOptions,
  "port" | "host" | "profile" | "configPath" | "stateDir" | "health"
>

/** Checks the options that decide which clients have access. A caller that only inspects a gateway does not need this check. */
export const checkAccess = (
  { allowedHosts = [], allowedOrigins = [], host, routes = {}, token }: GatewayOptions
): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    if (host !== undefined && !isLoopback(host) && token === undefined) {
      yield* refuse("host", host, "a loopback host, or another host with a token")
    }
    if (!OwnPaths.isAllowed(routes)) yield* refuse("routes", routes, OwnPaths.allowed)
    const fault = token === undefined
      ? Option.none()
      : AccessToken.fault(AccessToken.withoutLineEnd(Redacted.value(token)))
    if (Option.isSome(fault)) yield* refuse("token", "(not shown)", `${AccessToken.allowed}; ${fault.value}`)
    for (
      const [name, values, setting] of [
        ["allowedHosts", allowedHosts, settings.allowedHosts],
        ["allowedOrigins", allowedOrigins, settings.allowedOrigins]
      ] as const
    ) {
      if (Option.isNone(setting.decode(values))) yield* refuse(name, values, setting.allowed)
    }
  })

/**
 * The rule for intervals and probe timeouts. An interval of zero would repeat the action without a pause, and a timeout of zero
 * would give up at once. A Node timer cannot exceed `longestTimer`.
 */
const bounded = {
  allowed: "a duration above 0 and at most 24 days",
  isAllowed: (time: Duration.Duration) => Duration.between(time, { minimum: Duration.nanos(1n), maximum: longestTimer })
}

/** The rule for the timeouts of `node:http`, where 0 means no limit. */
const orUnlimited = {
  allowed: "a duration of at most 24 days, or 0 for no limit",
  isAllowed: (time: Duration.Duration) => Duration.lessThanOrEqualTo(time, longestTimer)
}

const wholeNumber = { allowed: "a whole number above 0", isAllowed: (n: number) => Number.isSafeInteger(n) && n > 0 }

/** The options that are times, by name. */
const timesOf = ({ drainTimeout, health, limits, lock }: GatewayOptions) => ({
  "lock.timeout": lock?.timeout,
  "lock.pollInterval": lock?.pollInterval,
  "lock.staleAfter": lock?.staleAfter,
  "lock.recheckInterval": lock?.recheckInterval,
  "health.probeTimeout": health?.probeTimeout,
  drainTimeout,
  "limits.headersTimeout": limits?.headersTimeout,
  "limits.requestTimeout": limits?.requestTimeout,
  "limits.keepAliveTimeout": limits?.keepAliveTimeout
})

/** The options that are counts, by name. */
const countsOf = ({ limits }: GatewayOptions) => ({
  "limits.connections": limits?.connections,
  "limits.headerBytes": limits?.headerBytes,
  "limits.pipelinedRequests": limits?.pipelinedRequests,
  "limits.controlSockets": limits?.controlSockets,
  "limits.frameBytes": limits?.frameBytes,
  "limits.framesPerSecond": limits?.framesPerSecond,
  "limits.bufferedBytes": limits?.bufferedBytes
})

/** Checks times and counts. Without this check, Node throws on some values, and other values cause a busy loop. */
export const checkBounds = (options: GatewayOptions): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    const times = timesOf(options)
    for (
      const [name, rule] of [
        ["lock.pollInterval", bounded],
        ["lock.staleAfter", bounded],
        ["lock.recheckInterval", bounded],
        ["health.probeTimeout", bounded],
        ["limits.headersTimeout", orUnlimited],
        ["limits.requestTimeout", orUnlimited],
        ["limits.keepAliveTimeout", orUnlimited]
      ] as const
    ) {
      const value = times[name]
      if (value === undefined) continue
      const time = Duration.decode(value)
      if (!rule.isAllowed(time)) yield* refuse(name, formatDuration(time), rule.allowed)
    }
    for (const [name, value] of Object.entries(countsOf(options))) {
      if (value !== undefined && !wholeNumber.isAllowed(value)) yield* refuse(name, value, wholeNumber.allowed)
    }
  })

/** Checks the options of a lease. */
export const checkLease = (
  { lease = {}, onLost }: Pick<GatewayOptions, "onLost"> & { readonly lease?: LeaseOptions | undefined }
): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    if (onLost === "close") yield* refuse("onLost", onLost, "exit: a process that has lost its leadership must end")
    const setting = settings["lease.name"]
    if (lease.name !== undefined && Option.isNone(setting.decode(lease.name))) {
      yield* refuse("lease.name", lease.name, setting.allowed)
    }
    const times = LeaseTimes.fromOptions(lease)
    if (Either.isLeft(times)) yield* refuse("lease", lease, times.left.join("; "))
  })

const settingsOfCounts = [
  "limits.connections",
  "limits.headerBytes",
  "limits.controlSockets",
  "limits.frameBytes",
  "limits.framesPerSecond"
] as const

const settingsOfTimes = [
  "lock.timeout",
  "lock.pollInterval",
  "lock.staleAfter",
  "lock.recheckInterval",
  "health.probeTimeout",
  "drainTimeout",
  "limits.headersTimeout",
  "limits.requestTimeout",
  "limits.keepAliveTimeout"
] as const

/** The lowest descriptor that a passed socket can have. The descriptors below it are the standard streams. */
const firstPassedSocket = 3

/**
 * Checks options whose values come from the user of a program, for example from environment variables, and not from the
 * program's code. If the `gateway` command has a setting of the same name as an option, the bounds of that setting apply.
 */
export const checkGiven = (options: GatewayOptions): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    yield* checkName(options)
    for (const name of ["host", "configPath", "stateDir"] as const) {
      const value = options[name]
      if (value !== undefined && Option.isNone(settings[name].decode(value))) {
        yield* refuse(name, value, settings[name].allowed)
      }
    }
    const counts = countsOf(options)
    for (const name of settingsOfCounts) {
      const [value, setting] = [counts[name], settings[name]]
      if (value !== undefined && Option.isNone(setting.decode(value))) yield* refuse(name, value, setting.allowed)
    }
    const { passedSocket } = options
    if (passedSocket !== undefined && !(Number.isSafeInteger(passedSocket) && passedSocket >= firstPassedSocket)) {
      yield* refuse("passedSocket", passedSocket, `a whole number of at least ${firstPassedSocket}`)
    }
    const times = timesOf(options)
    for (const name of settingsOfTimes) {
      const [value, setting] = [times[name], settings[name]]
      if (value === undefined) continue
      const duration = Duration.decode(value)
      if (Option.isNone(setting.decode(`${Duration.toMillis(duration)} millis`))) {
        yield* refuse(name, formatDuration(duration), setting.allowed)
      }
    }
    // These two checks also cover the options for which the `gateway` command has no setting.
    yield* checkBounds(options)
    yield* checkAccess(options)
  })
