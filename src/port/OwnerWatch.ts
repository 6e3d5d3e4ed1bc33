/**
 * Notices, without asking again and again, that whoever listens on an address has ended.
 *
 * Holds one connection open. When its owner ends, however it ends, the kernel closes it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import type { Address } from "./Address.ts"
import { watchSubprotocol } from "./ServerSocket.ts"

/**
 * Tells of the end of whoever listens on an address. Needs no token. Never fails.
 *
 * @since 0.1.0
 * @category tags
 */
export class OwnerWatch extends Context.Tag("gateway-lock/OwnerWatch")<OwnerWatch, {
  /**
   * Completes when a connection to the address ends: its owner has ended, begun to shut down, or let go of a watcher that
   * it finds idle. At once where nobody listens. Never, where the listener answers as something that cannot be watched.
   */
  readonly ended: (address: Address) => Effect.Effect<void>
}>() {}

/** How the control socket's last frame begins. */
const shutdownFrame = "{\"type\":\"shutdown\""

/** A final ping frame's first byte, and an empty pong, masked with zeros as a client must mask (RFC 6455, 5.2 and 5.5). */
const pingByte = 0x89
const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

const ended = (address: Address): Effect.Effect<void> =>
  Effect.async((resume) => {
    const request = Http.request({
      host: address.host,
      port: address.port,
      path: "/",
      agent: false,
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        // Needs no token, which must not be shown to whoever happens to listen there.
        "sec-websocket-protocol": watchSubprotocol,
        // Any sixteen bytes (RFC 6455, 4.1): the answer is not checked, only that the connection stays.
        "sec-websocket-key": "Z2F0ZXdheS1sb2NrIHdjaA=="
      }
    })
    let socket: Duplex | undefined
    const close = () => {
      request.destroy()
      socket?.destroy()
    }
    const done = () => {
      close()
      resume(Effect.void)
    }
    request.on("error", done)
    request.on("close", () => {
      if (socket === undefined) done()
    })
    request.on("response", () => {
      // An HTTP answer instead of a WebSocket: this connection will end, and tell nothing by it.
      request.removeAllListeners("close").removeAllListeners("error").on("error", () => {})
      close()
    })
    request.on("upgrade", (_, upgraded) => {
      socket = upgraded
      upgraded.on("error", done)
      upgraded.on("end", done)
      upgraded.on("close", done)
      upgraded.on("data", (frames: Buffer) => {
        // Its owner waits for us to close as well, and may wait for long: we answer no other frames.
        if (frames.includes(shutdownFrame)) done()
        else if (frames[0] === pingByte) upgraded.write(pong)
      })
    })
    request.end()
    return Effect.sync(close)
  })

/**
 * Over `node:http`.
 *
 * @example
 * import { Effect } from "effect"
 * import { OwnerWatch } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { ended } = yield* OwnerWatch.OwnerWatch
 *   yield* ended({ host: "127.0.0.1", port: 18789 })
 *   yield* Effect.log("the gateway has ended, or is about to")
 * }).pipe(Effect.provide(OwnerWatch.layerLive))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<OwnerWatch> = Layer.succeed(OwnerWatch, OwnerWatch.of({ ended }))
