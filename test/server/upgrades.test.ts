/**
 * In these tests, requests ask for another protocol. The gateway supports WebSockets only. As RFC 9110, 7.8 allows, it ignores
 * any other `Upgrade` and answers the request normally.
 */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import { echo, type Options, start } from "../fixtures/listening.ts"
import { connect, frame, opcode, textFrame, webSocket } from "../fixtures/net.ts"

const live = it.scopedLive

/** A gateway whose app answers each request with the method, the path and the body of the request. */
const echoing = (options: Options = {}) =>
  Effect.tap(start(options), ({ serve }) =>
    serve(Effect.gen(function*() {
      const { method, text, url } = yield* HttpServerRequest.HttpServerRequest
      return HttpServerResponse.text(`${method} ${url} <${yield* Effect.orDie(text)}>`)
    })))

const h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
const get = (path: string, lines = "") => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n`
const post = (path: string, lines: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n${body}`
const withLength = `Content-Length: 5\r\n`
const chunked = "Transfer-Encoding: chunked\r\n"
const chunks = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

/** Status and body of every response in the received text. Each response must have a Content-Length. */
const answers = (received: string): ReadonlyArray<readonly [status: number, body: string]> => {
  const found: Array<readonly [number, string]> = []
  let rest = received
  while (rest !== "") {
    const [head = ""] = rest.split("\r\n\r\n")
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
    const body = rest.slice(head.length + 4, head.length + 4 + length)
    found.push([Number(head.slice(9, 12)), body])
    rest = rest.slice(head.length + 4 + length)
  }
  return found
}

/**
 * Sends the parts one by one. Each part after the first waits for the response to the part before it. The last response closes
 * the connection.
 */
const conversation = (gateway: Effect.Effect.Success<ReturnType<typeof echoing>>, parts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const client = yield* connect(gateway.address)
    for (const [index, part] of parts.entries()) {
      yield* client.send(part)
      if (index < parts.length - 1) yield* client.until(/>$/)
    }
    yield* client.ended
    return answers(yield* client.received)
  })

const last = get("/last", "Connection: close\r\n")
const lastAnswer = [200, "GET /last <>"] as const

const plain: ReadonlyArray<readonly [what: string, request: string, answer: string]> = [
  ["h2c, as curl sends it", get("/a", h2c), "GET /a <>"],
  ["h2c, with a body", post("/a", h2c + withLength, "abcde"), "POST /a <abcde>"],
  ["h2c, with a body in chunks", post("/a", h2c + chunked, chunks), "POST /a <abcde>"],
  ["h2c, in capitals", get("/a", "CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n"), "GET /a <>"],
  ["TLS", get("/a", "Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n"), "GET /a <>"],
  ["nothing at all", get("/a", "Connection: upgrade\r\nUpgrade: \r\n"), "GET /a <>"],
  ["a protocol that begins like a WebSocket", get("/a", "Connection: upgrade\r\nUpgrade: websocket2\r\n"), "GET /a <>"],
  ["a WebSocket, without Connection: Upgrade", get("/a", "Upgrade: websocket\r\n"), "GET /a <>"],
  [
    "a WebSocket, by another method than GET",
    post("/a", `Connection: upgrade\r\nUpgrade: websocket\r\n${withLength}`, "abcde"),
    "POST /a <abcde>"
  ]
]

describe("a request that asks for", () => {
  for (const [what, asked, answer] of plain) {
    live(`${what}, is answered, and the next ones on its connection`, () =>
      Effect.gen(function*() {
        const gateway = yield* echoing()
        assert.deepStrictEqual(yield* conversation(gateway, [asked, asked, get("/b"), last]), [
          [200, answer],
          [200, answer],
          [200, "GET /b <>"],
          lastAnswer
        ])
      }))

    live(`${what}, is answered, and so is what was sent with it at once`, () =>
      Effect.gen(function*() {
        const gateway = yield* echoing()
        for (const parts of [[asked + last], [asked + asked + get("/b") + asked + last], [get("/b") + asked + last]]) {
          const received = yield* conversation(gateway, parts)
          assert.deepStrictEqual(
            received.map(([, body]) => body),
            parts.join("").split(/(?=(?:GET|POST) )/).map((part) => {
              if (part.startsWith("GET /last")) return "GET /last <>"
              return part.startsWith("GET /b") ? "GET /b <>" : answer
            })
          )
        }
      }))
  }

  live(
    "h2c, is answered by the gateway's own routes and where nothing is served, as without",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        for (const path of ["/healthz", "/", "/nothing", "/readyz"]) {
          const bodies: Array<string> = []
          for (const lines of [h2c, ""]) {
            const client = yield* connect(gateway.address)
            yield* client.send(get(path, lines) + last)
            yield* client.ended
            bodies.push((yield* client.received).replaceAll(/date: .*\r\n/gi, ""))
          }
          assert.strictEqual(bodies[0], bodies[1], path)
        }
      })
  )

  live("a WebSocket in HTTP/1.0, is answered as a plain one", () =>
    Effect.gen(function*() {
      const gateway = yield* echoing()
      const client = yield* connect(gateway.address)
      yield* client.send(
        "GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
          + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
      )
      yield* client.ended
      assert.deepStrictEqual(answers(yield* client.received), [[200, "GET /a <>"]])
    }))

  live("h2c in HTTP/1.0, ends its connection, whatever follows it", () =>
    Effect.gen(function*() {
      const gateway = yield* echoing()
      const old = (lines: string) => `GET /a HTTP/1.0\r\nHost: localhost\r\n${lines}\r\n`
      for (const rest of [old(h2c).repeat(5), last, get("/b", h2c), "no HTTP at all", "\r\n", "x"]) {
        for (const first of [old(h2c), get("/a", `${h2c}Connection: close\r\n`)]) {
          assert.deepStrictEqual(yield* conversation(gateway, [first + rest]), [[200, "GET /a <>"]], rest)
        }
      }
    }))

  live("h2c, is judged by its Host and Origin like any other", () =>
    Effect.gen(function*() {
      const gateway = yield* echoing()
      const evil = get("/a", h2c).replace("Host: localhost", "Host: evil.example")
      assert.deepStrictEqual((yield* conversation(gateway, [evil])).map(([status]) => status), [421])
      const foreign = post("/a", `${h2c}Origin: https://evil.example\r\n${withLength}`, "abcde")
      assert.deepStrictEqual((yield* conversation(gateway, [foreign + last])).map(([status]) => status), [403])
    }))

  live(
    "h2c, behind one that takes its time, is answered after it, in pieces and at once",
    () =>
      Effect.gen(function*() {
        const gateway = yield* start()
        const release = yield* Deferred.make<void>()
        yield* gateway.serve(Effect.gen(function*() {
          const { url } = yield* HttpServerRequest.HttpServerRequest
          if (url === "/slow") yield* Deferred.await(release)
          return HttpServerResponse.text(`${url}>`)
        }))
        const client = yield* connect(gateway.address)
        yield* client.send(get("/slow") + get("/a", h2c) + get("/b"))
        yield* client.send(post("/c", h2c + withLength, "ab"))
        yield* client.send(`cde${get("/d", h2c)}${last}`)
        yield* Deferred.succeed(release, undefined)
        yield* client.ended
        assert.deepStrictEqual(
          answers(yield* client.received).map(([, body]) => body),
          ["/slow>", "/a>", "/b>", "/c>", "/d>", "/last>"]
        )
      })
  )

  live("h2c, in the middle of a large answer that is not read yet, is answered after it", () =>
    Effect.gen(function*() {
      const gateway = yield* start()
      const large = "x".repeat(8_000_000)
      yield* gateway.serve(Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) =>
        HttpServerResponse.text(url === "/large" ? large : `${url}>`)))
      const client = yield* connect(gateway.address)
      client.socket.pause()
      yield* client.send(get("/large") + get("/a", h2c) + get("/b"))
      yield* client.send(get("/c", h2c) + last)
      client.socket.resume()
      yield* client.ended
      assert.deepStrictEqual(
        answers(yield* client.received).map(([, body]) =>
          body.slice(0, 10)
        ),
        ["xxxxxxxxxx", "/a>", "/b>", "/c>", "/last>"]
      )
    }))
})

describe("a WebSocket", () => {
  const opening = (upgrade: string, path = "/") =>
    get(
      path,
      `Connection: keep-alive, Upgrade\r\n${upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`
    )

  for (
    const upgrade of [
      "Upgrade: websocket\r\n",
      "UPGRADE: WebSocket\r\n",
      "Upgrade: websocket, foo\r\n",
      "Upgrade: h2c,  WEBSOCKET\r\n",
      "Upgrade: h2c\r\nUpgrade: websocket\r\n"
    ]
  ) {
    live(
      `is opened by ${JSON.stringify(upgrade)}, the app's too, and frames behind it are read`,
      () =>
        Effect.gen(function*() {
          const gateway = yield* start()
          yield* gateway.serve(Effect.flatMap(HttpServerRequest.upgrade, (socket) => echo(socket, "got ")))
          const control = yield* connect(gateway.address)
          yield* control.send(
            Buffer.concat([Buffer.from(opening(upgrade)), textFrame("{\"type\":\"ping\",\"id\":\"mine\"}")])
          )
          yield* control.until(/ 101 [^]*hello[^]*"id":"mine"/)
          const own = yield* connect(gateway.address)
          yield* own.send(opening(upgrade, "/app"))
          yield* own.until(/ 101 /)
          yield* own.send(textFrame("data"))
          yield* own.until(/got data/)
          yield* own.send(frame(opcode.close, Buffer.of(3, 232)))
          yield* own.ended
        })
    )
  }

  live("can follow plain requests on one connection", () =>
    Effect.gen(function*() {
      const gateway = yield* echoing()
      const client = yield* connect(gateway.address)
      yield* client.send(get("/a", h2c))
      yield* client.until(/>$/)
      yield* client.send(opening("Upgrade: websocket\r\n"))
      yield* client.until(/ 101 [^]*hello/)
      const watcher = yield* webSocket(gateway.address, "/", { protocols: [watchSubprotocol] })
      assert.strictEqual(watcher.protocol, watchSubprotocol)
    }))
})
