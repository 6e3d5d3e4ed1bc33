import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option, type Scope } from "effect"
import { claimPath } from "../../src/lock/Claim.ts"
import * as LockAttempt from "../../src/lock/LockAttempt.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import type { Snapshot } from "../../src/lock/Snapshot.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { ownedBy } from "../fixtures/records.ts"
import { makeHost } from "../fixtures/simulated.ts"

const folder = "/locks"
const path = `${folder}/gateway.lock`

const seen = (instanceId: string): Snapshot => ({
  record: Option.some(ownedBy(instanceId)),
  enforcement: "record",
  fileId: "",
  age: Duration.zero
})

const leave = (path: string, instanceId: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFile(path, OwnerRecord.encode(ownedBy(instanceId))))

const attempt = (options: Partial<LockAttempt.AttemptOptions> = {}) =>
  LockAttempt.attempt({
    path,
    record: (lock) => ({ ...ownedBy("me"), lock }),
    reclaim: Option.none(),
    ...options
  })

/**
 * Makes one attempt to acquire the lock. Another owner holds it, so the effect returns the snapshot of that owner's lock file.
 */
const look = Effect.flatMap(
  attempt(),
  (first) => first._tag === "Held" ? Effect.succeed(first.snapshot) : Effect.dieMessage("nobody was there")
)

const reclaim = (abandoned: ReadonlyArray<string>) =>
  Effect.flatMap(look, (snapshot) =>
    attempt({
      reclaim: Option.some(snapshot),
      isAbandoned: ({ record }) =>
        Effect.succeed(Option.exists(record, ({ instanceId }) => abandoned.includes(instanceId)))
    }))

const entries = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => Effect.map(fs.readDirectory(folder), (names) => names.length)
)

const withoutKernelLocks = <A, E>(test: Effect.Effect<A, E, SimulatedHost.Requirements | Scope.Scope>) =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    yield* host.setLocking("absent")
    yield* host.files.makeDirectory(folder)
    return yield* Effect.provide(test, host.layer())
  })

describe("a claim on a dead owner's file", () => {
  it.scoped("is made, used and gone", () =>
    withoutKernelLocks(Effect.gen(function*() {
      yield* leave(path, "dead")
      assert.strictEqual((yield* reclaim([]))._tag, "Mine")
      assert.strictEqual(yield* entries, 1)
    })))

  it.scoped("of a starter that lives is respected, however long it takes", () =>
    withoutKernelLocks(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* leave(path, "dead")
      yield* leave(claimPath(path, seen("dead")), "slow")
      assert.strictEqual((yield* reclaim([]))._tag, "Held")
      assert.deepStrictEqual(yield* fs.readFile(path), OwnerRecord.encode(ownedBy("dead")))
      assert.strictEqual(yield* entries, 2)
    })))

  it.scoped("of a starter that died is taken over at once, through any number of deaths that can be", () =>
    withoutKernelLocks(Effect.gen(function*() {
      yield* leave(path, "dead")
      const first = claimPath(path, seen("dead"))
      const second = claimPath(first, seen("slow"))
      yield* leave(first, "slow")
      yield* leave(second, "slower")
      assert.strictEqual((yield* reclaim(["slow", "slower"]))._tag, "Mine")
      assert.strictEqual(yield* entries, 1)
    })))

  it.scoped("is void once the file is another's: what dead starters left goes, what a living one has stays", () =>
    withoutKernelLocks(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* leave(path, "dead")
      yield* leave(claimPath(path, seen("long ago")), "gone")
      yield* leave(`${path}.0123456789abcdef.stale`, "moved aside by nobody")
      yield* leave(claimPath(path, seen("before")), "living")
      assert.strictEqual((yield* reclaim(["gone"]))._tag, "Mine")
      assert.deepStrictEqual(
        (yield* fs.readDirectory(folder)).map((name) => `${folder}/${name}`).toSorted(),
        [path, claimPath(path, seen("before"))].toSorted()
      )
    })))
})

describe("the age of a lock file", () => {
  it.scoped("from the future is how far away that is: the wall clock was set back", () =>
    withoutKernelLocks(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* leave(path, "dead")
      yield* fs.utimes(path, 86_400, 86_400)
      assert.deepStrictEqual((yield* look).age, Duration.days(1))
    })))
})

describe("a start with kernel locks that is killed while it takes over what a dead one left", () => {
  it.scoped("does not keep the next one of its kind waiting, whichever system call was its last", () =>
    Effect.gen(function*() {
      let lastCall = 0
      for (let call = 1, wasKilled = true; wasKilled; call += 1) {
        const host = yield* makeHost()
        yield* host.files.makeDirectory(folder)
        yield* host.files.writeFile(path, OwnerRecord.encode({ ...ownedBy("dead"), lock: "kernel" }))
        // The victim is the process that the test kills. It runs in another PID namespace, so the next start cannot see whether
        // the victim is alive.
        const victim = yield* host.spawn(
          Effect.zipRight(attempt({ record: (lock) => ({ ...ownedBy("victim"), lock }) }), Effect.never),
          { pidNamespace: "pid:[2]" }
        )
        let calls = 0
        yield* host.setIntercept(({ serial }) =>
          serial === victim.serial && ++calls === call
            ? Effect.as(victim.kill, Option.none())
            : Effect.succeedNone
        )
        yield* host.settle
        wasKilled = !victim.isRunning()
        lastCall = call
        if (!wasKilled) break
        const next = yield* Effect.provide(attempt(), host.layer())
        assert.strictEqual(next._tag, "Mine", `killed at call ${call}`)
      }
      assert.isAbove(lastCall, 20)
    }))
})

describe("a file that a start without kernel locks is about to move away", () => {
  const deadRecords = ["kernel", "record"] as const

  it.scoped.each(deadRecords)(
    "is not taken in place by one with kernel locks, dead owner's lock: %s",
    (lock) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.files.makeDirectory(folder)
        yield* host.files.writeFile(path, OwnerRecord.encode({ ...ownedBy("dead"), lock }))
        const mine: Array<string> = []
        const start = (name: string, options: SimulatedHost.ProcessOptions = {}) =>
          Effect.gen(function*() {
            const record = (lock: "kernel" | "record") => ({ ...ownedBy(name), lock })
            const first = yield* attempt({ record })
            const result = first._tag === "Mine"
              ? first
              : yield* attempt({ record, reclaim: Option.some(first.snapshot) })
            if (result._tag === "Mine") mine.push(name)
            return yield* Effect.never
          }).pipe((program) => Effect.zipLeft(host.spawn(program, options), host.settle))

        // The reclaimer is a start that judges the dead owner's file stale and moves it away. The latches delay it twice: before
        // it renames the file, and before it puts back the file that it moved.
        const [renames, links] = [Effect.unsafeMakeLatch(), Effect.unsafeMakeLatch()]
        const reclaimer = yield* Effect.gen(function*() {
          yield* host.setIntercept(({ name, target }) =>
            Effect.as(
              name === "rename" ? renames.await : name === "link" && target === path ? links.await : Effect.void,
              Option.none()
            )
          )
          return yield* start("reclaimer", { kernelLocks: false })
        })
        yield* start("first")
        yield* renames.open
        yield* host.settle
        yield* start("second")
        yield* links.open
        yield* host.settle
        assert.isTrue(reclaimer.isRunning())
        assert.lengthOf(mine, 1, mine.join(", "))
        assert.deepStrictEqual(yield* host.files.readDirectory(folder), ["gateway.lock"])
      })
  )
})
