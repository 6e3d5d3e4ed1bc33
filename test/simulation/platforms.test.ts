import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit } from "effect"
import * as Fs from "node:fs"
import { HostPlatform } from "../../src/host/HostPlatform.ts"
import { callsOf, makeHost, platform, platformSetting } from "../fixtures/simulated.ts"

const said = (entries: ReadonlyArray<readonly [name: string, value: string]>) =>
  platformSetting.pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(entries))),
    Effect.mapError(String)
  )

const tests = new URL("..", import.meta.url)

/** All test files except this one, with their text. */
const sources = Fs.readdirSync(tests, { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts") && path !== "simulation/platforms.test.ts")
  .map((path) => ({ path, text: Fs.readFileSync(new URL(path, tests), "utf8") }))

describe("the simulated suite", () => {
  it.effect("runs by the rules of the platform that is named, of Linux if none is, and refuses others by name", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* said([]), "linux")
      for (const name of ["linux", "darwin", "win32"] as const) {
        assert.strictEqual(yield* said([["GATEWAY_SIMULATED_PLATFORM", name]]), name)
      }
      for (const name of ["freebsd", "Linux", "windows", ""]) {
        const refusal = yield* Effect.flip(said([["GATEWAY_SIMULATED_PLATFORM", name]]))
        assert.include(refusal, "GATEWAY_SIMULATED_PLATFORM")
        assert.include(refusal, "linux, darwin, win32")
        assert.include(refusal, `"${name}"`)
      }
    }))

  it.effect("has hosts of that platform", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const process = yield* host.spawn(HostPlatform)
      assert.deepStrictEqual(yield* process.exit, Exit.succeed(platform))
    }))

  it("tries every system call on Linux, and elsewhere some of all", () => {
    const all = Array.from({ length: 40 }, (_, index) => index + 1)
    const tried = new Set(all.flatMap((_, turn) => callsOf(40, turn)))
    assert.deepStrictEqual([...tried].toSorted((a, b) => a - b), all)
    assert.isNotEmpty(callsOf(1))
    if (platform === "linux") assert.deepStrictEqual(callsOf(40), all)
  })

  it("leaves the platform to the setting wherever a test does not choose one", () => {
    const linuxAlone = sources.filter(({ path, text }) =>
      path.endsWith(".test.ts") && !path.startsWith("examples/") && /\bSimulatedHost\.make\b(?!With)/.test(text)
    )
    assert.deepStrictEqual(linuxAlone.map(({ path }) => path), [], "use makeHost of test/fixtures/simulated.ts")
  })
})

describe("a test that this machine cannot run", () => {
  it("says in its title what it misses", () => {
    const silent = sources.flatMap(({ path, text }) =>
      path === "fixtures/skips.ts"
        ? []
        : [...text.matchAll(/\.(?:skipIf|runIf)\(|\bit\.skip\(/g)]
          .filter(({ index }) => !/\bnamed\(/.test(text.slice(index, index + 400)))
          .map(({ index }) => `${path}:${text.slice(0, index).split("\n").length}`)
    )
    assert.deepStrictEqual(silent, [], "use unless of test/fixtures/skips.ts")
  })
})
