/**
 * Windows, where PowerShell tells of processes, and takes its time.
 */
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as ProcessTable from "../../src/lock/ProcessTable.ts"
import { SimulatedHost } from "../../src/testing/index.ts"
import * as Programs from "../fixtures/programs.ts"

const address = { host: "127.0.0.1", port: 18789 }
const options = { ...address, stateDir: "/state", configPath: "/gateway.json" }

const answers: ReadonlyArray<[string, Programs.Behaviour]> = [
  ["slow", { stdout: "[]", lasts: "3 seconds" }],
  ["hanging", { lasts: "1 day", ignoresSigterm: true }],
  ["missing", { isMissing: true }]
]

/** A process table whose every answer but "no such process" comes from PowerShell. */
const table = (powershell: Programs.Programs) =>
  Layer.provide(
    ProcessTable.layerCim({ pid: 99, platform: "win32", startedAt: 0, kill: () => true }),
    Layer.succeed(CommandExecutor.CommandExecutor, powershell.executor)
  )

const lasting = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const running = yield* Effect.fork(Effect.exit(self))
    for (let looks = 0; looks < 300; looks += 1) {
      const exit = yield* Fiber.poll(running)
      if (exit._tag === "Some") break
      yield* TestClock.adjust("100 millis")
    }
    const exit = yield* Fiber.join(running)
    return { exit, took: (yield* Clock.currentTimeMillis) - began }
  })

describe("with a PowerShell that is", () => {
  it.scoped.each(answers)("%s, status ends within two probes", ([, behaviour]) =>
    Effect.gen(function*() {
      const powershell = Programs.make(() => behaviour)
      const host = yield* SimulatedHost.makeWith({ platform: "win32" })
      yield* host.spawn(Effect.zipRight(Layer.build(Gateway.layer(options)), Effect.never))
      yield* host.settle
      const { exit, took } = yield* lasting(
        host.run(Effect.provide(Gateway.inspect({ ...options, healthProbeTimeout: "1 second" }), table(powershell)))
      )
      assert.isTrue(Exit.isSuccess(exit))
      assert.isAtMost(took, Duration.toMillis("2 seconds"))
      assert.isAtMost(powershell.started.length, 1)
    }))

  it.scoped.each(answers)("%s, a refused start does not wait", ([, behaviour]) =>
    Effect.gen(function*() {
      const powershell = Programs.make(() => behaviour)
      const host = yield* SimulatedHost.makeWith({ platform: "win32" })
      yield* host.spawn(Effect.zipRight(Layer.build(Gateway.layer(options)), Effect.never))
      yield* host.settle
      const { exit, took } = yield* lasting(
        host.run(Effect.scoped(Effect.provide(
          Layer.build(LockFile.layerWithProbes({ ...options, address })),
          table(powershell)
        )))
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.isAtMost(took, 300)
    }))
})
