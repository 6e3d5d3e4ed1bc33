import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Schema, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as GatewayList from "../../src/inspect/GatewayList.ts"
import { GatewayStatus, inspect as inspectPlace, type Verdict } from "../../src/inspect/GatewayStatus.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, noNamespaces, simulated } from "../fixtures/simulated.ts"
import * as Wrapper from "../fixtures/wrapper.ts"

const throughJson = Schema.decodeUnknownSync(Schema.parseJson(GatewayStatus))
const encode = Schema.encodeSync(Schema.parseJson(GatewayStatus))

/** Runs `reader` in a process of the host, and advances the time until the probes of `reader` have timed out. */
const reading = <A, E>(
  host: SimulatedHost.SimulatedHost,
  reader: Effect.Effect<A, E, SimulatedHost.Requirements>,
  viewer: SimulatedHost.ProcessOptions = {}
) =>
  Effect.gen(function*() {
    const asked = yield* Effect.fork(Effect.provide(reader, host.layer(viewer)))
    yield* host.settle
    for (let second = 0; second < 4; second++) yield* TestClock.adjust("1 second")
    return yield* Fiber.join(asked)
  })

const inspect = (
  host: SimulatedHost.SimulatedHost,
  options: Gateway.InspectOptions = {},
  viewer: SimulatedHost.ProcessOptions = {}
) => Effect.map(reading(host, Gateway.inspectPlatform(options), viewer), (status) => throughJson(encode(status)))

interface Case extends Wrapper.Options {
  readonly verdict: Verdict
}

const cases: ReadonlyArray<Case> = [
  { ready: "none", verdict: "running" },
  { ready: "none", address: undefined, verdict: "running" },
  { ready: "none", listener: "none", verdict: "running" },
  { ready: "none", listener: "stranger", verdict: "running" },
  { ready: "none", phase: "starting", verdict: "starting" },
  { ready: "none", phase: "draining", verdict: "draining" },
  { ready: "port", verdict: "running" },
  { ready: "port", listener: "grandchild", verdict: "running" },
  { ready: "port", behaviour: { _tag: "Stalls" }, verdict: "running" },
  { ready: "port", behaviour: { _tag: "Garbage" }, verdict: "running" },
  { ready: "port", listener: "none", verdict: "unhealthy" },
  { ready: "port", phase: "starting", verdict: "starting" },
  { ready: "port", phase: "starting", listener: "stranger", verdict: "starting" },
  { ready: "port", phase: "draining", verdict: "draining" },
  { ready: "http:/ready", verdict: "running" },
  { ready: "http:/ready", listener: "grandchild", verdict: "running" },
  { ready: "http:/broken", verdict: "unhealthy" },
  { ready: "http:/absent", verdict: "unhealthy" },
  { ready: "http:/ready", behaviour: { _tag: "Stalls" }, verdict: "unhealthy" },
  { ready: "http:/ready", listener: "none", verdict: "unhealthy" }
]

describe("Gateway.inspect, of a wrapper and its command", () => {
  for (const { verdict, ...options } of cases) {
    const { listener = "child", phase = "listening", ready } = options
    const port = "address" in options ? "no port" : `the listener: ${listener}`
    const behaviour = options.behaviour === undefined ? "" : `, ${options.behaviour._tag}`
    simulated(`${ready}, ${phase}, ${port}${behaviour}: ${verdict}`, () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { wrapper } = yield* Wrapper.start(host, options)
        const status = yield* inspect(host)
        assert.strictEqual(status.verdict, verdict, status.reason)
        assert.deepInclude(status.owner, { pid: wrapper.pid, pidMeaning: "Alive", ready })
        assert.deepInclude(status.health, { rule: ready, healthy: verdict === "running" })
        if (verdict === "running") assert.strictEqual(status.health?.identity, "owner")

        yield* wrapper.kill
        const after = yield* inspect(host)
        // The command has inherited the lock, so it is the owner after the wrapper was killed. The verdict must stay the same.
        assert.strictEqual(after.verdict, verdict, after.reason)
        assert.deepInclude(after.owner, { command: "python3", endedWrapper: wrapper.pid, pidMeaning: "Alive" })
      }))
  }

  simulated.unless(noNamespaces)(
    "a stranger's listener is foreign, and the stranger is named",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* Wrapper.start(host, { ready: "port", listener: "none" })
        const stranger = yield* host.spawn(Effect.never, { command: "nginx" })
        yield* Effect.orDie(host.ports.foreign(Wrapper.address, Wrapper.program, stranger))
        for (const listeners of [true, false]) {
          const { health, port, verdict } = yield* reading(
            host,
            inspectPlace({ ...Wrapper.place, ...Wrapper.address, listeners })
          )
          assert.strictEqual(verdict, "foreign-listener")
          assert.deepInclude(health, { identity: "other", healthy: false })
          assert.deepStrictEqual(port?.listeners, [
            { host: "127.0.0.1", pid: stranger.pid, command: "nginx", isOwner: false }
          ])
        }
      })
  )

  simulated("an answer of 200 by a stranger does not count", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* Wrapper.start(host, { ready: "http:/ready", listener: "none" })
      const stranger = yield* host.spawn(Effect.never, { command: "nginx" })
      yield* Effect.orDie(host.ports.foreign(Wrapper.address, Wrapper.program, stranger))
      assert.strictEqual((yield* inspect(host)).verdict, "foreign-listener")
    }))

  simulated("a listener of which nothing is visible: unknown, and never unhealthy", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* Wrapper.start(host, { ready: "port", listener: "stranger" })
      assert.strictEqual((yield* inspect(host)).verdict, "unknown")
    }))

  simulated("a listener of the owner on another address counts", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command } = yield* Wrapper.start(host, { ready: "port", listener: "none" })
      yield* Effect.orDie(host.ports.foreign({ host: "::1", port: 18789 }, Wrapper.program, command))
      assert.strictEqual((yield* inspect(host)).verdict, "running")
    }))

  simulated.unless(noNamespaces)(
    "an owner in another PID and network namespace: unknown",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* Wrapper.start(host, { ready: "port" })
        const { verdict } = yield* inspect(host, {}, { pidNamespace: "pid:[2]", networkNamespace: "net:[2]" })
        assert.strictEqual(verdict, "unknown")
      })
  )

  simulated("both killed: dead, even though another program has the port", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "none" })
      yield* wrapper.kill
      yield* command.kill
      assert.strictEqual((yield* inspect(host)).verdict, "dead")
    }))

  simulated(
    "wrapper and command killed, a descendant has the lock: it is named, and serves",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { command, grandchild, wrapper } = yield* Wrapper.start(host, { ready: "none", listener: "grandchild" })
        assert.notProperty((yield* inspect(host)).lock, "holders")
        yield* wrapper.kill
        assert.notProperty((yield* inspect(host)).lock, "holders")
        yield* command.kill
        const { lock, verdict } = yield* inspect(host)
        assert.strictEqual(verdict, "running")
        assert.deepInclude(lock, { state: "held", holders: [{ pid: grandchild?.pid ?? 0, command: "worker" }] })
      })
  )

  simulated("in record-only mode the owner lives while its command does", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setLocking("absent")
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
      yield* wrapper.kill
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "running", status.reason)
      assert.deepInclude(status.lock, { state: "held", enforcement: "record" })
      assert.deepInclude(status.owner, { pid: command.pid, endedWrapper: wrapper.pid })
      yield* command.kill
      assert.strictEqual((yield* inspect(host)).verdict, "dead")
    }))

  simulated("the list shows it, with the command as the owner", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
      yield* wrapper.kill
      const { gateways } = yield* reading(host, GatewayList.list())
      assert.deepStrictEqual(
        gateways.map(({ owner, verdict }) => [verdict, owner?.pid, owner?.endedWrapper]),
        [["running", command.pid, wrapper.pid]]
      )
    }))
})
