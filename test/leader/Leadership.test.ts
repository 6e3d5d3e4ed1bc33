import { assert, describe } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Scope, TestClock } from "effect"
import type { LeadershipLost } from "../../src/GatewayLockError.ts"
import * as HighestToken from "../../src/leader/HighestToken.ts"
import * as Leadership from "../../src/leader/Leadership.ts"
import { LeaseStore } from "../../src/leader/LeaseStore.ts"
import type { SimulatedProcess } from "../../src/testing/SimulatedHost.ts"
import * as SimulatedLeaseStore from "../../src/testing/SimulatedLeaseStore.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

type Leading = Leadership.Leadership["Type"]

/** A process on a host of its own that leads as long as it can. `leader` is its leadership once it leads. */
const candidate = (
  store: SimulatedLeaseStore.SimulatedLeaseStore,
  name: string,
  options: Leadership.LeadershipOptions = {},
  work: (leader: Leading) => Effect.Effect<unknown> = () => Effect.void
) =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    const led = yield* Deferred.make<Leading>()
    let acquiredAt: number | undefined
    const clock = yield* Effect.clock
    const program = Effect.gen(function*() {
      const leader = yield* Leadership.make(options)
      acquiredAt = clock.unsafeCurrentTimeMillis()
      yield* Deferred.succeed(led, leader)
      yield* Effect.fork(leader.whileLeader(work(leader)))
      return yield* leader.lost
    }).pipe(Effect.scoped, Effect.provide(store.link(name).layer))
    const process = yield* host.spawn(program)
    return { host, process, link: store.link(name), leader: Deferred.await(led), acquiredAt: () => acquiredAt }
  })

const adjust = (seconds: number) => TestClock.adjust(Duration.seconds(seconds))
const now = Effect.map(Effect.clock, (clock) => clock.unsafeCurrentTimeMillis())

const lossOf = (process: SimulatedProcess<never, unknown>) =>
  Effect.map(
    process.poll,
    (exit) => exit.pipe(Option.flatMap(Exit.causeOption), Option.map(String), Option.getOrUndefined)
  )

const tokens = (store: SimulatedLeaseStore.SimulatedLeaseStore) =>
  store.journal().filter(({ what }) => what === "granted").map(({ fencingToken }) => fencingToken)

describe("a leader", () => {
  simulated(
    "waits for the duration of a lease that it has created, because it may have existed before",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const one = yield* candidate(store, "one")
        yield* adjust(17.9)
        assert.isUndefined(one.acquiredAt())
        // It creates the lease at 0 s, sees it at 3 s, and waits for 15 s.
        yield* adjust(0.1)
        assert.strictEqual(one.acquiredAt(), 18_000)
        assert.lengthOf(tokens(store), 1)
      })
  )

  simulated(
    "keeps its lease for an hour without a fault, with one statement in each renew interval",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const statements: Array<string> = []
        yield* store.setIntercept(({ host, name }) =>
          Effect.sync(() => {
            statements.push(`${host} ${name}`)
            return { requestDelay: 20, answerDelay: 20 }
          })
        )
        const one = yield* candidate(store, "one")
        yield* adjust(30)
        const two = yield* candidate(store, "two")
        yield* adjust(30)
        statements.length = 0
        yield* adjust(3600)
        assert.isTrue(one.process.isRunning())
        assert.isUndefined(two.acquiredAt())
        const count = (what: string) => statements.filter((statement) => statement === what).length
        assert.isAtMost(count("one renew"), 1201)
        assert.isAtLeast(count("one renew"), 1190)
        assert.isAtMost(count("two look"), 1201)
        assert.strictEqual(count("one renew") + count("two look"), statements.length)
      }),
    120_000
  )

  simulated("that ends releases its lease, and a candidate leads after one round trip", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      yield* store.setIntercept(() => Effect.succeed({ requestDelay: 5, answerDelay: 5 }))
      const one = yield* candidate(store, "one")
      yield* adjust(20)
      const two = yield* candidate(store, "two")
      yield* adjust(31.5)
      yield* one.process.interrupt
      yield* adjust(1)
      // The release takes 5 ms, then a look and an acquisition 10 ms each.
      assert.strictEqual(two.acquiredAt(), 51_525)
      assert.strictEqual((yield* two.leader).fencingToken, tokens(store)[1])
    }))

  simulated("that ends is succeeded within a renew interval if no hint arrives", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      yield* store.setHints(false)
      const one = yield* candidate(store, "one")
      yield* adjust(20)
      const two = yield* candidate(store, "two")
      yield* adjust(31.5)
      yield* one.process.interrupt
      yield* adjust(3)
      assert.isAtMost(two.acquiredAt() ?? Number.POSITIVE_INFINITY, 54_500)
    }))

  simulated(
    "that crashes is succeeded after the duration of the lease, within the documented bound",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const one = yield* candidate(store, "one")
        yield* adjust(20)
        const two = yield* candidate(store, "two")
        yield* adjust(31.5)
        yield* one.process.kill
        yield* adjust(15)
        assert.isUndefined(two.acquiredAt())
        yield* adjust(5)
        assert.isAtMost(two.acquiredAt() ?? Number.POSITIVE_INFINITY, 71_500)
      })
  )

  simulated("that is cut off stops by itself before another host leads", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const one = yield* candidate(store, "one")
      yield* adjust(20)
      const two = yield* candidate(store, "two")
      yield* adjust(30)
      const renewed = store.journal().filter(({ what }) => what === "renewed").at(-1)?.at ?? 0
      yield* one.link.cut()
      yield* adjust(30)
      assert.include(
        yield* lossOf(one.process),
        "LeadershipLost: lost leadership of default: it was not renewed within 10s"
      )
      assert.isAtLeast(two.acquiredAt() ?? 0, renewed + 15_000)
    }))

  simulated(
    "retries a renewal that fails, and a store that is down for less than the deadline costs nothing",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const one = yield* candidate(store, "one")
        yield* adjust(20)
        yield* store.stop
        yield* adjust(6)
        yield* store.start
        yield* adjust(60)
        assert.isTrue(one.process.isRunning())
      })
  )

  simulated(
    "that was stopped for long neither renews nor accepts an answer when it continues",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const one = yield* candidate(store, "one")
        yield* adjust(20)
        yield* store.setIntercept(({ name }) => Effect.succeed(name === "renew" ? { answerDelay: 100 } : {}))
        // The answer to a renewal arrives while the process is stopped.
        yield* adjust(1.05)
        yield* one.process.freeze
        yield* adjust(20)
        const renewals = store.journal().length
        yield* one.process.resume
        yield* adjust(0.1)
        assert.include(yield* lossOf(one.process), "it was not renewed within 10s")
        assert.deepStrictEqual(store.journal().slice(renewals).map(({ what }) => what), ["released"])
      })
  )

  simulated("is asked to hand over, and hands over", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const one = yield* candidate(store, "one")
      yield* adjust(20)
      const two = yield* candidate(store, "two")
      yield* adjust(10)
      const { fencingToken } = yield* one.leader
      assert.isFalse(yield* two.link.store.requestResign("default", fencingToken + 1n))
      assert.isTrue(yield* two.link.store.requestResign("default", fencingToken))
      yield* adjust(1)
      assert.include(yield* lossOf(one.process), "another process asked the leader to hand over")
      assert.strictEqual(two.acquiredAt(), 30_000)
    }))
})

describe("Leadership.whileLeader", () => {
  const led = (stopTimeout: Duration.DurationInput = "4 seconds") =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const link = store.link("one")
      const scope = yield* Scope.make()
      const making = yield* Effect.forkDaemon(
        Scope.extend(Effect.provide(Leadership.make({ lease: { stopTimeout } }), link.layer), scope)
      )
      yield* adjust(20)
      return { store, link, scope, leader: yield* Fiber.join(making) }
    })

  simulated("interrupts its effect at the loss, and fails with the loss", () =>
    Effect.gen(function*() {
      const { leader, link } = yield* led()
      let stoppedAt = 0
      const running = yield* Effect.forkDaemon(
        Effect.flip(leader.whileLeader(Effect.onInterrupt(Effect.never, () =>
          Effect.map(now, (at) => {
            stoppedAt = at
          }))))
      )
      yield* link.cut()
      yield* adjust(20)
      assert.strictEqual((yield* Fiber.join(running))._tag, "LeadershipLost")
      // Acquired at 18 s, and never renewed since.
      assert.strictEqual(stoppedAt, 28_000)
    }))

  simulated(
    "ends in time for an effect that does not stop, and does not release its lease",
    () =>
      Effect.gen(function*() {
        const { leader, link, scope, store } = yield* led()
        const over = yield* Deferred.make<void>()
        const running = yield* Effect.forkDaemon(
          Effect.exit(leader.whileLeader(Effect.uninterruptible(Deferred.await(over))))
        )
        yield* link.cut("answers")
        yield* adjust(11.9)
        assert.isTrue(Option.isNone(yield* Fiber.poll(running)))
        yield* adjust(0.1)
        assert.isTrue(Option.isSome(yield* Fiber.poll(running)))
        yield* link.heal
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Option.isSome(Option.flatMap(store.lease("default"), ({ holderId }) => holderId)))
        yield* Deferred.succeed(over, undefined)
      })
  )

  simulated("starts nothing after the deadline, even before a timer has run", () =>
    Effect.gen(function*() {
      const { leader } = yield* led()
      yield* leader.resign
      let hasRun = false
      const failed = yield* Effect.flip(leader.whileLeader(Effect.sync(() => {
        hasRun = true
      })))
      assert.strictEqual(failed.message, "lost leadership of default: it was handed over")
      assert.isFalse(hasRun)
      const alsoFailed: LeadershipLost = yield* Effect.flip(leader.check)
      assert.strictEqual(alsoFailed.fencingToken, leader.fencingToken)
    }))

  simulated("gives the value and the errors of its effect while it leads", () =>
    Effect.gen(function*() {
      const { leader } = yield* led()
      assert.strictEqual(yield* leader.whileLeader(Effect.succeed(7)), 7)
      assert.strictEqual(yield* Effect.flip(leader.whileLeader(Effect.fail("mine"))), "mine")
      yield* leader.check
    }))
})

describe("a candidate", () => {
  simulated(
    "that is interrupted while it acquires waits for the answer, and releases what it got",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        yield* store.setIntercept(({ name }) => Effect.succeed(name === "acquire" ? { answerDelay: 1000 } : {}))
        const one = yield* candidate(store, "one")
        yield* adjust(18.5)
        assert.lengthOf(tokens(store), 1)
        yield* one.process.interrupt
        yield* adjust(1)
        assert.isFalse(one.process.isRunning())
        assert.deepStrictEqual(
          Option.map(store.lease("default"), ({ holderId }) => holderId),
          Option.some(Option.none())
        )
      })
  )

  simulated("releases an own grant whose answer was lost, and never adopts it", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      let lost = 0
      yield* store.setIntercept(({ name }) =>
        Effect.sync(() => name === "acquire" && lost++ === 0 ? { outcome: "answer lost" as const } : {})
      )
      const one = yield* candidate(store, "one")
      yield* adjust(30)
      const [first, second] = tokens(store)
      assert.strictEqual((yield* one.leader).fencingToken, second)
      assert.isTrue(second !== undefined && first !== undefined && second > first)
      assert.include(store.journal().map(({ what }) => what), "released")
    }))

  simulated(
    "refuses to lead if the store refuses it, or with times that do not fit together",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const invalid = yield* candidate(store, "one", { lease: { name: "x", duration: "5 seconds" } })
        yield* adjust(1)
        assert.include(
          yield* lossOf(invalid.process),
          "LeaseUnavailable: failed to use lease x at simulated://store: lease.renewDeadline + lease.stopTimeout"
        )
      })
  )

  simulated(
    "refuses a lease that was restored from a backup, by the token that its host remembers",
    () =>
      Effect.gen(function*() {
        const store = yield* SimulatedLeaseStore.make
        const host = yield* makeHost()
        const path = "/token"
        const program = Effect.gen(function*() {
          const { lost } = yield* Leadership.make()
          return yield* lost
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(store.link("one").layer, HighestToken.layerFile(path))))
        const first = yield* host.spawn(program)
        yield* adjust(20)
        const restore = yield* store.backup
        yield* first.interrupt
        yield* adjust(1)
        const second = yield* host.spawn(program)
        yield* adjust(5)
        yield* second.interrupt
        yield* adjust(1)
        const highest = tokens(store).at(-1)
        assert.strictEqual(yield* host.files.readFileString(path).pipe(Effect.orDie), `${highest}\n`)
        yield* restore
        const third = yield* host.spawn(program)
        yield* adjust(20)
        assert.include(yield* lossOf(third), `is not above ${highest}, which this host has seen`)
      })
  )

  simulated("says so if its host has a file without a token", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const host = yield* makeHost()
      yield* Effect.orDie(host.files.writeFileString("/token", "seven\n"))
      const process = yield* host.spawn(
        Effect.scoped(Leadership.make()).pipe(
          Effect.provide(Layer.merge(store.link("one").layer, HighestToken.layerFile("/token")))
        )
      )
      yield* adjust(1)
      const exit = yield* process.exit
      assert.include(String(exit), "/token has no fencing token: expected a decimal number")
    }))

  simulated("reports what it sees and then what it does", () =>
    Effect.gen(function*() {
      const store = yield* SimulatedLeaseStore.make
      const states: Array<string> = []
      const one = yield* candidate(store, "one", {
        onChange: ({ _tag }) => Effect.sync(() => states.push(_tag)),
        holder: { pid: 7 }
      })
      yield* adjust(18)
      const { current } = { current: yield* Effect.flatMap(one.leader, ({ changes }) => changes) }
      assert.strictEqual(current.value._tag, "Leader")
      assert.deepStrictEqual(Option.map(store.lease("default"), ({ holder }) => holder), Option.some({ pid: 7 }))
      yield* one.process.interrupt
      yield* adjust(1)
      assert.deepStrictEqual([...new Set(states)], ["Candidate", "Leader", "Released"])
      yield* LeaseStore.pipe(Effect.provide(one.link.layer))
    }))
})
