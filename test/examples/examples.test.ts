/**
 * Runs each example as a user would, in its own process. A second copy of the example, started beside the first, is refused.
 */
import { FetchHttpClient, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeSocket } from "@effect/platform-node"
import { RpcClient, RpcSerialization } from "@effect/rpc"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Schedule, type Scope, Stream } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Ports from "../e2e/support/ports.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
import * as Bundle from "../fixtures/bundle.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import { Counting } from "./rpc-protocol.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const root = here("../..")

interface Place {
  readonly folder: string
  readonly port: number
  readonly env: Record<string, string>
}

/** A folder and a port that no other test uses. The folders of the example's gateway are below this folder. */
const place: Effect.Effect<Place, never, Scope.Scope> = Effect.gen(function*() {
  const folder = yield* Gateways.temporaryFolder
  const port = yield* Ports.reserve
  const env = {
    PATH: Program.searchPath,
    HOME: folder,
    PORT: String(port),
    DATABASE_URL: `file:${Path.join(folder, "data.db")}`
  }
  return { folder, port, env }
})

/** Copies an example and changes its port, because a test must not take the default port. */
const onAnotherPort = (name: string, port: number) =>
  Effect.gen(function*() {
    const copy = Path.join(yield* Gateways.temporaryFolder, name)
    yield* Effect.promise(async () => {
      const code = await Fs.readFile(here(name), "utf8")
      assert.include(code, "port: 18789")
      await Fs.writeFile(copy, code.replace("port: 18789", `port: ${port}`))
    })
    return pathToFileURL(copy)
  })

const names = [
  "cluster.ts",
  "http-api.ts",
  "layer-router.ts",
  "lease.ts",
  "replacement.ts",
  "rpc.ts",
  "sql.ts",
  "two-profiles.ts",
  "worker.ts"
]

const together = Effect.runSync(Effect.cached(
  Bundle.compiledTogether(Object.fromEntries(names.map((name) => [name, new URL(name, import.meta.url)])))
))

/**
 * Starts an example. `gateway-lock` is the built library of this project. `server.ts` imports the packages that are installed here,
 * as a user's program does. That takes seconds of processor time, so the other examples are bundled with their packages.
 */
const start = (name: string, { env, port }: Place, more: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const program = name === "server.ts"
      ? [yield* Bundle.installed(yield* onAnotherPort(name, port), yield* Gateways.temporaryFolder)]
      : (yield* together)(name)
    return yield* Processes.start([process.execPath, ...program], {
      cwd: root,
      env: { ...env, ...more },
      patience: "60 seconds"
    })
  })

const get = (port: number, path: string) =>
  HttpClient.get(`http://127.0.0.1:${port}${path}`).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer))

const post = (port: number, path: string, body: unknown = {}) =>
  HttpClientRequest.post(`http://127.0.0.1:${port}${path}`).pipe(
    HttpClientRequest.bodyUnsafeJson(body),
    HttpClient.execute,
    Effect.scoped,
    Effect.provide(FetchHttpClient.layer)
  )

/** Waits until the example's app serves. */
const isUp = (port: number) =>
  get(port, "/startupz").pipe(
    Effect.filterOrFail(({ status }) => status === 200, () => "starting" as const),
    Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(1200)))
  )

const text = (port: number, path: string) => Effect.flatMap(get(port, path), ({ text }) => text)

/** Checks that a second copy of an example is refused with an error, and that a signal shuts the first copy down cleanly. */
const isOneOfAKind = (name: string, first: Processes.Running, place: Place) =>
  Effect.gen(function*() {
    const second = yield* Effect.flatMap(start(name, place), ({ ended }) => ended)
    assert.strictEqual(second.code, 1, second.stderr)
    assert.include(
      second.stdout + second.stderr,
      `another gateway instance is already listening on ws://127.0.0.1:${place.port}`
    )
    yield* Gateways.assertClean(yield* Gateways.stop(first))
    assert.isTrue(yield* Ports.isFree(place.port))
    return second
  })

/** The environment that the page's command sets for the first host, with another server and port. */
const leaseCommand = /^ {4}DATABASE_URL=postgresql:\/\/postgres@127\.0\.0\.1\/postgres PORT=18789 npx tsx lease\.ts$/m

unless(Postgres.noPostgres).scopedLive(
  "the example lease.ts is on its page, and runs as the page says: one host writes, and the next one after it",
  () =>
    Effect.gen(function*() {
      const page = yield* Effect.promise(() => Fs.readFile(Path.join(root, "docs/across-hosts.md"), "utf8"))
      assert.include(page, (yield* Effect.promise(() => Fs.readFile(here("lease.ts"), "utf8"))).trim())
      assert.match(page, leaseCommand)
      const server = yield* Postgres.startPostgres()
      const run = (at: Place) => start("lease.ts", at, { DATABASE_URL: server.url(), PORT: String(at.port) })
      const visit = (at: Place) =>
        Effect.flatMap(post(at.port, "/visits"), (response) =>
          Effect.map(response.text, (text) => ({ status: response.status, text })))
      const leads = ({ port }: Place) =>
        get(port, "/readyz").pipe(
          Effect.filterOrFail(({ status }) =>
            status === 200, () => "standing by" as const),
          Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(1200)))
        )
      const [one, two] = [yield* place, yield* place]
      const first = yield* run(one)
      yield* leads(one)
      const answers = [yield* visit(one), yield* visit(one)].map(({ text }) => text)
      const token = /"token":"(\d+)"/.exec(answers[0] ?? "")?.[1] ?? ""
      assert.deepStrictEqual(answers, [`{"token":"${token}","count":1}`, `{"token":"${token}","count":2}`])
      const second = yield* run(two)
      yield* get(two.port, "/healthz").pipe(
        Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(1200)))
      )
      assert.strictEqual((yield* visit(two)).status, 503)
      yield* Gateways.assertClean(yield* Gateways.stop(first))
      yield* leads(two)
      const next = yield* visit(two)
      assert.isTrue(BigInt(/"token":"(\d+)"/.exec(next.text)?.[1] ?? "0") > BigInt(token))
      assert.include(next.text, "\"count\":1")
      yield* Gateways.assertClean(yield* Gateways.stop(second))
    }),
  120_000
)

describe("the example", () => {
  it.each([
    ["server.ts", "README.md"],
    ["server.ts", "docs/effect.md"],
    ["simulated.test.ts", "docs/testing.md"]
  ])("%s is in %s", async (name, page) => {
    const text = await Fs.readFile(Path.join(root, page), "utf8")
    assert.include(text, (await Fs.readFile(here(name), "utf8")).trim())
  })

  it.scopedLive(
    "server.ts: an app whose second copy ends with status 1 and the tag of the reason",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const first = yield* start("server.ts", at)
        yield* isUp(at.port)
        assert.strictEqual(yield* text(at.port, "/hello"), "world")
        const second = yield* isOneOfAKind("server.ts", first, at)
        assert.match(second.stdout + second.stderr, /PortInUse: another gateway instance is already listening/)
      }),
    60_000
  )

  it.scopedLive("http-api.ts: an HttpApi with its OpenAPI document", () =>
    Effect.gen(function*() {
      const at = yield* place
      const first = yield* start("http-api.ts", at)
      yield* isUp(at.port)
      assert.strictEqual((yield* post(at.port, "/notes", { text: "milk" })).status, 201)
      assert.strictEqual((yield* post(at.port, "/notes", { text: " " })).status, 400)
      assert.strictEqual(yield* text(at.port, "/notes"), "[{\"text\":\"milk\"}]")
      const document = yield* Effect.flatMap(get(at.port, "/openapi.json"), ({ json }) => json)
      assert.deepNestedInclude(document, { "info.title": "Api" })
      yield* isOneOfAKind("http-api.ts", first, at)
    }), 60_000)

  it.scopedLive("layer-router.ts: routes as layers, one of which asks the gateway", () =>
    Effect.gen(function*() {
      const at = yield* place
      const first = yield* start("layer-router.ts", at)
      yield* isUp(at.port)
      assert.strictEqual(yield* text(at.port, "/hello"), "world")
      assert.include(yield* text(at.port, "/whoami"), `"url":"ws://127.0.0.1:${at.port}"`)
      yield* isOneOfAKind("layer-router.ts", first, at)
    }), 60_000)

  it.scopedLive("rpc.ts: RPC over a WebSocket, answers and streams", () =>
    Effect.gen(function*() {
      const at = yield* place
      const first = yield* start("rpc.ts", at)
      yield* isUp(at.port)
      const Protocol = RpcClient.layerProtocolSocket().pipe(
        Layer.provide([NodeSocket.layerWebSocket(`ws://127.0.0.1:${at.port}/rpc`), RpcSerialization.layerJson])
      )
      yield* Effect.gen(function*() {
        const client = yield* RpcClient.make(Counting)
        assert.strictEqual(yield* client.add({ a: 20, b: 22 }), 42)
        const counted = yield* Stream.runCollect(client.count({ to: 3 }))
        assert.deepStrictEqual(Chunk.toReadonlyArray(counted), [1, 2, 3])
      }).pipe(Effect.scoped, Effect.provide(Protocol))
      yield* isOneOfAKind("rpc.ts", first, at)
    }), 60_000)

  it.scopedLive(
    "sql.ts: migrations run once, under the lock, and the data outlive the gateway",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const first = yield* start("sql.ts", at)
        yield* isUp(at.port)
        assert.strictEqual(yield* text(at.port, "/visits"), "{\"visits\":1}")
        yield* isOneOfAKind("sql.ts", first, at)
        const next = yield* start("sql.ts", at)
        yield* isUp(at.port)
        assert.strictEqual(yield* text(at.port, "/visits"), "{\"visits\":2}")
        yield* Gateways.assertClean(yield* Gateways.stop(next))
      }),
    60_000
  )

  it.scopedLive("cluster.ts: beside the cluster's own runner", () =>
    Effect.gen(function*() {
      const at = yield* place
      const first = yield* start("cluster.ts", at)
      yield* isUp(at.port)
      const count = (id: string) => Effect.flatMap(post(at.port, `/counters/${id}`), ({ text }) => text)
      assert.strictEqual(yield* count("a"), "{\"count\":1}")
      assert.strictEqual(yield* count("a"), "{\"count\":2}")
      assert.strictEqual(yield* count("b"), "{\"count\":1}")
      yield* isOneOfAKind("cluster.ts", first, at)
    }), 60_000)

  it.scopedLive(
    "worker.ts: without a port, one of it works, and the next takes over from a dead one",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const [queue, done] = [Path.join(at.folder, "queue"), Path.join(at.folder, "done")]
        yield* Effect.promise(async () => {
          await Fs.mkdir(queue)
          await Fs.mkdir(done)
        })
        const folders = { QUEUE: queue, DONE: done }
        const add = (name: string) => Effect.promise(() => Fs.writeFile(Path.join(queue, name), ""))
        const isDone = (name: string) =>
          Effect.retry(
            Effect.tryPromise(() => Fs.access(Path.join(done, name))),
            Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(1000))
          )
        const first = yield* start("worker.ts", at, folders)
        yield* add("1.job")
        yield* isDone("1.job")
        const second = yield* Effect.flatMap(start("worker.ts", at, folders), ({ ended }) => ended)
        assert.strictEqual(second.code, 1)
        assert.match(second.stdout + second.stderr, new RegExp(`gateway already running \\(pid ${first.pid}\\)`))
        yield* Gateways.stop(first, "SIGKILL")
        const next = yield* start("worker.ts", at, folders)
        yield* add("2.job")
        yield* isDone("2.job")
        yield* Gateways.assertClean(yield* Gateways.stop(next))
      }),
    60_000
  )

  it.scopedLive(
    "replacement.ts: the next version takes the place of the present one, which answers what it was asked",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const first = yield* start("replacement.ts", at, { VERSION: "1" })
        yield* isUp(at.port)
        const report = yield* Effect.fork(text(at.port, "/report"))
        const second = yield* start("replacement.ts", at, { VERSION: "2" })
        assert.strictEqual(yield* Fiber.join(report), "report by 1")
        yield* Gateways.assertClean(yield* first.ended)
        yield* isUp(at.port)
        assert.strictEqual(yield* text(at.port, "/version"), "2")
        const ended = yield* Gateways.stop(second)
        yield* Gateways.assertClean(ended)
        assert.include(ended.stdout + ended.stderr, `took the place of pid ${first.pid}`)
      }),
    60_000
  )

  it.scopedLive(
    "two-profiles.ts: two gateways in one process; if one cannot be, neither is",
    () =>
      Effect.gen(function*() {
        const at = yield* place
        const other = yield* Ports.reserve
        const ports = { BLUE_PORT: String(at.port), GREEN_PORT: String(other) }
        const first = yield* start("two-profiles.ts", at, ports)
        yield* isUp(at.port)
        yield* isUp(other)
        assert.strictEqual(yield* text(at.port, "/"), "blue")
        assert.strictEqual(yield* text(other, "/"), "green")
        const third = yield* Ports.reserve
        const second = yield* Effect.flatMap(
          start("two-profiles.ts", at, { ...ports, BLUE_PORT: String(third) }),
          ({ ended }) => ended
        )
        assert.strictEqual(second.code, 1)
        assert.isTrue(yield* Ports.isFree(third))
        yield* Gateways.assertClean(yield* Gateways.stop(first))
      }),
    60_000
  )
})
