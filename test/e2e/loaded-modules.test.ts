/**
 * Which modules of Node a command loads. Some take Node longer to load than the command takes for its own work.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Program from "./support/program.ts"

const preload = fileURLToPath(new URL("../fixtures/loadedModules.cjs", import.meta.url))

/** Runs a command where no gateway runs, and returns its exit status and the modules that it loaded. */
const run = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-loaded-" })
    const env = { PATH: Program.searchPath, GATEWAY_STATE_DIR: folder, XDG_CONFIG_HOME: folder }
    const { status, stderr } = spawnSync(process.execPath, ["--require", preload, Program.main, ...args], {
      encoding: "utf8",
      env
    })
    const names = /^loaded: (.*)$/m.exec(stderr)?.[1]?.split(", ") ?? []
    return { status, loaded: new Set(names.map((name) => name.replace(/^NativeModule /, ""))) }
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

describe("a command does not load", () => {
  const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, status: number, unused: ReadonlyArray<string>]> = [
    [["--version"], 0, ["crypto", "dns", "http", "perf_hooks"]],
    [["--help"], 0, ["crypto", "dns", "http", "perf_hooks"]],
    [["status", "--port", "1"], 3, ["dns", "http", "perf_hooks"]]
  ]
  for (const [args, expected, unused] of cases) {
    it.effect(`${unused.join(", ")}: ${args.join(" ")}`, () =>
      Effect.gen(function*() {
        const { loaded, status } = yield* run(...args)
        assert.strictEqual(status, expected)
        // These modules are in the list, so the list is what it should be.
        assert.isTrue(loaded.has("fs") && loaded.has("vm"), [...loaded].join())
        assert.deepStrictEqual(unused.filter((name) => loaded.has(name)), [])
      }))
  }
})
