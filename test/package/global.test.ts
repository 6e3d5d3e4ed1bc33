/**
 * These tests install the packed package globally, from a registry on loopback, and use it as a newcomer does: the program, its
 * manual page and an uninstallation.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
import * as Registry from "./registry.ts"

/** A user's home and search path with a prefix of npm's own, whose `bin` comes first. */
const newUser = Effect.gen(function*() {
  const home = yield* Gateways.temporaryFolder
  const prefix = Path.join(home, "global")
  const env = {
    PATH: `${Path.join(prefix, "bin")}${Path.delimiter}${Program.searchPath}`,
    HOME: home,
    LC_ALL: "C.UTF-8",
    MANPAGER: "cat",
    MANWIDTH: "100",
    NPM_CONFIG_PREFIX: prefix,
    NPM_CONFIG_AUDIT: "false",
    NPM_CONFIG_FUND: "false",
    NPM_CONFIG_UPDATE_NOTIFIER: "false"
  }
  const runWith = (more: Record<string, string>, ...words: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const running = yield* Processes.start(words, { cwd: home, env: { ...env, ...more } })
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, `${words.join(" ")}: ${ended.stdout}${ended.stderr}`)
      return ended
    }).pipe(Effect.scoped)
  return { home, prefix, runWith, run: (...words: ReadonlyArray<string>) => runWith({}, ...words) }
})

const sizeOf = (folder: string) =>
  Effect.promise(async () => {
    const names = await Fs.readdir(folder, { recursive: true })
    const sizes = await Promise.all(names.map(async (name) => {
      const status = await Fs.lstat(Path.join(folder, name))
      return status.isFile() ? status.size : 0
    }))
    return sizes.reduce((sum, size) => sum + size, 0)
  })

const skipped = process.platform === "win32" ? "npm links no manual pages on Windows" : Program.without("man")

describe("npm install --global of the tarball", () => {
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("gives `gateway` and `man gateway`, without peers, and npm uninstall takes all back", skipped),
    () =>
      Effect.gen(function*() {
        const { home, prefix, run, runWith } = yield* newUser
        const packed = yield* run(
          "npm",
          "pack",
          "--silent",
          "--ignore-scripts",
          "--pack-destination",
          home,
          Registry.root
        )
        const registry = yield* Registry.serve
        const tarball = Path.join(home, packed.stdout.trim())
        const installed = yield* run("npm", "install", "--global", "--registry", registry, tarball)
        assert.notMatch(installed.stderr, /npm (?:warn|error)/)
        const lib = Path.join(prefix, "lib", "node_modules")
        const dependencies = yield* Gateways.namesIn(Path.join(lib, "gateway-lock", "node_modules"))
        assert.sameMembers(dependencies.filter((name) => !name.startsWith(".")), [...Registry.dependencies()])
        assert.isBelow(yield* sizeOf(lib), 8_000_000)

        const version = yield* run("gateway", "--version")
        assert.match(version.stdout, /^gateway \d+\.\d+\.\d+\n$/)
        // The status of a lock that is held shows whether the installed addon for kernel locks works.
        // The command may look before `exec` has noted that it runs. That is "starting", so it looks again.
        const look =
          "for n in 1 2 3 4 5; do if report=$(gateway status --json); then echo \"$report\"; exit; fi; done; exit 1"
        const status = yield* run("gateway", "exec", "--no-port", "--", "sh", "-c", look)
        const { lock }: { readonly lock: object } = JSON.parse(status.stdout)
        assert.deepInclude(lock, { state: "held", enforcement: Program.enforcement })

        // man-db, and the man of macOS, look beside each folder of PATH. Others know MANPATH only.
        const isManDb = (yield* run("man", "--version")).stdout.startsWith("man ")
        const manPath = { MANPATH: Path.join(prefix, "share", "man") }
        for (const how of isManDb ? [{}, manPath] : [manPath]) {
          const page = yield* runWith(how, "man", "gateway")
          assert.match(page.stdout, /^GATEWAY\(1\)/)
          assert.include(page.stdout, "--standby")
          assert.include(page.stdout, "GATEWAY_TOKEN_FILE")
        }

        yield* run("npm", "uninstall", "--global", "gateway-lock")
        const left = yield* Effect.promise(() => Fs.readdir(prefix, { recursive: true, withFileTypes: true }))
        assert.deepStrictEqual(left.filter((entry) => !entry.isDirectory()).map(({ name }) => name), [])
      })
  )
})
