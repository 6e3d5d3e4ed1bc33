/**
 * These tests send bytes that scanners, proxies and clients of other protocols send to an HTTP port. The bytes come from
 * reports about servers that crashed because of them: upgrades to HTTP/2 that are reset, TLS, SOCKS and PROXY headers, sizes
 * beyond 64 bits.
 */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { start } from "../fixtures/listening.ts"
import { connect, eventually, request, within } from "../fixtures/net.ts"

const get = (path: string, ...lines: ReadonlyArray<string>) =>
  [`GET ${path} HTTP/1.1`, "Host: localhost", ...lines, "", ""].join("\r\n")
const post = (lines: ReadonlyArray<string>, body: string) =>
  ["POST /x HTTP/1.1", "Host: localhost", ...lines, "", body].join("\r\n")
const hex = (text: string) => Buffer.from(text, "hex")
const chunked = ["Transfer-Encoding: chunked"]

/**
 * What a client sends, and the status of the gateway's first response to it. The status `""` means that there is no response: the
 * gateway closes the connection, or waits for more bytes.
 */
const odd: ReadonlyArray<readonly [what: string, bytes: string | Uint8Array, status: string]> = [
  [
    "a scanner's HEAD that asks for HTTP/2",
    "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "200"
  ],
  ["HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0", "400"],
  ["the begin of TLS", hex(`16030100c8010000c40303${"aa".repeat(197)}`), "400"],
  ["SOCKS 5", hex("050100"), "400"],
  ["SOCKS 4", hex("04010050c0a8010100"), "400"],
  ["a PROXY header", `PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${get("/")}`, "400"],
  ["a binary PROXY header", hex("0d0a0d0a000d0a515549540a20110000"), "400"],
  ["CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", ""],
  ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"],
  ["a body that is announced, and never sent", post(["Expect: 100-continue", "Content-Length: 5"], ""), "100"],
  ["an expectation that nobody knows", post(["Expect: banana", "Content-Length: 5"], "hello"), "417"],
  ["a folded header", get("/", "A: b", " c"), "400"],
  ["NUL in a path", get("/\0"), "400"],
  ["lines that end in LF", "GET / HTTP/1.1\nHost: localhost\n\n", "400"],
  ["a method of 20,000 letters", `${"A".repeat(20_000)} / HTTP/1.1\r\n\r\n`, "400"],
  ["a chunk's extension of 30,000 letters", post(chunked, `5;${"x".repeat(30_000)}\r\nhello\r\n0\r\n\r\n`), "413"],
  ["5,000 trailers", post(chunked, `0\r\n${"t: x\r\n".repeat(5000)}\r\n`), "200"],
  ["a chunk beyond 64 bits", post(chunked, "10000000000000000\r\nx"), "400"],
  ["a negative length", post(["Content-Length: -1"], ""), "400"],
  ["a length beyond 64 bits", post(["Content-Length: 99999999999999999999"], "x"), "400"],
  ["names of Object's own", get("/__proto__/constructor", "__proto__: x", "constructor: y"), "200"],
  ["escapes that are none", get("/%ff%fe%00%zz?a=%&b=%ff"), "200"],
  ["an address that is none", get("http://[::1/"), "400"]
]

describe("a client that sends", () => {
  for (const [what, bytes, status] of odd) {
    it.scopedLive(`${what}, gets ${status === "" ? "no answer" : status}, however it goes`, () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        // This app reads the whole body of a request, as most apps do.
        yield* gateway.serve(
          Effect.as(
            HttpServerRequest.HttpServerRequest.pipe(Effect.flatMap(({ text }) => text)),
            HttpServerResponse.text("ok")
          )
        )
        for (const end of ["waits", "ends", "resets"] as const) {
          yield* Effect.scoped(Effect.gen(function*() {
            const client = yield* connect(gateway.address)
            client.socket.write(bytes)
            if (end === "resets") return void client.socket.resetAndDestroy()
            if (end === "ends") client.socket.end()
            yield* status === "" ? client.ended : client.until(/\r\n/)
            if (end === "waits") assert.strictEqual((yield* client.received).slice(9, 12), status)
          }))
          assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
        }
        yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
        yield* gateway.shutdown.pipe(within("the end of the shutdown"))
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
  }
})
