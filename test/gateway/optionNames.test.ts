import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigError, Effect, Exit, Layer, Option } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import { isGatewayLockError } from "../../src/GatewayLockError.ts"
import { SettingInvalid } from "../../src/settings/Setting.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

/**
 * Lets a test pass unknown keys. The compiler reports unknown keys only in an object literal, and the result of this function is
 * not an object literal.
 */
const loose = <A extends Gateway.GatewayOptions>(options: A): Gateway.GatewayOptions => options
const looseConfig = <A extends Config.Config.Wrap<Gateway.GatewayOptions>>(
  options: A
): Config.Config.Wrap<Gateway.GatewayOptions> => options

/**
 * Sets options to `undefined`. A user's compiler options may allow that, although this project's compiler options do not
 * (`exactOptionalPropertyTypes`).
 */
const withUndefined = <A extends object>(options: A, ...names: ReadonlyArray<string>): A =>
  Object.assign(options, Object.fromEntries(names.map((name) => [name, undefined])))

const unknown: ReadonlyArray<
  readonly [way: string, meant: string | undefined, options: Gateway.GatewayOptions]
> = [
  ["lock.timeuot", "lock.timeout", loose({ lock: { timeout: undefined, timeuot: "1 second" } })],
  ["lock.port", "port", loose({ lock: { timeout: undefined, port: 1 } })],
  ["hots", "host", loose({ port: undefined, hots: "127.0.0.1" })],
  ["tokne", "token", loose({ port: undefined, tokne: "a-secret" })],
  ["limit", "limits", loose({ port: undefined, limit: { connections: 1 } })],
  ["lock.purple", undefined, loose({ lock: { timeout: undefined, purple: true } })],
  // The former names of the options.
  ["lockTimeout", "lock.timeout", loose({ port: undefined, lockTimeout: 1 })],
  ["lockPollInterval", "lock.pollInterval", loose({ port: undefined, lockPollInterval: 1 })],
  ["lockStaleAfter", "lock.staleAfter", loose({ port: undefined, lockStaleAfter: 1 })],
  ["lockRecheckInterval", "lock.recheckInterval", loose({ port: undefined, lockRecheckInterval: 1 })],
  ["healthProbeTimeout", "health.probeTimeout", loose({ port: undefined, healthProbeTimeout: 1 })],
  ["probeTimeout", "health.probeTimeout", loose({ port: undefined, probeTimeout: 1 })],
  ["headersTimeout", "limits.headersTimeout", loose({ port: undefined, headersTimeout: 1 })],
  ["requestTimeout", "limits.requestTimeout", loose({ port: undefined, requestTimeout: 1 })],
  ["keepAliveTimeout", "limits.keepAliveTimeout", loose({ port: undefined, keepAliveTimeout: 1 })],
  ["maxConnections", "limits.connections", loose({ port: undefined, maxConnections: 1 })],
  ["maxHeaderBytes", "limits.headerBytes", loose({ port: undefined, maxHeaderBytes: 1 })],
  ["maxPipelinedRequests", "limits.pipelinedRequests", loose({ port: undefined, maxPipelinedRequests: 1 })],
  ["maxControlSockets", "limits.controlSockets", loose({ port: undefined, maxControlSockets: 1 })],
  ["maxFrameBytes", "limits.frameBytes", loose({ port: undefined, maxFrameBytes: 1 })],
  ["maxFramesPerSecond", "limits.framesPerSecond", loose({ port: undefined, maxFramesPerSecond: 1 })],
  ["maxBufferedBytes", "limits.bufferedBytes", loose({ port: undefined, maxBufferedBytes: 1 })]
]

/** The `SettingInvalid` that is the defect in a program's exit; `undefined` if there is no such defect. */
const defectOf = (exit: Exit.Exit<unknown, unknown>): SettingInvalid | undefined => {
  const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
  return defect instanceof SettingInvalid ? defect : undefined
}

const start = (options: Gateway.GatewayOptions) => Effect.scoped(Layer.build(Gateway.layerPlatform(options)))

const startWith = (options: Config.Config.Wrap<Gateway.GatewayOptions>) =>
  Effect.scoped(Layer.build(Gateway.layerConfig({
    port: Config.succeed(0),
    // `/dev/null` is not a folder, so no start can create a lock file in this state directory. Thus a start that wrongly accepts
    // an option still ends with an error, and the test does not hang.
    stateDir: Config.succeed("/dev/null/state"),
    ...options
  })))

describe("an option that there is not", () => {
  simulated(
    "is a defect of a start, a look and a stop, which names it and what it may have been meant to be",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        for (const [way, meant, options] of unknown) {
          const exits = yield* Effect.all([
            Effect.exit(start(options)),
            Effect.exit(Gateway.inspectPlatform(options)),
            Effect.exit(Gateway.stopPlatform(options))
          ]).pipe(Effect.provide(host.layer()))
          for (const exit of exits) {
            const defect = defectOf(exit)
            assert.strictEqual(defect?.setting, way)
            const message = defect?.message ?? ""
            const group = way.includes(".") ? "lock.timeout, lock.pollInterval, " : "port, host, "
            assert.include(message, `invalid ${way} (unknown option) from GatewayOptions: expected one of ${group}`)
            if (meant === undefined) assert.notInclude(message, "did you mean")
            else assert.isTrue(message.endsWith(`; did you mean ${meant}?`), message)
            assert.notInclude(message, "secret")
          }
        }
      })
  )

  simulated(
    "is none where only a stop has it, or the program's settings have it in the same group",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const ofStop = { timeout: 1, force: false, onWaiting: () => Effect.void }
        const stopped = yield* Effect.exit(Effect.provide(Gateway.stopPlatform(ofStop), host.layer()))
        assert.isUndefined(defectOf(stopped))
        const started = yield* Effect.exit(Effect.provide(start(loose({ port: undefined, ...ofStop })), host.layer()))
        assert.strictEqual(defectOf(started)?.setting, "timeout")
        const health = { probeTimeout: 1000, retryInterval: 1000, timeout: 1000 }
        const looked = yield* Effect.exit(Effect.provide(Gateway.inspectPlatform({ health }), host.layer()))
        assert.isTrue(Exit.isSuccess(looked))
      })
  )

  simulated(
    "is none where it resembles no option: an app passes on an object with its own values as well",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const options = loose({ port: undefined, database: "postgres://", second: true, purple: 1 })
        const exits = yield* Effect.all([
          Effect.exit(start(options)),
          Effect.exit(Gateway.inspectPlatform(options)),
          Effect.exit(Gateway.stopPlatform(options))
        ]).pipe(Effect.provide(host.layer()))
        assert.deepStrictEqual(exits.map(defectOf), [undefined, undefined, undefined])
      })
  )

  simulated("is none where it is undefined and known", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const options = {
        port: undefined,
        lock: undefined,
        health: { probeTimeout: undefined },
        limits: { connections: undefined },
        routes: undefined
      }
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(Effect.provide(start(options), host.layer()))))
    }))

  it.effect("is a ConfigError of options from Config, at its name", () =>
    Effect.gen(function*() {
      for (
        const [way, options] of [
          ["lock.timeuot", looseConfig({ lock: { timeout: Config.succeed(1), timeuot: Config.succeed(1) } })],
          ["lock.timeuot", looseConfig({ lock: Config.succeed({ timeout: 1, timeuot: 1 }) })],
          ["lockTimeout", looseConfig({ port: Config.succeed(0), lockTimeout: Config.succeed(1) })]
        ] as const
      ) {
        const error = yield* Effect.flip(startWith(options))
        assert.isTrue(ConfigError.isConfigError(error) && error._op === "InvalidData", String(error))
        assert.include(String(error), `(Invalid data at ${way}: "(unknown option), expected one of `)
        assert.include(String(error), "; did you mean lock.timeout?")
      }
    }))
})

describe("a lease among the options of a gateway that has none", () => {
  const message =
    "invalid lease (ignored without a lease store) from GatewayOptions: expected none; layerWithLease takes a lease"
  const leased = loose({ port: undefined, lease: { name: "reports" } })

  simulated(
    "is a defect of a start, because two hosts would serve. A look and a stop ignore it",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const exits = yield* Effect.all([
          Effect.exit(start(leased)),
          Effect.exit(Gateway.inspectPlatform(leased)),
          Effect.exit(Gateway.stopPlatform(leased)),
          Effect.exit(start(withUndefined(loose({ port: 0 }), "lease")))
        ]).pipe(Effect.provide(host.layer()))
        assert.deepStrictEqual(exits.map((exit) => defectOf(exit)?.message), [message, undefined, undefined, undefined])
      })
  )

  it.effect("is a ConfigError of options from Config", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        startWith(looseConfig({ port: Config.succeed(0), lease: Config.succeed({ name: "reports" }) }))
      )
      assert.include(
        String(error),
        "(Invalid data at lease: \"(ignored without a lease store), expected none; layerWithLease"
      )
    }))
})

describe("an option of a lease that there is not", () => {
  const looseLease = <A extends Gateway.LeasedGatewayOptions>(options: A): Gateway.LeasedGatewayOptions => options
  const startLeased = (options: Gateway.LeasedGatewayOptions) =>
    Effect.gen(function*() {
      const [host, store] = [yield* makeHost(), yield* SimulatedLeaseStore.make]
      const built = Layer.build(Layer.provide(Gateway.layerPlatformWithLease(options), store.link("one").layer))
      return yield* Effect.exit(Effect.scoped(built)).pipe(Effect.provide(host.layer()))
    })

  const wrong: ReadonlyArray<readonly [way: string, meant: string | undefined, options: Gateway.LeasedGatewayOptions]> =
    [
      [
        "lease.renwInterval",
        "lease.renewInterval",
        looseLease({ lease: { name: undefined, renwInterval: "1 second" } })
      ],
      ["lease.nmae", "lease.name", looseLease({ lease: { duration: undefined, nmae: "reports" } })],
      ["lease.port", "port", looseLease({ lease: { name: undefined, port: 1 } })],
      ["lease.purple", undefined, looseLease({ lease: { name: undefined, purple: "a-secret" } })],
      ["renewInterval", "lease.renewInterval", looseLease({ port: undefined, renewInterval: 1 })],
      ["leaes", "lease", looseLease({ port: undefined, leaes: { name: "reports" } })]
    ]

  simulated(
    "is a defect of a start with a lease, which names it and what it may have been meant to be",
    () =>
      Effect.gen(function*() {
        for (const [way, meant, options] of wrong) {
          const defect = defectOf(yield* startLeased(options))
          assert.strictEqual(defect?.setting, way)
          const message = defect?.message ?? ""
          const group = way.includes(".") ? "lease.name, lease.duration, lease.renewInterval, " : "port, host, "
          assert.include(message, `invalid ${way} (unknown option) from GatewayOptions: expected one of ${group}`)
          if (meant === undefined) assert.notInclude(message, "did you mean")
          else assert.isTrue(message.endsWith(`; did you mean ${meant}?`), message)
          assert.notInclude(message, "secret")
        }
        for (const lease of ["reports", ["reports"]]) {
          const options: Gateway.LeasedGatewayOptions = { port: 0 }
          Reflect.set(options, "lease", lease)
          const message = defectOf(yield* startLeased(options))?.message
          assert.include(
            message,
            `invalid lease ${JSON.stringify(lease)} from GatewayOptions: expected an object with lease.name,`
          )
        }
      })
  )

  simulated("is none of those of the gateway command", () =>
    Effect.gen(function*() {
      const options = looseLease({ lease: { name: undefined, urlFile: "/run/url", duration: "1 second" } })
      // The next check refuses the times, so all names were accepted.
      assert.include(defectOf(yield* startLeased(options))?.message, "invalid lease {")
    }))
})

describe("a group of options", () => {
  simulated("that is no object is a defect", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      for (const group of ["lock", "health", "limits"]) {
        for (const value of ["null", "5", "\"1 second\"", "[]"]) {
          const options: Gateway.GatewayOptions = JSON.parse(`{ "${group}": ${value} }`)
          const defect = defectOf(yield* Effect.exit(Effect.provide(start(options), host.layer())))
          assert.include(
            defect?.message ?? "",
            `invalid ${group} ${value} from GatewayOptions: expected an object with `
          )
        }
      }
    }))

  it.effect("may be undefined where options come from Config, and so may each of its own", () =>
    Effect.gen(function*() {
      for (
        const options of [
          { lock: undefined, health: undefined, limits: undefined, routes: undefined },
          { lock: withUndefined({ pollInterval: Config.succeed(100) }, "timeout") },
          withUndefined({ lock: undefined }, "host", "token", "onDrain")
        ]
      ) {
        // All options pass their checks. The start then fails, because the state directory that `startWith` sets cannot be created.
        const error = yield* Effect.flip(startWith(options))
        assert.isTrue(isGatewayLockError(error) && error._tag === "LockUnavailable", String(error))
      }
    }))
})
