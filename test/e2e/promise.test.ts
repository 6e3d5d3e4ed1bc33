import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Promises from "./support/promises.ts"

const test = (name: string, body: Effect.Effect<void, never, Scope.Scope>, reason?: string) =>
  it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), () => body)

const flagsOf = (site: Gateways.Site) => [
  "--port",
  String(site.port),
  "--state-dir",
  site.stateDir,
  "--config",
  site.configPath
]

/** Runs a command of the real program for a site. */
const gateway = (site: Gateways.Site, command: string, ...flags: ReadonlyArray<string>) =>
  Gateways.run(site, { args: [command, ...(command === "list" ? [] : flagsOf(site)), ...flags] })

const verdictOf = (site: Gateways.Site) =>
  Effect.map(gateway(site, "status", "--json"), ({ code, stdout }) => {
    const { verdict }: { readonly verdict: string } = JSON.parse(stdout)
    return `${verdict} ${code}`
  })

/** The error that a program has printed as `refused <tag> <pace> <json>`. The pace is `late` if it has waited for the lock. */
const refusal = (line: string) => {
  const [, tag, pace, json = ""] = /^refused (\S+) (\S+) (.*)$/.exec(line) ?? []
  const error: {
    readonly holder?: { readonly pid?: number; readonly since?: string }
    readonly serving?: { readonly port: number }
  } = JSON.parse(json)
  return { tag, pace, error }
}

describe.concurrent("an owner by gateway-lock/promise", () => {
  test(
    "has a record like any owner's, says when it listens, and leaves nothing behind",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.start(
        site,
        `
const lock = await acquire(options)
say("acquired", JSON.stringify([lock.port, lock.host, lock.path, lock.instanceId, lock.signal.aborted]))
setInterval(() => {}, 1000)
`
      )
      const [port, host, path, instanceId, aborted] = JSON.parse(
        (yield* owner.line(/^acquired/)).slice("acquired ".length)
      )
      const record = yield* Gateways.readRecord(Gateways.configLock(site))
      assert.deepStrictEqual([port, host, path, aborted], [site.port, "127.0.0.1", Gateways.configLock(site), false])
      assert.strictEqual(record.instanceId, instanceId)
      assert.deepInclude(record, { pid: owner.pid, port: site.port, phase: "starting", mode: "run", ready: "port" })
    })
  )

  test(
    "is released once, however often that is asked for, and can be acquired again",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* Promises.run(
        site,
        `
for (let round = 0; round < 3; round++) {
  const lock = await acquire(options)
  const server = await serve(lock)
  await lock.listening()
  server.close()
  await Promise.all([lock.release(), lock.release(), lock[Symbol.asyncDispose]()])
  await lock.release()
  say(await lock.listening().catch(String), lock.signal.aborted)
}`
      )
      yield* Gateways.assertGone(site, ended)
      assert.deepStrictEqual(
        Gateways.linesOf(ended),
        Array.from({ length: 3 }, () => "Error: listening was called after the lock was released false")
      )
    })
  )

  test(
    "refuses a second process at once, with the report that the program prints",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      const ended = yield* Promises.run(site, "console.log((await refused(options)).report)")
      const { error, pace, tag } = refusal(Gateways.linesOf(ended)[0] ?? "")
      assert.deepStrictEqual([tag, pace, error.holder?.pid], ["PortInUse", "soon", owner.pid])
      assert.match(error.holder?.since ?? "", /^\d{4}-\d\d-\d\dT.*Z$/)
      const program = yield* gateway(site, "run", "--profile", "app")
      // The commands begin with `gateway` or `npx gateway-lock`. The age and the width of the column can differ. On a busy machine,
      // the answer of the listener can come too late for one of the two.
      const same = (text: string) =>
        text.trim().split("\n").map((line) =>
          line.replace("npx gateway-lock", "gateway").replace(/ \((just now|.* ago)\)$/, "").replace(
            /^( {2}listener:).*/,
            "$1"
          )
            .replace(/^( {2}[a-z ]+:) +/, "$1 ")
        )
      assert.deepStrictEqual(
        same(ended.stdout),
        same(program.stderr).filter((line) => !line.includes("to run beside it"))
      )
    })
  )

  test(
    "shows the report for an error that the program does not catch, and where acquire was called",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Promises.startListening(site)
      const { code, stderr } = yield* Promises.run(site, "await acquire(options)")
      assert.strictEqual(code, 1)
      assert.match(
        stderr,
        /^GatewayLockError: another gateway .*\n {2}held by: +pid \d+ \(node\)\n[^]*?\n {2}to stop it: .*\n {2}more: +https:.*#portinuse\n {4}at .*eval/m
      )
    })
  )

  test(
    "is running and healthy to status, list, health, doctor and --ensure",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      assert.strictEqual(yield* verdictOf(site), "running 0")
      assert.strictEqual((yield* gateway(site, "health")).code, 0)
      assert.strictEqual((yield* gateway(site, "run", "--ensure")).code, 0)
      const list = yield* gateway(site, "list")
      if (Program.isLinux) assert.match(list.stdout, new RegExp(`running +pid ${owner.pid} \\(node\\)`))
      const doctor = yield* gateway(site, "doctor")
      assert.strictEqual(doctor.code, Program.kernelLocks ? 0 : 1, doctor.stdout)
    })
  )

  test(
    "is starting until it listens, and unhealthy once its server is closed",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.start(
        site,
        `
setInterval(() => {}, 1000)
const lock = await acquire(options)
const step = () => once(process, "SIGUSR2")
let next = step()
say("acquired")
await next
next = step()
const server = await serve(lock)
say("serving")
await next
next = step()
await lock.listening()
say("listening")
await next
await new Promise((resolve) => server.close(resolve))
say("closed")`
      )
      yield* owner.line(/^acquired$/)
      assert.strictEqual(yield* verdictOf(site), "starting 4")
      assert.strictEqual((yield* gateway(site, "health")).code, 1)
      yield* owner.signal("SIGUSR2")
      yield* owner.line(/^serving$/)
      assert.strictEqual(yield* verdictOf(site), "starting 4")
      yield* owner.signal("SIGUSR2")
      yield* owner.line(/^listening$/)
      assert.strictEqual(yield* verdictOf(site), "running 0")
      yield* owner.signal("SIGUSR2")
      yield* owner.line(/^closed$/)
      assert.strictEqual(yield* verdictOf(site), "unhealthy 4")
    })
  )

  test(
    "is left in control by a supervised start of the program, and by one of its own",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      assert.strictEqual((yield* gateway(site, "run", "--supervisor", "systemd")).code, 78)
      assert.strictEqual((yield* gateway(site, "run", "--supervisor", "external")).code, 0)
      const ended = yield* Promises.run(site, "await refused({ ...options, supervisor: \"systemd\" })")
      const { error, tag } = refusal(Gateways.linesOf(ended).at(-1) ?? "")
      assert.deepStrictEqual([tag, error.holder?.pid], ["OwnerHealthy", owner.pid], ended.stderr)
    })
  )

  test(
    "keeps a supervised start waiting while it is not healthy",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.tap(
        Promises.start(site, "await acquire(options)\nsay(\"acquired\")\nsetInterval(() => {}, 1000)"),
        ({ line }) => line(/^acquired$/)
      )
      const ended = yield* Promises.run(
        site,
        `await refused({ ...options, supervisor: "external", lock: { timeout: 0 }, health: { timeout: "1s", retryInterval: 200 } })`
      )
      assert.match(Gateways.linesOf(ended).at(-1) ?? "", /^refused OwnerUnhealthy .*"timeoutMs":1000/)
    })
  )

  test(
    "is ended by stop, and the next start takes over",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      const stop = yield* gateway(site, "stop")
      assert.deepStrictEqual([stop.code, (yield* owner.ended).signal], [0, "SIGTERM"], stop.stderr)
      yield* Promises.startListening(site)
    })
  )

  test(
    "is followed by a standby of the program, and by one of its own",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      const standby = yield* Promises.start(
        site,
        `options.standby = true\noptions.logger = { ...console, info: say }${Promises.server}`
      )
      yield* standby.line(/standing by/)
      yield* owner.signal("SIGKILL")
      yield* standby.line(/^listening$/)
      const next = yield* Gateways.start(site, { args: ["run", ...flagsOf(site), "--standby"] })
      yield* next.line(/standing by/)
      yield* standby.signal("SIGKILL")
      yield* next.listening
    })
  )

  test(
    "without a port is healthy while it holds the lock, and makes others wait",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Effect.tap(
        Promises.start(
          site,
          "const lock = await acquire({ ...options, port: false })\nawait lock.listening()\nsay(\"acquired\", lock.port)\nsetInterval(() => {}, 1000)"
        ),
        ({ line }) => line(/^acquired 0$/)
      )
      assert.strictEqual(yield* verdictOf(site), "running 0")
      const ended = yield* Promises.run(
        site,
        "await refused({ ...options, port: false, lock: { timeout: \"200ms\" } })"
      )
      const { error, pace, tag } = refusal(Gateways.linesOf(ended)[0] ?? "")
      assert.deepStrictEqual([tag, pace, error.holder?.pid], ["LockHeld", "late", owner.pid])
    })
  )

  test(
    "on a port that the system picks tells it by listening",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.start(
        site,
        `
const lock = await acquire({ ...options, port: "0" })
const server = await serve(lock, 0)
for (const port of [undefined, 0, 1.5, "80", 65536]) say(await lock.listening(port).catch(String))
await lock.listening(server.address().port)
say("port", lock.port)`
      )
      const port = Number((yield* owner.line(/^port/)).split(" ")[1])
      const lines = (yield* owner.stderr).split("\n").filter((line) => line.startsWith("SettingInvalid"))
      assert.lengthOf(lines, 5)
      assert.include(
        lines[0],
        "invalid port undefined from listening: expected the port on which the server listens, because port was 0"
      )
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).port, port)
      assert.strictEqual(yield* verdictOf(site), "running 0")
      const ended = yield* Promises.run(site, "await refused({ ...options, port: 0 })")
      const { error, pace, tag } = refusal(Gateways.linesOf(ended)[0] ?? "")
      assert.deepStrictEqual([tag, pace, error.serving?.port], ["LockHeld", "soon", port])
    })
  )

  test(
    "with the rule http is healthy while that path answers",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Promises.startListening(site, `options.ready = "http:/up"${Promises.server}`)
      assert.strictEqual(yield* verdictOf(site), "running 0")
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).ready, "http:/up")
    })
  )

  test(
    "that is suspended keeps its lock: with a listener and without",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(site)
      yield* owner.signal("SIGSTOP")
      const busy = refusal(Gateways.linesOf(yield* Promises.run(site, "await refused(options)"))[0] ?? "")
      assert.deepStrictEqual([busy.tag, busy.error.holder?.pid], ["PortInUse", owner.pid])
      yield* owner.signal("SIGKILL")
      yield* owner.ended

      const silent = yield* Effect.tap(
        Promises.start(site, "await acquire(options)\nsay(\"acquired\")\nsetInterval(() => {}, 1000)"),
        ({ line }) => line(/^acquired$/)
      )
      yield* silent.signal("SIGSTOP")
      const ended = yield* Promises.run(site, "await refused({ ...options, lock: { timeout: \"300 millis\" } })")
      const held = refusal(Gateways.linesOf(ended)[0] ?? "")
      assert.deepStrictEqual([held.tag, held.error.holder?.pid], ["LockHeld", silent.pid])
    })
  )

  test(
    "is one of eight that start at one time",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const all = yield* Effect.all(
        Array.from({ length: 8 }, () =>
          Promises.start(
            site,
            `
const lock = await acquire({ ...options, lock: { timeout: "1 minute" } }).catch((error) => say("ended", error._tag))
if (lock !== undefined) {
  await serve(lock)
  await lock.listening()
  say("ended as the owner")
}`
          )),
        { concurrency: "unbounded" }
      )
      const ends = yield* Effect.forEach(all, ({ line }) => line(/^ended /), { concurrency: "unbounded" })
      assert.deepStrictEqual(ends.toSorted(), [
        ...Array.from({ length: 7 }, () => "ended PortInUse"),
        "ended as the owner"
      ])
    })
  )

  test(
    "is refused while another program listens on its port, and touches no file",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Processes.start(
        [
          process.execPath,
          "-e",
          `require("http").createServer((q, s) => s.end("x")).listen(${site.port}, () => console.error("up"))`
        ],
        { cwd: site.root, env: {} }
      ).pipe(Effect.tap(({ line }) => line(/^up$/)))
      const ended = yield* Promises.run(site, "await refused(options)")
      assert.strictEqual(refusal(Gateways.linesOf(ended)[0] ?? "").tag, "PortInUse")
      assert.isFalse(yield* Ports.isFree(site.port))
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    })
  )

  test(
    "says why, if it cannot use its folder",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.writeFile(site.stateDir, "a file"))
      const ended = yield* Promises.run(site, "console.log((await refused(options)).report)")
      assert.strictEqual(refusal(Gateways.linesOf(ended)[0] ?? "").tag, "LockUnavailable")
      assert.match(ended.stdout, /^GatewayLockError: failed to acquire gateway lock at .*\n {2}lock: /)
    })
  )
})
