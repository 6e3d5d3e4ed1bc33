import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Promises from "./support/promises.ts"

const test = (name: string, body: Effect.Effect<void, never, Scope.Scope>, reason?: string) =>
  it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), () => body)

/** Checks that the next start acquires the lock at once, and says whose lock it took if that owner did not release it. */
const isFreeFor = (site: Gateways.Site, previous: "released" | "ended without a release") =>
  Effect.gen(function*() {
    const ended = yield* Promises.run(
      site,
      "const lock = await acquire({ ...options, lock: { timeout: 0 } })\nawait lock.release()"
    )
    yield* Gateways.assertGone(site, ended)
    assert.strictEqual(
      Gateways.count(ended.stderr, /^gateway-lock: reclaimed gateway lock/),
      previous === "released" ? 0 : 1
    )
  })

const statusOf = (site: Gateways.Site) =>
  Effect.map(
    Gateways.run(site, {
      args: ["status", "--port", String(site.port), "--state-dir", site.stateDir, "--config", site.configPath]
    }),
    ({ code }) => code
  )

describe.concurrent("a program that ends without a release", () => {
  const ends: ReadonlyArray<
    readonly [how: string, code: string, status: number | null, signal: NodeJS.Signals | null]
  > = [
    ["by process.exit", "process.exit(3)", 3, null],
    ["by an uncaught exception", "setImmediate(() => { throw new Error(\"mistake\") })", 1, null],
    ["by an unhandled rejection", "Promise.reject(new Error(\"mistake\"))", 1, null],
    ["by process.abort", "process.abort()", null, "SIGABRT"],
    ["by SIGTERM, for which acquire adds no listener", "process.kill(process.pid, \"SIGTERM\")", null, "SIGTERM"],
    ["because it has nothing else to do", "", 0, null]
  ]
  for (const [how, code, status, signal] of ends) {
    test(
      `${how}, leaves a record that counts as dead`,
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const ended = yield* Promises.run(site, `${Promises.server.replace("await serve(lock)", "")}${code}`)
        assert.deepStrictEqual([ended.code, ended.signal], [status, signal], ended.stderr)
        assert.strictEqual(yield* statusOf(site), 1)
        yield* isFreeFor(site, "ended without a release")
      })
    )
  }
})

describe.concurrent("a held lock", () => {
  test(
    "adds no listener to the process, and is kept if its handle is dropped",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.start(
        site,
        `
const names = () => process.eventNames().map(String).sort().join()
const before = names()
void await acquire(options)
say(before === names())
for (let round = 0; round < 5; round++) {
  globalThis.gc()
  await new Promise((resolve) => setTimeout(resolve, 20))
}
say("dropped")
setInterval(() => {}, 1000)`,
        { flags: ["--expose-gc"] }
      )
      yield* owner.line(/^dropped$/)
      assert.match(yield* owner.stderr, /^true$/m)
      const ended = yield* Promises.run(site, "await refused({ ...options, lock: { timeout: 0 } })")
      assert.match(ended.stderr, /^refused LockHeld /m)
    })
  )

  test(
    "keeps a process alive that waits for it, or for its release",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Promises.startListening(site, "await acquire(options)\nsay(\"listening\")\nsetInterval(() => {}, 1000)")
      // Node ends with status 13 if it ends before a top-level await is settled.
      const waiter = yield* Promises.run(site, "await refused({ ...options, lock: { timeout: \"300ms\" } })")
      assert.strictEqual(waiter.code, 0, waiter.stderr)
      assert.match(waiter.stderr, /^refused LockHeld /m)
    })
  )

  test(
    "is not inherited by children: it ends with the process that acquired it",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.start(
        site,
        `
import { fork, spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
await acquire(options)
const idle = ${JSON.stringify(Path.join(site.root, "idle.cjs"))}
writeFileSync(idle, "setInterval(() => {}, 1000)")
const children = [
  spawn(process.execPath, [idle], { detached: true, stdio: "ignore" }),
  spawn("sleep", ["600"], { detached: true, stdio: "inherit" }),
  fork(idle, { detached: true, stdio: "ignore", serialization: "advanced" })
]
say("children", children.map(({ pid }) => pid).join(" "))`
      )
      const pids = (yield* owner.line(/^children /)).split(" ").slice(1).map(Number)
      yield* Effect.addFinalizer(() => Effect.sync(() => pids.forEach((pid) => process.kill(pid, "SIGKILL"))))
      yield* owner.signal("SIGKILL")
      yield* Execs.untilEnded(owner.pid)
      // A child with a channel to its parent ends when the channel closes, so at least the other two live.
      assert.deepStrictEqual(yield* Effect.forEach(pids.slice(0, 2), Execs.hasEnded), [false, false])
      yield* isFreeFor(site, "ended without a release")
    }),
    Program.isLinux ? undefined : "needs Linux"
  )

  test(
    "of a cluster's primary guards the workers, which listen through it",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const file = Path.join(site.root, "worker.cjs")
      yield* Effect.promise(() =>
        Fs.writeFile(
          file,
          "require('node:http').createServer((q, s) => s.end('x')).listen(Number(process.env.PORT), '127.0.0.1')"
        )
      )
      yield* Promises.startListening(
        site,
        `
import cluster from "node:cluster"
const lock = await acquire(options)
cluster.setupPrimary({ exec: ${JSON.stringify(file)}, execArgv: [] })
for (let count = 0; count < 2; count++) {
  await once(cluster.fork({ PORT: String(lock.port) }), "listening")
}
await lock.listening()
say("listening")`
      )
      assert.strictEqual(yield* statusOf(site), 0)
      assert.match((yield* Promises.run(site, "await refused(options)")).stderr, /^refused PortInUse soon/m)
    }),
    Program.isLinux ? undefined : "needs Linux"
  )

  test(
    "of a worker thread excludes the other threads, and ends with its thread",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* Promises.run(
        site,
        `
import { Worker } from "node:worker_threads"
const code = \`import("gateway-lock/promise").then(({ acquire }) => acquire(\${JSON.stringify(options)}))
  .then(() => require("node:worker_threads").parentPort.postMessage("held"))
setInterval(() => {}, 1000)\`
const worker = new Worker(code, { eval: true, execArgv: [] })
await once(worker, "message")
await refused({ ...options, lock: { timeout: 0 } })
await worker.terminate()
const lock = await acquire(options)
await lock.release()
say("acquired")`
      )
      assert.match(ended.stderr, /^refused LockHeld /m)
      assert.match(ended.stderr, /^acquired$/m)
      yield* Gateways.assertGone(site, ended)
    }),
    Program.kernelLocks ? undefined : "needs kernel locks"
  )

  test(
    "excludes a second one of the same process: of the same module, and of a module that is loaded twice",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* Promises.run(
        site,
        `
const again = await import(import.meta.resolve("gateway-lock/promise") + "?again")
const lock = await acquire(options)
for (const use of [acquire, again.acquire]) {
  const error = await use({ ...options, lock: { timeout: 0 } }).catch((error) => error)
  say(error._tag, error.holder.pid === process.pid, isGatewayLockError(error), again.isGatewayLockError(error))
}
const server = await serve(lock)
await lock.listening()
say((await again.acquire(options).catch((error) => error))._tag)
server.close()
await lock.release()
const next = await again.acquire(options)
const other = await acquire({ ...options, port: false, configPath: options.configPath + "2", stateDir: options.stateDir + "2" })
say(next.path !== other.path)
await next.release()
await other.release()`
      )
      assert.deepStrictEqual(
        Gateways.linesOf(ended),
        ["LockHeld true true true", "LockHeld true true true", "PortInUse", "true"]
      )
      yield* Gateways.assertGone(site, ended)
    })
  )
})

describe.concurrent("a wait for the lock", () => {
  const owner = "await acquire(options)\nsay(\"listening\")\nsetInterval(() => {}, 1000)"

  test(
    "is cancelled by a signal, whatever it waits for, and leaves nothing behind",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Promises.startListening(site, owner)
      const before = yield* Gateways.lockIdentities(site)
      const ended = yield* Promises.run(
        site,
        `
const cancelled = async (given) => {
  const reason = await acquire(given).then(() => "acquired", (reason) => reason)
  say(reason === given.signal.reason, reason.name ?? reason)
}
await cancelled({ ...options, signal: AbortSignal.abort() })
await cancelled({ ...options, signal: AbortSignal.abort("no time") })
await cancelled({ ...options, lock: { timeout: "1 day" }, signal: AbortSignal.timeout(200) })
await cancelled({ ...options, standby: true, signal: AbortSignal.timeout(300) })
await cancelled({ ...options, supervisor: "external", signal: AbortSignal.timeout(300) })
say("over")`
      )
      assert.deepStrictEqual(Gateways.linesOf(ended), [
        "true AbortError",
        "true no time",
        "true TimeoutError",
        "true TimeoutError",
        "true TimeoutError",
        "over"
      ])
      assert.strictEqual(ended.code, 0)
      assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
    })
  )

  test(
    "ends when the owner ends: killed, or released without an end of its process",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const first = yield* Promises.startListening(
        site,
        `
const lock = await acquire(options)
process.on("SIGUSR2", () => void lock.release())
say("listening")
setInterval(() => {}, 1000)`
      )
      const waits = {
        code:
          `options.lock = { timeout: "1 minute" }\noptions.logger = { ...console, info: say, debug: undefined }\n${owner}`
      }
      const second = yield* Promises.start(site, waits.code)
      yield* second.line(/^waiting up to /)
      yield* first.signal("SIGUSR2")
      yield* second.line(/^listening$/)
      const third = yield* Promises.start(site, waits.code)
      yield* third.line(/^waiting up to /)
      yield* second.signal("SIGKILL")
      yield* third.line(/^listening$/)
    })
  )

  test(
    "covers a restart that begins before the old process has ended",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The old process still answers for half a second after its end was asked for.
      const old = yield* Promises.startListening(
        site,
        `
const lock = await acquire(options)
const server = await serve(lock)
await lock.listening()
process.once("SIGTERM", () => setTimeout(() => server.close(() => void lock.release()), 500))
say("listening")`
      )
      yield* old.signal("SIGTERM")
      const next = yield* Promises.start(
        site,
        `options.standby = true\noptions.signal = AbortSignal.timeout(20_000)${Promises.server}`
      )
      yield* next.line(/^listening$/)
      yield* Gateways.assertClean(yield* old.ended)
    })
  )

  test(
    "is not needed under node --watch, which ends the old process first",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const file = Path.join(site.root, "watched.mjs")
      const given = { port: site.port, configPath: site.configPath, stateDir: site.stateDir, lock: { timeout: 0 } }
      const write = (version: number) =>
        Effect.promise(() =>
          Fs.writeFile(
            file,
            `
import { acquire } from ${JSON.stringify(Promises.entry)}
import { createServer } from "node:http"
// The end of the watcher closes its channel to this process. The listener must not keep the process alive.
process.once("disconnect", () => process.exit())
process.channel?.unref()
const lock = await acquire(${JSON.stringify(given)})
const server = createServer().listen(lock.port, lock.host, () => console.error("version ${version}"))
process.once("SIGTERM", () => setTimeout(() => server.close(() => void lock.release()), 300))`
          )
        )
      yield* write(1)
      const watch = yield* Promises.startFile(site, ["--watch", file])
      yield* watch.line(/^version 1$/)
      for (const version of [2, 3]) {
        // A change that comes before Node watches the file again is not seen, so it is repeated.
        yield* Effect.raceFirst(
          watch.line(new RegExp(`^version ${version}$`)),
          Effect.repeat(write(version), Schedule.spaced("5 seconds"))
        )
      }
      assert.notInclude(yield* watch.stderr, "GatewayLockError")
    }),
    Program.isLinux ? undefined : "needs Linux"
  )
})

const watchful = "options.lock = { recheckInterval: 200 }\n"

/** Starts code that holds the lock, takes the lock from it, and returns how it ended. */
const losing = (site: Gateways.Site, code: string): Effect.Effect<Processes.Ended, never, Scope.Scope> =>
  Effect.gen(function*() {
    const owner = yield* Promises.startListening(site, `${watchful}${code}`)
    yield* Gateways.takeLock(Gateways.configLock(site))
    return yield* owner.ended
  })

// A lock counts as lost after five seconds, so these tests run at the same time.
describe.concurrent("a lost lock", () => {
  const lossTest = (name: string, body: Effect.Effect<void, never, Scope.Scope>) =>
    test(name, body, Program.kernelLocks ? undefined : "needs kernel locks")

  lossTest(
    "aborts the signal with LockLost; then a program without SIGTERM listeners exits with 1 after its release",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* losing(
        site,
        `
const lock = await acquire(options)
const server = await serve(lock)
await lock.listening()
let lost
lock.signal.addEventListener("abort", () => {
  lost = performance.now()
  const { reason } = lock.signal
  say(reason._tag, isGatewayLockError(reason), reason instanceof Error)
  console.log(reason.report)
  server.close(async () => {
    say(await lock.listening().catch((error) => error === reason))
    await lock.release()
  })
})
process.on("exit", (status) => say("exit", status, performance.now() - lost < 8000))
setInterval(() => {}, 1000)
say("listening")`
      )
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.match(ended.stderr, /^LockLost true true\ntrue\nexit [01] true$/m)
      assert.match(ended.stderr, /^gateway-lock: lost gateway lock at /m)
      assert.match(
        ended.stdout,
        /^GatewayLockError: lost gateway lock at .*\n[^]*\n {2}to look at it: +npx gateway-lock status/
      )
      // The stranger's file stays.
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [
        Path.basename(Gateways.configLock(site))
      ])
    })
  )

  lossTest(
    "ends a program that does nothing about it, after drainTimeout",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* losing(
        site,
        `options.drainTimeout = "300ms"${Promises.server}
lock.signal.addEventListener("abort", () => {
  const lost = performance.now()
  // The process would end by itself 10 seconds later.
  process.on("exit", () => say("soon", performance.now() - lost < 8000))
})`
      )
      assert.match(ended.stderr, /^soon true$/m)
      assert.deepStrictEqual([ended.code, ended.signal], [1, null], ended.stderr)
    })
  )

  lossTest(
    "calls the SIGTERM listeners of a program once, and turns its exit status 0 into 1",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* losing(
        site,
        `${Promises.server.replace("say(\"listening\")", "")}
let calls = 0
process.on("SIGTERM", () => {
  say("SIGTERM", ++calls, lock.signal.aborted)
  setTimeout(() => process.exit(0), 200)
})
say("listening")`
      )
      assert.strictEqual(ended.code, 1, ended.stderr)
      assert.strictEqual(Gateways.count(ended.stderr, /^SIGTERM/), 1)
      assert.match(ended.stderr, /^SIGTERM 1 true$/m)
    })
  )

  lossTest(
    "with onLost close, is told and nothing else; a release then leaves the new owner's file",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ended = yield* losing(
        site,
        `options.onLost = "close"${Promises.server}
setInterval(() => {}, 1000)
await once(lock.signal, "abort")
await Promise.all([lock.release(), lock.release()])
say("other work")
process.exit(0)`
      )
      yield* Gateways.assertClean(ended)
      assert.match(ended.stderr, /^other work$/m)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [
        Path.basename(Gateways.configLock(site))
      ])
    })
  )

  lossTest(
    "is none if the lock is released while a check restores its file: nothing is left behind",
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Promises.startListening(
        site,
        `${watchful}options.logger = { info() {}, warn: (line) => { say(line); void lock.release().then(() => say("released")) }, error: say }
let lock
lock = await acquire(options)
setInterval(() => {}, 1000)
say("listening")`
      )
      yield* Effect.promise(() => Fs.rm(Gateways.configLock(site)))
      yield* owner.line(/^released$/)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    })
  )
})
