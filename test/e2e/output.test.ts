/**
 * Tests commands whose output cannot be written, or can be written only after a delay. Also tests the form of the lines on
 * stderr.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"

const notLinux = Program.isLinux ? undefined : "needs /dev/full"

/** Runs a shell script in which `"$@"` stands for the command that runs the program. */
const inShell = (site: Gateways.Site, script: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Gateways.run(site, { under: ["bash", "-c", script, "bash"], args, env })

/** Each command that writes to stdout. `ended` is the exit status of the command if its output can be written. */
const commands = (site: Gateways.Site): ReadonlyArray<readonly [args: ReadonlyArray<string>, ended: number]> => {
  const where = ["--port", String(site.port), "--state-dir", site.stateDir, "--config", site.configPath]
  return [
    [["--version"], 0],
    [["--help"], 0],
    [["run", "--help"], 0],
    [["completions", "bash"], 0],
    [["completions", "zsh"], 0],
    [["completions", "fish"], 0],
    [["status", ...where], 3],
    [["status", "--json", ...where], 3],
    [["list"], 0],
    [["list", "--json"], 0],
    [["doctor", ...where], 0],
    [["doctor", "--json", ...where], 0],
    [["stop", ...where], 0],
    [["service", "print", ...where], 0],
    [["service", "print", "--manager", "launchd", ...where], 0],
    [["service", "install", "--dry-run", ...where], 0]
  ]
}

/**
 * Removes the warning that a path may disappear. The program prints the warning if the checkout of this project is in a folder
 * for temporary files.
 */
const besidesPaths = (stderr: string): string => stderr.replaceAll(/^.* may disappear \(.*\n/gm, "")

describe("output that cannot be written", () => {
  it.scopedLive.skipIf(notLinux !== undefined)(
    Program.named("ends every command with 1, and one line says why", notLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        for (const [args] of commands(site)) {
          const { code, stderr } = yield* inShell(site, "\"$@\" > /dev/full", args)
          assert.deepStrictEqual(
            { code, stderr: besidesPaths(stderr) },
            { code: 1, stderr: "gateway: failed to write the output: ENOSPC: no space left on device, write\n" },
            args.join(" ")
          )
        }
        const gateway = yield* Gateways.startListening(site)
        const where = Gateways.command(site).slice(2)
        const ensured = yield* inShell(site, "\"$@\" > /dev/full", ["run", "--ensure", ...where])
        assert.strictEqual(ensured.code, 1)
        assert.match(ensured.stderr, /^gateway: failed to write the output: ENOSPC: [^\n]+\n$/)
        // `gateway stop` stops the gateway, although it cannot write its output.
        const stopped = yield* inShell(site, "\"$@\" > /dev/full", ["stop", ...where])
        assert.strictEqual(stopped.code, 1)
        assert.match(stopped.stderr, /^gateway: failed to write the output: ENOSPC: [^\n]+\n$/)
        yield* Gateways.assertGone(site, yield* gateway.ended)
      })
  )

  const noLimits = notLinux ?? Program.without("prlimit")

  it.scopedLive.skipIf(noLimits !== undefined)(
    Program.named("ends with 1 as well where a part of it fits", noLimits),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const script = `prlimit --fsize=300 "$@" > ${Path.join(site.root, "out")}`
        for (
          const [args] of commands(site).filter(([args]) =>
            !["--version", "list", "stop", "status"].includes(args[0] ?? "")
          )
        ) {
          const { code, stderr } = yield* inShell(site, script, args)
          assert.deepStrictEqual(
            { code, stderr: besidesPaths(stderr) },
            { code: 1, stderr: "gateway: failed to write the output: EFBIG: file too large, write\n" },
            args.join(" ")
          )
        }
      })
  )
})

describe("output that nobody reads", () => {
  it.scopedLive.skipIf(notLinux !== undefined)(
    Program.named("is no error: the status is the command's own, and stderr is empty", notLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        for (
          const [args, ended] of commands(site).filter(([args]) => args.includes("--json") || args[0] === "--help")
        ) {
          // The reader of the pipe ends before the program writes, so a write fails with EPIPE.
          const script = "exec 3> >(exec true); wait $!; \"$@\" >&3"
          const { code, stderr } = yield* inShell(site, script, args)
          assert.deepStrictEqual({ code, stderr }, { code: ended, stderr: "" }, args.join(" "))
          const head = yield* inShell(site, "\"$@\" | head -c 1; exit ${PIPESTATUS[0]}", args)
          assert.deepStrictEqual({ code: head.code, stderr: head.stderr }, { code: ended, stderr: "" }, args.join(" "))
          assert.strictEqual(head.stdout.length, 1)
        }
      })
  )
})

describe("output that is read late", () => {
  /**
   * A Python script that runs a program with a pipe of one page (4096 bytes) as stdout. The script reads nothing until the
   * program has ended or 1.5 seconds have passed. If the output is larger than the pipe, the program waits during these 1.5
   * seconds.
   */
  const reader = `
import fcntl, os, subprocess, sys
out, into = os.pipe()
fcntl.fcntl(into, 1031, 4096)
writer = subprocess.Popen(sys.argv[1:], stdout=into)
os.close(into)
try: writer.wait(1.5)
except subprocess.TimeoutExpired: pass
with open(out, "rb") as pipe: text = pipe.read()
sys.stdout.buffer.write(text)
sys.exit(writer.wait())
`
  const noPython = notLinux ?? Program.without("python3")

  it.scopedLive.skipIf(noPython !== undefined)(
    Program.named("is whole, though it is larger than its pipe", noPython),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const args = ["completions", "zsh"]
        const whole = yield* Gateways.run(site, { args })
        assert.isAbove(whole.stdout.length, 4096)
        const late = yield* Gateways.run(site, { args, under: ["python3", "-c", reader] })
        assert.deepStrictEqual({ ...late }, { ...whole })
      })
  )
})

describe("stderr with --log-format json", () => {
  const json = { GATEWAY_LOG_FORMAT: "json" }
  const keys = ["timestamp", "level", "message", "annotations", "spans"]
  const levels = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

  /** Checks that each line is a JSON object with a level, a timestamp and a message. Returns the messages. */
  const messages = (stderr: string): ReadonlyArray<string> =>
    stderr.trimEnd().split("\n").map((line) => {
      const { annotations, level, message, spans, timestamp }: Record<string, unknown> = JSON.parse(line)
      assert.deepStrictEqual(Object.keys(JSON.parse(line)).slice(0, 5), keys, line)
      assert.isObject(annotations, line)
      assert.isObject(spans, line)
      assert.include(levels, level, line)
      assert.match(String(timestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, line)
      assert.isString(message, line)
      return String(message)
    })

  it.scopedLive("has one form: logs, refusals, mistakes and notices", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const env = { ...json, GATEWAY_LOG_LEVEL: "debug" }
      const gateway = yield* Gateways.startListening(site, { env, flags: ["--log-level", "debug"] })
      const refused = yield* Gateways.run(site, { env: json })
      assert.strictEqual(refused.code, 1)
      assert.deepStrictEqual(messages(refused.stderr), [
        `another gateway instance is already listening on ${Gateways.url(site)}`
      ])
      const ended = yield* Gateways.stop(gateway)
      const said = messages(ended.stderr)
      assert.isTrue(said.some((message) => message.startsWith("gateway listening on")))
      assert.isTrue(said.some((message) => message.startsWith("gateway stopping on SIGTERM")), said.join("\n"))

      const one = (ended: Processes.Ended, code: number, message: RegExp) => {
        assert.strictEqual(ended.code, code, ended.stderr)
        const said = messages(besidesPaths(ended.stderr))
        assert.strictEqual(said.length, 1, ended.stderr)
        assert.match(said[0] ?? "", message)
      }
      const where = Gateways.command(site).slice(2)
      one(yield* Gateways.run(site, { env: json, flags: ["--prot", "1"] }), 64, /--prot/)
      one(yield* Gateways.run(site, { env: json, flags: ["health"] }), 1, /^not running: /)
      const printed = ["service", "print", "--log-format", "json", ...where]
      const exposed = { GATEWAY_TOKEN: "x".repeat(40) }
      one(yield* Gateways.run(site, { env: exposed, args: printed }), 0, /^GATEWAY_TOKEN is set in this environment/)
      yield* Strangers.stalling(site)
      one(yield* Gateways.run(site, { env: json, flags: ["stop"] }), 1, /^cannot stop the gateway: /)
      yield* Effect.promise(() => Fs.writeFile(site.configPath, "{\"prot\":1}"))
      const unreadable = yield* Gateways.run(site, { env: json, flags: ["stop"] })
      assert.match(messages(unreadable.stderr)[0] ?? "", /unknown key "prot"/)
      if (Program.isLinux) {
        one(yield* inShell(site, "\"$@\" > /dev/full", ["--help"], json), 1, /^failed to write the output: ENOSPC/)
      }
    }))

  /** The line of a start. It has no keys besides the five of every line. */
  const startLine = (stderr: string, message: RegExp): unknown => {
    const lines = stderr.trimEnd().split("\n").map((line) => JSON.parse(line))
    const line = lines.find((line) => message.test(line.message)) ?? assert.fail(stderr)
    assert.deepStrictEqual(Object.keys(line), keys)
    return line.annotations
  }

  it.scopedLive("has it for a standby and its takeover, whose start names profile, port, lock and supervisor", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const first = yield* Gateways.startListening(site, { env: json })
      const standby = yield* Gateways.start(site, { env: json, flags: ["--standby"] })
      yield* standby.line(/standing by: /)
      const ended = yield* Gateways.stop(first)
      yield* standby.listening
      const took = yield* Gateways.stop(standby)
      for (const { stderr } of [ended, took]) {
        messages(stderr)
        assert.deepStrictEqual(startLine(stderr, /^gateway listening on/), {
          profile: "default",
          port: site.port,
          lock: Gateways.configLock(site),
          supervisor: "none"
        })
      }
      assert.isTrue(
        messages(ended.stderr).some((message) => message.startsWith("gateway stopped: drained")),
        ended.stderr
      )
    }))

  it.scopedLive("has it for exec, its refusal and its stop", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const where = Gateways.command(site).slice(2)
      const args = ["exec", ...where, "--profile", "a-b", "--no-port", "--", "sleep", "1000"]
      const running = yield* Gateways.start(site, { env: json, args })
      yield* running.line(/starting/)
      const refused = yield* Gateways.run(site, { env: json, args: args.toSpliced(-3, 0, "--lock-timeout", "0s") })
      assert.strictEqual(refused.code, 75, refused.stderr)
      assert.strictEqual(messages(refused.stderr).length, 1)
      const { stderr } = yield* Gateways.stop(running)
      messages(stderr)
      assert.deepStrictEqual(startLine(stderr, /^starting "sleep" with gateway lock/), {
        profile: "a-b",
        lock: Gateways.configLock(site),
        supervisor: "none"
      })
    }))

  it.scopedLive("has it for an exception that nothing catches, too", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const thrower = fileURLToPath(new URL("../fixtures/thrower.mjs", import.meta.url))
      const gateway = yield* Gateways.startListening(site, {
        env: { ...json, NODE_OPTIONS: `--import ${thrower}` }
      })
      yield* gateway.signal("SIGUSR2")
      const ended = yield* gateway.ended
      assert.strictEqual(ended.code, 70)
      assert.isTrue(messages(ended.stderr).some((message) => message.includes("Error: ")), ended.stderr)
    }))
})
