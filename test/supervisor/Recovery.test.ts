import { FileSystem, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Clock,
  DateTime,
  Deferred,
  Duration,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Option,
  Ref,
  TestClock
} from "effect"
import * as GatewayInstance from "../../src/gateway/GatewayInstance.ts"
import { BindFailed, LockHeld, OwnerHealthy, OwnerUnhealthy, PortInUse } from "../../src/GatewayLockError.ts"
import * as KernelLock from "../../src/host/KernelLock.ts"
import { PortOwners } from "../../src/host/PortOwners.ts"
import * as ProbeTransport from "../../src/host/ProbeTransport.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import { type Health, HealthProbe, layer as healthProbeLayer } from "../../src/probe/HealthProbe.ts"
import { type NotWatchable, OwnerWatch } from "../../src/probe/OwnerWatch.ts"
import * as Recovery from "../../src/supervisor/Recovery.ts"
import { numRuns } from "../arbitraries.ts"
import { makeHost } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const holder = { pid: 4711, pidMeaning: "Alive" as const, instanceId: "owner", phase: "starting" as const }
/** The record that the lock file of `lockHeld` contains during all tests. */
const ownerRecord = OwnerRecord.encode({
  version: 1,
  instanceId: "owner",
  pid: 4711,
  createdAt: Option.some(DateTime.unsafeMake("2026-01-01T00:00:00.000Z")),
  configPath: "/config.json",
  stateDir: "/state",
  host: "",
  port: 0,
  phase: "starting",
  supervisor: "none"
})
const portInUse = new PortInUse({ ...address, holder })
const lockHeld = new LockHeld({ path: "/state/locks/a.lock", timeout: Duration.zero, holder })

/** A lock file whose record cannot be read. */
const tornLock = "/state/locks/torn.lock"

const healthy: Health = { _tag: "Healthy", instanceId: "owner" }
const unhealthy: Health = { _tag: "Unhealthy", instanceId: "owner", detail: "starting" }
const stalled: Health = { _tag: "Stalled", detail: "no answer" }
const free: Health = { _tag: "NoListener", detail: "refused" }

/**
 * `starts` has the result of each attempt to start, by its number. `probes` has the result of each probe, by its number or by
 * the time in milliseconds. The last result of a list repeats.
 */
interface World {
  readonly starts: ReadonlyArray<"running" | PortInUse | LockHeld | BindFailed | Effect.Effect<never, PortInUse>>
  readonly probes: ReadonlyArray<Health> | ((millis: number) => Health)
  readonly ended?: Effect.Effect<void, NotWatchable>
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
        probe: () =>
          Effect.zipWith(
            Ref.getAndUpdate(probes, (count) => count + 1),
            Clock.currentTimeMillis,
            (count, now) => typeof world.probes === "function" ? world.probes(now) : at(world.probes, count)
          )
      }),
      Layer.succeed(OwnerWatch, { ended: () => world.ended ?? Effect.never }),
      // A start needs the next four services only for an owner whose record has a rule for its health (`ready`), such as an owner
      // under `gateway exec`. No test in this file has such an owner.
      KernelLock.layerAbsent("tried without"),
      Layer.succeed(PortOwners, {
        portsOf: () => Effect.succeed([]),
        blocker: () => Effect.succeedNone,
        listeners: () => Effect.succeed({ _tag: "Unseen", reason: "not asked" })
      }),
      Layer.succeed(ProbeTransport.ProbeTransport, {
        get: () => new ProbeTransport.ProbeFailed({ reason: "NoListener", detail: "refused" })
      }),
      Layer.effect(
        ProcessTable.ProcessTable,
        ProcessTable.make({
          self: Effect.succeed({ pid: 1 }),
          look: () => Effect.succeed(ProcessTable.Sighting.hidden),
          network: () => Effect.succeed("Unknown" as const),
          commandName: () => Effect.succeedNone,
          tolerance: 0
        })
      ),
      FileSystem.layerNoop({
        stat: () => Effect.succeed(fileInfo),
        readFile: (path) => Effect.succeed(path === tornLock ? new TextEncoder().encode("torn") : ownerRecord)
      })
    )
    return { attempts, released, start, layer, probes: Ref.get(probes) }
  })

const recover = (world: World, options: Partial<Parameters<typeof Recovery.recover>[1]> = {}) =>
  Effect.gen(function*() {
    const simulation = yield* simulate(world)
    const fiber = yield* Recovery.recover(simulation.start, {
      supervisor: "systemd",
      address,
      health: { retryInterval: "5 seconds", timeout: "1 minute" },
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
        probes: [unhealthy],
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
      const { attempts, fiber, probes } = yield* recover({
        starts: [portInUse],
        probes: [unhealthy],
        ended: Effect.void
      })
      yield* settle
      yield* TestClock.adjust("700 millis")
      yield* settle
      assert.deepStrictEqual(attempts, [0, 0, 5, 15, 35, 75, 155, 315, 635])
      yield* TestClock.adjust("58 seconds")
      yield* settle
      // Each wait for the owner's end (`ended`) completes at once here, as if the owner dropped each connection that watches it.
      // Even so, the start must pause between two probes of the owner.
      assert.strictEqual(attempts.length, 9 + 11)
      assert.isBelow(yield* probes, 80)
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

  it.effect("an owner that becomes healthy while it is waited for is left in control within a second", () =>
    Effect.gen(function*() {
      for (const error of [portInUse, lockHeld]) {
        const began = yield* Clock.currentTimeMillis
        const { attempts, fiber } = yield* recover(
          { starts: [error], probes: (now) => now - began >= 3500 ? healthy : stalled },
          { health: { retryInterval: "30 seconds" } }
        )
        yield* settle
        yield* TestClock.adjust("3999 millis")
        yield* settle
        assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(
          yield* Fiber.join(fiber),
          Exit.fail(new OwnerHealthy({ supervisor: "systemd", ...address, holder }))
        )
        assert.lengthOf(attempts, 1)
      }
    }))

  it.effect("a listener that ends while it is polled is succeeded within a second, whatever the retry interval", () =>
    Effect.gen(function*() {
      const { attempts, fiber } = yield* recover(
        { starts: [portInUse, "running"], probes: (now) => now >= 2345 ? free : stalled },
        { health: { retryInterval: "10 seconds" } }
      )
      yield* settle
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(1))
      assert.deepStrictEqual(attempts, [0, 3000])
    }))

  it.effect("a lock whose owner cannot be seen is tried every second, whatever the retry interval", () =>
    Effect.gen(function*() {
      const elsewhere = { ...holder, pidMeaning: "OtherPidNamespace" as const }
      for (
        const hidden of [
          new LockHeld({ path: tornLock, timeout: Duration.millis(0) }),
          new LockHeld({ ...lockHeld, holder: elsewhere })
        ]
      ) {
        const began = yield* Clock.currentTimeMillis
        const { attempts, fiber } = yield* recover(
          { starts: [hidden, hidden, hidden, "running"], probes: [free] },
          { health: { retryInterval: "10 seconds" } }
        )
        yield* settle
        for (let second = 0; second < 3; second += 1) {
          yield* TestClock.adjust("1 second")
          yield* settle
        }
        assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(3))
        assert.deepStrictEqual(attempts.map((time) => time - began), [0, 1000, 2000, 3000])
      }
    }))

  it.effect("a port that looks free and is refused is tried again at once, then every second", () =>
    Effect.gen(function*() {
      const { attempts, fiber } = yield* recover(
        { starts: [...Array.from({ length: 5 }, () => portInUse), "running"], probes: [free] },
        { health: { retryInterval: "10 seconds" } }
      )
      yield* settle
      for (let second = 0; second < 4; second += 1) {
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(5))
      assert.deepStrictEqual(attempts, [0, 0, 1000, 2000, 3000, 4000])
    }))

  it.effect("a healthy gateway on the port of a lock's owner does not make that owner healthy", () =>
    Effect.gen(function*() {
      const { fiber } = yield* recover(
        { starts: [lockHeld], probes: [{ _tag: "Healthy", instanceId: "another" }] },
        { health: { timeout: "20 seconds" } }
      )
      yield* settle
      yield* TestClock.adjust("20 seconds")
      yield* settle
      assert.deepStrictEqual(
        yield* Fiber.join(fiber),
        Exit.fail(new OwnerUnhealthy({ supervisor: "systemd", ...address, timeout: Duration.seconds(20), holder }))
      )
    }))

  describe("the health timeout", () => {
    it.effect("does not end a start that has the lock, however long it warms up", () =>
      Effect.gen(function*() {
        const simulation = yield* simulate({ starts: ["running"], probes: [free] })
        const fiber = yield* Recovery.recover(Effect.delay(simulation.start, "1 hour"), {
          supervisor: "systemd",
          address,
          health: { timeout: "50 millis" }
        }).pipe(Effect.scoped, Effect.provide(simulation.layer), Effect.exit, Effect.fork)
        yield* settle
        yield* TestClock.adjust("1 hour")
        yield* settle
        assert.deepStrictEqual(yield* Fiber.join(fiber), Exit.succeed(0))
      }))

    it.effect("an attempt that is refused after it is over is the last one", () =>
      Effect.gen(function*() {
        const simulation = yield* simulate({ starts: [lockHeld], probes: [free] })
        // Each attempt takes four seconds, as if the start waited for the lock.
        const fiber = yield* Recovery.recover(Effect.delay(simulation.start, "4 seconds"), {
          supervisor: "systemd",
          address,
          health: { retryInterval: "1 second", timeout: "7 seconds" }
        }).pipe(Effect.scoped, Effect.provide(simulation.layer), Effect.exit, Effect.fork)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* settle
        yield* TestClock.adjust("4 seconds")
        yield* settle
        assert.deepStrictEqual(
          yield* Fiber.join(fiber),
          Exit.fail(new OwnerUnhealthy({ supervisor: "systemd", ...address, timeout: Duration.seconds(7), holder }))
        )
        assert.deepStrictEqual(simulation.attempts, [4000, 9000])
      }))

    it.effect("does not count the warm-up of an attempt that lost the port afterwards", () =>
      Effect.gen(function*() {
        const { attempts, fiber } = yield* recover(
          { starts: [Effect.delay(portInUse, "1 hour"), portInUse], probes: [stalled] },
          { health: { timeout: "7 seconds" } }
        )
        yield* settle
        yield* TestClock.adjust("1 hour")
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* settle
        assert.lengthOf(attempts, 2, "it waits for the new owner")
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "Failure")
      }))
  })

  it.effect.prop(
    "makes as many attempts, at those times and with that outcome, as intervals, probes and timeouts say",
    [
      fc.array(fc.constantFrom("portInUse" as const, "lockHeld" as const), { maxLength: 12 }),
      fc.integer({ min: 0, max: 20_000 }),
      fc.integer({ min: 5, max: 1500 }).map((half) => 2 * half).filter((interval) => interval % 1000 !== 0),
      fc.integer({ min: 0, max: 120 }),
      fc.boolean()
    ],
    ([failures, healthyFrom, interval, tenths, runsAtLast]) =>
      Effect.gen(function*() {
        // The timeout is an odd number of milliseconds, and all other events are at even times. So no event happens exactly at
        // the timeout, for which the result is not specified.
        const timeout = 1 + 2 * Math.floor((interval * tenths) / 20)
        const errors = failures.map((name) => name === "portInUse" ? portInUse : lockHeld)
        const starts = runsAtLast ? [...errors, "running" as const] : [...errors, portInUse]
        const { attempts, fiber } = yield* recover(
          { starts, probes: (now) => now >= healthyFrom ? healthy : stalled },
          { health: { retryInterval: Duration.millis(interval), timeout: Duration.millis(timeout) } }
        )
        const ended = yield* Effect.fork(Effect.zipRight(Fiber.await(fiber), Clock.currentTimeMillis))

        // The model: attempt n, counted from 0, is made after n intervals. At that time the owner is probed, and then every
        // second until the next attempt.
        const expected: Array<number> = []
        let outcome: "running" | "healthy" | "unhealthy" = "unhealthy"
        let end = timeout
        model: for (let index = 0; index === 0 || index * interval < timeout; index += 1) {
          const time = index * interval
          expected.push(time)
          if (at(starts, index) === "running") {
            outcome = "running"
            end = time
            break
          }
          for (let asked = time; asked < time + interval && (asked < timeout || asked === 0); asked += 1000) {
            if (asked < healthyFrom) continue
            outcome = "healthy"
            end = asked
            break model
          }
        }
        const steps = [...new Set([...expected, end])].flatMap((time) =>
          [0, 1000, 2000].map((more) => Math.min(time + more, end))
        )
        yield* settle
        for (const time of [...new Set(steps)].toSorted((a, b) => a - b)) {
          yield* TestClock.setTime(time)
          yield* settle
        }
        assert.strictEqual(yield* Fiber.join(ended), end)
        assert.deepStrictEqual(attempts, expected)
        const gaveUp = new OwnerUnhealthy({
          supervisor: "systemd",
          ...address,
          timeout: Duration.millis(timeout),
          holder
        })
        assert.deepStrictEqual(
          yield* Fiber.join(fiber),
          outcome === "running"
            ? Exit.succeed(expected.length - 1)
            : Exit.fail(
              outcome === "healthy" ? new OwnerHealthy({ supervisor: "systemd", ...address, holder }) : gaveUp
            )
        )
      }),
    { fastCheck: { numRuns: Math.min(numRuns, 60) } }
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
        starts: [portInUse, successor, "running"],
        probes: [healthy],
        // The first owner ends at once. Its successor ends after an hour.
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
    LockFile.layerWithProbes({ ...files, address, lock: { timeout: "0 millis" } })
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
      const host = yield* makeHost()
      const owner = yield* host.spawn(Effect.zipRight(serving(address, elsewhere), Effect.never))
      yield* host.settle
      const v6 = { host: "::1", port: address.port }
      const duplicate = yield* host.spawn(
        Recovery.recover(serving(v6), { supervisor: "systemd", address: v6 }).pipe(Effect.provide(healthProbeLayer()))
      )
      yield* host.settle
      assert.isTrue(Exit.isFailure(yield* duplicate.exit))

      const standby = yield* host.spawn(
        Effect.zipRight(Recovery.standby(serving(v6), { supervisor: "none", address: v6 }), Effect.never).pipe(
          Effect.provide(healthProbeLayer())
        )
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
      const host = yield* makeHost()
      yield* host.setLocking("absent")
      yield* host.files.makeDirectory("/state/locks", { recursive: true })
      yield* host.files.writeFile(LockFile.configLockPath(files), new TextEncoder().encode("torn"))
      const standby = yield* host.spawn(
        Recovery.standby(Layer.build(lockOf(address)), { supervisor: "none", address }).pipe(
          Effect.provide(healthProbeLayer())
        )
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
