/**
 * A start without a lease must cost as much as if the program had no lease. So it loads no module of a lease, except those that the
 * table of settings and the advice in an error report need.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as RunLog from "../../src/page/RunLog.ts"
import * as Clients from "../e2e/support/clients.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import { eventually } from "../fixtures/net.ts"

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

const main = file("dist/main.js")
const tellingFiles = { NODE_OPTIONS: `--require=${file("test/fixtures/loadedFiles.cjs")}` }

/** The modules in each file of the built program, by the name of the file without its hash. The build writes them. */
const modulesOf = Schema.decodeSync(
  Schema.parseJson(Schema.Record({ key: Schema.String, value: Schema.Array(Schema.String) }))
)(readFileSync(file("dist/program/modules.json"), "utf8"))

/** The modules of a lease that every start may load. */
const ofEveryStart = [
  "src/leader/LeaseFacts.ts",
  "src/report/leaseFlags.ts",
  "src/settings/LeaseSettings.ts"
]

/** The modules of a lease that a gateway may load as soon as it serves. The status page shows the lease of the record. */
const ofServing = [...ofEveryStart, "src/inspect/leaseFromRecord.ts"]

const isOfLease = (path: string) => /^src\/(?:leader\/|(?:.*\/)?[^/]*(?:lease|lead)[^/]*$)/i.test(path)

/** The names of the files that a gateway has loaded. A command in Node under `exec` prints such a line too, but without names. */
const loadedBy = ({ stderr }: { readonly stderr: string }): Array<string> => {
  const names = /^loaded: (.+)$/m.exec(stderr)?.[1]?.split(" ") ?? []
  assert.includeMembers(names, ["entry", "program"], stderr)
  return names
}

/** The modules of a lease in these files. `entry` is a bundle of its own. */
const leaseModules = (names: ReadonlyArray<string>): Array<string> =>
  names.filter((name) => name !== "entry").flatMap((name) => {
    assert.notStrictEqual(name, "pg")
    const modules = modulesOf[name]
    assert.isDefined(modules, `${name} is not a file of the program with the modules of src`)
    return modules.filter(isOfLease)
  })

/** The files that the entry loads only if it runs code of their modules. */
const onUse = ["acquiring", "schemas", "streams"]

describe("the build", () => {
  const ofLeases = ["lead", "PostgresLeaseStore", "EtcdLeaseStore", "pg"]
  it.each(["program", ...onUse, ...ofLeases])("has V8's compiled code of %s", (name) => {
    const named = readdirSync(file("dist/program")).filter((other) =>
      /^(.+?)(?:-[\w-]{8})?\.cjs/.exec(other)?.[1] === name && other.endsWith(".cache")
    )
    assert.lengthOf(named, 1)
  })
})

describe("a refused start", () => {
  it.scopedLive("loads neither the schemas, nor the streams, nor what acquires a lock", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const gateway = yield* Gateways.startListening(site, { main, env: tellingFiles })
      const refused = yield* Gateways.run(site, { main, env: tellingFiles })
      assert.include(refused.stderr, "another gateway instance is already listening")
      assert.sameMembers(loadedBy(refused), ["entry", "program"])
      // The files exist, and a start that is not refused loads one of them.
      assert.containsAllKeys(modulesOf, onUse)
      assert.include(loadedBy(yield* Gateways.stop(gateway)), "acquiring")
    }))
})

describe("a serving gateway", () => {
  it.scopedLive("loads no schema: with a health check, a ping on the control socket and the log of its runs", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const gateway = yield* Gateways.startListening(site, { main, env: tellingFiles })
      assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
      const control = yield* Clients.greeted(site)
      yield* control.send("{\"type\":\"ping\",\"id\":1}")
      assert.deepStrictEqual(yield* control.next, { type: "pong", id: 1 })
      // Written soon after the start, so that the first answer does not wait for it.
      yield* eventually(
        "the log of the runs",
        Effect.sync(() => existsSync(RunLog.pathBeside(Gateways.configLock(site))))
      )
      const ended = yield* Gateways.stop(gateway)
      assert.notIncludeMembers(loadedBy(ended), ["schemas"])
      assert.includeMembers(loadedBy(ended), ["serve", "HttpServerRequest", "monitoring"])
    }))
})

describe("a command under the lock", () => {
  it.scopedLive("loads no schema", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const args = ["exec", "--no-port", "--state-dir", site.stateDir, "--", process.execPath, "-e", "0"]
      const ended = yield* Gateways.run(site, { main, env: tellingFiles, args })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(loadedBy(ended), "exec")
      assert.notIncludeMembers(loadedBy(ended), ["schemas"])
    }))
})

describe("a command where nothing runs", () => {
  const ends = [["status", 3], ["health", 1], ["stop", 0]] as const
  for (const [name, status] of ends) {
    it.scopedLive(`loads neither the schemas nor the streams: ${name}`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const args = [name, "--state-dir", site.stateDir, "--port", String(site.port)]
        const ended = yield* Gateways.run(site, { main, env: tellingFiles, args })
        assert.strictEqual(ended.code, status, ended.stderr)
        assert.notIncludeMembers(loadedBy(ended), ["schemas"])
        assert.notIncludeMembers(loadedBy(ended), ["streams"])
      }))
  }

  it.scopedLive("loads the schemas to print JSON", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const args = ["status", "--json", "--state-dir", site.stateDir, "--port", String(site.port)]
      const ended = yield* Gateways.run(site, { main, env: tellingFiles, args })
      assert.strictEqual(ended.code, 3, ended.stderr)
      assert.include(loadedBy(ended), "schemas")
    }))
})

describe("a start without a lease", () => {
  it.scopedLive("loads no module of a lease: run, a refused run", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const gateway = yield* Gateways.startListening(site, { main, env: tellingFiles })
      const refused = yield* Gateways.run(site, { main, env: tellingFiles })
      assert.include(refused.stderr, "another gateway instance is already listening")
      const served = loadedBy(yield* Gateways.stop(gateway))
      assert.include(served, "serve")
      assert.sameMembers(leaseModules(loadedBy(refused)), ofEveryStart)
      assert.sameMembers(leaseModules(served), ofServing)
    }))

  it.scopedLive("loads no module of a lease: exec", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const args = ["exec", "--no-port", "--state-dir", site.stateDir, "--", process.execPath, "-e", "0"]
      const ended = yield* Gateways.run(site, { main, env: tellingFiles, args })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.sameMembers(leaseModules(loadedBy(ended)), ofEveryStart)
    }))

  it.scopedLive("is compared with one that has a lease, which loads more", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const env = { ...tellingFiles, GATEWAY_LEASE_DURATION: "30 seconds" }
      const gateway = yield* Gateways.startListening(site, { main, env })
      const loaded = leaseModules(loadedBy(yield* Gateways.stop(gateway)))
      assert.includeMembers(loaded, ["src/leader/LeaseTimes.ts", "src/leader/PostgresUrl.ts"])
    }))
})
