/**
 * The client of etcd's JSON gateway against servers that answer as proxies, other versions and broken servers do.
 */
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Either, Fiber, Layer, Option } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as EtcdLeaseStore from "../../src/leader/EtcdLeaseStore.ts"
import { type Grant, LeaseStore, type StoreError } from "../../src/leader/LeaseStore.ts"
import { eventually, nodeHttpServer, tcpServer, within } from "../fixtures/net.ts"

type Answer = (request: { readonly path: string; readonly body: string; readonly token: string | undefined }) => unknown

const clients: ReadonlyArray<readonly [string, Layer.Layer<HttpClient.HttpClient>]> = [
  ["fetch", FetchHttpClient.layer],
  ["node:http", NodeHttpClient.layer]
]

const storeAt = (
  hosts: ReadonlyArray<number | string>,
  options: {
    readonly client?: Layer.Layer<HttpClient.HttpClient>
    readonly user?: string
    readonly attemptTimeout?: Duration.DurationInput
  } = {}
) =>
  Effect.map(
    Layer.build(Layer.provide(
      EtcdLeaseStore.layerEtcd({
        url: `etcd+http://${options.user ?? ""}${
          hosts.map((host) => typeof host === "number" ? `127.0.0.1:${host}` : host).join(",")
        }`,
        attemptTimeout: options.attemptTimeout ?? "20 seconds"
      }),
      options.client ?? FetchHttpClient.layer
    )),
    Context.get(LeaseStore)
  )

/** A server that answers each request with what `answer` returns: JSON, or what a function writes. */
const serve = (answer: Answer) =>
  nodeHttpServer((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("error", () => {})
    request.on("end", () => {
      const { authorization: token } = request.headers
      const path = (request.url ?? "").replace("/v3/", "")
      const result = answer({ path, body: Buffer.concat(chunks).toString(), token })
      if (typeof result === "function") result(response)
      else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(result))
    })
  })

const failing = (status: number, code: number, message: string) => (response: ServerResponse) =>
  response.writeHead(status, { "content-type": "application/json" }).end(
    JSON.stringify({ error: message, message, code })
  )

const html =
  (status: number, text: string, headers: Readonly<Record<string, string>> = {}) => (response: ServerResponse) =>
    response.writeHead(status, { "content-type": "text/html", ...headers }).end(text)

const empty = { header: { revision: "7" } }
const grant: Grant = { name: "a", holderId: "id", fencingToken: 5n }
const held = {
  header: { revision: "9" },
  succeeded: true,
  responses: [
    { response_put: {} },
    { response_range: {} },
    { response_range: { kvs: [{ key: "YQ==", create_revision: "5", lease: "77" }] } }
  ]
}

const outcome = <A>(effect: Effect.Effect<A, StoreError>) =>
  Effect.map(
    Effect.either(effect),
    Either.match({
      onLeft: ({ _tag, message }) => `${_tag} ${message}`,
      onRight: () => "succeeded"
    })
  )

describe.each(clients)("a client of etcd's gateway, through %s", (_, client) => {
  it.scopedLive("asks the next member after one that hangs, and remembers it", () =>
    Effect.gen(function*() {
      let tries = 0
      const hung = yield* tcpServer((socket) => {
        socket.once("data", () => tries++)
      })
      const store = yield* storeAt([hung.port, yield* serve(() => empty)], { client, attemptTimeout: "4 seconds" })
      for (let look = 0; look < 3; look++) assert.isTrue(Option.isNone(yield* store.look("a")))
      assert.strictEqual(tries, 1)
    }))

  it.scopedLive("asks the next member after one on which a caller did not wait any longer", () =>
    Effect.gen(function*() {
      const hung = yield* tcpServer(() => {})
      const good = yield* serve(() => empty)
      const store = yield* storeAt([hung.port, good], { client, attemptTimeout: "1 hour" })
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(store.look("a"), "50 millis")))
      assert.isTrue(Option.isNone(yield* store.look("a")))
    }))

  it.scopedLive("asks the next member after one that refuses connections, is a proxy without a server, or has no leader", () =>
    Effect.gen(function*() {
      const bad = [
        yield* Effect.scoped(serve(() => empty)),
        yield* serve(() => html(502, "<html><h1>502 Bad Gateway</h1></html>")),
        yield* serve(() => html(200, "<html>Welcome!</html>")),
        yield* serve(() => failing(503, 14, "etcdserver: no leader")),
        yield* serve(() => failing(504, 4, "context deadline exceeded")),
        yield* serve(() => (response: ServerResponse) => response.destroy()),
        yield* serve(() => (response: ServerResponse) =>
          response.writeHead(200, { "content-length": "100" }).write("{", () => response.destroy())
        )
      ]
      const good = yield* serve(() => empty)
      const store = yield* storeAt([...bad, good], { client })
      assert.isTrue(Option.isNone(yield* store.look("a")))
      for (const port of bad) {
        assert.match(yield* outcome((yield* storeAt([port], { client })).look("a")), /^StoreFailed /)
      }
    }))

  it.scopedLive("gives up on an answer without an end, in bounded memory and time", () =>
    Effect.gen(function*() {
      let sent = 0
      let isClosed = false
      const endless = yield* serve(() => (response: ServerResponse) => {
        response.writeHead(200, { "content-type": "application/json" })
        const more = () => {
          while (!response.destroyed && response.write(" ".repeat(65_536))) sent += 65_536
        }
        response.on("drain", more)
        response.on("close", () => {
          isClosed = true
        })
        more()
      })
      const store = yield* storeAt([endless], { client })
      const answer = yield* outcome(store.look("a"))
      assert.match(answer, /^StoreFailed .*larger than 4194304 bytes/)
      yield* eventually("the end of the connection", Effect.sync(() => isClosed))
      assert.isBelow(sent, 64 * 1024 * 1024)
    }))

  it.scopedLive("gives up on a watch whose line does not end, and watches again", () =>
    Effect.gen(function*() {
      const again = yield* Deferred.make<void>()
      let watches = 0
      const server = yield* serve(({ path }) => {
        if (path !== "watch") return empty
        watches++
        if (watches > 1) Deferred.unsafeDone(again, Effect.void)
        return (response: ServerResponse) => {
          response.writeHead(200, { "content-type": "application/json" })
          const more = () => {
            while (!response.destroyed && response.write("x".repeat(65_536)));
          }
          response.on("drain", more)
          more()
        }
      })
      const store = yield* storeAt([server], { client })
      const hint = yield* Effect.fork(store.changed("a"))
      yield* within("another watch")(Deferred.await(again))
      assert.isTrue(Option.isNone(yield* Fiber.poll(hint)))
    }))

  it.scopedLive("does not follow a redirect, which would take the password along", () =>
    Effect.gen(function*() {
      let asked = 0
      const other = yield* serve(() => {
        asked++
        return empty
      })
      const location = `http://127.0.0.1:${other}/v3/auth/authenticate`
      for (const status of [301, 302, 307, 308]) {
        const store = yield* storeAt([yield* serve(() => html(status, "", { location }))], { client, user: "u:p@" })
        assert.match(
          yield* outcome(store.look("a")),
          /^StoreFailed 127\.0\.0\.1:\d+: HTTP 30\d: expected the JSON gateway of etcd/
        )
      }
      assert.strictEqual(asked, 0)
    }))

  it.scopedLive("hints at a change that comes in many pieces, with empty lines between", () =>
    Effect.gen(function*() {
      const store = yield* storeAt([
        yield* serve(({ path }) =>
          path === "watch"
            ? (response: ServerResponse) => {
              const line = JSON.stringify({
                result: { header: { revision: "8" }, events: [{ kv: { key: "YQ==", mod_revision: "8" } }] }
              })
              const created = JSON.stringify({ result: { header: { revision: "7" }, created: true } })
              response.writeHead(200)
              response.write(`${created}\n\n${line.slice(0, 30)}`, () => response.write(`${line.slice(30)}\n`))
            }
            : empty
        )
      ], { client })
      yield* store.look("a")
      yield* within("the hint")(store.changed("a"))
    }))
})

describe("a client of etcd's gateway", () => {
  it.scopedLive.each(
    [
      [403, 7, "etcdserver: permission denied", /^StoreRefused .*permission denied/],
      [400, 3, "etcdserver: user name is empty", /^StoreRefused .*needs name:password@/],
      [400, 3, "etcdserver: request is too large", /^StoreRefused .*too large/],
      [501, 12, "Method Not Allowed", /^StoreRefused /],
      [429, 8, "etcdserver: mvcc: database space exceeded", /^StoreFailed .*etcdctl alarm disarm/],
      [503, 14, "etcdserver: request timed out", /^StoreFailed .*request timed out/],
      [500, 2, "error reading from server: EOF", /^StoreFailed /],
      [404, 5, "etcdserver: requested lease not found", /^StoreFailed /]
    ] as const
  )("HTTP %s with code %s, %s", ([status, code, message, expected]) =>
    Effect.gen(function*() {
      const store = yield* storeAt([yield* serve(() => failing(status, code, message))])
      assert.match(yield* outcome(store.look("a")), expected)
    }))

  it.scopedLive("reads the error of 3.5 and of a stream", () =>
    Effect.gen(function*() {
      const details = yield* storeAt([
        yield* serve(() => (response: ServerResponse) =>
          response.writeHead(403).end(
            JSON.stringify({ code: 7, message: "etcdserver: permission denied", details: [] })
          )
        )
      ])
      assert.match(yield* outcome(details.look("a")), /^StoreRefused /)
      const inStream = yield* storeAt([
        yield* serve(({ path }) =>
          path === "lease/keepalive"
            ? {
              error: {
                grpc_code: 14,
                http_code: 503,
                message: "etcdserver: no leader",
                http_status: "Service Unavailable"
              }
            }
            : held
        )
      ])
      assert.match(yield* outcome(inStream.renew(grant)), /^StoreFailed .*no leader/)
    }))

  it.scopedLive("is told of a server that is not etcd", () =>
    Effect.gen(function*() {
      const store = yield* storeAt([yield* serve(() => html(404, "404 page not found\n"))])
      assert.match(
        yield* outcome(store.look("a")),
        /^StoreRefused .*HTTP 404 "404 page not found": expected the JSON gateway of etcd 3\.4/
      )
      const nothing = yield* storeAt(["nothing.invalid"])
      assert.match(yield* outcome(nothing.look("a")), /^StoreFailed nothing\.invalid:2379: .*nothing\.invalid/)
    }))

  it.scopedLive.each(
    [
      ["no TTL", { result: { ID: "77" } }, "Lost"],
      ["a TTL of 0", { result: { ID: "77", TTL: "0" } }, "Lost"],
      ["a TTL", { result: { ID: "77", TTL: "15" } }, "Renewed"]
    ] as const
  )("a keepalive with %s", ([, keepalive, expected]) =>
    Effect.gen(function*() {
      const store = yield* storeAt([
        yield* serve(({ body, path }) => {
          if (path === "lease/keepalive") assert.strictEqual(body, `{"ID":"77"}`)
          return path === "lease/keepalive" ? keepalive : held
        })
      ])
      assert.strictEqual(yield* store.renew(grant), expected)
    }))

  it.scopedLive("refuses a lease that is shorter than what it asked for", () =>
    Effect.gen(function*() {
      const store = yield* storeAt([yield* serve(() => ({ ID: "77", TTL: "5" }))])
      const seen = {
        holderId: Option.none(),
        fencingToken: 1n,
        renewals: 0n,
        ttl: Duration.seconds(15),
        epoch: 0n,
        holder: {}
      }
      const claim = { name: "a", holderId: "id", ttl: Duration.millis(14_001), holder: {} }
      assert.match(
        yield* outcome(store.acquire(seen, claim)),
        /^StoreRefused etcd granted a lease of 5 s: expected at least 15 s/
      )
    }))

  it.scopedLive("takes a grant whose first answer was lost for its own", () =>
    Effect.gen(function*() {
      let isFirst = true
      const store = yield* storeAt([
        yield* serve(({ path }) => {
          if (path === "lease/grant") return { ID: "77", TTL: "15" }
          if (isFirst) {
            isFirst = false
            return (response: ServerResponse) => response.destroy()
          }
          const session = { key: "YQ==", create_revision: "12", lease: "77" }
          return { header: { revision: "13" }, responses: [{ response_range: { kvs: [session] } }] }
        })
      ])
      const seen = {
        holderId: Option.none(),
        fencingToken: 1n,
        renewals: 0n,
        ttl: Duration.seconds(15),
        epoch: 0n,
        holder: {}
      }
      const granted = yield* store.acquire(seen, { name: "a", holderId: "id", ttl: Duration.seconds(15), holder: {} })
      assert.deepStrictEqual(granted, Option.some({ name: "a", holderId: "id", fencingToken: 12n }))
    }))

  it.scopedLive("renews its token when it is refused, and after a connection that was closed without an answer", () =>
    Effect.gen(function*() {
      const tokens: Array<string | undefined> = []
      let issued = 0
      let isClosing = false
      const server = yield* serve(({ body, path, token }) => {
        if (path === "auth/authenticate") {
          assert.deepStrictEqual(JSON.parse(body), { name: "u", password: "p@:" })
          return { token: `t${++issued}` }
        }
        tokens.push(token)
        if (token === `t${issued}` && !isClosing) return empty
        isClosing = false
        return tokens.length > 4
          ? (response: ServerResponse) => response.destroy()
          : failing(401, 16, "etcdserver: invalid auth token")
      })
      const store = yield* storeAt([server], { user: "u:p%40:@" })
      yield* store.look("a")
      issued++
      yield* store.look("a")
      yield* store.look("a")
      isClosing = true
      yield* store.look("a")
      assert.deepStrictEqual(tokens, ["t1", "t1", "t3", "t3", "t3", "t4"])
    }))

  it.scopedLive("fails if the token is refused again and again", () =>
    Effect.gen(function*() {
      let asked = 0
      const server = yield* serve(({ path }) => {
        asked++
        return path === "auth/authenticate" ? { token: "t" } : failing(401, 16, "etcdserver: invalid auth token")
      })
      const store = yield* storeAt([server], { user: "u:p@" })
      assert.match(yield* outcome(store.look("a")), /^StoreFailed .*invalid auth token/)
      assert.isAtMost(asked, 4)
    }))

  it.scopedLive("says which key has no valid value", () =>
    Effect.gen(function*() {
      const key = Buffer.from("gateway-lock/a/grant").toString("base64")
      const store = yield* storeAt([
        yield* serve(() => ({ ...empty, kvs: [{ key, value: "eA==", mod_revision: "3" }] }))
      ])
      assert.match(
        yield* outcome(store.look("a")),
        /^StoreRefused the key gateway-lock\/a\/grant has no valid value: stop the leader, and remove/
      )
    }))
})
