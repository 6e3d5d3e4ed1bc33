/**
 * Tests that the server of a gateway stops when the gateway loses its lock. This must hold for every way in which an app can run a
 * gateway. Each run draws one of the ways at random and runs a gateway in that way on a simulated host. There, a second gateway
 * then takes the lock and serves.
 */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import {
  Cause,
  Deferred,
  Duration,
  Effect,
  Exit,
  FastCheck as fc,
  FiberRef,
  Layer,
  Logger,
  LogLevel,
  ManagedRuntime,
  Option,
  TestClock
} from "effect"
import * as Gateway from "../src/Gateway.ts"
import { isGatewayLockError } from "../src/GatewayLockError.ts"
import * as LockFile from "../src/lock/LockFile.ts"
import type * as SimulatedHost from "../src/testing/SimulatedHost.ts"
import { numRuns } from "./arbitraries.ts"
import { makeHost, replace, simulated } from "./fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const successorPort = 18790
const folder = "/state/default/locks"
const paths = [
  LockFile.configLockPath({ stateDir: "/state/default", configPath: "/config/default/gateway.json" }),
  LockFile.stateLockPath({ stateDir: "/state/default" })
]

const App = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpRouter.get("/never", Effect.never),
  HttpServer.serve()
)

/** An app that takes time to build, for example for a database migration. The build can be uninterruptible. */
const buildingFor = (duration: Duration.DurationInput, isInterruptible: boolean) =>
  Layer.unwrapEffect(
    Effect.as(isInterruptible ? Effect.sleep(duration) : Effect.uninterruptible(Effect.sleep(duration)), App)
  )

type Served = Layer.Layer<
  Gateway.Gateway | HttpServer.HttpServer,
  Gateway.StartError,
  SimulatedHost.Requirements
>
type Program = Effect.Effect<unknown, unknown, SimulatedHost.Requirements>

/**
 * Builds the gateway in a `ManagedRuntime` with the clock, the scheduler and the loggers of the simulated process. Without
 * them, the new runtime would use the defaults, such as the real clock.
 */
const inManagedRuntime = (served: Served): Program =>
  Effect.gen(function*() {
    const context = yield* Effect.context<SimulatedHost.Requirements>()
    const process = Layer.mergeAll(
      Layer.succeedContext(context),
      Layer.setClock(yield* Effect.clock),
      Layer.setScheduler(yield* FiberRef.get(FiberRef.currentScheduler)),
      Layer.scopedDiscard(
        Effect.locallyScoped(FiberRef.currentLoggers, yield* FiberRef.get(FiberRef.currentLoggers))
      )
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => ManagedRuntime.make(Layer.provide(served, process))),
      ({ disposeEffect }) => disposeEffect
    ).pipe(Effect.flatMap(({ runtimeEffect }) => runtimeEffect))
    return yield* Effect.never
  }).pipe(Effect.scoped)

/**
 * The ways in which a program may run a gateway that loses its lock. Only `Gateway.launch` ends the program by itself then. With
 * the others, the gateway must close its listener without help from the program.
 */
const wirings: Record<string, (app: typeof App, options: Gateway.GatewayOptions) => Program> = {
  "Layer.launch": (app, options) => Layer.launch(app.pipe(Layer.provide(Gateway.layerPlatform(options)))),
  "Gateway.launch": (app, options) => Gateway.launch(app.pipe(Layer.provideMerge(Gateway.layerPlatform(options)))),
  ManagedRuntime: (app, options) => inManagedRuntime(app.pipe(Layer.provideMerge(Gateway.layerPlatform(options)))),
  "a plain Scope": (app, options) =>
    Effect.zipRight(Layer.build(app.pipe(Layer.provide(Gateway.layerPlatform(options)))), Effect.never).pipe(
      Effect.scoped
    ),
  "two merged gateways": (app, options) =>
    Gateway.launch(
      Layer.merge(
        app.pipe(Layer.provideMerge(Gateway.layerPlatform(options))),
        App.pipe(Layer.provideMerge(Gateway.layerPlatform({ profile: "second", port: 18800 })))
      )
    ),
  "two gateways, the second of which is watched": (app, options) =>
    Effect.gen(function*() {
      yield* Layer.build(app.pipe(Layer.provide(Gateway.layerPlatform(options))))
      const context = yield* Layer.build(
        App.pipe(Layer.provideMerge(Gateway.layerPlatform({ profile: "second", port: 18800 })))
      )
      return yield* Effect.provide(Gateway.whileHeld(Effect.never), context)
    }).pipe(Effect.scoped),
  "watched, and gone on with": (app, options) =>
    Effect.gen(function*() {
      const context = yield* Layer.build(app.pipe(Layer.provideMerge(Gateway.layerPlatform(options))))
      yield* Gateway.whileHeld(Effect.never).pipe(
        Effect.provide(context),
        Effect.catchTag("LockLost", () => Effect.void)
      )
      return yield* Effect.never
    }).pipe(Effect.scoped)
}

const scenario = fc.record({
  wiring: fc.constantFrom(...Object.keys(wirings)),
  listensForSigterm: fc.boolean(),
  onLost: fc.constantFrom("exit" as const, "close" as const, undefined),
  /** How long a shutdown waits for requests in progress, in seconds. */
  drainTimeout: fc.constantFrom(0, 1, 10),
  /** Seconds from the acquisition of the lock until the app is built. The value is 0 for an app that serves at once. */
  building: fc.constantFrom(0, 0, 9, 300),
  isInterruptible: fc.boolean(),
  /** Whether the gateway is processing a request when it loses the lock. The app never answers that request. */
  isBusy: fc.boolean(),
  hook: fc.constantFrom("none" as const, "never" as const, "uninterruptible" as const, "dies" as const),
  locking: fc.constantFrom("works" as const, "absent" as const)
})

const hooks = {
  none: undefined,
  never: () => Effect.never,
  uninterruptible: () => Effect.uninterruptible(Effect.never),
  dies: () => Effect.die("by the test")
}

describe("a lost lock", () => {
  simulated.prop(
    "closes the listener and ends the process with a status other than 0, in every wiring",
    [scenario],
    ([{ building, drainTimeout, hook, isBusy, isInterruptible, listensForSigterm, locking, onLost, wiring }]) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking(locking)
        const errors: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) errors.push(String(message))
        })
        const app = building === 0 ? App : buildingFor(Duration.seconds(building), isInterruptible)
        const program = wirings[wiring]?.(app, {
          drainTimeout: Duration.seconds(drainTimeout),
          onLost,
          onDrain: hooks[hook]
        }) ?? Effect.dieMessage("no such wiring")
        const first = yield* host.spawn(
          Effect.provide(program, Logger.replace(Logger.defaultLogger, logger)),
          { listensForSigterm }
        )
        yield* host.settle
        assert.include(host.ports.owners(address.port), first.pid)
        if (isBusy && building === 0) yield* Effect.fork(host.ports.get(address, "/never"))
        yield* host.settle

        // The first gateway is frozen, as if its machine were suspended. Meanwhile the second gateway (the successor) starts.
        yield* first.freeze
        yield* host.files.remove(folder, { recursive: true })
        const successor = yield* host.spawn(
          Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({ port: successorPort }))))
        )
        yield* host.settle
        yield* first.resume
        yield* TestClock.adjust("31 seconds")
        yield* host.settle
        // The shutdown takes the drain timeout, and one more second in which viewers of the status page disconnect.
        yield* TestClock.adjust(Duration.seconds(drainTimeout + 1))
        yield* host.settle
        assert.notInclude(host.ports.owners(address.port), first.pid, "its port")
        yield* TestClock.adjust("10 seconds")
        yield* host.settle

        const lines = errors.filter((line) => line.startsWith("lost gateway lock at "))
        assert.strictEqual(lines.length, 1, errors.join("\n"))
        if (onLost === "close") {
          // With "close", the gateway does not end its program when the lock is lost. `Gateway.launch` watches the lock and ends
          // the program itself, and only these two wirings use `Gateway.launch`.
          const isWatched = wiring === "Gateway.launch" || wiring === "two merged gateways"
          if (!isWatched) assert.isTrue(first.isRunning())
        } else {
          assert.isFalse(first.isRunning(), "its process")
          assert.deepStrictEqual(yield* first.status, Option.some(1))
        }
        // The successor keeps its port and its lock files.
        assert.deepStrictEqual(host.ports.owners(successorPort), [successor.pid])
        for (const path of paths) {
          const record = JSON.parse(new TextDecoder().decode(yield* host.files.readFile(path)))
          assert.strictEqual(record.pid, successor.pid)
          assert.strictEqual(record.phase, "listening")
        }
      }),
    { fastCheck: { numRuns: Math.min(numRuns, 60) } }
  )

  simulated("interrupts an app that is being built at once", () =>
    Effect.gen(function*() {
      for (const wiring of ["Layer.launch", "Gateway.launch"] as const) {
        const host = yield* makeHost()
        const interrupted = yield* Deferred.make<void>()
        const app = Layer.unwrapEffect(
          Effect.sleep("9 seconds").pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined)),
            Effect.as(App)
          )
        )
        const first = yield* host.spawn(
          wirings[wiring]?.(app, { lock: { recheckInterval: "1 second" } }) ?? Effect.void
        )
        yield* host.settle
        yield* first.freeze
        yield* host.files.remove(folder, { recursive: true })
        yield* host.spawn(
          Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({ port: successorPort }))))
        )
        yield* host.settle
        yield* first.resume
        yield* TestClock.adjust("1 second")
        yield* host.settle
        assert.isTrue(yield* Deferred.isDone(interrupted), wiring)
        assert.isFalse(first.isRunning(), wiring)
        assert.deepStrictEqual(yield* first.status, Option.some(1), wiring)
      }
    }))

  simulated("gives back the lock that is still held, also where no finalizer runs", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setLocking("absent")
      const first = yield* host.spawn(
        wirings["Layer.launch"]?.(App, { lock: { recheckInterval: "1 second" } }) ?? Effect.void,
        { listensForSigterm: false }
      )
      yield* host.settle
      const [config = "", state = ""] = paths
      const record = JSON.parse(new TextDecoder().decode(yield* host.files.readFile(config)))
      yield* host.files.writeFileString("/other", JSON.stringify({ ...record, instanceId: "other" }))
      yield* replace(host, "/other", config)
      yield* TestClock.adjust("2 seconds")
      yield* host.settle
      assert.isFalse(first.isRunning())
      assert.isTrue(Option.isSome(yield* Effect.option(host.files.stat(config))))
      assert.isTrue(Option.isNone(yield* Effect.option(host.files.stat(state))))
    }))

  simulated("makes a later serve fail with it", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const failed = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      yield* host.spawn(
        Effect.gen(function*() {
          const context = yield* Layer.build(
            Gateway.layerPlatform({ onLost: "close", lock: { recheckInterval: "1 second" } })
          )
          yield* Effect.sleep("5 seconds")
          yield* Deferred.succeed(failed, yield* Effect.exit(Effect.provide(Layer.build(App), context)))
        }).pipe(Effect.scoped)
      )
      yield* host.settle
      yield* host.files.remove(folder, { recursive: true })
      yield* host.spawn(Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform({ port: successorPort })))))
      yield* host.settle
      yield* TestClock.adjust("6 seconds")
      const exit = yield* Deferred.await(failed)
      const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
      assert.isTrue(isGatewayLockError(defect))
      assert.strictEqual(isGatewayLockError(defect) ? defect._tag : undefined, "LockLost")
    }))
})
