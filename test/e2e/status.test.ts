import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

/**
 * A site (the folders and the port of one gateway). The site's config keeps the gateway from touching its lock files while a test
 * compares them.
 */
const quietSite = Effect.tap(Gateways.newSite, (site) => Gateways.writeConfig(site, Looking.undisturbed))

describe("status and health, of an owner", () => {
  Variants.each("that runs", undefined, (main, { lock }) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      const owner = yield* Gateways.startListening(site, {
        main,
        env: Gateways.secrets.env,
        flags: ["--supervisor", "external", ...Gateways.secrets.flags]
      })
      const { createdAt, instanceId } = yield* Gateways.readRecord(Gateways.configLock(site))
      const { rows, status, text } = yield* Looking.expectStatus(site, "running", { main })
      assert.deepStrictEqual(status.owner, {
        pid: owner.pid,
        pidMeaning: "Alive",
        command: "node",
        since: DateTime.unsafeMake(createdAt),
        phase: "listening",
        configPath: site.configPath,
        configName: site.configPath,
        stateDir: site.stateDir,
        host: "127.0.0.1",
        port: site.port,
        instanceId,
        mode: "run",
        supervisor: "external",
        supervisorReason: "chosen by the supervisor setting"
      })
      assert.deepStrictEqual(status.lock, { path: Gateways.configLock(site), state: "held", enforcement: lock })
      assert.deepStrictEqual(status.port, {
        host: "127.0.0.1",
        port: site.port,
        from: "owner",
        state: "gateway",
        listeners: [{
          host: "127.0.0.1",
          ...(Program.isLinux ? { pid: owner.pid, command: "node", isOwner: true } : { isOwner: false })
        }]
      })
      assert.deepStrictEqual(status.health, {
        healthy: true,
        identity: "owner",
        instanceId,
        detail: "a healthy gateway"
      })
      assert.deepStrictEqual(status.warnings, [])

      assert.strictEqual(rows["held by"], `pid ${owner.pid} (node)`)
      assert.match(rows["since"] ?? "", new RegExp(`^${createdAt} \\((just now|\\d.* ago)\\)$`))
      assert.strictEqual(rows["supervisor"], "external (chosen by the supervisor setting)")
      assert.strictEqual(rows["to use it"], Gateways.url(site))
      assert.include(rows["lock"], lock === "kernel" ? "held (kernel lock)" : "held (lock record only")
      assert.include(rows["to stop it"], `gateway stop --port ${site.port}`)
      // The output shows no argument or variable of the owner. It has no colours, because stdout is not a terminal.
      Gateways.assertKeepsSecrets(text + JSON.stringify(status))
      assert.notInclude(text, "\u001b")
    }))

  Variants.each("that starts: it holds its lock, and waits for another's", undefined, (main) =>
    Effect.gen(function*() {
      const first = yield* quietSite
      const silent = yield* Gateways.startListening(first, { main })
      yield* silent.signal("SIGSTOP")
      const second = yield* Effect.flatMap(Gateways.withConfig(first, "second.json"), Gateways.onAnotherPort)
      const owner = yield* Gateways.start(second, { main, flags: ["--lock-timeout", "50 seconds"] })
      yield* owner.line(/waiting up to 50000ms for gateway lock .*gateway\.state\.lock/)
      const { rows, status } = yield* Looking.expectStatus(second, "starting", { main })
      assert.deepInclude(status.owner, { pid: owner.pid, phase: "starting" })
      assert.deepInclude(status.port, { state: "free", listeners: [] })
      assert.deepInclude(status.stateLock?.owner, { pid: silent.pid, configPath: first.configPath })
      assert.strictEqual(rows["state lock"], `held by pid ${silent.pid} (node) for another config, ${first.configPath}`)
    }))

  Variants.each("that drains", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      const owner = yield* Gateways.startListening(site, { main, flags: ["--drain-timeout", "1 minute"] })
      const connection = yield* Clients.connect(site)
      yield* connection.send("POST /endless HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nonly this")
      // This request goes over a second connection, which is opened after the bytes above were sent. So when the gateway has
      // answered this request, it has received those bytes as well.
      yield* Clients.request(site, "/readyz")
      yield* owner.signal("SIGTERM")
      yield* owner.line(/draining 1 connection on /)
      const { health, status } = yield* Looking.expectStatus(site, "draining", { main })
      assert.deepInclude(status.owner, { pid: owner.pid, phase: "draining" })
      assert.strictEqual(health, "gateway: draining: its owner is shutting down\n")
    }))

  Variants.each("that is stopped by SIGSTOP", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      const owner = yield* Gateways.startListening(site, { main })
      yield* owner.signal("SIGSTOP")
      const { health, status } = yield* Looking.expectStatus(site, "unhealthy", { main })
      assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Alive", phase: "listening" })
      assert.deepInclude(status.port, { state: "stalled" })
      if (Program.isLinux) assert.isTrue(status.port?.listeners.every(({ isOwner }) => isOwner))
      assert.match(health, /gave no complete answer to \/healthz within 1000ms/)
    }))

  Variants.each("that is dead", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      const owner = yield* Gateways.startListening(site, { main })
      yield* Gateways.stop(owner, "SIGKILL")
      const { rows, status } = yield* Looking.expectStatus(site, "dead", { main })
      assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Gone" })
      assert.strictEqual(status.lock.state, "left")
      assert.strictEqual(rows["left by"], `pid ${owner.pid}, which is no longer running`)
      assert.include(rows["to start it"], "gateway run ")
    }))

  Variants.each("that is another program on the port", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      yield* Strangers.web(site, 200, "hello")
      const { health, status } = yield* Looking.expectStatus(site, "foreign-listener", { main })
      assert.notProperty(status, "owner")
      assert.deepInclude(status.port, { from: "settings", state: "foreign" })
      if (Program.isLinux) {
        assert.deepStrictEqual(status.port?.listeners.map(({ isOwner, pid }) => [pid, isOwner]), [[process.pid, false]])
      }
      assert.match(health, /answered HTTP 200 to \/healthz, not as a gateway/)
    }))

  Variants.each("that is another gateway on the port", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      const other = { ...(yield* Gateways.newSite), port: site.port }
      yield* Gateways.startListening(other, { main })
      const { health, status } = yield* Looking.expectStatus(site, "foreign-listener", { main })
      assert.deepInclude(status.health, { healthy: true, identity: "unknown" })
      assert.include(health, `to check only the port: curl -f http://127.0.0.1:${site.port}/healthz`)
    }))

  Variants.each("that is not there", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { rows, status } = yield* Looking.expectStatus(site, "not-running", { main })
      assert.deepStrictEqual(status.lock, { path: Gateways.configLock(site), state: "absent" })
      assert.deepInclude(status.port, { from: "settings", state: "free", listeners: [] })
      assert.include(rows["to start it"], "gateway run ")
      assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
    }))

  Variants.each("in another PID namespace", Program.noNamespaces, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      yield* Gateways.startListening(site, { main, under: Namespaces.pid })
      const outside = yield* Looking.expectStatus(site, "running", { main })
      assert.deepInclude(outside.status.owner, { pid: 1, pidMeaning: "OtherPidNamespace" })
      assert.notProperty(outside.status.owner, "command")
      assert.strictEqual(outside.rows["held by"], "pid 1 in another PID namespace")
      // A container that shares the network and the folder with the owner cannot see the owner's process, because that process is
      // outside the container's PID namespace.
      const beside = yield* Looking.expectStatus(site, "running", { main, under: Namespaces.pid })
      assert.deepStrictEqual(beside.status.port?.listeners, [{ host: "127.0.0.1", isOwner: false }])
      assert.strictEqual(beside.rows["listens"], "a process on 127.0.0.1, not visible from here")
    }))

  Variants.each("in another PID namespace and network", Namespaces.noNetwork, (main) =>
    Effect.gen(function*() {
      const site = yield* quietSite
      yield* Gateways.startListening(site, { main, under: [...Namespaces.pid, ...Namespaces.network] })
      const { status } = yield* Looking.expectStatus(site, "unknown", { main })
      assert.deepInclude(status.owner, { pid: 1, pidMeaning: "OtherPidNamespace" })
    }))
})

describe("status and health, with settings that are broken", () => {
  const broken: ReadonlyArray<readonly [what: string, content: string, warning: RegExp]> = [
    ["that is not JSON", "{\"port\": 1", /^invalid config file .*: not JSON/],
    ["that is no object", "[]", /: not a JSON object$/],
    ["with an unknown key", "{\"prot\": 1}", /: unknown key "prot"/],
    ["with a value that is not allowed", "{\"host\": 7}", /^invalid host 7 from "host" in /]
  ]
  for (const [what, content, warning] of broken) {
    it.scopedLive(`a config file ${what} is told of, and the rest is answered`, () =>
      Effect.gen(function*() {
        const site = yield* quietSite
        yield* Gateways.startListening(site)
        yield* Effect.promise(() => Fs.writeFile(site.configPath, content))
        const { rows, status } = yield* Looking.expectStatus(site, "running")
        assert.strictEqual(status.warnings.length, 1)
        assert.match(status.warnings[0] ?? "", warning)
        assert.match(rows["warning"] ?? "", warning)
      }))
  }

  it.scopedLive("a file with a mistake in one place still counts in the others", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() =>
        Fs.writeFile(site.configPath, JSON.stringify({ port: site.port, prot: 1, drainTimeout: 5 }))
      )
      const { status } = yield* Looking.expectStatus(site, "not-running", {
        args: ["--state-dir", site.stateDir, "--config", site.configPath]
      })
      assert.strictEqual(status.port?.port, site.port)
      assert.strictEqual(status.warnings.length, 2)
    }))

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a config file and a state directory of another user are told of", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* quietSite
        yield* Gateways.startListening(site)
        const { health, status } = yield* Looking.expectStatus(site, "unknown", { under: Program.asNobody })
        assert.match(status.reason, /EACCES/)
        assert.match(status.warnings[0] ?? "", /^invalid config file .*EACCES/)
        assert.deepInclude(status.health, { healthy: true, identity: "unknown" })
        assert.include(health, "to check only the port: curl -f ")
      })
  )

  it.scopedLive("a state directory that is a file, and one below it, hold nobody", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.writeFile(site.stateDir, ""))
      const { status } = yield* Looking.expectStatus(site, "unknown")
      assert.match(status.reason, /ENOTDIR/)
    }))

  it.scopedLive("a flag or a variable that is not allowed is bad usage", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const command of ["status", "health", "list"]) {
        const flag = yield* Gateways.run(site, { args: [command, "--port", "70000"] })
        assert.deepStrictEqual([flag.code, flag.stdout], [64, ""])
        assert.match(flag.stderr, /^gateway: invalid port "70000" from --port: expected [^\n]+\n$/)
        const variable = yield* Gateways.run(site, { args: [command], env: { GATEWAY_PROFILE: "No" } })
        assert.strictEqual(variable.code, 64)
        assert.match(variable.stderr, /^gateway: invalid profile "No" from GATEWAY_PROFILE: /)
      }
    }))
})
