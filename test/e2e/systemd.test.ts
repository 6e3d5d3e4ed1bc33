/**
 * The program under a real systemd, private to this test: the generated unit, installed by the program itself.
 *
 * `support/insideSystemd.mjs` plays the scenes there; what it saw is judged here.
 */
import { assert, describe, it } from "@effect/vitest"
import { Console, Effect, Schema } from "effect"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const Shown = Schema.Record({ key: Schema.String, value: Schema.String })

const Ran = Schema.Struct({ status: Schema.Number, stderr: Schema.String, stdout: Schema.String })

const Seen = Schema.parseJson(Schema.Struct({
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
  activation: Schema.Struct({
    socket: Schema.Number,
    sent: Schema.Number,
    answered: Schema.Number,
    failures: Schema.Array(Schema.String),
    restarts: Schema.Array(Schema.Number),
    instances: Schema.Number,
    mismatch: Shown,
    log: Schema.String
  })
}))

const support = (name: string) => fileURLToPath(new URL(`support/${name}`, import.meta.url))

const skipped = Program.noSystemd

/**
 * The program and its addon, where a private systemd still sees them: it has a `/tmp` of its own, and the checkout may be
 * in the other one.
 */
const staged = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = Fs.mkdtempSync("/var/tmp/gateway-lock-systemd-")
    Fs.cpSync(Path.dirname(Program.main), Path.join(folder, "dist"), { recursive: true })
    Fs.writeFileSync(Path.join(folder, "package.json"), "{\"type\":\"module\"}")
    Fs.copyFileSync(support("insideSystemd.mjs"), Path.join(folder, "insideSystemd.mjs"))
    if (Program.kernelLocks) {
      const addon = Path.dirname(createRequire(Program.main).resolve("fs-native-extensions/package.json"))
      Fs.cpSync(addon, Path.join(folder, "node_modules", "fs-native-extensions"), { recursive: true })
    }
    return folder
  }),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

/** One boot serves every test below: it takes half a minute, most of which is systemd's own waiting. */
const scenes = await (skipped === undefined
  ? Effect.scoped(Effect.gen(function*() {
    const folder = yield* staged
    const played = yield* Processes.start(
      [
        support("with-systemd"),
        process.execPath,
        Path.join(folder, "insideSystemd.mjs"),
        Path.join(folder, "dist", "main.js")
      ],
      { cwd: "/", env: { PATH: Program.searchPath, WITH_SYSTEMD_S: "150" }, patience: "160 seconds" }
    )
    const { code, stderr, stdout } = yield* played.ended
    assert.strictEqual(code, 0, `${stdout}${stderr}`)
    return yield* Schema.decodeUnknown(Seen)(stdout.trim().split("\n").at(-1)).pipe(
      // A scene that failed says so where its facts should be.
      Effect.tapError(() => Console.error(`${stdout}\n${stderr}`))
    )
  })).pipe(Effect.runPromise)
  : Promise.resolve(undefined))

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
    assert.match(service.inherited.stderr, /supervisor: none \(SYSTEMD_EXEC_PID is \d+, not our pid \d+/)
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
      assert.match(log ?? "", /NOTIFY_SOCKET is set, and systemd is not notified: /)
    }
    assert.match(borrowed.new.log ?? "", /SYSTEMD_EXEC_PID is \d+, not our pid/)
    assert.match(borrowed.old.log ?? "", /the main process of our unit is \d+, not our pid/)
  })
})

describe("a duplicate under Restart=always", () => {
  scene("exits 78 with the message and is not restarted; the first one is untouched", ({ duplicate }) => {
    assert.strictEqual(duplicate.copy.ExecMainStatus, "78")
    assert.strictEqual(duplicate.copy.NRestarts, "0")
    // Who has it is a service, and is to be stopped as one.
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
      /^gateway: the gateway \(pid \d+\) is in the hands of systemd; to stop it: systemctl stop gateway-operated\.service\n$/
    )
    assert.isTrue(operators.untouched)
    assert.strictEqual(operators.advised, 0)
    assert.deepStrictEqual(operators.stopped, { ActiveState: "inactive", Result: "success" })
  })

  scene("ends it nevertheless by force, and systemd starts it again", ({ operators }) => {
    assert.strictEqual(operators.forced.status, 0, operators.forced.stderr)
    assert.match(operators.forced.stderr, /it was in the hands of systemd, which may start it again/)
    assert.isTrue(operators.succeeded)
  })

  scene("learns from doctor that the generated unit fits", ({ operators }) => {
    assert.strictEqual(operators.doctor.status, 0, JSON.stringify(operators.doctor.report.findings))
    assert.deepInclude(operators.doctor.report.findings, {
      check: "unit",
      severity: "ok",
      message: "gateway-operated.service (system) is active and fits"
    })
  })

  scene("learns from doctor what a drop-in has spoiled, and how a latched unit is started", ({ operators }) => {
    assert.strictEqual(operators.latched.status, 1)
    const found = operators.latched.report.findings.filter(({ check }) => check === "unit")
    assert.deepInclude(found, {
      check: "unit",
      severity: "error",
      message: "gateway-operated.service is latched: more than 2 starts in 1m, and systemd starts it no more",
      remedy: "systemctl reset-failed gateway-operated.service && systemctl start gateway-operated.service"
    })
    for (const what of ["no 78 in", "no 64 in", "RestartSec=100ms", "TimeoutStopSec=5s", "NotifyAccess=main"]) {
      assert.isTrue(found.some(({ message }) => message.includes(what)), `${what}: ${JSON.stringify(found)}`)
    }
    assert.isTrue(operators.mended)
  })
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
