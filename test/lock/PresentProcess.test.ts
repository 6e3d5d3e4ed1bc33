import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import type { Liveness } from "../../src/host/ProcessIdentity.ts"
import * as LockInspection from "../../src/lock/LockInspection.ts"
import { childOf, either, isChildOwner } from "../../src/lock/PresentProcess.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import * as arbitraries from "../arbitraries.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"
import * as Wrapper from "../fixtures/wrapper.ts"

describe("PresentProcess", () => {
  it.each<[Liveness, Liveness, boolean, Liveness]>([
    ["Alive", "Alive", false, "Alive"],
    ["Alive", "Gone", false, "Alive"],
    ["Alive", "Unknown", false, "Alive"],
    ["Gone", "Alive", true, "Alive"],
    ["Gone", "Unknown", true, "Unknown"],
    ["Gone", "Gone", false, "Gone"],
    ["Unknown", "Alive", false, "Alive"],
    ["Unknown", "Gone", false, "Unknown"],
    ["Unknown", "Unknown", false, "Unknown"]
  ])("wrapper %s, child %s: the child is the owner: %s, and the owner is %s", (wrapper, child, isChild, owner) => {
    assert.strictEqual(isChildOwner(wrapper, child), isChild)
    assert.strictEqual(either(wrapper, child), owner)
  })

  it.prop(
    "an owner is gone only if both of its processes are",
    [arbitraries.liveness, arbitraries.liveness],
    ([wrapper, child]) => (either(wrapper, child) === "Gone") === (wrapper === "Gone" && child === "Gone")
  )

  it.prop("the child has the boot and the namespace of its wrapper", [arbitraries.ownerRecord], ([record]) => {
    const child = childOf(record)
    return child === undefined
      ? record.child === undefined
      : child.bootId === record.bootId && child.pidNamespace === record.pidNamespace && child.pid === record.child?.pid
  })
})

const inspect = (host: SimulatedHost.SimulatedHost) =>
  Effect.provide(LockInspection.inspect(Wrapper.path), host.layer())

const ownerIn = (state: LockInspection.LockState) =>
  state._tag === "Absent" ? undefined : Option.getOrUndefined(state.owner)

describe("LockInspection.inspect, of a wrapper", () => {
  simulated("the wrapper is the owner while it lives", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { wrapper } = yield* Wrapper.start(host, { ready: "port" })
      const state = yield* inspect(host)
      assert.deepInclude(state, { _tag: "Held", enforcement: "kernel" })
      assert.deepInclude(ownerIn(state)?.holder, { pid: wrapper.pid, pidMeaning: "Alive", command: "node" })
      assert.notProperty(ownerIn(state)?.holder, "endedWrapper")
      assert.strictEqual(ownerIn(state)?.process.pid, wrapper.pid)
    }))

  simulated.each(["works", "absent"] as const)(
    "the child is the owner once the wrapper is killed; locks: %s",
    (locking) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking(locking)
        const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
        yield* wrapper.kill
        const state = yield* inspect(host)
        assert.deepInclude(state, { _tag: "Held", enforcement: locking === "absent" ? "record" : "kernel" })
        assert.deepInclude(ownerIn(state)?.holder, {
          pid: command.pid,
          pidMeaning: "Alive",
          command: "python3",
          endedWrapper: wrapper.pid
        })
        assert.strictEqual(ownerIn(state)?.process.pid, command.pid)
      })
  )

  simulated("both killed: the lock is left, and its owner is the wrapper", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
      yield* wrapper.kill
      yield* command.kill
      const state = yield* inspect(host)
      assert.strictEqual(state._tag, "Left")
      assert.deepInclude(ownerIn(state)?.holder, { pid: wrapper.pid, pidMeaning: "Gone" })
    }))

  simulated("a process that has got the child's pid is not the owner", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
      yield* wrapper.kill
      yield* command.kill
      yield* host.spawn(Effect.never, { pid: command.pid })
      assert.deepInclude(ownerIn(yield* inspect(host))?.holder, { pid: wrapper.pid, pidMeaning: "Gone" })
    }))
})
