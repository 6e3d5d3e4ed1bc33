import { FileSystem } from "@effect/platform"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { version } from "../src/Version.ts"

const Manifest = Schema.parseJson(Schema.Struct({ version: Schema.String }))

it.live("the version is the package's", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const content = yield* fs.readFileString(fileURLToPath(new URL("../package.json", import.meta.url)))
    assert.strictEqual(version, (yield* Schema.decode(Manifest)(content)).version)
  }).pipe(Effect.provide(NodeFileSystem.layer)))
