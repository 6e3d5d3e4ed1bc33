import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Either, Equal, FastCheck as fc } from "effect"
import * as NodeOs from "node:os"
import * as PlatformFolders from "../../src/host/PlatformFolders.ts"
import "../arbitraries.ts"
import { notPosix, unless } from "../fixtures/skips.ts"

const profile = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,63}$/)

describe("PlatformFolders", () => {
  it.prop("two profiles share neither config file nor state directory", [profile, profile], ([a, b]) => {
    const folders = PlatformFolders.make({ config: "/c", state: "/s" })
    return a === b
      || (!Equal.equals(folders.configPath(a), folders.configPath(b))
        && !Equal.equals(folders.stateDir(a), folders.stateDir(b)))
  })

  it("a profile's config file is its own folder's gateway.json", () => {
    const folders = PlatformFolders.make({ config: "/c", state: "/s" })
    assert.deepStrictEqual(folders.configPath("night"), Either.right("/c/night/gateway.json"))
    assert.deepStrictEqual(folders.stateDir("night"), Either.right("/s/night"))
  })

  /** Returns the path of the config file and the state directory, as they are on a platform with these environment variables. */
  const foldersOn = (platform: string, variables: Readonly<Record<string, string>>) =>
    Effect.gen(function*() {
      const { configPath, stateDir } = yield* PlatformFolders.PlatformFolders
      return [yield* configPath("p"), yield* stateDir("p")] as const
    }).pipe(
      Effect.provide(PlatformFolders.layer(platform)),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
    )

  it.effect.each<
    readonly [platform: string, variables: Readonly<Record<string, string>>, config: string, state: string]
  >([
    [
      "linux",
      { HOME: "/h" },
      "/h/.config/gateway-lock/p/gateway.json",
      "/h/.local/state/gateway-lock/p"
    ],
    [
      "linux",
      { HOME: "/h", XDG_CONFIG_HOME: "/c", XDG_STATE_HOME: "/s" },
      "/c/gateway-lock/p/gateway.json",
      "/s/gateway-lock/p"
    ],
    [
      "linux",
      { HOME: "/h", XDG_CONFIG_HOME: ".", XDG_STATE_HOME: "state" },
      "/h/.config/gateway-lock/p/gateway.json",
      "/h/.local/state/gateway-lock/p"
    ],
    [
      "darwin",
      { HOME: "/Users/u", XDG_CONFIG_HOME: "/c", XDG_STATE_HOME: "/s" },
      "/Users/u/Library/Preferences/gateway-lock/p/gateway.json",
      "/Users/u/Library/Application Support/gateway-lock/p"
    ],
    [
      "win32",
      { USERPROFILE: "C:\\Users\\u", APPDATA: "D:\\Roaming", LOCALAPPDATA: "Local" },
      "D:\\Roaming\\gateway-lock\\Config\\p\\gateway.json",
      "C:\\Users\\u\\AppData\\Local\\gateway-lock\\Data\\p"
    ]
  ])("on %s, by %o", ([platform, variables, config, state]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* foldersOn(platform, variables), [config, state])
    }))

  unless(notPosix).effect(
    "without HOME they are in the home folder that the system has of this user; a relative HOME is none",
    () =>
      Effect.gen(function*() {
        const expected = yield* foldersOn("linux", { HOME: NodeOs.userInfo().homedir })
        for (const HOME of ["", ".", "~", "home/u"]) {
          assert.deepStrictEqual(yield* foldersOn("linux", { HOME }), expected)
        }
        assert.deepStrictEqual(yield* foldersOn("linux", {}), expected)
      })
  )
})
