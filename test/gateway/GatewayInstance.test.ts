import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, ManagedRuntime, Option, Ref, TestClock } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import * as Gateway from "../../src/Gateway.ts"
import type { LockLost } from "../../src/GatewayLockError.ts"
import { ProcessEnd } from "../../src/host/ProcessEnd.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Ports from "../e2e/support/ports.ts"
import { makeHost, onRealHost, simulated } from "../fixtures/simulated.ts"
import { unless } from "../fixtures/skips.ts"

const App = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpServer.serve()
)

/**
 * Three ways to run an app: `Layer.launch`, `Gateway.launch`, and `Layer.build` followed by an effect that uses the built
 * context.
 */
const programs = {
  "Layer.launch": Layer.launch(
    Layer.merge(App, Gateway.layerLost).pipe(Layer.provide(Gateway.layerPlatform()))
  ),
  "Gateway.launch": Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform()))),
  "a plain Scope": Effect.gen(function*() {
    const context = yield* Layer.build(App.pipe(Layer.provideMerge(Gateway.layerPlatform())))
    return yield* Effect.provide(Gateway.whileHeld(Effect.never), context)
  })
}

describe("a lock reaches the app as a typed failure", () => {
  for (const [name, program] of Object.entries(programs)) {
    simulated(`that is refused, under ${name}`, () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const owner = yield* host.spawn(programs["Gateway.launch"])
        yield* host.settle
        const caught = yield* Deferred.make<string>()
        const refused = yield* host.spawn(
          program.pipe(Effect.catchTag("PortInUse", ({ holder }) => Deferred.succeed(caught, String(holder?.pid))))
        )
        yield* refused.exit
        assert.strictEqual(yield* Deferred.await(caught), String(owner.pid))
        assert.deepStrictEqual(host.ports.owners(18789), [owner.pid])
      }))

    simulated(`that is lost, under ${name}, after an orderly shutdown`, () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const lost = yield* Deferred.make<LockLost>()
        const first = yield* host.spawn(
          program.pipe(Effect.catchTag("LockLost", (error) => Deferred.succeed(lost, error)))
        )
        yield* host.settle
        assert.deepStrictEqual(host.ports.owners(18789), [first.pid])
        yield* host.files.remove("/state/default/locks", { recursive: true })
        yield* host.spawn(Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({ port: 18790 })))))
        yield* host.settle
        yield* TestClock.adjust("30 seconds")
        yield* first.exit
        assert.match((yield* Deferred.await(lost)).message, /^lost gateway lock at .*: the file was replaced/)
        assert.deepStrictEqual(host.ports.owners(18789), [])
      }))
  }

  unless(onRealHost).scopedLive(
    "that is refused, and one that is lost, in a ManagedRuntime",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const runtimeOn = ({ configPath, port, stateDir }: Gateways.Site) =>
          Effect.acquireRelease(
            Effect.sync(() =>
              ManagedRuntime.make(
                App.pipe(
                  Layer.provideMerge(
                    Gateway.layer({ port, configPath, stateDir, lock: { recheckInterval: "50 millis" } })
                  ),
                  // This `ProcessEnd` does nothing, because a lost lock would otherwise end the process that runs the tests.
                  Layer.provide(Layer.succeed(ProcessEnd, { end: () => Effect.void }))
                )
              )
            ),
            (runtime) => runtime.disposeEffect
          )
        const first = yield* runtimeOn(site)
        const started = yield* Deferred.make<void>()
        const ended = yield* Effect.fork(
          Effect.promise(() =>
            first.runPromiseExit(
              Gateway.whileHeld(Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)).pipe(
                Effect.catchTag("LockLost", ({ path }) => Effect.succeed(path))
              )
            )
          )
        )
        yield* Deferred.await(started)

        const second = yield* runtimeOn(site)
        const exit = yield* Effect.promise(() => second.runPromiseExit(Gateway.whileHeld(Effect.never)))
        const refused = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
        assert.deepStrictEqual(Option.map(refused, ({ _tag }) => _tag), Option.some("PortInUse"))

        // The rename replaces the lock file in one step. If the test removed the file first, the holder could restore it before
        // the test creates the link.
        const path = LockFile.configLockPath(site)
        yield* Gateways.symlink(site.configPath, `${path}.link`)
        yield* Effect.promise(() => Fs.rename(`${path}.link`, path))
        assert.deepStrictEqual(yield* Fiber.join(ended), Exit.succeed(path))
        yield* first.disposeEffect
        assert.isTrue(yield* Ports.isFree(site.port))
      })
  )
})

/** Starts a program with a listening socket as its descriptor 3, and closes this process's copy, as a supervisor does. */
const startOnSocket = (argsFor: (port: number) => ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.async<{ readonly child: ChildProcess.ChildProcess; readonly port: number }>((resume) => {
      const server = createServer().listen(0, "127.0.0.1", () => {
        const bound = server.address()
        const handle: unknown = Reflect.get(server, "_handle")
        const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined
        if (typeof fd !== "number" || typeof bound !== "object" || bound === null) {
          return resume(Effect.dieMessage("a server without a socket"))
        }
        const child = ChildProcess.spawn(process.execPath, argsFor(bound.port), {
          stdio: ["ignore", "ignore", "ignore", fd]
        })
        server.close()
        resume(Effect.succeed({ child, port: bound.port }))
      })
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

describe("Gateway.layer on a socket that was passed to it", () => {
  unless(onRealHost).scopedLive("serves on it, and does not take it for another's", () =>
    Effect.gen(function*() {
      const { configPath, root, stateDir } = yield* Gateways.newSite
      const { child, port } = yield* startOnSocket((port) => [
        fileURLToPath(new URL("../../node_modules/vite-node/vite-node.mjs", import.meta.url)),
        fileURLToPath(new URL("../fixtures/passedSocket.ts", import.meta.url)),
        String(port),
        root
      ])
      // The socket accepts connections before the program is ready, so this request waits.
      const answer = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/startupz`))
      assert.include([200, 503], answer.status)
      const record = yield* Gateways.readRecord(LockFile.configLockPath({ configPath, stateDir }))
      assert.deepStrictEqual({ pid: record.pid, port: record.port }, { pid: child.pid, port })
      child.kill("SIGTERM")
      const status = yield* Effect.promise(() => new Promise((resolve) => child.once("exit", resolve)))
      assert.strictEqual(status, 0)
    }), 60_000)
})

describe("Gateway.readiness", () => {
  const address = { host: "127.0.0.1", port: 18789 }
  class Database extends Context.Tag("Database")<Database, { readonly ping: Effect.Effect<void, string> }>() {}

  simulated("makes /readyz ask the app's check, with what that needs", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const isUp = yield* Ref.make(true)
      const ping = Effect.if(Ref.get(isUp), { onTrue: () => Effect.void, onFalse: () => Effect.fail("refused") })
      const Check = Layer.scopedDiscard(
        Gateway.readiness("database", Effect.flatMap(Database, (database) => database.ping))
      ).pipe(Layer.provide(Layer.succeed(Database, { ping })))
      yield* host.spawn(Gateway.launch(Layer.merge(App, Check).pipe(Layer.provideMerge(Gateway.layerPlatform()))))
      yield* host.settle
      assert.strictEqual((yield* host.ports.get(address, "/readyz")).body, "{\"ready\":true}")
      yield* Ref.set(isUp, false)
      const answer = yield* host.ports.get(address, "/ready")
      assert.deepStrictEqual(
        { status: answer.status, body: answer.body },
        { status: 503, body: "{\"ready\":false,\"failing\":[\"database\"]}" }
      )
      assert.strictEqual((yield* host.ports.get(address, "/healthz")).status, 200)
    }))

  simulated("refuses a name that is the gateway's own, and routes that cannot be", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const messageOf = <E>(exit: Exit.Exit<unknown, E>) => {
        const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
        return defect instanceof Error ? defect.message : "started"
      }
      const Check = Layer.scopedDiscard(Gateway.readiness("lock", Effect.void))
      const named = yield* host.spawn(Gateway.launch(Check.pipe(Layer.provideMerge(Gateway.layerPlatform()))))
      assert.match(
        messageOf(yield* named.exit),
        /^invalid readiness check "lock" from Gateway.readiness: expected 1 to 64 /
      )
      const routed = yield* host.spawn(Gateway.launch(Gateway.layerPlatform({ routes: { "/ready": "/healthz" } })))
      assert.match(
        messageOf(yield* routed.exit),
        /^invalid routes \{"\/ready":"\/healthz"\} from GatewayOptions: expected another path or false for each of \/health, /
      )
    }))
})
