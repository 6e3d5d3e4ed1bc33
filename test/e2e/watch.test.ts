import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Terminals from "./support/terminal.ts"

/** Long enough that each picture after the first shows a change or answers a key. */
const rarely = ["--interval", "1h"]

const wide: Terminals.Size = { columns: 100, rows: 30 }

const watchStatus = (site: Gateways.Site, flags: ReadonlyArray<string> = rarely) =>
  Gateways.command(site, { flags: ["status", "--watch", ...flags] })

const environment = (site: Gateways.Site, env: Record<string, string> = {}) => ({
  PATH: Program.searchPath,
  HOME: site.root,
  TERM: "xterm-256color",
  ...env
})

const startOn = (
  site: Gateways.Site,
  words: ReadonlyArray<string>,
  size: Terminals.Size = wide,
  env: Record<string, string> = {}
) => Terminals.start(words, { ...size, cwd: site.root, env: environment(site, env) })

/** Checks that a terminal is as it was before the program: the normal screen, a cursor, a wrap, and the usual modes. */
const assertRestored = (terminal: Terminals.Terminal, modes = true) =>
  Effect.gen(function*() {
    const output = yield* terminal.output
    for (const [mode, last] of [["1049", "l"], ["25", "h"], ["7", "h"]]) {
      const set = [...output.matchAll(new RegExp(`\\u001b\\[\\?${mode}([hl])`, "g"))].at(-1)?.[1]
      assert.strictEqual(set, last, `mode ${mode}`)
    }
    assert.isFalse(yield* terminal.isAlternate)
    if (modes) assert.deepStrictEqual(yield* terminal.modes, Terminals.usual)
  })

const quoted = (words: ReadonlyArray<string>): string => words.map((word) => `'${word}'`).join(" ")

/** Runs the program as a job of an interactive shell, and returns its pid. After the job, the shell notes the modes. */
const startInShell = (site: Gateways.Site, words: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const terminal = yield* startOn(site, ["bash", "--norc", "--noprofile", "-i"], wide, {
      HISTFILE: ""
    })
    yield* terminal.shows(/^bash\S*[#$]/m)
    const job = `sh -c 'echo $$ > pid; exec "$0" "$@"' ${quoted(words)}; echo "ended $?"; stty -a > modes; echo noted`
    yield* terminal.type(`${job}\r`)
    yield* terminal.shows(/^gateway status /)
    const pid = Number(yield* Effect.promise(() => Fs.readFile(Path.join(site.root, "pid"), "utf8")))
    return { terminal, pid }
  })

const modesLeft = (site: Gateways.Site) => Effect.promise(() => Fs.readFile(Path.join(site.root, "modes"), "utf8"))

const skip = Terminals.unavailable

describe("status --watch on a terminal", () => {
  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("shows each change at once, and ends with q and the terminal as it was", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const terminal = yield* startOn(site, watchStatus(site))
        const rows = yield* terminal.shows(/not running/)
        assert.match(rows[0] ?? "", /^gateway status {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}every 1h; q quits$/)
        assert.strictEqual(rows[1], "")
        assert.isTrue(yield* terminal.isAlternate)
        assert.isFalse((yield* terminal.modes).canonical)

        const gateway = yield* Gateways.startListening(site)
        yield* terminal.shows(/^gateway .*: running\n/m)
        yield* Gateways.stop(gateway, "SIGKILL")
        yield* terminal.shows(/^gateway .*: dead\n/m)
        // Nothing of the longer picture of the running gateway is left.
        assert.notInclude((yield* terminal.screen).join("\n"), "to stop it")
        const next = yield* Gateways.startListening(site)
        yield* terminal.shows(new RegExp(`: running\\n(?:.*\\n)* +held by: +pid ${next.pid} `))
        yield* Gateways.stop(next)
        yield* terminal.shows(/: not running\n/)

        yield* terminal.type("\u001b[AxQ")
        assert.strictEqual(yield* terminal.ended, 0)
        const left = (yield* terminal.screen).join("\n")
        assert.match(left, /^gateway .*: not running\n/)
        assert.notMatch(left, /q quits/)
        yield* assertRestored(terminal, false)
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("redraws each interval and when a key asks for it, with one header and no blank screen", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const terminal = yield* startOn(site, watchStatus(site, ["--interval", "100ms"]))
        const [first = ""] = yield* terminal.shows(/every 100ms/)
        const time = first.slice(16, 36)
        yield* terminal.shows(new RegExp(`^gateway status {2}(?!${time})`))
        assert.strictEqual((yield* terminal.screen).filter((row) => row.startsWith("gateway status")).length, 1)
        // Clearing the whole screen before a picture would flicker.
        assert.notInclude(yield* terminal.output, "\u001b[2J")
        yield* terminal.type("q")
        assert.strictEqual(yield* terminal.ended, 0)

        // No watcher sees a change of the config file. A key asks for a look.
        const other = yield* startOn(site, watchStatus(site))
        yield* other.shows(/not running/)
        yield* Effect.promise(() => Fs.writeFile(site.configPath, "{ broken"))
        yield* other.type("r")
        yield* other.shows(/warning: /)
        yield* other.type("\u0003")
        assert.strictEqual(yield* other.ended, 0)
        yield* assertRestored(other, false)
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("fits a window that changes its size, and counts the rows that do not fit", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.startListening(site)
        const terminal = yield* startOn(site, watchStatus(site))
        const whole = yield* terminal.shows(/to stop it:/)
        const lines = whole.filter((row) => row !== "").length + 1
        yield* terminal.resize({ columns: wide.columns, rows: 6 })
        const few = yield* terminal.shows(/^… \d+ more$/m)
        assert.lengthOf(few, 6)
        assert.strictEqual(few[5], `… ${lines - 5} more`)
        assert.match(few[0] ?? "", /^gateway status /)
        yield* terminal.resize({ columns: 30, rows: 60 })
        const narrow = yield* terminal.shows(/^gateway status .*…\n\n/)
        assert.isAtMost(Math.max(...narrow.map((row) => row.length)), 30)
        // Long lines are wrapped, so nothing of them is lost.
        assert.include(narrow.join(""), `to stop it:`)
        yield* terminal.resize({ columns: 20, rows: 1 })
        yield* terminal.shows(/^gateway status {2}\d\d\d…$/)
        yield* terminal.resize(wide)
        assert.deepStrictEqual((yield* terminal.shows(/to stop it:/)).slice(1), whole.slice(1))
        yield* terminal.type("q")
        assert.strictEqual(yield* terminal.ended, 0)
      })
  )

  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    it.scopedLive.skipIf(skip !== undefined)(
      Program.named(`ends with status 0 on ${signal}, and the terminal is as it was`, skip),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const { pid, terminal } = yield* startInShell(site, watchStatus(site))
          yield* terminal.shows(/not running/)
          process.kill(pid, signal)
          yield* terminal.shows(/^ended 0\n(?:.*\n)*noted/m)
          yield* assertRestored(terminal, false)
          assert.match((yield* terminal.screen).join("\n"), /^gateway .*: not running$/m)
          const modes = yield* modesLeft(site)
          for (const mode of ["isig", "icanon", "echo"]) assert.match(modes, new RegExp(`[ \n]${mode}[ ;]`))
        })
    )
  }

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("gives the terminal back while it is suspended, and draws again afterwards", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { pid, terminal } = yield* startInShell(site, watchStatus(site))
        for (const suspend of [terminal.type("\u001a"), Effect.sync(() => process.kill(pid, "SIGTSTP"))]) {
          yield* terminal.shows(/not running/)
          yield* suspend
          yield* terminal.shows(/Stopped/)
          assert.isFalse(yield* terminal.isAlternate)
          yield* assertRestored(terminal, false)
          yield* terminal.resize({ columns: 40, rows: 20 })
          yield* terminal.type("clear; fg\r")
          const rows = yield* terminal.shows(/^gateway status .*…\n/)
          assert.strictEqual(rows[0]?.length, 40)
          assert.isTrue(yield* terminal.isAlternate)
          yield* terminal.resize(wide)
          yield* terminal.shows(/q quits/)
        }
        yield* terminal.type("q")
        yield* terminal.shows(/not running\n(?:.*\n)*bash\S*[#$]/)
        yield* terminal.type("stty -a > modes; echo noted\r")
        yield* terminal.shows(/^noted/m)
        yield* assertRestored(terminal, false)
        assert.match(yield* modesLeft(site), / icanon /)
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("ends when the terminal is closed", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const terminal = yield* startOn(site, watchStatus(site))
        yield* terminal.shows(/not running/)
        yield* terminal.hangUp
        assert.strictEqual(yield* terminal.ended, 0)
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("takes no keys from a stdin that is no terminal, and draws nothing on a dumb terminal", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const words = quoted(watchStatus(site))
        const terminal = yield* startOn(site, ["sh", "-c", `exec ${words} < /dev/null`])
        yield* terminal.shows(/not running/)
        assert.isTrue((yield* terminal.modes).signals)
        yield* terminal.type("\u0003")
        assert.strictEqual(yield* terminal.ended, 0)
        yield* assertRestored(terminal, false)

        const dumb = yield* startOn(site, watchStatus(site), wide, { TERM: "dumb" })
        yield* dumb.shows(/^--- .*Z\ngateway .*: .*not running/)
        yield* dumb.type("\u0003")
        assert.strictEqual(yield* dumb.ended, 0)
        assert.notInclude(yield* dumb.output, "\u001b[?")
      })
  )
})

describe("list --watch on a terminal", () => {
  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("lines up its columns below wide characters", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const env = { XDG_STATE_HOME: Path.join(site.root, "状態🚀"), NO_COLOR: "1" }
        const folder = Path.join(env.XDG_STATE_HOME, "gateway-lock")
        yield* Gateways.startListening(site, { args: ["--port", String(site.port)], env })
        const profile = "日本"
        yield* Effect.promise(() => Fs.rename(Path.join(folder, "default"), Path.join(folder, profile)))
        const terminal = yield* startOn(site, Gateways.command(site, { args: ["list", "--watch"] }), wide, env)
        const rows = yield* terminal.shows(new RegExp(`^${profile} `, "m"))
        yield* terminal.type("q")
        assert.strictEqual(yield* terminal.ended, 0, rows.join("\n"))
      })
  )
})

describe("--watch into a pipe", () => {
  /** Starts a watch whose output a reader in this process takes, and waits for parts of that output. */
  const startInto = (site: Gateways.Site, flags: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const [command = "", ...args] = Gateways.command(site, { flags: ["status", "--watch", ...rarely, ...flags] })
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(command, args, { cwd: site.root, env: environment(site), stdio: ["ignore", "pipe", "pipe"] })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const seen = { text: "", errors: "" }
      child.stdout.setEncoding("utf8").on("data", (text: string) => (seen.text += text))
      child.stderr.setEncoding("utf8").on("data", (text: string) => (seen.errors += text))
      const status = new Promise<number | null>((resolve) => child.on("close", resolve))
      const writes = (pattern: RegExp) =>
        Effect.async<string>((resume) => {
          const look = () => {
            if (pattern.test(seen.text)) resume(Effect.succeed(seen.text))
          }
          child.stdout.on("data", look)
          look()
          return Effect.sync(() => child.stdout.off("data", look))
        }).pipe(Effect.timeoutFailCause({
          duration: "20 seconds",
          onTimeout: () => Cause.die(new Error(`${pattern} never came: ${seen.text}${seen.errors}`))
        }))
      return { child, seen, writes, ended: Effect.promise(() => status) }
    })

  it.scopedLive("prints one report after each change, below a line with the time, and ends with status 0 on SIGTERM", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const watch = yield* startInto(site, [])
      yield* watch.writes(/^--- \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\ngateway .*: not running\n/)
      const gateway = yield* Gateways.startListening(site)
      yield* watch.writes(/^gateway .*: running\n/m)
      yield* Gateways.stop(gateway, "SIGKILL")
      const text = yield* watch.writes(/^gateway .*: dead\n/m)
      assert.notInclude(text, "\u001b")
      watch.child.kill("SIGTERM")
      assert.strictEqual(yield* watch.ended, 0)
      assert.strictEqual(watch.seen.errors, "")
    }))

  it.scopedLive("with --json prints one line for each change and nothing for a touch, and ends when the reader has ended", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const watch = yield* startInto(site, ["--json"])
      yield* watch.writes(/"not-running".*\n/)
      const gateway = yield* Gateways.startListening(site)
      const before = yield* watch.writes(/"running".*\n/)
      yield* Gateways.age(site)
      // A report of the touch would come before the report of the stop.
      yield* Gateways.stop(gateway)
      const text = yield* watch.writes(/"running"(?:.*\n)+.*"not-running".*\n/)
      const verdicts = text.trimEnd().split("\n").map((line) => JSON.parse(line).verdict)
      assert.deepStrictEqual(
        verdicts.filter((verdict, at) =>
          verdict !== "starting" && verdict !== "draining" && verdict !== verdicts[at - 1]
        ),
        ["not-running", "running", "not-running"]
      )
      assert.strictEqual(verdicts.filter((verdict) => verdict === "running").length, before.match(/"running"/g)?.length)
      watch.child.stdout.destroy()
      yield* Gateways.startListening(site)
      assert.strictEqual(yield* watch.ended, 0)
      assert.strictEqual(watch.seen.errors, "")
    }))

  it.scopedLive("refuses an interval that is none, or without --watch, in one line", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (
        const [flags, line] of [
          [["status", "--interval", "2s"], "gateway: --interval needs --watch; see \"gateway status --help\"\n"],
          [
            ["list", "--watch", "--interval", "10ms"],
            /^gateway: invalid interval "10ms" from --interval.*100 millis.*\n$/
          ]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* Gateways.run(site, { args: flags })
        assert.deepStrictEqual({ code, stdout }, { code: 64, stdout: "" }, stderr)
        if (typeof line === "string") assert.strictEqual(stderr, line)
        else assert.match(stderr, line)
      }
    }))
})
