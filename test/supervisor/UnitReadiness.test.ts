import { CommandExecutor, FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Either, Fiber, TestClock } from "effect"
import * as UnitReadiness from "../../src/supervisor/UnitReadiness.ts"
import * as Programs from "../fixtures/programs.ts"

/** Asks for the unit `web.service` with a systemctl that behaves as given. Returns the error, if any. */
const faultWith = (programs: Programs.Programs, kind: "systemd" | "none" = "systemd") =>
  UnitReadiness.make(7, { kind, reason: "by a test" }).pipe(
    Effect.provideService(CommandExecutor.CommandExecutor, programs.executor),
    Effect.provide(FileSystem.layerNoop({ readFileString: () => Effect.succeed("0::/system.slice/web.service\n") })),
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["NOTIFY_SOCKET", "/run/notify"]]))),
    Effect.either,
    Effect.map((made) => Either.isLeft(made) ? made.left : undefined)
  )

const suitable = "Type=notify\nNotifyAccess=all\nActiveState=activating\n"

describe("the readiness of a systemd unit", () => {
  it.effect("is unknown, and not a refused setting, if systemctl fails for some seconds", () =>
    Effect.gen(function*() {
      const programs = Programs.make(() => ({ status: 1, stdout: "" }))
      const made = yield* Effect.fork(faultWith(programs))
      yield* TestClock.adjust("1 minute")
      const fault = yield* Fiber.join(made)
      assert.strictEqual(fault?._tag, "NotifyUnknown")
      assert.strictEqual(
        fault?.message,
        "--ready notify got no answer: systemctl does not show the unit web.service; see why with: systemctl show web.service"
      )
      assert.strictEqual(programs.started.length, 6)
    }))

  it.effect("is known once systemctl answers", () =>
    Effect.gen(function*() {
      let asked = 0
      const programs = Programs.make(() => (asked += 1) < 3 ? { status: 1, stdout: "" } : { stdout: suitable })
      const made = yield* Effect.fork(faultWith(programs))
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(yield* Fiber.join(made))
    }))

  it.effect("is refused for a unit whose messages systemd ignores, and outside of systemd", () =>
    Effect.gen(function*() {
      const main = Programs.make(() => ({ stdout: suitable.replace("all", "main") }))
      assert.match((yield* faultWith(main))?.message ?? "", /NotifyAccess=main, so systemd ignores messages/)
      const unasked = Programs.make(() => ({ stdout: suitable }))
      assert.strictEqual((yield* faultWith(unasked, "none"))?._tag, "NotifyUnusable")
      assert.strictEqual(unasked.started.length, 0)
    }))
})
