/**
 * These tests show which requests the gateway refuses. They send the requests over real sockets.
 */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Redacted, Ref } from "effect"
import * as OwnerWatch from "../../src/probe/OwnerWatch.ts"
import { watchSubprotocol } from "../../src/probe/OwnerWatch.ts"
import * as AccessToken from "../../src/server/AccessToken.ts"
import { instanceId, type Options, start } from "../fixtures/listening.ts"
import { connect, eventually, request, textFrame, upgradeRequest, webSocket, within } from "../fixtures/net.ts"

const live = it.scopedLive
const token = Redacted.make("a token of more than thirty-two characters".replaceAll(" ", "-"))
const wrong = Redacted.make("another one of more than thirty-two characters".replaceAll(" ", "-"))

/** A gateway whose app records the requests that reach it. */
const guarded = (options: Options = {}) =>
  Effect.gen(function*() {
    const reached = yield* Ref.make<ReadonlyArray<string>>([])
    const gateway = yield* start(options)
    yield* gateway.serve(Effect.gen(function*() {
      const { method, url } = yield* HttpServerRequest.HttpServerRequest
      yield* Ref.update(reached, (before) => [...before, `${method} ${url}`])
      return HttpServerResponse.text("app")
    }))
    return { ...gateway, reached: Ref.get(reached) }
  })
type Guarded = Effect.Effect.Success<ReturnType<typeof guarded>>

/** Sends bytes on a new connection; returns everything received until the gateway ends it. */
const exchange = (gateway: Guarded, bytes: string) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* connect(gateway.address)
    yield* client.send(bytes)
    yield* client.ended
    return yield* client.received
  }))

const healthy = (gateway: Guarded) =>
  Effect.gen(function*() {
    assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
    yield* eventually("no connection", Effect.map(gateway.connections, (n) => n === 0))
  })

const assertOwnAnswer = (answer: string, status: number) => {
  const [head = "", body = ""] = answer.split("\r\n\r\n")
  assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `))
  for (const line of ["cache-control: no-store", "x-content-type-options: nosniff", "connection: close"]) {
    assert.include(head.toLowerCase(), line)
  }
  assert.match(body, /^[^\n]+\n$/)
}

const withHost = (gateway: Guarded, lines: string, method = "GET", target = "/app") =>
  `${method} ${target} HTTP/1.1\r\n${lines.replaceAll("PORT", String(gateway.address.port))}\r\n\r\n`

const refusals: ReadonlyArray<
  readonly [what: string, status: number, lines: string, method?: string, target?: string]
> = [
  ["a name that another lets mean our address", 421, "Host: evil.example:PORT"],
  ["a name that begins as ours", 421, "Host: 127.0.0.1.evil.example"],
  ["a name behind ours", 400, "Host: 127.0.0.1@evil.example"],
  ["no Host", 400, "Accept: */*"],
  ["an empty Host", 400, "Host:"],
  ["two Hosts", 400, "Host: 127.0.0.1:PORT\r\nHost: evil.example"],
  ["two Hosts, the second of them ours", 400, "Host: evil.example\r\nhOST: 127.0.0.1:PORT"],
  ["two Hosts in one", 400, "Host: 127.0.0.1, evil.example"],
  ["an address in another spelling", 400, "Host: 0x7f000001:PORT"],
  ["a target with a host of its own", 400, "Host: 127.0.0.1:PORT", "GET", "http://127.0.0.1/app"],
  ["a target with a host of its own, and no Host that is ours", 400, "Host: evil.example", "GET", "http://127.0.0.1/"],
  [
    "a page of another origin",
    403,
    "Host: 127.0.0.1:PORT\r\nOrigin: https://evil.example\r\nContent-Length: 0",
    "POST"
  ],
  ["a page without an origin", 403, "Host: 127.0.0.1:PORT\r\nOrigin: null\r\nContent-Length: 0", "DELETE"],
  ["two origins", 403, "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT", "PUT"]
]

describe("a request by", () => {
  for (const [what, status, lines, method, target] of refusals) {
    live(`${what} is answered with ${status}, and never reaches the app`, () =>
      Effect.gen(function*() {
        const gateway = yield* guarded()
        assertOwnAnswer(yield* exchange(gateway, withHost(gateway, lines, method, target)), status)
        assert.deepStrictEqual(yield* gateway.reached, [])
        yield* healthy(gateway)
      }))
  }

  live("our own name, address and origin reaches the app", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded()
      const { port } = gateway.address
      for (
        const host of [`127.0.0.1:${port}`, "localhost", "LOCALHOST.:1", "gateway.localhost", "127.1.2.3", "[::1]"]
      ) {
        assert.strictEqual((yield* request(gateway.address, "/app", { headers: { host } })).body, "app")
      }
      const origin = `http://127.0.0.1:${port}`
      assert.strictEqual((yield* request(gateway.address, "/app", { method: "POST", headers: { origin } })).body, "app")
      const named = { host: `gateway.localhost:${port}`, origin: `http://gateway.localhost:${port}` }
      const client = yield* webSocket(gateway.address, "/", { headers: named })
      assert.include(yield* client.next, "hello")
      assert.strictEqual((yield* gateway.reached).length, 7)
    }))

  live("what is allowed besides reaches the app", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({
        allowedHosts: ["proxy.example"],
        allowedOrigins: ["https://app.example", "file://"]
      })
      const shell = yield* webSocket(gateway.address, "/", { headers: { origin: "file://" } })
      assert.include(yield* shell.next, "hello")
      const headers = { host: "proxy.example", origin: "https://app.example" }
      assert.strictEqual((yield* request(gateway.address, "/app", { method: "POST", headers })).body, "app")
      const client = yield* webSocket(gateway.address, "/", { headers })
      assert.include(yield* client.next, "hello")
    }))

  live("any name is told of our health, and nothing else", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded()
      const headers = { host: "balancer.example:8080" }
      for (const path of ["/healthz", "/readyz", "/startupz"]) {
        const answer = yield* request(gateway.address, path, { headers })
        assert.strictEqual(answer.status, 200)
        assert.deepInclude(answer.headers, { "cache-control": "no-store", "x-content-type-options": "nosniff" })
      }
      assert.strictEqual((yield* request(gateway.address, "/", { headers })).status, 421)
      const old = yield* connect(gateway.address)
      yield* old.send("GET /healthz HTTP/1.0\r\n\r\n")
      assert.match(yield* old.until(/live/), /^HTTP\/1\.1 200 /)
    }))

  live("one that smuggles a second one behind a refused one gets one answer", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded()
      const second = withHost(gateway, "Host: 127.0.0.1:PORT", "GET", "/second")
      const smuggled = [
        `${withHost(gateway, "Host: evil.example")}${second}`,
        `${withHost(gateway, `Host: evil.example\r\nContent-Length: ${second.length}`, "POST")}${second}${second}`,
        `${withHost(gateway, "Host: evil.example\r\nTransfer-Encoding: chunked", "POST")}0\r\n\r\n${second}`,
        `${
          withHost(gateway, "Host: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "POST")
        }0\r\n\r\n${second}`,
        `${withHost(gateway, "Host: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2", "POST")}a${second}`,
        `${withHost(gateway, "Host : 127.0.0.1")}${second}`,
        `GET /app HTTP/1.1\nHost: 127.0.0.1\n\n${second}`
      ]
      for (const bytes of smuggled) {
        const answer = yield* exchange(gateway, bytes)
        assert.match(answer, /^HTTP\/1\.1 4\d\d /, bytes)
        assert.strictEqual(answer.split("HTTP/1.1 ").length, 2, answer)
      }
      assert.notInclude((yield* gateway.reached).join(), "/second")
      yield* healthy(gateway)
    }))
})

const upgradeStatus = (gateway: Guarded, headers: Readonly<Record<string, string>>, path = "/") =>
  Effect.map(
    Effect.flip(Effect.scoped(webSocket(gateway.address, path, { headers }))),
    (error) => /\d{3}/.exec(error.message)?.[0] ?? error.message
  )

describe("a WebSocket", () => {
  live("that a page of another origin opens is refused, at every path", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded()
      const { port } = gateway.address
      for (const path of ["/", "/app"]) {
        for (const origin of ["https://evil.example", "null", `http://localhost:${port}`, "http://127.0.0.1"]) {
          assert.strictEqual(yield* upgradeStatus(gateway, { origin }, path), "403")
        }
        assert.strictEqual(yield* upgradeStatus(gateway, { host: `evil.example:${port}` }, path), "421")
      }
      const client = yield* webSocket(gateway.address, "/", { headers: { origin: `http://127.0.0.1:${port}` } })
      assert.include(yield* client.next, "hello")
      assert.deepStrictEqual(yield* gateway.reached, [])
    }))

  live("needs the token, where there is one", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({ token })
      const answer = yield* exchange(gateway, upgradeRequest("/"))
      assertOwnAnswer(answer, 401)
      assert.match(answer, /www-authenticate: Bearer\r\n/i)
      for (
        const headers of [
          {},
          { authorization: `Bearer ${Redacted.value(wrong)}` },
          { authorization: `Bearer ${Redacted.value(token)}x` },
          { authorization: `Basic ${Redacted.value(token)}` },
          { "sec-websocket-protocol": AccessToken.subprotocols(wrong).join() },
          { "sec-websocket-protocol": "gateway" },
          { cookie: Redacted.value(token) }
        ]
      ) assert.strictEqual(yield* upgradeStatus(gateway, headers), "401", JSON.stringify(headers))
      assert.strictEqual(yield* upgradeStatus(gateway, {}, `/?token=${Redacted.value(token)}`), "401")

      const byHeader = yield* webSocket(gateway.address, "/", {
        headers: { authorization: `Bearer ${Redacted.value(token)}` }
      })
      assert.include(yield* byHeader.next, "hello")
      const byProtocol = yield* webSocket(gateway.address, "/", { protocols: AccessToken.subprotocols(token) })
      assert.include(yield* byProtocol.next, "hello")
      assert.strictEqual(byProtocol.protocol, "gateway")
      assert.strictEqual((yield* request(gateway.address, "/healthz")).status, 200)
      assert.strictEqual((yield* request(gateway.address, "/app")).body, "app")
    }))

  live("is answered without the token in it, whatever the order of the subprotocols", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({ token })
      const [name, carrier] = AccessToken.subprotocols(token)
      const client = yield* connect(gateway.address)
      yield* client.send(
        upgradeRequest("/").replace("\r\n\r\n", `\r\nSec-WebSocket-Protocol: ${carrier}, ${name}\r\n\r\n`)
      )
      const answer = yield* client.until(/hello/)
      assert.include(answer, "Sec-WebSocket-Protocol: gateway\r\n")
      assert.notInclude(answer, carrier)
      const alone = yield* connect(gateway.address)
      yield* alone.send(upgradeRequest("/").replace("\r\n\r\n", `\r\nSec-WebSocket-Protocol: ${carrier}\r\n\r\n`))
      assert.notInclude(yield* alone.until(/hello/), carrier)
    }))

  live("of one that waits for our end needs no token, and is told of nothing else", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({ token })
      const ended = yield* Effect.flatMap(OwnerWatch.OwnerWatch, (watch) => watch.ended(gateway.address)).pipe(
        Effect.provide(OwnerWatch.layerLive),
        Effect.fork
      )
      const watcher = yield* webSocket(gateway.address, "/", { protocols: [watchSubprotocol] })
      assert.strictEqual(watcher.protocol, watchSubprotocol)
      const curious = yield* webSocket(gateway.address, "/", { protocols: [watchSubprotocol] })
      yield* curious.send("{\"type\":\"ping\"}")
      assert.strictEqual((yield* curious.closed).code, 1008)
      yield* eventually("two watchers", Effect.map(gateway.connections, (n) => n === 2))
      assert.strictEqual((yield* Fiber.poll(ended))._tag, "None")
      const shutdown = yield* Effect.fork(gateway.shutdown)
      assert.include(yield* watcher.next, "shutdown")
      yield* Fiber.join(ended).pipe(within("the watcher"))
      yield* Fiber.join(shutdown).pipe(within("the shutdown"))
    }))

  live(
    "beyond the limit is refused, whoever only waits aside, and one that ends makes room",
    () =>
      Effect.gen(function*() {
        const gateway = yield* guarded({ limits: { controlSockets: 1 } })
        yield* webSocket(gateway.address, "/", { protocols: [watchSubprotocol] })
        yield* Effect.scoped(Effect.zipRight(
          webSocket(gateway.address),
          Effect.map(upgradeStatus(gateway, {}), (status) => assert.strictEqual(status, "503"))
        ))
        yield* eventually("room", Effect.isSuccess(Effect.scoped(webSocket(gateway.address))))
      })
  )

  live("that opens with nonsense gets an answer of ours", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded()
      for (
        const [from, to] of [
          ["Version: 13", "Version: 12"],
          ["Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: short"],
          ["\r\n\r\n", "\r\nSec-WebSocket-Protocol: a,,\"b\"\r\n\r\n"]
        ] as const
      ) assertOwnAnswer(yield* exchange(gateway, upgradeRequest("/").replace(from, to)), 400)
      yield* healthy(gateway)
    }))
})

describe("a client that sends", () => {
  live(
    "more frames than it may is closed with 1008, and one that keeps to the rate is not",
    () =>
      Effect.gen(function*() {
        const gateway = yield* guarded({ limits: { framesPerSecond: 5 } })
        for (
          const flood of [
            (client: Effect.Effect.Success<ReturnType<typeof webSocket>>) => client.send("{\"type\":\"ping\"}"),
            (client: Effect.Effect.Success<ReturnType<typeof webSocket>>) => client.ping
          ]
        ) {
          const client = yield* webSocket(gateway.address)
          yield* client.next
          yield* Effect.repeatN(flood(client), 30)
          assert.deepStrictEqual(yield* client.closed, { code: 1008, reason: "too many frames in a second" })
        }
        const calm = yield* webSocket(gateway.address)
        yield* calm.next
        for (let n = 0; n < 10; n++) {
          yield* calm.send("{\"type\":\"ping\"}")
          assert.include(yield* calm.next, "pong")
        }
      })
  )

  live("frames and reads none of the answers is cut once too much waits for it", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({ limits: { framesPerSecond: 1_000_000, bufferedBytes: 1000 } })
      const client = yield* connect(gateway.address, { reading: false })
      yield* client.send(upgradeRequest("/"))
      const id = "x".repeat(60_000)
      const flood = Effect.zipRight(client.send(textFrame(JSON.stringify({ type: "ping", id }))), Effect.yieldNow())
      yield* Effect.raceFirst(client.closed, Effect.forever(Effect.delay(flood, Duration.millis(1))))
      yield* healthy(gateway)
    }))

  live("headers that are too large gets 431", () =>
    Effect.gen(function*() {
      const gateway = yield* guarded({ limits: { headerBytes: 4096 } })
      const large = withHost(gateway, `Host: 127.0.0.1\r\nX: ${"x".repeat(5000)}`)
      assertOwnAnswer(yield* exchange(gateway, large), 431)
      assertOwnAnswer(
        yield* exchange(gateway, withHost(gateway, "Host: 127.0.0.1", "GET", `/${"x".repeat(5000)}`)),
        431
      )
      assert.deepStrictEqual(yield* gateway.reached, [])
      yield* healthy(gateway)
    }))

  live(
    "what is no request gets 400, half a request 408, and neither after half an answer",
    () =>
      Effect.gen(function*() {
        const gateway = yield* guarded({ limits: { headersTimeout: "200 millis", requestTimeout: "200 millis" } })
        assertOwnAnswer(yield* exchange(gateway, "\u0016\u0003\u0001 hello\r\n\r\n"), 400)
        assertOwnAnswer(yield* exchange(gateway, "GET /app HTTP/1.1\r\nHost: 127"), 408)
        yield* healthy(gateway)
      })
  )

  live("more requests at once than may wait is cut off", () =>
    Effect.gen(function*() {
      const gateway = yield* start({ limits: { pipelinedRequests: 10 } })
      yield* gateway.serve(Effect.never)
      const one = `GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`
      const patient = yield* connect(gateway.address)
      yield* patient.send(one.repeat(10))
      const client = yield* connect(gateway.address)
      yield* client.send(one.repeat(11))
      yield* client.closed
      yield* eventually("the patient one alone", Effect.map(gateway.connections, (n) => n === 1))
      const health = yield* request(gateway.address, "/healthz")
      assert.include(health.body, instanceId)
    }))
})
