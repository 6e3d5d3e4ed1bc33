/**
 * One HTTP request on a connection of its own: the part of a probe that touches the network.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as MutableRef from "effect/MutableRef"
import * as Http from "node:http"
import * as Net from "node:net"
import { networkInterfaces } from "node:os"
import { type Address, isLoopback, isV6, isWildcard } from "../Address.ts"

/**
 * Why no HTTP answer came.
 *
 * - `NoListener`: nothing accepts connections there (refused, the address is not of this machine, or the socket connected to
 *   itself).
 * - `NotHttp`: somebody accepted and then reset, closed or answered something else.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProbeFailed extends Data.TaggedError("ProbeFailed")<{
  readonly reason: "NoListener" | "NotHttp"
  readonly detail: string
  /** With `NoListener`: the address cannot be reached from here, so that a listener would not be seen. */
  readonly unreachable?: boolean
}> {
  override get message() {
    return this.detail
  }
}

/**
 * A whole HTTP answer, whatever its status.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly status: number
  /** At most `maxAnswerBytes`; the rest is not read. */
  readonly body: string
}

/**
 * How many bytes of an answer are read: 1 MiB. A longer health answer counts as a stranger's.
 *
 * @internal
 */
export const maxAnswerBytes = 1024 * 1024

/**
 * How a probe reaches an address. `HealthProbe` sets the deadline.
 *
 * @example
 * import { Layer } from "effect"
 * import { HealthProbe, Host } from "gateway-lock"
 *
 * // In a test, a network on which nobody listens.
 * const Quiet = Layer.succeed(Host.ProbeTransport.ProbeTransport, {
 *   get: () => new Host.ProbeTransport.ProbeFailed({ reason: "NoListener", detail: "connection refused" })
 * })
 * const Probe = HealthProbe.layer().pipe(Layer.provide(Quiet))
 *
 * @since 0.1.0
 * @category tags
 */
export class ProbeTransport extends Context.Tag("gateway-lock/ProbeTransport")<ProbeTransport, {
  /**
   * `GET path`. Has no deadline of its own and may never end: interrupt it, and the connection is destroyed. Fails with
   * `ProbeFailed` where no HTTP answer came. Sets `connecting` while the connection is being made; a transport that does not
   * is taken to be connected at once.
   */
  readonly get: (
    address: Address,
    path: string,
    connecting?: MutableRef.MutableRef<boolean>
  ) => Effect.Effect<Answer, ProbeFailed>
}>() {}

/** Errors of connect(2) and of name resolution that mean that nobody can be listening there. */
const noListener = new Set([
  "ECONNREFUSED",
  "EADDRNOTAVAIL",
  "EAFNOSUPPORT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "EHOSTDOWN",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EINVAL",
  "ENOENT"
])

/**
 * Whether a connection failed because nothing listens there.
 *
 * @internal
 */
export const isNoListener = (error: { readonly code?: string | undefined }): boolean => noListener.has(error.code ?? "")

/**
 * Whether a connection leads to its own socket. TCP lets a socket connect to itself (RFC 9293, 3.5, simultaneous open), and
 * the kernel picks the asked port itself as the local one where that is free and in `ip_local_port_range`. Nothing listens
 * there then.
 *
 * @internal
 */
export const isToItself = (socket: Net.Socket): boolean =>
  socket.localPort !== undefined && socket.localPort === socket.remotePort
  && socket.localAddress === socket.remoteAddress

/**
 * Ends a connection to itself. By a reset: after an orderly end the kernel keeps the port for a minute, and nothing could
 * bind it.
 *
 * @internal
 */
export const endConnectionToItself = (socket: Net.Socket): void => {
  socket.resetAndDestroy()
}

/** Asks on a connection that was made for it. */
const ask = (
  socket: Net.Socket,
  address: Address,
  path: string,
  resume: (answer: Effect.Effect<Answer, ProbeFailed>) => void
): Http.ClientRequest => {
  const request = Http.request({
    createConnection: () => socket,
    host: address.host,
    port: address.port,
    path,
    method: "GET",
    headers: { accept: "application/json", connection: "close" }
  })
  request.on("response", (response) => {
    const chunks: Array<Buffer> = []
    let size = 0
    const finish = () => {
      request.destroy()
      resume(Effect.succeed({
        status: response.statusCode ?? 0,
        body: Buffer.concat(chunks).subarray(0, maxAnswerBytes).toString("utf8")
      }))
    }
    response.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      size += chunk.length
      if (size >= maxAnswerBytes) finish()
    })
    response.on("end", finish)
    response.on("error", (error) => resume(new ProbeFailed({ reason: "NotHttp", detail: error.message })))
  })
  request.on("upgrade", (_, socket) => {
    socket.destroy()
    resume(new ProbeFailed({ reason: "NotHttp", detail: "switched protocols" }))
  })
  request.end()
  return request
}

/** So long a connection within this machine takes at most, where its loopback interface is up. */
const loopbackMillis = 50

/** Whether a host means this machine over IPv4. */
const isWithinV4 = (host: string): boolean => !isV6(host) && (isLoopback(host) || isWildcard(host))

/**
 * Whether an interface that is up has an address of 127.0.0.0/8. Assumed, where the interfaces cannot be listed (Node
 * throws).
 *
 * @internal
 */
export const hasLoopbackV4 = (): boolean => {
  try {
    return Object.values(networkInterfaces()).some((entries = []) =>
      entries.some(({ address }) => address.startsWith("127."))
    )
  } catch {
    return true
  }
}

const get = (
  address: Address,
  path: string,
  connecting = MutableRef.make(false)
): Effect.Effect<Answer, ProbeFailed> =>
  Effect.async((resume) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const reason = isNoListener(error) ? "NoListener" : "NotHttp"
      resume(
        new ProbeFailed({
          reason,
          detail: error.message === "" ? error.code ?? "connection failed" : error.message,
          ...(reason === "NoListener" && error.code !== "ECONNREFUSED" ? { unreachable: true } : {})
        })
      )
    }
    // Most who ask find nobody, and for that it takes no HTTP.
    MutableRef.set(connecting, true)
    const socket = Net.connect({ host: address.host, port: address.port })
    socket.on("error", fail)
    // Linux does not refuse a connection over a loopback interface that was taken down: it gives no answer.
    socket.setTimeout(loopbackMillis, () => {
      if (!socket.connecting || !isWithinV4(address.host) || hasLoopbackV4()) return
      socket.destroy()
      resume(
        new ProbeFailed({ reason: "NoListener", detail: "the loopback interface is down", unreachable: true })
      )
    })
    socket.once("connect", () => {
      MutableRef.set(connecting, false)
      socket.setTimeout(0)
      if (!isToItself(socket)) return ask(socket, address, path, resume).on("error", fail)
      endConnectionToItself(socket)
      resume(new ProbeFailed({ reason: "NoListener", detail: "nothing listens there: the connection was to itself" }))
    })
    return Effect.sync(() => {
      socket.destroy()
    })
  })

/**
 * Over `node:http`, with no connection reuse and no proxy.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProbeTransport> = Layer.succeed(ProbeTransport, ProbeTransport.of({ get }))
