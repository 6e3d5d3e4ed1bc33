/**
 * The names of all options, so that a misspelt option is refused. TypeScript reports an unknown property only in an object
 * literal, and plain JavaScript has no such check. Without this module, a misspelt option would be ignored.
 */
import * as Effect from "effect/Effect"
import { suggestOption } from "../internal/suggest.ts"
import type { LeaseOptions } from "../leader/Leadership.ts"
import type { LockOptions } from "../lock/LockFileOptions.ts"
import type { HealthProbeOptions } from "../probe/HealthProbe.ts"
import type { LimitOptions } from "../server/ListenerOptions.ts"
import { SettingInvalid, settings } from "../settings/GatewayConfig.ts"
import type { GatewayOptions } from "./GatewayOptions.ts"

/** An object with exactly the property names of an interface. The compiler reports a missing or surplus name. */
export type Names<A> = Readonly<Record<keyof A, true>>

const lock: Names<LockOptions> = { timeout: true, pollInterval: true, staleAfter: true, recheckInterval: true }

const health: Names<HealthProbeOptions> = { probeTimeout: true }

const limits: Names<LimitOptions> = {
  connections: true,
  headersTimeout: true,
  requestTimeout: true,
  keepAliveTimeout: true,
  headerBytes: true,
  pipelinedRequests: true,
  controlSockets: true,
  frameBytes: true,
  framesPerSecond: true,
  bufferedBytes: true
}

const top: Names<GatewayOptions> = {
  port: true,
  host: true,
  profile: true,
  configPath: true,
  stateDir: true,
  lock: true,
  health: true,
  limits: true,
  routes: true,
  token: true,
  allowedHosts: true,
  allowedOrigins: true,
  drainTimeout: true,
  onDrain: true,
  onLost: true,
  passedSocket: true
}

const lease: Names<LeaseOptions> = {
  name: true,
  duration: true,
  renewInterval: true,
  attemptTimeout: true,
  renewDeadline: true,
  stopTimeout: true
}

type Group = readonly [name: string, known: ReadonlyArray<string>]

const groupOf = (group: string, names: Readonly<Record<string, true>>): Group => [
  group,
  Object.keys(names).map((name) => `${group}.${name}`)
]

const groups: ReadonlyArray<Group> = [groupOf("lock", lock), groupOf("health", health), groupOf("limits", limits)]

/** `groups`, and the group that only a gateway with a lease has. */
const groupsWithLease: ReadonlyArray<Group> = [...groups, groupOf("lease", lease)]

/** The error for an unknown option. It does not show the value, which may be a secret under a misspelt name. */
const unknown = (name: string, here: ReadonlyArray<string>, hint: string) =>
  new SettingInvalid({
    setting: name,
    source: "GatewayOptions",
    value: "(unknown option)",
    allowed: `one of ${here.join(", ")}${hint}`
  })

/** Checks the names of the options at the top, which are `known`, and of those in `groups`. */
const check = (
  options: object,
  known: ReadonlyArray<string>,
  groups: ReadonlyArray<Group>
): Effect.Effect<void, SettingInvalid> =>
  Effect.gen(function*() {
    // A hint that names the option which was probably meant.
    const suggestion = (name: string) => suggestOption(name, [...known, ...groups.flatMap(([, names]) => names)])
    for (const name of Object.keys(options)) {
      if (known.includes(name)) continue
      const hint = suggestion(name)
      if (hint !== "") yield* unknown(name, known, hint)
    }
    for (const [group, names] of groups) {
      const value: unknown = Reflect.get(options, group)
      if (value === undefined) continue
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        yield* new SettingInvalid({
          setting: group,
          source: "GatewayOptions",
          value: JSON.stringify(value),
          allowed: `an object with ${names.join(", ")}`
        })
      } else {
        for (const key of Object.keys(value)) {
          const name = `${group}.${key}`
          if (!names.includes(name) && !Object.hasOwn(settings, name)) yield* unknown(name, names, suggestion(name))
        }
      }
    }
  })

/**
 * Checks the names of all options. Fails at the first misspelt option, at an unknown name in a group (`lock`, `health`,
 * `limits`), or at a group that is not an object. `more` has the names that are known in addition to those of `GatewayOptions`.
 *
 * A name that resembles no option is ignored, because an app may pass an object that also contains the app's own values. A
 * group may also contain names of settings of the `gateway` command, so that a caller can pass a whole group of those settings.
 */
export const checkNames = (
  options: GatewayOptions,
  more: Readonly<Record<string, true>> = {}
): Effect.Effect<void, SettingInvalid> => check(options, Object.keys({ ...top, ...more }), groups)

/**
 * Does the same as `checkNames` for the start of a gateway without a lease. It also fails at the option `lease`: gateways that ignore
 * it would serve on several hosts at one time. A look or a stop may ignore it.
 */
export const checkNamesWithoutLease = (options: GatewayOptions): Effect.Effect<void, SettingInvalid> =>
  Effect.zipRight(
    checkNames(options),
    Reflect.get(options, "lease") === undefined ? Effect.void : new SettingInvalid({
      setting: "lease",
      source: "GatewayOptions",
      value: "(ignored without a lease store)",
      allowed: "none; layerWithLease takes a lease"
    })
  )

/** Does the same as `checkNames` for a gateway with a lease, which has the group `lease` too. */
export const checkNamesWithLease = (
  options: GatewayOptions & { readonly lease?: LeaseOptions | undefined }
): Effect.Effect<void, SettingInvalid> => check(options, Object.keys({ ...top, lease: true }), groupsWithLease)
