import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as ProgramOfTest from "../fixtures/processes.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const skipped = Program.kernelLocks && Program.isLinux ? undefined : "needs Linux and kernel locks"

/** With this config `gateway exec` checks its lock files every 200 milliseconds, and so notices soon that one was replaced. */
const watchful = { lock: { recheckInterval: "200 millis" } }

const newSite = Effect.tap(Gateways.newSite, (site) => Gateways.writeConfig(site, watchful))

/**
 * Lets another process take the lock from `gateway exec` (the wrapper). Checks that the wrapper ends with status 125, that the
 * processes `pids` have ended, and that the other process still runs.
 */
const assertStopped = (
  site: Gateways.Site,
  wrapper: Processes.Running,
  pids: ReadonlyArray<number>
): Effect.Effect<Processes.Ended, never, Scope.Scope> =>
  Effect.gen(function*() {
    for (const pid of pids) assert.isFalse(yield* Execs.hasEnded(pid))
    const stranger = yield* Gateways.takeLock(Gateways.configLock(site))
    yield* Execs.untilEnded(wrapper.pid)
    for (const pid of pids) assert.isTrue(yield* Execs.hasEnded(pid), `pid ${pid} still runs`)
    assert.isFalse(yield* Execs.hasEnded(stranger.pid), "the stranger was killed")
    const ended = yield* wrapper.ended
    assert.strictEqual(ended.code, 125, ended.stderr)
    assert.include(ended.stderr, `lost gateway lock at ${Gateways.configLock(site)}`)
    assert.match(ended.stderr, /^ {2}to start again: +gateway exec .*-- <command>$/m)
    return ended
  })

const test = (name: string, body: Effect.Effect<void, never, Scope.Scope>, reason = skipped) =>
  it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), () => body)

const hurried = ["--stop-timeout", "500 millis"]

/** A shell that runs `execChild.cjs` as its child and waits for it. SIGTERM ends this shell, but not the child. */
const belowShell = ["sh", "-c", "\"$@\" & wait", "sh", ...Execs.child("listen")]

// It takes five seconds until a lock counts as lost, so the tests run at the same time.
describe.concurrent("gateway exec that loses its lock", () => {
  test(
    "ends a command that obeys SIGTERM without waiting for --stop-timeout",
    Effect.gen(function*() {
      const site = yield* newSite
      const { pid, wrapper } = yield* Execs.startChild(site, ["ends"], { flags: ["--stop-timeout", "50 seconds"] })
      yield* assertStopped(site, wrapper, [pid])
    })
  )

  test(
    "kills a command that ignores SIGTERM after --stop-timeout",
    Effect.gen(function*() {
      const site = yield* newSite
      const { pid, wrapper } = yield* Execs.startChild(site, [], { flags: hurried })
      const { stderr } = yield* assertStopped(site, wrapper, [pid])
      assert.include(stderr, "got SIGTERM")
    })
  )

  for (
    const [what, flags] of [["", []], [" with --no-inherit-lock", ["--no-inherit-lock"]]] as const
  ) {
    test(
      `kills a server below a shell that SIGTERM ends${what}`,
      Effect.gen(function*() {
        const site = yield* newSite
        const wrapper = yield* Execs.start(site, belowShell, { flags: [...hurried, ...flags] })
        const pid = yield* Execs.pidOf(wrapper)
        const { stderr } = yield* assertStopped(site, wrapper, [pid])
        assert.include(stderr, "got SIGTERM")
      })
    )
  }

  test(
    "kills a server below a shell that ignores SIGTERM too, and its children in other sessions",
    Effect.gen(function*() {
      const site = yield* newSite
      const script =
        "trap '' TERM; echo shell $$ >&2; setsid sh -c 'trap \"\" TERM; echo own $$ >&2; sleep 300' & \"$@\" & wait; wait"
      const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...Execs.child("listen")], { flags: hurried })
      const pids = yield* Effect.forEach(["shell", "own", "child"], (name) => Execs.pidOf(wrapper, name))
      yield* assertStopped(site, wrapper, pids)
    }),
    skipped ?? Program.without("setsid")
  )

  test(
    "kills a daemon that has left the tree and the group, and no other process that has the lock file open",
    Effect.gen(function*() {
      const site = yield* newSite
      // The parent of the daemon ends at once, so the daemon is no longer a descendant of the command.
      const script =
        "(setsid sh -c 'trap \"\" TERM; echo daemon $$ >&2; sleep 300' </dev/null >/dev/null &); exec \"$@\""
      const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...Execs.child("ends")], { flags: hurried })
      const pids = yield* Effect.forEach(["daemon", "child"], (name) => Execs.pidOf(wrapper, name))
      const reader = yield* ProgramOfTest.run("sh", [
        "-c",
        "exec 5<\"$1\"; echo open; exec sleep 300",
        "sh",
        Gateways.configLock(site)
      ])
        .pipe(Effect.orDie)
      yield* Effect.orDie(reader.line)
      yield* assertStopped(site, wrapper, pids)
      assert.isFalse(yield* Execs.hasEnded(reader.pid), "a reader of the lock file was killed")
    }),
    skipped ?? Program.without("setsid")
  )

  test(
    "kills a daemon after its command has ended",
    Effect.gen(function*() {
      const site = yield* newSite
      const script = "(setsid sh -c 'trap \"\" TERM; echo daemon $$ >&2; sleep 300' </dev/null >/dev/null &); exit 0"
      const wrapper = yield* Execs.start(site, ["sh", "-c", script], { flags: hurried })
      const daemon = yield* Execs.pidOf(wrapper, "daemon")
      yield* wrapper.line(/keep the lock/)
      const { stderr } = yield* assertStopped(site, wrapper, [daemon])
      assert.notInclude(stderr, "drained")
    }),
    skipped ?? Program.without("setsid")
  )

  test(
    "continues a suspended command, so that it can end by SIGTERM",
    Effect.gen(function*() {
      const site = yield* newSite
      const { pid, wrapper } = yield* Execs.startChild(site, ["ends"], { flags: ["--stop-timeout", "50 seconds"] })
      process.kill(pid, "SIGSTOP")
      yield* assertStopped(site, wrapper, [pid])
    })
  )
})
