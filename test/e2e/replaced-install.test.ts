/**
 * Tests an upgrade that removes the program's files while a gateway runs, or while a start waits for the lock. The gateway must serve
 * on, and the start must still take over.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Predicate, Scope } from "effect"
import * as Fs from "node:fs/promises"
import { createRequire } from "node:module"
import * as Path from "node:path"
import * as RunLog from "../../src/page/RunLog.ts"
import { eventually } from "../fixtures/net.ts"
import * as Clients from "./support/clients.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as NotifySocket from "./support/notifySocket.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"

/** A copy of the program and of its addon for kernel locks, which a test can remove. */
const installed = Effect.gen(function*() {
  const folder = Path.join(yield* Gateways.temporaryFolder, "installed")
  yield* Effect.promise(async () => {
    await Fs.cp(Path.dirname(Program.main), Path.join(folder, "dist"), { recursive: true })
    await Fs.writeFile(Path.join(folder, "package.json"), "{\"type\":\"module\"}")
    if (!Program.kernelLocks) return
    // Copies the addon's package, the addon's loader (`require-addon`) and the package that the loader needs. The program loads
    // the addon's binary directly, and uses the loader only if the binary is elsewhere.
    const manifest = createRequire(Program.main).resolve("fs-native-extensions/package.json")
    const modules = Path.dirname(Path.dirname(manifest))
    await Fs.cp(Path.dirname(manifest), Path.join(folder, "node_modules", "fs-native-extensions"), { recursive: true })
    for (const name of ["require-addon", "which-runtime"]) {
      await Fs.cp(Path.join(modules, name), Path.join(folder, "node_modules", name), { recursive: true }).catch(
        () => {}
      )
    }
  })
  return {
    main: Path.join(folder, "dist", "main.js"),
    remove: Effect.promise(() => Fs.rm(folder, { recursive: true }))
  }
})

/** Checks that the gateway serves all its routes, has a kernel lock (if the program has kernel locks), and ends in order. */
const serves = (site: Gateways.Site, gateway: Processes.Running) =>
  Effect.gen(function*() {
    yield* gateway.listening
    const record = yield* Gateways.readRecord(Gateways.configLock(site))
    assert.deepStrictEqual({ pid: record.pid, lock: record.lock }, { pid: gateway.pid, lock: Program.enforcement })
    for (const path of ["/healthz", "/", "/metrics"]) {
      const headers = { accept: "text/html, */*" }
      const { status } = yield* Effect.promise(() => fetch(`http://127.0.0.1:${site.port}${path}`, { headers }))
      assert.strictEqual(status, 200, path)
    }
    // The gateway must also send the list of the other gateways (`neighbours`) to a client that sends `watch`.
    const viewer = yield* Clients.greeted(site)
    yield* viewer.send("{\"type\":\"watch\"}")
    yield* Effect.repeat(viewer.next, { until: Predicate.hasProperty("neighbours") })
    const ended = yield* Gateways.stop(gateway)
    yield* Gateways.assertGone(site, ended)
    assert.notMatch(ended.stderr, /level=(WARN|ERROR)|no kernel lock/)
  })

/** Waits until the log of the runs has this one, which is soon after it listens. By then all code that serves is loaded. */
const noted = (site: Gateways.Site, { pid }: Processes.Running) =>
  eventually(
    `pid ${pid} in the log of the runs`,
    Effect.promise(() =>
      Fs.readFile(RunLog.pathBeside(Gateways.configLock(site)), "utf8").then(
        (text) => text.includes(`"pid":${pid}`),
        () => false
      )
    )
  )

describe("a gateway whose files are removed while it runs", () => {
  it.scopedLive("serves on, is seen, and ends in order when the next version stops it", () =>
    Effect.gen(function*() {
      const { main, remove } = yield* installed
      const [site, first] = yield* Gateways.newGateway({ main })
      yield* noted(site, first)
      yield* Gateways.stop(first)
      const gateway = yield* Gateways.startListening(site, { main })
      yield* noted(site, gateway)
      yield* remove
      const viewer = yield* Clients.greeted(site)
      yield* viewer.send("{\"type\":\"watch\"}")
      const { runs } = yield* Effect.repeat(viewer.next, { until: Predicate.hasProperty("runs") })
      assert.containSubset(runs, [{ pid: first.pid, ending: "stopped" }, { pid: gateway.pid, ending: "running" }])
      for (const path of ["/healthz", "/metrics"]) {
        const { status } = yield* Clients.request(site, path)
        assert.strictEqual(status, 200, path)
      }
      const status = yield* Gateways.run(site, { flags: ["status"] })
      assert.strictEqual(status.code, 0, status.stdout)
      const stopped = yield* Gateways.run(site, { flags: ["stop"] })
      assert.strictEqual(stopped.code, 0, stopped.stderr)
      const ended = yield* gateway.ended
      yield* Gateways.assertGone(site, ended)
      assert.notMatch(ended.stderr, /level=(WARN|ERROR)/)
    }))
})

/** The objects among the lines on stderr, which are log lines and reports in JSON. */
const objectsIn = (stderr: string): ReadonlyArray<unknown> =>
  stderr.split("\n").filter((line) => line.startsWith("{")).map((line): unknown => JSON.parse(line))

/** Checks that a process reports in JSON that it lost its lock, although the files of the program are gone. */
const assertReported = (
  start: (site: Gateways.Site, main: string) => Effect.Effect<Processes.Running, never, Scope.Scope>
) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    yield* Gateways.writeConfig(site, { lock: { recheckInterval: "200 millis" } })
    const { main, remove } = yield* installed
    const running = yield* start(site, main)
    yield* remove
    const path = Gateways.configLock(site)
    yield* Gateways.takeLock(path)
    const ended = yield* running.ended
    assert.containSubset(objectsIn(ended.stderr), [{ error: { _tag: "LockLost", path } }])
  })

const skipped = Program.kernelLocks ? undefined : "the program under test has no kernel locks"
const flags = ["--log-format", "json"]
describe("a process whose files are removed while it has the lock", () => {
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("reports in JSON that it lost the lock: gateway run", skipped),
    () => assertReported((site, main) => Gateways.startListening(site, { main, flags }))
  )

  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("reports in JSON that it lost the lock: gateway exec", skipped),
    () =>
      assertReported((site, main) =>
        Effect.map(Execs.startChild(site, ["ends"], { main, flags }), ({ wrapper }) => wrapper)
      )
  )
})

describe("a start whose files are removed while it waits", () => {
  it.scopedLive.each(["external", "systemd"])(
    "for an unhealthy owner, under %s, takes over",
    (supervisor) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const owner = yield* Scope.make()
        yield* Scope.extend(Strangers.stalling(site), owner)
        const { main, remove } = yield* installed
        const waiting = yield* Gateways.start(site, { main, env: { GATEWAY_SUPERVISOR: supervisor } })
        yield* waiting.line(/waiting up to/)
        yield* remove
        yield* Scope.close(owner, Exit.void)
        yield* serves(site, waiting)
      })
  )

  it.scopedLive.skipIf(NotifySocket.noNotifySocket !== undefined)(
    Program.named("tells systemd that it is ready", NotifySocket.noNotifySocket),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const manager = yield* NotifySocket.listen("path")
        const owner = yield* Scope.make()
        yield* Scope.extend(Strangers.stalling(site), owner)
        const { main, remove } = yield* installed
        const env = { GATEWAY_SUPERVISOR: "systemd", NOTIFY_SOCKET: manager.name }
        const waiting = yield* Gateways.start(site, { main, env })
        yield* manager.message(/^STATUS=waiting up to/)
        yield* remove
        yield* Scope.close(owner, Exit.void)
        yield* manager.message(/^READY=1/)
        yield* serves(site, waiting)
      })
  )

  it.scopedLive("for the end of its predecessor, as a standby, takes over", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      const { main, remove } = yield* installed
      const waiting = yield* Gateways.start(site, { main, flags: ["--standby"] })
      yield* waiting.line(/standing by/)
      yield* remove
      yield* Gateways.stop(owner)
      yield* serves(site, waiting)
    }))

  it.scopedLive("for the lock of one that drains takes over", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 minute"] })
      const client = yield* Scope.make()
      const stuck = yield* Scope.extend(Clients.connect(site), client)
      yield* stuck.send("POST /endless HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nonly this")
      yield* owner.signal("SIGTERM")
      yield* owner.line(/draining 1 connection on /)
      const { main, remove } = yield* installed
      const waiting = yield* Gateways.start(site, { main, flags: ["--lock-timeout", "1 minute"] })
      yield* waiting.line(/waiting up to \d+ms for gateway lock/)
      yield* remove
      yield* Scope.close(client, Exit.void)
      yield* owner.ended
      yield* serves(site, waiting)
    }))

  it.scopedLive("is told of a missing file before that, and what to do", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { main } = yield* installed
      const folder = Path.join(Path.dirname(main), "program")
      yield* Effect.promise(async () => {
        for (const name of await Fs.readdir(folder)) {
          if (/^serve-.*\.cjs$/.test(name)) await Fs.rm(Path.join(folder, name))
        }
      })
      const ended = yield* Gateways.run(site, { main })
      assert.strictEqual(ended.code, 70)
      assert.match(ended.stderr, /serve-\S+\.cjs is not a file of this program; install it again/)
    }))
})
