/**
 * The listening sockets of a simulated host. The rules of the host's platform decide which addresses exclude each other,
 * that is, cannot use the same port at the same time.
 *
 * @since 0.1.0
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Address, isWildcard } from "../Address.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import { BindError } from "../server/ServerSocket.ts"
import type { SimulatedWebSocket } from "./ControlConnections.ts"
import { available, excludes, isLocal, literal, reaches } from "./SimulatedAddresses.ts"

/** The result of a request: a response whose body is complete and not a stream, or the reason why no response came. */
export type Answered = Effect.Effect<HttpServerResponse.HttpServerResponse, ProbeTransport.ProbeFailed>

/** The path and the query of a request. */
export const pathOf = ({ url }: Request): string => {
  const { pathname, search } = new URL(url)
  return `${pathname}${search}`
}

/** A listening socket. */
export interface Bound {
  readonly host: string
  readonly port: number
  readonly pid: number
  readonly serial: number
  readonly networkNamespace: string
  /** Resets every connection, as the kernel does when a process ends. */
  readonly reset: Effect.Effect<void>
  readonly request: (request: Request) => Answered
  readonly connect: Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** Performs the WebSocket handshake of a client that wants to notice the listener's end. */
  readonly watch: Effect.Effect<Pick<SimulatedWebSocket, "close" | "closed">, ProbeTransport.ProbeFailed>
}

/** Sends a GET request for a path to a listener. */
export const get = (
  bound: Bound,
  path: string
): Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed> =>
  Effect.flatMap(bound.request(new Request(`http://simulated${path}`)), (response) =>
    Effect.map(
      // Bytes are decoded here, because a web `Response` would need turns of the event loop, and a `TestClock` does not wait for
      // such turns.
      response.body._tag === "Uint8Array"
        ? Effect.succeed(new TextDecoder().decode(response.body.body))
        : Effect.promise(() => HttpServerResponse.toWeb(response).text()),
      (body) => ({ status: response.status, body })
    ))

const firstEphemeralPort = 32768

/**
 * The default network namespace of processes. The requests that the test itself sends come from this namespace as well.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultNetworkNamespace = "net:[1]"

/** The listening sockets of a host in all of its network namespaces, and the connections that occupy addresses. */
export interface PortTable {
  /** All listening sockets, in the order in which they were bound. */
  readonly bounds: ReadonlySet<Bound>
  /** Adds a listening socket. Fails as bind(2) does. */
  readonly add: (bound: Bound) => Effect.Effect<void, BindError>
  readonly remove: (bound: Bound) => boolean
  /** Occupies an address without listening on it, as a connection does, until the scope closes. */
  readonly occupyByConnection: (address: Address) => Effect.Effect<void, BindError, Scope.Scope>
  /** Whether a connection prevents a bind to an address. */
  readonly isConnected: (address: Address, networkNamespace: string) => boolean
  readonly freePort: (host: string, networkNamespace: string) => number
  /** Finds the listener that a connection to an address reaches. */
  readonly find: (address: Address, networkNamespace?: string) => Effect.Effect<Bound, ProbeTransport.ProbeFailed>
  readonly lacksLoopbackV4: (networkNamespace: string) => boolean
  readonly loseLoopbackV4: (networkNamespace: string) => void
}

/** Makes the error of a failed bind. `code` is the name of the system error, such as `EADDRINUSE`. */
export const bindError = (address: Address) => (code: string) =>
  new BindError({
    ...address,
    code,
    reason: `listen ${code}: simulated, ${address.host}:${address.port}`,
    ...(code === "EADDRNOTAVAIL" ? { available } : {})
  })

const noListener = (
  { host, port }: Address,
  code: string,
  unreachable: { readonly unreachable?: boolean } = {}
) => new ProbeTransport.ProbeFailed({ reason: "NoListener", detail: `connect ${code} ${host}:${port}`, ...unreachable })

/** The listener that a connection reaches. A listener on the exact address takes precedence over one on a wildcard. */
const reachedAt = (
  bounds: ReadonlySet<Bound>,
  { host, port }: Address,
  networkNamespace: string
): Bound | undefined => {
  const reached = [...bounds].filter((bound) =>
    bound.networkNamespace === networkNamespace && bound.port === port && reaches(bound.host, host)
  )
  return reached.find((bound) => !isWildcard(bound.host)) ?? reached[0]
}

/** Makes the port table of a host. At first the table contains no listener. */
export const makePortTable = (platform: string): PortTable => {
  const bounds = new Set<Bound>()
  const connections = new Set<Address>()
  const withoutLoopbackV4 = new Set<string>()
  let nextPort = firstEphemeralPort

  const lacksLoopbackV4 = (networkNamespace: string): boolean => withoutLoopbackV4.has(networkNamespace)
  const isMissing = (host: string, networkNamespace: string): boolean =>
    !isLocal(host) || (host.startsWith("127.") && lacksLoopbackV4(networkNamespace))

  const fault = (address: Address, networkNamespace: string): string | undefined => {
    const host = literal(address.host)
    if (isMissing(host, networkNamespace)) return "EADDRNOTAVAIL"
    return isConnected({ host, port: address.port }, networkNamespace) ||
        [...bounds].some((bound) =>
          bound.networkNamespace === networkNamespace && bound.port === address.port &&
          excludes(bound.host, host, platform)
        )
      ? "EADDRINUSE"
      : undefined
  }

  /** Whether a connection prevents a bind to an address. All `connections` are in the default network namespace. */
  const isConnected = ({ host, port }: Address, networkNamespace: string): boolean =>
    networkNamespace === defaultNetworkNamespace
    && [...connections].some((connection) =>
      connection.port === port && excludes(connection.host, literal(host), platform)
    )

  const freePort = (host: string, networkNamespace: string): number => {
    do nextPort += 1
    while (fault({ host, port: nextPort }, networkNamespace) !== undefined)
    return nextPort
  }

  const find: PortTable["find"] = (address, networkNamespace = defaultNetworkNamespace) =>
    Effect.suspend(() => {
      const host = literal(address.host)
      if (isMissing(host === "0.0.0.0" ? "127.0.0.1" : host, networkNamespace)) {
        return noListener(address, "ENETUNREACH", { unreachable: true })
      }
      const bound = reachedAt(bounds, { host, port: address.port }, networkNamespace)
      return bound === undefined ? noListener(address, "ECONNREFUSED") : Effect.succeed(bound)
    })

  const add = (bound: Bound): Effect.Effect<void, BindError> =>
    Effect.suspend(() => {
      const code = fault(bound, bound.networkNamespace)
      if (code !== undefined) return bindError(bound)(code)
      bounds.add(bound)
      return Effect.void
    })

  const occupyByConnection = ({ host, port }: Address) =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.suspend(() => {
        const mine: Address = { host: literal(host), port }
        const code = fault(mine, defaultNetworkNamespace)
        if (code !== undefined) return bindError(mine)(code)
        connections.add(mine)
        return Effect.succeed(mine)
      }),
      (mine) => Effect.sync(() => connections.delete(mine))
    ))

  return {
    bounds,
    add,
    remove: (bound) => bounds.delete(bound),
    occupyByConnection,
    isConnected,
    freePort,
    find,
    lacksLoopbackV4,
    loseLoopbackV4: (networkNamespace) => {
      withoutLoopbackV4.add(networkNamespace)
    }
  }
}
