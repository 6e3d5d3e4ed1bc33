/**
 * The messages of the control socket, which is a WebSocket at `/` unless an app moves it. Pure.
 *
 * On this socket, the gateway says which instance it is, answers pings, and announces its shutdown. It reports its state to each
 * client that has sent `watch`.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { parseJson } from "../internal/plainJson.ts"
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
const isPingId = (id: unknown): boolean =>
  typeof id === "string" || typeof id === "number" && Number.isFinite(id) || id === null

// By hand, because a serving gateway needs no schema otherwise, and to load the schemas takes two MiB.
const isOfType = (message: unknown, type: string): message is { readonly type: string } =>
  Predicate.hasProperty(message, "type") && message.type === type

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
  const parsed = parseJson(frame.text)
  if (Option.isNone(parsed)) return refuse(closeCode.invalidPayload, "a frame must be one JSON text")
  const message = parsed.value
  if (isOfType(message, "ping")) {
    if (!("id" in message)) return { send: [JSON.stringify({ type: "pong" })] }
    if (isPingId(message.id)) return { send: [JSON.stringify({ type: "pong", id: message.id })] }
  }
  if (isOfType(message, "watch")) return { send: [], watch: true }
  return refuse(closeCode.policyViolation, "a message must be {\"type\":\"ping\",\"id\":…} or {\"type\":\"watch\"}")
}
