/**
 * Tests the program under a real systemd that only this test uses, with units that the program itself generates and installs.
 *
 * `support/systemdScenes.mjs` runs under that systemd. It runs the steps of all tests (the scenes) and prints what it observes as
 * one JSON object. This file checks that object.
 */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as GatewayList from "../../src/inspect/GatewayList.ts"
import * as GatewayStatus from "../../src/inspect/GatewayStatus.ts"
import * as Program from "./support/program.ts"
import * as Systemd from "./support/systemd.ts"

const Shown = Schema.Record({ key: Schema.String, value: Schema.String })

const Ran = Schema.Struct({ status: Schema.Number, stderr: Schema.String, stdout: Schema.String })

/** How a unit ended for good: its state, how long its main process lived, and what that process wrote. */
const Over = Schema.Struct({
  ActiveState: Schema.String,
  ExecMainStatus: Schema.String,
  NRestarts: Schema.String,
  tookMs: Schema.Number,
  log: Schema.String
})

const Seen = Schema.Struct({
  service: Schema.Struct({
    started: Schema.Number,
    listening: Schema.String,
    statusPage: Schema.String,
    before: Shown,
    lock: Schema.Struct({ supervisor: Schema.String, pid: Schema.Number }),
    inherited: Schema.Struct({ status: Schema.Number, stderr: Schema.String }),
    restarted: Schema.Struct({ after: Shown, ok: Schema.Boolean }),
    watchdog: Schema.Struct({ last: Shown, ok: Schema.Boolean }),
    stop: Schema.Struct({ stopped: Schema.Number, result: Shown, left: Schema.String }),
    log: Schema.String
  }),
  borrowed: Schema.Struct({ new: Shown, old: Shown }),
  duplicate: Schema.Struct({
    copy: Shown,
    later: Shown,
    untouched: Schema.Struct({
      ActiveState: Schema.String,
      NRestarts: Schema.String,
      samePid: Schema.Boolean,
      sameInstance: Schema.Boolean
    }),
    log: Schema.String
  }),
  unhealthy: Schema.Struct({ took: Schema.Number, seen: Shown, log: Schema.String }),
  operators: Schema.Struct({
    doctor: Schema.Struct({ status: Schema.Number, report: DoctorReport.DoctorReport }),
    stop: Ran,
    untouched: Schema.Boolean,
    forced: Ran,
    succeeded: Schema.Boolean,
    advised: Schema.Number,
    stopped: Shown,
    latched: Schema.Struct({ status: Schema.Number, report: DoctorReport.DoctorReport }),
    mended: Schema.Boolean
  }),
  hardened: Schema.Struct({
    started: Schema.Number,
    isRoot: Schema.Boolean,
    security: Schema.Number,
    capabilities: Schema.String,
    noNewPrivileges: Schema.String,
    stateDir: Schema.String,
    lockFolder: Schema.String,
    enforcement: Schema.String,
    commands: Schema.Record({ key: Schema.String, value: Ran })
  }),
  user: Schema.Struct({
    started: Schema.Number,
    restarted: Schema.Number,
    uid: Schema.Number,
    capabilities: Schema.String,
    answers: Schema.Array(Schema.Union(Schema.Number, Schema.String)),
    missing: Ran,
    log: Schema.String
  }),
  uninstall: Schema.Struct({
    never: Ran,
    uninstalled: Ran,
    again: Ran,
    shown: Shown,
    masked: Ran,
    failed: Ran,
    after: Shown
  }),
  activation: Schema.Struct({
    socket: Schema.Number,
    sent: Schema.Number,
    answered: Schema.Number,
    failures: Schema.Array(Schema.String),
    restarts: Schema.Array(Schema.Number),
    instances: Schema.Number,
    mismatch: Shown,
    log: Schema.String
  }),
  exec: Schema.Struct({
    wrapped: Schema.Struct({
      started: Schema.Number,
      first: Schema.Struct({ pid: Schema.Number, got: Schema.Array(Schema.String), isChild: Schema.Boolean }),
      record: Schema.Struct({
        mode: Schema.String,
        phase: Schema.String,
        supervisor: Schema.String,
        isMain: Schema.Boolean
      }),
      before: Shown,
      said: Schema.String,
      copies: Schema.Record({ key: Schema.String, value: Over }),
      fed: Schema.Struct({ NRestarts: Schema.String, ActiveState: Schema.String, isSame: Schema.Boolean }),
      hung: Schema.Struct({ NRestarts: Schema.String, firstLives: Schema.Boolean }),
      killed: Schema.Struct({ NRestarts: Schema.String, secondLives: Schema.Boolean }),
      stop: Schema.Struct({
        stopped: Schema.Number,
        Result: Schema.String,
        ActiveState: Schema.String,
        thirdLives: Schema.Boolean,
        left: Schema.Array(Schema.String)
      })
    }),
    documented: Schema.Struct({
      started: Schema.Number,
      phase: Schema.String,
      isChild: Schema.Boolean,
      isRoot: Schema.Boolean,
      stopped: Schema.Number,
      Result: Schema.String,
      log: Schema.String
    }),
    speaking: Schema.Struct({
      started: Schema.Number,
      ActiveState: Schema.String,
      StatusText: Schema.String,
      phase: Schema.String
    }),
    refused: Schema.Struct({ refused: Schema.String, after: Schema.String, log: Schema.String }),
    unhealthy: Schema.Struct({
      refused: Schema.String,
      after: Schema.String,
      answered: Schema.Boolean,
      log: Schema.String
    }),
    own: Schema.Record({ key: Schema.String, value: Shown })
  })
})

const skipped = Program.noSystemd

/** Boots systemd once for all tests below, because a boot takes half a minute. */
const scenes = await (skipped === undefined
  ? Systemd.play(["systemdScenes.mjs", "systemdExecScenes.mjs"], Seen, 200)
  : undefined)

const scene = (name: string, test: (seen: typeof Seen.Type) => void) =>
  it.skipIf(scenes === undefined)(Program.named(name, skipped), () => {
    if (scenes !== undefined) test(scenes)
  })

describe("the generated unit on a real systemd", () => {
  scene("starts once READY=1 is sent, and shows the status text", ({ service }) => {
    assert.strictEqual(service.started, 0)
    assert.strictEqual(service.before.ActiveState, "active")
    assert.strictEqual(service.listening, "listening on ws://127.0.0.1:21801")
    assert.include(service.statusPage, "Status: \"listening on ws://127.0.0.1:21801\"")
    assert.deepStrictEqual(service.lock, { supervisor: "systemd", pid: Number(service.before.MainPID) })
  })

  scene("is restarted after SIGKILL of its main process, and healthy, with one reclaim", ({ service }) => {
    assert.isTrue(service.restarted.ok)
    assert.strictEqual(service.restarted.after.NRestarts, "1")
    assert.notStrictEqual(service.restarted.after.MainPID, service.before.MainPID)
  })

  scene("is killed by the watchdog and restarted when it is stopped by SIGSTOP", ({ service }) => {
    assert.isTrue(service.watchdog.ok)
    assert.strictEqual(service.watchdog.last.NRestarts, "2")
    assert.include(service.log, "reclaimed gateway lock")
  })

  scene("stops cleanly and leaves no lock file", ({ service }) => {
    assert.strictEqual(service.stop.stopped, 0)
    assert.deepStrictEqual(service.stop.result, {
      Result: "success",
      ExecMainStatus: "0",
      ActiveState: "inactive",
      StatusText: "stopped"
    })
    assert.strictEqual(service.stop.left, "")
  })

  scene("a child with the service's environment detects no supervisor", ({ service }) => {
    assert.strictEqual(service.inherited.status, 1)
    assert.match(service.inherited.stderr, /supervisor: none \(SYSTEMD_EXEC_PID is \d+, not this process \(pid \d+\)/)
    assert.include(service.inherited.stderr, "GatewayLockError: another gateway instance is already listening")
  })
})

describe("a service in which a shell runs a gateway", () => {
  scene("is not told that it is ready or stops: it goes on, with its own status", ({ borrowed }) => {
    for (const { log, ...seen } of [borrowed.new, borrowed.old]) {
      assert.deepStrictEqual(
        { ...seen },
        { status: "0", MainPID: "the same", ActiveState: "active", SubState: "running", StatusText: "busy" },
        log
      )
      assert.match(log ?? "", /NOTIFY_SOCKET is set, but systemd is not notified: /)
    }
    assert.match(borrowed.new.log ?? "", /SYSTEMD_EXEC_PID is \d+, not this process \(pid/)
    assert.match(borrowed.old.log ?? "", /the main process of the unit is \d+, not this process \(pid/)
  })
})

describe("a duplicate under Restart=always", () => {
  scene("exits 78 with the message and is not restarted; the first one is untouched", ({ duplicate }) => {
    assert.strictEqual(duplicate.copy.ExecMainStatus, "78")
    assert.strictEqual(duplicate.copy.NRestarts, "0")
    // The gateway that holds the lock is a service, so the error advises to stop that service.
    assert.match(duplicate.log, /^ {2}supervisor: +systemd \(gateway-twin\.service\)$/m)
    assert.match(duplicate.log, /^ {2}to see its service: +systemctl status gateway-twin\.service$/m)
    assert.match(duplicate.log, /^ {2}to stop it: +systemctl stop gateway-twin\.service$/m)
    assert.deepStrictEqual(duplicate.later, { NRestarts: "0", ActiveState: "failed", SubState: "failed" })
    assert.deepStrictEqual(
      { ...duplicate.untouched },
      { ActiveState: "active", NRestarts: "0", samePid: true, sameInstance: true }
    )
    assert.include(
      duplicate.log,
      "GatewayLockError: gateway already running under systemd; existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop"
    )
  })
})

describe("an owner outside systemd that never becomes healthy", () => {
  scene("is waited for within bounds, then the unit fails with the message", ({ unhealthy }) => {
    assert.isAtLeast(unhealthy.took, 3000)
    assert.strictEqual(unhealthy.seen.ActiveState, "failed")
    assert.strictEqual(unhealthy.seen.ExecMainStatus, "1")
    assert.include(
      unhealthy.log,
      "GatewayLockError: gateway already running under systemd; existing gateway did not become healthy after 3000ms"
    )
  })
})

describe("an operator of a unit", () => {
  scene("is told by stop to use systemctl, with the unit's name; the gateway is untouched", ({ operators }) => {
    assert.strictEqual(operators.stop.status, 1)
    assert.match(
      operators.stop.stderr,
      /^gateway: cannot stop the gateway \(pid \d+\): it is managed by systemd; to stop it: systemctl stop gateway-operated\.service\n$/
    )
    assert.isTrue(operators.untouched)
    assert.strictEqual(operators.advised, 0)
    assert.deepStrictEqual(operators.stopped, { ActiveState: "inactive", Result: "success" })
  })

  scene("ends it nevertheless by force, and systemd starts it again", ({ operators }) => {
    assert.strictEqual(operators.forced.status, 0, operators.forced.stderr)
    assert.match(operators.forced.stderr, /the gateway ran under systemd, which may start it again/)
    assert.isTrue(operators.succeeded)
  })

  scene("learns from doctor that the generated unit fits", ({ operators }) => {
    assert.strictEqual(operators.doctor.status, 0, JSON.stringify(operators.doctor.report.findings))
    assert.deepInclude(operators.doctor.report.findings, {
      check: "unit",
      severity: "ok",
      message: "gateway-operated.service (system) is active and has the expected settings"
    })
  })

  scene("learns from doctor what a drop-in has spoiled, and how a latched unit is started", ({ operators }) => {
    assert.strictEqual(operators.latched.status, 1)
    const found = operators.latched.report.findings.filter(({ check }) => check === "unit")
    assert.deepInclude(found, {
      check: "unit",
      severity: "error",
      message:
        "gateway-operated.service has reached its start limit: more than 2 starts in 1m, so systemd does not start it again",
      remedy: "systemctl reset-failed gateway-operated.service && systemctl start gateway-operated.service"
    })
    for (const what of ["no 78 in", "no 64 in", "RestartSec=100ms", "TimeoutStopSec=5s", "NotifyAccess=main"]) {
      assert.isTrue(found.some(({ message }) => message.includes(what)), `${what}: ${JSON.stringify(found)}`)
    }
    assert.isTrue(operators.mended)
  })
})

describe("a system unit without --user (N40)", () => {
  scene("runs as a user of its own, hardened, with a kernel lock in a state directory of its own", ({ hardened }) => {
    assert.strictEqual(hardened.started, 0)
    assert.isFalse(hardened.isRoot)
    assert.isBelow(hardened.security, 4)
    assert.strictEqual(hardened.capabilities, "0000000000000000")
    assert.strictEqual(hardened.noNewPrivileges, "1")
    assert.strictEqual(hardened.stateDir, "its own 700")
    assert.strictEqual(hardened.lockFolder, "its own 700")
    if (Program.kernelLocks) assert.strictEqual(hardened.enforcement, "kernel")
  })

  const said = (seen: typeof Seen.Type, name: string) => {
    const ran = seen.hardened.commands[name]
    return ran ?? assert.fail(`${name} was not run`)
  }

  scene("is shown to an ordinary user by status, with its unit, its user and its state directory", (seen) => {
    const { status, stdout } = said(seen, "status")
    assert.strictEqual(status, 0, stdout)
    assert.match(stdout, /^gateway kept: running$/m)
    assert.match(
      stdout,
      /^ {2}service: +system service gateway-kept\.service, active, runs as user gateway-kept, state in \/var\/lib\/gateway-lock\/kept$/m
    )
    assert.match(stdout, /^ {2}to see its service: systemctl status gateway-kept\.service$/m)
    assert.match(stdout, /^ {2}to stop it: +systemctl stop gateway-kept\.service$/m)
    const json = Schema.decodeUnknownSync(Schema.parseJson(GatewayStatus.GatewayStatus))(
      said(seen, "status --json").stdout
    )
    assert.strictEqual(json.verdict, "running")
    assert.strictEqual(json.stateDir, "/var/lib/gateway-lock/kept")
    assert.deepStrictEqual(json.owner?.unit, { name: "gateway-kept.service", scope: "system" })
    assert.isTrue(json.health?.healthy)
  })

  scene("is in an ordinary user's list, once, and in root's", (seen) => {
    for (const name of ["list", "rootList"]) {
      const { stdout } = said(seen, name)
      assert.match(
        stdout,
        /^kept +running +pid \d+ \(node\) +ws:\/\/127\.0\.0\.1:21807 .*\/var\/lib\/.*gateway-lock\/kept$/m
      )
      assert.strictEqual(stdout.split("\n").filter((line) => line.includes("21807")).length, 1, stdout)
    }
    const { gateways } = Schema.decodeUnknownSync(Schema.parseJson(GatewayList.GatewayList))(
      said(seen, "list --json").stdout
    )
    assert.deepStrictEqual(gateways.map(({ service }) => service?.unit.name), ["gateway-kept.service"])
  })

  scene("is named to an ordinary user whose start it refuses, and to one of another profile", (seen) => {
    for (const name of ["run", "refusedOther"]) {
      const { status, stderr } = said(seen, name)
      assert.strictEqual(status, 1)
      assert.include(stderr, "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:21807")
      assert.match(stderr, /^ {2}held by: +pid \d+ \(node\)$/m)
      assert.match(stderr, /^ {2}state: +\/var\/lib\/gateway-lock\/kept$/m)
      assert.match(stderr, /^ {2}supervisor: +systemd \(gateway-kept\.service\)$/m)
      assert.match(stderr, /^ {2}to look at it: +gateway status --profile kept$/m)
      assert.match(stderr, /^ {2}to stop it: +systemctl stop gateway-kept\.service$/m)
    }
    // `support/systemdScenes.mjs` ran the command that the error advised, and `said(seen, "advised")` is the result.
    assert.match(said(seen, "advised").stdout, /^gateway kept: running$/m)
  })

  scene("is nothing wrong to an ordinary user's doctor", (seen) => {
    const { status, stdout } = said(seen, "doctor")
    assert.strictEqual(status, 0, stdout)
    assert.match(
      stdout,
      /^ {2}ok +port: ws:\/\/127\.0\.0\.1:21807 is in use by this gateway, gateway-kept\.service, a system service \(user gateway-kept, state in/m
    )
    assert.match(stdout, /^ {2}ok +unit: gateway-kept\.service \(system\) is active and has the expected settings$/m)
  })

  scene("is not stopped by an ordinary user, who is told how; and is not vouched for by his health", (seen) => {
    const stop = said(seen, "stop")
    assert.strictEqual(stop.status, 1)
    assert.match(
      stop.stderr,
      /^gateway: cannot stop the gateway \(pid \d+\): it is managed by systemd; to stop it: systemctl stop gateway-kept\.service\n$/
    )
    const health = said(seen, "health")
    assert.strictEqual(health.status, 1)
    assert.include(health.stderr, "to check only the port: curl -f http://127.0.0.1:21807/healthz")
  })

  scene("is found where the settings name another port, and named where another profile has its port", (seen) => {
    assert.strictEqual(said(seen, "elsewhere").status, 0, said(seen, "elsewhere").stdout)
    assert.match(said(seen, "elsewhere").stdout, /^ {2}to use it: +ws:\/\/127\.0\.0\.1:21807$/m)
    const other = said(seen, "other")
    assert.strictEqual(other.status, 4, other.stdout)
    assert.match(other.stdout, /^gateway other: foreign listener$/m)
    assert.match(other.stdout, /^ {2}service: +system service gateway-kept\.service, /m)
    assert.match(other.stdout, /^ {2}because: +gateway-kept\.service has the port, but does not hold this lock$/m)
    assert.strictEqual(said(seen, "ownState").status, 3, said(seen, "ownState").stdout)
  })

  scene("is seen by root with its lock, and healthy; once it has stopped it is not there", (seen) => {
    const { status, stdout } = said(seen, "root")
    assert.strictEqual(status, 0, stdout)
    assert.match(stdout, /^ {2}lock: .*\/gateway\.[0-9a-f]{8}\.lock, held/m)
    assert.match(stdout, /^ {2}service: +system service gateway-kept\.service, /m)
    assert.notInclude(stdout, "state lock")
    assert.strictEqual(said(seen, "rootHealth").status, 0, said(seen, "rootHealth").stderr)
    assert.strictEqual(said(seen, "stopped").status, 3, said(seen, "stopped").stdout)
  })
})

describe("a system unit with --user (N40)", () => {
  scene("runs as that user, on a port below 1024, with a token that only root can read", ({ user }) => {
    assert.strictEqual(user.started, 0, user.log)
    assert.strictEqual(user.uid, 65534)
    // The unit has CAP_NET_BIND_SERVICE and no other capability.
    assert.strictEqual(user.capabilities, "0000000000000400")
    assert.deepStrictEqual(user.answers, [401, 101])
    assert.strictEqual(user.restarted, 0)
  })

  scene("is not installed for a user that does not exist", ({ user: { missing } }) => {
    assert.strictEqual(missing.status, 1)
    assert.strictEqual(
      missing.stderr,
      "gateway: cannot run the service as nosuchuser: there is no such user; to create it: useradd --system nosuchuser\n"
    )
    assert.strictEqual(missing.stdout, "")
  })
})

describe("uninstall on a real systemd (N41)", () => {
  scene(
    "of a unit that never ran, that is masked or that failed is silent about what does not matter",
    ({ uninstall }) => {
      for (const ran of [uninstall.never, uninstall.uninstalled, uninstall.again, uninstall.masked, uninstall.failed]) {
        assert.strictEqual(ran.status, 0, `${ran.stdout}${ran.stderr}`)
        assert.notInclude(ran.stdout, "exit status")
        assert.strictEqual(ran.stderr, "")
      }
      assert.include(uninstall.uninstalled.stdout, "uninstalled gateway-never.service\n")
      assert.include(uninstall.again.stdout, "gateway-never.service is not installed")
      assert.strictEqual(uninstall.shown.LoadState, "not-found")
      assert.deepStrictEqual(uninstall.after, { ActiveState: "inactive", LoadState: "not-found" })
    }
  )
})

describe("socket activation", () => {
  scene("answers 1,000 requests across three restarts and refuses not one", ({ activation }) => {
    assert.deepStrictEqual(activation.failures, [])
    assert.isAtLeast(activation.sent, 1000)
    assert.strictEqual(activation.answered, activation.sent)
    assert.deepStrictEqual(activation.restarts, [0, 0, 0])
    assert.strictEqual(activation.instances, 4)
  })

  scene("refuses a socket that listens elsewhere, and says where", ({ activation }) => {
    assert.strictEqual(activation.mismatch.ExecMainStatus, "1")
    assert.include(activation.log, "the passed socket listens on ws://127.0.0.1:21805")
  })
})

describe("a service that gateway exec runs (X8)", () => {
  scene("starts once the command listens, and the wrapper is its main process", ({ exec: { wrapped } }) => {
    assert.strictEqual(wrapped.started, 0)
    assert.strictEqual(wrapped.before.ActiveState, "active")
    assert.match(wrapped.before.StatusText ?? "", /^running \/.*node, listening on ws:\/\/127\.0\.0\.1:21820$/)
    assert.deepStrictEqual({ ...wrapped.record }, {
      mode: "exec",
      phase: "listening",
      supervisor: "systemd",
      isMain: true
    })
    assert.isTrue(wrapped.first.isChild)
  })

  scene("runs as a user of its own, as docs/any-server.md shows", ({ exec: { documented: { log, ...seen } } }) => {
    assert.deepStrictEqual({ ...seen }, {
      started: 0,
      phase: "listening",
      isChild: true,
      isRoot: false,
      stopped: 0,
      Result: "success"
    }, log)
  })

  scene("can send its own notifications, but is not asked to feed the watchdog", ({ exec: { speaking, wrapped } }) => {
    assert.deepStrictEqual(wrapped.first.got, ["NOTIFY_SOCKET"])
    assert.strictEqual(wrapped.said, "said by the command")
    // The wrapper has not sent READY=1 here: its own rule does not hold.
    assert.deepStrictEqual({ ...speaking }, { started: 0, ActiveState: "active", StatusText: "own", phase: "starting" })
  })

  scene("is kept from the watchdog by the wrapper, until the wrapper hangs", ({ exec: { wrapped } }) => {
    assert.deepStrictEqual({ ...wrapped.fed }, { NRestarts: "0", ActiveState: "active", isSame: true })
    assert.deepStrictEqual({ ...wrapped.hung }, { NRestarts: "1", firstLives: false })
  })

  scene("is restarted after SIGKILL of the wrapper, and its old command has ended", ({ exec: { wrapped } }) => {
    assert.deepStrictEqual({ ...wrapped.killed }, { NRestarts: "2", secondLives: false })
  })

  scene("stops with its command", ({ exec: { wrapped } }) => {
    assert.deepStrictEqual({ ...wrapped.stop, left: [...wrapped.stop.left] }, {
      stopped: 0,
      Result: "success",
      ActiveState: "inactive",
      thirdLives: false,
      left: []
    })
  })

  scene("is restarted after 75, and runs once the lock is free", ({ exec: { refused } }) => {
    assert.strictEqual(refused.refused, "75")
    assert.strictEqual(refused.after, "active")
    assert.include(refused.log, "GatewayLockError: gateway already running (pid ")
  })

  scene("is restarted after 125, and runs once the port is free", ({ exec: { unhealthy } }) => {
    assert.strictEqual(unhealthy.refused, "125")
    assert.strictEqual(unhealthy.after, "active")
    assert.isTrue(unhealthy.answered)
    assert.include(unhealthy.log, "existing gateway did not become healthy after 1000ms")
  })

  scene("is restarted after the command's own 75 and 125, and not after its own 78", ({ exec: { own } }) => {
    assert.deepStrictEqual(own, {
      "75": { ActiveState: "active", NRestarts: "1" },
      "78": { ActiveState: "failed", NRestarts: "0" },
      "125": { ActiveState: "active", NRestarts: "1" }
    })
  })
})

describe("a start beside a healthy command of gateway exec (X11)", () => {
  for (const name of ["run", "exec"]) {
    scene(`by ${name} exits 78 at once, and is not restarted`, ({ exec: { wrapped } }) => {
      const { log, tookMs, ...seen } = wrapped.copies[name] ?? assert.fail(`no ${name}`)
      assert.deepStrictEqual({ ...seen }, { ActiveState: "failed", ExecMainStatus: "78", NRestarts: "0" }, log)
      // An unhealthy owner would be waited for, for five minutes.
      assert.isBelow(tookMs, 10_000)
      assert.include(log, "existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop")
      assert.isTrue(wrapped.fed.isSame)
    })
  }
})
