import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

describe("a first start", () => {
  it.scopedLive("says in one line on stderr where it listens, in two that it has stopped, and nothing on stdout", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway()

      const ended = yield* Gateways.stop(gateway)
      const lines = Gateways.linesOf(ended)
      assert.strictEqual(ended.stdout, "")
      assert.include(lines[0], `"gateway listening on ws://127.0.0.1:${site.port} (pid ${gateway.pid})"`)
      assert.strictEqual(lines.length, 3, ended.stderr)
    }))

  it.scopedLive("also starts by the command run", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ flags: ["run"] })
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
    }))

  it.scopedLive("writes both lock files, whole and for its owner's eyes only", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway()

      assert.strictEqual(yield* Gateways.modeOf(Gateways.locksFolder(site)), "700")
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      const instanceId = yield* Clients.instanceIdOf(site)
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        assert.strictEqual(yield* Gateways.modeOf(path), "600", path)
        const { bootId, createdAt, pidNamespace, startTime, ...record } = yield* Gateways.readRecord(path)
        assert.deepStrictEqual(record, {
          version: 1,
          instanceId,
          pid: gateway.pid,
          configPath: site.configPath,
          configName: site.configPath,
          stateDir: site.stateDir,
          host: "127.0.0.1",
          port: site.port,
          phase: "listening",
          supervisor: "none",
          supervisorReason: "no supervisor was detected",
          lock: Program.enforcement,
          mode: "run"
        })
        assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        assert.isTrue(startTime !== undefined && startTime > 0)
        if (Program.isLinux) {
          assert.match(bootId ?? "", uuid)
          assert.match(pidNamespace ?? "", /^pid:\[\d+\]$/)
        }
      }
    }))

  it.scopedLive("takes the canonical path of the config file for its lock's name", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const crooked = Path.join(site.root, "no-such-folder", "..", ".", "gateway.json")
      yield* Gateways.startListening(site, { flags: ["--config", crooked] })
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    }))
})

describe("over HTTP", () => {
  it.scopedLive("answers exactly what the contract says, to GET and HEAD", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const { instanceId } = yield* Gateways.readRecord(Gateways.configLock(site))

      const health = JSON.stringify({ ok: true, status: "live", instanceId })
      const answers = [
        ["/healthz", health],
        ["/health", health],
        ["/healthz?verbose=1", health],
        ["/readyz", `{"ready":true}`],
        ["/ready", `{"ready":true}`],
        ["/startupz", `{"ok":true,"status":"started"}`],
        ["/startup", `{"ok":true,"status":"started"}`]
      ] as const
      for (const [path, body] of answers) {
        const get = yield* Clients.request(site, path)
        assert.deepStrictEqual({ path, status: get.status, body: get.body }, { path, status: 200, body })
        assert.match(get.headers["content-type"] ?? "", /^application\/json/)
        const head = yield* Clients.request(site, path, "HEAD")
        assert.deepStrictEqual({ path, status: head.status, body: head.body }, { path, status: 200, body: "" })
        assert.strictEqual(head.headers["content-length"], String(body.length))
      }
    }))

  it.scopedLive("answers 404 to what it does not serve, and 405 to other methods on what it does", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      for (const path of ["/", "/nothing", "/healthz/", "/healthzz", "/locks"]) {
        assert.strictEqual((yield* Clients.request(site, path)).status, 404, path)
        assert.strictEqual((yield* Clients.request(site, path, "POST")).status, 404, path)
      }
      for (const path of ["/healthz", "/health", "/readyz", "/startupz"]) {
        for (const method of ["POST", "PUT", "DELETE"]) {
          const { headers, status } = yield* Clients.request(site, path, method)
          assert.deepStrictEqual({ path, method, status }, { path, method, status: 405 })
          assert.strictEqual(headers.allow, "GET, HEAD")
        }
      }
    }))
})

describe("over the control socket", () => {
  it.scopedLive("says hello first, and answers a ping with its own id", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const { instanceId } = yield* Gateways.readRecord(Gateways.configLock(site))
      const { uptimeMs, version, ...hello } = yield* Clients.hello(site)
      assert.deepStrictEqual(hello, { type: "hello", instanceId })
      assert.match(version, /^\d+\.\d+\.\d+/)
      assert.isAtLeast(uptimeMs, 0)

      const control = yield* Clients.greeted(site)
      for (const id of [1, "two", null, 2.5]) {
        yield* control.send(JSON.stringify({ type: "ping", id }))
        assert.deepStrictEqual(yield* control.next, { type: "pong", id })
      }
    }))

  const largest = (size: number) => {
    const frame = (id: string) => JSON.stringify({ type: "ping", id })
    return frame("x".repeat(size - frame("").length))
  }

  it.scopedLive("takes a frame of 64 KiB", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const control = yield* Clients.greeted(site)
      yield* control.send(largest(64 * 1024))
      assert.propertyVal(yield* control.next, "type", "pong")
    }))

  const refusals = [
    ["text that is not JSON", "{\"type\":", 1007],
    ["an empty frame", "", 1007],
    ["a message it does not know", "{\"type\":\"shutdown\"}", 1008],
    ["JSON that is no message", "[1]", 1008],
    ["a ping whose id is no string, number or null", "{\"type\":\"ping\",\"id\":[3]}", 1008],
    ["a ping whose id is nested 30,000 deep", `{"type":"ping","id":${"[".repeat(30_000)}${"]".repeat(30_000)}}`, 1008],
    ["a binary frame", new Uint8Array([123, 125]), 1003],
    ["a frame over 64 KiB", largest(64 * 1024 + 1), 1009]
  ] as const
  for (const [what, frame, code] of refusals) {
    it.scopedLive(`closes with ${code} on ${what}, and goes on serving others`, () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        const other = yield* Clients.greeted(site)
        const control = yield* Clients.greeted(site)
        yield* control.send(frame)
        assert.strictEqual((yield* control.closed).code, code)
        yield* other.send("{\"type\":\"ping\",\"id\":1}")
        assert.deepStrictEqual(yield* other.next, { type: "pong", id: 1 })
      }))
  }
})
