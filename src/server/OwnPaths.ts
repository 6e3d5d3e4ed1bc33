/**
 * The paths that a gateway answers by itself, and where an app wants them instead.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import { watchPath } from "../probe/OwnerWatch.ts"

/**
 * Where the gateway's own routes are, by their default paths. A route that is left out stays where it is. Another path moves it,
 * `false` switches it off: the default path is the app's then. `/healthz`, by which gateways know each other, cannot be moved.
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
   * The control socket, a WebSocket. Wherever it is, WebSockets at `/` with the subprotocol `gateway-watch` are the gateway's:
   * standbys open them.
   */
  readonly "/"?: string | false | undefined
}

/**
 * What a path is asked for.
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

/** RFC 3986, 3.3: the characters of a path, with escapes as they are. */
const pathPattern = /^\/[\w\-.~%!$&'()*+,;=:@/]*$/

/**
 * What a path may be, in words.
 *
 * @since 0.1.0
 * @category constants
 */
export const allowed =
  "another path or false for each of /health, /readyz, /ready, /startupz, /startup and /; no path twice"

/**
 * Whether these paths can be served: each begins with `/`, has no query, and no two requests for the same path mean different things.
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
 * The health routes by their paths.
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
 * The path of the control socket; `None` where there is none.
 *
 * @since 0.1.0
 * @category getters
 */
export const controlPath = (paths: OwnPaths): Option.Option<string> => {
  const path = paths["/"] ?? "/"
  return path === false ? Option.none() : Option.some(path)
}
