import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { commands, parse } from "../../src/cli/CommandLine.ts"
import { namesCommand, relaysSignals } from "../../src/cli/typedWords.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)
const flags = all.flatMap(({ flag }) => flag === undefined ? [] : [flag])
const commandNames = Object.keys(commands).join(", ")

/** Parses a command line. Returns the command, or the error message. */
const read = (...argv: ReadonlyArray<string>): unknown =>
  Either.match(Effect.runSync(Effect.either(parse(argv))), {
    onLeft: (error) => error.message,
    onRight: (command) => "flags" in command ? { ...command, flags: Object.fromEntries(command.flags) } : command
  })

const run = (flags: Readonly<Record<string, string>>, switches = {}) => ({
  _tag: "Run",
  flags,
  standby: false,
  ensure: false,
  force: false,
  ...switches
})

/** The end of an error message: it names the help of the typed command. Flags alone are those of `run`. */
const hint = (...argv: ReadonlyArray<string>) => {
  const [word = ""] = argv[0]?.startsWith("-") === true || argv.length === 0 ? ["run"] : argv
  return `; see "gateway ${Object.hasOwn(commands, word) ? `${word} ` : ""}--help"`
}

describe("CommandLine.parse", () => {
  it("runs without a command, and with `run`", () => {
    assert.deepStrictEqual(read(), run({}))
    assert.deepStrictEqual(read("run"), run({}))
  })

  it("knows every flag and switch of the contract's settings and of run", () => {
    assert.includeMembers(flags, [
      "port",
      "host",
      "profile",
      "config",
      "state-dir",
      "supervisor",
      "lock-timeout",
      "drain-timeout",
      "log-format",
      "log-level"
    ])
    assert.deepStrictEqual(read("run", "--standby"), run({}, { standby: true }))
    assert.deepStrictEqual(read("--ensure"), run({}, { ensure: true }))
    assert.deepStrictEqual(read("run", "--force"), run({}, { force: true }))
  })

  it.each(flags)("takes --%s with its value apart and with =", (flag) => {
    assert.deepStrictEqual(read(`--${flag}`, "x y"), run({ [flag]: "x y" }))
    assert.deepStrictEqual(read(`--${flag}=x y`), run({ [flag]: "x y" }))
    assert.deepStrictEqual(read("run", `--${flag}=a=b`), run({ [flag]: "a=b" }))
    assert.deepStrictEqual(read(`--${flag}`, "x", "run"), run({ [flag]: "x" }))
    assert.deepStrictEqual(read(`--${flag}=`), run({ [flag]: "" }))
  })

  it.each(flags)("--%s needs a value", (flag) => {
    const placeholder = all.find((setting) => setting.flag === flag)?.placeholder
    const needs = `--${flag} needs a value: --${flag} ${placeholder}${hint()}`
    assert.strictEqual(read(`--${flag}`), needs)
    assert.strictEqual(read(`--${flag}`, "--help"), needs)
    assert.strictEqual(read(`--${flag}`, "-1"), needs)
    // With `=`, the parser accepts any value. The value is checked later, by the setting that belongs to the flag.
    assert.deepStrictEqual(read(`--${flag}=-1`), run({ [flag]: "-1" }))
  })

  it("the last of a repeated flag counts", () => {
    assert.deepStrictEqual(read("--port", "1", "--port=2", "--host", "h"), run({ port: "2", host: "h" }))
  })

  it("a service definition: what to do, for which manager, with the settings of the gateway it is for", () => {
    const service = {
      _tag: "Service",
      action: "print",
      flags: {},
      manager: undefined,
      system: false,
      user: undefined,
      dryRun: false,
      exec: undefined,
      follow: false,
      lines: undefined
    }
    assert.deepStrictEqual(read("service", "print"), service)
    for (const action of ["start", "stop", "restart", "status"]) {
      assert.deepStrictEqual(read("service", action), { ...service, action })
      // The line that installed the service works with another action too.
      assert.deepStrictEqual(
        read("service", action, "--exec", "--ready", "port", "--port", "1", "--", "server", "-x"),
        { ...service, action, flags: { port: "1" } }
      )
    }
    const logs = { ...service, action: "logs", follow: true }
    assert.deepStrictEqual(read("service", "logs", "-f"), logs)
    assert.deepStrictEqual(read("service", "logs", "--follow", "--lines", "all"), { ...logs, lines: "all" })
    assert.deepStrictEqual(
      read("service", "install", "--manager", "systemd", "--system", "--dry-run", "--port=1", "--profile", "night"),
      {
        ...service,
        action: "install",
        manager: "systemd",
        system: true,
        dryRun: true,
        flags: { port: "1", profile: "night" }
      }
    )
  })

  it("what operators ask: settings to find the gateway, and the form of the answer", () => {
    assert.deepStrictEqual(read("status", "--json", "--profile", "night"), {
      _tag: "Status",
      flags: { profile: "night" },
      json: true,
      watch: false,
      interval: undefined
    })
    assert.deepStrictEqual(read("list", "--watch", "--interval", "5s"), {
      _tag: "List",
      flags: {},
      json: false,
      watch: true,
      interval: "5s"
    })
    assert.deepStrictEqual(read("doctor", "--json"), { _tag: "Doctor", flags: {}, json: true })
    assert.deepStrictEqual(read("leader", "show", "--json"), { _tag: "Leader", flags: {}, action: "show", json: true })
    assert.deepStrictEqual(read("leader", "resign", "--lease-name", "a"), {
      _tag: "Leader",
      flags: { "lease-name": "a" },
      action: "resign",
      json: false
    })
    assert.deepStrictEqual(read("health", "--port=1"), { _tag: "Health", flags: { port: "1" } })
    const stop = { _tag: "Stop", flags: {}, timeout: undefined, force: false }
    assert.deepStrictEqual(read("stop"), stop)
    assert.deepStrictEqual(read("stop", "--timeout", "1 second", "--force"), {
      ...stop,
      timeout: "1 second",
      force: true
    })
  })

  it.each(["--help", "-h"])("%s shows everything, and after a command that command", (word) => {
    assert.deepStrictEqual(read(word), { _tag: "Help" })
    assert.deepStrictEqual(read("--port", "1", word), { _tag: "Help" })
    for (const command of Object.keys(commands)) {
      assert.deepStrictEqual(read(command, word), { _tag: "Help", command })
      assert.deepStrictEqual(read(word, command), { _tag: "Help", command })
    }
  })

  it.each(["--version", "-V"])("%s works for every command", (word) => {
    assert.deepStrictEqual(read(word), { _tag: "Version" })
    assert.deepStrictEqual(read("--port", "1", word), { _tag: "Version" })
    for (const command of Object.keys(commands)) assert.deepStrictEqual(read(command, word), { _tag: "Version" })
  })

  it("completions, for a shell", () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      assert.deepStrictEqual(read("completions", shell), { _tag: "Completions", shell })
    }
  })

  it("help goes before version and before a wrong command, not before a wrong flag", () => {
    assert.deepStrictEqual(read("--version", "--help"), { _tag: "Help" })
    assert.deepStrictEqual(read("-hV"), { _tag: "Help" })
    assert.deepStrictEqual(read("no-such-command", "-h"), { _tag: "Help" })
    assert.strictEqual(read("--prot", "1", "--help"), `unknown flag "--prot" (did you mean "--port"?)${hint()}`)
  })

  it.each<readonly [mistake: string, argv: ReadonlyArray<string>]>([
    ["unknown flag \"--prot\" (did you mean \"--port\"?)", ["--prot", "1"]],
    ["unknown flag \"--prot\" (did you mean \"--port\"?)", ["--prot=1"]],
    ["unknown flag \"--jsno\" (did you mean \"--json\"?)", ["status", "--jsno"]],
    ["unknown flag \"--satndby\" (did you mean \"--standby\"?)", ["--satndby"]],
    // `--json` is not suggested, because `stop` does not have this flag.
    ["unknown flag \"--jsno\"", ["stop", "--jsno"]],
    ["unknown flag \"--colour\"", ["list", "--colour"]],
    ["unknown flag \"-p\"", ["-p", "1"]],
    ["unknown flag \"--no-host\"", ["--no-host"]],
    ["--no-port is not a flag of \"run\"", ["--no-port"]],
    ["unknown flag \"--port\\n\" (did you mean \"--port\"?)", ["--port\n=1"]],
    ["unknown flag \"--Port\" (did you mean \"--port\"?)", ["--Port=1"]],
    ["unknown flag \"--__proto__\"", ["--__proto__=1"]],
    ["unknown flag \"--__proto__\"", ["--__proto__"]],
    ["unknown flag \"--constructor\"", ["--constructor"]],
    ["unknown flag \"--\\u001b[31m\"", ["--\u001b[31m"]],
    ["--help takes no value", ["--help=yes"]],
    ["--version takes no value", ["--version="]],
    ["--standby takes no value", ["--standby=yes"]],
    ["--standby and --ensure cannot be combined", ["run", "--ensure", "--standby"]],
    ["--force cannot be combined with --standby or --ensure", ["run", "--ensure", "--force"]],
    ["--json is not a flag of \"stop\"", ["stop", "--json"]],
    ["--watch is not a flag of \"stop\"", ["stop", "--watch"]],
    ["--interval needs --watch", ["status", "--interval", "2s"]],
    ["--interval needs a value: --interval <duration>", ["list", "--watch", "--interval"]],
    ["--dry-run is not a flag of \"run\"", ["--dry-run"]],
    ["--manager is not a flag of \"run\"", ["run", "--manager", "systemd"]],
    [
      "--standby needs --exec: gateway service install --exec [flags] -- <command> [arguments]",
      ["service", "print", "--standby"]
    ],
    [
      "--ready needs --exec: gateway service install --exec [flags] -- <command> [arguments]",
      ["service", "install", "--ready", "port"]
    ],
    [
      "a command needs --exec: gateway service install --exec [flags] -- <command> [arguments]",
      ["service", "install", "--", "true"]
    ],
    [
      "--exec needs \"--\" before the command: gateway service install --exec [flags] -- <command> [arguments]",
      ["service", "install", "--exec"]
    ],
    ["exec needs a command after \"--\"", ["service", "install", "--exec", "--"]],
    [
      "--ensure is not a flag of \"service\"",
      ["service", "install", "--exec", "--ensure", "--", "true"]
    ],
    [
      "--force is not a flag of \"service\"",
      ["service", "print", "--exec", "--force", "--", "true"]
    ],
    ["--json is not a flag of \"service\"", ["service", "print", "--exec", "--json", "--", "true"]],
    ["--manager needs a value: --manager <name>", ["service", "print", "--manager"]],
    ["--user needs --system, because a user's own service runs as that user", ["service", "print", "--user", "bob"]],
    ["--user needs a value: --user <name>", ["service", "print", "--system", "--user"]],
    ["--user is not a flag of \"run\"", ["run", "--user", "bob"]],
    ["service needs one of print, install, uninstall, start, stop, restart, status, logs", ["service"]],
    ["service needs one of print, install, uninstall, start, stop, restart, status, logs", ["service", "reload"]],
    ["service needs one of print, install, uninstall, start, stop, restart, status, logs (did you mean \"install\"?)", [
      "service",
      "instal"
    ]],
    ["completions needs one of bash, zsh, fish", ["completions"]],
    ["completions needs one of bash, zsh, fish (did you mean \"bash\"?)", ["completions", "bahs"]],
    ["leader needs one of show, resign", ["leader"]],
    ["leader needs one of show, resign (did you mean \"show\"?)", ["leader", "shwo"]],
    ["--json needs leader show", ["leader", "resign", "--json"]],
    [`unknown command "statsu" (did you mean "status"?); commands: ${commandNames}`, ["statsu"]],
    [`unknown command "Run" (did you mean "run"?); commands: ${commandNames}`, ["Run"]],
    ["unexpected argument \"x\"", ["service", "print", "x"]],
    [`unknown command "start"; commands: ${commandNames}`, ["start"]],
    [`unknown command "toString"; commands: ${commandNames}`, ["toString"]],
    [`unknown command ""; commands: ${commandNames}`, [""]],
    ["unexpected argument \"18789\"", ["run", "18789"]],
    ["unexpected argument \"run\"", ["run", "run"]],
    ["unexpected argument \"--port\"", ["run", "--", "--port"]]
  ])("refuses: %s", (mistake, argv) => {
    assert.strictEqual(read(...argv), `${mistake}${hint(...argv)}`)
  })

  const known = [
    "run",
    "service",
    "print",
    "--",
    "-",
    "-h",
    "--help",
    "-V",
    "--port",
    "--port=1",
    "1",
    "--no-port",
    "-hV"
  ]
  const word = fc.oneof(
    fc.constantFrom(...known, "--=", "-p1", "--standby", "--ensure", "--dry-run", "--manager", "--system"),
    fc.string({ unit: arbitraries.character, maxLength: 8 }),
    fc.string({ maxLength: 8 }).map((rest) => `--${rest}`)
  )
  it.prop(
    "any words are a command or one line that says what is wrong",
    [fc.array(word, { maxLength: 6 })],
    ([argv]) => {
      const understood = read(...argv)
      return typeof understood !== "string" || /^[^\n]*; see "gateway (?:[a-z]+ )?--help"$/.test(understood)
    }
  )
})

describe("CommandLine.namesCommand", () => {
  it.each([
    [true, ["exec", "--", "true"]],
    [true, ["--port", "1", "exec", "--", "true"]],
    [true, ["--port=1", "--standby", "exec"]],
    [false, []],
    [false, ["--", "exec"]],
    [false, ["status", "exec"]],
    // Here `exec` is the value of `--profile`, and not the command.
    [false, ["--profile", "exec"]],
    [true, ["--profile", "exec", "exec"]]
  ])("is %s for %j", (expected, argv) => {
    assert.strictEqual(namesCommand(argv, "exec"), expected)
  })

  it.each([
    [true, ["exec", "--", "true"]],
    [true, ["service", "logs", "-f"]],
    [true, ["service", "--profile", "install", "status"]],
    [false, ["service", "install"]],
    [false, ["service", "--profile", "logs", "uninstall"]],
    [false, ["service"]],
    [false, ["status"]],
    [false, ["service", "install", "--exec", "--", "exec", "logs"]]
  ])("and only a command that runs another program relays signals: %s for %j", (expected, argv) => {
    assert.strictEqual(relaysSignals(argv), expected)
  })

  it.effect("lets a service run a command, with the flags of exec", () =>
    Effect.gen(function*() {
      const words = [
        "--exec",
        "--stop-timeout",
        "5s",
        "--port=1",
        "--group",
        "--ready=port",
        "--",
        "a",
        "--group",
        "--"
      ]
      const parsed = yield* parse(["service", "install", ...words])
      assert.isTrue(parsed._tag === "Service" && parsed.exec !== undefined)
      if (parsed._tag !== "Service") return
      assert.deepStrictEqual([...parsed.flags], [["port", "1"]])
      assert.deepInclude(parsed.exec, {
        words: ["a", "--group", "--"],
        ownFlags: ["--group", "--ready=port", "--stop-timeout=5s"],
        toGroup: true,
        stopTimeout: "5s"
      })
      // An uninstallation accepts the command line of the installation.
      const removed = yield* parse(["service", "uninstall", ...words])
      assert.isTrue(removed._tag === "Service" && removed.exec === undefined)
    }))

  it.effect("lets flags precede exec", () =>
    Effect.gen(function*() {
      const parsed = yield* parse([
        "--port",
        "1",
        "exec",
        "--no-port",
        "--",
        "sh",
        "-c",
        "x --port 2",
        "--"
      ])
      assert.deepInclude(parsed, { _tag: "Exec", words: ["sh", "-c", "x --port 2", "--"], hasPort: false })
    }))

  it.effect("takes --listen with a port only", () =>
    Effect.gen(function*() {
      assert.deepInclude(yield* parse(["exec", "--listen", "--", "true"]), {
        _tag: "Exec",
        hasPort: true,
        listens: true
      })
      const error = yield* Effect.flip(parse(["exec", "--no-port", "--listen", "--", "true"]))
      assert.strictEqual(error.reason, "--listen needs a port, so it cannot be combined with --no-port")
    }))
})
