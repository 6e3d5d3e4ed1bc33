import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, FastCheck as fc } from "effect"
import * as PlatformFolders from "../src/PlatformFolders.ts"
import "./arbitraries.ts"

const profile = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,63}$/)

describe("PlatformFolders", () => {
  it.prop("two profiles share neither config file nor state directory", [profile, profile], ([a, b]) => {
    const folders = PlatformFolders.make({ config: "/c", state: "/s" })
    return a === b || (folders.configPath(a) !== folders.configPath(b) && folders.stateDir(a) !== folders.stateDir(b))
  })

  it("a profile's config file is its own folder's gateway.json", () => {
    const folders = PlatformFolders.make({ config: "/c", state: "/s" })
    assert.strictEqual(folders.configPath("night"), "/c/night/gateway.json")
    assert.strictEqual(folders.stateDir("night"), "/s/night")
  })

  it.effect.skipIf(process.platform !== "linux")(
    "on Linux they are the XDG base directories",
    () =>
      Effect.gen(function*() {
        const folders = yield* PlatformFolders.PlatformFolders
        const home = yield* Config.string("HOME")
        const config = yield* Config.withDefault(Config.string("XDG_CONFIG_HOME"), `${home}/.config`)
        const state = yield* Config.withDefault(Config.string("XDG_STATE_HOME"), `${home}/.local/state`)
        assert.strictEqual(folders.configPath("default"), `${config}/gateway-lock/default/gateway.json`)
        assert.strictEqual(folders.stateDir("default"), `${state}/gateway-lock/default`)
      }).pipe(Effect.provide(PlatformFolders.layerLive))
  )

  it.effect("where the platform has no state folder, state is data", () =>
    Effect.gen(function*() {
      const linux = yield* Effect.provide(PlatformFolders.PlatformFolders, PlatformFolders.layer("linux"))
      const mac = yield* Effect.provide(PlatformFolders.PlatformFolders, PlatformFolders.layer("darwin"))
      const windows = yield* Effect.provide(PlatformFolders.PlatformFolders, PlatformFolders.layer("win32"))
      assert.notStrictEqual(mac.stateDir("default"), linux.stateDir("default"))
      assert.strictEqual(windows.stateDir("default"), mac.stateDir("default"))
    }))
})
