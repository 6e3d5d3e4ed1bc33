import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { parse } from "yaml"
import { longFiles } from "../longFiles.ts"

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")

const Workflow = Schema.Struct({
  jobs: Schema.Record({
    key: Schema.String,
    value: Schema.Struct({
      strategy: Schema.Struct({ matrix: Schema.Struct({ os: Schema.Array(Schema.String) }) }),
      steps: Schema.Array(Schema.Struct({ uses: Schema.optional(Schema.String), run: Schema.optional(Schema.String) }))
    })
  })
})
const Manifest = Schema.Struct({ scripts: Schema.Record({ key: Schema.String, value: Schema.String }) })

describe("the workflow on hosted runners", () => {
  const { jobs } = Schema.decodeUnknownSync(Workflow)(parse(read(".github/workflows/ci.yml")))
  const { scripts } = Schema.decodeUnknownSync(Schema.parseJson(Manifest))(read("package.json"))

  it("runs on Linux, macOS and Windows, and only commands that there are", () => {
    for (const { steps, strategy } of Object.values(jobs)) {
      assert.deepStrictEqual(strategy.matrix.os.map((os) => os.split("-")[0]), ["ubuntu", "macos", "windows"])
      const commands = steps.flatMap(({ run }) => run ?? [])
      assert.include(commands, "npm ci")
      for (const command of commands) {
        const script = /^npm (?:run )?([\w:]+)/.exec(command)?.[1] ?? ""
        assert.isTrue(script === "ci" || script in scripts, command)
      }
    }
  })
})

describe("the test files that begin first", () => {
  it("are all there", () => {
    const names = readdirSync(new URL("..", import.meta.url), { recursive: true }).map((path) => basename(String(path)))
    for (const file of longFiles) assert.include(names, file)
  })
})
