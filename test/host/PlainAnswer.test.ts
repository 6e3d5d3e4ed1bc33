import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { parse } from "../../src/host/PlainAnswer.ts"

const head = (...lines: ReadonlyArray<string>) => `${["HTTP/1.1 200 OK", ...lines].join("\r\n")}\r\n\r\n`
const tagOf = (text: string) => parse(Buffer.from(text, "latin1"))._tag

describe("PlainAnswer", () => {
  it.prop("an answer of any status and body is read once its last byte has arrived", [
    fc.integer({ min: 200, max: 599 }).filter((status) => ![204, 205, 304].includes(status)),
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.nat()
  ], ([status, text, cut]) => {
    const body = Buffer.from(text)
    const begin = `HTTP/1.1 ${status} Some Reason\r\nX-A: b, c\r\nCONTENT-LENGTH:${body.length} \r\n\r\n`
    const whole = Buffer.concat([Buffer.from(begin), body])
    assert.deepStrictEqual(parse(whole), { _tag: "Plain", status, body: body.toString("utf8") })
    const part = parse(whole.subarray(0, cut % whole.length))._tag
    assert.strictEqual(part, cut % whole.length < begin.length ? "Other" : "Incomplete")
  })

  it.each([
    ["nothing", ""],
    ["another protocol", "220 mail.example.org\r\n\r\n"],
    ["HTTP 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a head without its end", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"],
    ["a body whose end is that of the connection", head("Server: x")],
    ["chunks", head("Transfer-Encoding: chunked")],
    ["a length and chunks", head("Content-Length: 3", "Transfer-Encoding: chunked")],
    ["two lengths", head("Content-Length: 0", "Content-Length: 0")],
    ["a list of lengths", head("Content-Length: 0, 0")],
    ["a negative length", head("Content-Length: -1")],
    ["a length in hexadecimal digits", head("Content-Length: 0x1")],
    ["a long body", head("Content-Length: 65537")],
    ["a space before a colon", head("Content-Length : 0")],
    ["a header that goes on in the next line", head("A: b", " c", "Content-Length: 0")],
    ["a line that ends with LF only", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"],
    ["a control character in a header", head("A: \u0001", "Content-Length: 0")],
    ["more than the body", `${head("Content-Length: 1")}ab`],
    ["an early hint", "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n"],
    ["another protocol on the same connection", "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n"],
    ["the offer of another protocol", head("Upgrade: h2c", "Content-Length: 0")],
    ["an answer without a body", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"],
    ["a long head", head(`A: ${"b".repeat(9000)}`, "Content-Length: 0")]
  ])("%s is left to Node's client", (_, text) => {
    assert.strictEqual(tagOf(text), "Other")
  })
})
