/**
 * Runs whole gateways with a lease on several simulated hosts that reach one simulated store.
 */
import { HttpClient, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Layer, Logger, LogLevel, Option, Queue } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import { ElapsedTime } from "../../src/host/ElapsedTime.ts"
import * as HolderText from "../../src/leader/HolderText.ts"
import * as Leadership from "../../src/leader/Leadership.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import type { SimulatedProcess } from "../../src/testing/SimulatedHost.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import {
  address,
  adjust,
  awaited,
  gateway,
  get,
  lease,
  pair,
  readiness,
  ready,
  start,
  type wirings
} from "../fixtures/leading.ts"
import { makeHost, noNamespaces, platform, simulated } from "../fixtures/simulated.ts"

const errorOf = (process: SimulatedProcess<unknown, unknown>) =>
  Effect.map(process.poll, (exit) =>
    exit.pipe(
      Option.flatMap(Exit.causeOption),
      Option.flatMap(Cause.failureOption),
      Option.map(String),
      Option.getOrUndefined
    ))

describe("gateways with a lease", () => {
  simulated("the leader serves its app, and a candidate answers as a standby", () =>
    Effect.gen(function*() {
      const { one, store, two } = yield* pair()
      const { fencingToken } = Option.getOrThrow(store.lease(lease))
      assert.strictEqual(yield* get(one, "/"), `200 token ${fencingToken}`)
      assert.match(yield* get(two, "/healthz"), /^200 \{"ok":true,"status":"live"/)
      assert.strictEqual(yield* get(two, "/startupz"), "200 {\"ok\":true,\"status\":\"started\"}")
      const answer = yield* HttpClient.get("http://127.0.0.1:18789/").pipe(Effect.provide(two.layerClient))
      assert.deepStrictEqual([answer.status, yield* answer.json, answer.headers["retry-after"]], [
        503,
        { ok: false, status: "standby" },
        "3"
      ])
      const socket = yield* two.ports.connect(address)
      assert.include(yield* Queue.take(socket.frames), "\"type\":\"hello\"")
    }))

  simulated("a candidate stops on SIGTERM, and releases its lock and port", () =>
    Effect.gen(function*() {
      const { candidate, two } = yield* pair()
      yield* candidate.terminate
      assert.deepStrictEqual(two.ports.owners(address.port), [])
      assert.isFalse(candidate.isRunning())
    }))

  simulated(
    "after a stop of the leader, the candidate leads within a round trip, with a higher token",
    () =>
      Effect.gen(function*() {
        const { leader, one, store, two } = yield* pair({ drainTimeout: "5 seconds" })
        const before = Option.getOrThrow(store.lease(lease)).fencingToken
        yield* Effect.fork(one.ports.get(address, "/never"))
        yield* one.settle
        yield* Effect.fork(leader.terminate)
        // The drain comes first. Only then is the lease released.
        yield* adjust(4.9)
        assert.deepStrictEqual([leader.isRunning(), yield* readiness(two)], [true, awaited])
        yield* adjust(0.2)
        assert.strictEqual(yield* readiness(two), ready)
        assert.isTrue(Option.getOrThrow(store.lease(lease)).fencingToken > before)
        assert.deepStrictEqual(one.ports.owners(address.port), [])
      })
  )

  simulated(
    "after a crash of the leader, the candidate waits for the whole lease and leads within the bound",
    () =>
      Effect.gen(function*() {
        const { leader, two } = yield* pair()
        yield* leader.kill
        yield* adjust(11.9)
        assert.strictEqual(yield* readiness(two), awaited)
        yield* adjust(8.1)
        assert.strictEqual(yield* readiness(two), ready)
      })
  )

  simulated.each<keyof typeof wirings>(["Gateway.launch", "Layer.launch", "a plain Scope"])(
    "a partition ends the leader before another host is ready: %s",
    (wiring) =>
      Effect.gen(function*() {
        const errors: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) errors.push(String(message))
        })
        yield* Effect.gen(function*() {
          const { leader, one, store, two } = yield* pair({}, wiring)
          const request = yield* Effect.fork(one.ports.get(address, "/never"))
          yield* store.link("one").cut()
          for (let step = 0; step < 300; step++) {
            yield* adjust(0.1)
            const [first, second] = [yield* readiness(one), yield* readiness(two)]
            assert.isFalse(first === ready && second === ready, `two ready at step ${step}`)
            if (second === ready) assert.isFalse(leader.isRunning())
          }
          assert.strictEqual(yield* readiness(two), ready)
          assert.isFalse(leader.isRunning())
          yield* Effect.exit(request)
          if (wiring === "Gateway.launch") {
            assert.match(`${yield* errorOf(leader)}`, /lost leadership of reports: it was not renewed within 10s/)
          }
          if (wiring !== "Gateway.launch") assert.deepStrictEqual(yield* leader.status, Option.some(1))
        }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
        assert.lengthOf(errors.filter((line) => line.includes("lost leadership")), 1)
      })
  )

  simulated("a leader that is asked to resign ends, and the candidate leads", () =>
    Effect.gen(function*() {
      const { leader, store, two } = yield* pair()
      const { fencingToken } = Option.getOrThrow(store.lease(lease))
      assert.isTrue(yield* store.link("test").store.requestResign(lease, fencingToken))
      yield* adjust(3.1)
      assert.match(`${yield* errorOf(leader)}`, /asked the leader to hand over/)
      assert.strictEqual(yield* readiness(two), ready)
    }))

  simulated(
    "a leader that is stopped for long is killed before it answers as a leader again",
    () =>
      Effect.gen(function*() {
        const { leader, one, two } = yield* pair()
        yield* leader.freeze
        yield* adjust(25)
        assert.strictEqual(yield* readiness(two), ready)
        yield* leader.resume
        yield* one.settle
        assert.notInclude(yield* get(one, "/"), "token")
        yield* adjust(0)
        assert.isFalse(leader.isRunning())
      })
  )

  simulated(
    "a request that arrives before the timers, after the machine was suspended, does not reach the app",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const host = yield* makeHost()
        let suspended = 0n
        const program = Gateway.launch(gateway()).pipe(
          Effect.provide(store.link("one").layer),
          Effect.provideService(ElapsedTime, {
            now: Effect.map(Clock.currentTimeNanos, (now) => now + suspended),
            checkEvery: Option.some(Duration.millis(100))
          })
        )
        const leader = yield* host.spawn(program)
        yield* adjust(20)
        assert.match(yield* get(host, "/"), /^200 token/)
        suspended = 11_000_000_000n
        assert.strictEqual(yield* get(host, "/"), "503 {\"ok\":false,\"status\":\"standby\"}")
        yield* adjust(0.2)
        assert.match(`${yield* errorOf(leader)}`, /lost leadership/)
      })
  )

  simulated("a lost host lock ends the leadership, and the candidate leads", () =>
    Effect.gen(function*() {
      const { leader, one, two } = yield* pair()
      yield* leader.freeze
      yield* one.files.remove("/state/default/locks", { recursive: true })
      const Other = HttpServer.serve(HttpServerResponse.text("")).pipe(
        Layer.provideMerge(Gateway.layerPlatform({ port: 18790 }))
      )
      yield* one.spawn(Gateway.launch(Other))
      yield* one.settle
      yield* leader.resume
      yield* adjust(40)
      assert.isFalse(leader.isRunning())
      assert.strictEqual(yield* readiness(two), ready)
    }))

  simulated(
    "a store that refuses ends the start, and a store that is down is waited for",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const host = yield* makeHost()
        const refusing = Layer.effect(
          Leadership.LeaseStore.LeaseStore,
          Effect.map(
            Leadership.LeaseStore.LeaseStore,
            (real) => ({ ...real, look: () => new Leadership.LeaseStore.StoreRefused({ reason: "no rights" }) })
          )
        ).pipe(Layer.provide(store.link("one").layer))
        const refused = yield* host.spawn(Gateway.launch(gateway()).pipe(Effect.provide(refusing)))
        yield* host.settle
        assert.match(`${yield* errorOf(refused)}`, /LeaseUnavailable: failed to use lease reports at .*: no rights/)
        assert.deepStrictEqual(host.ports.owners(address.port), [])
        yield* store.stop
        const patient = yield* start(host, store, "one")
        yield* adjust(60)
        assert.deepStrictEqual([patient.isRunning(), yield* readiness(host)], [true, awaited])
        yield* store.start
        yield* adjust(22)
        assert.strictEqual(yield* readiness(host), ready)
      })
  )

  simulated.unless(noNamespaces)(
    "after a crash, a restart on the same host leads at once, and tells who it is",
    () =>
      Effect.gen(function*() {
        const { leader, one, store, two } = yield* pair()
        const before = Option.getOrThrow(store.lease(lease))
        assert.deepStrictEqual(HolderText.gatewayOf(before.holder), {
          instanceId: JSON.parse((yield* get(one, "/healthz")).slice(4)).instanceId,
          hostname: "simulated",
          pid: leader.pid,
          url: "ws://127.0.0.1:18789"
        })
        yield* leader.kill
        yield* start(one, store, "one")
        yield* one.settle
        assert.deepStrictEqual([yield* readiness(one), yield* readiness(two)], [ready, awaited])
        assert.isTrue(Option.getOrThrow(store.lease(lease)).fencingToken > before.fencingToken)
      })
  )

  const noProof: Record<string, (host: SimulatedHost.SimulatedHost) => Effect.Effect<void>> = {
    "after its lock files were removed": ({ files }) =>
      Effect.orDie(files.remove("/state/default/locks", { recursive: true })),
    "after a reboot": ({ reboot }) => reboot,
    "without kernel locks": (host) => host.setLocking("absent")
  }

  simulated.each(Object.keys(noProof))(
    "a restart on the same host waits for the whole lease %s",
    (how) =>
      Effect.gen(function*() {
        const { candidate, leader, one, store, two } = yield* pair()
        yield* candidate.terminate
        yield* leader.kill
        yield* noProof[how]?.(one) ?? Effect.void
        yield* start(one, store, "one")
        yield* adjust(11.9)
        assert.strictEqual(yield* readiness(one), awaited)
        yield* adjust(8.1)
        assert.strictEqual(yield* readiness(one), ready)
        assert.deepStrictEqual(two.ports.owners(address.port), [])
      })
  )

  simulated.unless(platform === "win32" ? "an open file cannot be moved" : undefined)(
    "a leader whose lock files were moved away still holds them, so that their return proves nothing",
    () =>
      Effect.gen(function*() {
        const { leader, one } = yield* pair()
        const folder = "/state/default/locks"
        yield* Effect.orDie(one.files.rename(folder, "/moved"))
        yield* adjust(12)
        // It has acquired new files, and goes on.
        assert.strictEqual(yield* readiness(one), ready)
        const names = (yield* Effect.orDie(one.files.readDirectory("/moved"))).filter((name) => name.endsWith(".lock"))
        assert.lengthOf(names, 2)
        for (const name of names) assert.deepStrictEqual(one.lockHolders(`/moved/${name}`), [leader.pid])
      })
  )

  simulated(
    "a host refuses to lead with a token that is not higher than one it has seen",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const host = yield* makeHost()
        const first = yield* start(host, store, "one")
        yield* adjust(20)
        yield* first.terminate
        const restore = yield* store.backup
        const second = yield* start(host, store, "one")
        yield* host.settle
        assert.strictEqual(yield* readiness(host), ready)
        yield* second.terminate
        yield* restore
        const next = yield* start(host, store, "one")
        yield* adjust(40)
        assert.match(`${yield* errorOf(next)}`, /LeaseUnavailable.*its fencing token \d+ is not above \d+/)
      })
  )

  simulated("refuses options that are wrong", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const host = yield* makeHost()
      const refusal = (options: Gateway.LeasedGatewayOptions) =>
        Effect.gen(function*() {
          const process = yield* start(host, store, "one", options)
          yield* host.settle
          return Option.match(yield* process.poll, {
            onNone: () => "runs",
            onSome: Exit.match({ onSuccess: () => "ended", onFailure: Cause.pretty })
          })
        })
      assert.include(
        yield* refusal({ lease: { duration: "1 second" } }),
        "invalid lease"
      )
      assert.include(yield* refusal({ lease: { name: "a b" } }), "invalid lease.name")
      const untyped: object = { onLost: "close" }
      assert.include(yield* refusal(untyped), "invalid onLost")
    }))
})
