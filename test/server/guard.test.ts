/**
 * These tests are about the guard address, 127.0.0.1. Every gateway binds the guard address in addition to its own address, so that
 * only one gateway can use a port. Some of the simulated hosts have no 127.0.0.1.
 */
import { assert, describe } from "@effect/vitest"
import { Cause, Effect, Exit, Option, Redacted, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import { SimulatedHost, SimulatedPorts } from "../../src/testing/index.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const port = 18789
const token = Redacted.make("0123456789abcdef0123456789abcdef")

const gateway = (host: string, profile: string) =>
  Gateway.launch(Gateway.layerPlatform({ host, profile, port, ...(host === "::1" ? {} : { token }) }))

const onlyV6 = Effect.tap(makeHost(), (host) => host.ports.loseLoopbackV4())

describe("on a host without 127.0.0.1, a gateway on", () => {
  for (
    const [first, second] of [["::1", "::1"], ["::1", "0.0.0.0"], ["0.0.0.0", "::1"], ["::", "::1"], [
      "::",
      "0.0.0.0"
    ]] as const
  ) {
    simulated(`${first} keeps out another on ${second}, and is succeeded by it`, () =>
      Effect.gen(function*() {
        const host = yield* onlyV6
        const one = yield* host.spawn(gateway(first, "one"))
        yield* host.settle
        assert.include(host.ports.owners(port), one.pid)
        const refused = yield* host.spawn(gateway(second, "two"))
        yield* TestClock.adjust("3 seconds")
        const exit = yield* refused.exit
        const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
        assert.deepInclude(error, { _tag: "PortInUse", host: second, port })
        yield* one.terminate
        const next = yield* host.spawn(gateway(second, "two"))
        yield* host.settle
        assert.include(host.ports.owners(port), next.pid)
      }))
  }
})

describe("a gateway on an address of the local network (N70)", () => {
  const { lanAddress } = SimulatedPorts
  for (const platform of ["linux", "win32"] as const) {
    simulated(
      `starts where its port is free, though a refusal takes its time on ${platform}`,
      () =>
        Effect.gen(function*() {
          const host = yield* SimulatedHost.makeWith({ platform })
          const process = yield* host.spawn(gateway(lanAddress, "one"))
          yield* TestClock.adjust("10 seconds")
          assert.isTrue(process.isRunning())
          assert.deepStrictEqual(host.ports.owners(port), [process.pid, process.pid])
        })
    )

    simulated(
      `is refused where a listener accepts there and stays silent, on ${platform}`,
      () =>
        Effect.gen(function*() {
          const host = yield* SimulatedHost.makeWith({ platform })
          yield* host.ports.foreign({ host: lanAddress, port }, { _tag: "Stalls" })
          const process = yield* host.spawn(gateway(lanAddress, "one"))
          yield* TestClock.adjust("10 seconds")
          const exit = yield* process.exit
          const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
          assert.deepInclude(error, {
            _tag: "PortInUse",
            listener: "gave no complete answer to /healthz within 1000ms"
          })
        })
    )
  }
})

describe("a gateway on a wildcard address (N73)", () => {
  for (const platform of ["linux", "darwin", "win32"] as const) {
    for (
      const hosts of [["0.0.0.0", "127.0.0.1"], ["127.0.0.1", "0.0.0.0"], ["::", "127.0.0.1"], ["::", "0.0.0.0"], [
        "::",
        "::1"
      ]] as const
    ) {
      simulated(
        `${hosts[0]} and one on ${hosts[1]} that start at one time never serve both, on ${platform}`,
        () =>
          Effect.gen(function*() {
            const host = yield* SimulatedHost.makeWith({ platform })
            // The first bind waits for the second one. So both gateways have probed the port, and found it free, before one of
            // them binds it.
            const asked = yield* Effect.makeLatch(false)
            let waiting = 0
            yield* host.setIntercept(({ name }) =>
              Effect.suspend(() => {
                if (name !== "bind") return Effect.succeedNone
                waiting += 1
                return Effect.zipRight(waiting >= 2 ? asked.open : asked.await, Effect.succeedNone)
              })
            )
            const both = yield* Effect.forEach(hosts, (one, index) => host.spawn(gateway(one, `profile${index}`)))
            yield* host.settle
            yield* TestClock.adjust("3 seconds")
            assert.strictEqual(new Set(host.ports.owners(port)).size, 1)
            const refused = yield* Effect.findFirst(both, (one) => Effect.sync(() => !one.isRunning()))
            const exit = yield* Option.getOrThrow(refused).exit
            const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
            assert.deepInclude(error, { _tag: "PortInUse", port })
          })
      )
    }
  }
})

describe("on a host with 127.0.0.1, a gateway on 127.0.0.2", () => {
  simulated(
    "is refused where the guard address cannot be bound, and does not take [::1] for it",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setIntercept((call) =>
          Effect.succeed(
            call.name === "bind" && call.target === `ws://127.0.0.1:${port}`
              ? Option.some("EADDRNOTAVAIL")
              : Option.none()
          )
        )
        const process = yield* host.spawn(gateway("127.0.0.2", "one"))
        const exit = yield* process.exit
        const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
        assert.deepInclude(error, { _tag: "BindFailed", code: "EADDRNOTAVAIL", port })
        assert.deepStrictEqual(host.ports.owners(port), [])
      })
  )
})
