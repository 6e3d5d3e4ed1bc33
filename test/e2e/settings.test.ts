import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const hosts = { flag: "127.0.0.4", env: "127.0.0.3", file: "127.0.0.2", otherwise: "127.0.0.1" }

/** Returns the host on which a gateway with these settings listens. The tests see by this host which setting took effect. */
const hostOf = (site: Gateways.Site, options: Gateways.StartOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const gateway = yield* Gateways.startListening(site, options)
    const { host } = yield* Gateways.readRecord(Gateways.configLock(site))
    const { stderr } = yield* Gateways.stop(gateway)
    assert.include(stderr, `gateway listening on ${Gateways.url(site, host)} `)
    return host
  }))

describe("a setting", () => {
  unless(Program.isLinux ? undefined : "needs Linux, where all of 127.0.0.0/8 is this host").scopedLive(
    "comes from the flag, else the environment, else the config file, else the default",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const flags = ["--host", hosts.flag]
        const env = { GATEWAY_HOST: hosts.env }
        assert.strictEqual(yield* hostOf(site, {}), hosts.otherwise)
        yield* Gateways.writeConfig(site, { host: hosts.file })
        assert.strictEqual(yield* hostOf(site, {}), hosts.file)
        assert.strictEqual(yield* hostOf(site, { env }), hosts.env)
        assert.strictEqual(yield* hostOf(site, { env: { GATEWAY_HOST: "" } }), hosts.file)
        assert.strictEqual(yield* hostOf(site, { env, flags }), hosts.flag)
      })
  )

  it.scopedLive("of the port goes the same way", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const ports = { file: yield* Ports.reserve, env: yield* Ports.reserve, flag: yield* Ports.reserve }
      yield* Gateways.writeConfig(site, { port: ports.file })
      const args = ["--state-dir", site.stateDir, "--config", site.configPath]
      const env = { GATEWAY_PORT: String(ports.env) }
      const starts = [
        [ports.file, { args }],
        [ports.env, { args, env }],
        [ports.flag, { args: [...args, "--port", String(ports.flag)], env }]
      ] as const
      for (const [port, options] of starts) {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Gateways.startListening(site, options)
          assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).port, port)
        }))
      }
    }))

  it.scopedLive("of the state directory goes the same way, the profile's own being the default", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const env = { XDG_STATE_HOME: Path.join(site.root, "xdg"), GATEWAY_CONFIG: site.configPath }
      const port = ["--port", String(site.port)]
      const starts = [
        [Path.join(env.XDG_STATE_HOME, "gateway-lock", "default"), { args: port, env }],
        [Path.join(site.root, "env"), { args: port, env: { ...env, GATEWAY_STATE_DIR: Path.join(site.root, "env") } }],
        [Path.join(site.root, "flag"), {
          args: [...port, "--state-dir", "flag"],
          env: { ...env, GATEWAY_STATE_DIR: Path.join(site.root, "env") }
        }]
      ] as const
      for (const [stateDir, options] of starts) {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Gateways.startListening(site, options)
          const record = yield* Gateways.readRecord(Gateways.configLock({ ...site, stateDir }))
          assert.strictEqual(record.stateDir, stateDir)
        }))
      }
    }))

  it.scopedLive("that is not allowed in one place is not looked at where another goes before it", () =>
    Gateways.newGateway({ env: { GATEWAY_PORT: "none" } }))
})

interface Refusal {
  readonly what: string
  readonly flags?: ReadonlyArray<string>
  readonly env?: Record<string, string>
  /** The text of the config file. */
  readonly file?: string
  /** The parts that the line on stderr must contain: the setting, its source, its value and the allowed values. */
  readonly names: ReadonlyArray<string>
}

const refusals: ReadonlyArray<Refusal> = [
  { what: "a port that is no number", flags: ["--port", "http"], names: ["port", "--port", "\"http\"", "1 to 65535"] },
  { what: "port 0", flags: ["--port", "0"], names: ["port", "--port", "\"0\"", "1 to 65535"] },
  { what: "a port too high", flags: ["--port", "65536"], names: ["--port", "\"65536\"", "1 to 65535"] },
  { what: "a port below zero", flags: ["--port=-1"], names: ["--port", "\"-1\"", "1 to 65535"] },
  { what: "a fractional port", file: `{"port":80.5}`, names: ["\"port\" in ", "gateway.json", "80.5", "1 to 65535"] },
  { what: "a port with spaces", env: { GATEWAY_PORT: " 80 " }, names: ["GATEWAY_PORT", "\" 80 \"", "1 to 65535"] },
  { what: "a host of every address", flags: ["--host", "0.0.0.0"], names: ["host", "--host", "0.0.0.0", "loopback"] },
  { what: "a host of another machine", file: `{"host":"10.0.0.1"}`, names: ["\"host\" in ", "10.0.0.1", "loopback"] },
  { what: "a host that is no text", file: `{"host":true}`, names: ["\"host\" in ", "true", "loopback"] },
  { what: "a bad profile", flags: ["--profile", "../up"], names: ["profile", "--profile", "../up", "a-z"] },
  { what: "a bad profile", env: { GATEWAY_PROFILE: "Caps" }, names: ["profile", "GATEWAY_PROFILE", "Caps", "a-z"] },
  {
    what: "a bad duration",
    flags: ["--lock-timeout", "soon"],
    names: ["lock timeout", "--lock-timeout", "soon", "\"5 seconds\""]
  },
  {
    what: "a duration without a unit",
    env: { GATEWAY_DRAIN_TIMEOUT: "10" },
    names: ["drain timeout", "GATEWAY_DRAIN_TIMEOUT", "\"10\"", "\"10 seconds\""]
  },
  {
    what: "a duration that is too short",
    file: `{"lock":{"staleAfter":"1 millis"}}`,
    names: ["\"lock.staleAfter\" in ", "1 millis", "1 second"]
  },
  {
    what: "a number for a duration",
    file: `{"health":{"probeTimeout":5}}`,
    names: ["\"health.probeTimeout\" in ", "5", "\"1 second\""]
  },
  {
    what: "an unknown log format",
    flags: ["--log-format", "xml"],
    names: ["log format", "--log-format", "xml", "json"]
  },
  { what: "an unknown log level", env: { GATEWAY_LOG_LEVEL: "loud" }, names: ["log level", "loud", "warning"] },
  { what: "an unknown key", file: `{"prot":1}`, names: ["gateway.json", "unknown key \"prot\"", "port"] },
  { what: "an unknown nested key", file: `{"lock":{"time":1}}`, names: ["unknown key \"lock.time\"", "timeout"] },
  { what: "a value for a group", file: `{"lock":5}`, names: ["gateway.json", "\"lock\"", "object"] },
  { what: "a config file that is not JSON", file: `{"port":1,}`, names: ["gateway.json", "not JSON"] },
  { what: "an empty config file", file: "", names: ["gateway.json", "not JSON"] },
  { what: "a config file that is no object", file: `[]`, names: ["gateway.json", "not a JSON object"] },
  { what: "a config file that is a folder", flags: ["--config", "folder"], names: ["folder", "EISDIR"] },
  { what: "an unknown flag", flags: ["--prot", "1"], names: ["--prot", "--help"] },
  { what: "an unknown short flag", flags: ["-x"], names: ["-x", "--help"] },
  { what: "an unknown command", flags: ["launch"], names: ["\"launch\"", "run", "--help"] },
  { what: "a word too many", flags: ["run", "away"], names: ["\"away\"", "--help"] },
  { what: "a flag without its value", flags: ["--drain-timeout"], names: ["--drain-timeout", "<duration>"] },
  { what: "a flag for a value", flags: ["--drain-timeout", "--host"], names: ["--drain-timeout", "<duration>"] }
]

describe("bad usage ends with status 64 and one line that says what is wrong where:", () => {
  for (const { env = {}, file, flags = [], names, what } of refusals) {
    it.scopedLive(`${what} (${flags.join(" ") || file || Object.entries(env).join()})`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Effect.promise(() => Fs.mkdir(Path.join(site.root, "folder")))
        if (file !== undefined) yield* Effect.promise(() => Fs.writeFile(site.configPath, file))
        const args = ["--state-dir", site.stateDir, "--config", site.configPath, ...flags]

        // A gateway that accepted the wrong value by mistake would listen on the default port, which other programs may use. So
        // the test sets a port of its own, if the case itself sets none.
        const ownPort = file?.startsWith("{\"port\":") === true ? undefined : { GATEWAY_PORT: String(site.port) }
        const { code, stderr, stdout } = yield* Gateways.run(site, { args, env: { ...ownPort, ...env } })
        assert.strictEqual(code, 64, stderr)
        assert.strictEqual(stdout, "")
        assert.strictEqual(Gateways.count(stderr, /./), 1, stderr)
        for (const name of names) assert.include(stderr, name)
        assert.deepStrictEqual(yield* Gateways.namesIn(site.stateDir), [])
      }))
  }
})

describe("bad usage, where logs are JSON, is one line of JSON:", () => {
  const json = { flags: ["--log-format", "json"], env: {} }
  const environment = { flags: [], env: { GATEWAY_LOG_FORMAT: "json" } }
  const Line = Schema.parseJson(Schema.Struct({
    level: Schema.Literal("ERROR"),
    timestamp: Schema.String,
    name: Schema.String,
    message: Schema.String,
    error: Schema.Struct({ _tag: Schema.String }),
    next: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String }))
  }))
  const mistakes = [
    ["an unknown flag", "UsageError", ["--prot", "1"], "gateway run --help"],
    ["an unknown flag of a command", "UsageError", ["list", "--prot"], "gateway list --help"],
    ["a bad value", "SettingInvalid", ["--port", "0"], undefined],
    ["a bad config file", "ConfigFileInvalid", ["--config", "."], undefined]
  ] as const
  for (const [what, tag, args, help] of mistakes) {
    for (const [how, given] of [["by flag", json], ["by environment", environment]] as const) {
      it.scopedLive(`${what}, ${how}`, () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const { code, stderr, stdout } = yield* Gateways.run(site, { ...given, args })
          assert.deepStrictEqual({ code, stdout }, { code: 64, stdout: "" }, stderr)
          assert.strictEqual(Gateways.count(stderr, /./), 1, stderr)
          const line = yield* Effect.orDie(Schema.decodeUnknown(Line)(stderr))
          assert.deepStrictEqual([line.name, line.error._tag, line.next?.["help"]], [tag, tag, help])
        }))
    }
  }
})

describe("help and version", () => {
  it.scopedLive("of one command, as wide as 80 columns where there is no terminal", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr, stdout } = yield* Gateways.run(site, { args: ["status", "--help"] })
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      assert.match(stdout, /^gateway status: /)
      assert.match(stdout, /^Usage: gateway status \[flags\]$/m)
      assert.notInclude(stdout, "--standby")
      assert.isAtMost(Math.max(...stdout.split("\n").map((line) => line.length)), 80)
    }))

  it.scopedLive.skipIf(Program.without("script") !== undefined)(
    Program.named("fits the terminal that it is shown on", Program.without("script")),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        for (const columns of [60, 132]) {
          const command = `stty columns ${columns}; exec '${process.execPath}' '${Program.main}' run --help`
          const { code, stdout } = yield* Effect.scoped(Effect.flatMap(
            Processes.start(["script", "--quiet", "--return", "--command", command, "/dev/null"], {
              cwd: site.root,
              env: { PATH: Program.searchPath, HOME: site.root, SHELL: "/bin/sh", TERM: "dumb" }
            }),
            ({ ended }) => ended
          ))
          assert.strictEqual(code, 0, stdout)
          const widths = stdout.split(/\r?\n/).map((line) => line.length)
          assert.isAtMost(Math.max(...widths), columns)
          assert.isAtLeast(Math.max(...widths), columns - 12, "and fills it")
        }
      })
  )

  it.scopedLive("go to stdout, with status 0", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const [flag, pattern] of [["--help", /--state-dir <path>/], ["-h", /gateway <command> --help/]] as const) {
        const { code, stderr, stdout } = yield* Gateways.run(site, { flags: [flag] })
        assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
        assert.match(stdout, pattern)
      }
      for (const flag of ["--version", "-V"]) {
        const { code, stderr, stdout } = yield* Gateways.run(site, { args: [flag] })
        assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
        assert.match(stdout, /^gateway \d+\.\d+\.\d+\S*\n$/)
      }
    }))
})
