import * as CommandExecutor from "@effect/platform/CommandExecutor"
import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Duration, Effect, Fiber, Logger, Ref, TestClock } from "effect"
import * as Supervisor from "../../src/supervisor/Supervisor.ts"
import * as SystemdNotify from "../../src/supervisor/SystemdNotify.ts"
import * as Programs from "../fixtures/programs.ts"

const seconds = (...at: ReadonlyArray<number>) => at.map((second) => second * 1000)

/** A layer whose logger adds each log message to `lines`. */
const logged = (lines: Array<string>) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ message }) => {
      lines.push(String(message))
    })
  )

const notifying = (programs: Programs.Programs) =>
  SystemdNotify.make(1).pipe(
    Effect.provideService(Supervisor.Supervisor, { kind: "systemd", reason: "for a test" }),
    Effect.provideService(CommandExecutor.CommandExecutor, programs.executor),
    Effect.withConfigProvider(
      ConfigProvider.fromMap(new Map([["NOTIFY_SOCKET", "/run/systemd/notify"], ["WATCHDOG_USEC", "20000000"]]))
    )
  )

const enomem = Programs.thrown.find(([code]) => code === "ENOMEM")?.[1]

describe("the watchdog", () => {
  const interval = Duration.seconds(20)

  /** The times at which the watchdog is fed. `keepFed` runs for 39 seconds, which is almost two intervals. */
  const fedAt = (feed: (count: number) => Effect.Effect<boolean>) =>
    Effect.gen(function*() {
      const at = yield* Ref.make<ReadonlyArray<number>>([])
      const once = Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const before = yield* Ref.getAndUpdate(at, (at) => [...at, now])
        return yield* feed(before.length)
      })
      const feeding = yield* Effect.fork(SystemdNotify.keepFed(interval, once))
      yield* TestClock.adjust("39 seconds")
      yield* Fiber.interrupt(feeding)
      return yield* Ref.get(at)
    })

  it.effect("is fed at half of its interval", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* fedAt(() => Effect.succeed(true)), seconds(0, 10, 20, 30))
    }))

  it.effect.each<[string, Effect.Effect<boolean>, ReadonlyArray<number>]>([
    ["fails", Effect.succeed(false), seconds(0, 10, 12.5, 22.5, 32.5)],
    ["dies", Effect.die(enomem), seconds(0, 10, 12.5, 22.5, 32.5)],
    ["does not end", Effect.never, seconds(0, 10, 17.5, 27.5, 37.5)]
  ])("is fed again before its interval has passed where a feed %s", ([, second, at]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* fedAt((count) => count === 1 ? second : Effect.succeed(true)), at)
    }))

  it.effect("is fed again by the next systemd-notify where the start of one throws, with a warning", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      let count = 0
      const programs = Programs.make(() => {
        count += 1
        return count === 2 || count === 4 ? { throws: enomem } : {}
      })
      const { notify } = yield* notifying(programs)
      const feeding = yield* SystemdNotify.keepFed(interval, notify("WATCHDOG=1")).pipe(
        Effect.provide(logged(lines)),
        Effect.fork
      )
      yield* TestClock.adjust("39 seconds")
      yield* Fiber.interrupt(feeding)
      assert.deepStrictEqual(programs.started.map(({ at }) => at), seconds(0, 10, 12.5, 22.5, 25, 35))
      assert.deepStrictEqual(lines, Array(2).fill("cannot notify systemd: systemd-notify: spawn ENOMEM"))
    }))
})

describe("a message that cannot be sent", () => {
  it.effect("is a warning, again after one that was sent, and for another reason", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const answers: Array<Programs.Behaviour> = [
        { throws: enomem },
        { throws: enomem },
        {},
        { throws: enomem },
        { status: 1 },
        { isMissing: true },
        {}
      ]
      const programs = Programs.make(() => answers.shift() ?? {})
      const { notify } = yield* notifying(programs)
      const sent = yield* Effect.provide(Effect.replicateEffect(notify("READY=1"), 7), logged(lines))
      assert.deepStrictEqual(sent, [false, false, true, false, false, false, true])
      assert.deepStrictEqual(lines, [
        "cannot notify systemd: systemd-notify: spawn ENOMEM",
        "cannot notify systemd: systemd-notify: spawn ENOMEM",
        "cannot notify systemd: systemd-notify exited with status 1",
        "cannot notify systemd: systemd-notify: spawn systemd-notify ENOENT"
      ])
    }))

  it.effect("does not hold up a shutdown, though systemd-notify hangs and nothing can be interrupted", () =>
    Effect.gen(function*() {
      const programs = Programs.make(() => ({ lasts: "1 hour", ignoresSigterm: true }))
      const { notify } = yield* notifying(programs)
      const ending = yield* Effect.fork(Effect.uninterruptible(notify("STATUS=stopped")))
      yield* TestClock.adjust("5 seconds")
      assert.isFalse(yield* Fiber.join(ending))
      assert.deepStrictEqual(programs.started.map(({ hasEnded, signals }) => [hasEnded, signals]), [[true, [
        "SIGKILL"
      ]]])
    }))
})
