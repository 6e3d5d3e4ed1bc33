import { Command, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, Duration, Effect, FastCheck as fc, Option, Schema } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { launchdPlist } from "../../src/supervisor/LaunchdPlist.ts"
import { quoteWindows, taskXml } from "../../src/supervisor/ScheduledTask.ts"
import * as ServiceDefinition from "../../src/supervisor/ServiceDefinition.ts"
import {
  commandWords,
  type GuardedCommand,
  longestStop,
  type Manager,
  managers,
  serviceNames,
  type ServiceOptions,
  type ServiceScope
} from "../../src/supervisor/ServiceOptions.ts"
import {
  stateDirectoryName,
  type SystemdTiming,
  systemdTiming,
  systemdUnit,
  systemStateDir
} from "../../src/supervisor/SystemdUnit.ts"
import { character, numRuns } from "../arbitraries.ts"

// ---------------------------------------------------------------------------
// arbitraries
// ---------------------------------------------------------------------------

/** Draws a word. Many words combine characters that are special in some format. Other words have any Unicode characters. */
const word = fc.oneof(
  fc.string({
    unit: fc.constantFrom(
      " ",
      "%",
      "$",
      "{",
      "}",
      "\"",
      "'",
      "\\",
      "a",
      "n",
      "x41",
      "HOME",
      "é",
      "語",
      "\u{1F600}",
      ";",
      "-"
    ),
    maxLength: 12
  }),
  fc.string({ unit: fc.constantFrom("\\", "\""), maxLength: 8 }),
  fc.string({ unit: character, maxLength: 12 }),
  fc.constantFrom(
    "",
    ";",
    "\\;",
    "$HOME",
    "${HOME}",
    "$$",
    "%h",
    "%%",
    "#",
    "~",
    "\t",
    "\r\n",
    "\uFDD0",
    "\uFFFF",
    "\u0085"
  )
)
const argument = word.filter((text) => !/[\0\ud800-\udfff]/u.test(text))
const xmlArgument = argument.filter((text) => !/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.test(text))

const profile = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,63}$/)
const scope = fc.constantFrom<ServiceScope>("user", "system")
const duration = fc.oneof(
  fc.constantFrom(0, 1, 999, 1000, 3000, 5000, 30_000, 300_000, 86_400_000),
  fc.nat({ max: 86_400_000 })
).map(Duration.millis)

const flag = fc.constantFrom(
  "port",
  "host",
  "config",
  "state-dir",
  "drain-timeout",
  "log-level",
  "profile",
  "supervisor"
)

/** Draws the command of a service. systemd takes the folder as it is, so the folder has fewer characters. */
const guardedCommand = (text: fc.Arbitrary<string>): fc.Arbitrary<GuardedCommand> =>
  fc.record({
    flags: fc.subarray(["--group", "--no-port", "--ready=port", "--stop-timeout=10 seconds"]),
    program: text.map((name) => `/opt/${name}/server`),
    args: fc.array(text, { maxLength: 6 }),
    workingDirectory: text.filter((name) => !/[\p{Cc}\p{Noncharacter_Code_Point}]/u.test(name)).map((name) =>
      `/srv/${name}/x`
    ),
    searchPath: fc.array(text.map((name) => `/bin/${name}`), { maxLength: 4 }).map((folders) => folders.join(":")),
    hasPort: fc.boolean(),
    startTimeout: duration,
    mustBeReady: fc.boolean(),
    stopTimeout: duration
  })

const serviceOptions = (text: fc.Arbitrary<string>): fc.Arbitrary<ServiceOptions> =>
  fc.record({
    profile,
    scope,
    execPath: text.map((name) => `/opt/${name}/node`),
    scriptPath: text.map((name) => `/opt/${name}/main.js`),
    args: fc.array(fc.tuple(flag, text)).map((args) => new Map(args)),
    stateDir: text.map((name) => `/state/${name}`),
    drainTimeout: duration,
    releaseTimeout: fc.option(duration, { nil: undefined }),
    health: fc.record({ timeout: duration, retryInterval: duration }),
    user: fc.option(text, { nil: undefined }),
    port: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
    exec: fc.option(guardedCommand(text), { nil: undefined })
  })

/** The longest stop of a service, without the time to end after it. */
const stopOf = ({ drainTimeout, exec, releaseTimeout = Duration.zero }: ServiceOptions): number =>
  Duration.toSeconds(Duration.sum(exec?.stopTimeout ?? drainTimeout, releaseTimeout))

const plain: ServiceOptions = {
  profile: "default",
  scope: "user",
  execPath: "/usr/bin/node",
  scriptPath: "/opt/gateway/dist/main.js",
  args: new Map(),
  stateDir: "/home/me/.local/state/gateway-lock/default",
  drainTimeout: Duration.seconds(10),
  health: { timeout: Duration.minutes(5), retryInterval: Duration.seconds(5) }
}

/** A command of `gateway exec`, with odd words. */
const server: GuardedCommand = {
  flags: ["--ready=http:/", "--stop-timeout=20s"],
  program: "/srv/my site/bin/server",
  args: ["--name", "100% $HOME \"q\" \\ x", "line\nbreak", ""],
  workingDirectory: "/srv/my site/100%",
  searchPath: "/srv/my site/bin:/usr/bin",
  hasPort: true,
  startTimeout: Duration.minutes(1),
  mustBeReady: true,
  stopTimeout: Duration.seconds(20)
}

const odd: ServiceOptions = {
  ...plain,
  profile: "a-b",
  scope: "system",
  execPath: "C:\\Program Files\\nodejs\\node.exe",
  scriptPath: "/opt/my gateway/100%/dist/main.js",
  args: new Map([["port", "18790"], ["config", "/srv/$HOME & \"co\"/é<1>.json"], ["log-level", "-1"]]),
  stateDir: "/var/lib/R&D",
  drainTimeout: Duration.millis(90_500),
  health: { timeout: Duration.seconds(3), retryInterval: Duration.minutes(1) },
  user: "gate way"
}

// ---------------------------------------------------------------------------
// parsers that follow the documented rules of systemd and Windows
// ---------------------------------------------------------------------------

const simpleEscapes: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  "\\": 92,
  "\"": 34,
  "'": 39,
  s: 32
}

/**
 * Follows systemd.syntax(7), "Quoting": splits a line into words, removes quotes and replaces escapes. Throws on anything that
 * the page does not allow.
 */
const readWords = (line: string): ReadonlyArray<string> => {
  const words: Array<string> = []
  const source = Buffer.from(line, "utf8").toString("latin1")
  for (let at = 0; at < source.length;) {
    if (source[at] === " " || source[at] === "\t") {
      at += 1
      continue
    }
    const quote = source[at] === "\"" || source[at] === "'" ? source[at] : undefined
    if (source[at] === ";" && /^;(\s|$)/.test(source.slice(at))) throw new Error("a second command")
    if (quote !== undefined) at += 1
    const bytes: Array<number> = []
    for (;; at += 1) {
      const char = source[at]
      if (char === undefined) {
        if (quote !== undefined) throw new Error("a quote without end")
        break
      }
      if (quote === undefined ? char === " " || char === "\t" : char === quote) break
      if (quote === undefined && (char === "\"" || char === "'")) throw new Error("a quote inside a word")
      if (char.charCodeAt(0) < 32) throw new Error("a control character")
      if (char !== "\\") {
        bytes.push(char.charCodeAt(0))
        continue
      }
      const hex = /^\\x([0-9a-fA-F]{2})/.exec(source.slice(at))?.[1]
      const simple = simpleEscapes[source[at + 1] ?? ""]
      if (hex !== undefined && hex !== "00") {
        bytes.push(Number.parseInt(hex, 16))
        at += 3
      } else if (simple !== undefined) {
        bytes.push(simple)
        at += 1
      } else {
        throw new Error(`an unknown escape at ${source.slice(at, at + 4)}`)
      }
    }
    if (quote !== undefined) {
      at += 1
      if (source[at] !== undefined && source[at] !== " ") throw new Error("a quote not followed by space")
    }
    words.push(Buffer.from(bytes).toString("utf8"))
  }
  return words
}

/**
 * Follows systemd.unit(5), "Specifiers": `%%` becomes a percent sign. Throws on any other specifier, because systemd would
 * replace it.
 */
const readSpecifiers = (text: string): string =>
  text.replace(/%(.?)/gsu, (_, next: string) => {
    if (next !== "%") throw new Error(`a specifier %${next}`)
    return "%"
  })

/**
 * Follows systemd.service(5), "Command Lines": `$$` becomes a dollar sign. Throws on a variable, which is `${…}` anywhere or
 * `$…` as a word.
 */
const readVariables = (text: string): string => {
  if (/^\$[^${]/u.test(text)) throw new Error("a variable as a word")
  return text.replace(/\$([${])/g, (_, next: string) => {
    if (next === "{") throw new Error("a variable")
    return "$"
  })
}

/** Parses the command line of ExecStart= in a unit. Returns the program and then its arguments. */
const readExecStart = (unit: string): ReadonlyArray<string> => {
  const [program = "", ...args] = readWords(/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? "").map(readSpecifiers)
  return [program, ...args.map(readVariables)]
}

/** Splits the arguments of a Windows command line into words, by the rules of `CommandLineToArgvW`. */
const readWindows = (line: string): ReadonlyArray<string> => {
  const words: Array<string> = []
  let current: string | undefined
  let quoted = false
  for (let at = 0; at < line.length;) {
    const run = /^\\+/.exec(line.slice(at))?.[0].length ?? 0
    if (run > 0) {
      at += run
      if (line[at] === "\"") {
        current = `${current ?? ""}${"\\".repeat(Math.floor(run / 2))}`
        if (run % 2 === 1) {
          current += "\""
          at += 1
        }
      } else current = `${current ?? ""}${"\\".repeat(run)}`
      continue
    }
    const char = line[at] ?? ""
    at += 1
    if (char === "\"") {
      quoted = !quoted
      current ??= ""
    } else if (!quoted && (char === " " || char === "\t")) {
      if (current !== undefined) words.push(current)
      current = undefined
    } else current = `${current ?? ""}${char}`
  }
  if (quoted) throw new Error("a quote without end")
  return current === undefined ? words : [...words, current]
}

/** Parses a unit by systemd.syntax(7). Returns the values by section and key, such as `Service.Type`. */
const readUnit = (unit: string): ReadonlyMap<string, string> => {
  const keys = new Map<string, string>()
  let section = ""
  for (const line of unit.split("\n")) {
    if (line === "" || line.startsWith("#")) continue
    const header = /^\[(\w+)\]$/.exec(line)?.[1]
    if (header === undefined) {
      const [key = "", ...value] = line.split("=")
      // SystemCallFilter occurs twice: first the allowed calls, then the exceptions.
      const name = key === "SystemCallFilter" && value.join("=").startsWith("~") ? `${key}.except` : key
      assert.isFalse(keys.has(`${section}.${name}`), `${name} twice`)
      keys.set(`${section}.${name}`, value.join("="))
    } else section = header
  }
  return keys
}

// ---------------------------------------------------------------------------
// the machine's tools
// ---------------------------------------------------------------------------

const searchPath = Effect.runSync(Config.string("PATH").pipe(Config.withDefault("/usr/bin:/bin"), Effect.orDie))
const hasTool = (name: string): boolean =>
  searchPath.split(Path.delimiter).some((folder) => Fs.existsSync(Path.join(folder, name)))
const named = (name: string, tool: string): string => hasTool(tool) ? name : `${name} [skipped: no ${tool} here]`

/** Runs a Python program with these files as its arguments. The program must print one JSON value. */
const python = <A, I>(schema: Schema.Schema<A, I>, program: string, files: ReadonlyArray<string>) =>
  Command.make("python3", "-c", program, ...files).pipe(
    Command.string,
    Effect.flatMap(Schema.decode(Schema.parseJson(schema)))
  )

const writeAll = (definitions: ReadonlyArray<ServiceDefinition.ServiceDefinition>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    return yield* Effect.forEach(definitions, (definition, index) => {
      const path = Path.join(folder, `${index}-${definition.fileName}`)
      return Effect.as(fs.writeFile(path, ServiceDefinition.encode(definition)), path)
    })
  })

// ---------------------------------------------------------------------------

describe("names", () => {
  it("are those of the managers", () => {
    assert.deepStrictEqual(serviceNames("systemd", "a-b"), {
      name: "gateway-a-b.service",
      fileName: "gateway-a-b.service"
    })
    assert.deepStrictEqual(serviceNames("launchd", "a-b"), {
      name: "dev.gateway-lock.a-b",
      fileName: "dev.gateway-lock.a-b.plist"
    })
    assert.deepStrictEqual(serviceNames("schtasks", "a-b"), {
      name: "\\gateway-lock\\a-b",
      fileName: "gateway-a-b.task.xml"
    })
  })

  it.prop("differ for two profiles", [profile, profile], ([a, b]) =>
    managers.every((manager) => {
      const [one, other] = [serviceNames(manager, a), serviceNames(manager, b)]
      return a === b || (one.name !== other.name && one.fileName !== other.fileName)
    }))
})

describe("the command line", () => {
  it("names the profile and the supervisor, and else only the flags that were given", () => {
    assert.deepStrictEqual(commandWords("systemd", plain), [
      "/usr/bin/node",
      "/opt/gateway/dist/main.js",
      "run",
      "--profile",
      "default",
      "--supervisor",
      "systemd"
    ])
  })

  it("takes neither profile nor supervisor from the flags", () => {
    const args = new Map([["profile", "other"], ["supervisor", "none"], ["port", "1"]])
    assert.deepStrictEqual(commandWords("launchd", { ...plain, args }).slice(3), [
      "--profile",
      "default",
      "--port",
      "1",
      "--supervisor",
      "launchd"
    ])
  })

  it("of a command: exec with its own flags, then the command after --", () => {
    assert.deepStrictEqual(commandWords("systemd", { ...plain, args: new Map([["port", "8000"]]), exec: server }), [
      "/usr/bin/node",
      "/opt/gateway/dist/main.js",
      "exec",
      "--profile",
      "default",
      "--port",
      "8000",
      "--supervisor",
      "systemd",
      "--ready=http:/",
      "--stop-timeout=20s",
      "--",
      "/srv/my site/bin/server",
      "--name",
      "100% $HOME \"q\" \\ x",
      "line\nbreak",
      ""
    ])
  })

  it("joins a value that looks like a flag to its flag", () => {
    const words = commandWords("systemd", { ...plain, args: new Map([["config", "-x"]]) })
    assert.include(words, "--config=-x")
  })
})

describe("systemd unit", () => {
  it("for a user", () => {
    assert.strictEqual(
      systemdUnit(plain),
      `# Written by "gateway service", and replaced by every "gateway service install".
[Unit]
Description=Gateway (profile default)
StartLimitIntervalSec=339
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/node /opt/gateway/dist/main.js run --profile default --supervisor systemd
Restart=always
RestartSec=2
RestartPreventExitStatus=64 78
TimeoutStartSec=90
TimeoutStopSec=20
WatchdogSec=30
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes

[Install]
WantedBy=default.target
`
    )
  })

  it("for the system, with odd paths", () => {
    assert.strictEqual(
      systemdUnit({ ...odd, execPath: "/opt/$node 20/node", user: "gate%way" }),
      `# Written by "gateway service", and replaced by every "gateway service install".
[Unit]
Description=Gateway (profile a-b)
After=network.target
StartLimitIntervalSec=69
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=all
ExecStart="/opt/$node 20/node" "/opt/my gateway/100%%/dist/main.js" run --profile a-b --port 18790 ` +
        `--config "/srv/$$HOME & \\"co\\"/é<1>.json" --log-level=-1 --supervisor systemd
Restart=always
RestartSec=2
RestartPreventExitStatus=64 78
TimeoutStartSec=150
TimeoutStopSec=101
WatchdogSec=30
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
User=gate%%way
Environment=XDG_CONFIG_HOME=%E XDG_STATE_HOME=%S
StateDirectory=gateway-lock/a-b
StateDirectoryMode=0700
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`
    )
  })

  it("of a command, for a user", () => {
    assert.strictEqual(
      systemdUnit({ ...plain, exec: server }),
      `# Written by "gateway service", and replaced by every "gateway service install".
[Unit]
Description=Command of gateway exec (profile default)
StartLimitIntervalSec=339
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/node /opt/gateway/dist/main.js exec --profile default --supervisor systemd --ready=http:/ ` +
        `--stop-timeout=20s -- "/srv/my site/bin/server" --name "100%% $$HOME \\"q\\" \\\\ x" "line\\x0abreak" ""
WorkingDirectory=/srv/my site/100%%
Environment="PATH=/srv/my site/bin:/usr/bin"
Restart=always
RestartSec=2
RestartPreventExitStatus=64 78
TimeoutStartSec=110
TimeoutStopSec=30
KillMode=mixed

[Install]
WantedBy=default.target
`
    )
  })

  it("of a command, for the system: a user of its own, the capability of its port, and no other confinement", () => {
    const keys = (options: Partial<ServiceOptions>) =>
      [...readUnit(systemdUnit({ ...plain, scope: "system", exec: server, ...options })).entries()].slice(15, -1)
    const user = [["Service.DynamicUser", "yes"]]
    const state = [["Service.StateDirectory", "gateway-lock/default"], ["Service.StateDirectoryMode", "0700"]]
    assert.deepStrictEqual(keys({ port: 8000 }), [...user, ...state])
    assert.deepStrictEqual(keys({ port: 443 }), [
      ...user,
      ...state,
      ["Service.AmbientCapabilities", "CAP_NET_BIND_SERVICE"]
    ])
    assert.deepStrictEqual(keys({ port: 443, exec: { ...server, hasPort: false } }), [...user, ...state])
    assert.deepStrictEqual(keys({ user: "bob", args: new Map([["state-dir", "/srv/state"]]) }), [[
      "Service.User",
      "bob"
    ]])
    // `exec` does not need the token, so the path is passed as it is.
    assert.include(
      systemdUnit({ ...plain, scope: "system", exec: server, args: new Map([["token-file", "/root/t"]]) }),
      " --token-file /root/t "
    )
  })

  it.prop("of a command, runs it in its folder with its PATH", [serviceOptions(argument), guardedCommand(argument)], ([
    options,
    exec
  ]) => {
    assert.isTrue(Option.isNone(ServiceDefinition.unwritable("systemd", { ...plain, exec })))
    const keys = readUnit(systemdUnit({ ...options, exec }))
    assert.strictEqual(readSpecifiers(keys.get("Service.WorkingDirectory") ?? ""), exec.workingDirectory)
    assert.deepStrictEqual(readWords(keys.get("Service.Environment") ?? "").map(readSpecifiers), [
      `PATH=${exec.searchPath}`
    ])
  })

  it.prop(
    "of a command, leaves exec the time to stop a command that is not ready",
    [serviceOptions(argument), guardedCommand(argument)],
    ([options, exec]) => {
      const { startTimeout, stopTimeout } = systemdTiming({ ...options, exec })
      assert.isAtLeast(startTimeout, Duration.toSeconds(exec.startTimeout) + Duration.toSeconds(exec.stopTimeout) + 30)
      assert.isAtLeast(stopTimeout, Duration.toSeconds(exec.stopTimeout) + 10)
    }
  )

  const system: ServiceOptions = { ...plain, scope: "system", port: 18789 }
  const settingsOf = (options: ServiceOptions) => readUnit(systemdUnit(options))

  it("for the system, keeps the capability of a port below 1024, and no other", () => {
    for (
      const [port, capability] of [[443, "CAP_NET_BIND_SERVICE"], [1023, "CAP_NET_BIND_SERVICE"], [1024, ""]] as const
    ) {
      const keys = settingsOf({ ...system, port })
      assert.strictEqual(keys.get("Service.CapabilityBoundingSet"), capability)
      assert.strictEqual(keys.get("Service.AmbientCapabilities"), capability)
    }
  })

  it("for the system, hides the homes unless Node, the program, its config or its state is there", () => {
    assert.strictEqual(settingsOf(system).get("Service.ProtectHome"), "yes")
    for (
      const change of [
        { execPath: "/home/me/.nvm/versions/node/v22.1.0/bin/node" },
        { scriptPath: "/root/gateway/dist/main.js" },
        { args: new Map([["config", "/home/me/gateway.json"]]) },
        { args: new Map([["state-dir", "/run/user/1000/gateway"]]), user: "me" }
      ]
    ) assert.strictEqual(settingsOf({ ...system, ...change }).get("Service.ProtectHome"), "read-only")
    assert.strictEqual(settingsOf({ ...system, scriptPath: "/homestead/main.js" }).get("Service.ProtectHome"), "yes")
  })

  it("for the system, leaves the processes and numbers of other users visible, and V8 its memory", () => {
    const keys = settingsOf(system)
    for (const key of ["ProtectProc", "ProcSubset", "PrivateUsers", "MemoryDenyWriteExecute", "PrivateNetwork"]) {
      assert.isFalse(keys.has(`Service.${key}`), key)
    }
  })

  it.scopedLive.skipIf(!hasTool("systemd-analyze"))(
    named("for the system, has an exposure below 4, whoever runs it; a user's has more (N40)", "systemd-analyze"),
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        const exposure = (options: ServiceOptions) =>
          Effect.gen(function*() {
            const path = Path.join(folder, "gateway-x.service")
            yield* fs.writeFileString(path, systemdUnit({ ...options, execPath: process.execPath }))
            const text = yield* Command.string(
              Command.make("systemd-analyze", "security", "--offline=true", "--no-pager", path).pipe(
                Command.env({ SYSTEMD_COLORS: "0", SYSTEMD_EMOJI: "0" })
              )
            )
            return Number(/exposure level for \S+: (\d+\.\d+)/.exec(text)?.[1] ?? Number.NaN)
          })
        assert.isBelow(yield* exposure(system), 4)
        assert.isBelow(yield* exposure({ ...system, user: "nobody", port: 443 }), 4)
        assert.isBelow(yield* exposure({ ...system, user: "root" }), 4)
        assert.isAbove(yield* exposure(plain), 4)
      }).pipe(Effect.provide(NodeContext.layer))
  )

  it.prop("names a state directory below /var/lib, and no other", [
    fc.oneof(
      fc.constantFrom(
        "/var/lib",
        "/var/lib/",
        "/var/lib/..",
        "/var/lib/../x",
        "/var/library",
        "/var/lib/private/x",
        "/srv"
      ),
      fc.array(fc.constantFrom("a", "..", ".", "b c", "x:y", "%", "private"), { maxLength: 4 }).map((parts) =>
        Path.posix.join("/var/lib", ...parts)
      )
    )
  ], ([path]) => {
    const name = Option.getOrUndefined(stateDirectoryName(path))
    if (name === undefined) return
    assert.strictEqual(Path.posix.join("/var/lib", name), Path.posix.normalize(path).replace(/\/$/, ""))
    assert.notMatch(name, /(^|\/)\.\.(\/|$)|:|^private(\/|$)|^$/)
  })

  it.prop("every word survives systemd's reading of it", [serviceOptions(argument)], ([options]) => {
    assert.deepStrictEqual(
      readExecStart(systemdUnit(options)),
      commandWords("systemd", options)
    )
  })

  it.prop("has one line per key, whatever the words hold", [serviceOptions(argument)], ([options]) => {
    const keys = readUnit(systemdUnit({ ...options, user: undefined }))
    const { exec, port, scope } = options
    const stateDir = systemStateDir(options)
    const stateLines = Option.isSome(stateDirectoryName(stateDir))
      ? 2
      : Path.isAbsolute(stateDir) && exec === undefined
      ? 1
      : 0
    const capability = port !== undefined && port < 1024 && exec?.hasPort === true ? 1 : 0
    assert.strictEqual(
      keys.size,
      exec === undefined
        ? scope === "system" ? 40 + stateLines : 18
        : scope === "system"
        ? 17 + stateLines + capability
        : 15
    )
  })

  it("the reader refuses what systemd would replace", () => {
    for (const line of ["a %h", "a $HOME", "a ${HOME}", "a x${HOME}", "a \\q", "a \"b\"c", "a ; b", "a \"b"]) {
      assert.throws(() => readExecStart(`ExecStart=${line}`), undefined, undefined, line)
    }
  })

  it.prop(
    "gives a stop more time than the drain or the command, and the lease, take",
    [serviceOptions(argument)],
    ([options]) => {
      const seconds = Number(readUnit(systemdUnit(options)).get("Service.TimeoutStopSec"))
      assert.isAtLeast(seconds, stopOf(options) + 10)
      assert.strictEqual(seconds, Duration.toSeconds(longestStop(options)))
    }
  )

  it.prop(
    "gives a waiting start time for two signs of life",
    [duration],
    ([retryInterval]) =>
      systemdTiming({ ...plain, health: { ...plain.health, retryInterval } }).startTimeout >=
        Math.max(90, 2 * Duration.toSeconds(retryInterval))
  )
})

/**
 * Whether starts at these times, in seconds, are so frequent that systemd refuses further starts of the unit. The function
 * follows `ratelimit_below` in systemd's ratelimit.c (252).
 */
const latches = (timing: SystemdTiming, starts: ReadonlyArray<number>): boolean => {
  let begin: number | undefined
  let count = 0
  for (const start of starts) {
    if (begin === undefined || start - begin > timing.startLimitInterval) {
      begin = start
      count = 1
    } else {
      count += 1
      if (count > timing.startLimitBurst) return true
    }
  }
  return false
}

const startsAfter = (waits: ReadonlyArray<number>, timing: SystemdTiming): ReadonlyArray<number> => {
  let now = 0
  return [0, ...waits.map((wait) => now += wait + timing.restart)]
}

describe("start limit", () => {
  it.prop(
    "no wait exhausts it, however often it is repeated",
    [
      duration,
      duration,
      fc.array(
        fc.tuple(
          fc.constantFrom<"owner" | "start" | "watchdog" | "ready">("owner", "start", "watchdog", "ready"),
          fc.double({ min: 0, max: 3, noNaN: true })
        ),
        {
          minLength: 1,
          maxLength: 60
        }
      ),
      fc.option(guardedCommand(fc.constant("x")), { nil: undefined })
    ],
    ([timeout, retryInterval, failures, exec]) => {
      const timing = systemdTiming({ ...plain, health: { timeout, retryInterval }, exec })
      const shortest = {
        ready: exec?.mustBeReady === true ? Duration.toSeconds(exec.startTimeout) : timing.watchdog,
        owner: Duration.toSeconds(timeout),
        start: timing.startTimeout,
        watchdog: timing.watchdog
      }
      const waits = failures.map(([kind, more]) => shortest[kind] + more)
      const worst = Array.from({ length: 200 }, () => Math.min(...Object.values(shortest)))
      assert.isFalse(latches(timing, startsAfter(waits, timing)))
      assert.isFalse(latches(timing, startsAfter(worst, timing)))
      assert.isBelow(
        timing.startLimitInterval,
        timing.startLimitBurst * (timing.restart + Math.min(...Object.values(shortest)))
      )
      assert.isAbove(timing.startLimitInterval, 0)
    }
  )

  it.prop(
    "a start that fails at once, over and over, exhausts it",
    [
      fc.integer({ min: 1000, max: 86_400_000 }).map(Duration.millis),
      fc.double({ min: 0, max: 0.4, noNaN: true })
    ],
    ([timeout, crashAfter]) => {
      const timing = systemdTiming({ ...plain, health: { ...plain.health, timeout } })
      const waits = Array.from({ length: timing.startLimitBurst }, () => crashAfter)
      assert.isTrue(latches(timing, startsAfter(waits, timing)))
      assert.isFalse(latches(timing, startsAfter(waits.slice(1), timing)), "but not before the last")
    }
  )
})

describe("launchd property list", () => {
  it("for a user", () => {
    assert.strictEqual(
      launchdPlist(plain),
      `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by "gateway service", and replaced by every "gateway service install". -->
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>dev.gateway-lock.default</string>
  <key>ProgramArguments</key>
  <array>
    <string>/usr/bin/node</string>
    <string>/opt/gateway/dist/main.js</string>
    <string>run</string>
    <string>--profile</string>
    <string>default</string>
    <string>--supervisor</string>
    <string>launchd</string>
  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>ExitTimeOut</key>
  <integer>20</integer>
  <key>StandardErrorPath</key>
  <string>/home/me/.local/state/gateway-lock/default/launchd.stderr.log</string>
</dict>
</plist>
`
    )
  })

  const Plist = Schema.Struct({
    Label: Schema.String,
    UserName: Schema.optional(Schema.String),
    ProgramArguments: Schema.Array(Schema.String),
    RunAtLoad: Schema.Literal(true),
    KeepAlive: Schema.Struct({ SuccessfulExit: Schema.Literal(false) }),
    ThrottleInterval: Schema.Literal(10),
    ExitTimeOut: Schema.Int,
    WorkingDirectory: Schema.optional(Schema.String),
    EnvironmentVariables: Schema.optional(Schema.Struct({ PATH: Schema.String })),
    StandardOutPath: Schema.optional(Schema.String),
    StandardErrorPath: Schema.String
  }).annotations({ parseOptions: { onExcessProperty: "error" } })

  it.scopedLive.skipIf(!hasTool("python3"))(
    named("reads as the documented keys with the very words, by plistlib", "python3"),
    () =>
      Effect.gen(function*() {
        const options = [plain, odd, ...fc.sample(serviceOptions(xmlArgument), Math.min(numRuns, 500))]
        const files = yield* writeAll(options.map((options) => ServiceDefinition.make("launchd", options)))
        const parsed = yield* python(
          Schema.Array(Plist),
          "import sys, json, plistlib; json.dump([plistlib.load(open(f, 'rb')) for f in sys.argv[1:]], sys.stdout)",
          files
        )
        assert.strictEqual(parsed.length, options.length)
        for (const [index, one] of options.entries()) {
          const { UserName, ...rest } = parsed[index] ?? assert.fail()
          assert.deepStrictEqual(rest, {
            Label: `dev.gateway-lock.${one.profile}`,
            ProgramArguments: commandWords("launchd", one),
            RunAtLoad: true,
            KeepAlive: { SuccessfulExit: false },
            ThrottleInterval: 10,
            ExitTimeOut: Math.ceil(stopOf(one)) + 10,
            ...(one.exec === undefined ? {} : {
              WorkingDirectory: one.exec.workingDirectory,
              EnvironmentVariables: { PATH: one.exec.searchPath },
              StandardOutPath: Path.join(one.stateDir, "launchd.stdout.log")
            }),
            StandardErrorPath: Path.join(one.stateDir, "launchd.stderr.log")
          })
          assert.strictEqual(UserName, one.scope === "system" ? one.user : undefined)
        }
      }).pipe(Effect.provide(NodeContext.layer))
  )
})

describe("Task Scheduler task", () => {
  it("for the system, with odd paths", () => {
    assert.strictEqual(
      taskXml({ ...odd, user: undefined }),
      `<?xml version="1.0" encoding="UTF-16"?>
<!-- Written by "gateway service", and replaced by every "gateway service install". -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <URI>\\gateway-lock\\a-b</URI>
    <Description>Gateway (profile a-b)</Description>
  </RegistrationInfo>
  <Triggers>
    <BootTrigger>
      <Enabled>true</Enabled>
    </BootTrigger>
  </Triggers>
  <Settings>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowHardTerminate>true</AllowHardTerminate>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>
    <Enabled>true</Enabled>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RunOnlyIfIdle>false</RunOnlyIfIdle>
  </Settings>
  <Principals>
    <Principal id="Gateway">
      <UserId>S-1-5-18</UserId>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Actions Context="Gateway">
    <Exec>
      <Command>C:\\Program Files\\nodejs\\node.exe</Command>
      <Arguments>&quot;/opt/my gateway/100%/dist/main.js&quot; run --profile a-b --port 18790 ` +
        `--config &quot;/srv/$HOME &amp; \\&quot;co\\&quot;/é&lt;1&gt;.json&quot; --log-level=-1 ` +
        `--supervisor schtasks</Arguments>
    </Exec>
  </Actions>
</Task>
`
    )
  })

  it.prop("every argument survives CommandLineToArgvW", [fc.array(argument)], ([args]) => {
    assert.deepStrictEqual(readWindows(args.map(quoteWindows).join(" ")), args)
  })

  it("leaves alone what needs no quotes", () => {
    assert.strictEqual(quoteWindows("C:\\a\\"), "C:\\a\\")
    assert.strictEqual(quoteWindows("C:\\a b\\"), "\"C:\\a b\\\\\"")
    assert.strictEqual(quoteWindows(""), "\"\"")
  })

  it("is written in UTF-16 with a byte order mark, as it declares", () => {
    const definition = ServiceDefinition.make("schtasks", odd)
    const bytes = ServiceDefinition.encode(definition)
    assert.deepStrictEqual(Array.from(bytes.slice(0, 4)), [0xff, 0xfe, 0x3c, 0x00])
    assert.strictEqual(new TextDecoder("utf-16le").decode(bytes), definition.text)
    assert.isTrue(definition.text.startsWith("<?xml version=\"1.0\" encoding=\"UTF-16\"?>"))
  })

  it("the others are written in UTF-8 without one", () => {
    for (const manager of ["systemd", "launchd"] as const) {
      const definition = ServiceDefinition.make(manager, odd)
      assert.deepStrictEqual(Buffer.from(ServiceDefinition.encode(definition)).toString("utf8"), definition.text)
    }
  })

  /** For each element that a definition contains: its child elements, in the order that the schema requires ([MS-TSCH] 2.5). */
  const order: Readonly<Record<string, ReadonlyArray<string>>> = {
    Task: ["RegistrationInfo", "Triggers", "Settings", "Data", "Principals", "Actions"],
    RegistrationInfo: ["URI", "SecurityDescriptor", "Source", "Date", "Author", "Version", "Description"],
    Triggers: ["BootTrigger", "LogonTrigger"],
    BootTrigger: ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "Delay"],
    LogonTrigger: ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "UserId", "Delay"],
    Settings: [
      "AllowStartOnDemand",
      "RestartOnFailure",
      "MultipleInstancesPolicy",
      "DisallowStartIfOnBatteries",
      "StopIfGoingOnBatteries",
      "AllowHardTerminate",
      "StartWhenAvailable",
      "NetworkProfileName",
      "RunOnlyIfNetworkAvailable",
      "WakeToRun",
      "Enabled",
      "Hidden",
      "DeleteExpiredTaskAfter",
      "IdleSettings",
      "NetworkSettings",
      "ExecutionTimeLimit",
      "Priority",
      "RunOnlyIfIdle"
    ],
    RestartOnFailure: ["Interval", "Count"],
    Principals: ["Principal"],
    Principal: ["UserId", "LogonType", "GroupId", "DisplayName", "RunLevel"],
    Actions: ["Exec"],
    Exec: ["Command", "Arguments", "WorkingDirectory"]
  }

  const Elements = Schema.Array(Schema.Struct({
    /** The names of the elements from the root to this element, joined by `/`. */
    path: Schema.String,
    text: Schema.String,
    children: Schema.Array(Schema.String)
  }))

  const walk = `
import sys, json, xml.etree.ElementTree as ET
space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
def walk(element, above):
    assert element.tag.startswith(space), element.tag
    name = lambda e: e.tag[len(space):]
    path = (above + "/" if above else "") + name(element)
    yield {"path": path, "text": (element.text or ""), "children": [name(c) for c in element]}
    for child in element: yield from walk(child, path)
json.dump([list(walk(ET.parse(f).getroot(), "")) for f in sys.argv[1:]], sys.stdout)
`

  it.scopedLive.skipIf(!hasTool("python3"))(
    named("reads as the documented elements, in their order, with the very words, by ElementTree", "python3"),
    () =>
      Effect.gen(function*() {
        const options = [plain, odd, ...fc.sample(serviceOptions(xmlArgument), Math.min(numRuns, 500))]
        const files = yield* writeAll(options.map((options) => ServiceDefinition.make("schtasks", options)))
        const parsed = yield* python(Schema.Array(Elements), walk, files)
        assert.strictEqual(parsed.length, options.length)
        for (const [index, one] of options.entries()) {
          const elements = parsed[index] ?? assert.fail()
          const text = (path: string) => elements.find((element) => element.path === `Task/${path}`)?.text
          for (const { children, path } of elements) {
            const known = order[path.split("/").pop() ?? ""] ?? []
            assert.deepStrictEqual(children, known.filter((name) => children.includes(name)), path)
          }
          assert.strictEqual(text("RegistrationInfo/URI"), `\\gateway-lock\\${one.profile}`)
          assert.strictEqual(text("Settings/MultipleInstancesPolicy"), "IgnoreNew")
          assert.strictEqual(text("Settings/RestartOnFailure/Interval"), "PT1M")
          assert.strictEqual(text("Settings/RestartOnFailure/Count"), "255")
          assert.strictEqual(text("Settings/ExecutionTimeLimit"), "PT0S")
          assert.strictEqual(text("Settings/DisallowStartIfOnBatteries"), "false")
          const isSystem = one.scope === "system"
          assert.strictEqual(text("Triggers/BootTrigger/Enabled"), isSystem ? "true" : undefined)
          assert.strictEqual(text("Triggers/LogonTrigger/Enabled"), isSystem ? undefined : "true")
          assert.strictEqual(text("Triggers/LogonTrigger/UserId"), isSystem ? undefined : one.user)
          assert.strictEqual(text("Principals/Principal/UserId"), isSystem ? one.user ?? "S-1-5-18" : one.user)
          assert.deepStrictEqual(
            [text("Actions/Exec/Command"), ...readWindows(text("Actions/Exec/Arguments") ?? "")],
            [...commandWords("schtasks", one)]
          )
        }
      }).pipe(Effect.provide(NodeContext.layer))
  )
})

describe("what cannot be written", () => {
  const first = (manager: Manager, change: Partial<ServiceOptions>) =>
    Option.getOrUndefined(ServiceDefinition.unwritable(manager, { ...plain, ...change }))

  it("is nothing, mostly", () => {
    for (const manager of ["launchd", "schtasks"] as const) assert.isUndefined(first(manager, odd))
    assert.isUndefined(first("systemd", { ...odd, execPath: "/opt/no de/$é%/node" }))
    assert.isUndefined(first("systemd", { args: new Map([["config", "/a\nb\u0001"]]) }))
  })

  it("is a program whose path systemd refuses", () => {
    for (const execPath of ["/a\"b", "/a'b", "/a\\b", "/a\nb", "/a\u007fb"]) {
      assert.strictEqual(first("systemd", { execPath }), execPath)
    }
  })

  it("is a control character in XML", () => {
    for (const manager of ["launchd", "schtasks"] as const) {
      assert.strictEqual(first(manager, { args: new Map([["config", "/a\u0001"]]) }), "/a\u0001")
      assert.strictEqual(first(manager, { stateDir: "/a\uFFFF" }), "/a\uFFFF")
    }
  })

  it("is a folder of a command that systemd would read as another one", () => {
    for (const name of ["/a\n", "/a\u0001b", "/a ", "/a\u3000", "/a\\", "/a\uFFFF"]) {
      assert.strictEqual(first("systemd", { exec: { ...server, workingDirectory: name } }), name)
    }
    for (const name of ["/a b", "/\"a\"", "/a\\b", "/%h", "/$HOME", "/é語😀"]) {
      assert.strictEqual(first("systemd", { exec: { ...server, workingDirectory: name } }), undefined, name)
    }
    for (const change of [{ args: ["\u0001"] }, { searchPath: "\u0001" }, { workingDirectory: "\u0001" }]) {
      assert.strictEqual(first("launchd", { exec: { ...server, args: [], ...change } }), "\u0001")
    }
  })

  it("is a NUL and half a surrogate pair anywhere", () => {
    for (const manager of managers) {
      for (const scriptPath of ["/a\0", "/a\ud800"]) assert.strictEqual(first(manager, { scriptPath }), scriptPath)
    }
  })
})

describe("systemd-analyze verify", () => {
  const script = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

  /** The output of `systemd-analyze verify` for a unit; empty if there is no complaint. */
  const verify = (scope: ServiceScope, fileName: string, text: string) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const path = Path.join(folder, fileName)
      yield* fs.writeFileString(path, text)
      return yield* Command.make(
        "sh",
        "-c",
        "exec systemd-analyze \"$@\" 2>&1",
        "sh",
        `--${scope}`,
        "--man=no",
        "verify",
        path
      )
        .pipe(Command.env({ XDG_RUNTIME_DIR: folder, HOME: folder, SYSTEMD_COLORS: "0" }), Command.string)
    })

  /** Makes a folder with this name and in it a symbolic link to node. Returns the path of the link. */
  const nodeIn = (name: string) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = Path.join(yield* fs.makeTempDirectoryScoped(), name)
      yield* fs.makeDirectory(folder)
      yield* fs.symlink(process.execPath, Path.join(folder, "node"))
      return Path.join(folder, "node")
    })

  const cases = ["user" as const, "system" as const].flatMap((scope) =>
    [
      ["default", "plain"],
      ["a-b", "with space"],
      ["0_-_", "100% $HOME ${HOME} é; # 語"],
      ["x".repeat(64), "; 'quoted' \"twice\" \\ back"]
    ].map(([profile = "", name = ""]) => [scope, profile, name] as const)
  )

  for (const [scope, profile, name] of cases) {
    it.scopedLive.skipIf(!hasTool("systemd-analyze"))(
      named(`is content with the ${scope} unit of ${profile} at ${name}`, "systemd-analyze"),
      () =>
        Effect.gen(function*() {
          const options: ServiceOptions = {
            ...plain,
            profile,
            scope,
            // systemd refuses quotes and backslashes in the path of the program itself, but not in arguments.
            execPath: /["'\\]/.test(name) ? process.execPath : yield* nodeIn(name),
            scriptPath: script,
            args: new Map([["config", `/tmp/${name}/gateway.json`], ["state-dir", name]]),
            user: scope === "system" ? "root" : undefined
          }
          assert.isTrue(Option.isNone(ServiceDefinition.unwritable("systemd", options)))
          for (
            const exec of [undefined, { ...server, args: [...server.args, name], searchPath: `/bin/${name}:/bin` }]
          ) {
            const { fileName, text } = ServiceDefinition.make("systemd", { ...options, exec })
            assert.strictEqual(yield* verify(scope, fileName, text), "")
          }
        }).pipe(Effect.provide(NodeContext.layer))
    )
  }

  it.scopedLive.skipIf(!hasTool("systemd-analyze"))(
    named("would notice a mistake", "systemd-analyze"),
    () =>
      Effect.gen(function*() {
        const text = systemdUnit({ ...plain, execPath: process.execPath, scriptPath: script })
        for (
          const [right, wrong] of [
            ["Restart=always", "Restart=forever"],
            ["KillMode=mixed", "KillMood=mixed"],
            ["StartLimitBurst=20", "StartLimitBurst=many"],
            [process.execPath, "/nonexistent/node"],
            ["--profile", "\"--profile"]
          ] as const
        ) {
          assert.notStrictEqual(yield* verify("user", "gateway-x.service", text.replace(right, wrong)), "", wrong)
        }
      }).pipe(Effect.provide(NodeContext.layer))
  )
})
