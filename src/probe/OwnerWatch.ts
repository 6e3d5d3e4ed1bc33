/**
 * Detects the end of a gateway without polling it.
 *
 * The watcher holds one connection to the gateway open. When the gateway's process ends, the kernel closes that
 * connection, even after a crash or SIGKILL. Watch only a listener whose answer to `/healthz` has an `instanceId`. On other
 * programs, an idle connection can do harm: it blocks a single-threaded server, and some programs log it as a failure.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Http from "node:http"
import type * as Net from "node:net"
import type { Duplex } from "node:stream"
import type { Address } from "../Address.ts"
import { endConnectionToItself, isNoListener, isToItself } from "../host/ProbeTransport.ts"

/**
 * The listener cannot be watched. It refused the subprotocol `gateway-watch`, accepts no more watchers, speaks another
 * protocol, or gave no answer within a second. Poll that listener instead.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotWatchable extends Data.TaggedError("NotWatchable")<{
  readonly host: string
  readonly port: number
  /** What the listener did, in words. */
  readonly reason: string
}> {
  override get message() {
    return `cannot watch the listener on ${this.host}:${this.port}: ${this.reason}`
  }
}

/**
 * Reports the end of the gateway that listens on an address. Needs no token.
 *
 * @since 0.1.0
 * @category tags
 */
export class OwnerWatch extends Context.Tag("gateway-lock/OwnerWatch")<OwnerWatch, {
  /**
   * Completes when the connection to the gateway ends. By then the gateway has ended, has begun to shut down, or has
   * closed the connection because this watcher did not answer a ping in time. Completes at once if nothing listens.
   * Fails with `NotWatchable`, within about a second, if the listener does not accept the watch.
   */
  readonly ended: (address: Address) => Effect.Effect<void, NotWatchable>
}>() {}

/**
 * The WebSocket subprotocol of a client that only waits for the gateway's end. Until then, the gateway sends such a
 * client no message. The gateway requires no token for this subprotocol, so a client never has to show a token to an
 * unknown listener.
 *
 * @since 0.1.0
 * @category constants
 */
export const watchSubprotocol = "gateway-watch"

/**
 * The path that a client requests with the subprotocol `gateway-watch`. It is the same for every gateway, even if an app
 * has moved the control socket (the gateway's own WebSocket) from `/` to another path.
 *
 * @since 0.1.0
 * @category constants
 */
export const watchPath = "/"

/** How long a gateway may take to accept a watch. */
const handshakeTimeout = Duration.seconds(1)

/** The beginning of the last frame that a gateway sends on a control socket. */
const shutdownFrame = "{\"type\":\"shutdown\""

/**
 * `pingByte` is the first byte of an unfragmented ping frame. `pong` is an empty pong frame. A client must mask its
 * frames, and the mask of this frame is zeros (RFC 6455, 5.2 and 5.5).
 */
const pingByte = 0x89
const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

const request = (address: Address): Http.ClientRequest =>
  Http.request({
    host: address.host,
    port: address.port,
    path: "/",
    agent: false,
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      // The request carries no token, because an unknown listener must not see the token.
      "sec-websocket-protocol": watchSubprotocol,
      // The key may be any sixteen bytes (RFC 6455, 4.1). The gateway's answer to it is not checked, because only the open
      // connection matters.
      "sec-websocket-key": "Z2F0ZXdheS1sb2NrIHdjaA=="
    }
  }).on("error", () => {})

interface Accepted {
  readonly socket: Duplex
  /** The bytes that arrived together with the answer. */
  readonly head: Buffer
}

/** Waits until the listener accepts the watch. `None` if nothing listens. */
const accepted = (
  request: Http.ClientRequest,
  address: Address
): Effect.Effect<Option.Option<Accepted>, NotWatchable> =>
  Effect.async((resume) => {
    const fail = (reason: string) => resume(new NotWatchable({ host: address.host, port: address.port, reason }))
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (isNoListener(error)) resume(Effect.succeedNone)
      else fail(`did not answer as HTTP (${error.message})`)
    })
    const refuseItself = (socket: Net.Socket) => {
      if (!isToItself(socket)) return
      endConnectionToItself(socket)
      resume(Effect.succeedNone)
    }
    request.on("socket", (socket) => {
      if (socket.connecting) socket.once("connect", () => refuseItself(socket))
      else refuseItself(socket)
    })
    request.on("response", (response) => fail(`answered HTTP ${response.statusCode ?? 0}`))
    request.on("upgrade", ({ headers }, socket, head) => {
      socket.on("error", () => {})
      if (headers.upgrade?.toLowerCase() === "websocket" && headers["sec-websocket-protocol"] === watchSubprotocol) {
        resume(Effect.succeedSome({ socket, head }))
      } else fail("switched to another protocol")
    })
    request.end()
  })

const untilClosed = ({ head, socket }: Accepted): Effect.Effect<void> =>
  Effect.async((resume) => {
    const done = () => resume(Effect.void)
    const read = (frames: Buffer) => {
      // The shutdown frame completes the watch, because the gateway then waits until this client closes the connection as
      // well. Of the other frames, only pings are answered.
      if (frames.includes(shutdownFrame)) done()
      else if (frames[0] === pingByte) socket.write(pong)
    }
    if (socket.destroyed) return done()
    socket.on("end", done).on("close", done).on("data", read)
    read(head)
  })

const ended = (address: Address): Effect.Effect<void, NotWatchable> =>
  Effect.acquireUseRelease(
    Effect.sync(() => request(address)),
    (request) =>
      accepted(request, address).pipe(
        Effect.timeoutFail({
          duration: handshakeTimeout,
          onTimeout: () =>
            new NotWatchable({
              host: address.host,
              port: address.port,
              reason: `gave no answer within ${Duration.toMillis(handshakeTimeout)}ms`
            })
        }),
        Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: untilClosed }))
      ),
    (request) =>
      Effect.sync(() => {
        request.destroy()
        // After an upgrade, Node considers the request destroyed and leaves its socket to the listener of `upgrade`
        // (`socketOnData` in lib/_http_client.js). So destroy the socket here.
        request.socket?.destroy()
      })
  )

/**
 * Provides an `OwnerWatch` that connects to gateways with `node:http`.
 *
 * @example
 * import { Effect } from "effect"
 * import { Recovery } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { ended } = yield* Recovery.OwnerWatch.OwnerWatch
 *   yield* ended({ host: "127.0.0.1", port: 18789 })
 *   yield* Effect.log("the gateway has ended, or is about to")
 * }).pipe(
 *   Effect.catchTag("NotWatchable", ({ message }) => Effect.log(message)),
 *   Effect.provide(Recovery.OwnerWatch.layerLive)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<OwnerWatch> = Layer.succeed(OwnerWatch, OwnerWatch.of({ ended }))
