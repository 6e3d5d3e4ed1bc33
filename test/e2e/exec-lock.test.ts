import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

const needsLinux = Program.isLinux ? undefined : "needs /proc"
const noKernelLock = Program.kernelLocks ? needsLinux : "the program under test has no kernel locks"

/** A command that leaves a file behind if it is ever started. */
const marking = (site: Gateways.Site) => ["touch", Path.join(site.root, "started")]

const assertNeverStarted = (site: Gateways.Site) =>
  Effect.map(Gateways.namesIn(site.root), (names) => assert.notInclude(names, "started"))

/**
 * Kills one process, and polls until it has ended. The end of its output would not show that: if the process is `gateway exec` (the
 * wrapper), its command still has the same streams open.
 */
const killAndWait = (pid: number) =>
  Effect.zipRight(Effect.sync(() => process.kill(pid, "SIGKILL")), Execs.untilEnded(pid))

describe("after SIGKILL of the wrapper", () => {
  Variants.each(
    "the command runs on and the next start is refused, until the command ends",
    needsLinux,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // The command does not listen on the port, so only the lock can be the reason why the second start is refused.
        const { pid, wrapper } = yield* Execs.startChild(site, [], { main })
        yield* Execs.untilRecord(site, "the command's pid", ({ child }) => child?.pid === pid)
        yield* killAndWait(wrapper.pid)
        const second = yield* Execs.run(site, marking(site), { main, flags: Gateways.hurried })
        assert.strictEqual(second.code, 75, second.stderr)
        assert.include(second.stderr, "gateway already running")
        yield* assertNeverStarted(site)
        assert.isFalse(yield* Execs.hasEnded(pid))

        yield* killAndWait(pid)
        const third = yield* Execs.run(site, ["true"], { main })
        assert.strictEqual(third.code, 0, third.stderr)
        assert.strictEqual(Gateways.count(third.stderr, /waiting/), 0, third.stderr)
      })
  )

  it.scopedLive("a command that has closed its descriptors still keeps the next start out by its port", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const close = "for (const fd of fs.readdirSync('/proc/self/fd')) {"
        + " if (fd >= 20 && fd < 100 && /lock|pipe/.test(fs.readlinkSync('/proc/self/fd/' + fd))) fs.closeSync(Number(fd)) }"
      const listen =
        "net.createServer().listen(process.env.PORT, '127.0.0.1', () => console.error('child', process.pid))"
      const wrapper = yield* Execs.start(site, ["node", "-e", `try { ${close} } catch {}; ${listen}`])
      const pid = yield* Execs.pidOf(wrapper)
      yield* killAndWait(wrapper.pid)
      const second = yield* Execs.run(site, marking(site))
      assert.strictEqual(second.code, 75, second.stderr)
      assert.include(second.stderr, `another gateway instance is already listening on ${Gateways.url(site)}`)
      yield* assertNeverStarted(site)
      yield* killAndWait(pid)
      const third = yield* Execs.run(site, ["true"])
      assert.strictEqual(third.code, 0, third.stderr)
    }))

  const noSetpriv = needsLinux ?? Program.without("setpriv")
  it.scopedLive.skipIf(noSetpriv !== undefined)(
    Program.named("the command ends too with --die-with-wrapper", noSetpriv),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { pid, wrapper } = yield* Execs.startChild(site, [], { flags: ["--die-with-wrapper"] })
        yield* wrapper.signal("SIGKILL")
        yield* Execs.untilEnded(pid)
        assert.strictEqual((yield* wrapper.ended).signal, "SIGKILL")
        const next = yield* Execs.run(site, ["true"])
        assert.strictEqual(next.code, 0, next.stderr)
      })
  )

  it.scopedLive("the command does not keep the lock with --no-inherit-lock", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { pid, wrapper } = yield* Execs.startChild(site, [], { flags: ["--no-inherit-lock"] })
      yield* Execs.untilRecord(site, "the command's pid", ({ child }) => child?.pid === pid)
      assert.isFalse((yield* Gateways.readRecord(Gateways.configLock(site))).inheritsLock)
      yield* killAndWait(wrapper.pid)
      const links = yield* Effect.promise(async () => {
        const names = await Fs.readdir(`/proc/${pid}/fd`)
        return Promise.all(names.map((name) => Fs.readlink(`/proc/${pid}/fd/${name}`).catch(() => "")))
      })
      assert.deepStrictEqual(links.filter((link) => link.endsWith(".lock")), [])
      const { rows, status } = yield* Looking.expectStatus(site, "dead")
      assert.deepInclude(status.owner, { pid, endedWrapper: wrapper.pid, mode: "exec" })
      assert.match(rows["to start it"] ?? "", /^gateway exec --[^\n]+ -- <command>$/)
    }))
})

describe("a start that finds the lock taken", () => {
  it.scopedLive.each([["--ready", "nonsense"], ["--ready", "notify"], ["--start-timeout", "soon"]])(
    "with --force, is refused for %s %s before it stops the owner",
    (flags) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway()
        const { code, stderr } = yield* Execs.run(site, ["true"], { flags: ["--force", ...flags] })
        assert.strictEqual(code, 64, stderr)
        assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, owner.pid)
        yield* Gateways.assertClean(yield* Gateways.stop(owner))
      })
  )

  it.scopedLive("ends with the status of --conflict-exit-code", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Execs.startChild(site, ["listen"])
      for (
        const [flags, status] of [[[], 75], [["--conflict-exit-code", "0"], 0], [
          ["--conflict-exit-code", "7"],
          7
        ]] as const
      ) {
        const { code, stderr, stdout } = yield* Execs.run(site, marking(site), { flags })
        assert.deepStrictEqual({ code, stdout }, { code: status, stdout: "" }, stderr)
      }
      yield* assertNeverStarted(site)
      const bad = yield* Execs.run(site, marking(site), { flags: ["--conflict-exit-code", "256"] })
      assert.strictEqual(bad.code, 64, bad.stderr)
    }))

  it.scopedLive("with --no-port waits for it as long as --lock-timeout, then starts its command", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { wrapper } = yield* Execs.startChild(site, [], { flags: ["--no-port"] })
      const refused = yield* Execs.run(site, marking(site), { flags: ["--no-port", ...Gateways.hurried] })
      assert.strictEqual(refused.code, 75, refused.stderr)
      assert.include(refused.stderr, "lock timeout after 400ms")
      yield* assertNeverStarted(site)

      const patient = yield* Execs.start(site, ["true"], { flags: ["--no-port", "--lock-timeout", "1 minutes"] })
      yield* patient.line(/waiting up to 60000ms for gateway lock|waiting up to 1m for gateway lock/)
      yield* wrapper.signal("SIGUSR1")
      assert.strictEqual((yield* wrapper.ended).code, 0)
      const { code, stderr } = yield* patient.ended
      assert.strictEqual(code, 0, stderr)
    }))

  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    it.scopedLive(`and gets ${signal} while it waits, ends by that signal and never starts its command`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const owner = yield* Execs.startChild(site, [])
        const waiting = yield* Execs.start(site, marking(site), { flags: ["--lock-timeout", "1 minutes"] })
        yield* waiting.line(/waiting up to/)
        const standby = yield* Execs.start(site, marking(site), { flags: ["--standby"] })
        yield* standby.line(/standing by/)
        for (const start of [waiting, standby]) {
          const ended = yield* Gateways.stop(start, signal)
          assert.deepStrictEqual({ code: ended.code, signal: ended.signal }, { code: null, signal }, ended.stderr)
        }
        yield* assertNeverStarted(site)
        assert.isFalse(yield* Execs.hasEnded(owner.pid))
      }))
  }

  it.scopedLive("with --standby starts its command when the owner has ended", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Execs.startChild(site, ["listen"])
      const standby = yield* Execs.start(site, Execs.child("listen"), { flags: ["--standby"] })
      yield* standby.line(/standing by/)
      assert.notInclude(yield* standby.stderr, "child ")
      yield* owner.wrapper.signal("SIGUSR1")
      yield* owner.wrapper.ended
      const pid = yield* Execs.pidOf(standby)
      yield* Execs.untilRecord(site, "the command of the standby", ({ child }) => child?.pid === pid)
      yield* standby.signal("SIGUSR1")
      yield* Gateways.assertGone(site, yield* standby.ended)
    }))

  it.scopedLive("with --standby starts its command when a killed wrapper's command has ended", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const owner = yield* Execs.startChild(site, [])
      const standby = yield* Execs.start(site, Execs.child(), { flags: ["--standby"] })
      yield* standby.line(/standing by/)
      yield* killAndWait(owner.wrapper.pid)
      assert.notInclude(yield* standby.stderr, "child ")
      yield* killAndWait(owner.pid)
      yield* Execs.pidOf(standby)
      yield* standby.signal("SIGUSR1")
      yield* Gateways.assertGone(site, yield* standby.ended)
    }))
})

/**
 * A script that Node preloads. It kills the process of `gateway exec` (the wrapper) right after this process has started its
 * command, so the wrapper cannot write the command's pid into the lock file.
 */
const killAfterSpawn = Effect.flatMap(Gateways.temporaryFolder, (folder) =>
  Effect.promise(async () => {
    const path = Path.join(folder, "kill.cjs")
    await Fs.writeFile(
      path,
      `const processes = require("node:child_process")
const { spawn } = processes
processes.spawn = (...words) => {
  const child = spawn(...words)
  if (words[1].some((word) => word.includes("started"))) process.kill(process.pid, "SIGKILL")
  return child
}
require("node:module").syncBuiltinESMExports()\n`
    )
    return { NODE_OPTIONS: `--require=${path}` }
  }))

describe("SIGKILL of the wrapper between the start of the command and its record", () => {
  const script = "touch started; echo child $$ >&2; exec sleep 300"

  Variants.each("leaves a command that keeps the lock", needsLinux, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const wrapper = yield* Execs.start(site, ["sh", "-c", script], { main, env: yield* killAfterSpawn })
      const pid = yield* Execs.pidOf(wrapper)
      yield* Execs.untilEnded(wrapper.pid)
      const second = yield* Execs.run(site, ["true"], { main, flags: Gateways.hurried })
      assert.strictEqual(second.code, 75, second.stderr)
      yield* killAndWait(pid)
      assert.strictEqual((yield* wrapper.ended).signal, "SIGKILL")
    }), [Variants.kernel])

  it.scopedLive.skipIf(needsLinux !== undefined)(
    Program.named("never runs a command that gets a socket, and frees the port", needsLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, ["sh", "-c", script], {
          flags: ["--listen"],
          env: yield* killAfterSpawn
        })
        assert.strictEqual((yield* wrapper.ended).signal, "SIGKILL")
        yield* assertNeverStarted(site)
        assert.isTrue(yield* Ports.isFree(site.port))
        const next = yield* Execs.run(site, ["true"], { flags: ["--listen"] })
        assert.strictEqual(next.code, 0, next.stderr)
      })
  )

  Variants.each("never runs the command", needsLinux, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const wrapper = yield* Execs.start(site, ["sh", "-c", script], { main, env: yield* killAfterSpawn })
      // Without kernel locks, the wrapper first starts a shell that executes the command only when the wrapper tells it to. The
      // shell shares the wrapper's streams, so `ended` completes only when the shell has ended too.
      assert.strictEqual((yield* wrapper.ended).signal, "SIGKILL")
      yield* assertNeverStarted(site)
      const next = yield* Execs.run(site, ["true"], { main })
      assert.strictEqual(next.code, 0, next.stderr)
    }), [Variants.recordOnly])
})

/**
 * A shell script that leaves a daemon behind. The daemon is no longer a descendant of the script, because its parent ends at once.
 * It is not in the process group of the script either, because setsid(1) starts it in a group of its own.
 */
const daemonising = "(setsid sh -c 'echo daemon $$ >&2; exec sleep 300' </dev/null >/dev/null &); exit 5"
const noDaemons = noKernelLock ?? Program.without("setsid")

describe("a command that leaves a daemon behind", () => {
  it.scopedLive.skipIf(noDaemons !== undefined)(
    Program.named("keeps the lock until the daemon ends, with a warning that names it", noDaemons),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, ["sh", "-c", daemonising])
        const daemon = yield* Execs.pidOf(wrapper, "daemon")
        const warning = yield* wrapper.line(/level=WARN .*keep the lock/)
        assert.include(warning, "run it in the foreground")
        assert.include(warning, `pid ${daemon}`)
        const second = yield* Execs.run(site, marking(site), { flags: Gateways.hurried })
        assert.strictEqual(second.code, 75, second.stderr)
        yield* assertNeverStarted(site)
        yield* killAndWait(daemon)
        const { code, stderr } = yield* wrapper.ended
        assert.strictEqual(code, 5, stderr)
        assert.match(
          stderr.trimEnd().split("\n").at(-1) ?? "",
          new RegExp(
            "gateway exec stopped: waited \\S.* for processes that its command left behind, released lock "
              + Gateways.configLock(site)
          )
        )
        assert.notInclude(stderr, "drained")
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  it.scopedLive.skipIf(noDaemons !== undefined)(
    Program.named("passes SIGTERM on to the daemon, and then ends", noDaemons),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, ["sh", "-c", daemonising])
        const daemon = yield* Execs.pidOf(wrapper, "daemon")
        yield* wrapper.line(/level=WARN .*keep the lock/)
        const { code, stderr } = yield* Gateways.stop(wrapper)
        assert.strictEqual(code, 5, stderr)
        assert.isTrue(yield* Execs.hasEnded(daemon))
      })
  )

  it.scopedLive.skipIf(noDaemons !== undefined)(
    Program.named("does not wait for it with --no-inherit-lock", noDaemons),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const wrapper = yield* Execs.start(site, ["sh", "-c", daemonising], { flags: ["--no-inherit-lock"] })
        const daemon = yield* Execs.pidOf(wrapper, "daemon")
        yield* Execs.untilEnded(wrapper.pid)
        assert.isFalse(yield* Execs.hasEnded(daemon))
        const next = yield* Execs.run(site, ["true"])
        assert.strictEqual(next.code, 0, next.stderr)
        yield* killAndWait(daemon)
        assert.strictEqual((yield* wrapper.ended).code, 5)
      })
  )
})

describe("16 exec at one time", () => {
  const noFlock = noKernelLock ?? Program.without("flock")
  // `test/chaos/exec.chaos.ts` starts 64.
  it.scopedLive.skipIf(noFlock !== undefined)(
    Program.named(
      "run one command, as a kernel lock that the command takes itself shows, and the others end with 75",
      noFlock
    ),
    () => Execs.assertOneOf(16),
    240_000
  )
})
