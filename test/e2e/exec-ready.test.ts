import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

const phaseOf = (site: Gateways.Site) =>
  Effect.map(Gateways.readRecord(Gateways.configLock(site)), ({ phase }) => phase)

const untilListening = (site: Gateways.Site) =>
  Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")

const soon = ["--start-timeout", "1 seconds", "--stop-timeout", "500 millis"]

describe("gateway exec --ready", () => {
  it.scopedLive("http:/path holds once that path answers 200", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { wrapper } = yield* Execs.startChild(site, ["listen"], { flags: ["--ready", "http:/ready"] })
      assert.strictEqual(yield* phaseOf(site), "starting")
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).ready, "http:/ready")
      yield* wrapper.signal("SIGUSR2")
      yield* untilListening(site)
      yield* wrapper.signal("SIGUSR1")
      yield* Gateways.assertGone(site, yield* wrapper.ended)
    }))

  for (const rule of ["port", "http:/"]) {
    it.scopedLive(`${rule} does not count a stranger's listener: the command is stopped, with status 124`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { pid, wrapper } = yield* Execs.startChild(site, [], { flags: ["--ready", rule, ...soon] })
        yield* Strangers.web(site, 200, "ok")
        const { code, stderr } = yield* wrapper.ended
        assert.strictEqual(code, 124, stderr)
        assert.include(stderr, "was not ready")
        assert.include(stderr, "got SIGTERM")
        assert.isTrue(yield* Execs.hasEnded(pid))
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      }))
  }

  it.scopedLive("none holds as soon as the command has started", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { wrapper } = yield* Execs.startChild(site, [], { flags: ["--ready", "none", ...soon] })
      yield* untilListening(site)
      yield* wrapper.signal("SIGUSR1")
      const { code, stderr } = yield* wrapper.ended
      assert.strictEqual(code, 0, stderr)
      assert.notInclude(stderr, "level=WARN")
    }))

  it.scopedLive("refuses a rule that it does not know", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Execs.run(site, ["true"], { flags: ["--ready", "soon"] })
      assert.strictEqual(code, 64, stderr)
    }))
})

describe("gateway exec without --ready", () => {
  it.scopedLive("warns once about a command that ignores PORT, and lets it run", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { pid, wrapper } = yield* Execs.startChild(site, [], { flags: ["--start-timeout", "300 millis"] })
      yield* wrapper.line(/level=WARN .*is not ready/)
      assert.isFalse(yield* Execs.hasEnded(pid))
      assert.strictEqual(yield* phaseOf(site), "starting")
      yield* wrapper.signal("SIGUSR1")
      const { code, stderr } = yield* wrapper.ended
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(Gateways.count(stderr, /level=WARN/), 1, stderr)
    }))

  it.scopedLive("passes the command's own error if a stranger takes the port between probe and bind", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The shell waits for the first SIGUSR1, so that the test can take the port before the command binds it.
      const script = "trap : USR1; echo child $$ >&2; sleep 60 & wait; kill $!; exec \"$@\""
      const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...Execs.child("listen")])
      yield* Execs.pidOf(wrapper)
      yield* Strangers.web(site, 200, "ok")
      yield* wrapper.signal("SIGUSR1")
      const { code, stderr } = yield* wrapper.ended
      assert.strictEqual(code, 7, stderr)
      assert.include(stderr, "EADDRINUSE")
      assert.isFalse(yield* Ports.isFree(site.port))
    }))
})

describe("gateway exec in record-only mode", () => {
  Variants.each("names the command in the record before the command runs", undefined, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const script = "grep -o '\"child\":{\"pid\":[0-9]*' \"$GATEWAY_LOCK_PATH\"; echo $$"
      const { code, stderr, stdout } = yield* Execs.run(site, ["sh", "-c", script], { main, flags: ["--no-port"] })
      assert.strictEqual(code, 0, stderr)
      const [named, pid] = stdout.trim().split("\n")
      assert.strictEqual(named, `"child":{"pid":${pid}`)
    }), [Variants.recordOnly])
})

describe("gateway exec --ready port runs real programs", () => {
  const vite = fileURLToPath(new URL("../../node_modules/vite/bin/vite.js", import.meta.url))
  for (
    const [name, reason, words] of [
      ["python3 -m http.server", Program.without("python3"), (port: number) => [
        "python3",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        String(port)
      ]],
      ["Vite's dev server", undefined, (port: number) => [
        process.execPath,
        vite,
        "--host",
        "127.0.0.1",
        "--port",
        String(port),
        "--strictPort"
      ]]
    ] as const
  ) {
    it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, words(site.port), { flags: ["--ready", "port"] })
        yield* untilListening(site)
        const record = yield* Gateways.readRecord(Gateways.configLock(site))
        yield* Execs.killLater(record.child?.pid ?? 0)
        assert.isFalse(yield* Ports.isFree(site.port))
        const second = yield* Execs.run(site, ["true"])
        assert.strictEqual(second.code, 75, second.stderr)
        yield* wrapper.signal("SIGTERM")
        yield* wrapper.ended
        assert.isTrue(yield* Ports.isFree(site.port))
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      }))
  }
})
