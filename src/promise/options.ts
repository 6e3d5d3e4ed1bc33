/**
 * Checks the options of `acquire`, and fills in the defaults.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { inspect } from "node:util"
import { suggestOption } from "../internal/suggest.ts"
import { defaults as listenerDefaults } from "../server/ListenerOptions.ts"
import { SettingInvalid, settings } from "../settings/GatewayConfig.ts"
import { oneOf, type Setting } from "../settings/Setting.ts"
import type { AcquireOptions, HealthOptions, LockOptions, Logger, ReadyRule } from "./types.ts"

/** Checked options. A time that is absent has the default of the layer that uses it. */
export interface Checked {
  /** `undefined`: the program has no port. */
  readonly port: number | undefined
  readonly host: string | undefined
  readonly profile: string | undefined
  readonly configPath: string | undefined
  readonly stateDir: string | undefined
  readonly lock: Readonly<Record<keyof LockOptions, Duration.Duration | undefined>>
  readonly health: Readonly<Record<keyof HealthOptions, Duration.Duration | undefined>>
  readonly supervisor: NonNullable<AcquireOptions["supervisor"]>
  readonly ready: ReadyRule
  readonly standby: boolean
  readonly signal: AbortSignal | undefined
  readonly onLost: "exit" | "close"
  readonly drainTimeout: Duration.Duration
  readonly logger: Logger | undefined
}

const names: Readonly<Record<keyof AcquireOptions, true>> = {
  port: true,
  host: true,
  profile: true,
  configPath: true,
  stateDir: true,
  lock: true,
  health: true,
  supervisor: true,
  ready: true,
  standby: true,
  signal: true,
  onLost: true,
  drainTimeout: true,
  logger: true
}

const lockNames: Readonly<Record<keyof LockOptions, true>> = {
  timeout: true,
  pollInterval: true,
  staleAfter: true,
  recheckInterval: true
}

const healthNames: Readonly<Record<keyof HealthOptions, true>> = {
  probeTimeout: true,
  retryInterval: true,
  timeout: true
}

/** All names, with the names in groups as `lock.timeout`. */
const allNames = [
  ...Object.keys(names),
  ...Object.keys(lockNames).map((name) => `lock.${name}`),
  ...Object.keys(healthNames).map((name) => `health.${name}`)
]

const longestShown = 100

/** A value on one line. Unlike JSON, it can be a function, a bigint or an object that contains itself. */
const shown = (value: unknown): string => {
  const text = inspect(value, { depth: 0, breakLength: Infinity, compact: true, maxStringLength: longestShown })
    .replaceAll(/\s+/g, " ")
  return text.length > longestShown ? `${text.slice(0, longestShown)}…` : text
}

/** The error for a value that is not allowed. `source` is the function that got it. */
export const refuse = (setting: string, value: unknown, allowed: string, source = "acquire"): SettingInvalid =>
  new SettingInvalid({ setting, source, value: shown(value), allowed })

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Fails at the first name that is unknown. Does not show its value, which may be a secret under a misspelt name. */
const checkNames = (group: string, value: object, known: ReadonlyArray<string>): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    for (const key of Object.keys(value)) {
      if (known.includes(key)) continue
      const name = `${group}${key}`
      yield* new SettingInvalid({
        setting: name,
        source: "acquire",
        value: "(unknown option)",
        allowed: `one of ${known.map((known) => `${group}${known}`).join(", ")}${suggestOption(name, allNames)}`
      })
    }
  })

/** Checks the names in a group, and returns the group. A group that is not given is empty. */
const group = (name: "lock" | "health", value: unknown, known: Readonly<Record<string, true>>) =>
  Effect.gen(function*() {
    if (value === undefined) return {}
    const keys = Object.keys(known)
    if (!isObject(value)) {
      return yield* refuse(name, value, `an object with ${keys.map((key) => `${name}.${key}`).join(", ")}`)
    }
    yield* checkNames(`${name}.`, value, keys)
    return value
  })

/** A rule for the values of an option. */
interface Rule<A> {
  readonly allowed: string
  readonly decode: (value: unknown) => Option.Option<A>
}

/** Checks an option. `undefined` if the option is not given. */
const optional = <A>(name: string, value: unknown, rule: Rule<A>): Effect.Effect<A | undefined, SettingInvalid> =>
  value === undefined
    ? Effect.succeed(undefined)
    : Option.match(rule.decode(value), { onNone: () => refuse(name, value, rule.allowed), onSome: Effect.succeed })

/** A setting of the program `gateway` whose value is a string. */
const ofSetting = <A>(setting: Setting<A>): Rule<A> => ({
  allowed: setting.allowed,
  decode: (value) => typeof value === "string" ? setting.decode(value) : Option.none()
})

/** A duration, by the bounds of a setting of the program `gateway`. A number is milliseconds. */
const time = (setting: Setting<Duration.Duration>): Rule<Duration.Duration> => ({
  allowed: `${setting.allowed}, or a number of milliseconds`,
  decode: (value) => setting.decode(typeof value === "number" ? `${value} millis` : value)
})

const port: Rule<number | false> = {
  allowed: `${settings.port.allowed}, 0 for a port that the system picks, or false for a program without a port`,
  decode: (value) =>
    value === false
      ? Option.some<false>(false)
      : value === 0 || value === "0"
      ? Option.some(0)
      : typeof value === "number" || typeof value === "string"
      ? settings.port.decode(value)
      : Option.none()
}

/** A host to listen on. The rule of the setting also speaks of a token, which only the gateway's own server has. */
const host: Rule<string> = { ...ofSetting(settings.host), allowed: "a host name or an address" }

const isHttpRule = (value: unknown): value is `http:/${string}` =>
  typeof value === "string" && /^http:\/[^\s]*$/.test(value)

const ready: Rule<ReadyRule> = {
  allowed: "none, port, or http:/ and the rest of a path; without a port, only none",
  decode: (value) =>
    value === "none" || value === "port" || isHttpRule(value) ? Option.some<ReadyRule>(value) : Option.none()
}

const standby: Rule<boolean> = {
  allowed: "true or false",
  decode: (value) => typeof value === "boolean" ? Option.some(value) : Option.none()
}

const onLost: Rule<"exit" | "close"> = { allowed: "exit or close", decode: oneOf(["exit", "close"]) }

const isSignal = (value: unknown): value is AbortSignal => value instanceof AbortSignal

const signal: Rule<AbortSignal> = {
  allowed: "an AbortSignal",
  decode: (value) => isSignal(value) ? Option.some(value) : Option.none()
}

const isFunction = (value: unknown): boolean => typeof value === "function"

const isLogger = (value: unknown): value is Logger =>
  typeof value === "object" && value !== null
  && "info" in value && isFunction(value.info)
  && "warn" in value && isFunction(value.warn)
  && "error" in value && isFunction(value.error)
  && (!("debug" in value) || value.debug === undefined || isFunction(value.debug))

const logger: Rule<Logger> = {
  allowed: "an object with the functions info, warn and error, such as console",
  decode: (value) => isLogger(value) ? Option.some(value) : Option.none()
}

/** Checks the times of both groups. */
const times = (lock: Readonly<Record<string, unknown>>, health: Readonly<Record<string, unknown>>) =>
  Effect.all({
    lock: Effect.all({
      timeout: optional("lock.timeout", lock["timeout"], time(settings["lock.timeout"])),
      pollInterval: optional("lock.pollInterval", lock["pollInterval"], time(settings["lock.pollInterval"])),
      staleAfter: optional("lock.staleAfter", lock["staleAfter"], time(settings["lock.staleAfter"])),
      recheckInterval: optional("lock.recheckInterval", lock["recheckInterval"], time(settings["lock.recheckInterval"]))
    }),
    health: Effect.all({
      probeTimeout: optional("health.probeTimeout", health["probeTimeout"], time(settings["health.probeTimeout"])),
      retryInterval: optional("health.retryInterval", health["retryInterval"], time(settings["health.retryInterval"])),
      timeout: optional("health.timeout", health["timeout"], time(settings["health.timeout"]))
    })
  })

/** Checks all options. Fails at the first that is unknown or not allowed. */
export const check = (given: unknown): Effect.Effect<Checked, SettingInvalid> =>
  Effect.gen(function*() {
    if (!isObject(given)) return yield* refuse("options", given, "an object such as { port: 3000 }")
    yield* checkNames("", given, Object.keys(names))
    const wanted = yield* optional("port", given["port"], port)
    if (wanted === undefined) return yield* refuse("port", undefined, port.allowed)
    const rule = yield* optional("ready", given["ready"], ready)
    if (wanted === false && rule !== undefined && rule !== "none") return yield* refuse("ready", rule, ready.allowed)
    const lock = yield* group("lock", given["lock"], lockNames)
    const health = yield* group("health", given["health"], healthNames)
    return {
      port: wanted === false ? undefined : wanted,
      host: yield* optional("host", given["host"], host),
      profile: yield* optional("profile", given["profile"], ofSetting(settings.profile)),
      configPath: yield* optional("configPath", given["configPath"], ofSetting(settings.configPath)),
      stateDir: yield* optional("stateDir", given["stateDir"], ofSetting(settings.stateDir)),
      ...(yield* times(lock, health)),
      supervisor: (yield* optional("supervisor", given["supervisor"], ofSetting(settings.supervisor))) ?? "auto",
      ready: rule ?? (wanted === false ? "none" : "port"),
      standby: (yield* optional("standby", given["standby"], standby)) ?? false,
      signal: yield* optional("signal", given["signal"], signal),
      onLost: (yield* optional("onLost", given["onLost"], onLost)) ?? "exit",
      drainTimeout: (yield* optional("drainTimeout", given["drainTimeout"], time(settings.drainTimeout)))
        ?? Duration.decode(listenerDefaults.drainTimeout),
      logger: yield* optional("logger", given["logger"], logger)
    }
  })
