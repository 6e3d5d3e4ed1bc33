/**
 * These tests use paths that only Windows has: paths with a drive letter, several spellings of the path of one file, and
 * folders of a user's profile.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Windows from "./support/windows.ts"

describe("a state directory on Windows that cannot be made", () => {
  for (const path of ["Q:\\gateway", "\\\\nohost\\share\\gateway"]) {
    it.scopedLive(`is refused by name: ${path} (N66)`, () =>
      Effect.gen(function*() {
        const site = { ...(yield* Windows.newSite()), stateDir: path }
        const start = yield* Windows.gateway(site, { patience: "30 seconds" })
        assert.strictEqual(start.code, 1, start.stderr)
        assert.match(start.stderr, /^GatewayLockError: failed to acquire gateway lock at /)
        assert.include(start.stderr.split("\n")[0] ?? "", path)
        const doctor = yield* Windows.gateway(site, { command: "doctor", patience: "30 seconds" })
        assert.strictEqual(doctor.code, 1, doctor.stdout)
        assert.include(doctor.stdout, path)
        // No gateway runs in this state directory, so the exit status of `status` must not say that one runs.
        const status = yield* Windows.gateway(site, { command: "status", patience: "30 seconds" })
        assert.include([3, 4], status.code, status.stdout)
      }))
  }
})

describe("another spelling of the config's path on Windows", () => {
  const spellings: ReadonlyArray<readonly [string, (path: string) => string]> = [
    ["a small drive letter", (path) => path.replace("C:", "c:")],
    ["capital letters", (path) => path.toUpperCase()],
    ["small letters", (path) => path.toLowerCase()],
    ["slashes", (path) => path.replaceAll("\\", "/")],
    ["a long path's prefix", (path) => `\\\\?\\${path}`],
    ["dots", (path) => path.replace("\\gateway.json", "\\state\\..\\gateway.json")]
  ]

  it.scopedLive("is the same gateway, to status, to a second start and to stop (N68)", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite("Spelling")
      yield* Windows.startListening(site)
      const before = yield* Windows.record(site)
      const wrong: Array<string> = []
      for (const [name, spell] of spellings) {
        // The state directory gets another spelling as well, because it has a lock of its own.
        const other = { ...site, configPath: spell(site.configPath), stateDir: spell(site.stateDir) }
        const status = yield* Windows.gateway(other, { command: "status" })
        if (status.code !== 0) wrong.push(`${name}: ${status.stdout}${status.stderr}`)
      }
      assert.deepStrictEqual(wrong, [])
      const capitals = { ...site, configPath: site.configPath.toUpperCase(), stateDir: site.stateDir.toUpperCase() }
      const onPort = yield* Gateways.onAnotherPort(capitals)
      const second = yield* Windows.gateway(onPort)
      assert.include(second.stderr, `gateway already running (pid ${before.pid}) on ${Gateways.url(site)}\n`)
      assert.deepStrictEqual(yield* Windows.record(site), before)
      const stop = yield* Windows.gateway(capitals, { command: "stop" })
      assert.strictEqual(stop.stdout, `stopped gateway on ${Gateways.url(site)} (pid ${before.pid})\n`, stop.stderr)
    }))
})

describe("a gateway on Windows in a folder with spaces and umlauts", () => {
  it.scopedLive("starts, refuses a second start, and is stopped", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite("Läufer & Söhne (größer)")
      yield* Windows.startListening(site)
      const { configPath, pid, stateDir } = yield* Windows.record(site)
      assert.deepStrictEqual({ configPath, stateDir }, { configPath: site.configPath, stateDir: site.stateDir })
      const second = yield* Windows.gateway(site)
      Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
      assert.strictEqual(Gateways.facts(second).config, site.configPath)
      const stop = yield* Windows.gateway(site, { command: "stop" })
      assert.strictEqual(stop.stdout, `stopped gateway on ${Gateways.url(site)} (pid ${pid})\n`, stop.stderr)
    }))
})

describe("two profiles on Windows", () => {
  it.scopedLive("run side by side in the user's folders, are listed, and are stopped one by one", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const profile = (name: string, port: number): Windows.GatewayOptions => ({
        args: ["--profile", name, "--port", String(port)]
      })
      const [blue, green] = [profile("blue", site.port), profile("green", (yield* Gateways.onAnotherPort(site)).port)]
      yield* Effect.all([Windows.startListening(site, blue), Windows.startListening(site, green)], { concurrency: 2 })
      const list = yield* Windows.gateway(site, { command: "list", args: [] })
      assert.match(list.stdout, /\bblue\b/)
      assert.match(list.stdout, /\bgreen\b/)
      const refused = yield* Windows.gateway(site, profile("green", site.port))
      Gateways.assertRefused(refused, `another gateway instance is already listening on ${Gateways.url(site)}`)
      const stop = yield* Windows.gateway(site, { ...blue, command: "stop" })
      assert.strictEqual(stop.code, 0, stop.stderr)
      assert.match(stop.stdout, new RegExp(`^stopped gateway on ${Gateways.url(site)} `))
      const status = yield* Windows.gateway(site, { ...green, command: "status" })
      assert.strictEqual(status.code, 0, status.stdout)
      assert.strictEqual((yield* Windows.gateway(site, { ...green, command: "stop" })).code, 0)
    }))
})
