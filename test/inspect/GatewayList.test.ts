import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import { isConfigLock } from "../../src/host/OpenLockFiles.ts"
import * as GatewayList from "../../src/inspect/GatewayList.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const decode = Schema.decodeUnknownSync(GatewayList.GatewayList)
const encode = Schema.encodeSync(GatewayList.GatewayList)

const list = (host: SimulatedHost.SimulatedHost, viewer: SimulatedHost.ProcessOptions = {}) =>
  Effect.gen(function*() {
    const asked = yield* Effect.fork(Effect.provide(GatewayList.list(), host.layer(viewer)))
    yield* host.settle
    for (let second = 0; second < 4; second++) yield* TestClock.adjust("1 second")
    return decode(JSON.parse(JSON.stringify(encode(yield* Fiber.join(asked)))))
  })

const gateway = (options: Gateway.GatewayOptions) => Gateway.launch(Gateway.layerPlatform(options))

describe("GatewayList.list, on a simulated host", () => {
  simulated("nobody, where no gateway ever ran", () =>
    Effect.gen(function*() {
      const { gateways, notCovered } = yield* list(yield* makeHost())
      assert.deepStrictEqual([gateways, notCovered], [[], []])
    }))

  simulated(
    "those of the profiles and those of other folders, each once; dead ones only by their profile",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const blue = yield* host.spawn(gateway({ profile: "blue", port: 18790 }))
        const own = yield* host.spawn(gateway({ stateDir: "/srv/own", configPath: "/srv/own.json", port: 18791 }))
        const dead = yield* host.spawn(gateway({ profile: "red", port: 18792 }))
        const lost = yield* host.spawn(gateway({ stateDir: "/srv/lost", port: 18793 }))
        const ended = yield* host.spawn(gateway({ profile: "green", port: 18794 }))
        yield* host.settle
        yield* dead.kill
        yield* lost.kill
        yield* ended.interrupt
        yield* host.settle
        const { gateways, notCovered } = yield* list(host)
        assert.deepStrictEqual(
          gateways.map(({ configPath, owner, profile, stateDir, verdict }) => [
            stateDir,
            profile,
            configPath,
            verdict,
            owner?.pid
          ]),
          [
            ["/srv/own", undefined, "/srv/own.json", "running", own.pid],
            ["/state/blue", "blue", "/config/blue/gateway.json", "running", blue.pid],
            ["/state/red", "red", "/config/red/gateway.json", "dead", dead.pid]
          ]
        )
        assert.deepStrictEqual(notCovered, [])
      })
  )

  simulated("a dead one is dead though another gateway has its port by now", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const dead = yield* host.spawn(gateway({ profile: "blue" }))
      yield* host.settle
      yield* dead.kill
      yield* host.spawn(gateway({ profile: "green" }))
      yield* host.settle
      assert.deepStrictEqual(
        (yield* list(host)).gateways.map(({ profile, verdict }) => [profile, verdict]),
        [["blue", "dead"], ["green", "running"]]
      )
    }))

  simulated("a folder that cannot be read is told of", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(gateway({ profile: "blue" }))
      yield* host.settle
      const { gateways, notCovered } = yield* list(host, { uid: 1000 })
      assert.deepStrictEqual(gateways, [])
      assert.strictEqual(notCovered.length, 1)
      assert.match(notCovered[0] ?? "", /^\/state: EACCES/)
    }))
})

describe("OpenLockFiles.isConfigLock", () => {
  it.each([
    ["/s/locks/gateway.0123abcd.lock", true],
    ["C:\\s\\locks\\gateway.0123abcd.lock", true],
    ["/s/locks/gateway.state.lock", false],
    ["/s/locks/gateway.0123abcd.lock (deleted)", false],
    ["/s/locks/gateway.0123abcd.lock.instance.reclaim", false],
    ["/s/gateway.0123abcd.lock", false],
    ["/s/locks/gateway.0123ABCD.lock", false]
  ])("%s: %s", (path, expected) => assert.strictEqual(isConfigLock(path), expected))
})
