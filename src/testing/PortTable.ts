/**
 * What listens where on a simulated host, with the rules of its platform about which addresses exclude each other.
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

/** A whole response: its body is no stream. */
export type Answered = Effect.Effect<HttpServerResponse.HttpServerResponse, ProbeTransport.ProbeFailed>

/** Path and query of a request. */
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
  /** Ends every connection without a word, as the kernel does for a process that ended. */
  readonly reset: Effect.Effect<void>
  readonly request: (request: Request) => Answered
  readonly connect: Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** The handshake of a watch. */
  readonly watch: Effect.Effect<Pick<SimulatedWebSocket, "close" | "closed">, ProbeTransport.ProbeFailed>
}

/** Asks a listener for a path, as any client would. */
export const get = (
  bound: Bound,
  path: string
): Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed> =>
  Effect.flatMap(bound.request(new Request(`http://simulated${path}`)), (response) =>
    Effect.map(
      // As in `Answered`: no turn of the event loop for bytes.
      response.body._tag === "Uint8Array"
        ? Effect.succeed(new TextDecoder().decode(response.body.body))
        : Effect.promise(() => HttpServerResponse.toWeb(response).text()),
      (body) => ({ status: response.status, body })
    ))

const firstEphemeralPort = 32768

/**
 * Where processes are unless told otherwise, and where the test itself asks.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultNetworkNamespace = "net:[1]"

/** The listening sockets of a host, in all of its networks, and what else keeps an address. */
export interface PortTable {
  /** In the order in which they were bound. */
  readonly bounds: ReadonlySet<Bound>
  /** Listens, or fails as bind(2) does. */
  readonly add: (bound: Bound) => Effect.Effect<void, BindError>
  readonly remove: (bound: Bound) => boolean
  /** Has an address without listening on it, until the scope closes. */
  readonly occupyByConnection: (address: Address) => Effect.Effect<void, BindError, Scope.Scope>
  /** Whether a connection keeps an address from being bound. */
  readonly isConnected: (address: Address, networkNamespace: string) => boolean
  readonly freePort: (host: string, networkNamespace: string) => number
  /** Whom a connection to an address reaches. */
  readonly find: (address: Address, networkNamespace?: string) => Effect.Effect<Bound, ProbeTransport.ProbeFailed>
  readonly lacksLoopbackV4: (networkNamespace: string) => boolean
  readonly loseLoopbackV4: (networkNamespace: string) => void
}

/** The failure of a bind, with an errno name. */
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

/** The exact address goes before a wildcard. */
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

/** A host on which nobody listens yet. */
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

  /** All of them are in the network in which the test asks. */
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
