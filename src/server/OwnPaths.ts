/**
 * The paths that a gateway answers itself, and how an app moves them.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import { watchPath } from "../probe/OwnerWatch.ts"

/**
 * Moves the gateway's own routes. Each key is the default path of a route. If the value is another path, the route moves to that
 * path. If the value is `false`, the route is switched off. In both cases, the default path then belongs to the app. A route
 * whose key is left out stays at its default path. `/healthz` cannot be moved, because gateways request this path to recognize
 * each other.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnPaths {
  /** The short name of `/healthz`. */
  readonly "/health"?: string | false | undefined
  readonly "/readyz"?: string | false | undefined
  /** The short name of `/readyz`. */
  readonly "/ready"?: string | false | undefined
  readonly "/startupz"?: string | false | undefined
  /** The short name of `/startupz`. */
  readonly "/startup"?: string | false | undefined
  /**
   * The control socket: a WebSocket on which the gateway itself answers clients. If this route is moved or switched off, the
   * gateway itself answers only one kind of WebSocket at `/`: those that offer the subprotocol `gateway-watch`. A standby (a
   * gateway that waits to take over) opens such a WebSocket to learn when this gateway ends.
   */
  readonly "/"?: string | false | undefined
}

/**
 * What a health route reports.
 *
 * @since 0.1.0
 * @category models
 */
export type Question = "health" | "ready" | "startup"

const questions: ReadonlyArray<readonly [name: Exclude<keyof OwnPaths, "/">, question: Question]> = [
  ["/health", "health"],
  ["/readyz", "ready"],
  ["/ready", "ready"],
  ["/startupz", "startup"],
  ["/startup", "startup"]
]

/** Matches a path that has only the characters of RFC 3986, 3.3. Percent-escapes are not decoded. */
const pathPattern = /^\/[\w\-.~%!$&'()*+,;=:@/]*$/

/**
 * The rule for `OwnPaths` in words, for error messages.
 *
 * @since 0.1.0
 * @category constants
 */
export const allowed =
  "another path or false for each of /health, /readyz, /ready, /startupz, /startup and /; no path twice"

/**
 * Whether these options are valid. Each key must be the default path of a route. Each value must be `false`, or a path that
 * begins with `/` and has no query. No two health routes may have the same path.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isAllowed = (paths: OwnPaths): boolean => {
  const names: ReadonlySet<string> = new Set([...questions.map(([name]) => name), watchPath])
  const given = Object.entries(paths)
  const isPath = (value: unknown) =>
    value === undefined || value === false || (typeof value === "string" && pathPattern.test(value))
  const plain = ["/healthz", ...questions.flatMap(([name]) => paths[name] === false ? [] : [paths[name] ?? name])]
  return given.every(([name, value]) => names.has(name) && isPath(value)) && new Set(plain).size === plain.length
}

/**
 * Maps the path of each health route to what the route reports.
 *
 * @since 0.1.0
 * @category getters
 */
export const healthPaths = (paths: OwnPaths): ReadonlyMap<string, Question> =>
  new Map<string, Question>([
    ["/healthz", "health"],
    ...questions.flatMap(([name, question]): ReadonlyArray<[string, Question]> => {
      const path = paths[name] ?? name
      return path === false ? [] : [[path, question]]
    })
  ])

/**
 * The path of the control socket; `None` if it is switched off.
 *
 * @since 0.1.0
 * @category getters
 */
export const controlPath = (paths: OwnPaths): Option.Option<string> => {
  const path = paths["/"] ?? "/"
  return path === false ? Option.none() : Option.some(path)
}
