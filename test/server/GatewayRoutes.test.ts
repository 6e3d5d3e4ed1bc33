import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Ref, TestClock } from "effect"
import * as GatewayRoutes from "../../src/server/GatewayRoutes.ts"
import * as Lifecycle from "../../src/server/Lifecycle.ts"
import { OwnRoutes } from "../../src/server/ServerSocket.ts"
import { version } from "../../src/Version.ts"
import { instanceId, lockFile } from "../fixtures/listening.ts"

it.effect("the control socket says which instance it is, and how long it has been up by the monotonic clock", () =>
  Effect.gen(function*() {
    const changes = yield* Ref.make<ReadonlyArray<object>>([])
    yield* TestClock.adjust("1 hour")
    yield* Effect.gen(function*() {
      const { control, owns } = yield* OwnRoutes
      assert.isTrue(owns("/healthz"))
      assert.isFalse(owns("/"))
      assert.deepStrictEqual(control.path, Option.some("/"))
      yield* TestClock.adjust("1234 millis")
      assert.deepStrictEqual(JSON.parse(yield* control.hello), { type: "hello", instanceId, version, uptimeMs: 1234 })
      assert.deepStrictEqual(JSON.parse(control.farewell("stopped")), { type: "shutdown", reason: "stopped" })
    }).pipe(Effect.provide(
      GatewayRoutes.layer.pipe(Layer.provide(Layer.merge(Lifecycle.layer, lockFile(changes))))
    ))
  }))
