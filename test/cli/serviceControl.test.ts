/**
 * Tests `gateway service start|stop|restart|status|logs` with recorded commands. `test/e2e/exec-service.test.ts` runs them on a real
 * systemd.
 */
import { Command, CommandExecutor, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Deferred, Duration, Effect, Option, Queue, Ref } from "effect"
import * as Path from "node:path"
import { type ControlAction, controlActions } from "../../src/cli/commands.ts"
import { Answered, EndedBySignal } from "../../src/cli/ExitStatus.ts"
import { StderrFormat } from "../../src/cli/Notice.ts"
import { service, type ServiceCommand } from "../../src/cli/service.ts"
import { type ChildExit, ChildProgram, SpawnFailed } from "../../src/host/ChildProgram.ts"
import { ReceivedSignals, type Terminal } from "../../src/host/ReceivedSignals.ts"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"

const profile = "a-b"

const command: ServiceCommand = {
  action: "start",
  manager: "systemd",
  system: false,
  user: undefined,
  dryRun: false,
  config: {
    profile,
    stateDir: "/state/a b",
    drainTimeout: Duration.seconds(0),
    health: { probeTimeout: Duration.seconds(1), retryInterval: Duration.seconds(5), timeout: Duration.minutes(5) },
    port: 18790,
    tokenFile: Option.none(),
    lease: { ...LeaseTimes.defaults, url: Option.none(), urlFile: Option.none(), name: profile },
    configName: "/nonexistent/gateway.json"
  },
  flags: new Map([["profile", profile]]),
  execPath: "/usr/bin/node",
  scriptPath: "/opt/gateway/dist/main.js",
  platform: "linux",
  uid: 501
}

/** How a command that is asked for its output answers. */
interface Answer {
  readonly status: number
  readonly stdout?: string
}

interface Machine {
  /** How a command in the foreground ends. Default: with status 0. */
  readonly ends?: (line: string) => ChildExit | SpawnFailed | Effect.Effect<ChildExit>
  /** How a query ends. Default: with status 0 and without output. */
  readonly answers?: (line: string) => Answer
  /** The files that exist, with their contents, below the home folder. */
  readonly files?: Readonly<Record<string, string>>
  readonly signals?: ReadonlyArray<NodeJS.Signals>
  readonly format?: "json" | "logfmt"
}

const unit = ".config/systemd/user/gateway-a-b.service"
const agent = "Library/LaunchAgents/dev.gateway-lock.a-b.plist"
const installed: Machine = { files: { [unit]: "", [agent]: "" } }

/** Runs the command `service` on a machine of this test. Returns its output, its exit, and the commands that it ran. */
const invoke = (changes: Partial<ServiceCommand>, machine: Machine = installed) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const home = yield* fs.makeTempDirectoryScoped()
    for (const [path, content] of Object.entries(machine.files ?? {})) {
      yield* fs.makeDirectory(Path.dirname(Path.join(home, path)), { recursive: true })
      yield* fs.writeFileString(Path.join(home, path), content)
    }
    const lines = yield* Ref.make<ReadonlyArray<readonly [stream: "out" | "err" | "ran" | "asked", line: string]>>([])
    const keep = (stream: "out" | "err" | "ran" | "asked", line: string) =>
      Ref.update(lines, (before) => [...before, [stream, line.replaceAll(home, "~")] as const])
    const sent = yield* Ref.make<ReadonlyArray<string>>([])
    const real = yield* Effect.consoleWith(Effect.succeed)
    const executor = yield* CommandExecutor.CommandExecutor
    const exit = yield* service({ ...command, ...changes }).pipe(
      Effect.withConsole({
        ...real,
        log: (line) => keep("out", String(line)),
        error: (line) => keep("err", String(line))
      }),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["HOME", home]]))),
      Effect.provideService(StderrFormat, machine.format ?? "logfmt"),
      Effect.provideService(
        CommandExecutor.CommandExecutor,
        CommandExecutor.makeExecutor((command) => {
          const line = Array.from(Command.flatten(command), (one) => [one.command, ...one.args].join(" ")).join(" | ")
          const { status, stdout = "" } = machine.answers?.(line) ?? { status: 0 }
          const script = `process.stdout.write(${JSON.stringify(stdout)}); process.exitCode = ${status}`
          return Effect.zipRight(keep("asked", line), executor.start(Command.make(process.execPath, "-e", script)))
        })
      ),
      Effect.provideService(ChildProgram, {
        start: ({ args, command, env, newSession }) =>
          Effect.gen(function*() {
            assert.isFalse(newSession, "the command stays in the group that the terminal signals")
            assert.isTrue("PATH" in env && !Object.keys(env).some((name) => name.startsWith("GATEWAY_")))
            const line = [command, ...args].join(" ")
            yield* keep("ran", line)
            const end = machine.ends?.(line) ?? { _tag: "Exited", status: 0 }
            if (end instanceof SpawnFailed) return yield* end
            const signalled = yield* Deferred.make<ChildExit>()
            return {
              pid: 1,
              ended: Effect.isEffect(end) ? Effect.raceFirst(end, Deferred.await(signalled)) : Effect.succeed(end),
              deserted: Effect.void,
              isDeserted: Effect.succeed(true),
              mark: Option.none(),
              hasEnded: Effect.succeed(false),
              begin: Effect.void,
              signal: (signal) =>
                Effect.zipRight(
                  Ref.update(sent, (before) => [...before, signal]),
                  Effect.asVoid(Deferred.succeed(signalled, { _tag: "Signalled", signal }))
                )
            }
          })
      }),
      Effect.provideService(ReceivedSignals, {
        listen: () => Effect.tap(Queue.unbounded<NodeJS.Signals>(), Queue.offerAll(machine.signals ?? [])),
        terminal: Effect.succeed<Terminal>("None")
      }),
      Effect.either
    )
    const of = (stream: string) =>
      Effect.map(Ref.get(lines), (all) => all.flatMap(([at, line]) => at === stream ? [line] : []))
    return {
      failure: exit._tag === "Left" ? exit.left.message.replaceAll(home, "~") : undefined,
      ended: exit._tag === "Right" ? exit.right : undefined,
      all: yield* Ref.get(lines),
      out: yield* of("out"),
      err: yield* of("err"),
      ran: yield* of("ran"),
      asked: yield* of("asked"),
      sent: yield* Ref.get(sent)
    }
  })

const live = Effect.provide(NodeContext.layer)

describe("service start, stop, restart, status and logs of systemd", () => {
  const lines: Record<ControlAction, string> = {
    start: "systemctl --user start gateway-a-b.service",
    stop: "systemctl --user stop gateway-a-b.service",
    restart: "systemctl --user restart gateway-a-b.service",
    status: "systemctl --user status --no-pager gateway-a-b.service",
    logs: "journalctl --no-pager --user-unit gateway-a-b.service -n 100"
  }

  it.scopedLive.each(controlActions)(
    "%s: prints its command on stderr, runs it, and ends as it does",
    (action) =>
      Effect.gen(function*() {
        for (const status of [0, 1, 3, 4, 5]) {
          const { all, ended, out } = yield* invoke({ action }, {
            ...installed,
            ends: () => ({ _tag: "Exited", status })
          })
          assert.deepStrictEqual(all.slice(0, 2), [["err", `gateway: run ${lines[action]}`], ["ran", lines[action]]])
          assert.deepStrictEqual(ended, new Answered({ status }))
          assert.deepStrictEqual(out, [])
        }
      }).pipe(live)
  )

  it.scopedLive.each(controlActions)(
    "%s --dry-run: prints the same command on stdout, and runs none",
    (action) =>
      Effect.gen(function*() {
        const { asked, ended, out, ran } = yield* invoke({ action, dryRun: true }, {})
        assert.deepStrictEqual({ asked, ended, out, ran }, {
          asked: [],
          ended: undefined,
          out: [`would run ${lines[action]}`],
          ran: []
        })
      }).pipe(live)
  )

  it.scopedLive("--system: asks the manager of the machine", () =>
    Effect.gen(function*() {
      const of = (action: ControlAction) =>
        Effect.map(invoke({ action, system: true, dryRun: true }), ({ out }) => out[0])
      assert.strictEqual(yield* of("start"), "would run systemctl start gateway-a-b.service")
      assert.strictEqual(yield* of("logs"), "would run journalctl --no-pager -u gateway-a-b.service -n 100")
    }).pipe(live))

  it.scopedLive("logs: as many lines as asked, and new ones until a signal, by which the program ends too", () =>
    Effect.gen(function*() {
      const all = yield* invoke({ action: "logs", lines: "all" })
      assert.deepStrictEqual(all.ran, ["journalctl --no-pager --user-unit gateway-a-b.service -n all"])
      const followed = yield* invoke({ action: "logs", follow: true, lines: "0" }, {
        ...installed,
        ends: () => Effect.never,
        signals: ["SIGINT"]
      })
      // The first signal can come before the command runs. Then the command is not started.
      assert.isTrue(followed.ran.length === 0 || followed.sent.includes("SIGINT"))
      assert.deepStrictEqual(followed.ended, new EndedBySignal({ signal: "SIGINT" }))
      for (const lines of ["", "-1", "1.5", "1e3", "ten", "1\n2", "99999999999"]) {
        const { failure, ran } = yield* invoke({ action: "logs", lines })
        assert.strictEqual(
          failure,
          `--lines ${
            JSON.stringify(lines)
          } is not allowed: expected a number from 0, or all; see "gateway service --help"`
        )
        assert.deepStrictEqual(ran, [])
      }
    }).pipe(live))

  it.scopedLive("without systemctl, says so, and how to name another manager", () =>
    Effect.gen(function*() {
      const { failure } = yield* invoke({}, {
        ...installed,
        ends: () => new SpawnFailed({ command: "systemctl", why: "NotFound", reason: "no such program" })
      })
      assert.strictEqual(
        failure,
        "failed to run systemctl --user start gateway-a-b.service: program systemctl was not found; name the service manager of this machine with --manager"
      )
    }).pipe(live))

  it.scopedLive("of a user without a running manager, says how to get one, and status is unknown", () =>
    Effect.gen(function*() {
      const machine: Machine = {
        ...installed,
        ends: () => ({ _tag: "Exited", status: 1 }),
        answers: (line) => ({ status: line.endsWith("show --property=Version") ? 1 : 0 })
      }
      const hint =
        "gateway: systemd does not answer here; try again in a login session of that user, where systemctl --user status answers"
      const start = yield* invoke({ action: "start" }, machine)
      assert.strictEqual(start.err.at(-1), hint)
      assert.deepStrictEqual(start.ended, new Answered({ status: 1 }))
      const status = yield* invoke({ action: "status" }, machine)
      assert.strictEqual(status.err.at(-1), hint)
      assert.deepStrictEqual(status.ended, new Answered({ status: 4 }))
    }).pipe(live))

  it.scopedLive("prints JSON on stderr if that is the format", () =>
    Effect.gen(function*() {
      const { err } = yield* invoke({}, { ...installed, format: "json" })
      assert.deepInclude(JSON.parse(err[0] ?? ""), { level: "INFO", message: `run ${lines.start}` })
    }).pipe(live))
})

describe("a service that is not installed", () => {
  const unknown: Machine = { answers: () => ({ status: 0, stdout: "LoadState=not-found\n" }) }

  it.scopedLive.each(controlActions)(
    "%s: is refused in one line, without a command",
    (action) =>
      Effect.gen(function*() {
        const { ended, err, failure, ran } = yield* invoke({ action }, unknown)
        const verb = action === "status" || action === "logs" ? "show" : action
        const message =
          `cannot ${verb} gateway-a-b.service: it is not installed, ~/${unit} does not exist; to install it: gateway service install --profile a-b`
        assert.deepStrictEqual(ran, [])
        // systemctl status ends with 4 for a unit that it does not know.
        if (action === "status") {
          assert.deepStrictEqual(err, [`gateway: ${message}`])
          assert.deepStrictEqual(ended, new Answered({ status: 4 }))
        } else assert.strictEqual(failure, message)
      }).pipe(live)
  )

  it.scopedLive("runs nevertheless if systemd has its unit from another folder", () =>
    Effect.gen(function*() {
      const { ran } = yield* invoke({}, { answers: () => ({ status: 0, stdout: "LoadState=loaded\n" }) })
      assert.deepStrictEqual(ran, ["systemctl --user start gateway-a-b.service"])
    }).pipe(live))

  it.scopedLive("is found in the other scope", () =>
    Effect.gen(function*() {
      const system = yield* invoke({ system: true, folders: { systemdSystem: "/nonexistent/units" } }, {
        ...installed,
        ...unknown
      })
      assert.match(system.failure ?? "", /it is installed for this user: omit --system$/)
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(Path.join(folder, "gateway-a-b.service"), "")
      const user = yield* invoke({ folders: { systemdSystem: folder } }, unknown)
      assert.match(user.failure ?? "", /it is installed for the whole machine: add --system$/)
    }).pipe(live))

  it.scopedLive("of the Task Scheduler is one that schtasks does not find", () =>
    Effect.gen(function*() {
      const { asked, failure, ran } = yield* invoke({ manager: "schtasks" }, { answers: () => ({ status: 1 }) })
      assert.deepStrictEqual(asked, ["schtasks /Query /TN \\gateway-lock\\a-b"])
      assert.match(
        failure ?? "",
        /^cannot start \\gateway-lock\\a-b: it is not installed, no such task; to install it: /
      )
      assert.deepStrictEqual(ran, [])
    }).pipe(live))
})

describe("service start, stop, restart, status and logs of launchd", () => {
  const job = "gui/501/dev.gateway-lock.a-b"
  const bootstrap = `launchctl bootstrap gui/501 ~/${agent}`
  const loaded = (stdout = ""): Machine => ({ ...installed, answers: () => ({ status: 0, stdout }) })
  const unloaded: Machine = { ...installed, answers: (line) => ({ status: line.includes(" print ") ? 113 : 0 }) }
  const does = (action: ControlAction, machine: Machine) => invoke({ manager: "launchd", action }, machine)

  it.scopedLive("start: starts a loaded job, and loads one that a stop has removed", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* does("start", loaded())).ran, [`launchctl kickstart ${job}`])
      const { err, ran } = yield* does("start", unloaded)
      assert.deepStrictEqual(ran, [bootstrap])
      assert.deepStrictEqual(err, [`gateway: run launchctl print ${job}`, `gateway: run ${bootstrap}`])
    }).pipe(live))

  it.scopedLive("stop: unloads the job, which launchd would start again otherwise", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* does("stop", loaded())).ran, [`launchctl bootout ${job}`])
      const { ended, out, ran } = yield* does("stop", unloaded)
      assert.deepStrictEqual(ran, [])
      assert.deepStrictEqual(out, ["dev.gateway-lock.a-b is not running"])
      assert.deepStrictEqual(ended, new Answered({ status: 0 }))
    }).pipe(live))

  it.scopedLive("restart: unloads and loads it, and waits while launchd has not finished to stop it", () =>
    Effect.gen(function*() {
      const tries = yield* Ref.make(0)
      const machine: Machine = {
        ...installed,
        answers: (line) => ({
          status: line.includes(" bootstrap ") && Effect.runSync(Ref.getAndUpdate(tries, (n) => n + 1)) < 1 ? 5 : 0
        })
      }
      const { asked, ended, ran } = yield* does("restart", machine)
      assert.deepStrictEqual(ran, [`launchctl bootout ${job}`])
      assert.deepStrictEqual(asked, [`launchctl print ${job}`, bootstrap, bootstrap])
      assert.deepStrictEqual(ended, new Answered({ status: 0 }))
      assert.deepStrictEqual((yield* does("restart", unloaded)).ran, [])
    }).pipe(live))

  it.scopedLive("status: 0 for a job that runs, 3 for any other", () =>
    Effect.gen(function*() {
      const running = `${job} = {\n\tstate = running\n\n\tpid = 7\n}\n`
      const waiting = `${job} = {\n\tstate = not running\n\tlast exit code = 1\n}\n`
      for (const [machine, status] of [[loaded(running), 0], [loaded(waiting), 3], [unloaded, 3]] as const) {
        const { ended, out } = yield* does("status", machine)
        assert.deepStrictEqual(ended, new Answered({ status }))
        assert.lengthOf(out, 1)
      }
    }).pipe(live))

  it.scopedLive("ends with 1 for any failure, since the numbers of launchctl differ between versions", () =>
    Effect.gen(function*() {
      const ends = () => ({ _tag: "Exited", status: 125 }) as const
      for (const action of ["start", "stop", "restart"] as const) {
        assert.deepStrictEqual((yield* does(action, { ...loaded(), ends })).ended, new Answered({ status: 1 }))
      }
    }).pipe(live))

  it.scopedLive("logs: names the files that the installed property list names", () =>
    Effect.gen(function*() {
      const list = "<key>StandardErrorPath</key>\n  <string>/else where/R&amp;D/launchd.stderr.log</string>"
      const named = yield* invoke({ manager: "launchd", action: "logs", follow: true }, { files: { [agent]: list } })
      assert.strictEqual(
        named.failure,
        "cannot show the logs of dev.gateway-lock.a-b: launchd keeps none; its output is in a file: tail -n 100 -F '/else where/R&D/launchd.stderr.log'"
      )
      const { failure, ran } = yield* invoke({ manager: "launchd", action: "logs", lines: "all" })
      assert.match(failure ?? "", /: tail -n \+1 '\/state\/a b\/launchd\.stderr\.log'$/)
      assert.deepStrictEqual(ran, [])
    }).pipe(live))
})

describe("service start, stop, restart, status and logs of the Task Scheduler", () => {
  const task = "\\gateway-lock\\a-b"
  const does = (action: ControlAction, machine: Machine = {}) => invoke({ manager: "schtasks", action }, machine)

  it.scopedLive("runs its commands, and ends as the last one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* does("start")).ran, [`schtasks /Run /TN ${task}`])
      assert.deepStrictEqual((yield* does("stop")).ran, [`schtasks /End /TN ${task}`])
      assert.deepStrictEqual((yield* does("status")).ran, [`schtasks /Query /V /FO LIST /TN ${task}`])
      const restart = yield* does("restart", {
        ends: (line) => ({ _tag: "Exited", status: line.includes("/End") ? 1 : 0 })
      })
      assert.deepStrictEqual(restart.ran, [`schtasks /End /TN ${task}`, `schtasks /Run /TN ${task}`])
      assert.deepStrictEqual(restart.ended, new Answered({ status: 0 }))
    }).pipe(live))

  it.scopedLive("has no logs to show", () =>
    Effect.gen(function*() {
      const { failure, ran } = yield* does("logs")
      assert.strictEqual(
        failure,
        `cannot show the logs of ${task}: the Task Scheduler keeps none; to see them, stop the task and run its command in a terminal`
      )
      assert.deepStrictEqual(ran, [])
    }).pipe(live))
})
