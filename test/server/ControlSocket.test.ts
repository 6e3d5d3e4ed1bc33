import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Schema } from "effect"
import { answer, hello, shutdown } from "../../src/server/ControlSocket.ts"
import * as arbitraries from "../arbitraries.ts"

const text = (text: string) => answer({ _tag: "Text", text })

/** The messages of the protocol, as the contract describes them. */
const Id = Schema.Union(Schema.String, Schema.Finite, Schema.Null)
const isPing = Schema.is(Schema.Struct({ type: Schema.Literal("ping"), id: Schema.optionalWith(Id, { exact: true }) }))
const isWatch = Schema.is(Schema.Struct({ type: Schema.Literal("watch") }))

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe("ControlSocket", () => {
  it.prop(
    "a ping is answered by a pong with the same id: a string, a finite number or null",
    [fc.oneof(
      fc.string({ unit: arbitraries.character }),
      fc.double({ noDefaultInfinity: true, noNaN: true }),
      fc.constant(null)
    )],
    ([id]) => {
      assert.deepStrictEqual(text(JSON.stringify({ type: "ping", id })), {
        send: [JSON.stringify({ type: "pong", id })]
      })
    }
  )

  it.prop(
    "a ping whose id is an array, an object or a boolean closes with 1008",
    [fc.oneof(fc.boolean(), fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()))],
    ([id]) => {
      assert.strictEqual(text(JSON.stringify({ type: "ping", id })).close?.code, 1008)
    }
  )

  it.each(["1e999", "-1e999"])("a ping with the id %s, which is too large for a number, closes with 1008", (id) => {
    assert.strictEqual(text(`{"type":"ping","id":${id}}`).close?.code, 1008)
  })

  const arrays = `${"[".repeat(30_000)}${"]".repeat(30_000)}`
  const objects = `${"{\"a\":".repeat(10_000)}1${"}".repeat(10_000)}`
  it.each([
    ["an array", arrays, 1008],
    ["an object", objects, 1008],
    ["an id that is an array", `{"type":"ping","id":${arrays}}`, 1008],
    ["an id that is an object", `{"type":"ping","id":${objects}}`, 1008],
    ["a type", `{"type":${arrays}}`, 1008],
    ["another field of a ping", `{"type":"ping","more":${arrays}}`, undefined],
    ["a field of a watch", `{"type":"watch","id":${arrays}}`, undefined],
    ["a field of no message", `{"type":"other","id":${arrays}}`, 1008],
    ["an array that does not end", "[".repeat(60_000), 1007]
  ])("JSON nested as deep as a frame allows is harmless: %s", (_, frame, code) => {
    assert.strictEqual(text(frame).close?.code, code)
  })

  it("a ping without id gets a pong without", () => {
    assert.deepStrictEqual(text("{\"type\":\"ping\"}"), { send: ["{\"type\":\"pong\"}"] })
    assert.deepStrictEqual(text("{\"type\":\"ping\",\"id\":null}"), { send: ["{\"type\":\"pong\",\"id\":null}"] })
    assert.deepStrictEqual(text(" {\"id\":1,\"type\":\"ping\",\"more\":2}\n"), {
      send: ["{\"type\":\"pong\",\"id\":1}"]
    })
  })

  const nearMessages = fc.record({
    type: fc.oneof(fc.constantFrom("ping", "watch"), fc.jsonValue()),
    id: fc.jsonValue(),
    ["__proto__"]: fc.jsonValue(),
    more: fc.jsonValue()
  }, { requiredKeys: [] })
  it.prop(
    "what is a message agrees with the schemas of the protocol",
    [fc.oneof(nearMessages, fc.jsonValue())],
    ([value]) => {
      const frame = JSON.stringify(value)
      const message: unknown = JSON.parse(frame)
      const reply = text(frame)
      assert.strictEqual(reply.watch === true, isWatch(message))
      assert.strictEqual(reply.close === undefined, isWatch(message) || isPing(message))
      if (isPing(message)) {
        assert.deepStrictEqual(reply, {
          send: [JSON.stringify({ type: "pong", ...("id" in message ? { id: message.id } : {}) })]
        })
      }
    }
  )

  it("a watch is answered by what follows it", () => {
    assert.deepStrictEqual(text("{\"type\":\"watch\"}"), { send: [], watch: true })
    assert.deepStrictEqual(text("{\"type\":\"watch\",\"more\":1}"), { send: [], watch: true })
  })

  it.prop("text that is not JSON closes with 1007", [
    fc.string({ unit: arbitraries.character }).filter((text) => !isJson(text))
  ], ([
    frame
  ]) => text(frame).close?.code === 1007)

  it.prop(
    "JSON that is no message closes with 1008",
    [fc.jsonValue()],
    ([value]) => text(JSON.stringify(value)).close?.code === 1008
  )

  it.each([
    "null",
    "[]",
    "\"ping\"",
    "{}",
    "{\"type\":\"pong\"}",
    "{\"type\":\"PING\"}",
    "{\"type\":[\"ping\"]}",
    "{\"__proto__\":{\"type\":\"ping\"}}"
  ])("%s is no message", (frame) => {
    assert.strictEqual(text(frame).close?.code, 1008)
  })

  it("a binary frame closes with 1003", () => {
    assert.strictEqual(answer({ _tag: "Binary" }).close?.code, 1003)
  })

  it.prop("a refusal is said in a frame first, and its reason fits into a close frame", [
    fc.oneof(fc.string({ unit: arbitraries.character }), fc.json())
  ], ([frame]) => {
    for (const reply of [text(frame), answer({ _tag: "Binary" })]) {
      if (reply.close === undefined) continue
      assert.deepStrictEqual(reply.send.map((frame): unknown => JSON.parse(frame)), [
        { type: "error", code: reply.close.code, message: reply.close.reason }
      ])
      // RFC 6455, 5.5: a control frame has at most 125 bytes. The close code takes two of them, so 123 are left for the reason.
      assert.isAtMost(Buffer.byteLength(reply.close.reason), 123)
    }
  })

  it("hello and shutdown read as the contract says", () => {
    assert.strictEqual(
      hello({ instanceId: "a", version: "1.2.3", uptimeMs: 5 }),
      "{\"type\":\"hello\",\"instanceId\":\"a\",\"version\":\"1.2.3\",\"uptimeMs\":5}"
    )
    assert.strictEqual(shutdown("stopped"), "{\"type\":\"shutdown\",\"reason\":\"stopped\"}")
  })

  it.prop("a shutdown frame holds any reason", [arbitraries.text], ([reason]) => {
    assert.deepStrictEqual(JSON.parse(shutdown(reason)), { type: "shutdown", reason })
  })
})
