import { HttpRouter, HttpServer } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Effect, Layer, Metric, type MetricState, Option, TestClock, Tracer } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as Metrics from "../../src/telemetry/Metrics.ts"
import { makeHost, platform, simulated } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const place = { stateDir: "/state/default", configPath: "/config/default/gateway.json" }
const lockPath = LockFile.configLockPath(place)

const gateway = (options: Gateway.GatewayOptions = {}) =>
  Gateway.launch(
    HttpServer.serve(HttpRouter.empty).pipe(Layer.provideMerge(Gateway.layerPlatform(options)))
  )

/** A program that acquires the two locks of a gateway, and never serves. */
const warming = Effect.zipRight(Layer.build(LockFile.layerWithProbes({ ...place, address })), Effect.never)

/**
 * All tests of this file share one metric registry of Effect. The label `test` distinguishes the tests in it, and the label
 * `process` distinguishes the simulated processes of one test.
 */
let labels = 0
const labelled = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.tagMetrics(self, "test", String(labels++)))
const as = (name: string) => Effect.tagMetrics("process", name)

const gauge = (metric: Metric.Metric.Gauge<number>) => Effect.map(Metric.value(metric), ({ value }) => value)
const count = (metric: Metric.Metric.Counter<number>, key?: string, value = "") =>
  Effect.map(
    Metric.value(key === undefined ? metric : Metric.tagged(metric, key, value)),
    ({ count }) => count
  )
const histogram = (
  metric: Metric.Metric.Histogram<number>,
  key?: string,
  value = ""
): Effect.Effect<MetricState.MetricState.Histogram> =>
  Metric.value(key === undefined ? metric : Metric.tagged(metric, key, value))

const verdict = (verdict: string) => count(Metrics.lockAcquireTotal, "verdict", verdict)

describe("a gateway's metrics", () => {
  simulated(
    "say that the lock is held, from when it is taken to when it is released",
    () =>
      labelled(Effect.gen(function*() {
        const host = yield* makeHost()
        assert.strictEqual(yield* gauge(Metrics.lockHeld), 0)
        const first = yield* host.spawn(gateway({ limits: { connections: 7 } }))
        yield* host.settle
        assert.strictEqual(yield* gauge(Metrics.lockHeld), 1)
        assert.strictEqual(yield* gauge(Metrics.connectionsLimit), 7)
        assert.strictEqual(yield* gauge(Metrics.lockRecordOnly), 0)
        assert.strictEqual(yield* verdict("acquired"), 1)
        assert.strictEqual((yield* histogram(Metrics.lockAcquireSeconds)).count, 1)
        yield* first.terminate
        assert.strictEqual(yield* gauge(Metrics.lockHeld), 0)
        assert.strictEqual(yield* gauge(Metrics.connectionsLimit), 0)
        assert.strictEqual((yield* histogram(Metrics.drainSeconds)).count, 1)
        assert.strictEqual(yield* count(Metrics.lockLostTotal), 0)
      }))
  )

  for (const locking of ["works", "absent"] as const) {
    simulated(`count a reclaim once, by its reason, where locking ${locking}`, () =>
      labelled(Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking(locking)
        const first = yield* as("first")(host.spawn(gateway()))
        yield* host.settle
        yield* first.kill
        yield* as("second")(host.spawn(gateway()))
        yield* host.settle
        const reason = locking === "works" ? "kernel_lock_free" : "owner_gone"
        const reclaims = Effect.forEach(
          ["kernel_lock_free", "owner_gone", "names_this_process", "no_readable_owner", "port_free"],
          (reason) => Effect.map(count(Metrics.lockReclaimTotal, "reason", reason), (n) => [reason, n] as const)
        )
        assert.deepStrictEqual((yield* as("second")(reclaims)).filter(([, n]) => n !== 0), [[reason, 1]])
        assert.deepStrictEqual((yield* as("first")(reclaims)).filter(([, n]) => n !== 0), [])
        // The gauge counts the held lock files that have no kernel lock. A gateway holds two lock files.
        assert.strictEqual(yield* as("second")(gauge(Metrics.lockRecordOnly)), locking === "works" ? 0 : 2)
      })))
  }

  simulated("count how starts end, and how long they took", () =>
    labelled(Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* as("owner")(host.spawn(warming))
      yield* host.settle
      const late = yield* as("late")(host.spawn(gateway({ lock: { timeout: "5 seconds" } })))
      const stopped = yield* as("stopped")(host.spawn(gateway({ lock: { timeout: "5 seconds" } })))
      yield* host.settle
      const waiters = gauge(Metric.tagged(Metrics.lockWaiters, "for", "lock"))
      assert.strictEqual(yield* as("stopped")(waiters), 1)
      yield* stopped.terminate
      assert.strictEqual(yield* as("stopped")(waiters), 0)
      assert.strictEqual(yield* as("stopped")(verdict("interrupted")), 1)

      yield* TestClock.adjust("5 seconds")
      yield* host.settle
      yield* late.exit
      assert.strictEqual(yield* as("late")(verdict("lock_held")), 1)
      assert.strictEqual(yield* as("late")(waiters), 0)
      const seconds = yield* as("late")(histogram(Metrics.lockAcquireSeconds))
      assert.strictEqual(seconds.sum, 5)
      assert.deepStrictEqual(seconds.buckets.filter(([bound]) => bound === 2.5 || bound === 5), [[2.5, 0], [5, 1]])

      yield* owner.kill
      yield* host.spawn(gateway())
      yield* host.settle
      const duplicate = yield* as("duplicate")(host.spawn(gateway()))
      yield* host.settle
      yield* duplicate.exit
      assert.strictEqual(yield* as("duplicate")(verdict("port_in_use")), 1)
      assert.strictEqual(yield* as("duplicate")(verdict("acquired")), 0)

      yield* host.setReadOnly(true)
      const refused = yield* as("refused")(host.spawn(gateway({ port: 18790, profile: "other" })))
      yield* host.settle
      yield* refused.exit
      assert.strictEqual(yield* as("refused")(verdict("lock_unavailable")), 1)
      assert.strictEqual(yield* as("refused")(gauge(Metrics.lockHeld)), 0)
    })))

  simulated("count looks at the lock files, and a lock that is lost", () =>
    labelled(Effect.gen(function*() {
      const host = yield* makeHost()
      const looks = (result: string) => count(Metrics.lockRecheckTotal, "result", result)
      const first = yield* as("first")(host.spawn(gateway()))
      yield* host.settle
      yield* TestClock.adjust("10 seconds")
      yield* host.settle
      assert.strictEqual(yield* as("first")(looks("kept")), 2)

      yield* host.files.remove(lockPath)
      yield* TestClock.adjust("10 seconds")
      yield* host.settle
      assert.strictEqual(yield* as("first")(looks("regained")), 1)
      assert.strictEqual(yield* as("first")(looks("kept")), 3)
      assert.strictEqual(yield* as("first")(gauge(Metrics.lockHeld)), 1)

      yield* host.files.remove("/state/default/locks", { recursive: true })
      yield* host.spawn(gateway({ port: 18790 }))
      yield* host.settle
      yield* TestClock.adjust("10 seconds")
      yield* host.settle
      yield* first.exit
      assert.strictEqual(yield* as("first")(count(Metrics.lockLostTotal)), 1)
      assert.strictEqual(yield* as("first")(gauge(Metrics.lockHeld)), 0)
      assert.isAtLeast(yield* as("first")(looks("taken")), 1)
    })))

  simulated("time probes by what they found", () =>
    labelled(Effect.scoped(Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.ports.foreign(address, { _tag: "Stalls" })
      const start = yield* as("start")(host.spawn(gateway({ health: { probeTimeout: "2 seconds" } })))
      yield* host.settle
      yield* TestClock.adjust("2 seconds")
      yield* host.settle
      yield* start.exit
      const probes = yield* as("start")(histogram(Metrics.probeSeconds, "result", "stalled"))
      assert.deepStrictEqual({ count: probes.count, sum: probes.sum }, { count: 1, sum: 2 })
      assert.strictEqual((yield* as("start")(histogram(Metrics.probeSeconds, "result", "healthy"))).count, 0)
    }))))

  simulated("time a drain, and count what it cut", () =>
    labelled(Effect.gen(function*() {
      const host = yield* makeHost()
      const App = HttpRouter.empty.pipe(HttpRouter.get("/endless", Effect.never), HttpServer.serve())
      const first = yield* host.spawn(
        Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({ drainTimeout: "3 seconds" }))))
      )
      yield* host.settle
      yield* Effect.fork(host.ports.get(address, "/endless"))
      yield* host.settle
      yield* Effect.fork(first.terminate)
      yield* host.settle
      yield* TestClock.adjust("3 seconds")
      yield* host.settle
      yield* first.exit
      assert.strictEqual(yield* count(Metrics.drainCutTotal), 1)
      assert.strictEqual((yield* histogram(Metrics.drainSeconds)).sum, 3)
    })))
})

/** Makes a tracer that adds each span to `ended` when the span ends. */
const recording = (ended: Array<Tracer.Span>) => {
  const tracer = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map<string, unknown>()
      let status: Tracer.SpanStatus = { _tag: "Started", startTime }
      const span: Tracer.Span = {
        _tag: "Span",
        name,
        spanId: `${name} ${startTime}`,
        traceId: "trace",
        parent,
        context,
        links,
        kind,
        sampled: true,
        attributes,
        get status() {
          return status
        },
        end: (endTime, exit) => {
          status = { _tag: "Ended", startTime, endTime, exit }
          ended.push(span)
        },
        attribute: (key, value) => {
          attributes.set(key, value)
        },
        event: () => {},
        addLinks: () => {}
      }
      return span
    },
    context: (f) => f()
  })
  return Effect.withTracer(tracer)
}

const shown = (span: Tracer.Span): Record<string, unknown> => ({
  name: span.name,
  parent: Option.getOrUndefined(Option.map(span.parent, (parent) => parent._tag === "Span" ? parent.name : "outside")),
  ...Object.fromEntries(span.attributes)
})

describe("a gateway's spans", () => {
  const server = { "server.address": "127.0.0.1", "server.port": 18789 }
  const free = { name: "gateway.probe", ...server, "gateway.probe.result": "no_listener" }

  simulated(
    "are an acquire with its probes, a bind, and a drain in a trace of its own",
    () =>
      labelled(Effect.gen(function*() {
        const host = yield* makeHost()
        const ended: Array<Tracer.Span> = []
        const first = yield* host.spawn(
          gateway().pipe(Effect.withSpan("mine", { captureStackTrace: false }), recording(ended))
        )
        yield* host.settle
        yield* first.terminate
        assert.deepStrictEqual(ended.map(shown), [
          { ...free, parent: "gateway.lock.acquire" },
          {
            name: "gateway.lock.acquire",
            parent: "mine",
            "gateway.lock.path": lockPath,
            "gateway.lock.verdict": "acquired"
          },
          // On Linux the bind itself fails if the port is in use.
          ...(platform === "linux" ? [] : [{ ...free, parent: "mine" }]),
          { name: "gateway.bind", parent: "mine", ...server, "gateway.bind.result": "bound" },
          {
            name: "gateway.drain",
            parent: undefined,
            "server.port": 18789,
            "gateway.drain.reason": "stopped",
            "gateway.drain.connections": 0,
            "gateway.drain.cut": 0
          },
          { name: "mine", parent: undefined }
        ])
      }))
  )

  simulated("say who holds what a start was refused for", () =>
    labelled(Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(gateway())
      yield* host.settle
      const ended: Array<Tracer.Span> = []
      const second = yield* host.spawn(recording(ended)(gateway()))
      yield* host.settle
      yield* second.exit
      assert.deepStrictEqual(ended.map(shown), [
        { ...free, parent: "gateway.lock.acquire", "gateway.probe.result": "healthy" },
        {
          name: "gateway.lock.acquire",
          parent: undefined,
          "gateway.lock.path": lockPath,
          "gateway.lock.verdict": "port_in_use",
          "gateway.lock.holder.pid": first.pid
        }
      ])
    })))

  simulated("say what a start succeeded to", () =>
    labelled(Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(gateway())
      yield* host.settle
      yield* first.kill
      const ended: Array<Tracer.Span> = []
      yield* host.spawn(recording(ended)(gateway()))
      yield* host.settle
      const acquire = ended.find(({ name }) => name === "gateway.lock.acquire")
      assert.strictEqual(acquire?.attributes.get("gateway.lock.reclaim.reason"), "kernel_lock_free")
    })))
})
