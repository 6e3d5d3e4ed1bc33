/**
 * These tests check the contract of the simulated host in three cases: several programs share one process, processes run on
 * other machines, and a process asks whether a lock is held.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Option } from "effect"
import * as KernelLock from "../../src/host/KernelLock.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { makeHost, platform, simulated } from "../fixtures/simulated.ts"

/** Starts a program that reports the identity of its process and then never ends. */
const stay = (host: SimulatedHost.SimulatedHost, options: SimulatedHost.ProcessOptions = {}) =>
  Effect.gen(function*() {
    const known = yield* Deferred.make<Effect.Effect.Success<ProcessTable.ProcessTable["Type"]["self"]>>()
    const process = yield* host.spawn(
      ProcessTable.ProcessTable.pipe(
        Effect.flatMap((table) => Deferred.complete(known, table.self)),
        Effect.zipRight(Effect.never)
      ),
      options
    )
    return { process, self: yield* Deferred.await(known) }
  })

const livenessSeen = (
  host: SimulatedHost.SimulatedHost,
  self: Effect.Effect.Success<ProcessTable.ProcessTable["Type"]["self"]>,
  where: SimulatedHost.ProcessOptions = {}
) => Effect.flatMap(ProcessTable.ProcessTable, (table) => table.liveness(self)).pipe(Effect.provide(host.layer(where)))

const lock = "/lock"

/** Opens the file at the path `lock`, and tries once to lock this file. */
const tryLock = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { tryLock } = yield* KernelLock.KernelLock
  return yield* tryLock((yield* fs.open(lock, { flag: "a+" })).fd)
})

describe("a program within another's process", () => {
  simulated("has its pid, start, boot and namespace, and a number of its own", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* stay(host, { pid: 7, pidNamespace: "pid:[2]" })
      const second = yield* stay(host, { within: first.process, pid: 9 })
      assert.deepStrictEqual(second.self, first.self)
      assert.notStrictEqual(second.process.serial, first.process.serial)
    }))

  simulated(
    "is killed with it, from either of them, and ends alone when it ends by itself",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* stay(host)
        const second = yield* stay(host, { within: first.process })
        yield* first.process.terminate
        assert.isTrue(second.process.isRunning())
        assert.strictEqual(yield* livenessSeen(host, first.self), "Alive")
        const third = yield* stay(host, { within: second.process })
        yield* third.process.kill
        assert.isFalse(second.process.isRunning())
        assert.strictEqual(yield* livenessSeen(host, first.self), "Gone")
      })
  )

  simulated(
    "excludes others in its process from a kernel lock, and has its own choice of the addon",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const granted: Array<string> = []
        const attempt = (name: string) =>
          tryLock.pipe(
            Effect.tap((is) => granted.push(`${name} ${is}`)),
            Effect.catchTag(
              "KernelLockUnsupported",
              ({ where }) => Effect.sync(() => granted.push(`${name} ${where}`))
            ),
            Effect.zipRight(Effect.never)
          )
        const first = yield* host.spawn(attempt("first"))
        yield* host.settle
        yield* host.spawn(attempt("second"), { within: first })
        yield* host.settle
        yield* host.spawn(attempt("third"), { within: first, kernelLocks: false })
        yield* host.settle
        assert.deepStrictEqual(granted, ["first true", "second false", "third addon"])
      })
  )
})

describe("another machine on the same volume", () => {
  simulated("has pids of its own, and does not end with this one's boot", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const here = yield* stay(host, { pid: 7 })
      const there = yield* stay(host, { pid: 7, bootId: "another" })
      assert.deepStrictEqual([here.self.pid, there.self.pid], [7, 7])
      // On Linux, the identity of a process contains the id of the machine's boot. The boot ids differ here. So a process on
      // this machine cannot tell whether the process on the other machine is alive. On the other systems, the identity has
      // no boot id. So the process on this machine that has pid 7 is examined, and it is a different process.
      assert.strictEqual(yield* livenessSeen(host, there.self), platform === "linux" ? "Unknown" : "Gone")
      yield* host.reboot
      assert.isFalse(here.process.isRunning())
      assert.isTrue(there.process.isRunning())
      assert.strictEqual(yield* livenessSeen(host, there.self, { bootId: "another" }), "Alive")
    }))

  simulated("gives a pid that is taken to nobody else", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* stay(host, { pid: 7 })
      assert.notStrictEqual((yield* stay(host, { pid: 7 })).self.pid, 7)
    }))
})

describe("the network of a process", () => {
  simulated.each(
    [["linux", "Other"], ["darwin", "Same"], ["win32", "Same"]] as const
  )("in another network namespace is, on %s, told as %s", ([platform, expected]) =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform })
      const other = yield* host.spawn(Effect.never, { networkNamespace: "net:[2]" })
      const asking = yield* host.spawn(
        Effect.flatMap(ProcessTable.ProcessTable, ({ network }) => network(other.pid))
      )
      // Only Linux has network namespaces. On the other platforms, the simulated process table gives the same answer as the
      // real one.
      assert.deepStrictEqual(yield* asking.exit, Exit.succeed(expected))
    }))
})

describe("a lock that is asked about", () => {
  simulated("is held, shared, between the two calls of the question", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const unlocks = Effect.unsafeMakeLatch()
      yield* host.setIntercept(({ target }) =>
        Effect.as(target.endsWith(" unlock") ? unlocks.await : Effect.void, Option.none())
      )
      const ask = Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { isLocked } = yield* KernelLock.KernelLock
        return yield* isLocked((yield* fs.open(lock, { flag: "a+" })).fd)
      }).pipe(Effect.scoped)
      const asking = [yield* host.spawn(ask), yield* host.spawn(ask)]
      yield* host.settle
      const once = Effect.provide(Effect.scoped(tryLock), host.layer())
      assert.isFalse(yield* once)
      yield* unlocks.open
      // A query takes a shared lock for a moment, so several queries do not disturb each other.
      for (const { exit } of asking) assert.isFalse(yield* Effect.flatten(exit))
      assert.isTrue(yield* once)
    }))
})
