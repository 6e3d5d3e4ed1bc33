/**
 * Tests `status` and starts on a simulated Windows host, on which the process table asks PowerShell about processes. A slow, hanging
 * or missing PowerShell may delay `status` by two seconds at most, and must not delay a start noticeably.
 */
import { HttpServer, HttpServerResponse } from "@effect/platform"
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import { assert, describe } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Option, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import { SimulatedHost } from "../../src/testing/index.ts"
import * as Programs from "../fixtures/programs.ts"
import { simulated } from "../fixtures/simulated.ts"

const answers: ReadonlyArray<[string, Programs.Behaviour]> = [
  ["slow", { stdout: "[]", lasts: "3 seconds" }],
  ["hanging", { lasts: "1 day", ignoresSigterm: true }],
  ["missing", { isMissing: true }]
]

/**
 * A process table as on Windows, which asks PowerShell about a process. `kill` reports that every pid exists. Otherwise the table
 * would know without PowerShell that a process has ended, and the test would not reach PowerShell.
 */
const table = (powershell: Programs.Programs) =>
  Layer.provide(
    ProcessTable.layerCim({ pid: 99, platform: "win32", startedAt: 0, kill: () => true }),
    Layer.succeed(CommandExecutor.CommandExecutor, powershell.executor)
  )

const lasting = <A, E>(self: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const running = yield* Effect.fork(Effect.exit(self))
    for (let looks = 0; looks < 60 && Option.isNone(yield* Fiber.poll(running)); looks += 1) {
      yield* TestClock.adjust("100 millis")
    }
    const took = (yield* Clock.currentTimeMillis) - began
    return { exit: Exit.flatten(Option.getOrThrow(yield* Fiber.poll(running))), took }
  })

const App = HttpServer.serve(HttpServerResponse.text("hello"))
const running = Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({}))))

describe("with a PowerShell that is", () => {
  simulated.each(answers)(
    "%s, status ends within two probes, and a refused start does not wait",
    ([, behaviour]) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform: "win32" })
        yield* host.spawn(running)
        yield* host.settle
        const onHost = <A, E>(self: Effect.Effect<A, E, Layer.Layer.Success<ReturnType<typeof host.layer>>>) => {
          const powershell = Programs.make(() => behaviour)
          return lasting(Effect.provide(self, Layer.provideMerge(table(powershell), host.layer()))).pipe(
            Effect.map((result) => ({ ...result, asked: powershell.started.length }))
          )
        }
        const status = yield* onHost(Gateway.inspectPlatform({}))
        assert.isTrue(Exit.isSuccess(status.exit), String(status.exit))
        assert.isAtMost(status.took, 2000)
        assert.strictEqual(status.asked, 1)
        const start = yield* onHost(Effect.scoped(Layer.build(App.pipe(Layer.provideMerge(Gateway.layerPlatform({}))))))
        assert.isTrue(Exit.isFailure(start.exit), String(start.exit).slice(0, 300))
        assert.include(String(start.exit), "PortInUse")
        assert.isAtMost(start.took, 200)
      })
  )

  simulated.each(answers)(
    "%s, neither a clean start nor one after a crash waits",
    ([, behaviour]) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform: "win32" })
        const powershell = Programs.make(() => behaviour)
        const start = lasting(Effect.provide(
          Effect.scoped(Layer.build(Gateway.layerPlatform({}))),
          Layer.provideMerge(table(powershell), host.layer())
        ))
        const clean = yield* start
        assert.isTrue(Exit.isSuccess(clean.exit), String(clean.exit))
        assert.isAtMost(clean.took, 200)
        assert.isEmpty(powershell.started)
        const owner = yield* host.spawn(running)
        yield* host.settle
        yield* owner.kill
        const next = yield* start
        assert.isTrue(Exit.isSuccess(next.exit), String(next.exit))
        assert.isAtMost(next.took, 200)
      })
  )
})
