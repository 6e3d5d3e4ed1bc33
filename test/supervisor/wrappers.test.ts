import { assert, describe } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option } from "effect"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as Recovery from "../../src/supervisor/Recovery.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, pass, simulated } from "../fixtures/simulated.ts"
import * as Wrapper from "../fixtures/wrapper.ts"

const options: Recovery.RecoveryOptions = {
  supervisor: "systemd",
  address: Wrapper.address,
  health: { timeout: "1 minute" }
}

/** A start that tries to acquire the lock that `Wrapper.start` holds, and keeps it if it succeeds. */
const start = Layer.build(
  LockFile.layerWithProbes({ ...Wrapper.place, address: Wrapper.address, lock: { timeout: 0 } })
)

const supervised = Recovery.recover(start, options).pipe(
  Effect.zipRight(Effect.never),
  Effect.provide(HealthProbe.layer())
)
const standingBy = Recovery.standby(start, options).pipe(
  Effect.zipRight(Effect.never),
  Effect.provide(HealthProbe.layer())
)
const alone = start.pipe(Effect.zipRight(Effect.never))

const failure = <A, E>(process: SimulatedHost.SimulatedProcess<A, E>) =>
  Effect.map(
    process.poll,
    (exit) => Option.flatMap(exit, Exit.causeOption).pipe(Option.flatMap(Cause.failureOption), Option.getOrUndefined)
  )

const rules: ReadonlyArray<Wrapper.Options> = [
  { ready: "none" },
  { ready: "port" },
  { ready: "http:/ready" },
  { ready: "none", listener: "none" },
  { ready: "port", behaviour: { _tag: "Stalls" } },
  { ready: "port", behaviour: { _tag: "Answers", status: 404, body: "" } }
]

describe("a start beside an owner with a rule", () => {
  for (const rule of rules) {
    const title = `${rule.ready}, ${rule.listener ?? "child"}, ${rule.behaviour?._tag ?? "Routes"}`
    for (const killed of [false, true]) {
      const wrapperState = killed ? "the wrapper is killed" : "the wrapper lives"
      simulated(
        `under a supervisor leaves a healthy owner in control: ${title}, ${wrapperState}`,
        () =>
          Effect.gen(function*() {
            const host = yield* makeHost()
            const { command, wrapper } = yield* Wrapper.start(host, rule)
            if (killed) yield* wrapper.kill
            const second = yield* host.spawn(supervised)
            yield* host.settle
            // With `Stalls`, the listener does not answer. The start probes it at most twice, for a second each. The start must not
            // also wait until the owner changes.
            if (rule.behaviour?._tag === "Stalls") yield* pass(host, "2 seconds")
            assert.deepInclude(yield* failure(second), { _tag: "OwnerHealthy" })
            assert.strictEqual((yield* failure(second))?.holder?.pid, killed ? command.pid : wrapper.pid)
          })
      )
    }

    simulated(
      `as a standby watches no connection, and takes over after both have ended: ${title}`,
      () =>
        Effect.gen(function*() {
          const host = yield* makeHost()
          const { command, connections, wrapper } = yield* Wrapper.start(host, rule)
          const standby = yield* host.spawn(standingBy)
          yield* host.settle
          yield* pass(host, "3 seconds")
          const before = connections?.requests() ?? 0
          for (let second = 0; second < 20; second++) yield* pass(host, "1 second")
          assert.isTrue(Option.isNone(yield* standby.poll))
          assert.deepStrictEqual([connections?.watches() ?? 0, connections?.open() ?? 0], [0, 0])
          assert.strictEqual(connections?.requests() ?? 0, before)

          yield* wrapper.kill
          yield* pass(host, "3 seconds")
          assert.notInclude(host.lockHolders(Wrapper.path), standby.pid)
          yield* command.kill
          for (let second = 0; second < 5; second++) yield* pass(host, "1 second")
          assert.deepStrictEqual(host.lockHolders(Wrapper.path), [standby.pid])
        })
    )

    simulated(`without a supervisor is refused at once, and names the owner: ${title}`, () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { command, wrapper } = yield* Wrapper.start(host, rule)
        yield* wrapper.kill
        const second = yield* host.spawn(alone)
        yield* host.settle
        if (rule.behaviour?._tag === "Stalls") yield* pass(host, "1 second")
        const error = yield* failure(second)
        assert.strictEqual(error?._tag, rule.listener === "none" ? "LockHeld" : "PortInUse")
        assert.deepInclude(error?.holder, { pid: command.pid, endedWrapper: wrapper.pid, ready: rule.ready })
      }))
  }

  simulated("an owner without a port is waited for, as long as the start may wait", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "none", address: undefined })
      const patient = Layer.build(
        LockFile.layerWithProbes({ ...Wrapper.place, address: Wrapper.address, lock: { timeout: "5 seconds" } })
      ).pipe(Effect.zipRight(Effect.never))
      const refused = yield* host.spawn(patient)
      yield* pass(host, "4 seconds")
      assert.isTrue(Option.isNone(yield* refused.poll))
      yield* pass(host, "2 seconds")
      assert.deepInclude(yield* failure(refused), { _tag: "LockHeld" })

      const second = yield* host.spawn(patient)
      yield* pass(host, "2 seconds")
      yield* wrapper.kill
      yield* command.kill
      yield* pass(host, "1 second")
      assert.deepStrictEqual(host.lockHolders(Wrapper.path), [second.pid])
    }))

  simulated("an unhealthy owner is waited for, and left in control once it is healthy", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command } = yield* Wrapper.start(host, { ready: "port", listener: "none" })
      const second = yield* host.spawn(supervised)
      yield* pass(host, "3 seconds")
      assert.isTrue(Option.isNone(yield* second.poll))
      yield* Effect.orDie(host.ports.foreign(Wrapper.address, Wrapper.program, command))
      for (let pause = 0; pause < 6; pause++) yield* pass(host, "1 second")
      assert.deepInclude(yield* failure(second), { _tag: "OwnerHealthy" })
    }))

  simulated(
    "in record-only mode a dead owner's lock is taken, a living command's is not",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking("absent")
        const { command, wrapper } = yield* Wrapper.start(host, { ready: "none", listener: "none" })
        yield* wrapper.kill
        const refused = yield* host.spawn(alone)
        yield* pass(host, "1 minute")
        assert.deepInclude(yield* failure(refused), { _tag: "LockHeld" })
        yield* command.kill
        const second = yield* host.spawn(alone)
        yield* pass(host, "1 second")
        assert.isTrue(second.isRunning())
      })
  )
})
