/** Copies of the built program with one mistake each, by which a test checks that the judge finds two leaders. */
import { assert } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Program from "../../e2e/support/program.ts"

/** The addon for kernel locks is found from here. */
const cache = fileURLToPath(new URL("../../../node_modules/.cache", import.meta.url))

const filesOf = async (folder: string): Promise<ReadonlyArray<string>> =>
  (await Fs.readdir(folder)).filter((name) => name.endsWith(".cjs")).map((name) => Path.join(folder, name))

/** Replaces a text that exactly one file of the program has. Returns the path of the program. */
export const mutant = (from: string, to: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        await Fs.mkdir(cache, { recursive: true })
        return Fs.mkdtemp(Path.join(cache, "mutant-"))
      }),
      (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
    )
    yield* Effect.promise(async () => {
      // Without the compiled code of the unchanged files.
      await Fs.cp(Path.dirname(Program.main), folder, { recursive: true, filter: (path) => !path.endsWith(".cache") })
      let found = 0
      for (const file of await filesOf(Path.join(folder, "program"))) {
        const text = await Fs.readFile(file, "utf8")
        found += text.split(from).length - 1
        await Fs.writeFile(file, text.replace(from, to))
      }
      assert.strictEqual(found, 1, `the program has this text ${found} times: ${from}`)
    })
    return Path.join(folder, Path.basename(Program.main))
  })
