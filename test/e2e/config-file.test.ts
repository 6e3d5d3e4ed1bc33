import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as NodeChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { notLinux, unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`

/**
 * A command prefix that runs the program from a shell. The shell variable `config` has the settings as JSON. `before` and `after`
 * are shell code around the program's command, and pass the content of this variable to the program as its config.
 */
const byShell = (before: string, after: string, settings: unknown): ReadonlyArray<string> => [
  "bash",
  "-c",
  `config=${quoted(JSON.stringify(settings))}; ${before} "$@" ${after}`,
  "bash"
]

const named = (site: Gateways.Site) => ["--port", String(site.port), "--state-dir", site.stateDir]

/** The default path of the config file. If the config is not a regular file, the lock file's name is derived from this path. */
const defaultConfig = (site: Gateways.Site) => Path.join(site.root, ".config/gateway-lock/default/gateway.json")

/** Ways to pass a config that is not a regular file. */
const pipes: ReadonlyArray<readonly [what: string, before: string, after: string]> = [
  ["a process substitution", "exec", "--config <(printf '%s' \"$config\")"],
  ["a process substitution in the environment", "GATEWAY_CONFIG=<(printf '%s' \"$config\") exec", ""],
  ["/dev/stdin, a pipe", "exec < <(printf '%s' \"$config\"); exec", "--config /dev/stdin"],
  ["/dev/fd/0, a here-document", "exec", "--config /dev/fd/0 <<<\"$config\""],
  ["/proc/self/fd/9", "exec 9< <(printf '%s' \"$config\"); exec", "--config /proc/self/fd/9"],
  ["a named pipe", "mkfifo pipe; (printf '%s' \"$config\" > pipe &); exec", "--config pipe"],
  ["a slow writer", "exec", "--config <(printf '%s' \"${config:0:5}\"; sleep 0.3; printf '%s' \"${config:5}\")"]
]

unless(notLinux).describe("a config file that is no regular file is read:", () => {
  for (const [what, before, after] of pipes) {
    it.scopedLive(what, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const settings = { host: "127.0.0.2", drainTimeout: "3 seconds" }
        yield* Gateways.startListening(site, { under: byShell(before, after, settings), args: named(site) })
        const record = yield* Gateways.readRecord(Gateways.configLock({ ...site, configPath: defaultConfig(site) }))
        assert.deepInclude(record, { host: "127.0.0.2", configPath: defaultConfig(site) })
      }))
  }

  it.scopedLive("its lock is the one of the profile, so that the gateway is found without it", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const pipe = byShell("exec", "--config <(printf '%s' \"$config\")", {})
      const gateway = yield* Gateways.startListening(site, { under: pipe, args: named(site) })
      for (const words of [["status"], ["health"], ["doctor"], ["run", "--ensure"], ["stop"]]) {
        const { code, stderr } = yield* Gateways.run(site, { args: [...words, ...named(site)] })
        assert.deepStrictEqual({ words, code }, { words, code: 0 }, stderr)
      }
      yield* Gateways.assertGone(site, yield* gateway.ended)
    }))

  it.scopedLive("a relative path in it is taken from the working directory", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.writeFile(Path.join(site.root, "token"), "x".repeat(40), { mode: 0o600 }))
      const settings = { tokenFile: "token", host: "0.0.0.0" }
      const pipe = byShell("exec", "--config <(printf '%s' \"$config\")", settings)
      yield* Gateways.startListening(site, { under: pipe, args: named(site) })
      assert.strictEqual((yield* Gateways.readRecord(Gateways.stateLock(site))).host, "0.0.0.0")
    }))

  const refused: ReadonlyArray<readonly [what: string, before: string, after: string, reason: RegExp]> = [
    ["broken JSON in a pipe", "exec", "--config <(printf '{\\n \"port\": 1,\\n}')", /not JSON: line 3, column 1: /],
    [
      "a wrong setting in a pipe",
      "exec",
      "--config <(printf '{\"lock\": {\"timeout\": 0}}')",
      /"lock.timeout" in \/dev\/fd\/\d+: /
    ],
    [
      "a wrong setting in a socket, as Node gives its children",
      `exec node -e 'process.exitCode = require("child_process").spawnSync(process.argv[1], process.argv.slice(2), {
        input: JSON.stringify({ lock: { timeout: 0 } }), stdio: ["pipe", "inherit", "inherit"] }).status' --`,
      "--config /dev/stdin",
      /"lock.timeout" in \/dev\/stdin: /
    ],
    ["an endless one", "exec", "--config /dev/zero", /larger than 1 MiB/],
    [
      "a socket",
      "python3 -c 'import socket as s; s.socket(s.AF_UNIX).bind(\"socket\")'; exec",
      "--config socket",
      /ENXIO|socket/
    ],
    ["a pipe that was closed without a word", "exec", "--config <(exec)", /not JSON/]
  ]
  for (const [what, before, after, reason] of refused) {
    it.scopedLive(`${what} is refused in one line`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, stderr } = yield* Gateways.run(site, { under: byShell(before, after, {}), args: named(site) })
        assert.strictEqual(code, 64, stderr)
        assert.match(stderr, /^gateway: [^\n]+\n$/)
        assert.match(stderr, reason)
      }))
  }

  it.scopedLive("a start that waits for a pipe's writer ends at once when it is told to", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const pipe = Path.join(site.root, "pipe")
      NodeChildProcess.execFileSync("mkfifo", [pipe])
      const gateway = yield* Gateways.start(site, { args: [...named(site), "--config", pipe] })
      // The test's open of the FIFO returns once the gateway has opened it too. The test writes nothing, so the gateway waits.
      yield* Effect.acquireRelease(
        Effect.promise(() => Fs.open(pipe, "w")),
        (file) => Effect.promise(() => file.close())
      )
      const { code, stderr } = yield* Gateways.within("20 seconds", Gateways.stop(gateway))
      assert.strictEqual(code, 0, stderr)
    }))

  it.scopedLive("a service, which could not read it again, is refused", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const pipe = byShell("exec", "--config <(printf '%s' \"$config\")", {})
      const { code, stderr } = yield* Gateways.run(site, { under: pipe, args: ["service", "print", ...named(site)] })
      assert.strictEqual(code, 64, stderr)
      assert.match(stderr, /^gateway: [^\n]*--config names a pipe or a device[^\n]*name a regular file\n$/)
    }))
})

const start = ["run", "service print", "service install --dry-run"]
const look = ["status", "health", "list", "doctor", "stop", "service uninstall --dry-run"]

describe("a config file that was named and is not there", () => {
  for (const how of ["--config", "GATEWAY_CONFIG"] as const) {
    it.scopedLive(`by ${how}: a start and a service definition are refused, everything else warns and goes on`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const absent = Path.join(site.root, "absent.json")
        const flag = how === "--config" ? ["--config", absent] : []
        const env = how === "--config" ? {} : { GATEWAY_CONFIG: absent }
        const words = (command: string) => ({ args: [...command.split(" "), ...named(site), ...flag], env })
        for (const command of start) {
          const { code, stderr, stdout } = yield* Gateways.run(site, words(command))
          assert.deepStrictEqual({ command, code, stdout }, { command, code: 64, stdout: "" }, stderr)
          assert.strictEqual(
            stderr,
            `gateway: invalid config file ${absent}: ${how} names this file, but it does not exist\n`
          )
        }
        assert.deepStrictEqual(yield* Gateways.namesIn(site.stateDir), [])
        for (const command of look) {
          const { code, stderr, stdout } = yield* Gateways.run(site, words(command))
          assert.notStrictEqual(code, 64, command)
          assert.include(stderr + stdout, `${absent}: ${how} names this file, but it does not exist`, command)
        }
      }))
  }

  it.scopedLive("a gateway whose config file was removed meanwhile is still seen and stopped", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.writeConfig(site, {})
      const gateway = yield* Gateways.startListening(site)
      yield* Effect.promise(() => Fs.rm(site.configPath))
      const ask = (...words: ReadonlyArray<string>) =>
        Gateways.run(site, { args: [...words, ...named(site), "--config", site.configPath] })
      for (const words of [["status"], ["health"], ["stop"]]) {
        const { code, stderr } = yield* ask(...words)
        assert.deepStrictEqual({ words, code }, { words, code: 0 }, stderr)
      }
      yield* Gateways.assertGone(site, yield* gateway.ended)
    }))

  it.scopedLive("the profile's own may be absent", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.startListening(site, { args: named(site) })
    }))

  it.scopedLive("no advice names the profile's own where that is absent", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The default path of the config leads through a symbolic link. If the gateway compared this path with the canonical path,
      // the two would differ. The advice would then contain `--config` with the default path, which is not needed.
      yield* Effect.promise(async () => {
        await Fs.mkdir(Path.join(site.root, "real"))
        await Fs.symlink("real", Path.join(site.root, "link"))
      })
      const env = { XDG_CONFIG_HOME: Path.join(site.root, "link") }
      yield* Gateways.startListening(site, { args: named(site), env })
      const second = yield* Gateways.run(site, { args: named(site), env })
      assert.strictEqual(second.code, 1, second.stderr)
      assert.notInclude(second.stderr, "--config")
      yield* Gateways.writeConfig(site, {})
      const other = yield* Gateways.run(site, { args: [...named(site), "--config", site.configPath], env })
      assert.strictEqual(other.code, 1, other.stderr)
      assert.notInclude(other.stderr, "gateway-lock/default/gateway.json --")
    }))
})

describe("a config file", () => {
  it.scopedLive("may name its schema, which is part of the package", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.writeConfig(site, { $schema: "./gateway.schema.json", host: "127.0.0.2" })
      yield* Gateways.startListening(site)
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).host, "127.0.0.2")
    }))

  const broken: ReadonlyArray<readonly [what: string, content: string | Uint8Array, where: string]> = [
    ["a comma too many", "{\n  \"port\": 1,\n}", "line 3, column 1"],
    ["a comment", "{\n  // our port\n  \"port\": 1\n}", "line 2, column 3"],
    ["no end", "{\"port\": 1", "line 1, column 11"],
    ["nothing", "", "line 1, column 1"],
    ["UTF-16", Buffer.from("\uFEFF{}", "utf16le"), "UTF-16"]
  ]
  for (const [what, content, where] of broken) {
    it.scopedLive(`with ${what} is refused with the place`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Effect.promise(() => Fs.writeFile(site.configPath, content))
        const { code, stderr } = yield* Gateways.run(site)
        assert.strictEqual(code, 64, stderr)
        assert.match(stderr, /^gateway: invalid config file \S+gateway\.json: [^\n]+\n$/)
        assert.include(stderr, where)
      }))
  }
})
