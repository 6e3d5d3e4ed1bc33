import { Command, CommandExecutor, Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Ref } from "effect"
import * as Path from "node:path"
import * as ServiceDefinition from "../../src/supervisor/ServiceDefinition.ts"
import type { ServiceFailed } from "../../src/supervisor/ServiceFailed.ts"
import * as ServiceManager from "../../src/supervisor/ServiceManager.ts"
import {
  type Manager,
  managers,
  serviceNames,
  type ServiceOptions,
  type ServiceScope
} from "../../src/supervisor/ServiceOptions.ts"
import { definitionPath, describeStep, installSteps, uninstallSteps } from "../../src/supervisor/ServiceSteps.ts"
import { systemdUnit } from "../../src/supervisor/SystemdUnit.ts"
import { notLinux, unless } from "../fixtures/skips.ts"

const service: ServiceOptions = {
  profile: "a-b",
  scope: "user",
  execPath: "/usr/bin/node",
  scriptPath: "/opt/gateway/dist/main.js",
  args: new Map([["port", "18790"]]),
  stateDir: "/state",
  drainTimeout: Duration.seconds(10),
  health: { timeout: Duration.minutes(5), retryInterval: Duration.seconds(5) }
}

/** The shell lines that each fake program runs. A program without lines does not exist on the machine. */
interface Programs {
  readonly systemctl?: string
  readonly launchctl?: string
  readonly schtasks?: string
  readonly id?: string
}

const willing: Programs = { systemctl: "exit 0", launchctl: "exit 0", schtasks: "exit 0" }

/**
 * Makes a machine with new folders and fake service managers, and the options of a service to install there. Each fake manager
 * records its call and then runs its shell lines.
 */
const makeMachine = (manager: Manager, scope: ServiceScope, programs: Programs = willing) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const executor = yield* CommandExecutor.CommandExecutor
    const base = yield* fs.makeTempDirectoryScoped()
    // The path has characters that are special in a shell, a unit or a property list.
    const root = Path.join(base, "it's 100% R&D é")
    const bin = Path.join(base, "bin")
    const log = Path.join(base, "calls")
    yield* fs.makeDirectory(root)
    yield* fs.makeDirectory(bin)
    yield* fs.writeFileString(log, "")
    for (const [name, lines] of Object.entries(programs)) {
      yield* fs.writeFileString(
        Path.join(bin, name),
        `#!/bin/sh\nPATH=/usr/bin:/bin\n{ printf '%s' '${name}'; printf ' <%s>' "$@"; echo; } >> "$CALLS"\n${lines}\n`
      )
      yield* fs.chmod(Path.join(bin, name), 0o755)
    }
    const reported = yield* Ref.make<ReadonlyArray<string>>([])
    const options: ServiceManager.ServiceManagerOptions = {
      manager,
      service: { ...service, scope, stateDir: Path.join(root, "state") },
      folders: {
        home: Path.join(root, "home"),
        systemdSystem: Path.join(root, "etc"),
        launchDaemons: Path.join(root, "Library", "LaunchDaemons")
      },
      uid: 501,
      report: (line) => Ref.update(reported, (before) => [...before, line])
    }
    const context = Context.make(FileSystem.FileSystem, fs).pipe(
      Context.add(
        CommandExecutor.CommandExecutor,
        CommandExecutor.makeExecutor((command) => executor.start(Command.env(command, { PATH: bin, CALLS: log })))
      )
    )
    return {
      root,
      options,
      context,
      /** The path of the service's definition. */
      path: definitionPath(options),
      install: (changes: Partial<ServiceManager.ServiceManagerOptions> = {}) =>
        Effect.provide(ServiceManager.install({ ...options, ...changes }), context),
      uninstall: (changes: Partial<ServiceManager.ServiceManagerOptions> = {}) =>
        Effect.provide(ServiceManager.uninstall({ ...options, ...changes }), context),
      /** The calls to the fake service managers, in order. */
      calls: Effect.map(fs.readFileString(log), (text) => text.split("\n").slice(0, -1)),
      /** The reports so far. */
      reported: Ref.get(reported),
      /** Every file below `root` with its mode, and every folder below `root`. */
      files: Effect.gen(function*() {
        const paths = yield* fs.readDirectory(root, { recursive: true })
        return yield* Effect.forEach(
          paths.toSorted(),
          (path) =>
            Effect.map(
              fs.stat(Path.join(root, path)),
              ({ mode, type }) => `${path} ${type === "File" ? (mode & 0o777).toString(8) : type}`
            )
        )
      })
    }
  })

const places = managers.flatMap((manager) => (["user", "system"] as const).map((scope) => [manager, scope] as const))

const live = Effect.provide(NodeContext.layer)

describe("where the definition goes", () => {
  const at = (
    manager: Manager,
    scope: ServiceScope,
    configHome?: string
  ) =>
    definitionPath({
      manager,
      service: { ...service, scope },
      folders: { home: "/home/me", configHome }
    })

  it("is each manager's own folder", () => {
    assert.strictEqual(at("systemd", "user"), "/home/me/.config/systemd/user/gateway-a-b.service")
    assert.strictEqual(at("systemd", "user", "/xdg"), "/xdg/systemd/user/gateway-a-b.service")
    assert.strictEqual(at("systemd", "system", "/xdg"), "/etc/systemd/system/gateway-a-b.service")
    assert.strictEqual(at("launchd", "user", "/xdg"), "/home/me/Library/LaunchAgents/dev.gateway-lock.a-b.plist")
    assert.strictEqual(at("launchd", "system"), "/Library/LaunchDaemons/dev.gateway-lock.a-b.plist")
    assert.strictEqual(at("schtasks", "user"), "/state/gateway-a-b.task.xml")
    assert.strictEqual(at("schtasks", "system"), "/state/gateway-a-b.task.xml")
  })
})

describe("install", () => {
  for (const [manager, scope] of places) {
    it.scopedLive(`writes what ${manager} (${scope}) is to read, and nothing else`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const machine = yield* makeMachine(manager, scope)
        yield* machine.install()
        assert.deepStrictEqual(
          Buffer.from(yield* fs.readFile(machine.path)),
          Buffer.from(ServiceDefinition.encode(ServiceDefinition.make(manager, machine.options.service)))
        )
        const files = (yield* machine.files).filter((file) => !file.endsWith(" Directory"))
        assert.deepStrictEqual(files, [`${Path.relative(machine.root, machine.path)} 644`])
      }).pipe(live))

    it.scopedLive(`reports every step it takes with ${manager} (${scope}) before it takes it`, () =>
      Effect.gen(function*() {
        const machine = yield* makeMachine(manager, scope)
        yield* machine.install()
        const steps = installSteps(machine.options).map(describeStep)
        const reported = yield* machine.reported
        assert.deepStrictEqual(reported.slice(0, steps.length), steps)
        assert.strictEqual(
          reported[steps.length],
          `installed ${serviceNames(manager, "a-b").name}`
        )
        assert.strictEqual((yield* machine.calls).length, steps.filter((step) => step.startsWith("run ")).length)
      }).pipe(live))

    it.scopedLive(`a dry run with ${manager} (${scope}) shows steps and text, and touches nothing`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const machine = yield* makeMachine(manager, scope)
        const options = { ...machine.options, dryRun: true }
        // In this context every file operation fails or dies, and no program can be run.
        const context = Context.make(FileSystem.FileSystem, FileSystem.makeNoop({})).pipe(
          Context.add(
            CommandExecutor.CommandExecutor,
            CommandExecutor.makeExecutor(() => Effect.dieMessage("a program was run"))
          )
        )
        yield* Effect.provide(ServiceManager.install(options), context)
        yield* Effect.provide(ServiceManager.uninstall(options), context)
        assert.deepStrictEqual(yield* fs.readDirectory(machine.root), [])
        const shown = yield* machine.reported
        for (const step of [...installSteps(options), ...uninstallSteps(options)]) {
          assert.include(shown, `would ${describeStep(step)}`)
        }
        const { text } = ServiceDefinition.make(manager, options.service)
        const lines = text.trimEnd().split("\n").map((line) => line === "" ? "" : `    ${line}`)
        assert.include(shown, lines.join("\n"))
      }).pipe(live))
  }

  const calls = (manager: Manager, scope: ServiceScope) =>
    Effect.gen(function*() {
      const machine = yield* makeMachine(manager, scope)
      yield* machine.install()
      const before = (yield* machine.calls).length
      yield* machine.uninstall()
      const made = (yield* machine.calls).map((call) => call.replace(machine.path, "PATH"))
      return { install: made.slice(0, before), uninstall: made.slice(before), files: yield* machine.files }
    })

  interface Told {
    readonly title: string
    readonly manager: Manager
    readonly scope: ServiceScope
    readonly install: ReadonlyArray<string>
    readonly uninstall: ReadonlyArray<string>
  }
  const told: ReadonlyArray<Told> = [
    {
      title: "systemd of the user",
      manager: "systemd",
      scope: "user",
      install: ["systemctl <--user> <daemon-reload>", "systemctl <--user> <enable> <gateway-a-b.service>"],
      uninstall: [
        "systemctl <--user> <disable> <--now> <gateway-a-b.service>",
        "systemctl <--user> <daemon-reload>",
        "systemctl <--user> <reset-failed> <gateway-a-b.service>"
      ]
    },
    {
      title: "systemd of the system",
      manager: "systemd",
      scope: "system",
      install: ["systemctl <daemon-reload>", "systemctl <enable> <gateway-a-b.service>"],
      uninstall: [
        "systemctl <disable> <--now> <gateway-a-b.service>",
        "systemctl <daemon-reload>",
        "systemctl <reset-failed> <gateway-a-b.service>"
      ]
    },
    {
      title: "the Task Scheduler",
      manager: "schtasks",
      scope: "user",
      install: ["schtasks </Create> </TN> <\\gateway-lock\\a-b> </XML> <PATH> </F>"],
      uninstall: [
        "schtasks </Query> </TN> <\\gateway-lock\\a-b>",
        "schtasks </End> </TN> <\\gateway-lock\\a-b>",
        "schtasks </Delete> </TN> <\\gateway-lock\\a-b> </F>"
      ]
    }
  ]
  for (const { install, manager, scope, title, uninstall } of told) {
    it.scopedLive(`tells ${title}`, () =>
      Effect.gen(function*() {
        const made = yield* calls(manager, scope)
        assert.deepStrictEqual(made.install, install)
        assert.deepStrictEqual(made.uninstall, uninstall)
        assert.isEmpty(made.files.filter((file) => !file.endsWith(" Directory")))
      }).pipe(live))
  }

  it.scopedLive("tells launchd, and makes the folder of the error output", () =>
    Effect.gen(function*() {
      for (const [scope, domain] of [["user", "gui/501"], ["system", "system"]] as const) {
        const made = yield* calls("launchd", scope)
        assert.deepStrictEqual(made.install, [
          `launchctl <bootout> <${domain}/dev.gateway-lock.a-b>`,
          `launchctl <enable> <${domain}/dev.gateway-lock.a-b>`,
          `launchctl <bootstrap> <${domain}> <PATH>`
        ])
        assert.deepStrictEqual(made.uninstall, [`launchctl <bootout> <${domain}/dev.gateway-lock.a-b>`])
        assert.include(made.files, "state Directory")
        assert.isEmpty(made.files.filter((file) => !file.endsWith(" Directory")))
      }
    }).pipe(live))

  it.scopedLive("done again, it replaces what is there", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "user")
      yield* machine.install()
      const service = { ...machine.options.service, args: new Map([["port", "1"]]) }
      yield* machine.install({ service })
      assert.strictEqual(yield* fs.readFileString(machine.path), systemdUnit(service))
    }).pipe(live))

  it.scopedLive("lets everybody read the definition, whatever the umask", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "system")
      const umask077: FileSystem.FileSystem = {
        ...fs,
        open: (path, options) => fs.open(path, { ...options, mode: (options?.mode ?? 0o666) & 0o700 })
      }
      yield* ServiceManager.install(machine.options).pipe(
        Effect.provideService(FileSystem.FileSystem, umask077),
        Effect.provide(Context.omit(FileSystem.FileSystem)(machine.context))
      )
      const { mode } = yield* fs.stat(machine.path)
      assert.strictEqual(mode & 0o777, 0o644)
    }).pipe(live))

  it.scopedLive("under launchd, a label that is not loaded yet is no failure", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("launchd", "user", {
        launchctl: "[ \"$1\" != bootout ] || { echo 'Boot-out failed: 3: No such process' >&2; exit 3; }"
      })
      yield* machine.install()
      assert.strictEqual((yield* machine.calls).length, 3)
      assert.notInclude((yield* machine.reported).join("\n"), "exit status")
    }).pipe(live))

  it.scopedLive("under launchd, waits for the former job to end", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("launchd", "user", {
        launchctl: "[ \"$1\" != bootstrap ] || [ \"$(grep -c bootstrap \"$CALLS\")\" = 3 ] || exit 37"
      })
      yield* machine.install()
      assert.strictEqual((yield* machine.calls).filter((call) => call.includes("<bootstrap>")).length, 3)
    }).pipe(live))
})

describe("uninstall", () => {
  for (const [manager, scope] of places) {
    it.scopedLive(`where ${manager} (${scope}) has none, says so and succeeds`, () =>
      Effect.gen(function*() {
        const machine = yield* makeMachine(manager, scope, {
          ...willing,
          schtasks: "echo 'ERROR: no such task' >&2; exit 1"
        })
        yield* machine.uninstall()
        assert.match((yield* machine.reported).join("\n"), /^\S+ is not installed: [^\n]+$/)
        assert.deepStrictEqual(
          yield* machine.calls,
          manager === "schtasks" ? ["schtasks </Query> </TN> <\\gateway-lock\\a-b>"] : []
        )
        assert.isEmpty(yield* machine.files)
      }).pipe(live))

    it.scopedLive(`with ${manager} (${scope}), the second time there is nothing left to do`, () =>
      Effect.gen(function*() {
        const machine = yield* makeMachine(manager, scope, {
          ...willing,
          schtasks: "[ \"$1\" != /Query ] || ! grep -q /Delete \"$CALLS\""
        })
        yield* machine.install()
        yield* machine.uninstall()
        const { name } = serviceNames(manager, "a-b")
        assert.strictEqual((yield* machine.reported).at(-1), `uninstalled ${name}`)
        yield* machine.uninstall()
        assert.match((yield* machine.reported).at(-1) ?? "", / is not installed: /)
      }).pipe(live))
  }

  it.scopedLive("a unit that is masked is there", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "user")
      const { path } = machine
      yield* fs.makeDirectory(Path.dirname(path), { recursive: true })
      yield* fs.symlink("/dev/null", path)
      yield* machine.uninstall()
      assert.strictEqual((yield* machine.reported).at(-1), "uninstalled gateway-a-b.service")
    }).pipe(live))

  it.scopedLive("keeps the definition of a service that could not be stopped", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "user", { systemctl: "[ \"$2\" != disable ] || exit 4" })
      yield* machine.install()
      const error = yield* Effect.flip(machine.uninstall())
      assert.strictEqual(error._tag, "ServiceFailed")
      assert.isTrue(yield* fs.exists(machine.path))
    }).pipe(live))
})

describe("an installation that fails (N41)", () => {
  /** A manager that fails if its arguments contain this word. */
  const failingAt = (word: string): Programs => {
    const lines = `case " $* " in *" ${word} "*) echo 'Access denied' >&2; exit 4 ;; esac`
    return { systemctl: lines, launchctl: lines, schtasks: lines }
  }

  for (
    const [manager, scope, word] of [
      ["systemd", "user", "daemon-reload"],
      ["systemd", "user", "enable"],
      ["systemd", "system", "enable"],
      ["launchd", "user", "enable"],
      ["schtasks", "user", "/Create"]
    ] as const
  ) {
    it.scopedLive(`at ${word} of ${manager} (${scope}) leaves nothing, and says which step it was`, () =>
      Effect.gen(function*() {
        const machine = yield* makeMachine(manager, scope, failingAt(word))
        const error = yield* Effect.flip(machine.install())
        assert.include(error.where, word)
        assert.include(error.reason, "Access denied")
        assert.isEmpty(yield* machine.files)
        assert.include(yield* machine.reported, `undo: remove ${machine.path}`)
      }).pipe(live))

    it.scopedLive(`at ${word} of ${manager} (${scope}) puts the former definition back`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const machine = yield* makeMachine(manager, scope, failingAt(word))
        const { path } = machine
        yield* fs.makeDirectory(Path.dirname(path), { recursive: true })
        yield* fs.writeFileString(path, "as it was")
        const before = yield* machine.files
        yield* Effect.flip(machine.install())
        assert.strictEqual(yield* fs.readFileString(path), "as it was")
        assert.deepStrictEqual(yield* machine.files, before)
      }).pipe(live))
  }

  it.scopedLive("takes back the link that enabled the unit, and tells systemd", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      // The fake systemctl acts as if its connection to the bus broke: it creates the link of the service, but its answer is
      // lost.
      const machine = yield* makeMachine("systemd", "system", {
        systemctl:
          "case \"$*\" in *enable*) mkdir -p \"$WANTS\"; ln -s ../x \"$WANTS/gateway-a-b.service\"; exit 1 ;; esac"
      })
      const wants = Path.join(machine.root, "etc", "multi-user.target.wants")
      const executor = yield* Effect.provide(CommandExecutor.CommandExecutor, machine.context)
      yield* ServiceManager.install(machine.options).pipe(
        Effect.provideService(
          CommandExecutor.CommandExecutor,
          CommandExecutor.makeExecutor((command) => executor.start(Command.env(command, { WANTS: wants })))
        ),
        Effect.provide(machine.context),
        Effect.flip
      )
      assert.deepStrictEqual(yield* fs.readDirectory(wants), [])
      assert.isFalse(yield* fs.exists(machine.path))
      assert.strictEqual((yield* machine.calls).at(-1), "systemctl <daemon-reload>")
    }).pipe(live))

  it.scopedLive("masked again where it was masked", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "user", failingAt("enable"))
      const { path } = machine
      yield* fs.makeDirectory(Path.dirname(path), { recursive: true })
      yield* fs.symlink("/dev/null", path)
      yield* Effect.flip(machine.install())
      assert.strictEqual(yield* fs.readLink(path), "/dev/null")
    }).pipe(live))

  it.scopedLive("by an interruption is undone as well", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("systemd", "user", {
        systemctl: "case \"$*\" in *enable*) exec sleep 60 ;; esac"
      })
      const installing = yield* Effect.fork(machine.install())
      yield* Effect.repeat(machine.calls, { until: (calls) => calls.some((call) => call.includes("<enable>")) })
      yield* Fiber.interrupt(installing)
      assert.isEmpty(yield* machine.files)
    }).pipe(live))

  it.scopedLive("of a user that does not exist touches nothing, and says how to make one", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("systemd", "system", { ...willing, id: "exit 1" })
      const error = yield* Effect.flip(machine.install({ service: { ...machine.options.service, user: "bob" } }))
      assert.strictEqual(
        error.message,
        "cannot run the service as bob: there is no such user; to create it: useradd --system bob"
      )
      assert.isEmpty(yield* machine.files)
      assert.deepStrictEqual(yield* machine.calls, ["id <-u> <--> <bob>"])
    }).pipe(live))

  it.scopedLive("of a user without a state directory says how to make it", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "system", { ...willing, id: `echo ${process.getuid?.()}` })
      const stateDir = Path.join(machine.root, "blue")
      const install = machine.install({
        service: { ...machine.options.service, user: "bob", args: new Map([["state-dir", stateDir]]) }
      })
      const error = yield* Effect.flip(install)
      assert.strictEqual(error.reason, "it does not exist")
      assert.match(error.advice, /^to create it: install -d -m 700 -o bob /)
      yield* fs.makeDirectory(stateDir)
      yield* install
    }).pipe(live))
})

describe("uninstall, where a step does not matter (N41)", () => {
  for (
    const [manager, words] of [
      ["systemd", "reset-failed"],
      ["launchd", "bootout"],
      ["schtasks", "/End"]
    ] as const
  ) {
    it.scopedLive(`is silent about ${words} of ${manager}, and succeeds`, () =>
      Effect.gen(function*() {
        const machine = yield* makeMachine(manager, "user", {
          ...willing,
          [manager === "systemd" ? "systemctl" : manager === "launchd" ? "launchctl" : "schtasks"]:
            `case " $* " in *" ${words} "*) echo 'not loaded' >&2; exit 5 ;; esac`
        })
        yield* machine.install()
        const before = (yield* machine.reported).length
        yield* machine.uninstall()
        const reported = (yield* machine.reported).slice(before)
        assert.include((yield* machine.calls).join("\n"), `<${words}>`)
        assert.notInclude(reported.join("\n"), "exit status")
        assert.notInclude(reported.join("\n"), "not loaded")
        assert.match(reported.at(-1) ?? "", /^uninstalled /)
      }).pipe(live))
  }
})

describe("what fails", () => {
  /** Checks that the message of an error is one line, which says what failed, where, why, and what to do. Returns the error. */
  const oneLine = (error: ServiceFailed) => {
    for (const part of [error.what, error.where, error.reason, error.advice]) {
      assert.notStrictEqual(part, "")
      assert.include(error.message, part)
    }
    assert.notInclude(error.message, "\n")
    return error
  }

  it.scopedLive("a folder that cannot be made", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("systemd", "system")
      yield* fs.writeFileString(Path.join(machine.root, "etc"), "in the way")
      const folders = { home: "/", systemdSystem: Path.join(machine.root, "etc", "systemd") }
      const error = oneLine(yield* Effect.flip(machine.install({ folders })))
      assert.strictEqual(error.where, Path.join(machine.root, "etc", "systemd"))
      assert.match(error.message, /^cannot make the folder .*ENOTDIR.*; run it as root/)
      assert.isEmpty(yield* machine.calls)
      // Nothing is installed in those folders, so `uninstall` must say so.
      yield* machine.uninstall({ folders })
      assert.match((yield* machine.reported).at(-1) ?? "", /is not installed/)
    }).pipe(live))

  unless(notLinux).scopedLive("a folder that takes no files", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("systemd", "system")
      const error = oneLine(
        yield* Effect.flip(machine.install({ folders: { home: "/", systemdSystem: "/proc" } }))
      )
      assert.match(error.message, /^cannot write the systemd unit \/proc\/gateway-a-b\.service: E[A-Z]+: /)
      assert.isEmpty(yield* machine.calls)
    }).pipe(live))

  it.scopedLive("a folder in the place of the file", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const machine = yield* makeMachine("launchd", "user")
      const { path } = machine
      yield* fs.makeDirectory(path, { recursive: true })
      const error = oneLine(yield* Effect.flip(machine.install()))
      assert.strictEqual(error.where, path)
      assert.match(error.message, /^cannot write the launchd property list .*EISDIR.*; make .* writable for you$/)
      assert.deepStrictEqual(yield* fs.readDirectory(Path.dirname(path)), [Path.basename(path)], "no leftovers")
    }).pipe(live))

  for (const call of ["open", "write", "sync", "rename"] as const) {
    it.scopedLive(`where ${call} fails, the old definition is whole and nothing is left beside it`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const machine = yield* makeMachine("systemd", "user")
        const { path } = machine
        yield* fs.makeDirectory(Path.dirname(path), { recursive: true })
        yield* fs.writeFileString(path, "as it was")
        const full = Effect.fail(
          new PlatformError.SystemError({
            reason: "Unknown",
            module: "FileSystem",
            method: call,
            description: `ENOSPC: no space left on device, ${call}`
          })
        )
        const failing: FileSystem.FileSystem = {
          ...fs,
          open: (path, options) =>
            call === "open" ? full : Effect.map(fs.open(path, options), (file) => ({
              ...file,
              [FileSystem.FileTypeId]: file[FileSystem.FileTypeId],
              fd: file.fd,
              stat: file.stat,
              seek: (offset, from) => file.seek(offset, from),
              read: (buffer) => file.read(buffer),
              readAlloc: (size) => file.readAlloc(size),
              truncate: (length) => file.truncate(length),
              write: (buffer) => file.write(buffer),
              writeAll: (buffer) =>
                call === "write" ? Effect.zipRight(file.write(buffer.slice(0, 9)), full) : file.writeAll(buffer),
              sync: call === "sync" ? full : file.sync
            })),
          rename: (from, to) => call === "rename" ? full : fs.rename(from, to)
        }
        const error = oneLine(
          yield* ServiceManager.install(machine.options).pipe(
            Effect.provideService(FileSystem.FileSystem, failing),
            Effect.provide(Context.omit(FileSystem.FileSystem)(machine.context)),
            Effect.flip
          )
        )
        assert.include(error.message, "ENOSPC")
        assert.strictEqual(yield* fs.readFileString(path), "as it was")
        assert.deepStrictEqual(yield* fs.readDirectory(Path.dirname(path)), [Path.basename(path)])
        assert.isEmpty(yield* machine.calls)
      }).pipe(live))
  }

  it.scopedLive("a manager that says no: its status and its words, on one line", () =>
    Effect.gen(function*() {
      const machine = yield* makeMachine("systemd", "user", {
        systemctl: "echo 'Failed to connect to bus: No medium found' >&2; echo 'Hint: log in' >&2; exit 1"
      })
      const error = oneLine(
        yield* Effect.flip(machine.install())
      )
      assert.strictEqual(
        error.message,
        "failed to run systemctl --user daemon-reload: exit status 1, Failed to connect to bus: No medium found / " +
          "Hint: log in; try again in a login session of that user, where systemctl --user status answers"
      )
    }).pipe(live))

  it.scopedLive("a manager that is not there", () =>
    Effect.gen(function*() {
      for (const manager of ["launchd", "schtasks"] as const) {
        const machine = yield* makeMachine(manager, "user", {})
        const error = oneLine(
          yield* Effect.flip(machine.install())
        )
        assert.match(error.reason, /^program (launchctl|schtasks) was not found$/)
      }
    }).pipe(live))

  it.scopedLive("a path that the manager's format cannot say, before anything is touched", () =>
    Effect.gen(function*() {
      for (
        const [manager, execPath] of [
          ["systemd", "/a\"b/node"],
          ["launchd", "/a\u0001b"],
          ["schtasks", "/a\u0001b"]
        ] as const
      ) {
        const machine = yield* makeMachine(manager, "user")
        for (const dryRun of [true, false]) {
          const service = { ...machine.options.service, execPath }
          const error = oneLine(yield* Effect.flip(machine.install({ dryRun, service })))
          assert.include(error.reason, JSON.stringify(execPath))
        }
        assert.isEmpty(yield* machine.files)
        assert.isEmpty(yield* machine.calls)
      }
    }).pipe(live))
})
