import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Config,
  ConfigError,
  ConfigProvider,
  Deferred,
  Duration,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Option,
  Queue,
  Redacted,
  TestClock
} from "effect"
import * as Gateway from "../src/Gateway.ts"
import { isGatewayLockError } from "../src/GatewayLockError.ts"
import * as LockFile from "../src/lock/LockFile.ts"
import { DrainCut } from "../src/server/DrainCut.ts"
import * as SimulatedHost from "../src/testing/SimulatedHost.ts"
import { numRuns } from "./arbitraries.ts"
import { failureOf } from "./fixtures/exits.ts"
import { callsOf, makeHost, noNamespaces, platform, recordAt, simulated } from "./fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const lockPath = LockFile.configLockPath({ stateDir: "/state/default", configPath: "/config/default/gateway.json" })
const statePath = LockFile.stateLockPath({ stateDir: "/state/default" })

const App = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpServer.serve()
)

const gateway = (options: Gateway.GatewayOptions = {}) =>
  Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform(options))))

/** Runs all work that does not wait for the test clock. */
const settle = Effect.repeatN(Effect.yieldNow(), 1000)

/** Starts a gateway, and runs all work that does not wait for the test clock. */
const start = (
  host: SimulatedHost.SimulatedHost,
  options?: Gateway.GatewayOptions,
  process?: Parameters<typeof host.spawn>[1]
) => Effect.zipLeft(host.spawn(gateway(options), process), settle)

/** Starts a process that holds the locks but has not bound its port, like a gateway during its start. */
const startWarming = (host: SimulatedHost.SimulatedHost) => {
  const lock = LockFile.layerWithProbes({
    stateDir: "/state/default",
    configPath: "/config/default/gateway.json",
    address
  })
  return Effect.zipLeft(host.spawn(Effect.zipRight(Layer.build(lock), Effect.never)), settle)
}

const lockings = ["works", "absent"] as const

/** Makes a host whose kernel locks work or are absent. */
const hostWith = (locking: typeof lockings[number]) => Effect.tap(makeHost(), (host) => host.setLocking(locking))

const exists = (host: SimulatedHost.SimulatedHost, path: string) =>
  Effect.map(Effect.option(host.files.stat(path)), Option.isSome)

describe("a gateway on a simulated host", () => {
  simulated(
    "takes both locks, listens, says so in the record, and removes everything in order",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* start(host)
        const record = Option.getOrThrow(yield* recordAt(host, lockPath))
        assert.strictEqual(record.phase, "listening")
        assert.strictEqual(record.pid, first.pid)
        assert.strictEqual(record.lock, "kernel")
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
        assert.deepStrictEqual(host.lockHolders(statePath), [first.pid])
        assert.deepStrictEqual(host.ports.owners(18789), [first.pid])
        assert.deepStrictEqual(yield* host.ports.get(address, "/hello"), { status: 200, body: "world" })
        const health = yield* host.ports.get(address, "/healthz")
        assert.deepStrictEqual(JSON.parse(health.body), { ok: true, status: "live", instanceId: record.instanceId })
        yield* first.terminate
        assert.deepStrictEqual(host.ports.owners(18789), [])
        assert.isFalse(yield* exists(host, lockPath))
        assert.isFalse(yield* exists(host, statePath))
      })
  )

  simulated.each(["linux", "darwin", "win32"] as const)(
    "has a kernel lock on %s, which keeps a start on another port out",
    (platform) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform })
        const first = yield* start(host)
        const record = Option.getOrThrow(yield* recordAt(host, lockPath))
        assert.deepStrictEqual([record.phase, record.lock], ["listening", "kernel"])
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
        assert.deepStrictEqual(host.lockHolders(statePath), [first.pid])
        const second = yield* start(host, { port: 18790 })
        assert.strictEqual(failureOf(yield* second.exit)?._tag, "LockHeld")
        yield* first.kill
        const third = yield* start(host)
        assert.deepStrictEqual(host.lockHolders(lockPath), [third.pid])
      })
  )

  simulated("refuses a second start at once, naming the first, and touches nothing", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host)
      const before = yield* host.files.readFile(lockPath)
      const second = yield* start(host)
      const error = failureOf(yield* second.exit)
      assert.strictEqual(error?._tag, "PortInUse")
      assert.strictEqual(error?.message, "another gateway instance is already listening on ws://127.0.0.1:18789")
      assert.strictEqual(error?._tag === "PortInUse" ? error.holder?.pid : undefined, first.pid)
      assert.deepStrictEqual(yield* host.files.readFile(lockPath), before)
      assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
    }))

  simulated.unless(noNamespaces)(
    "says of an owner in another PID namespace that its pid is not one of here",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.spawn(Effect.never, { pid: 1, command: "init" })
        yield* start(host, {}, { pid: 1, pidNamespace: "pid:[2]" })
        for (const [port, tag] of [[18789, "PortInUse"], [18790, "LockHeld"]] as const) {
          const refused = yield* start(host, { port })
          const error = failureOf(yield* refused.exit)
          assert.strictEqual(error?._tag, tag)
          const holder = error !== undefined && "holder" in error ? error.holder : undefined
          assert.deepInclude(holder, { pid: 1, pidMeaning: "OtherPidNamespace" })
          assert.notProperty(holder, "command")
        }
      })
  )

  simulated("succeeds a killed owner without waiting", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host)
      yield* first.kill
      const second = yield* start(host)
      assert.deepStrictEqual(host.lockHolders(lockPath), [second.pid])
      assert.strictEqual(Option.getOrThrow(yield* recordAt(host, lockPath)).pid, second.pid)
      assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
    }))

  simulated("succeeds a killed owner whose pid now belongs to a stranger, or to itself", () =>
    Effect.gen(function*() {
      for (const locking of lockings) {
        const host = yield* hostWith(locking)
        const first = yield* start(host, {}, { pid: 7 })
        yield* first.kill
        yield* TestClock.adjust("1 second")
        yield* host.spawn(Effect.never, { pid: 7 })
        const second = yield* start(host)
        assert.deepStrictEqual(host.ports.owners(18789), [second.pid], locking)
        yield* second.kill
        // Simulates the restart of a container: the third gateway gets the pid of the second, and no process starts between the two.
        const third = yield* start(host, {}, { pid: second.pid })
        assert.deepStrictEqual(host.ports.owners(18789), [third.pid], locking)
        yield* third.terminate
      }
    }))

  simulated(
    "waits for an owner that is still starting, and gives up after the lock timeout, not before",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const warming = yield* startWarming(host)
        const second = yield* start(host, { lock: { timeout: "5 seconds" } })
        yield* TestClock.adjust("4999 millis")
        assert.isTrue(Option.isNone(yield* second.poll))
        yield* TestClock.adjust("1 millis")
        yield* settle
        const error = failureOf(yield* second.exit)
        assert.strictEqual(error?.message, `gateway already running (pid ${warming.pid}); lock timeout after 5000ms`)
        assert.deepStrictEqual(host.lockHolders(lockPath), [warming.pid])
      })
  )

  simulated("takes over within a poll interval when the owner ends during the wait", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const warming = yield* startWarming(host)
      const second = yield* start(host)
      yield* TestClock.adjust("1 seconds")
      yield* warming.kill
      yield* TestClock.adjust("100 millis")
      yield* settle
      assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
    }))

  simulated("does not wait for an owner that serves another port", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host)
      const second = yield* start(host, { port: 18790 })
      assert.strictEqual(
        failureOf(yield* second.exit)?.message,
        `gateway already running (pid ${first.pid}) on ws://127.0.0.1:18789`
      )
    }))

  simulated(
    "keeps two configs from sharing one state directory, and cleans up after itself",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* start(host, { stateDir: "/shared", configPath: "/a.json" })
        const second = yield* start(host, { stateDir: "/shared", configPath: "/b.json", port: 18790 })
        assert.strictEqual(
          failureOf(yield* second.exit)?.message,
          `gateway already running (pid ${first.pid}) on ws://127.0.0.1:18789`
        )
        assert.isFalse(yield* exists(host, LockFile.configLockPath({ stateDir: "/shared", configPath: "/b.json" })))
      })
  )

  simulated("runs two profiles side by side", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(gateway({ profile: "a", port: 1001 }))
      const second = yield* host.spawn(gateway({ profile: "b", port: 1002 }))
      yield* settle
      assert.deepStrictEqual(host.ports.owners(1001), [first.pid])
      assert.deepStrictEqual(host.ports.owners(1002), [second.pid])
    }))

  simulated(
    "refuses a port that somebody else serves, stalls on, or speaks gibberish on",
    () =>
      Effect.gen(function*() {
        for (
          const behaviour of [
            { _tag: "Answers", status: 200, body: "{\"ok\":true,\"status\":\"live\"}" },
            { _tag: "Answers", status: 404, body: "" },
            { _tag: "Garbage" },
            { _tag: "Stalls" }
          ] as const
        ) {
          const host = yield* makeHost()
          yield* Effect.scoped(Effect.gen(function*() {
            yield* host.ports.foreign(address, behaviour)
            const started = yield* host.spawn(gateway({ health: { probeTimeout: "1 second" } }))
            yield* TestClock.adjust("1 second")
            yield* settle
            assert.strictEqual(failureOf(yield* started.exit)?._tag, "PortInUse", behaviour._tag)
            assert.isFalse(yield* exists(host, lockPath))
          }))
        }
      })
  )

  simulated("holds 127.0.0.1 besides another host, and gives both back", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host, { host: "::1" })
      assert.deepStrictEqual(host.ports.owners(18789), [first.pid, first.pid])
      const second = yield* start(host, { profile: "other" })
      assert.strictEqual(failureOf(yield* second.exit)?._tag, "PortInUse")
      yield* first.terminate
      assert.deepStrictEqual(host.ports.owners(18789), [])
    }))

  simulated("takes a free port for 0 and records the real one", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host, { port: 0 })
      const { port } = Option.getOrThrow(yield* recordAt(host, lockPath))
      assert.isAbove(port, 0)
      assert.deepStrictEqual(host.ports.owners(port), [first.pid])
    }))

  simulated(
    "shuts down in order, and then fails, when another gateway has taken its lock",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* start(host)
        const socket = yield* host.ports.connect(address)
        yield* settle
        // After the removal of the locks folder, another gateway can acquire the lock. It needs another port, because the first
        // gateway still listens on port 18789.
        yield* host.files.remove("/state/default/locks", { recursive: true })
        const second = yield* start(host, { port: 18790 })
        assert.deepStrictEqual(host.lockHolders(lockPath), [second.pid])
        yield* TestClock.adjust("30 seconds")
        yield* settle
        assert.deepStrictEqual(yield* Deferred.await(socket.closed), { code: 1001, reason: "lock lost" })
        const error = failureOf(yield* first.exit)
        assert.strictEqual(error?._tag, "LockLost")
        // The gateway has lost both of its lock files. Its error names the file whose loss it finds first.
        assert.include(
          [lockPath, statePath].map((path) =>
            `lost gateway lock at ${path}: the file was replaced and another process (pid ${second.pid}) holds it now`
          ),
          error?.message
        )
        assert.deepStrictEqual(host.ports.owners(18789), [])
        // The first gateway does not remove the lock files, because they belong to the second gateway.
        assert.deepStrictEqual(host.lockHolders(lockPath), [second.pid])
        assert.deepStrictEqual(host.lockHolders(statePath), [second.pid])
        assert.deepStrictEqual(host.ports.owners(18790), [second.pid])
      })
  )

  simulated("fails with LockUnavailable on a full disk and leaves nothing behind", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setCapacity(10)
      const first = yield* start(host)
      assert.match(
        failureOf(yield* first.exit)?.message ?? "",
        /^failed to acquire gateway lock at \/state\/default\/locks\/gateway\.[0-9a-f]{8}\.lock: ENOSPC: /
      )
      assert.isFalse(yield* exists(host, lockPath))
      assert.isFalse(yield* exists(host, statePath))
    }))
})

describe("a shutdown", () => {
  const slowApp = (done: Deferred.Deferred<void>) =>
    HttpRouter.empty.pipe(
      HttpRouter.get("/slow", Effect.as(Deferred.await(done), HttpServerResponse.unsafeJson("finished"))),
      HttpServer.serve()
    )
  const launch = (done: Deferred.Deferred<void>) =>
    Gateway.launch(slowApp(done).pipe(Layer.provideMerge(Gateway.layerPlatform({ drainTimeout: "10 seconds" }))))

  simulated(
    "says so, tells sockets, lets a request finish, and only then gives the lock back",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const done = yield* Deferred.make<void>()
        const first = yield* host.spawn(launch(done))
        yield* settle
        const socket = yield* host.ports.connect(address)
        const slow = yield* Effect.fork(host.ports.get(address, "/slow"))
        yield* settle
        yield* first.interrupt
        yield* settle
        assert.strictEqual(Option.getOrThrow(yield* recordAt(host, lockPath)).phase, "draining")
        assert.deepStrictEqual(host.ports.owners(18789), [], "accepts nobody any more")
        assert.deepStrictEqual(yield* Deferred.await(socket.closed), { code: 1001, reason: "stopped" })
        const frames = Chunk.toReadonlyArray(yield* Queue.takeAll(socket.frames)).map((frame): unknown =>
          JSON.parse(frame)
        )
        assert.deepStrictEqual(frames.at(-1), { type: "shutdown", reason: "stopped" })
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid], "still ours while draining")
        yield* Deferred.succeed(done, undefined)
        assert.deepStrictEqual(yield* Fiber.join(slow), { status: 200, body: "\"finished\"" })
        yield* first.exit
        assert.isFalse(yield* exists(host, lockPath))
      })
  )

  simulated("cuts a request that never ends at the drain timeout, not before", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(launch(yield* Deferred.make<void>()))
      yield* settle
      const slow = yield* Effect.fork(Effect.exit(host.ports.get(address, "/slow")))
      yield* settle
      yield* first.interrupt
      yield* settle
      yield* TestClock.adjust("9999 millis")
      assert.isTrue(Option.isNone(yield* first.poll))
      yield* TestClock.adjust("1 millis")
      yield* first.exit
      assert.isTrue(Exit.isFailure(yield* Fiber.join(slow)))
      assert.isFalse(yield* exists(host, lockPath))
    }))

  simulated("ends at once when the drain is cut short", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const cut = yield* Deferred.make<void>()
      const first = yield* host.spawn(
        Effect.provideService(launch(yield* Deferred.make<void>()), DrainCut, Deferred.await(cut))
      )
      yield* settle
      yield* Effect.fork(Effect.exit(host.ports.get(address, "/slow")))
      yield* settle
      yield* first.interrupt
      yield* settle
      assert.isTrue(Option.isNone(yield* first.poll))
      yield* Deferred.succeed(cut, undefined)
      yield* settle
      yield* first.exit
      assert.isFalse(yield* exists(host, lockPath))
    }))
})

/** Counts the system calls of one start. The tests below kill or interrupt a start, or make it fail, at each of these calls. */
const callsOfAStart = (locking: typeof lockings[number]) =>
  Effect.gen(function*() {
    const host = yield* hostWith(locking)
    let calls = 0
    yield* host.setIntercept(() =>
      Effect.sync(() => {
        calls += 1
        return Option.none()
      })
    )
    const first = yield* start(host)
    const started = calls
    yield* first.terminate
    return started
  })

/** Before each system call of the process `pid`, calls `what` with the number of that call, from 1, and runs the effect that it returns. */
const during = (host: SimulatedHost.SimulatedHost, pid: number, what: (call: number) => Effect.Effect<void>) => {
  let calls = 0
  return host.setIntercept((call) =>
    Effect.suspend(() => {
      if (call.pid !== pid) return Effect.succeedNone
      calls += 1
      return Effect.as(what(calls), Option.none())
    })
  )
}

describe("a shutdown", () => {
  simulated.prop(
    "is bounded by the drain timeout, whatever its hook does",
    [
      fc.constantFrom("never" as const, "uninterruptible" as const, "dies" as const, "slow" as const),
      fc.constantFrom(0, 1, 10),
      fc.boolean()
    ],
    ([hook, seconds, isBusy]) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const hooks = {
          never: Effect.never,
          uninterruptible: Effect.uninterruptible(Effect.never),
          dies: Effect.die("by the test"),
          slow: Effect.sleep("1 minute")
        }
        const options = { drainTimeout: `${seconds} seconds`, onDrain: () => hooks[hook] } as const
        const App = HttpServer.serve(Effect.never)
        const running = yield* host.spawn(
          Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform(options))))
        )
        yield* host.settle
        if (isBusy) yield* Effect.fork(host.ports.get(address, "/"))
        yield* host.settle
        yield* running.interrupt
        yield* host.settle
        // As soon as the gateway begins to shut down, it accepts no new connection.
        assert.deepStrictEqual(host.ports.owners(18789), [])
        yield* TestClock.adjust(`${seconds} seconds`)
        yield* host.settle
        yield* TestClock.adjust("1 second")
        yield* host.settle
        assert.isTrue(Option.isSome(yield* running.poll), "and leaves nothing behind that would be waited for")
        assert.deepStrictEqual(yield* running.status, Option.some(0))
        assert.isFalse(yield* exists(host, lockPath))
      }),
    { fastCheck: { numRuns: Math.min(numRuns, 24) } }
  )
})

describe("a start that ends early", () => {
  simulated(
    "releases exactly what it had acquired, at whichever system call it is interrupted",
    () =>
      Effect.gen(function*() {
        for (const locking of lockings) {
          const calls = yield* callsOfAStart(locking)
          assert.isAbove(calls, 20)
          for (const at of callsOf(calls)) {
            const host = yield* hostWith(locking)
            const reached = yield* Deferred.make<void>()
            let seen = 0
            yield* host.setIntercept(() =>
              Effect.suspend(() => {
                seen += 1
                return seen === at ? Effect.as(Deferred.succeed(reached, undefined), Option.none()) : Effect.succeedNone
              })
            )
            const first = yield* host.spawn(gateway())
            yield* Deferred.await(reached)
            yield* first.terminate
            assert.deepStrictEqual(host.ports.owners(18789), [], `port, ${locking}, at call ${at}`)
            assert.isFalse(yield* exists(host, lockPath), `config lock, ${locking}, at call ${at}`)
            assert.isFalse(yield* exists(host, statePath), `state lock, ${locking}, at call ${at}`)
          }
        }
      })
  )

  simulated(
    "ends, at whichever system call the signal comes, even in the midst of a finalizer",
    () =>
      Effect.gen(function*() {
        for (const locking of lockings) {
          const calls = yield* callsOfAStart(locking)
          for (const at of callsOf(calls)) {
            const host = yield* hostWith(locking)
            const first = yield* host.spawn(gateway())
            // The interruption arrives during the call. The call itself cannot be interrupted. The start must end once the
            // call has returned.
            yield* during(host, first.pid, (call) => call === at ? first.interrupt : Effect.void)
            yield* settle
            yield* TestClock.adjust("1 minute")
            assert.isTrue(Option.isSome(yield* first.poll), `${locking}, at call ${at} of ${calls}`)
            assert.isFalse(yield* exists(host, lockPath), `config lock, ${locking}, at call ${at}`)
          }
        }
      })
  )

  simulated("is succeeded by the next one, whichever system call was its last", () =>
    Effect.gen(function*() {
      for (const locking of lockings) {
        const calls = yield* callsOfAStart(locking)
        for (const last of callsOf(calls)) {
          const host = yield* hostWith(locking)
          const first = yield* host.spawn(gateway())
          yield* during(host, first.pid, (call) => call >= last ? first.kill : Effect.void)
          yield* settle
          yield* first.kill
          // Without kernel locks, a lock file that is still empty may belong to a start that is about to write its record. So the
          // file blocks other starts until it is older than `lock.staleAfter` (30 seconds).
          yield* TestClock.adjust(locking === "absent" ? "31 seconds" : "0 seconds")
          const second = yield* start(host)
          assert.deepStrictEqual(host.ports.owners(18789), [second.pid], `${locking}, killed at call ${last}`)
          assert.strictEqual(Option.getOrThrow(yield* recordAt(host, lockPath)).pid, second.pid)
          yield* second.terminate
        }
      }
    }))

  simulated(
    "ends with a GatewayLockError and leaves nothing in the way, whichever system call fails",
    () =>
      Effect.gen(function*() {
        const calls = yield* callsOfAStart("works")
        for (const [turn, errno] of ["EIO", "ENOSPC", "EACCES"].entries()) {
          for (const at of callsOf(calls, turn)) {
            const host = yield* makeHost()
            let seen = 0
            yield* host.setIntercept(() =>
              Effect.sync(() => {
                seen += 1
                return seen === at ? Option.some(errno) : Option.none()
              })
            )
            const first = yield* start(host)
            // On Windows, a call that fails may succeed a moment later. So the start retries the call within its lock timeout.
            if (platform === "win32") yield* TestClock.adjust("1 second")
            const exit = yield* first.poll
            if (Option.isNone(exit)) {
              // Some calls only gather information. If such a call fails, the gateway starts nevertheless.
              assert.deepStrictEqual(host.ports.owners(18789), [first.pid], `${errno} at call ${at}`)
              yield* first.terminate
            } else {
              assert.isDefined(failureOf(exit.value), `${errno} at call ${at}: ${String(exit.value)}`)
            }
            assert.deepStrictEqual(host.ports.owners(18789), [], `port, ${errno} at call ${at}`)
            const left = yield* Effect.orElseSucceed(host.files.readDirectory("/state/default/locks"), () => [])
            if (left.length > 0) {
              // A start that created a file and could not lock it must leave the file, because another process may have
              // locked it by now. The file is empty and blocks no start.
              for (const name of left) {
                const { length } = yield* host.files.readFile(`/state/default/locks/${name}`)
                assert.strictEqual(length, 0, `${name}, ${errno} at call ${at}`)
              }
              const next = yield* start(host)
              assert.deepStrictEqual(host.ports.owners(18789), [next.pid], `${errno} at call ${at}`)
            }
          }
        }
      })
  )
})

describe("many starters", () => {
  simulated.prop(
    "end with exactly one gateway, whatever the order of their steps",
    [
      fc.integer({ min: 2, max: 6 }),
      fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 40 }),
      fc.boolean()
    ],
    ([starters, delays, kernelLocks]) =>
      Effect.gen(function*() {
        const host = yield* hostWith(kernelLocks ? "works" : "absent")
        let step = 0
        yield* host.setIntercept(() =>
          Effect.suspend(() => {
            step += 1
            return Effect.as(Effect.repeatN(Effect.yieldNow(), delays[step % delays.length] ?? 0), Option.none())
          })
        )
        const processes = yield* Effect.replicateEffect(host.spawn(gateway()), starters)
        yield* Effect.repeatN(settle, 5)
        yield* TestClock.adjust("6 seconds")
        yield* Effect.repeatN(settle, 5)
        const owners = host.ports.owners(18789)
        assert.strictEqual(owners.length, 1)
        for (const process of processes) {
          const exit = yield* process.poll
          if (process.pid === owners[0]) assert.isTrue(Option.isNone(exit))
          else {
            const error = Option.isSome(exit) ? failureOf(exit.value) : undefined
            assert.include(["PortInUse", "LockHeld"], error?._tag)
          }
        }
        assert.strictEqual(Option.getOrThrow(yield* recordAt(host, lockPath)).pid, owners[0])
      }),
    { fastCheck: { numRuns: Math.min(numRuns, 40) } }
  )
})

/** Starts a gateway with these options. Returns the message of the defect that ends the start, or "started" if it succeeds. */
const dies = (options: Gateway.GatewayOptions) =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    const exit = yield* Layer.build(Gateway.layerPlatform(options)).pipe(
      Effect.scoped,
      Effect.provide(host.layer()),
      Effect.exit
    )
    const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
    return defect instanceof Error ? defect.message : "started"
  })

describe("times and counts", () => {
  simulated("that no timer can have, or that would never let it rest, are a defect", () =>
    Effect.gen(function*() {
      for (const name of ["headersTimeout", "requestTimeout", "keepAliveTimeout"] as const) {
        assert.strictEqual(
          yield* dies({ limits: { [name]: Duration.infinity } }),
          `invalid limits.${name} "Infinity" from GatewayOptions: expected a duration of at most 24 days, or 0 for no limit`
        )
        assert.match(yield* dies({ limits: { [name]: "25 days" } }), /^invalid .* "25d" from GatewayOptions/)
        assert.strictEqual(yield* dies({ limits: { [name]: 0 } }), "started")
      }
      for (
        const [group, name] of [
          ["lock", "pollInterval"],
          ["lock", "staleAfter"],
          ["lock", "recheckInterval"],
          ["health", "probeTimeout"]
        ] as const
      ) {
        for (const time of [0, Duration.infinity]) {
          assert.match(
            yield* dies({ [group]: { [name]: time } }),
            new RegExp(
              `^invalid ${group}\\.${name} "\\w+" from GatewayOptions: expected a duration above 0 and at most 24 days$`
            )
          )
        }
      }
      for (const count of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.match(
          yield* dies({ limits: { connections: count } }),
          /^invalid limits\.connections .*: expected a whole number above 0$/
        )
      }
      assert.match(yield* dies({ limits: { pipelinedRequests: 0 } }), /^invalid limits\.pipelinedRequests 0 /)
      // Infinity means that the gateway waits without a limit. 0 means that it does not wait. Both are allowed.
      for (const time of [0, Duration.infinity]) {
        assert.strictEqual(yield* dies({ lock: { timeout: time }, drainTimeout: time }), "started")
      }
    }))
})

describe("options that would let strangers in", () => {
  const token = "a-token-of-thirty-two-characters"

  simulated(
    "are a defect: a host that others can reach without a token, a bad token, which is not shown",
    () =>
      Effect.gen(function*() {
        assert.match(
          yield* dies({ host: "0.0.0.0" }),
          /^invalid host "0\.0\.0\.0" from GatewayOptions: expected a loopback host/
        )
        assert.strictEqual(yield* dies({ host: "0.0.0.0", token: Redacted.make(token) }), "started")
        const short = yield* dies({ token: Redacted.make(token.slice(1)) })
        assert.match(short, /^invalid token .* from GatewayOptions: expected 32 to 1024 printable/)
        assert.notInclude(short, token.slice(1))
        assert.match(yield* dies({ allowedHosts: ["a b"] }), /^invalid allowedHosts \["a b"\] from GatewayOptions/)
        assert.match(yield* dies({ allowedOrigins: ["https://a/"] }), /^invalid allowedOrigins /)
      })
  )
})

describe("Gateway.stop", () => {
  simulated(
    "ends the gateway that the options name, and lets the next version take its place",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* host.spawn(gateway())
        const other = yield* host.spawn(gateway({ profile: "blue", port: 18790 }))
        yield* settle
        const outcome = yield* Deferred.make<string>()
        const second = yield* host.spawn(
          Effect.zipRight(
            Effect.flatMap(Gateway.stopPlatform(), ({ _tag }) => Deferred.succeed(outcome, _tag)),
            gateway()
          )
        )
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Deferred.await(outcome), "Stopped")
        assert.isTrue(Exit.isInterrupted(yield* first.exit))
        yield* settle
        assert.deepStrictEqual(host.ports.owners(18789), [second.pid])
        assert.deepStrictEqual(host.ports.owners(18790), [other.pid])
      })
  )

  simulated(
    "finds nothing to end where none runs, and asks no token of who only names a host",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const stopping = yield* host.spawn(Gateway.stopPlatform({ host: "0.0.0.0" }))
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.deepNestedInclude(yield* stopping.exit, { "value._tag": "NotRunning" })
      })
  )

  simulated("is a defect for a port that cannot be", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const stopping = yield* host.spawn(Gateway.stopPlatform({ port: 70_000 }))
      assert.isTrue(Exit.match(yield* stopping.exit, { onSuccess: () => false, onFailure: Cause.isDie }))
    }))
})

describe("options from Config", () => {
  const long = "x".repeat(40)
  const wrong: ReadonlyArray<readonly [path: string, options: Config.Config.Wrap<Gateway.GatewayOptions>]> = [
    ["port", { port: Config.number("V") }],
    ["profile", { profile: Config.string("V") }],
    ["host", { host: Config.string("V") }],
    ["host", { host: Config.succeed("0.0.0.0") }],
    ["token", { token: Config.redacted("V") }],
    ["configPath", { configPath: Config.string("V") }],
    ["stateDir", { stateDir: Config.string("V") }],
    ["allowedHosts", { allowedHosts: Config.array(Config.string(), "V") }],
    ["allowedOrigins", { allowedOrigins: Config.array(Config.string(), "V") }],
    ["lock.timeout", { lock: { timeout: Config.succeed(Number.POSITIVE_INFINITY) } }],
    ["lock.pollInterval", { lock: { pollInterval: Config.duration("ZERO") } }],
    ["lock.staleAfter", { lock: { staleAfter: Config.duration("ZERO") } }],
    ["lock.recheckInterval", { lock: { recheckInterval: Config.duration("ZERO") } }],
    ["health.probeTimeout", { health: { probeTimeout: Config.duration("ZERO") } }],
    ["lock.staleAfter", { lock: Config.all({ staleAfter: Config.duration("ZERO") }) }],
    ["drainTimeout", { drainTimeout: Config.duration("ENDLESS") }],
    ["limits.headersTimeout", { limits: { headersTimeout: Config.duration("ZERO") } }],
    ["limits.requestTimeout", { limits: { requestTimeout: Config.duration("ZERO") } }],
    ["limits.keepAliveTimeout", { limits: { keepAliveTimeout: Config.duration("ZERO") } }],
    ["limits.connections", { limits: { connections: Config.number("V") } }],
    ["limits.headerBytes", { limits: { headerBytes: Config.number("ONE") } }],
    ["limits.pipelinedRequests", { limits: { pipelinedRequests: Config.number("FRACTION") } }],
    ["limits.controlSockets", { limits: { controlSockets: Config.number("FRACTION") } }],
    ["limits.frameBytes", { limits: { frameBytes: Config.number("ONE") } }],
    ["limits.framesPerSecond", { limits: { framesPerSecond: Config.number("FRACTION") } }],
    ["limits.bufferedBytes", { limits: { bufferedBytes: Config.number("FRACTION") } }],
    ["passedSocket", { passedSocket: Config.number("ONE") }]
  ]
  /** Values that are not allowed. Each key is the path of the option whose value this is. */
  const value: Readonly<Record<string, string>> = {
    port: "99999",
    profile: "No Profile",
    host: "no host",
    token: "secret",
    configPath: "/a\0b",
    stateDir: "/a\0b",
    allowedHosts: "http://a",
    allowedOrigins: "a b",
    "limits.connections": "-1"
  }

  it.effect.each(wrong)("that are not allowed are a ConfigError: %s", ([path, options]) =>
    Effect.gen(function*() {
      const variables = { V: value[path] ?? "", ZERO: "0 seconds", ENDLESS: "100 days", ONE: "1", FRACTION: "0.5" }
      // This state directory cannot exist. So the start fails and does not serve, even if a wrong value passes its check.
      const nowhere = { port: Config.succeed(0), stateDir: Config.succeed("/dev/null/state") }
      const layer = Gateway.layerConfig({ ...nowhere, ...options })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(layer))).pipe(
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
      )
      assert.isTrue(ConfigError.isConfigError(error) && error._op === "InvalidData", String(error))
      assert.match(String(error), new RegExp(`^\\(Invalid data at ${path}: "[^\n]*expected [^\n]+"\\)$`))
      assert.notInclude(String(error), "secret")
    }))

  it.effect("are those of a layer otherwise, with every one of them given", () =>
    Effect.gen(function*() {
      const variables = { TOKEN: long, HOSTS: "a.example,b.example", ORIGINS: "https://a.example" }
      // All options pass their checks. The start fails after the checks, because its state directory cannot exist.
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Gateway.layerConfig({
        port: Config.succeed(0),
        host: Config.succeed("127.0.0.1"),
        token: Config.redacted("TOKEN"),
        allowedHosts: Config.array(Config.string(), "HOSTS"),
        allowedOrigins: Config.array(Config.string(), "ORIGINS"),
        stateDir: Config.succeed("/dev/null/state"),
        drainTimeout: Config.succeed("10 seconds" as const),
        lock: { timeout: Config.succeed(0) },
        limits: { connections: Config.succeed(5) }
      })))).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables)))))
      assert.isTrue(isGatewayLockError(error) && error._tag === "LockUnavailable", String(error))
    }))
})
