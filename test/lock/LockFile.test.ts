import { assert, describe } from "@effect/vitest"
import { DateTime, Deferred, Effect, Option } from "effect"
import type { GatewayLockError, SupervisorKind } from "../../src/GatewayLockError.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import { holderOf } from "../../src/lock/LockHolder.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { makeHost, noNamespaces, pass, platform, simulated } from "../fixtures/simulated.ts"

const pid = 7

/**
 * Starts a process that keeps running. Returns the process, and the record that this process would write as the owner of a lock.
 */
const owner = (host: SimulatedHost.SimulatedHost, options: SimulatedHost.ProcessOptions = {}) =>
  Effect.gen(function*() {
    const known = yield* Deferred.make<OwnerRecord.ProcessIdentity>()
    const process = yield* host.spawn(
      ProcessTable.ProcessTable.pipe(
        Effect.flatMap((table) => Deferred.complete(known, table.self)),
        Effect.zipRight(Effect.never)
      ),
      { pid, command: "gateway", ...options }
    )
    const record: OwnerRecord.OwnerRecord = {
      version: 1,
      instanceId: "owner",
      ...yield* Deferred.await(known),
      createdAt: Option.some(DateTime.unsafeMake("2026-01-01T00:00:00.000Z")),
      configPath: "/c",
      stateDir: "/s",
      host: "127.0.0.1",
      port: 18789,
      phase: "listening",
      supervisor: "none"
    }
    return { process, record }
  })

const stranger = (host: SimulatedHost.SimulatedHost) => host.spawn(Effect.never, { pid, command: "init" })

/** Returns what another process learns about the owner in a record. By default, that process is in the host's own namespaces. */
const seen = (
  host: SimulatedHost.SimulatedHost,
  record: OwnerRecord.OwnerRecord,
  options: SimulatedHost.ProcessOptions = {}
) =>
  Effect.map(
    Effect.provide(holderOf(record), host.layer(options)),
    ({ command, pid, pidMeaning }) => ({ pid, pidMeaning, ...(command === undefined ? {} : { command }) })
  )

describe("holderOf: the recorded pid", () => {
  simulated("is the owner's while it runs, and its command is shown", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { process, record } = yield* owner(host)
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Alive", command: "gateway" })
      yield* process.freeze
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Alive", command: "gateway" })
    }))

  simulated("is nobody's, and then a stranger's, after its end", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { process, record } = yield* owner(host)
      yield* process.kill
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Gone" })
      yield* stranger(host)
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Gone" })
    }))

  simulated.unless(noNamespaces)(
    "means nothing in another PID namespace, whoever has the number here",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { record } = yield* owner(host, { pidNamespace: "pid:[2]" })
        assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherPidNamespace" })
        yield* stranger(host)
        assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherPidNamespace" })
        const inside = yield* seen(host, record, { pidNamespace: "pid:[2]" })
        assert.deepStrictEqual(inside, { pid, pidMeaning: "Alive", command: "gateway" })
      })
  )

  simulated.unless(noNamespaces)(
    "means nothing after a reboot, in whichever namespace it was given",
    () =>
      Effect.gen(function*() {
        for (const pidNamespace of ["pid:[1]", "pid:[2]"]) {
          const host = yield* makeHost()
          const { record } = yield* owner(host, { pidNamespace })
          yield* host.reboot
          yield* stranger(host)
          assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherBoot" })
        }
      })
  )

  simulated(
    "cannot be told of a process that is hidden, or whose record has nothing to compare",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { record } = yield* owner(host)
        const { startTime: _startTime, ...unstarted } = record
        assert.deepStrictEqual(yield* seen(host, unstarted), { pid, pidMeaning: "Unknown" })
        const { bootId: _bootId, pidNamespace: _pidNamespace, ...placeless } = record
        assert.deepStrictEqual(
          yield* seen(host, placeless),
          // Only Linux records the boot and the namespace in which a pid is valid. Elsewhere nothing is missing in this record.
          platform === "linux" ? { pid, pidMeaning: "Unknown" } : { pid, pidMeaning: "Alive", command: "gateway" }
        )
        yield* host.setHidePids(true)
        assert.deepStrictEqual(yield* seen(host, record, { uid: 1000 }), { pid, pidMeaning: "Unknown" })
      })
  )
})

describe("holderOf: the unit of systemd", () => {
  const unitOf = (supervisor: SupervisorKind, cgroup: string, isGone = false) =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { process, record } = yield* owner(host)
      yield* host.files.makeDirectory(`/proc/${pid}`, { recursive: true })
      yield* host.files.writeFileString(`/proc/${pid}/cgroup`, cgroup)
      if (isGone) yield* process.kill
      const holder = yield* Effect.provide(holderOf({ ...record, supervisor }), host.layer())
      assert.strictEqual(holder.supervisor, supervisor)
      return holder.unit
    })
  const gateway = "0::/system.slice/gateway-blue.service\n"

  simulated("is told where systemd started the owner, and it lives", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* unitOf("systemd", gateway), { name: "gateway-blue.service", scope: "system" })
      assert.isUndefined(yield* unitOf("none", gateway), "a child of a service is not the service")
      assert.isUndefined(yield* unitOf("systemd", gateway, true), "the pid may be a stranger's")
      assert.isUndefined(yield* unitOf("systemd", "0::/\n"), "a cgroup namespace shows none")
    }))
})

// ---------------------------------------------------------------------------
// starts
// ---------------------------------------------------------------------------

const gatewayOptions = { stateDir: "/state", configPath: "/gateway.json" }
const path = LockFile.configLockPath(gatewayOptions)
const statePath = LockFile.stateLockPath(gatewayOptions)

/** Starts a process that acquires the lock. `lock` completes with its `LockFile` service once it holds the lock. */
const start = (
  host: SimulatedHost.SimulatedHost,
  options: Partial<LockFile.LockFileOptions> = {},
  where: SimulatedHost.ProcessOptions = {}
) =>
  Effect.gen(function*() {
    const lock = yield* Deferred.make<LockFile.LockFile["Type"]>()
    const process = yield* host.spawn(
      LockFile.LockFile.pipe(
        Effect.tap((service) => Deferred.succeed(lock, service)),
        Effect.zipRight(Effect.never),
        Effect.provide(LockFile.layerWithProbes({ ...gatewayOptions, ...options }))
      ),
      where
    )
    yield* host.settle
    return { process, lock, holds: Deferred.isDone(lock) }
  })

const recordAt = (host: SimulatedHost.SimulatedHost, path: string) =>
  Effect.map(Effect.orDie(host.files.readFile(path)), (content) => Option.getOrThrow(OwnerRecord.parse(content)))

const millisOf = ({ createdAt }: OwnerRecord.OwnerRecord) => Option.getOrThrow(createdAt).epochMillis

describe("without kernel locks, an owner in another network", () => {
  simulated.unless(noNamespaces)(
    "keeps its lock while it lives, however long its port is seen free from here",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking("absent")
        const address = { host: "127.0.0.1", port: 18789 }
        const first = yield* start(host, { address }, { networkNamespace: "net:[2]" })
        yield* Effect.flatMap(Deferred.await(first.lock), ({ update }) => update({ phase: "listening", ...address }))
        const second = yield* start(host, { address, lock: { timeout: "10 minutes", pollInterval: "1 second" } })
        yield* pass(host, "5 minutes")
        assert.isFalse(yield* second.holds)
        yield* first.process.kill
        yield* pass(host, "2 seconds")
        assert.isTrue(yield* second.holds)
      })
  )
})

describe("without kernel locks, a record with the pid of the process that reads it", () => {
  const pid = 7
  const container = { pid, kernelLocks: false }

  simulated("is an owner's that lives, where another program in this process wrote it", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host, {}, container)
      assert.isTrue(yield* first.holds)
      const second = yield* start(host, {}, { within: first.process, kernelLocks: false })
      assert.strictEqual(second.process.pid, pid)
      yield* pass(host, "4 seconds")
      assert.isFalse(yield* second.holds)
      yield* first.process.terminate
      yield* pass(host, "100 millis")
      assert.isTrue(yield* second.holds)
    }))

  simulated(
    "is an owner's that lives for one with kernel locks in the same process as well",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* start(host, {}, container)
        const second = yield* start(host, {}, { within: first.process })
        yield* pass(host, "4 seconds")
        assert.isTrue(yield* first.holds)
        assert.isFalse(yield* second.holds)
      })
  )

  simulated.unless(noNamespaces)(
    "may be another machine's, where the boot is another: it is not taken while it is young",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const neighbour = { ...container, bootId: "another machine", networkNamespace: "net:[2]" }
        const first = yield* start(host, {}, neighbour)
        assert.isTrue(yield* first.holds)
        const second = yield* start(host, { lock: { timeout: "5 minutes", pollInterval: "1 second" } }, container)
        assert.strictEqual(second.process.pid, pid)
        // The holder keeps updating its record, so the record does not become stale.
        yield* pass(host, "2 minutes")
        assert.isFalse(yield* second.holds)
        yield* first.process.kill
        yield* pass(host, "19 seconds")
        assert.isFalse(yield* second.holds)
        yield* pass(host, "12 seconds")
        assert.isTrue(yield* second.holds)
      })
  )

  simulated(
    "is an earlier process's, where only the start time is another: it is taken at once",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* start(host, {}, container)
        yield* first.process.kill
        const second = yield* start(host, { lock: { timeout: 0 } }, container)
        assert.strictEqual(second.process.pid, pid)
        assert.isTrue(yield* second.holds)
      })
  )

  simulated(
    "is its own, where it has released the lock and the file could not be removed: it is taken at once",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setIntercept(({ name }) => Effect.succeed(name === "unlink" ? Option.some("EIO") : Option.none()))
        const again = yield* Deferred.make<void>()
        const done = yield* Deferred.make<string>()
        const once = Effect.scoped(
          Effect.provide(LockFile.LockFile, LockFile.layerWithProbes({ ...gatewayOptions, lock: { timeout: 0 } }))
        )
        const process = yield* host.spawn(
          once.pipe(
            Effect.zipRight(Deferred.await(again)),
            Effect.zipRight(once),
            Effect.flatMap(({ instanceId }) => Deferred.succeed(done, instanceId))
          ),
          container
        )
        yield* host.settle
        const left = yield* recordAt(host, path)
        assert.deepStrictEqual({ pid: left.pid, lock: left.lock }, { pid, lock: "record" })
        yield* host.setIntercept(() => Effect.succeedNone)
        // The lock file's record names `process`, which is alive. `other` is a second program in that process. It cannot know that
        // the first program has released the lock, so it must be refused.
        const other = yield* start(host, { lock: { timeout: 0 } }, { within: process, kernelLocks: false })
        assert.isFalse(other.process.isRunning())
        yield* Deferred.succeed(again, undefined)
        yield* host.settle
        assert.notStrictEqual(yield* Deferred.await(done), left.instanceId)
      })
  )
})

describe("a lock file that cannot be used", () => {
  simulated("is not shown as held by the start that could not remove it", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setIntercept(({ name }) =>
        Effect.succeed(name === "ftruncate" || name === "unlink" ? Option.some("EIO") : Option.none())
      )
      const refused = yield* Deferred.make<GatewayLockError>()
      const { pid } = yield* host.spawn(
        Effect.scoped(Effect.provide(LockFile.LockFile, LockFile.layerWithProbes(gatewayOptions))).pipe(
          Effect.flip,
          Effect.flatMap((error) => Deferred.succeed(refused, error))
        )
      )
      yield* host.settle
      assert.strictEqual((yield* recordAt(host, path)).pid, pid)
      const error = yield* Deferred.await(refused)
      assert.strictEqual(error._tag, "LockUnavailable")
      assert.isUndefined(error._tag === "LockUnavailable" ? error.holder?.pid : "another error")
    }))
})

describe("the lock timeout", () => {
  simulated("holds for both files together", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host)
      const waiting = yield* start(host, { lock: { timeout: "5 seconds", pollInterval: "100 millis" } })
      const quick = yield* start(host, {
        configPath: "/another.json",
        lock: { timeout: "1 minute", pollInterval: "10 millis" }
      })
      yield* pass(host, "3 seconds")
      yield* first.process.terminate
      yield* pass(host, "1 second")
      assert.isTrue(yield* quick.holds)
      const { instanceId } = yield* recordAt(host, path)
      assert.notStrictEqual(instanceId, (yield* recordAt(host, statePath)).instanceId)
      yield* pass(host, "900 millis")
      assert.isTrue(waiting.process.isRunning())
      yield* pass(host, "200 millis")
      assert.isFalse(waiting.process.isRunning())
    }))
})

describe("a start that is stopped (SIGSTOP) until its lock timeout is over", () => {
  for (const kernelLocks of [true, false]) {
    simulated(
      `acquires a lock that has become free, ${kernelLocks ? "by a kernel lock" : "by the record alone"}`,
      () =>
        Effect.gen(function*() {
          const host = yield* makeHost()
          const first = yield* start(host, {}, { kernelLocks })
          const waiting = yield* start(host, { lock: { timeout: "5 seconds", pollInterval: "100 millis" } }, {
            kernelLocks
          })
          yield* pass(host, "1 second")
          yield* waiting.process.freeze
          yield* first.process.terminate
          yield* pass(host, "10 seconds")
          yield* waiting.process.resume
          yield* pass(host, "100 millis")
          assert.isTrue(yield* waiting.holds)
        })
    )
  }

  simulated("is refused where the lock is still held", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* start(host)
      const waiting = yield* start(host, { lock: { timeout: "5 seconds", pollInterval: "100 millis" } })
      yield* waiting.process.freeze
      yield* pass(host, "10 seconds")
      yield* waiting.process.resume
      yield* pass(host, "100 millis")
      assert.isFalse(waiting.process.isRunning())
    }))
})

describe("when the lock was acquired", () => {
  simulated("is what both files say, not when the start that waited for it began", () =>
    Effect.gen(function*() {
      for (const kernelLocks of [true, false]) {
        const host = yield* makeHost()
        const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const first = yield* start(host, {}, { kernelLocks })
        const second = yield* start(host, { lock: { timeout: "10 minutes", pollInterval: "10 seconds" } }, {
          kernelLocks
        })
        yield* pass(host, "2 minutes")
        yield* first.process.terminate
        yield* pass(host, "10 seconds")
        const { heldSince, history } = yield* Deferred.await(second.lock)
        for (const record of [yield* recordAt(host, path), yield* recordAt(host, statePath)]) {
          assert.strictEqual(millisOf(record) - now, 130_000)
          assert.deepStrictEqual(record.createdAt, Option.some(heldSince))
        }
        const { value: [began] } = yield* history
        assert.strictEqual(began?.kind, "starting")
        assert.strictEqual(began?.at.epochMillis, now)
      }
    }))

  simulated("is when the second of the two files was had, where that one was waited for", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host, { configPath: "/another.json" })
      const second = yield* start(host, { lock: { timeout: "10 minutes", pollInterval: "10 seconds" } })
      assert.isFalse(yield* second.holds)
      yield* pass(host, "1 minute")
      yield* first.process.terminate
      yield* pass(host, "10 seconds")
      for (const record of [yield* recordAt(host, path), yield* recordAt(host, statePath)]) {
        assert.strictEqual(millisOf(record), 70_000)
      }
    }))
})
