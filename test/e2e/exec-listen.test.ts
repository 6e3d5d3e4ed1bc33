import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref, Schema, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Ports from "./support/ports.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"

const support = (name: string) => fileURLToPath(new URL(`support/${name}`, import.meta.url))

const node = [process.execPath, support("listenFds.cjs")]
const listening = { flags: ["--listen"] }

/** The answer of `listenFds.cjs`. */
const Answer = Schema.parseJson(Schema.Struct({
  pid: Schema.Number,
  LISTEN_FDNAMES: Schema.String,
  LISTEN_FDS: Schema.String,
  LISTEN_PID: Schema.String,
  PORT: Schema.String
}))

/** What a client saw: the text that the server sent, or why there was no connection, or that it was cut without a text. */
type Seen = { readonly _tag: "Answered"; readonly text: string } | { readonly _tag: "Refused" | "Cut" }

/** Connects, sends a request, and reads until the server ends the connection. */
const visit = (port: number, host = "127.0.0.1"): Effect.Effect<Seen> =>
  Effect.async((resume) => {
    let isConnected = false
    let text = ""
    const socket = Net.connect({ host, port }, () => {
      isConnected = true
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    })
    socket.on("error", () => {})
    socket.on("data", (chunk) => {
      text += String(chunk)
    })
    socket.on("close", () =>
      resume(Effect.succeed(text === "" ? { _tag: isConnected ? "Cut" : "Refused" } : { _tag: "Answered", text })))
    return Effect.sync(() =>
      socket.destroy()
    )
  })

const answered = (port: number, host?: string) =>
  Effect.flatMap(visit(port, host), (seen) =>
    seen._tag === "Answered"
      ? Effect.orDie(
        Schema.decode(Answer)(
          seen.text.slice(seen.text.indexOf("\r\n\r\n") + 4).replace(/^[^{]*/, "").replace(/[^}]*$/, "")
        )
      )
      : Effect.dieMessage(`the connection was ${seen._tag}`))

/**
 * Waits until connections are refused. A process whose first thread has ended looks ended, but its other threads may keep its files
 * open for another moment. Only a parent sees the end of the whole process.
 */
const untilRefused = (port: number) =>
  Execs.until("a refused connection", Effect.map(visit(port), ({ _tag }) => _tag === "Refused"))

const isHeld = (site: Gateways.Site) =>
  Effect.map(Gateways.namesIn(Gateways.locksFolder(site)), (names) => names.length > 0)

describe("gateway exec --listen", () => {
  it.scopedLive("passes the port to Node as descriptor 3, and ends as the command", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const wrapper = yield* Execs.start(site, node, listening)
      const pid = yield* Execs.pidOf(wrapper)
      assert.deepStrictEqual(yield* answered(site.port), {
        pid,
        LISTEN_FDNAMES: "gateway",
        LISTEN_FDS: "1",
        LISTEN_PID: String(pid),
        PORT: String(site.port)
      })
      const record = yield* Gateways.readRecord(Gateways.configLock(site))
      assert.strictEqual(record.ready, "none")
      assert.strictEqual(record.child?.pid, pid)
      yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
      const shown = yield* Gateways.run(site, { flags: ["status"] })
      assert.match(shown.stdout, new RegExp(`^  listens: .*pid ${pid} .*the owner$`, "m"))
      const examined = yield* Gateways.run(site, { flags: ["doctor"] })
      assert.include(examined.stdout, `${Gateways.url(site)} is in use by the command: pid ${pid} (node)`)
      const second = yield* Execs.run(site, ["true"], listening)
      assert.strictEqual(second.code, 75, second.stderr)
      assert.include(second.stderr, "another gateway instance is already listening")
      yield* wrapper.signal("SIGUSR1")
      const { code, stderr } = yield* wrapper.ended
      assert.strictEqual(code, 3, stderr)
      assert.deepStrictEqual(yield* visit(site.port), { _tag: "Refused" })
      assert.isFalse(yield* isHeld(site))
    }))

  it.scopedLive("passes it to a shell, which can hand it on: connections wait until a program accepts them", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const script = [
        "test \"$LISTEN_PID\" = $$ || exit 40",
        "test -e /dev/fd/3 || exit 41",
        "test ! -e /dev/fd/4 || exit 42",
        "mkfifo go; echo shell $$ >&2; read -r _ < go",
        "exec \"$@\""
      ].join("; ")
      const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...node], listening)
      const pid = yield* Execs.pidOf(wrapper, "shell")
      const early = yield* Effect.fork(answered(site.port))
      yield* Effect.promise(() => Fs.writeFile(Path.join(site.root, "go"), "\n"))
      assert.strictEqual((yield* Fiber.join(early)).pid, pid)
    }))

  const noCompiler = Program.isLinux ? Program.without("gcc") : "needs Linux"
  it.scopedLive.skipIf(noCompiler !== undefined)(
    Program.named("passes it to C in blocking mode, as systemd does", noCompiler),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const program = Path.join(site.root, "server")
        const compiled = yield* Effect.flatMap(
          Processes.start(["gcc", "-o", program, support("listenFds.c")], {
            cwd: site.root,
            env: { PATH: Program.searchPath }
          }),
          ({ ended }) => ended
        )
        assert.strictEqual(compiled.code, 0, compiled.stderr)
        const wrapper = yield* Execs.start(site, [program, "2"], listening)
        yield* Execs.pidOf(wrapper)
        for (const _ of [1, 2]) {
          assert.deepStrictEqual(yield* visit(site.port), { _tag: "Answered", text: "hello from C\n" })
        }
        const { code, stderr } = yield* wrapper.ended
        assert.strictEqual(code, 5, stderr)
        assert.deepStrictEqual(yield* visit(site.port), { _tag: "Refused" })
      })
  )

  it.scopedLive("keeps no copy of the port: a dead command's connections are refused, not queued", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The command ends at once, and the process that it leaves behind keeps the lock, but has closed the socket.
      const script = "sleep 60 3<&- & echo helper $! >&2; echo ended >&2"
      const wrapper = yield* Execs.start(site, ["sh", "-c", script], listening)
      yield* Execs.pidOf(wrapper, "helper")
      yield* wrapper.line(/ended, but processes that it started/)
      assert.deepStrictEqual(yield* visit(site.port), { _tag: "Refused" })
      assert.isTrue(yield* isHeld(site))
      yield* wrapper.signal("SIGTERM")
      yield* wrapper.ended
    }))

  it.scopedLive("after SIGKILL of the wrapper the command serves on, and the next start is possible once it has ended", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const wrapper = yield* Execs.start(site, node, listening)
      const pid = yield* Execs.pidOf(wrapper)
      yield* wrapper.signal("SIGKILL")
      yield* Execs.untilEnded(wrapper.pid)
      assert.strictEqual((yield* answered(site.port)).pid, pid)
      assert.strictEqual((yield* Execs.run(site, ["true"], listening)).code, 75)
      process.kill(pid, "SIGUSR1")
      yield* untilRefused(site.port)
      const next = yield* Execs.run(site, ["true"], listening)
      assert.strictEqual(next.code, 0, next.stderr)
    }))

  it.scopedLive("loses no connection that is opened while it starts", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const seen = yield* Ref.make<ReadonlyArray<Seen["_tag"]>>([])
      const client = visit(site.port).pipe(
        Effect.tap(({ _tag }) => Ref.update(seen, (before) => [...before, _tag])),
        Effect.repeat({ until: ({ _tag }) => _tag === "Answered" })
      )
      const clients = yield* Effect.fork(Effect.all([client, client, client, client], { concurrency: "unbounded" }))
      const wrapper = yield* Execs.start(site, node, listening)
      yield* Execs.pidOf(wrapper)
      yield* Fiber.join(clients)
      const all = yield* Ref.get(seen)
      assert.include(all, "Refused")
      assert.notInclude(all, "Cut")
    }))

  it.scopedLive("refuses a port that a stranger has, and does not start the command", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Strangers.web(site, 200, "ok")
      const { code, stderr, stdout } = yield* Execs.run(site, ["echo", "started"], listening)
      assert.strictEqual(code, 75, stderr)
      assert.include(stderr, `another gateway instance is already listening on ${Gateways.url(site)}`)
      assert.strictEqual(stdout, "")
      assert.isFalse(yield* isHeld(site))
    }))

  it.scopedLive.skipIf(Namespaces.noNetwork !== undefined)(
    Program.named("fails with 125 for an address that this machine does not have", Namespaces.noNetwork),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, stderr, stdout } = yield* Execs.run(site, ["echo", "started"], {
          under: Namespaces.network,
          flags: ["--listen", "--host", "192.0.2.77"]
        })
        assert.strictEqual(code, 125, stderr)
        assert.include(stderr, `failed to bind gateway socket on ${Gateways.url(site, "192.0.2.77")}`)
        assert.strictEqual(stdout, "")
      })
  )

  for (
    const [what, name, status] of [["that does not exist", "/no/such/program", 127], [
      "that is not executable",
      "/etc/passwd",
      126
    ]] as const
  ) {
    it.scopedLive(`a command ${what} is ${status}, and frees port and lock`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, stderr } = yield* Execs.run(site, [name], listening)
        assert.strictEqual(code, status, stderr)
        assert.include(stderr, name)
        assert.isTrue(yield* Ports.isFree(site.port))
        assert.isFalse(yield* isHeld(site))
      }))
  }

  it.scopedLive("needs a port", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Execs.run(site, ["true"], { flags: ["--listen", "--no-port"] })
      assert.strictEqual(code, 64, stderr)
      assert.match(stderr, /^gateway: --listen needs a port, so it cannot be combined with --no-port; see .*\n$/)
    }))

  it.scopedLive("with an explicit --ready, that rule holds", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const refused = yield* Execs.run(site, ["sleep", "60"], {
        flags: ["--listen", "--ready", "http:/", "--start-timeout", "300 millis"]
      })
      assert.strictEqual(refused.code, 124, refused.stderr)
      const wrapper = yield* Execs.start(site, node, { flags: ["--listen", "--ready", "http:/"] })
      yield* Execs.pidOf(wrapper)
      yield* Execs.untilRecord(site, "the phase listening", ({ phase, ready }) =>
        phase === "listening" && ready === "http:/")
    }))

  const noSetpriv = Program.isLinux ? Program.without("setpriv") : "needs Linux"
  it.scopedLive.skipIf(noSetpriv !== undefined)(
    Program.named("goes with --die-with-wrapper", noSetpriv),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, node, { flags: ["--listen", "--die-with-wrapper"] })
        const pid = yield* Execs.pidOf(wrapper)
        assert.strictEqual((yield* answered(site.port)).LISTEN_PID, String(pid))
        yield* wrapper.signal("SIGKILL")
        yield* untilRefused(site.port)
      })
  )
})

describe("gateway exec --listen on another host than 127.0.0.1", () => {
  it.scopedLive("passes the loopback guard as descriptor 4", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const wrapper = yield* Execs.start(site, node, { flags: ["--listen", "--host", "127.0.0.2"] })
      const pid = yield* Execs.pidOf(wrapper)
      for (const host of ["127.0.0.2", "127.0.0.1"]) {
        const { LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID } = yield* answered(site.port, host)
        assert.deepStrictEqual([LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID], ["2", "gateway:loopback", String(pid)])
      }
      yield* wrapper.signal("SIGUSR1")
      yield* wrapper.ended
      for (const host of ["127.0.0.2", "127.0.0.1"]) {
        assert.deepStrictEqual(yield* visit(site.port, host), { _tag: "Refused" })
      }
    }))

  it.scopedLive("refuses if a stranger has only the guard", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Strangers.web(site, 200, "ok")
      const { code, stderr } = yield* Execs.run(site, ["true"], { flags: ["--listen", "--host", "127.0.0.2"] })
      assert.strictEqual(code, 75, stderr)
    }))

  /** Runs a program in the network namespace of a process, and returns what the program writes to stdout. */
  const inside = (pid: number, ...words: ReadonlyArray<string>): Effect.Effect<string, never, Scope.Scope> =>
    Effect.flatMap(
      Processes.start(["nsenter", "--target", String(pid), "--net", ...words], {
        cwd: "/",
        env: { PATH: Program.searchPath }
      }),
      ({ ended }) => Effect.map(ended, ({ stdout }) => stdout)
    )

  const lan = "192.0.2.7"
  const skipped = Namespaces.noNetwork ?? Program.without("nsenter")
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("on a LAN address, also keeps gateways of 127.0.0.1 out", skipped),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const under = [
          "unshare",
          "--net",
          "sh",
          "-c",
          `ip link set lo up && ip address add ${lan}/32 dev lo && exec "$@"`,
          "sh"
        ]
        const wrapper = yield* Execs.start(site, node, { under, flags: ["--listen", "--host", lan] })
        const pid = yield* Execs.pidOf(wrapper)
        const client = (host: string) =>
          inside(
            pid,
            process.execPath,
            "-e",
            `fetch("http://${host}:${site.port}/").then((answer) => answer.text()).then(console.log)`
          )
        for (const host of [lan, "127.0.0.1"]) {
          assert.strictEqual((yield* Effect.flatMap(client(host), Schema.decode(Answer))).LISTEN_FDS, "2")
        }
        const other = yield* Gateways.withConfig({ ...site, stateDir: `${site.stateDir}-2` }, "other.json")
        const second = yield* Execs.run(other, ["true"], {
          under: ["nsenter", "--target", String(pid), "--net"],
          ...listening
        })
        assert.strictEqual(second.code, 75, second.stderr)
      })
  )
})
