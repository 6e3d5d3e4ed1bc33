import { FileSystem, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, FastCheck as fc, Fiber, Layer, Option, Ref, TestClock } from "effect"
import * as GatewayInstance from "../../src/GatewayInstance.ts"
import { BindFailed, LockHeld, OwnerHealthy, OwnerUnhealthy, PortInUse } from "../../src/GatewayLockError.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as ProcessTable from "../../src/lock/ProcessTable.ts"
import { type Health, HealthProbe, layer as healthProbeLayer } from "../../src/port/HealthProbe.ts"
import { OwnerWatch } from "../../src/port/OwnerWatch.ts"
import * as Recovery from "../../src/supervisor/Recovery.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"

const address = { host: "127.0.0.1", port: 18789 }
const holder = { pid: 4711, instanceId: "owner", phase: "starting" }
/** What the lock file of `lockHeld` says: nothing changes there. */
const ownerRecord = OwnerRecord.encode({
  version: 1,
  instanceId: "owner",
  pid: 4711,
  createdAt: "2026-01-01T00:00:00.000Z",
  configPath: "/config.json",
  stateDir: "/state",
  host: "",
  port: 0,
  phase: "starting",
  supervisor: "none"
})
const portInUse = new PortInUse({ ...address, holder })
const lockHeld = new LockHeld({ path: "/state/locks/a.lock", timeoutMs: 0, holder })

const healthy: Health = { _tag: "Healthy", instanceId: "owner" }
const stalled: Health = { _tag: "Stalled", detail: "no answer" }

/** What a start does at its n-th attempt, and what a probe says at its n-th time; the last one goes on. */
interface World {
  readonly starts: ReadonlyArray<"running" | PortInUse | LockHeld | BindFailed>
  readonly probes: ReadonlyArray<Health>
  readonly ended?: Effect.Effect<void>
}

const at = <A>(list: ReadonlyArray<A>, index: number): A => {
  const item = list[Math.min(index, list.length - 1)]
  if (item === undefined) throw new Error("a list must not be empty")
  return item
}

const fileInfo: FileSystem.File.Info = {
  type: "File",
  mtime: Option.none(),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: 1,
  ino: Option.none(),
  mode: 0o600,
  nlink: Option.none(),
  uid: Option.none(),
  gid: Option.none(),
  rdev: Option.none(),
  size: FileSystem.Size(ownerRecord.length),
  blksize: Option.none(),
  blocks: Option.none()
}

const simulate = (world: World) =>
  Effect.gen(function*() {
    const attempts: Array<number> = []
    const probes = yield* Ref.make(0)
    const released: Array<number> = []
    const start = Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const index = attempts.push(now) - 1
      yield* Effect.addFinalizer(() => Effect.sync(() => released.push(index)))
      const result = at(world.starts, index)
      return result === "running" ? index : yield* result
    })
    const layer = Layer.mergeAll(
      Layer.succeed(HealthProbe, {
        probe: () => Effect.map(Ref.getAndUpdate(probes, (count) => count + 1), (count) => at(world.probes, count))
      }),
      Layer.succeed(OwnerWatch, { ended: () => world.ended ?? Effect.never }),
      Layer.effect(
        ProcessTable.ProcessTable,
        ProcessTable.make({
          self: Effect.succeed({ pid: 1 }),
          look: () => Effect.succeed(ProcessTable.Sighting.hidden),
          commandName: () => Effect.succeedNone,
          tolerance: 0
        })
      ),
      FileSystem.layerNoop({
        stat: () => Effect.succeed(fileInfo),
        readFile: () => Effect.succeed(ownerRecord)
      })
    )
    return { attempts, released, start, layer }
  })

const recover = (world: World, options: Partial<Parameters<typeof Recovery.recover>[1]> = {}) =>
  Effect.gen(function*() {
    const simulation = yield* simulate(world)
    const fiber = yield* Recovery.recover(simulation.start, {
      supervisor: "systemd",
      address,
      retryInterval: "5 seconds",
      healthTimeout: "1 minute",
      ...options
    }).pipe(Effect.scoped, Effect.provide(simulation.layer), Effect.exit, Effect.fork)
    return { ...simulation, fiber }
  })

const settle = Effect.repeatN(Effect.yieldNow(), 200)

describe("recover", () => {
  it.effect("without a supervisor fails at once, with the start's own error", () =>
    Effect.gen(function*() {
      const { attempts, fiber } = yield* recover({ starts: [portInUse], probes: [stalled] }, { supervisor: "none" })
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.fail(portInUse))
      assert.deepStrictEqual(attempts, [0])
    }))

  it.effect("leaves a healthy owner in control, at once", () =>
    Effect.gen(function*() {
      for (const error of [portInUse, lockHeld]) {
        const { attempts, fiber } = yield* recover({ starts: [error], probes: [healthy] })
        assert.deepStrictEqual(
          yield* Fiber.join(fiber),
          Exit.fail(new OwnerHealthy({ supervisor: "systemd", ...address, holder }))
        )
        assert.deepStrictEqual(attempts, [0])
      }
    }))

  it.effect("recovers nothing but an occupied lock or port", () =>
    Effect.gen(function*() {
      const failed = new BindFailed({ ...address, reason: "EACCES" })
      const { attempts, fiber } = yield* recover({ starts: [failed], probes: [healthy] })
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.fail(failed))
      assert.deepStrictEqual(attempts, [0])
    }))

  it.effect("starts at once when the owner ends, not at the next interval", () =>
    Effect.gen(function*() {
      const end = yield* Deferred.make<void>()
      const { attempts, fiber } = yield* recover({
        starts: [portInUse, "running"],
        probes: [stalled],
        ended: Deferred.await(end)
      })
      yield* settle
      yield* TestClock.adjust("1234 millis")
      assert.deepStrictEqual(attempts, [0])
      yield* Deferred.succeed(end, undefined)
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(1))
      assert.deepStrictEqual(attempts, [0, 1234])
    }))

  it.effect("tries in quick succession while an ended owner's lock lingers, then at the interval again", () =>
    Effect.gen(function*() {
      const { attempts, fiber } = yield* recover({ starts: [portInUse], probes: [stalled], ended: Effect.void })
      yield* settle
      yield* TestClock.adjust("59 seconds")
      yield* settle
      // An owner that drops every connection must not be asked without a pause.
      assert.isBelow(attempts.length, 300)
      assert.isAbove(attempts.length, 12)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("releases what a failed attempt had acquired before the next", () =>
    Effect.gen(function*() {
      const { fiber, released } = yield* recover({ starts: [portInUse, portInUse, "running"], probes: [stalled] })
      yield* settle
      assert.deepStrictEqual(released, [0])
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.deepStrictEqual(released, [0, 1])
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(released, [0, 1, 2])
    }))

  it.effect.prop(
    "makes as many attempts, at those times and with that outcome, as intervals, probes and timeouts say",
    [
      fc.array(fc.constantFrom("portInUse" as const, "lockHeld" as const), { maxLength: 12 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 10, max: 3000 }),
      fc.integer({ min: 0, max: 120 }),
      fc.boolean()
    ],
    ([failures, answers, interval, tenths, runsAtLast]) =>
      Effect.gen(function*() {
        const timeout = 1 + Math.floor((interval * tenths) / 10)
        const errors = failures.map((name) => name === "portInUse" ? portInUse : lockHeld)
        const starts = runsAtLast ? [...errors, "running" as const] : [...errors, portInUse]
        const { attempts, fiber } = yield* recover(
          { starts, probes: answers.map((isHealthy) => isHealthy ? healthy : stalled) },
          { retryInterval: Duration.millis(interval), healthTimeout: Duration.millis(timeout) }
        )
        yield* settle
        for (let passed = 0; passed <= timeout; passed += interval) {
          yield* TestClock.adjust(Duration.millis(interval))
          yield* settle
        }
        const exit = yield* Fiber.join(fiber)

        // The model: attempt n is made at n intervals, if that is before the timeout.
        const expected: Array<number> = []
        let outcome: "running" | "healthy" | "unhealthy" = "unhealthy"
        for (let index = 0; index === 0 || index * interval < timeout; index += 1) {
          expected.push(index * interval)
          if (at(starts, index) === "running") {
            outcome = "running"
            break
          }
          if (at(answers, index)) {
            outcome = "healthy"
            break
          }
        }
        assert.deepStrictEqual(attempts, expected)
        const unhealthy = new OwnerUnhealthy({ supervisor: "systemd", ...address, timeoutMs: timeout, holder })
        assert.deepStrictEqual(
          exit,
          outcome === "running"
            ? Exit.succeed(expected.length - 1)
            : Exit.fail(
              outcome === "healthy" ? new OwnerHealthy({ supervisor: "systemd", ...address, holder }) : unhealthy
            )
        )
      }),
    { fastCheck: { numRuns: 60 } }
  )
})

describe("standby", () => {
  const standby = (world: World) =>
    Effect.gen(function*() {
      const simulation = yield* simulate(world)
      const fiber = yield* Recovery.standby(simulation.start, { supervisor: "none", address }).pipe(
        Effect.scoped,
        Effect.provide(simulation.layer),
        Effect.exit,
        Effect.fork
      )
      yield* settle
      return { ...simulation, fiber }
    })

  it.effect("waits without end and without asking, and starts when the owner ends", () =>
    Effect.gen(function*() {
      const end = yield* Deferred.make<void>()
      const { attempts, fiber } = yield* standby({
        starts: [portInUse, "running"],
        probes: [healthy],
        ended: Deferred.await(end)
      })
      yield* TestClock.adjust("30 days")
      assert.deepStrictEqual(attempts, [0])
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* Deferred.succeed(end, undefined)
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(1))
    }))

  it.effect("goes on waiting for another standby that was quicker", () =>
    Effect.gen(function*() {
      const successor = new PortInUse({ ...address, holder: { pid: 4712, instanceId: "successor" } })
      const ends = yield* Ref.make(0)
      const { attempts, fiber } = yield* standby({
        starts: [portInUse, ...Array.from({ length: 21 }, () => successor), "running"],
        probes: [healthy],
        // The first owner ends at once; its successor after an hour.
        ended: Effect.flatMap(
          Ref.getAndUpdate(ends, (count) => count + 1),
          (count) => count === 0 ? Effect.void : Effect.sleep("1 hour")
        )
      })
      yield* TestClock.adjust("1 minute")
      yield* settle
      const quick = attempts.length
      yield* TestClock.adjust("30 minutes")
      yield* settle
      assert.strictEqual(attempts.length, quick)
      yield* TestClock.adjust("1 hour")
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
    }))
})

describe("on a simulated host", () => {
  const files = { stateDir: "/state", configPath: "/config.json" }
  const lockOf = (address: { readonly host: string; readonly port: number }) =>
    LockFile.layerWithProbes({ ...files, address, timeout: "0 millis" })
  const serving = (address: { readonly host: string; readonly port: number }, where = files) =>
    Layer.build(
      HttpServer.serve(HttpServerResponse.text("ok")).pipe(
        Layer.provideMerge(GatewayInstance.layerServing(address)),
        Layer.provide(LockFile.layerWithProbes({ ...where, address }))
      )
    )
  const elsewhere = { stateDir: "/other", configPath: "/other.json" }

  it.effect("an owner that has the guard address alone is found healthy, and is watched without asking again", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const owner = yield* host.spawn(Effect.zipRight(serving(address, elsewhere), Effect.never))
      yield* host.settle
      const v6 = { host: "::1", port: address.port }
      const duplicate = yield* host.spawn(
        Recovery.recover(serving(v6), { supervisor: "systemd", address: v6 }).pipe(Effect.provide(healthProbeLayer()))
      )
      yield* host.settle
      assert.isTrue(Exit.isFailure(yield* duplicate.exit))

      const standby = yield* host.spawn(
        Effect.zipRight(Recovery.standby(serving(v6), { supervisor: "none", address: v6 }), Effect.never)
      )
      yield* host.settle
      const asked = host.trace().length
      yield* TestClock.adjust("1 minute")
      yield* host.settle
      const waiting = host.trace().slice(asked).filter(({ serial }) => Option.contains(serial, standby.serial))
      assert.deepStrictEqual(waiting, [], "it waits for the owner's end, not by asking")
      yield* owner.kill
      yield* host.settle
      yield* TestClock.adjust("5 millis")
      yield* host.settle
      assert.deepStrictEqual([...new Set(host.ports.owners(address.port))], [standby.pid])
    }))

  it.effect("a standby looks again at a record that nobody changes: it can go stale", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      yield* host.setLocking("absent")
      yield* host.files.makeDirectory("/state/locks", { recursive: true })
      yield* host.files.writeFile(LockFile.configLockPath(files), new TextEncoder().encode("torn"))
      const standby = yield* host.spawn(
        Recovery.standby(Layer.build(lockOf(address)), { supervisor: "none", address })
      )
      yield* host.settle
      yield* TestClock.adjust("30 seconds")
      yield* host.settle
      assert.deepStrictEqual(yield* Effect.map(standby.poll, Option.isNone), true, "young: somebody may be writing it")
      yield* TestClock.adjust("10 seconds")
      yield* host.settle
      assert.isTrue(Option.exists(yield* standby.poll, Exit.isSuccess))
    }))
})
