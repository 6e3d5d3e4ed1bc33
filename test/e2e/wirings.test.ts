/**
 * Tests an app that has lost its lock to a successor, which already serves. The app must end, whichever of several ways it uses
 * to run its layers.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs/promises"
import * as Bundle from "../fixtures/bundle.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const startWiring = (site: Gateways.Site, wiring: string, more: Record<string, unknown>) =>
  Effect.gen(function*() {
    const program = yield* Bundle.compiled(new URL("../fixtures/wiring.mjs", import.meta.url))
    const options = {
      port: site.port,
      stateDir: site.stateDir,
      configPath: site.configPath,
      lock: { recheckInterval: "200 millis" },
      drainTimeout: "1 second",
      ...more
    }
    return yield* Processes.start(
      [process.execPath, ...program, wiring, JSON.stringify(options)],
      { cwd: site.root, env: { PATH: Program.searchPath, HOME: site.root } }
    )
  })

/**
 * Pauses an owner by SIGSTOP, as if its machine were suspended, and removes its lock files. Then starts a successor on another
 * port with the same lock, and continues the owner. The paused owner cannot restore its files before the successor has the lock.
 */
const succeed = (site: Gateways.Site, owner: Processes.Running) =>
  Effect.gen(function*() {
    yield* owner.signal("SIGSTOP")
    yield* Effect.promise(() => Fs.rm(Gateways.locksFolder(site), { recursive: true }))
    const successorSite = yield* Gateways.onAnotherPort(site)
    const successor = yield* Gateways.startListening(successorSite)
    yield* owner.signal("SIGCONT")
    return { successor, successorSite }
  })

const wirings = [
  "Layer.launch under runMain",
  "Layer.launch under runFork",
  "Gateway.launch under runMain",
  "Gateway.launch under runFork",
  "a ManagedRuntime",
  "a ManagedRuntime that ends with 0 on SIGTERM",
  "a plain Scope",
  "two merged gateways"
]

const slowWirings = [
  "a program that ignores SIGTERM",
  "an app in its ninth second of building, under Layer.launch",
  "an app in its ninth second of building, under Gateway.launch"
]

/**
 * How long the app may take to end after its successor has started. The gateway ends the process of a program that ignores SIGTERM,
 * but only ten seconds after the drain, which takes up to one second here. The rest is for a busy machine.
 */
const bound = (wiring: string) => wiring === "a program that ignores SIGTERM" ? "16 seconds" : "9 seconds"

const endsIn = (wiring: string) =>
  it.scopedLive(wiring, () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const second = {
        port: (yield* Gateways.onAnotherPort(site)).port,
        stateDir: `${site.root}/second`,
        configPath: `${site.root}/second.json`
      }
      const app = yield* startWiring(site, wiring, { second })
      if (wiring.startsWith("an app in its ninth second")) yield* app.line(/^migrating, second 9$/)
      else yield* app.listening
      const { successor, successorSite } = yield* succeed(site, app)

      const ended = yield* Gateways.within(bound(wiring), app.ended)
      assert.deepStrictEqual({ code: ended.code, signal: ended.signal }, { code: 1, signal: null }, ended.stderr)
      assert.isTrue(yield* Ports.isFree(site.port))
      assert.isTrue(yield* Ports.isFree(second.port))
      assert.strictEqual(
        Gateways.count(
          ended.stdout + ended.stderr,
          new RegExp(
            `(level=|ERROR).*lost gateway lock at ${site.stateDir}/locks/.* and another process \\(pid ${successor.pid}\\)`
          )
        ),
        1,
        ended.stdout + ended.stderr
      )
      // The successor still has the lock, and still serves.
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, successor.pid)
      assert.strictEqual((yield* Clients.request(successorSite, "/healthz")).status, 200)
      yield* Gateways.assertGone(successorSite, yield* Gateways.stop(successor))
    }))

// These tests run at the same time, because each waits about ten seconds without using a processor.
describe.concurrent("a lost lock, beside a successor that serves, ends", () => {
  for (const wiring of slowWirings) endsIn(wiring)
})

describe("a lost lock, beside a successor that serves, ends", () => {
  for (const wiring of wirings) endsIn(wiring)

  it.scopedLive("but not a process that was told to go on, whose server is closed all the same", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const app = yield* startWiring(site, "Layer.launch under runMain", { onLost: "close" })
      yield* app.listening
      const { successorSite } = yield* succeed(site, app)
      yield* Ports.isFree(site.port).pipe(
        Effect.repeat({ until: (isFree) => isFree, schedule: Schedule.spaced("20 millis") }),
        Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new Error("its port is still taken") }),
        Effect.orDie
      )
      assert.strictEqual((yield* Clients.request(successorSite, "/healthz")).status, 200)
      const ended = yield* Gateways.stop(app)
      assert.deepStrictEqual({ code: ended.code, signal: ended.signal }, { code: 0, signal: null }, ended.stderr)
    }))

  it.scopedLive("and says so to a client that asks whether it is ready", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const app = yield* startWiring(site, "Layer.launch under runMain", { drainTimeout: "20 seconds" })
      yield* app.listening
      // The request lacks the empty line that ends its headers, so the request stays in flight.
      const connection = yield* Clients.connect(site)
      yield* connection.send("GET /readyz HTTP/1.1\r\nhost: localhost\r\n")
      assert.strictEqual((yield* Clients.request(site, "/readyz")).body, "{\"ready\":true}")
      yield* succeed(site, app)
      yield* Ports.isFree(site.port).pipe(
        Effect.repeat({ until: (isFree) => isFree, schedule: Schedule.spaced("20 millis") }),
        Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new Error("its port is still taken") }),
        Effect.orDie
      )
      yield* connection.send("\r\n")
      assert.match(
        yield* connection.received(/\}$/),
        /^HTTP\/1\.1 503 [^]*\{"ready":false,"failing":\["lock"\]\}$/
      )
      assert.strictEqual((yield* app.ended).code, 1)
    }))
})
