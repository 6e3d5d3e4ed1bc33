/**
 * Tests, on a simulated host, starts that wait because another process (the owner) has the port or the lock. The tests cover every
 * kind of owner, and every kind of start that waits: a standby, and a start under each supervisor.
 */
import { HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, FastCheck as fc, Layer, Option, Scope, TestClock } from "effect"
import * as GatewayInstance from "../../src/gateway/GatewayInstance.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import { layer as healthProbeLayer } from "../../src/probe/HealthProbe.ts"
import * as Recovery from "../../src/supervisor/Recovery.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import * as SimulatedPorts from "../../src/testing/SimulatedPorts.ts"
import { numRuns } from "../arbitraries.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }
const own = { stateDir: "/state", configPath: "/config.json" }
const elsewhere = { stateDir: "/other", configPath: "/other.json" }

const probeMillis = 1000
const stepMillis = 250

type Host = SimulatedHost.SimulatedHost

/** An owner of the port or the lock. `begin` starts it, and the other properties say what the test expects of it. */
interface Owner {
  readonly isHealthy: boolean
  /** Whether the owner is a gateway. A start that waits may keep an idle connection to a gateway, but to no other owner. */
  readonly isGateway: boolean
  /** Whether the owner has the lock but does not listen. */
  readonly isSilent: boolean
  readonly begin: (host: Host) => Effect.Effect<Option.Option<SimulatedPorts.SimulatedStranger>, never, Scope.Scope>
}

const stranger = (behaviour: SimulatedPorts.ForeignBehaviour, isHealthy: boolean): Owner => ({
  isHealthy,
  isGateway: behaviour._tag === "Gateway",
  isSilent: false,
  begin: (host) => Effect.asSome(Effect.orDie(host.ports.foreign(address, behaviour)))
})

const gateway = (healthy: boolean, watcherSlots: number) =>
  stranger({ _tag: "Gateway", instanceId: "stranger", healthy, watcherSlots }, healthy)

const serving = (lock: LockFile.LockFileOptions) =>
  Layer.build(
    HttpServer.serve(HttpServerResponse.text("ok")).pipe(
      Layer.provideMerge(GatewayInstance.layerServing(address)),
      Layer.provide(LockFile.layerWithProbes({ ...lock, address }))
    )
  )

/**
 * An owner that is a process of the simulated host. `begin` starts the process, and the process is killed when the scope of
 * `begin` closes.
 */
const spawned = (
  program: Parameters<Host["spawn"]>[0],
  owner: Pick<Owner, "isHealthy" | "isSilent">,
  options: SimulatedHost.ProcessOptions = {}
): Owner => ({
  ...owner,
  isGateway: true,
  begin: (host) =>
    Effect.gen(function*() {
      const process = yield* Effect.acquireRelease(host.spawn(program, options), ({ kill }) => kill)
      yield* host.settle
      if (!owner.isHealthy && !owner.isSilent) yield* process.freeze
      return Option.none()
    })
})
const holding = Effect.zipRight(Layer.build(LockFile.layerWithProbes(own)), Effect.never)
const running = Effect.zipRight(serving(elsewhere), Effect.never)

const owners: Readonly<Record<string, Owner>> = {
  "the released OpenClaw": stranger(SimulatedPorts.openClaw, true),
  "a web server": stranger({ _tag: "Answers", status: 404, body: "nothing here" }, false),
  "no HTTP": stranger({ _tag: "Garbage" }, false),
  "a silent listener": stranger({ _tag: "Stalls" }, false),
  "a healthy gateway": gateway(true, 5),
  "an unhealthy gateway": gateway(false, 5),
  "a healthy gateway without watcher slots": gateway(true, 0),
  "an unhealthy gateway without watcher slots": gateway(false, 0),
  "a gateway's process": spawned(running, { isHealthy: true, isSilent: false }),
  "a gateway's stopped process": spawned(running, { isHealthy: false, isSilent: false }),
  "the lock's holder": spawned(holding, { isHealthy: false, isSilent: true }),
  "the lock's holder in another PID namespace": spawned(holding, { isHealthy: false, isSilent: true }, {
    pidNamespace: "pid:[2]"
  })
}

interface Scenario {
  /** The owners, one after the other. Each begins at the simulated time at which the owner before it ends. */
  readonly phases: ReadonlyArray<{ readonly who: string; readonly steps: number }>
  readonly how: "standby" | "systemd" | "launchd" | "external"
  readonly retryMillis: number
  readonly healthTimeoutMillis: number
}

/** An owner and how long it lasts. A phase is so long that a waiting start notices the owner. */
const phase = (names: ReadonlyArray<string>) =>
  fc.record({ who: fc.constantFrom(...names), steps: fc.integer({ min: 20, max: 48 }) })

const listeners = Object.keys(owners).filter((who) => owners[who]?.isSilent === false)

const scenario: fc.Arbitrary<Scenario> = fc.record({
  phases: fc.oneof(
    fc.tuple(phase(Object.keys(owners))),
    fc.tuple(phase(listeners), phase(listeners))
  ),
  how: fc.constantFrom("standby", "systemd", "launchd", "external"),
  retryMillis: fc.integer({ min: 1, max: 80 }).map((steps) => steps * stepMillis),
  healthTimeoutMillis: fc.integer({ min: 0, max: 120 }).map((steps) => 1 + steps * stepMillis)
})

const waiter = ({ healthTimeoutMillis, how, retryMillis }: Scenario) => {
  const options = {
    supervisor: how === "standby" ? "none" : how,
    address,
    health: { retryInterval: Duration.millis(retryMillis), timeout: Duration.millis(healthTimeoutMillis) }
  } as const
  const timeout = how === "standby" ? Duration.zero : Duration.min("5 seconds", options.health.timeout)
  const start = serving({ ...own, lock: { timeout } })
  return (how === "standby" ? Recovery.standby(start, options) : Recovery.recover(start, options)).pipe(
    Effect.provide(healthProbeLayer())
  )
}

interface Seen {
  /**
   * How and when the start stopped waiting. `what` is `serves`, or the tag of the error with which the start failed. `None` if
   * the start still waits.
   */
  readonly outcome: Option.Option<{ readonly what: string; readonly atMillis: number }>
  readonly strangers: ReadonlyArray<SimulatedPorts.SimulatedStranger>
}

const play = (scenario: Scenario): Effect.Effect<Seen> =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    const began = yield* Clock.currentTimeMillis
    const strangers: Array<SimulatedPorts.SimulatedStranger> = []
    const outcome = yield* Deferred.make<{ readonly what: string; readonly atMillis: number }>()
    const tell = (what: string) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => Deferred.succeed(outcome, { what, atMillis: now - began }))
    const step = Effect.zipRight(TestClock.adjust(stepMillis), host.settle)

    let previous: Scope.CloseableScope | undefined
    for (const { steps, who } of scenario.phases) {
      const owner = owners[who]
      if (owner === undefined) return yield* Effect.dieMessage(who)
      if (previous !== undefined) yield* Scope.close(previous, Exit.void)
      const scope = yield* Scope.make()
      const seen = yield* Scope.extend(owner.begin(host), scope)
      if (Option.isSome(seen)) strangers.push(seen.value)
      if (previous === undefined) {
        yield* host.spawn(
          // The outcome is recorded within the scope: its end can take as long as a drain.
          Effect.scoped(Effect.zipRight(waiter(scenario), tell("serves"))).pipe(
            Effect.tapError(({ _tag }) => tell(_tag)),
            Effect.zipRight(Effect.never)
          )
        )
      }
      previous = scope
      yield* host.settle
      for (let done = 0; done < steps; done += 1) {
        if (!owner.isGateway && Option.isSome(seen)) {
          assert.isAtMost(seen.value.open(), who === "a silent listener" ? 1 : 0, `open to ${who}`)
          assert.strictEqual(seen.value.watches(), 0, `watches of ${who}`)
        }
        yield* step
      }
    }
    if (previous !== undefined) yield* Scope.close(previous, Exit.void)
    yield* host.settle
    for (let done = 0; done < 60 && !(yield* Deferred.isDone(outcome)); done += 1) yield* step
    return { outcome: yield* Effect.flatMap(Deferred.poll(outcome), Effect.transposeOption), strangers }
  })

const lengthOf = (phases: Scenario["phases"]) => phases.reduce((sum, { steps }) => sum + steps * stepMillis, 0)

/**
 * The time within which a start that waits must notice a change: two seconds, and the time of a probe. The test sees the result
 * only after its next step, so one step is added.
 */
const noticedWithin = 2000 + probeMillis + stepMillis

const judge = (scenario: Scenario, { outcome, strangers }: Seen) => {
  const { healthTimeoutMillis, how, phases, retryMillis } = scenario
  const end = lengthOf(phases)
  if (Option.isNone(outcome)) return assert.fail("neither serves nor fails")
  const { atMillis, what } = outcome.value
  const elapsed = Math.min(atMillis, end)
  // The bound on requests: one health probe each second, two probes for each attempt, and 25 requests in total for the
  // additional attempts after changes of owner. An attempt first probes the port. After an attempt has failed, the owner is probed.
  const attempts = how === "standby" ? 0 : elapsed / retryMillis
  const requests = strangers.reduce((sum, stranger) => sum + stranger.requests(), 0)
  assert.isAtMost(requests, elapsed / 1000 + 2 * attempts + 25, "requests")

  const isHealthy = phases.map(({ who }) => owners[who]?.isHealthy === true)
  const healthyFrom = isHealthy.includes(true) ? lengthOf(phases.slice(0, isHealthy.indexOf(true))) : undefined
  // Between the end of one owner and the bind of the next, the port is free, and the start that waits may bind it first.
  const changes = phases.flatMap(({ who }, index) =>
    index > 0 && who.startsWith("a gateway's") ? [lengthOf(phases.slice(0, index))] : []
  )
  if (what === "serves" && changes.includes(atMillis)) return
  if (how === "standby") {
    assert.strictEqual(what, "serves")
    assert.isAtLeast(atMillis, end)
    return assert.isAtMost(atMillis, end + noticedWithin)
  }
  // An attempt that is running when the health timeout ends is not cut short. It may still probe the port and wait for the lock.
  const lockMillis = phases.some(({ who }) => owners[who]?.isSilent === true) ? Math.min(5000, healthTimeoutMillis) : 0
  const giveUp = Math.max(healthTimeoutMillis, probeMillis) + probeMillis + lockMillis
  switch (what) {
    case "OwnerHealthy":
      // In the phase "a gateway's stopped process", the gateway is healthy for a moment before the test stops its process. So the
      // start may see a healthy owner at the beginning of that phase.
      if (
        phases.some(({ who }, index) =>
          who === "a gateway's stopped process" && lengthOf(phases.slice(0, index)) === atMillis
        )
      ) return
      assert.isDefined(healthyFrom)
      assert.isAtLeast(atMillis, healthyFrom ?? 0)
      return assert.isAtMost(atMillis, (healthyFrom ?? 0) + (healthyFrom === 0 ? stepMillis : noticedWithin))
    case "OwnerUnhealthy":
      assert.notStrictEqual(healthyFrom, 0)
      assert.isAtLeast(atMillis, healthTimeoutMillis)
      assert.isAtMost(atMillis, giveUp + stepMillis)
      return assert.isAtMost(atMillis, Math.min(end, healthyFrom ?? end) + noticedWithin)
    default:
      assert.strictEqual(what, "serves")
      assert.isUndefined(healthyFrom, "a healthy owner is left in control")
      assert.isAtLeast(atMillis, end)
      assert.isAtMost(end, giveUp + noticedWithin)
      return assert.isAtMost(atMillis, end + noticedWithin)
  }
}

describe("waiting, on a simulated host", () => {
  for (const who of Object.keys(owners)) {
    for (const how of ["standby", "external"] as const) {
      simulated(`${how} beside ${who}`, () =>
        Effect.gen(function*() {
          const drawn = { phases: [{ who, steps: 22 }], how, retryMillis: 10_000, healthTimeoutMillis: 60_001 }
          judge(drawn, yield* play(drawn))
        }))
    }
  }

  simulated(
    "a standby that takes the port before the next owner has served from that moment",
    () =>
      Effect.gen(function*() {
        const phases = [{ who: "a gateway's stopped process", steps: 20 }, { who: "a gateway's process", steps: 20 }]
        const drawn = { phases, how: "standby", retryMillis: 250, healthTimeoutMillis: 1 } as const
        judge(drawn, yield* play(drawn))
      })
  )

  simulated.prop(
    "an end is noticed in time, a healthy owner at once, and no other listener gets an idle connection",
    [scenario],
    ([drawn]) => Effect.map(play(drawn), (seen) => judge(drawn, seen)),
    { fastCheck: { numRuns: Math.min(numRuns, 30) } }
  )
})
