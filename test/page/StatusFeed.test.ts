import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { DateTime, Deferred, Duration, Effect, Layer, Option, Queue, Ref, Schema, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as Activity from "../../src/page/Activity.ts"
import * as Monitor from "../../src/page/Monitor.ts"
import * as Neighbours from "../../src/page/Neighbours.ts"
import type { RunLog } from "../../src/page/RunLog.ts"
import * as StatusFeed from "../../src/page/StatusFeed.ts"
import { type Neighbour, StatusFrame } from "../../src/page/StatusFrame.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import type { SimulatedWebSocket } from "../../src/testing/SimulatedPorts.ts"
import { version } from "../../src/Version.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const decode = Schema.decodeUnknown(Schema.parseJson(StatusFrame), { onExcessProperty: "error" })

/** An app with one route, `/slow`, whose response waits until `word` completes. */
const app = (word: Effect.Effect<void>) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/slow", Effect.as(word, HttpServerResponse.empty())),
    HttpServer.serve()
  )

const spawn = (
  host: SimulatedHost.SimulatedHost,
  options: {
    readonly word?: Effect.Effect<void>
    readonly look?: Effect.Effect<ReadonlyArray<Neighbour>>
    readonly monitor?: Monitor.Monitoring
  } = {}
) =>
  host.spawn(Gateway.launch(
    app(options.word ?? Effect.void).pipe(
      Layer.provideMerge(Gateway.layerPlatform({ profile: "blue" })),
      Layer.provide(
        Layer.succeed(
          Neighbours.Neighbours,
          Option.fromNullable(options.look)
        )
      ),
      Layer.provide(Layer.succeed(Monitor.Monitor, Option.fromNullable(options.monitor)))
    )
  )).pipe(Effect.tap(() => host.settle))

const watch = "{\"type\":\"watch\"}"

const connect = (host: SimulatedHost.SimulatedHost) =>
  Effect.tap(host.ports.connect(address), ({ frames }) => Queue.take(frames))

/** Returns the frames that the socket has received since the last call of this function. */
const framesOf = (host: SimulatedHost.SimulatedHost, { frames }: SimulatedWebSocket) =>
  Effect.gen(function*() {
    yield* host.settle
    return [...yield* Queue.takeAll(frames)]
  })

const statusesOf = (host: SimulatedHost.SimulatedHost, socket: SimulatedWebSocket) =>
  Effect.flatMap(framesOf(host, socket), (frames) => Effect.forEach(frames, (frame) => decode(frame)))

const neighbour: Neighbour = {
  profile: "red",
  stateDir: "/state/red",
  lockPath: "/state/red/locks/gateway.00000000.lock",
  verdict: "running"
}

describe("who watches a gateway", () => {
  simulated("is told everything at once", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const gateway = yield* spawn(host)
      yield* TestClock.adjust("90 seconds")
      const socket = yield* connect(host)
      yield* socket.send(watch)
      const [status, ...more] = yield* statusesOf(host, socket)
      assert.deepStrictEqual(more, [])
      assert.deepStrictEqual(status, {
        type: "status",
        version: 1,
        now: DateTime.unsafeMake("1970-01-01T00:01:30.000Z"),
        instance: {
          instanceId: "instance-1",
          version,
          profile: "blue",
          pid: gateway.pid,
          ...address,
          configPath: "/config/blue/gateway.json",
          stateDir: "/state/blue",
          startedAt: DateTime.unsafeMake("1970-01-01T00:00:00.000Z"),
          uptime: Duration.seconds(90)
        },
        phase: "listening",
        connections: 1,
        watching: 1,
        lock: {
          path: status?.lock.path ?? "",
          enforcement: "kernel",
          heldSince: DateTime.unsafeMake("1970-01-01T00:00:00.000Z")
        },
        supervisor: { kind: "none" },
        history: [
          { at: DateTime.unsafeMake("1970-01-01T00:00:00.000Z"), kind: "starting" },
          { at: DateTime.unsafeMake("1970-01-01T00:00:00.000Z"), kind: "locked" },
          { at: DateTime.unsafeMake("1970-01-01T00:00:00.000Z"), kind: "listening" }
        ]
      })
      assert.match(status?.lock.path ?? "", /^\/state\/blue\/locks\/gateway\.[0-9a-f]{8}\.lock$/)
    }))

  simulated(
    "is told when the start began, and since when it has held the lock that it waited for",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const before = yield* host.spawn(Effect.never.pipe(
          Effect.provide(
            LockFile.layerWithProbes({ stateDir: "/state/blue", configPath: "/config/blue/gateway.json" })
          )
        ))
        yield* spawn(host)
        yield* TestClock.adjust("3 seconds")
        yield* before.terminate
        yield* TestClock.adjust("1 second")
        const socket = yield* connect(host)
        yield* socket.send(watch)
        const [status] = yield* statusesOf(host, socket)
        assert.strictEqual(status?.instance.startedAt.epochMillis, 0)
        assert.strictEqual(Math.floor((status?.lock.heldSince.epochMillis ?? 0) / 1000), 3)
      })
  )

  simulated("is told again at intervals; asking twice is asking once", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* spawn(host)
      const socket = yield* connect(host)
      yield* socket.send(watch)
      yield* socket.send(watch)
      assert.lengthOf(yield* statusesOf(host, socket), 1)
      yield* TestClock.adjust("4999 millis")
      assert.lengthOf(yield* statusesOf(host, socket), 0)
      yield* TestClock.adjust("1 millis")
      const [beat] = yield* statusesOf(host, socket)
      assert.deepStrictEqual(beat?.instance.uptime, Duration.seconds(5))
    }))

  simulated("sees a shutdown from its beginning to its end, and does not hold it", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const word = yield* Deferred.make<void>()
      const gateway = yield* spawn(host, { word: Deferred.await(word) })
      const [watching, other] = [yield* connect(host), yield* connect(host)]
      yield* watching.send(watch)
      yield* Effect.fork(host.ports.get(address, "/slow"))
      yield* statusesOf(host, watching)

      yield* gateway.interrupt
      const [draining] = yield* statusesOf(host, watching)
      assert.deepInclude(draining, { phase: "draining", shutdownReason: "stopped" })
      assert.strictEqual(draining?.history.at(-1)?.kind, "draining")
      assert.deepStrictEqual(yield* framesOf(host, other), ["{\"type\":\"shutdown\",\"reason\":\"stopped\"}"])
      assert.deepStrictEqual(yield* Deferred.await(other.closed), { code: 1001, reason: "stopped" })

      yield* TestClock.adjust("1 second")
      const [waiting] = yield* statusesOf(host, watching)
      assert.deepInclude(waiting, { phase: "draining", connections: 2, watching: 1 })

      yield* Deferred.succeed(word, undefined)
      assert.deepStrictEqual(yield* framesOf(host, watching), ["{\"type\":\"shutdown\",\"reason\":\"stopped\"}"])
      assert.deepStrictEqual(yield* Deferred.await(watching.closed), { code: 1001, reason: "stopped" })
      yield* gateway.gone
    }))

  simulated(
    "is told that a predecessor's lock was reclaimed, and that a lost lock file was regained",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* spawn(host)
        yield* first.kill
        yield* spawn(host)
        const socket = yield* connect(host)
        yield* socket.send(watch)
        const [status] = yield* statusesOf(host, socket)
        assert.deepStrictEqual(status?.history.map(({ kind }) => kind), ["starting", "reclaimed", "listening"])
        assert.match(status?.history[1]?.detail ?? "", new RegExp(`left by pid ${first.pid} since `))

        yield* host.files.remove(status?.lock.path ?? "")
        yield* TestClock.adjust("30 seconds")
        const latest = (yield* statusesOf(host, socket)).at(-1)?.history.at(-1)
        assert.strictEqual(latest?.kind, "regained")
        assert.match(latest?.detail ?? "", /recreated gateway lock /)
      })
  )

  simulated("sees the other gateways, and not the gateway itself among them", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const around = yield* Ref.make<ReadonlyArray<Neighbour>>([])
      yield* spawn(host, { look: Ref.get(around) })
      const socket = yield* connect(host)
      yield* socket.send(watch)
      const first = yield* statusesOf(host, socket)
      const own = first.at(-1)
      assert.deepStrictEqual(own?.neighbours, [])
      yield* Ref.set(around, [neighbour, { ...neighbour, lockPath: own?.lock.path ?? "" }])
      yield* TestClock.adjust(StatusFeed.lookInterval)
      assert.deepStrictEqual((yield* statusesOf(host, socket)).at(-1)?.neighbours, [neighbour])
    }))
})

describe("while nobody watches a gateway", () => {
  simulated(
    "nothing is looked for, however many are connected; and however many watch, one looks",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const looks = yield* Ref.make(0)
        yield* spawn(host, { look: Effect.as(Ref.update(looks, (n) => n + 1), []) })
        const sockets = yield* Effect.replicateEffect(connect(host), 3)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* Ref.get(looks), 0)

        yield* Effect.forEach(sockets, ({ send }) => send(watch))
        yield* host.settle
        assert.strictEqual(yield* Ref.get(looks), 1)
        yield* TestClock.adjust(StatusFeed.lookInterval)
        yield* host.settle
        assert.strictEqual(yield* Ref.get(looks), 2)

        yield* Effect.forEach(sockets, ({ close }) => close)
        yield* TestClock.adjust("1 minute")
        yield* host.settle
        assert.strictEqual(yield* Ref.get(looks), 2)
      })
  )
})

/** A `Monitor` whose log of runs is a list of words. */
const makeMonitor = Effect.gen(function*() {
  const written = yield* Ref.make<ReadonlyArray<string>>([])
  const write = (word: string) => Ref.update(written, (before) => [...before, word])
  const log: RunLog = {
    started: ({ tookOver }) => write(tookOver === true ? "took over" : "started"),
    note: ({ kind, reason }) => write(`${kind} ${reason ?? ""}`.trim()),
    touch: write("touched"),
    runs: Effect.succeed([{ startedAt: DateTime.unsafeMake(0), ending: "running" }])
  }
  const monitor: Monitor.Monitoring = {
    place: Effect.succeed({ hostName: "web-01", user: "deploy", nodeVersion: "v20.0.0" }),
    memory: Effect.succeed(50_000_000),
    commands: ({ profile }) => Effect.succeed([{ purpose: "stop", command: `stop ${profile}` }]),
    runLog: () => Effect.succeed(log)
  }
  return { monitor, written: Ref.get(written) }
})

describe("a gateway with a monitor", () => {
  simulated("shows the last ten minutes to whoever comes later, and no more", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { monitor } = yield* makeMonitor
      yield* spawn(host, { monitor })
      yield* TestClock.adjust("12 seconds")
      yield* host.ports.get(address, "/healthz")
      yield* host.ports.get(address, "/healthz")
      yield* TestClock.adjust("3 seconds")
      const socket = yield* connect(host)
      yield* socket.send(watch)
      const [first] = yield* statusesOf(host, socket)
      assert.deepStrictEqual(first?.activity, {
        interval: Duration.seconds(5),
        until: DateTime.unsafeMake("1970-01-01T00:00:15.000Z"),
        connections: [0, 0, 0],
        memoryBytes: [50_000_000, 50_000_000, 50_000_000],
        lagMs: [0, 0, 0],
        requests: [0, 0, 2]
      })
      assert.deepInclude(first?.instance, { hostName: "web-01", user: "deploy", nodeVersion: "v20.0.0" })
      assert.deepStrictEqual(first?.commands, [{ purpose: "stop", command: "stop blue" }])
      assert.deepStrictEqual(first?.runs?.map(({ ending }) => ending), ["running"])
      for (let minute = 0; minute < 12; minute += 1) yield* TestClock.adjust("1 minute")
      const last = (yield* statusesOf(host, socket)).at(-1)?.activity
      assert.lengthOf(last?.connections ?? [], Activity.size)
      assert.lengthOf(last?.requests ?? [], Activity.size)
      assert.strictEqual(last?.connections.at(-1), 1)
    }))

  simulated(
    "writes that it listens, that it lives, and that it stopped and why, while it holds the lock",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { monitor, written } = yield* makeMonitor
        const gateway = yield* spawn(host, { monitor })
        assert.deepStrictEqual(yield* written, [])
        yield* TestClock.adjust("61 seconds")
        assert.deepStrictEqual(yield* written, ["started", "touched"])
        yield* gateway.interrupt
        yield* gateway.gone
        assert.deepStrictEqual(yield* written, ["started", "touched", "stopped stopped"])
      })
  )

  simulated(
    "writes that it took over after a crash, and nothing of a run that ended at once",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { monitor, written } = yield* makeMonitor
        const short = yield* spawn(host, { monitor })
        yield* short.interrupt
        yield* short.gone
        assert.deepStrictEqual(yield* written, [])
        const first = yield* spawn(host, { monitor })
        yield* first.kill
        yield* spawn(host, { monitor })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual((yield* written).slice(-1), ["took over"])
      })
  )

  simulated("stops in time even if the end of its run cannot be written", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { monitor } = yield* makeMonitor
      const hanging: Monitor.Monitoring = {
        ...monitor,
        runLog: () =>
          Effect.succeed({
            started: () => Effect.void,
            note: () => Effect.never,
            touch: Effect.void,
            runs: Effect.succeed([])
          })
      }
      const gateway = yield* spawn(host, { monitor: hanging })
      yield* TestClock.adjust("1 second")
      yield* gateway.interrupt
      yield* TestClock.adjust("1 second")
      yield* gateway.gone
    }))
})

describe("clients that come and go", () => {
  simulated("cannot make the gateway search more often", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const looks = yield* Ref.make(0)
      const look = Ref.update(looks, (n) => n + 1).pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as([]))
      yield* spawn(host, { look })
      for (let client = 0; client < 40; client += 1) {
        const socket = yield* connect(host)
        yield* socket.send(watch)
        yield* TestClock.adjust("250 millis")
        yield* host.settle
        yield* socket.close
        yield* host.settle
      }
      // Ten seconds in which each client stayed for a quarter of a second.
      assert.isAtMost(yield* Ref.get(looks), 3)
      assert.isAtLeast(yield* Ref.get(looks), 2)
    }))

  simulated("each get a current frame at once, then all the same frames", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* spawn(host)
      const sockets = [yield* connect(host)]
      yield* sockets[0]?.send(watch) ?? Effect.void
      for (let client = 1; client < 5; client += 1) {
        yield* TestClock.adjust("1 second")
        const socket = yield* connect(host)
        yield* socket.send(watch)
        sockets.push(socket)
        const [own] = yield* statusesOf(host, socket)
        assert.deepInclude(own, { connections: client + 1, watching: client + 1 })
        assert.deepStrictEqual(own?.instance.uptime, Duration.seconds(client))
      }
      yield* TestClock.adjust("1 second")
      const frames = yield* Effect.forEach(sockets, (socket) => framesOf(host, socket))
      assert.strictEqual(new Set(frames.map((all) => all.at(-1))).size, 1)
    }))
})
