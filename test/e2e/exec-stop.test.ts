import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Processes from "../fixtures/processes.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const needsSetsid = Program.isLinux ? Program.without("setsid") : "needs /proc"
const needsLocks = needsSetsid ?? (Program.kernelLocks ? undefined : "needs kernel locks")
const needsPython = needsSetsid ?? (Processes.works("python3", ["-V"]) ? undefined : "needs python3")

const stop = (site: Gateways.Site, ...flags: ReadonlyArray<string>) => Gateways.run(site, { flags: ["stop", ...flags] })

const test = (
  name: string,
  body: () => Effect.Effect<void, never, Scope.Scope>,
  reason = needsLocks
) => it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), body)

/**
 * Starts `gateway exec` with a command that leaves a daemon behind. Kills the wrapper, and the command too, so that only the daemon
 * holds the lock. `trap` is run by the daemon first.
 */
const onlyDaemon = (trap: string) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const script = `(setsid sh -c '${trap}echo daemon $$ >&2; exec sleep 300' </dev/null >/dev/null &); exec "$@"`
    const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...Execs.child()])
    const daemon = yield* Execs.pidOf(wrapper, "daemon")
    const command = yield* Execs.pidOf(wrapper)
    yield* Execs.untilRecord(site, "the command's pid", ({ child }) => child?.pid === command)
    for (const pid of [wrapper.pid, command]) {
      process.kill(pid, "SIGKILL")
      yield* Execs.untilEnded(pid)
    }
    return { site, daemon }
  })

/** The processes whose command line has this word. */
const processesWith = (word: string) =>
  Effect.promise(async () => {
    const pids = (await Fs.readdir("/proc")).filter((name) => /^\d+$/.test(name))
    const found = await Promise.all(pids.map(async (pid) => {
      const words = await Fs.readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")
      return words.split("\0").includes(word) ? [Number(pid)] : []
    }))
    return found.flat()
  })

describe("gateway stop, if the wrapper and the command of gateway exec have ended,", () => {
  test("ends the daemon that has inherited the lock, and names it", () =>
    Effect.gen(function*() {
      const { daemon, site } = yield* onlyDaemon("")
      const { code, stderr, stdout } = yield* stop(site)
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stdout, `stopped gateway on ${Gateways.url(site)} (pid ${daemon})\n`)
      assert.match(
        stderr,
        new RegExp(`its command had ended; stopped the processes that had inherited its lock: pid ${daemon} \\(\\w+\\)`)
      )
      assert.isTrue(yield* Execs.hasEnded(daemon))
      const next = yield* Execs.run(site, ["true"])
      assert.strictEqual(next.code, 0, next.stderr)
    }))

  test("fails if the daemon ignores SIGTERM, and kills it with --force", () =>
    Effect.gen(function*() {
      const { daemon, site } = yield* onlyDaemon("trap \"\" TERM; ")
      const failed = yield* stop(site, "--timeout", "500 millis")
      assert.strictEqual(failed.code, 1)
      assert.match(
        failed.stderr,
        new RegExp(
          `did not end within 500ms: its process has ended, but its lock is still held by pid ${daemon} \\(\\w+\\).*`
            + ", which inherited it; to end it at once: gateway stop .* --force\\n"
        )
      )
      assert.isFalse(yield* Execs.hasEnded(daemon))
      const { code, stderr, stdout } = yield* stop(site, "--timeout", "500 millis", "--force")
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stdout, `killed gateway on ${Gateways.url(site)} (pid ${daemon})\n`)
      yield* Execs.untilEnded(daemon)
    }))

  test("does not end a program that only has the lock file open", () =>
    Effect.gen(function*() {
      const { daemon, site } = yield* onlyDaemon("trap \"\" TERM; ")
      const reader = yield* Processes.run("sh", [
        "-c",
        "exec 5<\"$1\"; echo open; exec sleep 300",
        "sh",
        Gateways.configLock(site)
      ]).pipe(Effect.orDie)
      yield* Effect.orDie(reader.line)
      const { code, stderr } = yield* stop(site, "--timeout", "500 millis", "--force")
      assert.strictEqual(code, 0, stderr)
      yield* Execs.untilEnded(daemon)
      assert.isFalse(yield* Execs.hasEnded(reader.pid))
    }))

  test("is refused under the daemon itself", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const words = Gateways.command(site, { flags: ["stop", "--force", "--timeout", "500 millis"] })
      // The daemon runs `gateway stop` when the test has killed the wrapper and the command, and has sent SIGUSR1.
      const script =
        `trap 'stop=1' USR1; echo daemon $$ >&2; while [ -z "$stop" ]; do sleep 0.1; done; "$@"; echo "status $?" >&2`
      const wrapper = yield* Execs.start(site, [
        "sh",
        "-c",
        `(setsid sh -c "$0" sh "$@" </dev/null >/dev/null &); exec sleep 300`,
        script,
        ...words
      ])
      const daemon = yield* Execs.pidOf(wrapper, "daemon")
      yield* Execs.untilRecord(site, "the command", ({ child }) => child !== undefined)
      const { child } = yield* Gateways.readRecord(Gateways.configLock(site))
      for (const pid of [wrapper.pid, yield* Execs.killLater(child?.pid ?? 0)]) {
        process.kill(pid, "SIGKILL")
        yield* Execs.untilEnded(pid)
      }
      process.kill(daemon, "SIGUSR1")
      yield* wrapper.line(/^status 1$/)
      assert.match(
        yield* wrapper.stderr,
        /this command runs under a process that holds the lock, and would end with it/
      )
    }))
})

describe("gateway stop --force", () => {
  for (const flags of [[], ["--no-inherit-lock"]]) {
    test(
      `leaves no process of a command that starts others all the time ${flags.join(" ")}`.trim(),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const mark = `300.${site.port}`
          // Each child leaves the process group, ignores SIGTERM, and starts one child more.
          const script = [
            "import os, signal, sys, time",
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
            "print('child', os.getpid(), file=sys.stderr, flush=True)",
            "for _ in range(400):",
            "  if os.fork() == 0:",
            "    os.setsid()",
            "    time.sleep(0.003)",
            "    if os.fork() == 0: os.setsid()",
            `    os.execvp('sleep', ['sleep', '${mark}'])`,
            "  time.sleep(0.01)",
            "time.sleep(300)"
          ].join("\n")
          const wrapper = yield* Execs.start(site, ["python3", "-c", script], { flags })
          yield* Effect.addFinalizer(() =>
            Effect.map(processesWith(mark), (pids) => pids.forEach((pid) => process.kill(pid, "SIGKILL")))
          )
          const pid = yield* Execs.pidOf(wrapper)
          yield* Execs.untilRecord(site, "the command's pid", ({ child }) => child?.pid === pid)
          const { code, stderr } = yield* stop(site, "--timeout", "0 seconds", "--force")
          assert.strictEqual(code, 0, stderr)
          assert.isTrue(yield* Execs.hasEnded(pid))
          // A killed process is a zombie until its parent collects its status, and the command line of a zombie is empty.
          assert.deepStrictEqual(yield* processesWith(mark), [])
        }),
      needsPython
    )
  }
})
