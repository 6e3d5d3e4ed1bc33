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
import type { Address } from "./Address.ts"

/**
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
        // Any sixteen bytes (RFC 6455, 4.1): the answer is not checked, only that the connection stays.
        "sec-websocket-key": "Z2F0ZXdheS1sb2NrIHdjaA=="
      }
    })
    let socket: { destroy: () => unknown } | undefined
    const done = () => resume(Effect.void)
    request.on("error", done)
    request.on("close", () => {
      if (socket === undefined) done()
    })
    request.on("response", (response) => {
      // An HTTP answer instead of a WebSocket: this connection will end, and tell nothing by it.
      request.removeAllListeners("close").removeAllListeners("error").on("error", () => {})
      response.destroy()
    })
    request.on("upgrade", (_, upgraded) => {
      socket = upgraded
      upgraded.on("error", () => {})
      upgraded.on("end", done)
      upgraded.on("close", done)
      upgraded.resume()
    })
    request.end()
    return Effect.sync(() => {
      request.destroy()
      socket?.destroy()
    })
  })

/**
 * Over `node:http`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<OwnerWatch> = Layer.succeed(OwnerWatch, OwnerWatch.of({ ended }))
