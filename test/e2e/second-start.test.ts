import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

/** The documented keys of the JSON line that reports an error. The line may have other keys as well. */
const ErrorLine = Schema.parseJson(Schema.Struct({
  level: Schema.String,
  timestamp: Schema.String,
  name: Schema.String,
  message: Schema.String,
  error: Schema.Struct({
    _tag: Schema.String,
    host: Schema.String,
    port: Schema.Int,
    holder: Schema.Struct({
      pid: Schema.Int,
      pidMeaning: Schema.String,
      command: Schema.String,
      since: Schema.String,
      phase: Schema.String,
      configPath: Schema.String,
      stateDir: Schema.String,
      host: Schema.String,
      port: Schema.Int,
      instanceId: Schema.String
    })
  })
}))

describe("a second start of a gateway that is up", () => {
  it.scopedLive("is refused at once with the message, who holds the port and what to do next", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const { createdAt } = yield* Gateways.readRecord(Gateways.configLock(site))

      const second = yield* Gateways.within("15 seconds", Gateways.run(site))
      Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
      const { since = "", ...facts } = Gateways.facts(second)
      assert.isTrue(since.startsWith(createdAt), since)
      assert.deepStrictEqual(facts, {
        "held by": `pid ${first.pid} (node)`,
        phase: "listening",
        config: site.configPath,
        state: site.stateDir,
        listener: "a healthy gateway",
        "to use it": Gateways.url(site),
        "to look at it": `gateway status ${Gateways.selectors(site)}`,
        "to stop it": `gateway stop ${Gateways.selectors(site)}`,
        "to run beside it": `gateway run --profile <name> --port ${site.port + 1}`,
        more: "https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#portinuse"
      })
    }))

  it.scopedLive("never shows the holder's arguments or environment", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway(Gateways.secrets)
      for (const format of ["logfmt", "json", "pretty"]) {
        const { stderr, stdout } = yield* Gateways.run(site, { flags: ["--log-format", format] })
        Gateways.assertKeepsSecrets(stdout + stderr)
      }
    }))

  it.scopedLive("leaves the first one's lock files as they are: inode, content and time", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const before = yield* Gateways.lockIdentities(site)

      for (let round = 0; round < 3; round++) {
        assert.strictEqual((yield* Gateways.run(site)).code, 1)
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      }

      const { instanceId } = yield* Gateways.readRecord(Gateways.configLock(site))
      assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
      yield* Gateways.assertGone(site, yield* Gateways.stop(first))
    }))

  it.scopedLive("tells a log reader the same in one line of JSON", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const record = yield* Gateways.readRecord(Gateways.configLock(site))

      const second = yield* Gateways.run(site, { flags: ["--log-format", "json"] })
      assert.strictEqual(second.code, 1)
      const lines = second.stderr.split("\n").filter((line) => line !== "")
      assert.strictEqual(lines.length, 1, second.stderr)
      const { timestamp, ...line } = yield* Effect.orDie(Schema.decodeUnknown(ErrorLine)(lines[0]))
      assert.match(timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      assert.deepStrictEqual(line, {
        level: "ERROR",
        name: "GatewayLockError",
        message: `another gateway instance is already listening on ${Gateways.url(site)}`,
        error: {
          _tag: "PortInUse",
          host: "127.0.0.1",
          port: site.port,
          holder: {
            pid: first.pid,
            pidMeaning: "Alive",
            command: "node",
            since: record.createdAt,
            phase: "listening",
            configPath: site.configPath,
            stateDir: site.stateDir,
            host: "127.0.0.1",
            port: site.port,
            instanceId: record.instanceId
          }
        }
      })
    }))

  it.scopedLive("under another config and state directory is refused too, and creates nothing", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const other = { ...(yield* Gateways.newSite), port: site.port }

      const second = yield* Gateways.run(other)
      Gateways.assertRefused(second, `another gateway instance is already listening on ${Gateways.url(site)}`)
      assert.deepStrictEqual(yield* Gateways.namesIn(other.root), ["gateway.json"])
    }))

  it.scopedLive("on another loopback host of the same port is refused too", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      for (const host of ["localhost", "127.0.0.2", "::1"]) {
        const { code, stderr } = yield* Gateways.run(site, { flags: ["--host", host] })
        assert.strictEqual(code, 1, stderr)
        assert.match(stderr, /^GatewayLockError: another gateway instance is already listening on ws:\/\//)
      }
    }))
})

describe("a start on the port of another profile's gateway", () => {
  const profile = (site: Gateways.Site, name: string) => ({
    args: ["--profile", name, "--port", String(site.port)],
    env: { XDG_STATE_HOME: `${site.root}/state`, XDG_CONFIG_HOME: `${site.root}/config` }
  })

  for (const state of ["answers", "is stopped"] as const) {
    it.scopedLive.skipIf(!Program.isLinux)(
      Program.named(
        `names that gateway, and how it is stopped: one that ${state}`,
        Program.isLinux ? undefined : "needs Linux"
      ),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const blue = yield* Gateways.startListening(site, profile(site, "blue"))
          if (state === "is stopped") yield* blue.signal("SIGSTOP")
          const refused = yield* Gateways.run(site, profile(site, "green"))
          Gateways.assertRefused(refused, `another gateway instance is already listening on ${Gateways.url(site)}`)
          const facts = Gateways.facts(refused)
          assert.deepInclude(facts, {
            "held by": `pid ${blue.pid} (node)`,
            phase: "listening",
            state: `${site.root}/state/gateway-lock/blue`,
            "to stop it": `gateway stop --profile blue --port ${site.port}`,
            "to look at it": `gateway status --profile blue --port ${site.port}`
          })
          // A start under a supervisor names the same holder of the lock. If the holder answers, this start leaves it in control
          // and exits with 0. If the holder does not answer, this start gives up after the health timeout and exits with 1.
          const service = yield* Gateways.run(site, {
            ...profile(site, "green"),
            args: [...profile(site, "green").args, "--supervisor", "external"],
            env: { ...profile(site, "green").env, GATEWAY_HEALTH_TIMEOUT: "1 second" }
          })
          assert.strictEqual(service.code, state === "answers" ? 0 : 1, service.stderr)
          assert.strictEqual(Gateways.facts(service)["held by"], `pid ${blue.pid} (node)`)
        })
    )
  }

  it.scopedLive.skipIf(!Program.isLinux)(
    Program.named("names it in JSON as well", Program.isLinux ? undefined : "needs Linux"),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const blue = yield* Gateways.startListening(site, profile(site, "blue"))
        const { args, env } = profile(site, "green")
        const refused = yield* Gateways.run(site, { args: [...args, "--log-format", "json"], env })
        const { error } = yield* Schema.decode(ErrorLine)(refused.stderr.trim())
        assert.deepInclude(error.holder, { pid: blue.pid, pidMeaning: "Alive", command: "node", port: site.port })
      })
  )
})
