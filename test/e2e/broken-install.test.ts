import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Path from "node:path"
import * as Program from "./support/program.ts"

describe("an installation with a damaged file", () => {
  for (const compiled of [true, false]) {
    it.scoped(`is told of, and what to do${compiled ? ", with compiled code beside it" : ""}`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-broken-" })
        const built = Path.dirname(Program.main)
        const file = Path.join(folder, "program", "entry.cjs")
        yield* fs.copyFile(Path.join(built, "main.js"), Path.join(folder, "main.js"))
        yield* fs.copyFile(Path.join(built, "package.json"), Path.join(folder, "package.json"))
        yield* fs.makeDirectory(Path.dirname(file))
        yield* fs.writeFileString(file, "")
        const caches = (yield* fs.readDirectory(Path.join(built, "program"))).filter((name) =>
          /^entry\.cjs.*\.cache$/.test(name)
        )
        assert.isNotEmpty(caches)
        for (const name of compiled ? caches : []) {
          yield* fs.copyFile(Path.join(built, "program", name), Path.join(folder, "program", name))
        }
        const { status, stderr } = spawnSync(process.execPath, [Path.join(folder, "main.js"), "--version"], {
          encoding: "utf8",
          env: {}
        })
        assert.strictEqual(status, 1)
        assert.include(stderr, `TypeError: ${file} is not a file of this program; install it again\n`)
      }).pipe(Effect.provide(NodeContext.layer)))
  }
})
