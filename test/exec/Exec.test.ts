/**
 * Runs simulated commands. Each run draws at random when the command ends, which signals arrive, and when the lock is lost.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, FastCheck as fc, Fiber, Queue, Ref, TestClock } from "effect"
import { environmentOf } from "../../src/cli/exec.ts"
import { parseTerminal } from "../../src/host/ReceivedSignals.ts"
import { simulated } from "../fixtures/simulated.ts"
import * as World from "./world.ts"

const time = fc.integer({ min: 1, max: 60_000 })
const maybe = <A>(values: fc.Arbitrary<A>) => fc.option(values, { nil: undefined })

const behaviour: fc.Arbitrary<World.Behaviour> = fc.record({
  lifetime: maybe(time),
  status: fc.integer({ min: 0, max: 255 }),
  termDelay: maybe(fc.integer({ min: 0, max: 20_000 })),
  daemon: maybe(time),
  readyAfter: maybe(time)
})

/** The signals of a terminal's keys, and one signal that no key sends. */
const keys: ReadonlyArray<NodeJS.Signals> = ["SIGINT", "SIGQUIT", "SIGTSTP", "SIGTERM"]

/** Signals that do not end the simulated command. So a test can check that the command gets them in the order of sending. */
const harmless = fc.constantFrom<NodeJS.Signals>("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGINT")

const events = fc.array(
  fc.oneof(
    fc.record({ _tag: fc.constant("Signal" as const), at: time, signal: harmless }),
    { arbitrary: fc.record({ _tag: fc.constant("Lost" as const), at: time }), weight: 1 },
    { arbitrary: fc.record({ _tag: fc.constant("Interrupt" as const), at: time }), weight: 1 }
  ),
  { maxLength: 6 }
).map((events) => events.toSorted((a, b) => a.at - b.at))

/**
 * The longest time that a stop may take, in milliseconds. After SIGTERM, the stop waits for 10,000 (`stopTimeout`), and sends
 * SIGKILL to the command and its descendants. It then waits for 100. If daemons of the command are left, it sends SIGKILL to them
 * too, and waits for their end for 2000.
 */
const longestStop = 10_000 + 100 + 2000

const play = (behaviour: World.Behaviour, drawn: typeof events extends fc.Arbitrary<infer E> ? E : never) =>
  Effect.gen(function*() {
    const world = yield* World.make(behaviour)
    const running = yield* world.run()
    yield* TestClock.adjust(0)
    const expected: Array<string> = []
    let stoppedAt: number | undefined
    let at = 0
    for (const event of drawn) {
      yield* TestClock.adjust(Duration.millis(event.at - at))
      at = event.at
      const isOver = yield* World.isOver(running)
      switch (event._tag) {
        case "Signal":
          if (!isOver && stoppedAt === undefined && (yield* world.alive).size > 0) {
            yield* Queue.offer(world.signals, event.signal)
            if ((yield* world.alive).has(1000)) expected.push(event.signal)
            yield* TestClock.adjust(0)
          }
          break
        case "Lost":
          if (!isOver) stoppedAt ??= at
          yield* world.lose
          yield* TestClock.adjust(0)
          break
        case "Interrupt":
          if (!isOver) stoppedAt ??= at
          yield* Fiber.interruptFork(running)
          yield* TestClock.adjust(0)
          break
      }
    }
    return { world, running, expected, stoppedAt, at }
  })

describe("a command under the lock", () => {
  simulated.prop(
    "is stopped with all that it started, when the lock is lost or the wrapper is interrupted",
    [behaviour, events],
    ([behaviour, drawn]) =>
      Effect.gen(function*() {
        const { at, running, stoppedAt, world } = yield* play(behaviour, drawn)
        if (stoppedAt === undefined) return
        yield* TestClock.adjust(Duration.millis(Math.max(0, stoppedAt + longestStop - at)))
        assert.isTrue(yield* World.isOver(running))
        assert.deepStrictEqual([...yield* world.alive], [])
        const kills = world.sent.filter(({ signal }) => signal === "SIGKILL")
        for (const kill of kills) assert.isAtLeast(kill.at, stoppedAt + 10_000)
      })
  )

  simulated.prop(
    "gets each signal once and in order, while it lives",
    [behaviour, events],
    ([behaviour, drawn]) =>
      Effect.gen(function*() {
        const { expected, world } = yield* play(behaviour, drawn)
        const relayed = world.sent.filter(({ signal, to }) => to === "child" && signal !== "SIGKILL")
        assert.deepStrictEqual(relayed.map(({ signal }) => signal), expected)
      })
  )

  simulated.prop(
    "keeps the lock until the last process has ended, and passes its status on",
    [behaviour],
    ([behaviour]) =>
      Effect.gen(function*() {
        const world = yield* World.make(behaviour)
        const running = yield* world.run()
        const end = Math.max(behaviour.lifetime ?? Number.POSITIVE_INFINITY, behaviour.daemon ?? 0)
        if (end === Number.POSITIVE_INFINITY) {
          yield* TestClock.adjust("5 minutes")
          assert.isFalse(yield* World.isOver(running))
          return yield* Fiber.interruptFork(running)
        }
        yield* TestClock.adjust(Duration.millis(end - 1))
        assert.isFalse(yield* World.isOver(running))
        yield* TestClock.adjust(Duration.millis(1))
        yield* TestClock.adjust(Duration.millis(100))
        assert.deepStrictEqual(
          yield* Fiber.await(running),
          Exit.succeed({ _tag: "Exited" as const, status: behaviour.status })
        )
      })
  )
})

const quiet: World.Behaviour = {
  lifetime: undefined,
  status: 0,
  termDelay: 5,
  daemon: undefined,
  readyAfter: undefined
}

describe("processes that a command leaves behind", () => {
  const daemon: World.Behaviour = { ...quiet, daemon: 3_600_000 }

  simulated("are stopped if a signal has asked the wrapper to end", () =>
    Effect.gen(function*() {
      const world = yield* World.make(daemon)
      const running = yield* world.run()
      yield* TestClock.adjust(0)
      yield* Queue.offer(world.signals, "SIGTERM")
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(
        world.sent.map(({ signal, to }) => `${signal} ${to}`).filter((sent) => sent.startsWith("SIGTERM")),
        ["SIGTERM child", "SIGTERM daemon"]
      )
      assert.isFalse(yield* World.isOver(running))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual([...yield* world.alive], [])
      assert.deepStrictEqual(
        yield* Fiber.await(running),
        Exit.succeed({ _tag: "Signalled" as const, signal: "SIGTERM" as const })
      )
    }))

  simulated(
    "are not stopped by SIGHUP, which many programs take as a request to read their configuration again",
    () =>
      Effect.gen(function*() {
        const world = yield* World.make({ ...daemon, lifetime: 1000 })
        const running = yield* world.run()
        yield* TestClock.adjust(0)
        yield* Queue.offer(world.signals, "SIGHUP")
        yield* TestClock.adjust("50 minutes")
        assert.isFalse(yield* World.isOver(running))
        yield* TestClock.adjust("11 minutes")
        assert.deepStrictEqual(yield* Fiber.await(running), Exit.succeed({ _tag: "Exited" as const, status: 0 }))
      })
  )
})

describe("the keys of a terminal", () => {
  for (const [terminal, relayed] of [["Foreground", ["SIGTERM"]], ["Background", keys], ["None", keys]] as const) {
    simulated(
      `are ${terminal === "Foreground" ? "not " : ""}relayed if the terminal is: ${terminal}`,
      () =>
        Effect.gen(function*() {
          const world = yield* World.make(quiet, { terminal })
          yield* world.run()
          yield* TestClock.adjust(0)
          for (const signal of keys) yield* Queue.offer(world.signals, signal)
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(world.sent.map(({ signal }) => signal), [...relayed])
          assert.strictEqual(world.specs[0]?.newSession, terminal === "None")
        })
    )
  }
})

describe("readiness", () => {
  const readiness = (mode: "none" | "report" | "require") => ({
    mode,
    rule: "it does not listen on port 1",
    isReady: () => Effect.succeed(false),
    describe: () => Effect.succeed(""),
    startTimeout: Duration.seconds(30)
  })
  const phases = (world: { readonly changes: ReadonlyArray<{ readonly phase?: string }> }) =>
    world.changes.flatMap(({ phase }) => phase ?? [])

  simulated("that is required and does not come in time stops the command", () =>
    Effect.gen(function*() {
      const world = yield* World.make(quiet)
      const running = yield* world.run({ readiness: readiness("require") })
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual(world.sent, [])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([...yield* world.alive], [])
      const failure = yield* Effect.flip(Fiber.join(running))
      assert.strictEqual(failure._tag, "NotReady")
      assert.deepStrictEqual(phases(world), [])
    }))

  /** Counts how often the command was ready, and how often it was late. */
  const counted = Effect.map(Effect.all([Ref.make(0), Ref.make(0)]), ([ready, late]) => ({
    onReady: Ref.update(ready, (count) => count + 1),
    onLate: Ref.update(late, (count) => count + 1),
    counts: Effect.all([Ref.get(ready), Ref.get(late)])
  }))

  simulated(
    "that is only reported lets the command run on, and says once that it is late",
    () =>
      Effect.gen(function*() {
        const world = yield* World.make(quiet)
        const { counts, ...options } = yield* counted
        const running = yield* world.run({ ...options, readiness: readiness("report") })
        yield* TestClock.adjust("29 seconds")
        assert.deepStrictEqual(yield* counts, [0, 0])
        yield* TestClock.adjust("5 minutes")
        assert.isFalse(yield* World.isOver(running))
        assert.deepStrictEqual(phases(world), [])
        assert.deepStrictEqual(yield* counts, [0, 1])
      })
  )

  simulated("that comes in time is not late, and one that is required never is", () =>
    Effect.gen(function*() {
      const world = yield* World.make({ ...quiet, readyAfter: 1000 })
      const { counts, ...options } = yield* counted
      yield* world.run(options)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* counts, [1, 0])
      const other = yield* World.make(quiet)
      const required = yield* other.run({ ...options, readiness: readiness("require") })
      yield* TestClock.adjust("5 minutes")
      assert.isTrue(yield* World.isOver(required))
      assert.deepStrictEqual(yield* counts, [1, 0])
    }))

  simulated("is there at once if there is no rule", () =>
    Effect.gen(function*() {
      const world = yield* World.make(quiet)
      yield* world.run({ readiness: readiness("none") })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(phases(world), ["listening"])
    }))
})

describe("a command that is started", () => {
  simulated("inherits the lock's descriptors, and is in the record before it is ready", () =>
    Effect.gen(function*() {
      const world = yield* World.make({ ...quiet, readyAfter: 0 })
      yield* world.run()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(world.specs[0]?.inherits, [7, 8])
      assert.deepStrictEqual(world.changes, [
        { child: { pid: 1000, startTime: 5 }, inheritsLock: true },
        { phase: "listening" }
      ])
    }))

  simulated("inherits none with --no-inherit-lock", () =>
    Effect.gen(function*() {
      const world = yield* World.make(quiet)
      yield* world.run({ inheritsLock: false })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(world.specs[0]?.inherits, [])
    }))
})

describe("the environment of a command", () => {
  const own = {
    PATH: "/bin",
    GATEWAY_TOKEN: "secret",
    GATEWAY_LEASE_URL: "postgresql://user:secret@db",
    NOTIFY_SOCKET: "/run/systemd/notify",
    WATCHDOG_PID: "1",
    LISTEN_FDS: "1",
    UNSET: undefined
  }
  it("has the port, and neither secrets nor what is meant for this process", () => {
    assert.deepStrictEqual(environmentOf(own, 3000, false), { PATH: "/bin", PORT: "3000" })
    assert.deepStrictEqual(environmentOf(own, undefined, false), { PATH: "/bin" })
  })
  it("has systemd's socket under systemd", () => {
    assert.deepStrictEqual(environmentOf(own, undefined, true), { PATH: "/bin", NOTIFY_SOCKET: "/run/systemd/notify" })
  })
})

describe("/proc/<pid>/stat", () => {
  const stat = (group: number, terminal: number, foreground: number) =>
    `12 (a b) c) S 11 ${group} 10 ${terminal} ${foreground} 4194560 0`
  it.each(
    [["None", stat(12, 0, -1)], ["Foreground", stat(12, 34816, 12)], ["Background", stat(12, 34816, 13)]] as const
  )(
    "tells a terminal: %s",
    (expected, text) => assert.strictEqual(parseTerminal(text), expected)
  )
})
