import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { answer, hello, path, shutdown } from "../../src/server/ControlSocket.ts"
import * as arbitraries from "../arbitraries.ts"

const text = (text: string) => answer({ _tag: "Text", text })

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe("ControlSocket", () => {
  it.prop("a ping is answered by a pong with the very id, whatever JSON it is", [fc.jsonValue()], ([id]) => {
    const reply = text(JSON.stringify({ type: "ping", id }))
    assert.deepStrictEqual(reply.send.map((frame): unknown => JSON.parse(frame)), [
      JSON.parse(JSON.stringify({ type: "pong", id }))
    ])
    assert.notProperty(reply, "close")
  })

  it("a ping without id gets a pong without", () => {
    assert.deepStrictEqual(text("{\"type\":\"ping\"}"), { send: ["{\"type\":\"pong\"}"] })
    assert.deepStrictEqual(text("{\"type\":\"ping\",\"id\":null}"), { send: ["{\"type\":\"pong\",\"id\":null}"] })
    assert.deepStrictEqual(text(" {\"id\":1,\"type\":\"ping\",\"more\":2}\n"), {
      send: ["{\"type\":\"pong\",\"id\":1}"]
    })
  })

  it("a watch is answered by what follows it", () => {
    assert.deepStrictEqual(text("{\"type\":\"watch\"}"), { send: [], watch: true })
    assert.deepStrictEqual(text("{\"type\":\"watch\",\"more\":1}"), { send: [], watch: true })
  })

  it.prop("text that is not JSON closes with 1007", [fc.string({ unit: "binary" }).filter((text) => !isJson(text))], ([
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
    fc.oneof(fc.string({ unit: "binary" }), fc.json())
  ], ([frame]) => {
    for (const reply of [text(frame), answer({ _tag: "Binary" })]) {
      if (reply.close === undefined) continue
      assert.deepStrictEqual(reply.send.map((frame): unknown => JSON.parse(frame)), [
        { type: "error", code: reply.close.code, message: reply.close.reason }
      ])
      // RFC 6455, 5.5: 125 bytes, two of them the code.
      assert.isAtMost(Buffer.byteLength(reply.close.reason), 123)
    }
  })

  it("hello and shutdown read as the contract says", () => {
    assert.strictEqual(path, "/")
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
