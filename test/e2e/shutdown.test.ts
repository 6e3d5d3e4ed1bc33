import { assert, describe, it } from "@effect/vitest"
import { Array, Duration, Effect } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"
import * as Shims from "./support/shims.ts"

/** A request whose body never ends. */
const endless = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const connection = yield* Clients.connect(site)
    yield* connection.send("POST /endless HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nonly this")
    return connection
  })

/** Opens a connection, gets one response over it, and returns it idle. */
const keptAlive = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const connection = yield* Clients.connect(site)
    yield* connection.send("GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert.match(yield* connection.received(/\{"ready":true\}/), /connection: keep-alive/i)
    return connection
  })

/** Sends a request without the empty line that ends its headers, so the request stays incomplete. */
const beginRequest = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const connection = yield* Clients.connect(site)
    yield* connection.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
    // This request goes over a second connection, which is opened after the bytes above were sent. So when the gateway has
    // answered this request, it has received those bytes as well.
    yield* Clients.request(site, "/readyz")
    return connection
  })

const told = { frame: { type: "shutdown", reason: "stopped" }, close: { code: 1001, reason: "stopped" } }

const farewell = (control: Clients.Control) =>
  Effect.gen(function*() {
    return { frame: yield* control.next, close: yield* control.closed }
  })

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  describe(`on ${signal}`, () => {
    it.scopedLive("an idle gateway ends at once, with status 0", () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway()
        // The limit is below the drain timeout of ten seconds, so a gateway that waits for this timeout fails the test.
        const ended = yield* Gateways.within("8 seconds", Gateways.stop(gateway, signal))
        yield* Gateways.assertGone(site, ended)
        // The last two lines say why the gateway stopped and how the drain went.
        const lines = Gateways.linesOf(ended).slice(-2)
        assert.match(lines[0] ?? "", new RegExp(`level=INFO .*"gateway stopping on ${signal}"`), ended.stderr)
        assert.match(
          lines[1] ?? "",
          new RegExp(`level=INFO .*"gateway stopped: drained in \\S+, released lock ${Gateways.configLock(site)}"`),
          ended.stderr
        )
      }))

    it.scopedLive("a busy gateway takes leave of everybody and is gone within the drain timeout", () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 second"] })
        const controls = yield* Effect.forEach(Array.range(1, 100), () => Clients.greeted(site), { concurrency: 20 })
        const idle = yield* Effect.forEach(Array.range(1, 100), () => keptAlive(site), { concurrency: 20 })
        const stuck = yield* endless(site)
        assert.isTrue(yield* stuck.isOpen)

        // The drain timeout, and five times as long for a busy machine.
        const ended = yield* Gateways.within("6 seconds", Gateways.stop(gateway, signal))
        yield* Gateways.assertGone(site, ended)

        const farewells = yield* Effect.forEach(controls, farewell, { concurrency: "unbounded" })
        assert.deepStrictEqual(farewells, Array.map(controls, () => told))
        yield* Effect.forEach(idle, ({ closed }) => closed, { concurrency: "unbounded", discard: true })
        yield* stuck.closed
        // The gateway closed the idle connections during the drain (the shutdown's wait for open requests). It cut only the
        // connection with the request in flight (`stuck`).
        assert.match(ended.stderr, /draining \d+ connections on .*, up to 1s/)
        assert.match(ended.stderr, /cutting 1 connection that did not end in time/)
      }))

    it.scopedLive("a second one cuts a long drain short, cleanly", () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 minute"] })
        const stuck = yield* endless(site)
        const control = yield* Clients.greeted(site)
        yield* gateway.signal(signal)
        yield* gateway.line(/draining \d+ connections? on .*, up to 1m/)
        assert.deepStrictEqual(yield* farewell(control), told)
        assert.isTrue(yield* stuck.isOpen)

        // A signal within half a second of the first one counts as the same request to stop, so the test waits longer.
        yield* Effect.sleep("600 millis")
        const ended = yield* Gateways.within("20 seconds", Gateways.stop(gateway, signal))
        yield* Gateways.assertGone(site, ended)
        yield* stuck.closed
      }))

    it.scopedLive("several at one time are one, and cut nothing", () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "15 seconds"] })
        const connection = yield* beginRequest(site)
        yield* Effect.replicateEffect(gateway.signal(signal), 10)
        yield* gateway.line(/draining 1 connection on /)
        yield* gateway.signal(signal)
        yield* connection.send("\r\n")
        assert.match(yield* connection.received(/"draining"/), /^HTTP\/1\.1 503 .*\r\n/)
        yield* Gateways.assertGone(site, yield* gateway.ended)
      }))
  })
}

describe("while it drains", () => {
  it.scopedLive("a gateway says so in its lock files, accepts nobody, and a new start is not let in before it ends", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 minute"] })
      const stuck = yield* endless(site)
      yield* gateway.signal("SIGTERM")
      yield* gateway.line(/draining 1 connection on /)
      assert.isTrue(yield* stuck.isOpen)
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        assert.strictEqual((yield* Gateways.readRecord(path)).phase, "draining")
      }
      assert.isTrue(yield* Ports.isFree(site.port))

      const refused = yield* Gateways.run(site, { flags: ["--lock-timeout", "300 millis"] })
      assert.strictEqual(refused.code, 1)
      assert.include(
        refused.stderr,
        `\nGatewayLockError: gateway already running (pid ${gateway.pid}); lock timeout after 300ms\n`
      )
      assert.strictEqual(Gateways.facts(refused)["phase"], "draining")

      const next = yield* Gateways.start(site, { flags: ["--lock-timeout", "15 seconds"] })
      yield* next.line(/waiting up to 15000ms for gateway lock/)
      yield* Gateways.assertClean(yield* Gateways.stop(gateway))
      yield* next.listening
      yield* Gateways.assertGone(site, yield* Gateways.stop(next))
    }))

  it.scopedLive("a request that ends in time is answered before the gateway does", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "15 seconds"] })
      const connection = yield* beginRequest(site)
      yield* gateway.signal("SIGTERM")
      yield* gateway.line(/draining 1 connection on /)
      yield* connection.send("\r\n")
      const answer = yield* connection.received(/"draining"/)
      assert.match(answer, /^HTTP\/1\.1 503 .*\r\n/)
      assert.match(answer, /connection: close/i)
      yield* Gateways.assertGone(site, yield* Gateways.within("5 seconds", gateway.ended))
    }))
})

/**
 * A Python script that runs a program on a pseudo-terminal, and closes the terminal once the program listens. It prints how the
 * program ended: the exit status, or a negative signal number.
 */
const onTerminal = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"gateway listening on" not in seen: seen += os.read(terminal, 4096)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`
const noPython = Program.without("python3")

describe("a terminal that closes", () => {
  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("is an orderly shutdown, with status 0", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const ended = yield* Gateways.run(site, { under: ["python3", "-c", onTerminal] })
        assert.strictEqual(ended.stdout, "0\n", ended.stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        assert.isTrue(yield* Ports.isFree(site.port))
      })
  )

  // Node 20 aborts when its terminal closes: nodejs/node#51519, fixed by #58200 in later versions of Node.
  const isMended = Number(process.versions.node.split(".")[0]) > 20
  it.scopedLive.skipIf(noPython !== undefined || isMended)(
    Program.named(
      "aborts a Node 20 that leaves its standard streams open",
      noPython ?? (isMended ? "needs Node 20" : undefined)
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const program =
          "process.on('SIGHUP', () => process.exit()); setInterval(() => {}, 1000); console.log('gateway listening on nothing')"
        const ended = yield* Gateways.run(site, {
          under: ["python3", "-c", onTerminal, process.execPath, "-e", program],
          args: []
        })
        // Node 20 aborts when it exits after its terminal has closed. The process then ends by SIGABRT (6), or by SIGSEGV (11) if
        // the abort itself crashes.
        assert.match(ended.stdout, /^-(6|11)\n$/, ended.stderr)
      })
  )

  it.scopedLive("is one under nohup(1) too: Node takes back that SIGHUP is ignored", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ under: ["nohup"] })
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway, "SIGHUP"))
    }))
})

describe("a file system that hangs", () => {
  it.scopedLive.skipIf(Shims.noShims !== undefined)(
    Program.named("delays neither the end of the port nor, for long, that of the process", Shims.noShims),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const disk = yield* Shims.hangingDisk
        const gateway = yield* Gateways.startListening(site, { env: disk.env })
        const control = yield* Clients.greeted(site)
        yield* disk.hang

        yield* gateway.signal("SIGTERM")
        yield* gateway.line(/gateway stopping on SIGTERM/)
        assert.isTrue(yield* Ports.isFree(site.port))
        assert.deepStrictEqual(yield* farewell(control), told)
        const ended = yield* Gateways.within("20 seconds", gateway.ended)
        assert.match(
          ended.stderr,
          /level=WARN .*gateway lock .* was not released within 5s: the file system does not answer/
        )
        // A thread of the process waits for a write that never returns. Only SIGKILL ends such a process, so the gateway sends
        // itself SIGKILL.
        assert.deepStrictEqual(
          { code: ended.code, signal: ended.signal },
          { code: null, signal: "SIGKILL" },
          ended.stderr
        )
        assert.match(ended.stderr, /the file system does not answer; ending by SIGKILL/)
        const next = yield* Gateways.startListening(site)
        yield* Gateways.assertGone(site, yield* Gateways.stop(next))
      })
  )
})

describe("an exception that nothing catches", () => {
  it.scopedLive("ends the program in order, with status 70 and its cause", () =>
    Effect.gen(function*() {
      for (const format of ["logfmt", "json"]) {
        const site = yield* Gateways.newSite
        const gateway = yield* Gateways.startListening(site, {
          flags: ["--log-format", format],
          env: { NODE_OPTIONS: `--import=${new URL("../fixtures/thrower.mjs", import.meta.url)}` }
        })
        const control = yield* Clients.greeted(site)
        const ended = yield* Gateways.within("5 seconds", Gateways.stop(gateway, "SIGUSR2"))
        assert.deepStrictEqual({ code: ended.code, signal: ended.signal }, { code: 70, signal: null }, ended.stderr)
        assert.match(ended.stderr, /thrown by a test/)
        assert.match(ended.stderr, /gateway stopping on an uncaught exception/)
        assert.deepStrictEqual(yield* farewell(control), told)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        assert.isTrue(yield* Ports.isFree(site.port))
      }
    }))

  it.scopedLive("ends it so while it drains already", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const gateway = yield* Gateways.startListening(site, {
        flags: ["--drain-timeout", "1 second"],
        env: { NODE_OPTIONS: `--import=${new URL("../fixtures/thrower.mjs", import.meta.url)}` }
      })
      const stuck = yield* endless(site)
      yield* gateway.signal("SIGTERM")
      yield* gateway.line(/draining 1 connection on /)
      const ended = yield* Gateways.within("5 seconds", Gateways.stop(gateway, "SIGUSR2"))
      assert.strictEqual(ended.code, 70, ended.stderr)
      assert.match(ended.stderr, /thrown by a test/)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      yield* stuck.closed
    }))
})

describe("a signal in the middle of a start", () => {
  const steps = 12

  it.scopedLive(
    `leaves nothing that blocks the next one, at any of ${steps + 1} moments`,
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const start = Effect.scoped(Effect.flatMap(Gateways.startListening(site), (gateway) => Gateways.stop(gateway)))
        // The test first measures how long a start takes on this machine. Then it sends a signal to one start at each of 13
        // moments, which lie between 0 and 110 percent of that time.
        const [duration] = yield* Effect.timed(start)
        for (let step = 0; step <= steps; step++) {
          const moment = Duration.times(duration, 1.1 * step / steps)
          yield* Effect.scoped(Effect.gen(function*() {
            const gateway = yield* Gateways.start(site)
            yield* Effect.sleep(moment)
            const ended = yield* Gateways.stop(gateway)
            // If SIGTERM arrives before the gateway has installed its signal handler, the default action of the signal ends the
            // process. At that point the gateway has written nothing to the disk.
            if (ended.signal !== "SIGTERM") yield* Gateways.assertClean(ended)
            const files = yield* Gateways.namesIn(Gateways.locksFolder(site))
            assert.deepStrictEqual(files, [], `after ${Duration.format(moment)}`)
            assert.isTrue(yield* Ports.isFree(site.port))
            assert.strictEqual(Gateways.count(ended.stderr, /rror/), 0, ended.stderr)
          }))
        }
        const { stderr } = yield* start
        assert.strictEqual(Gateways.count(stderr, /reclaimed|waiting/), 0, stderr)
      }),
    120_000
  )
})
