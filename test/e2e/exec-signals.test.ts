import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

/**
 * A Python script that runs a program on a pseudo-terminal. The program is `gateway exec` (the wrapper) or a shell that starts it.
 * The wrapper's command (the child) writes `child <pid>`. The first argument of the script has the steps, one a line:
 *
 * - `expect <text>` waits for this output. `type <text with escapes>` types a text.
 * - `signal <name>` sends a signal to the wrapper, which is the parent of the child.
 * - `state <letters>` waits until the wrapper and the child are each in one of these states of proc(5).
 * - `close` closes the terminal, as a terminal program does when its window is closed.
 *
 * The script prints all output, then how the program ended: the exit status, or a negative signal number.
 */
const onTerminal = `
import os, pty, re, signal, sys, time
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
seen, at = "", 0
def read():
  global seen
  try: seen += os.read(terminal, 4096).decode()
  except OSError: raise SystemExit("ended: " + seen)
def stat(pid): return open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()
for line in sys.argv[1].split("\\n"):
  step, _, text = line.partition(" ")
  if step == "expect":
    while text not in seen[at:]: read()
    at = seen.index(text, at) + len(text)
  elif step == "type": os.write(terminal, text.encode().decode("unicode_escape").encode())
  elif step == "close": os.close(terminal)
  else:
    while not (found := re.search(r"child (\\d+)", seen)): read()
    child = int(found[1])
    wrapper = int(stat(child)[1])
    if step == "signal": os.kill(wrapper, signal.Signals["SIG" + text])
    while step == "state" and not all(stat(p)[0] in text for p in (wrapper, child)): time.sleep(0.02)
try:
  while True: read()
except SystemExit: print(seen)
print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

const noPython = Program.isLinux ? Program.without("python3") : "needs /proc"

const under = (...steps: ReadonlyArray<string>) => ["python3", "-c", onTerminal, steps.join("\n")]

describe("gateway exec without a terminal", () => {
  // setsid(1) runs the program in a new session, which has no terminal, even if the tests run on a terminal.
  const detached = { under: ["setsid"] }
  const skipped = Program.without("setsid")

  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("relays one SIGINT as one SIGINT", skipped),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { wrapper } = yield* Execs.startChild(site, [], detached)
        yield* wrapper.signal("SIGINT")
        yield* wrapper.line(/^got SIGINT$/)
        yield* wrapper.signal("SIGUSR1")
        const ended = yield* wrapper.ended
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.include(ended.stderr, "SIGINT: 1\n")
      })
  )

  it.scopedLive("relays TERM, HUP, QUIT, USR2, WINCH, CONT and USR1, and the command's status passes", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { wrapper } = yield* Execs.startChild(site, [])
      for (const signal of ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGUSR1"] as const) {
        yield* wrapper.signal(signal)
        yield* wrapper.line(new RegExp(`^got ${signal}$`))
      }
      assert.strictEqual((yield* wrapper.ended).code, 0)
    }))

  for (const [flags, reaches] of [[[], false], [["--group"], true]] as const) {
    const name = `relays SIGHUP to ${reaches ? "the whole group with --group" : "the command alone"}`
    it.scopedLive.skipIf(skipped !== undefined)(Program.named(name, skipped), () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // The shell waits again after each signal, because a trap interrupts its wait.
        const script = "\"$@\" & trap 'echo shell got HUP >&2' HUP; wait; wait; wait"
        const wrapper = yield* Execs.start(site, ["sh", "-c", script, "sh", ...Execs.child()], { ...detached, flags })
        const pid = yield* Execs.pidOf(wrapper)
        yield* wrapper.signal("SIGHUP")
        yield* wrapper.line(/^shell got HUP$/)
        if (reaches) yield* wrapper.line(/^got SIGHUP$/)
        process.kill(pid, "SIGUSR1")
        const { stderr } = yield* wrapper.ended
        assert.strictEqual(Gateways.count(stderr, /^got SIGHUP$/), reaches ? 1 : 0, stderr)
      }))
  }
})

describe("gateway exec on a terminal", () => {
  // On Ctrl+C the kernel sends SIGINT to the command too, so `gateway exec` must not relay its own SIGINT. After that, the test
  // sends SIGUSR1 to `gateway exec`, which relays it. On SIGUSR1, the command prints how many SIGINT it got. A SIGINT that
  // `gateway exec` relayed by mistake arrives before SIGUSR1, so the printed number includes it.
  for (const presses of [1, 2]) {
    it.scopedLive.skipIf(noPython !== undefined)(
      Program.named(`gives the command ${presses} SIGINT for ${presses} Ctrl+C`, noPython),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const press = Array.from({ length: presses }, () => ["type \\x03", "expect got SIGINT"]).flat()
          const { stderr, stdout } = yield* Execs.run(site, Execs.child(), {
            under: under("expect child", ...press, "signal USR1")
          })
          assert.match(stdout, new RegExp(`SIGINT: ${presses}\\r?\\n`), stderr)
          assert.match(stdout, /^status 0$/m)
        })
    )
  }

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("ends by SIGINT if Ctrl+C ends its command", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { stderr, stdout } = yield* Execs.run(site, Execs.child("ends"), {
          under: under("expect child", "type \\x03")
        })
        assert.match(stdout, /^status -2$/m, stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("passes the command's status after the terminal was closed, and releases the lock", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const script = "trap 'exit 3' HUP; echo ready; while :; do sleep 0.1; done"
        const { stderr, stdout } = yield* Execs.run(site, ["sh", "-c", script], {
          under: under("expect ready", "close")
        })
        assert.match(stdout, /^status 3$/m, stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  const noBash = noPython ?? Program.without("bash")
  it.scopedLive.skipIf(noBash !== undefined)(
    Program.named("is suspended with its command by Ctrl+Z, and both continue with fg", noBash),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const quoted = Gateways.command(site, { args: Execs.args(site, Execs.child()) })
          .map((word) => `'${word}'`).join(" ")
        const steps = under(
          `type ${quoted}\\n`,
          "expect child",
          "type \\x1a",
          "expect Stopped",
          "state T",
          "type fg\\n",
          "state SR",
          "type \\x03",
          "expect got SIGINT",
          "signal USR1",
          "expect SIGINT: 1",
          "type exit 9\\n"
        )
        const shell = yield* Processes.start([...steps, "bash", "--norc", "--noprofile", "-i"], {
          cwd: site.root,
          env: { PATH: Program.searchPath, HOME: site.root, PS1: "$ ", TERM: "dumb" }
        })
        const { stderr, stdout } = yield* shell.ended
        assert.match(stdout, /^status 9$/m, stderr)
      })
  )
})
