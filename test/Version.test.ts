import { FileSystem } from "@effect/platform"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { homepage } from "../src/internal/homepage.ts"
import { version } from "../src/Version.ts"

const Manifest = Schema.parseJson(Schema.Struct({ homepage: Schema.String, version: Schema.String }))

it.live("the version and the homepage are the package's", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const content = yield* fs.readFileString(fileURLToPath(new URL("../package.json", import.meta.url)))
    assert.deepStrictEqual({ homepage, version }, yield* Schema.decode(Manifest)(content))
  }).pipe(Effect.provide(NodeFileSystem.layer)))
