/**
 * The WebSocket at `/`, unless an app moves it: who is there, whether it still answers, what it is about, and that it is going away. Pure.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { ControlFrame, ControlReply } from "./ServerSocket.ts"

/** RFC 6455, 7.4.1. */
const closeCode = { unsupportedData: 1003, invalidPayload: 1007, policyViolation: 1008 } as const

/**
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
 * @since 0.1.0
 * @category encoding
 */
export const shutdown = (reason: string): string => JSON.stringify({ type: "shutdown", reason })

const refuse = (code: number, reason: string): ControlReply => ({
  send: [JSON.stringify({ type: "error", code, message: reason })],
  close: { code, reason }
})

/** Sent back as it came. An array or an object could be nested deeper than `JSON.stringify` can follow. */
const PingId = Schema.Union(Schema.String, Schema.Finite, Schema.Null)
const Ping = Schema.Struct({ type: Schema.Literal("ping"), id: Schema.optionalWith(PingId, { exact: true }) })
const Json = Schema.parseJson()
const decodeJson = Schema.decodeUnknownEither(Json)
const isPing = Schema.is(Ping)
const isWatch = Schema.is(Schema.Struct({ type: Schema.Literal("watch") }))

/**
 * The reply to a frame: a pong with the ping's own `id` (a string, a finite number or null), the `StatusFrame`s that
 * follow a `watch`, or an error and a close code: 1003 for binary frames, 1007 for text that is not JSON, 1008 for JSON
 * that is no message of the protocol.
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
