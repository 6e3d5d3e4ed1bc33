import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Cause, Clock, DateTime, Duration, Effect, Exit, Fiber, Layer, Schema, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as PortOwners from "../../src/host/PortOwners.ts"
import * as GatewayList from "../../src/inspect/GatewayList.ts"
import { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, noNamespaces, simulated } from "../fixtures/simulated.ts"

// ---------------------------------------------------------------------------
// on a simulated host
// ---------------------------------------------------------------------------

const address = { host: "127.0.0.1", port: 18789 }
const stateDir = "/state/default"
const configPath = "/config/default/gateway.json"
const lockPath = LockFile.configLockPath({ stateDir, configPath })

const App = HttpRouter.empty.pipe(
  HttpRouter.get("/hello", HttpServerResponse.text("world")),
  HttpServer.serve()
)
const gateway = (options: Gateway.GatewayOptions = {}) =>
  Gateway.launch(App.pipe(Layer.provideMerge(Gateway.layerPlatform(options))))

const decode = Schema.decodeUnknownSync(GatewayStatus)
const encode = Schema.encodeSync(GatewayStatus)

/**
 * The status that a process sees, decoded from its JSON. The time advances by four seconds, so that probes without an answer time
 * out.
 */
const inspect = (
  host: SimulatedHost.SimulatedHost,
  options: Gateway.InspectOptions = {},
  viewer: SimulatedHost.ProcessOptions = {}
) =>
  Effect.gen(function*() {
    const asked = yield* Effect.fork(Effect.provide(Gateway.inspectPlatform(options), host.layer(viewer)))
    yield* host.settle
    for (let second = 0; second < 4; second++) yield* TestClock.adjust("1 second")
    return decode(JSON.parse(JSON.stringify(encode(yield* Fiber.join(asked)))))
  })

/** Returns all files of the host, each with its times and its content. */
const disk = (
  host: SimulatedHost.SimulatedHost,
  folder = ""
): Effect.Effect<ReadonlyArray<readonly [path: string, info: unknown, content: Uint8Array]>> =>
  Effect.gen(function*() {
    const names = yield* host.files.readDirectory(folder === "" ? "/" : folder)
    const found = yield* Effect.forEach(names, (name) =>
      Effect.gen(function*() {
        const path = `${folder}/${name}`
        const info = yield* host.files.stat(path)
        return info.type === "Directory"
          ? [[path, info, new Uint8Array()] as const, ...(yield* disk(host, path))]
          : [[path, info, yield* host.files.readFile(path)] as const]
      }))
    return found.flat()
  }).pipe(Effect.orDie)

const verdictOf = (host: SimulatedHost.SimulatedHost, options: Gateway.InspectOptions = {}) =>
  Effect.map(inspect(host, options), ({ verdict }) => verdict)

describe("Gateway.inspect, on a simulated host", () => {
  simulated("a running gateway: the whole answer", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      const before = yield* disk(host)
      assert.include(before.map(([path]) => path), lockPath)
      const { asOf, lock, owner: shown, ...status } = yield* inspect(host)
      assert.deepStrictEqual(asOf, DateTime.unsafeMake("1970-01-01T00:00:00.000Z"))
      assert.deepStrictEqual(lock, { path: lockPath, state: "held", enforcement: "kernel" })
      assert.deepStrictEqual(shown, {
        pid: owner.pid,
        pidMeaning: "Alive",
        command: "node",
        since: DateTime.unsafeMake("1970-01-01T00:00:00.000Z"),
        phase: "listening",
        profile: "default",
        configPath,
        configName: configPath,
        stateDir,
        ...address,
        instanceId: "instance-1",
        mode: "run",
        supervisor: "none"
      })
      assert.deepStrictEqual(status, {
        version: 1,
        verdict: "running",
        reason: "the owner of the lock answers and is healthy",
        profile: "default",
        configPath,
        stateDir,
        port: {
          ...address,
          from: "owner",
          state: "gateway",
          listeners: [{ host: "127.0.0.1", pid: owner.pid, command: "node", isOwner: true }]
        },
        health: { healthy: true, identity: "owner", instanceId: "instance-1", detail: "a healthy gateway" },
        warnings: []
      })
      assert.deepStrictEqual(yield* disk(host), before)
      assert.deepStrictEqual(host.lockHolders(lockPath), [owner.pid])
    }))

  simulated("nobody: not running, and nothing is made", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "not-running")
      assert.deepStrictEqual(status.lock, { path: lockPath, state: "absent" })
      assert.notProperty(status, "owner")
      assert.deepInclude(status.port, { ...address, from: "settings", state: "free", listeners: [] })
      assert.deepStrictEqual(yield* disk(host), [])
    }))

  simulated("a killed one: dead, who it was, and since when its file is left", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      yield* owner.kill
      yield* TestClock.adjust("1 minute")
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "dead")
      assert.strictEqual(status.lock.state, "left")
      assert.isAtLeast(Duration.toSeconds(status.lock.age ?? 0), 30)
      assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Gone" })
      assert.notProperty(status.owner, "command")
    }))

  simulated("one that is stopped by SIGSTOP: unhealthy, and its listener is its own", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      yield* owner.freeze
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "unhealthy")
      assert.match(status.reason, /gave no complete answer to \/healthz within 1000ms/)
      assert.deepStrictEqual(status.port?.listeners.map(({ isOwner, pid }) => [pid, isOwner]), [[owner.pid, true]])
      yield* owner.resume
    }))

  simulated("one that is still starting, and one that drains", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const launched = yield* host.spawn(Layer.launch(LockFile.layerWithProbes({ stateDir, configPath, address })))
      yield* host.settle
      assert.strictEqual(yield* verdictOf(host), "starting")
      yield* launched.kill

      const stuck = HttpRouter.empty.pipe(HttpRouter.get("/stuck", Effect.never), HttpServer.serve())
      const owner = yield* host.spawn(
        Gateway.launch(stuck.pipe(Layer.provideMerge(Gateway.layerPlatform({ drainTimeout: "1 minute" }))))
      )
      yield* host.settle
      yield* Effect.fork(Effect.ignore(host.ports.get(address, "/stuck")))
      yield* host.settle
      yield* owner.interrupt
      yield* host.settle
      assert.strictEqual(yield* verdictOf(host), "draining")
    }))

  simulated("another program on the port, with and without a lock file", () =>
    Effect.scoped(Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      yield* owner.kill
      yield* Effect.orDie(host.ports.foreign(address, { _tag: "Answers", status: 200, body: "hello" }))
      const left = yield* inspect(host)
      assert.strictEqual(left.verdict, "foreign-listener")
      assert.deepStrictEqual(left.port?.listeners, [{ host: "127.0.0.1", isOwner: false }])
      yield* Effect.orDie(host.files.remove(lockPath))
      assert.strictEqual(yield* verdictOf(host), "foreign-listener")
    })))

  simulated(
    "a healthy gateway that names no instance is a foreign listener, with and without a lock file",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const host = yield* makeHost()
        const owner = yield* host.spawn(gateway({ port: 18790 }))
        yield* host.settle
        yield* owner.kill
        const body = "{\"ok\":true,\"status\":\"live\"}"
        yield* Effect.orDie(host.ports.foreign(address, { _tag: "Answers", status: 200, body }))
        const left = yield* inspect(host)
        assert.strictEqual(left.verdict, "foreign-listener")
        assert.strictEqual(left.port?.state, "gateway")
        assert.deepStrictEqual(left.health, {
          healthy: true,
          identity: "unknown",
          detail: "a healthy gateway without an instance id"
        })
        yield* Effect.orDie(host.files.remove(lockPath))
        assert.strictEqual(yield* verdictOf(host), "foreign-listener")
        const listed = yield* GatewayList.list().pipe(Effect.provide(host.layer()))
        assert.deepStrictEqual(listed.gateways, [])
      }))
  )

  simulated("another profile's gateway on the port is not this one", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(gateway({ profile: "blue" }))
      yield* host.settle
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "foreign-listener")
      assert.deepInclude(status.health, { healthy: true, identity: "unknown", instanceId: "instance-1" })
      assert.strictEqual(yield* verdictOf(host, { profile: "blue" }), "running")
    }))

  simulated("the owner's own port is asked, and that the settings say another is told", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(gateway({ port: 18800 }))
      yield* host.settle
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "running")
      assert.deepInclude(status.port, { port: 18800, from: "owner" })
      assert.deepStrictEqual(status.warnings, [
        "the settings say ws://127.0.0.1:18789, but the owner uses ws://127.0.0.1:18800"
      ])
    }))

  simulated("another config's gateway in the same state directory is told of", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(gateway({ configPath: "/other.json", stateDir, port: 18800 }))
      yield* host.settle
      const status = yield* inspect(host)
      assert.strictEqual(status.verdict, "not-running")
      assert.deepInclude(status.stateLock, { state: "held", path: LockFile.stateLockPath({ stateDir }) })
      assert.deepInclude(status.stateLock?.owner, { pid: owner.pid, configPath: "/other.json" })
    }))

  simulated.unless(noNamespaces)(
    "from another PID namespace the kernel still tells; from another network as well nothing more is known",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.spawn(gateway())
        yield* host.settle
        const near = yield* inspect(host, {}, { pidNamespace: "pid:[2]" })
        assert.strictEqual(near.verdict, "running")
        assert.strictEqual(near.owner?.pidMeaning, "OtherPidNamespace")
        assert.deepStrictEqual(near.port?.listeners, [{ host: "127.0.0.1", isOwner: false }])
        const far = yield* inspect(host, {}, { pidNamespace: "pid:[2]", networkNamespace: "net:[2]" })
        assert.strictEqual(far.verdict, "unknown")
        assert.match(far.reason, /may be in another network/)
      })
  )

  simulated.unless(noNamespaces)(
    "in another network of the same PID namespace, it is not called unhealthy, whoever has the port here",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const owner = yield* host.spawn(gateway(), { networkNamespace: "net:[2]" })
        yield* host.settle
        const free = yield* inspect(host)
        assert.deepInclude(free, {
          verdict: "unknown",
          reason: "the lock is held, but its owner's port is free here: the owner is in another network"
        })
        assert.strictEqual(free.owner?.pidMeaning, "Alive")
        const stalls = yield* host.ports.foreign({ host: "127.0.0.1", port: 18789 }, { _tag: "Stalls" })
        const asked = yield* Effect.fork(inspect(host))
        yield* host.settle
        for (let second = 0; second < 3; second++) yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(asked)).verdict, "foreign-listener")
        assert.isAbove(stalls.requests(), 0)
        assert.strictEqual((yield* inspect(host, {}, { networkNamespace: "net:[2]" })).verdict, "running")
        assert.isTrue(owner.isRunning())
      })
  )

  simulated(
    "a port without an owner is asked for its listeners while it is probed, unless it refuses",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const asked: Array<number> = []
        const owners = PortOwners.PortOwners.of({
          blocker: () => Effect.succeedNone,
          portsOf: () => Effect.succeed([]),
          listeners: () =>
            Effect.map(Clock.currentTimeMillis, (now) => {
              asked.push(now)
              return { _tag: "Seen", listeners: [] }
            })
        })
        const look = Effect.gen(function*() {
          const seen = yield* Effect.fork(
            Effect.provide(
              Effect.provideService(Gateway.inspectPlatform(), PortOwners.PortOwners, owners),
              host.layer()
            )
          )
          yield* host.settle
          for (let second = 0; second < 4; second++) yield* TestClock.adjust("1 second")
          return (yield* Fiber.join(seen)).verdict
        })
        assert.strictEqual(yield* look, "not-running")
        assert.deepStrictEqual(asked, [])
        yield* Effect.orDie(host.ports.foreign(address, { _tag: "Stalls" }))
        const began = yield* Clock.currentTimeMillis
        assert.strictEqual(yield* look, "foreign-listener")
        assert.deepStrictEqual(asked, [began + 50])
      })
  )

  simulated("kept by its record alone: the same verdicts, and told so", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setLocking("absent")
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      const running = yield* inspect(host)
      assert.strictEqual(running.verdict, "running")
      assert.strictEqual(running.lock.enforcement, "record")
      yield* owner.kill
      assert.strictEqual(yield* verdictOf(host), "dead")
    }))

  simulated.unless(noNamespaces)(
    "kept by its record alone, from another PID namespace its instance tells",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking("absent")
        const owner = yield* host.spawn(gateway())
        yield* host.settle
        assert.strictEqual((yield* inspect(host, {}, { pidNamespace: "pid:[2]" })).verdict, "running")
        yield* owner.kill
        assert.strictEqual((yield* inspect(host, {}, { pidNamespace: "pid:[2]" })).verdict, "unknown")
      })
  )

  simulated("a lock folder that cannot be read is unknown, with the reason", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(gateway())
      yield* host.settle
      const status = yield* inspect(host, {}, { uid: 1000 })
      assert.strictEqual(status.verdict, "unknown")
      assert.match(status.reason, /EACCES/)
      assert.deepInclude(status.health, { healthy: true, identity: "unknown" })
    }))

  simulated("looks again where the lock changed hands meanwhile", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(gateway())
      yield* host.settle
      yield* first.freeze
      const asked = yield* Effect.fork(Effect.provide(Gateway.inspectPlatform(), host.layer()))
      yield* host.settle
      yield* first.kill
      const second = yield* host.spawn(gateway())
      yield* host.settle
      for (let second = 0; second < 3; second++) yield* TestClock.adjust("1 second")
      const status = yield* Fiber.join(asked)
      assert.strictEqual(status.verdict, "running")
      assert.strictEqual(status.owner?.pid, second.pid)
    }))

  simulated("a wrong option is a defect", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const exit = yield* Effect.exit(Effect.provide(Gateway.inspectPlatform({ profile: "No" }), host.layer()))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "invalid profile \"No\"")
    }))
})
