/**
 * Sends one HTTP request on a new connection: the part of a probe that uses the network.
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
import { Duplex } from "node:stream"
import { type Address, isLoopback, isV6, isWildcard, urlHost } from "../Address.ts"
import * as PlainAnswer from "./PlainAnswer.ts"

/**
 * Why no HTTP answer arrived.
 *
 * - `NoListener`: nothing accepts connections at the probed address. The connection was refused, the address does not belong to
 *   this machine, or the probing socket connected to itself, which TCP allows.
 * - `NotHttp`: a listener accepted the connection, but reset it, closed it or sent an answer that is not HTTP.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProbeFailed extends Data.TaggedError("ProbeFailed")<{
  readonly reason: "NoListener" | "NotHttp"
  readonly detail: string
  /** Set to `true` only with `NoListener`: this process cannot reach the address, so it would not notice a listener there. */
  readonly unreachable?: boolean
}> {
  override get message() {
    return this.detail
  }
}

/**
 * An HTTP answer with any status.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly status: number
  /** The first `maxAnswerBytes` bytes of the body. The rest of the body is not read. */
  readonly body: string
}

/**
 * The largest number of bytes that are read from the body of an answer: 1 MiB. A longer answer is not the health answer of a
 * gateway.
 *
 * @internal
 */
export const maxAnswerBytes = 1024 * 1024

/**
 * Sends the HTTP request of a probe, which asks the server at an address whether it is healthy. The caller, for example
 * `HealthProbe`, limits the time.
 *
 * @example
 * import { Layer } from "effect"
 * import { HealthProbe, Host } from "gateway-lock"
 *
 * // In a test: a network without listeners.
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
   * Sends `GET path`. Fails with `ProbeFailed` if no HTTP answer arrives.
   *
   * This effect has no deadline and may never end. Its interruption destroys the connection. The transport sets `connecting` to
   * `true` before it makes the connection, and to `false` when the connection is made. From this value, a caller that stops waiting
   * sees whether a connection was made. A transport that never sets `connecting` counts as connected from the start.
   */
  readonly get: (
    address: Address,
    path: string,
    connecting?: MutableRef.MutableRef<boolean>
  ) => Effect.Effect<Answer, ProbeFailed>
}>() {}

/** Errors of connect(2) and of name resolution after which the probe reports `NoListener`. */
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
 * Whether a connection failed with an error that means `NoListener`.
 *
 * @internal
 */
export const isNoListener = (error: { readonly code?: string | undefined }): boolean => noListener.has(error.code ?? "")

/**
 * Whether a socket is connected to itself. Then nothing listens on the port.
 *
 * TCP allows a socket to connect to itself (RFC 9293, 3.5, simultaneous open). This happens if the kernel picks the probed
 * port as the local port, which it can if that port is free and in `ip_local_port_range`.
 *
 * @internal
 */
export const isToItself = (socket: Net.Socket): boolean =>
  socket.localPort !== undefined && socket.localPort === socket.remotePort
  && socket.localAddress === socket.remoteAddress

/**
 * Resets a socket that is connected to itself. After an orderly close the kernel would keep the port for a minute, and no
 * process could bind it.
 *
 * @internal
 */
export const endConnectionToItself = (socket: Net.Socket): void => {
  socket.resetAndDestroy()
}

type Resume = (answer: Effect.Effect<Answer, ProbeFailed>) => void

/** Asks with Node's HTTP client on a connection that is already made. */
const askWithClient = (socket: Duplex, address: Address, path: string, resume: Resume): Http.ClientRequest => {
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

/**
 * Gives the answer that has begun to arrive on a socket to Node's HTTP client. The request is already sent, so what the client
 * writes is dropped.
 */
const passToClient = (
  socket: Net.Socket,
  arrived: ReadonlyArray<Buffer>,
  address: Address,
  path: string,
  resume: Resume
): Http.ClientRequest => {
  const answer = new Duplex({
    read: () => {
      socket.resume()
    },
    write: (_chunk, _encoding, done) => done(),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    }
  })
  const push = (chunk: Buffer | null) => {
    if (!answer.push(chunk)) socket.pause()
  }
  arrived.forEach(push)
  socket.on("data", push)
  socket.once("close", () => answer.destroy())
  if (socket.readableEnded) push(null)
  else socket.once("end", () => push(null))
  return askWithClient(answer, address, path, resume)
}

/** What a URL, and so a request, may contain unescaped. */
const plainPath = /^\/[\x21-\x7e]*$/

/** Sends the request on a connection that is already made. An answer in the plainest form needs no HTTP client. */
const ask = (
  socket: Net.Socket,
  address: Address,
  path: string,
  resume: Resume,
  fail: (error: NodeJS.ErrnoException) => void
): void => {
  if (!plainPath.test(path)) {
    askWithClient(socket, address, path, resume).on("error", fail)
    return
  }
  const arrived: Array<Buffer> = []
  const pass = () => {
    socket.off("data", read)
    socket.off("end", pass)
    passToClient(socket, arrived, address, path, resume).on("error", fail)
  }
  const read = (chunk: Buffer) => {
    arrived.push(chunk)
    const answer = PlainAnswer.parse(Buffer.concat(arrived))
    if (answer._tag === "Other") return pass()
    if (answer._tag === "Incomplete") return
    socket.destroy()
    resume(Effect.succeed({ status: answer.status, body: answer.body }))
  }
  socket.on("data", read)
  socket.once("end", pass)
  const host = address.port === 80 ? urlHost(address.host) : `${urlHost(address.host)}:${address.port}`
  socket.write(
    `GET ${path} HTTP/1.1\r\naccept: application/json\r\nconnection: close\r\nHost: ${host}\r\n\r\n`
  )
}

/** How long a connection within this machine takes at most, if the loopback interface is up. */
const loopbackMillis = 50

/** Whether a host is an IPv4 address of this machine: a loopback address or the wildcard 0.0.0.0. */
const isWithinV4 = (host: string): boolean => !isV6(host) && (isLoopback(host) || isWildcard(host))

/**
 * Whether an interface that is up has an address of 127.0.0.0/8. Node throws if it cannot list the interfaces
 * (`getCheckedFunction` in lib/os.js). The result is then `true`, because nothing shows that the loopback interface is down.
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
    // Most probes find no listener. To spare these probes the work, the HTTP request is prepared only after the connection is made.
    MutableRef.set(connecting, true)
    const socket = Net.connect({ host: address.host, port: address.port })
    socket.on("error", fail)
    // If the loopback interface is down, Linux does not refuse the connection. Without this timeout the probe would wait for a
    // connection that never completes.
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
      if (!isToItself(socket)) return ask(socket, address, path, resume, fail)
      endConnectionToItself(socket)
      resume(
        new ProbeFailed({ reason: "NoListener", detail: "nothing listens there: the socket was connected to itself" })
      )
    })
    return Effect.sync(() => {
      socket.destroy()
    })
  })

/**
 * Sends requests on a new connection each, and uses no proxy.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProbeTransport> = Layer.succeed(ProbeTransport, ProbeTransport.of({ get }))
