import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Path from "node:path"
import * as Program from "./support/program.ts"

/**
 * Runs a command of a copy of the program in which one file is empty, with or without the compiled code beside it. Returns the path
 * of that file, too.
 */
const runDamaged = (damaged: string, compiled: boolean, command: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-broken-" })
    const built = Path.dirname(Program.main)
    const file = Path.join(folder, "program", damaged)
    yield* fs.copyFile(Path.join(built, "main.js"), Path.join(folder, "main.js"))
    yield* fs.copyFile(Path.join(built, "package.json"), Path.join(folder, "package.json"))
    yield* fs.makeDirectory(Path.dirname(file))
    const names = (yield* fs.readDirectory(Path.join(built, "program"))).filter((name) =>
      /^(entry|program)\.cjs/.test(name)
    )
    assert.isNotEmpty(names.filter((name) => name.startsWith(damaged) && name.endsWith(".cache")))
    for (const name of names.filter((name) => compiled || !name.endsWith(".cache"))) {
      yield* fs.copyFile(Path.join(built, "program", name), Path.join(folder, "program", name))
    }
    yield* fs.writeFileString(file, "")
    const { status, stderr, stdout } = spawnSync(process.execPath, [Path.join(folder, "main.js"), command], {
      encoding: "utf8",
      // Only the compiled code beside the program is used.
      env: { NODE_DISABLE_COMPILE_CACHE: "1" }
    })
    return { file, status, stderr, stdout }
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

describe("an installation with a damaged file", () => {
  for (const compiled of [true, false]) {
    const beside = compiled ? ", with compiled code beside it" : ""
    for (const [damaged, command] of [["entry.cjs", "--version"], ["program.cjs", "list"]] as const) {
      it.effect(`is told of, and what to do${beside}: ${damaged}`, () =>
        Effect.gen(function*() {
          const { file, status, stderr } = yield* runDamaged(damaged, compiled, command)
          assert.strictEqual(status, 1)
          assert.include(stderr, `TypeError: ${file} is not a file of this program; install it again\n`)
        }))
    }

    it.effect(`still tells its version, for which it does not load the program${beside}`, () =>
      Effect.gen(function*() {
        const { status, stderr, stdout } = yield* runDamaged("program.cjs", compiled, "--version")
        assert.match(stdout, /^gateway \d+\.\d+\.\d+\n$/)
        assert.deepStrictEqual({ status, stderr }, { status: 0, stderr: "" })
      }))
  }
})
