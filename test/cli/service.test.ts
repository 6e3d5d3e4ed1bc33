import { Command, CommandExecutor, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, type Either, Option, Redacted, Ref } from "effect"
import * as NodeOs from "node:os"
import * as Path from "node:path"
import type { ExecCommandLine } from "../../src/cli/CommandLine.ts"
import { live as liveCommands, service, type ServiceCommand } from "../../src/cli/service.ts"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import { launchdPlist } from "../../src/supervisor/LaunchdPlist.ts"
import { taskXml } from "../../src/supervisor/ScheduledTask.ts"
import { managers, type ServiceOptions } from "../../src/supervisor/ServiceOptions.ts"
import { systemdUnit } from "../../src/supervisor/SystemdUnit.ts"

const command: ServiceCommand = {
  action: "print",
  manager: undefined,
  system: false,
  user: undefined,
  dryRun: false,
  config: {
    profile: "a-b",
    stateDir: "/state/a-b",
    drainTimeout: Duration.seconds(10),
    health: { probeTimeout: Duration.seconds(1), retryInterval: Duration.seconds(5), timeout: Duration.minutes(5) },
    port: 18790,
    tokenFile: Option.none(),
    lease: { ...LeaseTimes.defaults, url: Option.none(), urlFile: Option.none(), name: "a-b" },
    configName: "/nonexistent/gateway.json"
  },
  flags: new Map([["profile", "a-b"], ["port", "18790"]]),
  execPath: "/usr/bin/node",
  scriptPath: "/opt/gateway/dist/main.js",
  platform: "linux",
  uid: 501
}

/** The options that `service` derives from `command`. */
const options: ServiceOptions = {
  profile: command.config.profile,
  stateDir: command.config.stateDir,
  drainTimeout: command.config.drainTimeout,
  health: command.config.health,
  port: 18790,
  scope: "user",
  execPath: command.execPath,
  scriptPath: command.scriptPath,
  args: command.flags
}

/** Calls the function `service` with `command` and these changes to it. Returns the output and the exit. */
const invoke = (
  changes: Partial<ServiceCommand>,
  environment: Readonly<Record<string, string>> = { HOME: "/nonexistent/home" }
) =>
  Effect.gen(function*() {
    const out = yield* Ref.make<ReadonlyArray<string>>([])
    const err = yield* Ref.make<ReadonlyArray<string>>([])
    const real = yield* Effect.consoleWith(Effect.succeed)
    const keep = (ref: Ref.Ref<ReadonlyArray<string>>) => (...args: ReadonlyArray<unknown>) =>
      Ref.update(ref, (before) => [...before, args.map(String).join(" ")])
    const exit = yield* service({ ...command, ...changes }).pipe(
      liveCommands,
      Effect.withConsole({ ...real, log: keep(out), error: keep(err) }),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment)))),
      Effect.either
    )
    return { exit, out: yield* Ref.get(out), err: yield* Ref.get(err) }
  })

/**
 * Makes a command executor that records each command instead of running it. It runs an empty script in place of the command, so
 * each command succeeds.
 */
const programless = Effect.gen(function*() {
  const executor = yield* CommandExecutor.CommandExecutor
  const calls = yield* Ref.make<ReadonlyArray<string>>([])
  return {
    calls: Ref.get(calls),
    executor: CommandExecutor.makeExecutor((command) =>
      Effect.zipRight(
        Ref.update(calls, (before) => [
          ...before,
          ...Array.from(Command.flatten(command), (one) => [one.command, ...one.args].join(" "))
        ]),
        executor.start(Command.make(process.execPath, "-e", ""))
      )
    )
  }
})

const live = Effect.provide(NodeContext.layer)

describe("service print", () => {
  it.scopedLive("prints the definition, and nothing else, on stdout", () =>
    Effect.gen(function*() {
      for (
        const [manager, text] of [
          ["systemd", systemdUnit(options)],
          ["launchd", launchdPlist(options)],
          ["schtasks", taskXml(options)]
        ] as const
      ) {
        const { err, exit, out } = yield* invoke({ manager })
        assert.strictEqual(exit._tag, "Right")
        assert.deepStrictEqual(out.map((line) => `${line}\n`), [text])
        assert.strictEqual(err.length, manager === "schtasks" ? 1 : 0)
      }
    }).pipe(live))

  it.scopedLive("for the whole machine", () =>
    Effect.gen(function*() {
      const { out } = yield* invoke({ system: true })
      assert.deepStrictEqual(out.map((line) => `${line}\n`), [
        systemdUnit({ ...options, scope: "system" })
      ])
    }).pipe(live))

  it.scopedLive("is for the platform's own manager unless one is named", () =>
    Effect.gen(function*() {
      for (const [platform, beginning] of [["linux", "[Unit]"], ["darwin", "<plist"], ["win32", "<Task"]] as const) {
        assert.include((yield* invoke({ platform })).out.join("\n"), beginning)
        assert.include((yield* invoke({ platform, manager: "systemd" })).out.join("\n"), "[Unit]")
      }
    }).pipe(live))

  it.scopedLive("makes paths absolute, since a service starts in another folder", () =>
    Effect.gen(function*() {
      const flags = new Map([["config", "my config.json"], ["state-dir", "./state"], ["log-level", "debug"]])
      const { out } = yield* invoke({ flags, manager: "launchd" })
      const text = out.join("\n")
      assert.include(text, `<string>${Path.resolve("my config.json")}</string>`)
      assert.include(text, `<string>${Path.resolve("state")}</string>`)
      assert.include(text, "<string>debug</string>")
    }).pipe(live))

  it.scopedLive("warns of what holds here and not for the service", () =>
    Effect.gen(function*() {
      const { err, out } = yield* invoke({}, {
        HOME: "/home/me",
        // There is no warning for these three variables. The port comes from a flag, and the service definition always contains
        // the profile and the supervisor.
        GATEWAY_PORT: "18790",
        GATEWAY_PROFILE: "a-b",
        GATEWAY_SUPERVISOR: "none",
        // An empty variable counts as unset, so there is no warning for it.
        GATEWAY_HOST: "",
        GATEWAY_DRAIN_TIMEOUT: "1 second",
        GATEWAY_HEALTH_TIMEOUT: "3 seconds"
      })
      assert.deepStrictEqual(err.toSorted(), [
        "gateway: GATEWAY_DRAIN_TIMEOUT is set in this environment, but not for the service; use --drain-timeout",
        "gateway: GATEWAY_HEALTH_TIMEOUT is set in this environment, but not for the service; set it in the config file"
      ])
      assert.strictEqual(out.length, 1)
    }).pipe(live))

  it.scopedLive("a user's task starts at that user's logon", () =>
    Effect.gen(function*() {
      const environment = { USERNAME: "me & you", USERDOMAIN: "HOST" }
      const ofUser = (yield* invoke({ platform: "win32" }, environment)).out.join("\n")
      assert.include(ofUser, "<UserId>HOST\\me &amp; you</UserId>")
      const ofSystem = (yield* invoke({ platform: "win32", system: true }, environment)).out.join("\n")
      assert.notInclude(ofSystem, "me &amp; you")
    }).pipe(live))
})

describe("service --system on systemd", () => {
  const system = { system: true, flags: new Map([["profile", "a-b"], ["port", "18790"]]) }

  it.scopedLive("runs as a user of its own, with a state directory that systemd makes", () =>
    Effect.gen(function*() {
      const { err, out } = yield* invoke(system)
      const text = out.join("\n")
      assert.deepStrictEqual(err, [])
      for (const line of ["DynamicUser=yes", "StateDirectory=gateway-lock/a-b", "StateDirectoryMode=0700"]) {
        assert.include(text.split("\n"), line)
      }
      assert.notMatch(text, /^User=/m)
    }).pipe(live))

  it.scopedLive("runs as the user that is named, and says what root means", () =>
    Effect.gen(function*() {
      const named = yield* invoke({ ...system, user: "bob" })
      assert.include(named.out.join("\n").split("\n"), "User=bob")
      assert.notInclude(named.out.join("\n"), "DynamicUser")
      assert.deepStrictEqual(named.err, [])
      for (const user of ["root", "0"]) {
        assert.deepStrictEqual((yield* invoke({ ...system, user })).err, [
          "gateway: the service runs as root: an attacker who breaks into the gateway controls the whole machine; without --user it runs as its own user"
        ])
      }
    }).pipe(live))

  it.scopedLive("refuses what is no user's name, before anything is written", () =>
    Effect.gen(function*() {
      for (const user of ["", "a b", "a\nExecStart=/bin/sh", "-x", "a/b", "a:b", "%i"]) {
        const { exit, out } = yield* invoke({ ...system, user })
        assert.strictEqual(
          exit._tag === "Left" ? exit.left.message : "",
          `--user ${JSON.stringify(user)} is not a valid user name; see "gateway service --help"`
        )
        assert.deepStrictEqual(out, [])
      }
    }).pipe(live))

  it.scopedLive("without a user, refuses a state directory that such a service cannot write", () =>
    Effect.gen(function*() {
      const at = (path: string, user?: string) => invoke({ ...system, user, flags: new Map([["state-dir", path]]) })
      assert.include((yield* at("/var/lib/blue/state")).out.join("\n"), "StateDirectory=blue/state\n")
      for (const path of ["/srv/blue", "/var/lib", "/var/lib/private/x", "/var/lib/a:b", "/var/library/x"]) {
        const { exit } = yield* at(path)
        assert.strictEqual(
          exit._tag === "Left" ? exit.left.message : "",
          `without --user the service can write only below /var/lib, not in ${path}; omit --state-dir, or use --user <name>; see "gateway service --help"`
        )
        assert.include((yield* at(path, "bob")).out.join("\n"), `ReadWritePaths=${path}\n`)
      }
    }).pipe(live))

  it.scopedLive("hands the token's file on as a credential, wherever it is named", () =>
    Effect.gen(function*() {
      const fromFlag = yield* invoke({ ...system, flags: new Map([["token-file", "/root/100%.token"]]) })
      const fromFile = yield* invoke({
        ...system,
        config: { ...command.config, tokenFile: Option.some("/root/100%.token") }
      })
      for (const { out } of [fromFlag, fromFile]) {
        assert.include(out.join("\n"), "LoadCredential=token:/root/100%%.token\n")
        assert.include(out.join("\n"), " --token-file ${CREDENTIALS_DIRECTORY}/token ")
      }
      // Only a system service needs a credential, because its user may not be able to read the token file.
      const ofUser = yield* invoke({ flags: new Map([["token-file", "/home/me/token"]]) })
      assert.include(ofUser.out.join("\n"), " --token-file /home/me/token ")
      const injected = yield* invoke({ ...system, flags: new Map([["token-file", "/a\nExecStartPre=/bin/sh"]]) })
      assert.isTrue(injected.exit._tag === "Left" && injected.exit.left._tag === "ServiceFailed")
    }).pipe(live))

  it.scopedLive("passes the file with the lease URL to a system service as a credential", () =>
    Effect.gen(function*() {
      const flags = new Map([["lease-url-file", "/root/lease"], ["token-file", "/root/token"]])
      const fromFlag = yield* invoke({ ...system, flags })
      const lease = { ...command.config.lease, urlFile: Option.some("/root/lease") }
      const fromFile = yield* invoke({
        ...system,
        config: { ...command.config, tokenFile: Option.some("/root/token"), lease }
      })
      for (const { out } of [fromFlag, fromFile]) {
        const unit = out.join("\n")
        assert.include(unit, "LoadCredential=lease-url:/root/lease\n")
        assert.include(unit, "LoadCredential=token:/root/token\n")
        assert.include(unit, " --lease-url-file ${CREDENTIALS_DIRECTORY}/lease-url ")
        assert.include(unit, " --token-file ${CREDENTIALS_DIRECTORY}/token ")
      }
      const ofUser = yield* invoke({ flags: new Map([["lease-url-file", "lease"]]) })
      assert.include(ofUser.out.join("\n"), ` --lease-url-file ${Path.resolve("lease")} `)
      const { err } = yield* invoke({}, { HOME: "/nonexistent/home", GATEWAY_LEASE_URL: "etcd+http://a:1" })
      assert.include(
        err.join("\n"),
        "GATEWAY_LEASE_URL is set in this environment, but not for the service; put the URL into a file and use --lease-url-file"
      )
    }).pipe(live))

  it.scopedLive("warns of a program that the service's user cannot read", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const root = yield* fs.makeTempDirectoryScoped()
      const scriptPath = `${yield* fs.realPath(root)}/main.js`
      yield* fs.writeFileString(scriptPath, "")
      const about = (user?: string) =>
        Effect.map(invoke({ ...system, user, scriptPath }), ({ err }) =>
          err.filter((line) => line.includes("cannot read")))
      assert.deepStrictEqual(yield* about(), [
        `gateway: the service runs as its own user, which cannot read ${scriptPath}; move it to a folder that every user can read, such as /opt, or use --user <name>`
      ])
      assert.deepStrictEqual(yield* about("bob"), [])
      yield* fs.chmod(root, 0o755)
      assert.deepStrictEqual(yield* about(), [])
    }).pipe(live))

  it.scopedLive("says as whom launchd and the Task Scheduler run it", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* invoke({ ...system, platform: "darwin" })).err, [
        "gateway: the service runs as root; name a user with --user"
      ])
      assert.include(
        (yield* invoke({ ...system, platform: "darwin", user: "bob" })).out.join("\n"),
        "<string>bob</string>"
      )
      const windows = yield* invoke({ ...system, platform: "win32" })
      assert.include(windows.err, "gateway: the service runs as LocalSystem; name a user with --user")
      assert.include(
        (yield* invoke({ ...system, platform: "win32", user: "HOST\\bob" })).out.join("\n"),
        "<UserId>HOST\\bob</UserId>"
      )
    }).pipe(live))
})

describe("service --exec", () => {
  const exec = (...words: readonly [string, ...Array<string>]): ExecCommandLine => ({
    _tag: "Exec",
    flags: new Map(),
    ownFlags: ["--ready=port"],
    words,
    standby: false,
    ensure: false,
    force: false,
    hasPort: true,
    toGroup: false,
    inheritsLock: true,
    diesWithWrapper: false,
    listens: false,
    ready: "port",
    startTimeout: undefined,
    stopTimeout: "20 seconds",
    conflictStatus: undefined
  })

  const messageOf = ({ exit }: { readonly exit: Either.Either<unknown, { readonly message: string }> }): string =>
    exit._tag === "Left" ? exit.left.message : ""

  /** Makes a folder with an executable file, a file that is not executable, and a folder. */
  const programs = Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.realPath(yield* fs.makeTempDirectoryScoped())
    yield* fs.chmod(folder, 0o755)
    yield* fs.writeFileString(Path.join(folder, "server"), "")
    yield* fs.chmod(Path.join(folder, "server"), 0o755)
    yield* fs.writeFileString(Path.join(folder, "text"), "")
    yield* fs.makeDirectory(Path.join(folder, "folder"))
    return folder
  })

  it.scopedLive("runs the program that PATH names, by its absolute path, in this folder and with this PATH", () =>
    Effect.gen(function*() {
      const folder = yield* programs
      const { exit, out } = yield* invoke({ exec: exec("server", "a b", "$HOME") }, {
        HOME: "/nonexistent",
        PATH: `relative:${folder}/folder::${folder}:/bin:${folder}:/a\u0001`
      })
      assert.strictEqual(messageOf({ exit }), "")
      const lines = out.join("\n").split("\n")
      assert.include(
        lines,
        `ExecStart=/usr/bin/node /opt/gateway/dist/main.js exec --profile a-b --port 18790 --supervisor systemd --ready=port -- ${folder}/server "a b" $$HOME`
      )
      assert.include(lines, `WorkingDirectory=${process.cwd()}`)
      assert.include(lines, `Environment=PATH=${folder}/folder:${folder}:/bin`)
      assert.include(lines, "TimeoutStopSec=30")
      const launchd = yield* invoke({ exec: exec(`${folder}/server`), manager: "launchd" }, { PATH: "/bin" })
      assert.include(launchd.out.join("\n"), `<key>WorkingDirectory</key>\n  <string>${process.cwd()}</string>`)
    }).pipe(live))

  it.scopedLive("keeps the links in the path of this folder, so that it follows a switched link", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* programs
      yield* fs.symlink(process.cwd(), Path.join(folder, "current"))
      const at = (PWD: string) =>
        Effect.map(
          invoke({ exec: exec(`${folder}/server`) }, { PATH: "/bin", PWD }),
          ({ out }) => /^WorkingDirectory=(.*)$/m.exec(out.join("\n"))?.[1]
        )
      assert.strictEqual(yield* at(`${folder}/current`), `${folder}/current`)
      for (const wrong of [folder, "current", "", `${folder}/absent`]) {
        assert.strictEqual(yield* at(wrong), process.cwd(), wrong)
      }
    }).pipe(live))

  it.scopedLive("refuses a command that cannot be started, with one line, and writes nothing", () =>
    Effect.gen(function*() {
      const folder = yield* programs
      for (
        const [name, message] of [
          ["python9", "cannot find the command python9: PATH has no such program; check its name, or give its path"],
          [`${folder}/absent`, `cannot find the command ${folder}/absent: there is no such file; check its path`],
          [
            `${folder}/folder`,
            `cannot execute the command ${folder}/folder: it is a folder; give the path of a program`
          ],
          [
            "text",
            `cannot execute the command ${folder}/text: it is not executable; make it executable (chmod +x), or name its interpreter`
          ],
          [
            "./a\nb",
            `cannot find the command ${process.cwd()}/a\\u000ab: there is no such file; check its path`
          ]
        ] as const
      ) {
        const refused = yield* invoke({ action: "install", exec: exec(name) }, { HOME: folder, PATH: folder })
        assert.strictEqual(messageOf(refused), message)
        assert.deepStrictEqual(refused.out, [])
      }
    }).pipe(live))

  it.scopedLive("is refused for Windows, and for a flag or a value that exec would refuse", () =>
    Effect.gen(function*() {
      const windows = "exec is not available on Windows; run it in WSL, or use LockFile of the library"
      assert.strictEqual(messageOf(yield* invoke({ exec: exec("sh"), platform: "win32" })), windows)
      assert.strictEqual(messageOf(yield* invoke({ exec: exec("sh"), manager: "schtasks" })), windows)
      assert.strictEqual(
        messageOf(yield* invoke({ exec: { ...exec("sh"), diesWithWrapper: true }, manager: "launchd" })),
        "--die-with-wrapper is available only on Linux; start exec without it"
      )
      // launchd restarts whatever ends with a status other than 0, so a start that is always refused would loop.
      assert.strictEqual(
        messageOf(yield* invoke({ exec: { ...exec("sh"), ready: "notify" }, manager: "launchd" })),
        "--ready notify needs systemd; use --ready port or --ready http:/<path>"
      )
      for (const change of [{ ready: "x" }, { startTimeout: "x" }, { stopTimeout: "x" }, { conflictStatus: "256" }]) {
        assert.match(messageOf(yield* invoke({ exec: { ...exec("sh"), ...change } })), /^invalid .* from --/)
      }
      const removed = yield* invoke({ action: "uninstall", dryRun: true, platform: "win32" })
      assert.strictEqual(messageOf(removed), "")
    }).pipe(live))

  it.scopedLive("for the system, names the state directory and an existing config file, and sets no folder variables", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* programs
      const configName = Path.join(folder, "gateway.json")
      const change = { exec: exec(`${folder}/server`), system: true, config: { ...command.config, configName } }
      const text = Effect.map(invoke(change, { PATH: "/bin" }), ({ out }) => out.join("\n"))
      assert.include(yield* text, " exec --profile a-b --state-dir /var/lib/gateway-lock/a-b --port 18790 --supervisor")
      yield* fs.writeFileString(configName, "{}")
      assert.include(yield* text, ` exec --profile a-b --config ${configName} --state-dir /var/lib/gateway-lock/a-b `)
      assert.notInclude(yield* text, "XDG_")
    }).pipe(live))

  it.scopedLive("for the system, passes the file with the lease URL as a credential, but no word of the command", () =>
    Effect.gen(function*() {
      const folder = yield* programs
      const own = exec(`${folder}/server`, "--lease-url-file", "/srv/own")
      const lease = { ...command.config.lease, urlFile: Option.some("/root/lease") }
      for (
        const change of [
          { flags: new Map([["lease-url-file", "/root/lease"]]) },
          { config: { ...command.config, lease } }
        ]
      ) {
        const unit = (yield* invoke({ exec: own, system: true, ...change }, { PATH: "/bin" })).out.join("\n")
        assert.include(unit, "LoadCredential=lease-url:/root/lease\n")
        assert.include(unit, " --lease-url-file ${CREDENTIALS_DIRECTORY}/lease-url ")
        assert.include(unit, "/server --lease-url-file /srv/own\n")
        assert.notInclude(unit, "/root/lease ")
      }
      // `exec` does not read the token, so the command's user need not read it either.
      const tokenFile = new Map([["token-file", "/root/token"]])
      const withToken = (yield* invoke({ exec: own, system: true, flags: tokenFile }, { PATH: "/bin" })).out.join("\n")
      assert.notInclude(withToken, "CREDENTIALS_DIRECTORY")
      assert.include(withToken, " --token-file /root/token ")
      const ofUser = yield* invoke({ exec: own, flags: new Map([["lease-url-file", "/a/lease"]]) }, { PATH: "/bin" })
      assert.include(ofUser.out.join("\n"), " --lease-url-file /a/lease ")
    }).pipe(live))

  it.scopedLive("with a lease, gives a stop the time for two attempts at its store", () =>
    Effect.gen(function*() {
      const folder = yield* programs
      const times = { ...command.config.lease, attemptTimeout: Duration.seconds(7) }
      const isLeasedBy = [{ url: Option.some(Redacted.make("etcd+http://h")) }, { urlFile: Option.some("/a/lease") }]
      const timeoutOf = (change: Partial<ServiceCommand>) =>
        Effect.map(
          invoke(change, { HOME: folder, PATH: "/bin" }),
          ({ out }) =>
            Number(
              /^TimeoutStopSec=(\d+)$|<key>ExitTimeOut<\/key>\s*<integer>(\d+)</m.exec(out.join("\n"))?.slice(1).join(
                ""
              )
            )
        )
      for (const manager of ["systemd", "launchd"]) {
        for (const change of [{ manager }, { manager, exec: exec(`${folder}/server`) }]) {
          const without = yield* timeoutOf({ ...change, config: { ...command.config, lease: times } })
          assert.isAbove(without, 10)
          for (const store of isLeasedBy) {
            const config = { ...command.config, lease: { ...times, ...store } }
            assert.strictEqual(yield* timeoutOf({ ...change, config }), without + 14)
          }
        }
      }
    }).pipe(live))

  it.scopedLive("for the system, warns of a folder that the service's user cannot see", () =>
    Effect.gen(function*() {
      const folder = yield* programs
      const about = (user?: string) =>
        Effect.map(
          invoke({ exec: exec(`${folder}/server`), system: true, user }, { PATH: "/bin", GATEWAY_TOKEN: "x" }),
          ({ err }) => err.filter((line) => line.includes("of its own, in which"))
        )
      assert.deepStrictEqual(yield* about("bob"), [])
      if (!folder.startsWith("/tmp/")) return
      assert.deepStrictEqual(yield* about(), [
        `gateway: the service runs as its own user, with a /tmp and /var/tmp of its own, in which ${folder}/server is missing; move it, or use --user <name>`
      ])
    }).pipe(live))
})

describe("service, of a Node or a program that does not stay", () => {
  it.scopedLive("warns, and names the path to prefer", () =>
    Effect.gen(function*() {
      for (const action of ["print", "install"] as const) {
        const { err, exit } = yield* invoke({
          action,
          dryRun: true,
          execPath: "/home/me/.nvm/versions/node/v22.1.0/bin/node",
          scriptPath: "/home/me/.npm/_npx/0123456789abcdef/node_modules/.bin/gateway"
        })
        assert.strictEqual(exit._tag, "Right")
        assert.strictEqual(err.length, 2)
        assert.match(
          err[0] ?? "",
          /^gateway: \/home\/me\/\.nvm\/versions\/node\/v22\.1\.0\/bin\/node may disappear \(nvm, one folder for each version of Node\); prefer \/usr\/(local\/)?bin\/node/
        )
        assert.match(err[1] ?? "", /_npx\/.* may disappear \(npx, a cache\); prefer \/usr\/(local\/)?bin\/gateway/)
      }
      assert.deepStrictEqual((yield* invoke({})).err, [])
      assert.deepStrictEqual((yield* invoke({ action: "uninstall", dryRun: true, execPath: "/tmp/node" })).err, [])
    }).pipe(live))
})

describe("service", () => {
  it.scopedLive("refuses a manager that it does not know, and a platform that has none", () =>
    Effect.gen(function*() {
      for (const action of ["print", "install", "uninstall"] as const) {
        for (
          const [changes, reason] of [
            [{ manager: "upstart" }, "unknown service manager \"upstart\"; managers: systemd, launchd, schtasks"],
            [{ manager: "toString" }, "unknown service manager \"toString\"; managers: systemd, launchd, schtasks"],
            [
              { platform: "freebsd" },
              "no service manager is known for freebsd; name one with --manager: systemd, launchd, schtasks"
            ]
          ] as const
        ) {
          const { err, exit, out } = yield* invoke({ ...changes, action })
          assert.isTrue(exit._tag === "Left" && exit.left._tag === "UsageError", reason)
          assert.strictEqual(exit._tag === "Left" ? exit.left.message : "", `${reason}; see "gateway --help"`)
          assert.deepStrictEqual([...out, ...err], [])
        }
      }
    }).pipe(live))

  it.scopedLive("prints nothing that the manager's format cannot say", () =>
    Effect.gen(function*() {
      const { exit, out } = yield* invoke({ execPath: "/a\"b/node" })
      assert.isTrue(exit._tag === "Left" && exit.left._tag === "ServiceFailed")
      assert.deepStrictEqual(out, [])
    }).pipe(live))

  it.scopedLive("installs below the user's own folders, and takes it away again", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { calls, executor } = yield* programless
      const root = yield* fs.makeTempDirectoryScoped()
      const run = (action: ServiceCommand["action"], environment: Readonly<Record<string, string>>) =>
        Effect.provideService(invoke({ action }, environment), CommandExecutor.CommandExecutor, executor)
      for (
        const [environment, folder] of [
          [{ HOME: root }, `${root}/.config/systemd/user`],
          [{ HOME: root, XDG_CONFIG_HOME: `${root}/xdg` }, `${root}/xdg/systemd/user`],
          [{ HOME: root, XDG_CONFIG_HOME: "relative/is/ignored" }, `${root}/.config/systemd/user`]
        ] as const
      ) {
        const path = `${folder}/gateway-a-b.service`
        const before = (yield* calls).length
        const installed = yield* run("install", environment)
        assert.strictEqual(installed.exit._tag, "Right")
        assert.strictEqual(yield* fs.readFileString(path), systemdUnit(options))
        assert.include(installed.out, `write ${path}`)
        assert.include(installed.out, "installed gateway-a-b.service")
        assert.deepStrictEqual((yield* calls).slice(before), [
          "systemctl --user daemon-reload",
          "systemctl --user enable gateway-a-b.service"
        ])
        const uninstalled = yield* run("uninstall", environment)
        assert.include(uninstalled.out, "uninstalled gateway-a-b.service")
        assert.isFalse(yield* fs.exists(path))
        const again = yield* run("uninstall", environment)
        assert.strictEqual(again.exit._tag, "Right")
        assert.deepStrictEqual(again.out, [`gateway-a-b.service is not installed: ${path} does not exist`])
      }
    }).pipe(live))

  it.scopedLive("a dry run writes nothing and starts nothing", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { calls, executor } = yield* programless
      const root = yield* fs.makeTempDirectoryScoped()
      const folders = { systemdSystem: `${root}/systemd`, launchDaemons: `${root}/daemons` }
      for (const action of ["install", "uninstall"] as const) {
        for (const manager of managers) {
          for (const system of [true, false]) {
            const { exit, out } = yield* invoke(
              { action, manager, system, folders, dryRun: true, config: { ...command.config, stateDir: `${root}/s` } },
              { HOME: root }
            ).pipe(Effect.provideService(CommandExecutor.CommandExecutor, executor))
            assert.strictEqual(exit._tag, "Right")
            assert.isNotEmpty(out)
            for (const line of out) assert.match(line, /^would |^ {4}/)
          }
        }
      }
      assert.deepStrictEqual(yield* fs.readDirectory(root), [])
      assert.deepStrictEqual(yield* calls, [])
    }).pipe(live))

  it.scopedLive("without HOME, asks the system whose home it is", () =>
    Effect.gen(function*() {
      const { out } = yield* invoke({ action: "install", dryRun: true }, {})
      assert.include(out, `would write ${NodeOs.homedir()}/.config/systemd/user/gateway-a-b.service`)
    }).pipe(live))

  it.scopedLive("tells launchd the domain of the user", () =>
    Effect.gen(function*() {
      const { out } = yield* invoke({ action: "install", manager: "launchd", dryRun: true })
      assert.include(out, "would run launchctl enable gui/501/dev.gateway-lock.a-b")
    }).pipe(live))
})
