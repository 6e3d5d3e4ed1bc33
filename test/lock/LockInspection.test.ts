import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Option, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as LockInspection from "../../src/lock/LockInspection.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { ownedBy } from "../fixtures/records.ts"
import { makeHost, noNamespaces, simulated } from "../fixtures/simulated.ts"

/** A host that has the lock folder. `look` inspects a lock file with the services of a process on that host. */
const hostWithFolder = Effect.gen(function*() {
  const host = yield* makeHost()
  yield* Effect.orDie(host.files.makeDirectory("/locks", { recursive: true }))
  const look = (path: string, options: SimulatedHost.ProcessOptions = {}) =>
    LockInspection.inspect(path).pipe(Effect.provide(host.layer(options)))
  return { host, look }
})

const write = (host: SimulatedHost.SimulatedHost, content: Uint8Array) =>
  Effect.orDie(host.files.writeFile("/locks/a", content))

const identity = (state: LockInspection.LockState) =>
  "owner" in state ? Option.getOrUndefined(state.owner)?.holder.pidMeaning : undefined

/** Starts a gateway. Returns its process, and the path of the lock file of its config. */
const runningGateway = (host: SimulatedHost.SimulatedHost) =>
  Effect.gen(function*() {
    const gateway = yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
    yield* host.settle
    const names = yield* Effect.orDie(host.files.readDirectory("/state/default/locks"))
    const lock = names.find((name) => /^gateway\.[0-9a-f]{8}\.lock$/.test(name))
    return { gateway, lock: `/state/default/locks/${lock}` }
  })

describe("LockInspection.inspect", () => {
  simulated("no file", () =>
    Effect.gen(function*() {
      const { look } = yield* hostWithFolder
      assert.deepStrictEqual(yield* look("/locks/none"), { _tag: "Absent" })
      assert.deepStrictEqual(yield* look("/nowhere/none"), { _tag: "Absent" })
    }))

  simulated(
    "a running gateway's: held by the kernel's word, with its owner; nothing is changed by looking",
    () =>
      Effect.gen(function*() {
        const { host, look } = yield* hostWithFolder
        const { gateway, lock } = yield* runningGateway(host)
        const before = yield* Effect.orDie(host.files.stat(lock))
        const state = yield* look(lock)
        assert.strictEqual(state._tag, "Held")
        assert.deepInclude(state, { enforcement: "kernel" })
        assert.strictEqual(identity(state), "Alive")
        assert.deepStrictEqual(host.lockHolders(lock), [gateway.pid])
        assert.deepStrictEqual(yield* Effect.orDie(host.files.stat(lock)), before)
      })
  )

  simulated("a killed gateway's: left, and its pid is nobody's", () =>
    Effect.gen(function*() {
      const { host, look } = yield* hostWithFolder
      const { gateway, lock } = yield* runningGateway(host)
      yield* gateway.kill
      const state = yield* look(lock)
      assert.strictEqual(state._tag, "Left")
      assert.strictEqual(identity(state), "Gone")
      assert.deepStrictEqual(host.lockHolders(lock), [])
    }))

  simulated("without kernel locks the recorded process decides", () =>
    Effect.gen(function*() {
      const { host, look } = yield* hostWithFolder
      yield* host.setLocking("absent")
      const { gateway, lock } = yield* runningGateway(host)
      assert.deepInclude(yield* look(lock), { _tag: "Held", enforcement: "record" })
      // Without a kernel lock, only the owner's record in the lock file protects the lock. A process that can use kernel locks
      // finds the file unlocked, but must report the lock as held nevertheless.
      yield* host.setLocking("works")
      assert.deepInclude(yield* look(lock), { _tag: "Held", enforcement: "record" })
      yield* host.setLocking("refused")
      assert.deepInclude(yield* look(lock), { _tag: "Held", enforcement: "record" })
      yield* gateway.kill
      assert.strictEqual((yield* look(lock))._tag, "Left")
    }))

  simulated.unless(noNamespaces)(
    "without kernel locks nothing is known of a process in another PID namespace",
    () =>
      Effect.gen(function*() {
        const { host, look } = yield* hostWithFolder
        yield* host.setLocking("absent")
        const { lock } = yield* runningGateway(host)
        const elsewhere = yield* look(lock, { pidNamespace: "pid:[2]" })
        assert.strictEqual(elsewhere._tag, "Unknown")
        assert.strictEqual(identity(elsewhere), "OtherPidNamespace")
      })
  )

  simulated.unless(noNamespaces)(
    "in another PID namespace the kernel lock still tells, and the pid means nothing",
    () =>
      Effect.gen(function*() {
        const { host, look } = yield* hostWithFolder
        const { lock } = yield* runningGateway(host)
        const state = yield* look(lock, { pidNamespace: "pid:[2]" })
        assert.deepInclude(state, { _tag: "Held", enforcement: "kernel" })
        assert.strictEqual(identity(state), "OtherPidNamespace")
      })
  )

  simulated.each([
    ["empty", ""],
    ["torn", "{\"version\":1,\"inst"],
    ["foreign", "4711\n"],
    ["oversized", "x".repeat(OwnerRecord.maxBytes + 1)]
  ])("%s content tells of nobody", ([, content]) =>
    Effect.gen(function*() {
      const { host, look } = yield* hostWithFolder
      yield* write(host, new TextEncoder().encode(content))
      const state = yield* look("/locks/a")
      assert.strictEqual(state._tag, "Left")
      assert.isTrue("owner" in state && Option.isNone(state.owner))
      yield* host.setLocking("absent")
      assert.strictEqual((yield* look("/locks/a"))._tag, "Unknown")
    }))

  simulated("what cannot be read, or is no file, is told so", () =>
    Effect.gen(function*() {
      const { host, look } = yield* hostWithFolder
      yield* Effect.orDie(host.files.writeFile("/locks/a", OwnerRecord.encode(ownedBy("somebody")), { mode: 0o600 }))
      const looking = yield* Effect.fork(look("/locks/a", { uid: 1000 }))
      // On Windows a refused open may be temporary, so the inspection tries again for a while.
      yield* TestClock.adjust("1 second")
      const unreadable = yield* Fiber.join(looking)
      assert.strictEqual(unreadable._tag, "Unknown")
      assert.match(unreadable._tag === "Unknown" ? unreadable.reason : "", /EACCES/)
      const folder = yield* look("/locks")
      assert.deepInclude(folder, { _tag: "Unknown", reason: "it is not a regular file but a directory" })
    }))

  simulated("leaves nothing open", () =>
    Effect.gen(function*() {
      const { host, look } = yield* hostWithFolder
      yield* write(host, OwnerRecord.encode(ownedBy("somebody")))
      yield* look("/locks/a")
      assert.deepStrictEqual([...host.openFiles()], [])
    }))
})
