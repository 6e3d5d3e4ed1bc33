/**
 * An inspector (`status`, `list`, `doctor`) tests whether a lock is held by taking a shared lock for a moment. A start at
 * that moment must not treat the inspector as an owner.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Option } from "effect"
import { isTagged } from "effect/Predicate"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateway from "../../src/Gateway.ts"
import * as KernelLock from "../../src/host/KernelLock.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as LockInspection from "../../src/lock/LockInspection.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as Bundle from "../fixtures/bundle.ts"
import { run } from "../fixtures/processes.ts"
import { ownedBy } from "../fixtures/records.ts"
import { makeHost, onRealHost, pass, simulated } from "../fixtures/simulated.ts"

const optionsIn = (stateDir: string) => ({ stateDir, configPath: "/gateway.json", lock: { timeout: 0 } })
const lockPaths = (stateDir: string) => [
  LockFile.configLockPath(optionsIn(stateDir)),
  LockFile.stateLockPath(optionsIn(stateDir))
]

const lock = LockFile.configLockPath(optionsIn("/state"))

/**
 * Starts a process that acquires the lock, with a lock timeout of 0, and then holds it. `state` says what has become of the
 * process.
 */
const start = (host: SimulatedHost.SimulatedHost) =>
  Effect.gen(function*() {
    const process = yield* host.spawn(
      Effect.zipRight(LockFile.LockFile, Effect.never).pipe(
        Effect.provide(LockFile.layerWithProbes(optionsIn("/state")))
      )
    )
    yield* host.settle
    const state = Effect.map(process.poll, (exit) => {
      if (Option.isNone(exit)) return host.lockHolders(lock).includes(process.pid) ? "holds" : "waits"
      const failure = Exit.isFailure(exit.value) ? Cause.failureOption(exit.value.cause) : Option.none()
      return Option.exists(failure, (error) => isTagged(error, "LockHeld")) ? "is refused" : "ended otherwise"
    })
    return { process, state }
  })

const hostWithLeftover = Effect.gen(function*() {
  const host = yield* makeHost()
  yield* Effect.orDie(host.files.makeDirectory("/state/locks", { recursive: true }))
  yield* Effect.orDie(host.files.writeFile(lock, OwnerRecord.encode(ownedBy("dead"))))
  return host
})

describe("a start that does not wait", () => {
  simulated("is not refused for an inspector that asks about the lock at that moment", () =>
    Effect.gen(function*() {
      const host = yield* hostWithLeftover
      // The inspector is delayed before it releases its shared lock, so it holds that lock for 20 ms.
      yield* host.setIntercept(({ name, target }) =>
        Effect.as(Effect.sleep(name === "fcntl" && target.endsWith("unlock") ? "20 millis" : 0), Option.none())
      )
      const inspector = yield* host.spawn(LockInspection.inspect(lock))
      yield* host.settle
      yield* host.setIntercept(() => Effect.succeedNone)
      const { state } = yield* start(host)
      assert.strictEqual(yield* state, "waits")
      yield* pass(host, "19 millis")
      assert.isTrue(inspector.isRunning())
      assert.strictEqual(yield* state, "waits")
      yield* pass(host, "13 millis")
      assert.isFalse(inspector.isRunning())
      assert.strictEqual(yield* state, "holds")
    }))

  simulated("is refused without delay for an owner", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* start(host)
      assert.strictEqual(yield* first.state, "holds")
      const second = yield* start(host)
      assert.strictEqual(yield* second.state, "is refused")
    }))

  simulated("is refused in the end by an inspector that does not go on", () =>
    Effect.gen(function*() {
      const host = yield* hostWithLeftover
      yield* host.setIntercept(({ name, target }) =>
        Effect.as(name === "fcntl" && target.endsWith("unlock") ? Effect.never : Effect.void, Option.none())
      )
      yield* host.spawn(LockInspection.inspect(lock))
      yield* host.settle
      yield* host.setIntercept(() => Effect.succeedNone)
      const { state } = yield* start(host)
      yield* pass(host, "254 millis")
      assert.strictEqual(yield* state, "waits")
      yield* pass(host, "1 millis")
      assert.strictEqual(yield* state, "is refused")
    }))

  simulated(
    "is refused without delay by one that has the lock to itself and left no record",
    () =>
      Effect.gen(function*() {
        const host = yield* hostWithLeftover
        yield* Effect.orDie(host.files.writeFile(lock, new Uint8Array()))
        yield* host.spawn(Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const { tryLock } = yield* KernelLock.KernelLock
          const file = yield* fs.open(lock, { flag: "r+" })
          assert.isTrue(yield* tryLock(file.fd))
          return yield* Effect.never
        }))
        yield* host.settle
        const { state } = yield* start(host)
        assert.strictEqual(yield* state, "is refused")
      })
  )

  const skipped = onRealHost ?? (Program.kernelLocks ? undefined : "no kernel locks")
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("takes what a killed owner left, beside two processes that inspect it without a pause", skipped),
    () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        const stateDir = Path.join(folder, "state")
        const paths = lockPaths(stateDir)
        const leaveBehind = Effect.promise(() =>
          Promise.all(
            // The pid 2 ** 30 is higher than the pid of any process, so the owner in the record is dead.
            paths.map((path) =>
              Fs.writeFile(path, OwnerRecord.encode({ ...ownedBy("dead"), pid: 2 ** 30 }), { mode: 0o600 })
            )
          )
        )
        const once = Effect.scoped(
          Effect.provide(LockFile.LockFile, LockFile.layerWithProbes(optionsIn(stateDir)))
        ).pipe(Effect.provide(Gateway.layerNode))
        // This first start creates the folder of the lock files, into which `leaveBehind` writes.
        yield* once
        const file = yield* Bundle.file(new URL("../fixtures/inspecting.ts", import.meta.url), folder)
        const inspector = Effect.flatMap(run(process.execPath, [file, ...paths]), ({ line }) => line)
        assert.deepStrictEqual(yield* Effect.replicateEffect(inspector, 2), ["looks", "looks"])
        const refused: Array<string> = []
        for (let count = 0; count < 60; count += 1) {
          yield* leaveBehind
          const result = yield* Effect.either(once)
          if (result._tag === "Left") refused.push(result.left.message)
        }
        assert.deepStrictEqual(refused, [])
      }),
    120_000
  )
})
