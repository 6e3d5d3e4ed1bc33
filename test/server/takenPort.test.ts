/**
 * In these tests, a port is in use although no socket listens on it: a connection uses it. All tests run on a simulated host.
 */
import { assert, describe } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Option, Scope, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as Recovery from "../../src/supervisor/Recovery.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const reason = "listen EADDRINUSE: simulated, 127.0.0.1:18789; nothing listens there: a connection has it"

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

/** A start under a supervisor (`recover`), or a start that waits until the port is free (`standby`). */
const recovering = (how: "standby" | "recover") => {
  const start = Effect.flatMap(
    Layer.build(Gateway.layerPlatform(address)),
    (context) => Effect.as(Context.get(context, Gateway.Gateway).record, undefined)
  )
  const options = { supervisor: "external" as const, address, health: { timeout: "30 seconds" as const } }
  return Effect.zipRight(
    how === "standby" ? Recovery.standby(start, options) : Recovery.recover(start, options),
    Effect.never
  )
    .pipe(Effect.provide(HealthProbe.layer()))
}

/** A connection that uses the port until the test ends it. */
const connection = (host: SimulatedHost.SimulatedHost) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Scope.extend(host.ports.connection(address), scope)
    return { end: Scope.close(scope, Exit.void) }
  })

const inspect = (host: SimulatedHost.SimulatedHost) => Effect.provide(Gateway.inspectPlatform(address), host.layer())

describe("a port that a connection has", () => {
  simulated("is not called another gateway's, and status says what has it", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { end } = yield* connection(host)
      const plain = yield* host.spawn(Gateway.launch(Gateway.layerPlatform(address)))
      yield* host.settle
      assert.deepInclude(failureOf(yield* plain.exit), { _tag: "BindFailed", code: "EADDRINUSE", ...address, reason })
      const taken = yield* inspect(host)
      assert.strictEqual(taken.verdict, "not-running")
      assert.deepStrictEqual(taken.port?.blocked, { reason: "a connection has it" })
      yield* end
      assert.isUndefined((yield* inspect(host)).port?.blocked)
      yield* host.spawn(Gateway.launch(Gateway.layerPlatform(address)))
      yield* host.settle
      assert.strictEqual((yield* inspect(host)).verdict, "running")
    }))

  simulated("at the guard address keeps a gateway on another address out as well", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.ports.connection(address)
      const v6 = { host: "::1", port: 18789 }
      const plain = yield* host.spawn(Gateway.launch(Gateway.layerPlatform(v6)))
      yield* host.settle
      assert.deepInclude(failureOf(yield* plain.exit), { _tag: "BindFailed", code: "EADDRINUSE", ...v6, reason })
      assert.deepStrictEqual(host.ports.owners(18789), [])
    }))

  for (const how of ["standby", "recover"] as const) {
    simulated(`is waited for, and taken within two seconds of its end: ${how}`, () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { end } = yield* connection(host)
        const waiting = yield* host.spawn(recovering(how))
        for (let second = 0; second < 20; second++) yield* TestClock.adjust("1 second")
        assert.isTrue(waiting.isRunning())
        assert.deepStrictEqual(host.ports.owners(18789), [])
        yield* end
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(host.ports.owners(18789), [waiting.pid])
      }))
  }

  simulated(
    "is waited for by a standby without an end, and by a service as long as an owner",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.ports.connection(address)
        const standby = yield* host.spawn(recovering("standby"))
        const service = yield* host.spawn(recovering("recover"))
        for (let second = 0; second < 29; second++) yield* TestClock.adjust("1 second")
        assert.isTrue(service.isRunning())
        for (let second = 0; second < 3; second++) yield* TestClock.adjust("1 second")
        assert.deepInclude(failureOf(yield* service.exit), { _tag: "BindFailed", reason })
        yield* TestClock.adjust("1 minute")
        assert.isTrue(standby.isRunning())
      })
  )
})
