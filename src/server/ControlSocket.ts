/**
 * The messages of the control socket, which is a WebSocket at `/` unless an app moves it. Pure.
 *
 * On this socket, the gateway says which instance it is, answers pings, and announces its shutdown. It reports its state to each
 * client that has sent `watch`.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { ControlFrame, ControlReply } from "./ServerSocket.ts"

/** Close codes of RFC 6455, 7.4.1. */
const closeCode = { unsupportedData: 1003, invalidPayload: 1007, policyViolation: 1008 } as const

/**
 * Encodes the first message to a client: the instance, its version and its uptime in milliseconds.
 *
 * @since 0.1.0
 * @category encoding
 */
export const hello = (instance: { readonly instanceId: string; readonly version: string; readonly uptimeMs: number }) =>
  JSON.stringify({
    type: "hello",
    instanceId: instance.instanceId,
    version: instance.version,
    uptimeMs: instance.uptimeMs
  })

/**
 * Encodes the last message to a client: the shutdown of the gateway and its reason.
 *
 * @since 0.1.0
 * @category encoding
 */
export const shutdown = (reason: string): string => JSON.stringify({ type: "shutdown", reason })

const refuse = (code: number, reason: string): ControlReply => ({
  send: [JSON.stringify({ type: "error", code, message: reason })],
  close: { code, reason }
})

/**
 * The `id` of a ping, which the pong repeats. Arrays and objects are refused. They can be nested so deeply that `JSON.stringify`
 * throws when it encodes the pong.
 */
const PingId = Schema.Union(Schema.String, Schema.Finite, Schema.Null)
const Ping = Schema.Struct({ type: Schema.Literal("ping"), id: Schema.optionalWith(PingId, { exact: true }) })
const Json = Schema.parseJson()
const decodeJson = Schema.decodeUnknownEither(Json)
const isPing = Schema.is(Ping)
const isWatch = Schema.is(Schema.Struct({ type: Schema.Literal("watch") }))

/**
 * Decides the reply to a frame:
 *
 * - a ping: a pong with the same `id` (a string, a finite number or null);
 * - `watch`: no frame at once, but a stream of `StatusFrame`s from now on;
 * - anything else: an error message, then a close. The code is 1003 for a binary frame, 1007 for text that is not JSON, and
 *   1008 for JSON that is not a message of the protocol.
 *
 * @since 0.1.0
 * @category decisions
 */
export const answer = (frame: ControlFrame): ControlReply => {
  if (frame._tag === "Binary") return refuse(closeCode.unsupportedData, "frames must be text")
  const message = decodeJson(frame.text)
  if (Either.isLeft(message)) return refuse(closeCode.invalidPayload, "a frame must be one JSON text")
  if (isPing(message.right)) {
    return { send: [JSON.stringify({ type: "pong", ...("id" in message.right ? { id: message.right.id } : {}) })] }
  }
  if (isWatch(message.right)) return { send: [], watch: true }
  return refuse(closeCode.policyViolation, "a message must be {\"type\":\"ping\",\"id\":…} or {\"type\":\"watch\"}")
}
