import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"

describe("one config on another port", () => {
  it.scopedLive("is refused at once, and told where its gateway runs", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const before = yield* Gateways.identityOf(Gateways.configLock(site))
      const other = yield* Gateways.onAnotherPort(site)

      const second = yield* Gateways.within("15 seconds", Gateways.run(other))
      Gateways.assertRefused(second, `gateway already running (pid ${first.pid}) on ${Gateways.url(site)}`)
      const facts = Gateways.facts(second)
      assert.strictEqual(facts["held by"], `pid ${first.pid} (node)`)
      assert.strictEqual(facts["lock"], Gateways.configLock(site))
      assert.strictEqual(facts["to use it"], Gateways.url(site))
      assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    }))

  it.scopedLive("through another spelling of its path is the same config", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.writeConfig(site, {})
      const first = yield* Gateways.startListening(site)
      const link = Path.join(site.root, "link.json")
      yield* Gateways.symlink(site.configPath, link)
      const other = yield* Gateways.onAnotherPort(site)
      for (const spelling of [link, "gateway.json", `${site.root}/../${Path.basename(site.root)}//gateway.json`]) {
        const second = yield* Gateways.run(other, { flags: ["--config", spelling] })
        Gateways.assertRefused(second, `gateway already running (pid ${first.pid}) on ${Gateways.url(site)}`)
      }
    }))
})

describe("two configs on one state directory", () => {
  it.scopedLive("do not run side by side, and the second leaves nothing of its own", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const other = yield* Effect.flatMap(Gateways.withConfig(site, "other.json"), Gateways.onAnotherPort)

      const second = yield* Gateways.within("15 seconds", Gateways.run(other))
      Gateways.assertRefused(second, `gateway already running (pid ${first.pid}) on ${Gateways.url(site)}`)
      const facts = Gateways.facts(second)
      assert.strictEqual(facts["lock"], Gateways.stateLock(site))
      assert.strictEqual(facts["config"], site.configPath)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))

      yield* Gateways.stop(first)
      yield* Gateways.startListening(other)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(other)), Gateways.lockNames(other))
    }))
})

describe("two profiles", () => {
  it.scopedLive("run side by side, each in folders of its own", () =>
    Effect.gen(function*() {
      const one = yield* Gateways.newSite
      const two = yield* Gateways.onAnotherPort(one)
      const env = {
        XDG_STATE_HOME: Path.join(one.root, "xdg-state"),
        XDG_CONFIG_HOME: Path.join(one.root, "xdg-config")
      }
      const start = (site: Gateways.Site, profile: string) =>
        Effect.gen(function*() {
          const args = ["--profile", profile, "--port", String(site.port)]
          const gateway = yield* Gateways.startListening(site, { args, env })
          const stateDir = Path.join(env.XDG_STATE_HOME, "gateway-lock", profile)
          const configPath = Path.join(env.XDG_CONFIG_HOME, "gateway-lock", profile, "gateway.json")
          const at = { ...site, stateDir, configPath }
          const record = yield* Gateways.readRecord(Gateways.configLock(at))
          assert.deepStrictEqual(
            { pid: record.pid, stateDir: record.stateDir, configPath: record.configPath },
            { pid: gateway.pid, stateDir, configPath }
          )
          return { at, gateway }
        })
      const red = yield* start(one, "red")
      const blue = yield* start(two, "blue-2")
      assert.notStrictEqual(yield* Clients.instanceIdOf(red.at), yield* Clients.instanceIdOf(blue.at))

      // A second start of the profile `red` is refused, although it would use another port.
      const again = yield* Gateways.onAnotherPort(one)
      Gateways.assertRefused(
        yield* Gateways.run(again, { args: ["--profile", "red", "--port", String(again.port)], env }),
        `gateway already running (pid ${red.gateway.pid}) on ${Gateways.url(one)}`
      )

      yield* Gateways.assertGone(red.at, yield* Gateways.stop(red.gateway))
      yield* Gateways.assertGone(blue.at, yield* Gateways.stop(blue.gateway))
    }))
})
