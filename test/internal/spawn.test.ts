/**
 * Tests each place in `src` that starts a program. There are three cases: the start throws, the program does not end by itself,
 * or SIGTERM does not end the program.
 */
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Fiber, TestClock } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { loadPlaces } from "virtual:mutants"
import { checkUnits } from "../../src/doctor/UnitAudit.ts"
import * as Programs from "../fixtures/programs.ts"
import { spawnMutants } from "../simulation/mutants.ts"
import { files, type Needs, places as placesIn, unitNeeds } from "./places.ts"

const folder = mkdtempSync(Path.join(tmpdir(), "gateway-lock-spawn-"))
afterAll(() => rmSync(folder, { recursive: true }))
const places = placesIn(folder)

const environment = ConfigProvider.fromMap(
  new Map([["NOTIFY_SOCKET", "/run/systemd/notify"], ["XPC_SERVICE_NAME", "dev.gateway-lock.default"]])
)

const at = <A, E>(place: Effect.Effect<A, E, Needs>, { executor }: Programs.Programs): Effect.Effect<A, E> =>
  place.pipe(
    Effect.provideService(CommandExecutor.CommandExecutor, executor),
    Effect.provideService(FileSystem.FileSystem, files),
    Effect.withConfigProvider(environment)
  )

type Place = readonly [name: string, place: Effect.Effect<unknown, unknown, Needs>]

/** Checks that a place that starts a program has the same result when `spawn` throws as when the program is missing. */
const checkThrowing = ([name, place]: Place) =>
  Effect.gen(function*() {
    const missing = Programs.make(() => ({ isMissing: true }))
    const without = yield* Effect.exit(at(place, missing))
    assert.isNotEmpty(missing.started, "it starts no program")
    // The places of `ServiceManager` use real files, which are slow, so fewer errors are tested there.
    const some = name.startsWith("ServiceManager") ? ["ENOMEM", "UNKNOWN", "ERR_INVALID_ARG_VALUE"] : undefined
    for (const [code, error] of Programs.thrown.filter(([code]) => some?.includes(code) ?? true)) {
      const exit = yield* Effect.exit(at(place, Programs.make(() => ({ throws: error }))))
      assert.strictEqual(exit._tag, without._tag, `${name}: ${code}`)
      if (Exit.isFailure(exit)) {
        assert.isFalse(Cause.isDie(exit.cause), `${name}: ${code}: ${Cause.pretty(exit.cause)}`)
        assert.include(Cause.pretty(exit.cause), error.message.split(" ", 2).join(" "), `${name}: ${code}`)
      } else if (Exit.isSuccess(without)) {
        assert.deepEqual(exit.value, without.value, code)
      }
    }
  })

/**
 * Checks that a program that ignores SIGTERM and does not end is killed after its time limit, and that the caller then goes on.
 * The code that starts the program runs in an uninterruptible region, because the kill must work there as well.
 */
const checkHanging = ([name, place]: Place) =>
  Effect.gen(function*() {
    const hanging = Programs.make(() => ({ lasts: "1 day", ignoresSigterm: true }))
    const looking = yield* Effect.forkDaemon(Effect.exit(at(Effect.uninterruptible(place), hanging)))
    // A place may start several programs, one after the other. One minute is enough for all of them.
    yield* TestClock.adjust("1 minute")
    const exit = yield* Effect.flatMap(Fiber.poll(looking), (exit) => Effect.orDie(exit))
    assert.isTrue(Exit.isSuccess(exit) && (Exit.isSuccess(exit.value) || Cause.isFailType(exit.value.cause)), name)
    assert.isNotEmpty(hanging.started)
    for (const { hasEnded, program, signals } of hanging.started) {
      assert.deepStrictEqual([hasEnded, signals], [true, ["SIGKILL"]], program)
    }
  })

describe("a program whose start throws is as good as missing:", () => {
  it.effect.each(Object.entries(places))("%s", checkThrowing)

  it.effect("systemd-notify, which doctor asks for its version", () =>
    Effect.gen(function*() {
      const stdout = "LoadState=loaded\nActiveState=active\nType=notify\n"
      const findings = (notify: Programs.Behaviour) =>
        at(
          checkUnits("gateway-default.service", unitNeeds),
          Programs.make((program) => program === "systemctl" ? { stdout } : notify)
        )
      const without = yield* findings({ isMissing: true })
      for (const [code, error] of Programs.thrown) {
        assert.deepEqual(yield* findings({ throws: error }), without, code)
      }
    }))

  it.effect("a defect of another kind stays one", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(
        at(
          places["PortOwners by lsof"] ?? Effect.void,
          Programs.make(() => ({ throws: new TypeError("undefined is not a function") }))
        )
      )
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
    }))
})

describe("a program that does not end is left after its time, and killed:", () => {
  // `ServiceManager` reads and writes real files, and `TestClock` does not wait for that. So the one minute of `checkHanging`
  // would be over before the program starts.
  it.effect.each(Object.entries(places).filter(([name]) => !name.startsWith("ServiceManager")))("%s", checkHanging)
})

describe("a mistake is caught at every place:", () => {
  it.effect.each(spawnMutants.map(({ name }) => name))("%s", (mutant) =>
    Effect.gen(function*() {
      const { places } = yield* Effect.promise(() => loadPlaces[mutant]?.() ?? Promise.reject(new Error(mutant)))
      // `ServiceManager` is always excepted, because it uses real files, for which `TestClock` does not wait. PowerShell is excepted
      // for the mistake whose name ends in `is waited for`: a caller waits for the end of a program that hangs. The test cannot find
      // this mistake with PowerShell, because the caller runs PowerShell in the background and never waits for its end.
      const excepted = mutant.endsWith("is waited for") ? /^ServiceManager|PowerShell$/ : /^ServiceManager/
      for (const place of Object.entries(places(folder)).filter(([name]) => !excepted.test(name))) {
        const checked = yield* Effect.exit(
          mutant === "a spawn that is not caught" ? checkThrowing(place) : checkHanging(place)
        )
        assert.isTrue(Exit.isFailure(checked), place[0])
      }
    }))
})
