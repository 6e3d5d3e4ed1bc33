import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as Root from "../../src/index.ts"
import * as Testing from "../../src/testing/index.ts"

interface Manifest {
  readonly version: string
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>
}

const isManifest = (value: unknown): value is Manifest =>
  typeof value === "object" && value !== null && "exports" in value && "version" in value

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")
const manifest: unknown = JSON.parse(read("../../package.json"))

/** The modules that `index.ts` exports, with their paths. */
const modules = [...read("../../src/index.ts").matchAll(/export \* as (\w+) from "\.\/(.*)\.ts"/g)].map((
  [, name, path]
) => ({
  name,
  path
}))

/** What needs an engine. The root does not export it, so that only programs that use an engine load its code. */
const engines: Readonly<Record<string, string>> = {
  EtcdLeaseStore: "leader/EtcdLeaseStore",
  FencedWrite: "leader/FencedWrite",
  PostgresLeaseStore: "leader/PostgresLeaseStore"
}

describe("the package", () => {
  it("has an entry for each module of the root and each engine, under the same name, and for nothing else of the inside", () => {
    assert.isTrue(isManifest(manifest))
    if (!isManifest(manifest)) return
    assert.sameMembers(modules.map(({ name }) => name), Object.keys(Root))
    assert.deepStrictEqual(manifest.exports, {
      ".": { types: "./dist/esm/index.d.ts", default: "./dist/esm/index.js" },
      ...Object.fromEntries(
        modules.map((
          { name, path }
        ) => [`./${name}`, { types: `./dist/esm/${path}.d.ts`, default: `./dist/esm/${path}.js` }])
      ),
      ...Object.fromEntries(
        Object.entries(engines).map((
          [name, path]
        ) => [`./${name}`, { types: `./dist/esm/${path}.d.ts`, default: `./dist/esm/${path}.js` }])
      ),
      "./promise": { types: "./dist/esm/promise.d.ts", default: "./dist/promise/index.mjs" },
      "./testing": { types: "./dist/esm/testing/index.d.ts", default: "./dist/esm/testing/index.js" },
      "./gateway.schema.json": "./dist/gateway.schema.json",
      "./package.json": "./package.json"
    })
  })

  it.each(Object.keys(Root))("gateway-lock/%s is the root's module of that name", async (name) => {
    const [root, alone]: ReadonlyArray<Record<string, unknown>> = await Promise.all([
      import("gateway-lock"),
      import(/* @vite-ignore */ `gateway-lock/${name}`)
    ])
    assert.strictEqual(alone?.["default"], undefined)
    assert.deepStrictEqual({ ...alone }, { ...Object(root?.[name]) })
  })

  it("says where it is developed and where bugs go", () => {
    const url = "https://github.com/gateway-lock/gateway-lock"
    assert.propertyVal(manifest, "homepage", `${url}#readme`)
    assert.deepPropertyVal(manifest, "bugs", { url: `${url}/issues` })
    // This is the form that npm writes. With another form, npm warns at each publication.
    assert.deepPropertyVal(manifest, "repository", { type: "git", url: `git+${url}.git` })
  })

  it("lets nobody import the program or the inside", async () => {
    for (
      const inside of [
        "main",
        "cli/run",
        "lock/LockAttempt",
        "internal/describeError",
        "host/Host",
        "KernelLock",
        "Address",
        "Staleness"
      ]
    ) {
      const imported = import(/* @vite-ignore */ `gateway-lock/${inside}`)
      const reason = await imported.then(() => "imported", (cause) => String(cause))
      assert.match(reason, /is not (exported|defined by "exports")|Missing ".*" specifier|Package subpath/, inside)
    }
    assert.isDefined(Testing.SimulatedHost)
  })
})
