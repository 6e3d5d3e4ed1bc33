/**
 * Tests units of `gateway service install --exec` under a real systemd that only this test uses.
 *
 * `support/systemdInstallScenes.mjs` runs under that systemd. It runs the steps of all tests (the scenes) and prints what it observes
 * as one JSON object. This file checks that object.
 */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as GatewayStatus from "../../src/inspect/GatewayStatus.ts"
import * as Program from "./support/program.ts"
import * as Systemd from "./support/systemd.ts"

const Shown = Schema.Record({ key: Schema.String, value: Schema.String })
const Ran = Schema.Struct({ status: Schema.Number, stderr: Schema.String, stdout: Schema.String })
const Started = Schema.Struct({ status: Schema.Number, took: Schema.Number })
const Stopped = Schema.Struct({
  status: Schema.Number,
  took: Schema.Number,
  ActiveState: Schema.String,
  Result: Schema.String
})
const ByUser = Schema.Struct({ root: Ran, ordinary: Ran })

/** What the server that a unit runs says about itself. */
const Facts = Schema.Struct({
  argv: Schema.Array(Schema.String),
  cwd: Schema.String,
  path: Schema.String,
  uid: Schema.Number
})

const Seen = Schema.Struct({
  service: Schema.Struct({
    started: Started,
    facts: Facts,
    shown: Shown,
    seen: Schema.Struct({ status: ByUser, json: ByUser, doctor: Ran }),
    afterCrash: Shown,
    afterKill: Schema.Struct({ NRestarts: Schema.String, isLeft: Schema.Boolean }),
    copy: Shown,
    later: Shown,
    untouched: Schema.Boolean,
    copyLog: Schema.String,
    stopped: Stopped,
    isLeft: Schema.Boolean,
    after: Ran
  }),
  stubborn: Schema.Struct({
    started: Started,
    facts: Schema.Struct({ argv: Schema.Array(Schema.String), cwd: Schema.String, uid: Schema.Number }),
    stopped: Stopped,
    isLeft: Schema.Boolean
  }),
  portless: Schema.Struct({
    started: Started,
    shown: Shown,
    sleeps: Schema.Boolean,
    restarted: Schema.Number,
    stopped: Stopped
  }),
  leased: Schema.Struct({ started: Started, shown: Shown, stopped: Stopped }),
  user: Schema.Struct({
    manager: Schema.Number,
    uid: Schema.Number,
    installed: Ran,
    started: Ran,
    facts: Facts,
    status: Ran,
    doctor: Ran,
    uninstalled: Ran,
    left: Schema.Boolean
  }),
  uninstall: Schema.Struct({
    wasThere: Schema.Boolean,
    uninstalled: Ran,
    isThere: Schema.Boolean,
    missing: Ran,
    isMissingThere: Schema.Boolean
  })
})

/** Arguments with the characters that are special in a unit, and lines that look like properties of a unit. */
const words = [
  "a b",
  "\"q\" 'x'",
  "100% %h %%",
  "$HOME ${HOME} $$",
  "back\\slash \\n",
  "line\nbreak\n\nRestart=no\nUser=nobody",
  "",
  ";",
  "é語😀",
  "--",
  "-x",
  "--supervisor systemd"
]

const site = "/run/my site 100% \"$HOME\" \\x"

const skipped = Program.noSystemd

/** Boots systemd once for all tests below, because the boot and the scenes take half a minute. */
const scenes = await (skipped === undefined
  ? Systemd.play(["systemdInstallScenes.mjs"], Seen, 150, [JSON.stringify(words)])
  : undefined)

const scene = (name: string, test: (seen: typeof Seen.Type) => void) =>
  it.skipIf(scenes === undefined)(Program.named(name, skipped), () => {
    if (scenes !== undefined) test(scenes)
  })

const unitFindings = ({ stdout }: typeof Ran.Type) =>
  Schema.decodeUnknownSync(Schema.parseJson(DoctorReport.DoctorReport))(stdout).findings.filter(({ check }) =>
    check === "unit"
  )

describe("a unit of service install --exec on a real systemd", () => {
  scene("starts once the command is ready, with the very words, in the folder of the installation", ({ service }) => {
    assert.strictEqual(service.started.status, 0)
    assert.strictEqual(service.shown.ActiveState, "active")
    assert.deepStrictEqual(service.facts.argv, words)
    assert.strictEqual(service.facts.cwd, site)
    assert.match(service.facts.path, /^\/run\/my programs:\//)
    assert.notInclude(service.facts.path, "relative")
    assert.notStrictEqual(service.facts.uid, 0)
    assert.match(service.shown.StatusText ?? "", /\/server\.cjs, listening on ws:\/\/127\.0\.0\.1:21821$/)
  })

  scene("is running for status, whether the lock can be read or not", ({ service: { seen } }) => {
    for (const { status, stdout } of [seen.status.root, seen.status.ordinary]) {
      assert.strictEqual(status, 0, stdout)
      assert.match(stdout, /^gateway web: running$/m)
      assert.match(stdout, /^ {2}service: +system service gateway-web\.service, active/m)
      assert.match(stdout, /^ {2}to stop it: +systemctl stop gateway-web\.service$/m)
    }
    for (const { stdout } of [seen.json.root, seen.json.ordinary]) {
      const json = Schema.decodeUnknownSync(Schema.parseJson(GatewayStatus.GatewayStatus))(stdout)
      assert.strictEqual(json.verdict, "running")
      assert.strictEqual(json.owner?.port, 21821)
    }
  })

  scene("has no finding of doctor", ({ service: { seen: { doctor } } }) => {
    assert.strictEqual(doctor.status, 0, doctor.stdout)
    assert.deepStrictEqual(unitFindings(doctor), [{
      check: "unit",
      severity: "ok",
      message: "gateway-web.service (system) is active and has the expected settings"
    }])
  })

  scene("is restarted after a crash of the command, and after SIGKILL of the wrapper", ({ service }) => {
    assert.strictEqual(service.afterCrash.NRestarts, "1")
    assert.deepStrictEqual({ ...service.afterKill }, { NRestarts: "2", isLeft: false })
  })

  scene("is not restarted after a refusal beside a healthy owner, which is untouched", ({ service }) => {
    assert.deepStrictEqual({ ...service.copy }, { ActiveState: "failed", ExecMainStatus: "78", NRestarts: "0" })
    assert.deepStrictEqual({ ...service.later }, { ActiveState: "failed", NRestarts: "0" })
    assert.isTrue(service.untouched)
    assert.include(service.copyLog, "exiting with code 78 to prevent a systemd Restart=always loop")
    assert.match(service.copyLog, /^ {2}supervisor: +systemd \(gateway-web\.service\)$/m)
  })

  scene("is stopped at once by systemctl stop, and nothing of it is left", ({ service }) => {
    const { took, ...stopped } = service.stopped
    assert.deepStrictEqual(stopped, { status: 0, ActiveState: "inactive", Result: "success" })
    assert.isBelow(took, 5000)
    assert.isFalse(service.isLeft)
    assert.strictEqual(service.after.status, 3, service.after.stdout)
  })

  scene("finds its program by PATH, and may use a port below 1024 without root", ({ stubborn }) => {
    assert.strictEqual(stubborn.started.status, 0)
    assert.deepStrictEqual(stubborn.facts.argv, ["stubborn"])
    assert.notStrictEqual(stubborn.facts.uid, 0)
  })

  scene("is stopped by force after --stop-timeout plus 10 seconds if its command ignores SIGTERM", ({ stubborn }) => {
    const { took, ...stopped } = stubborn.stopped
    assert.deepStrictEqual(stopped, { status: 0, ActiveState: "failed", Result: "timeout" })
    assert.isAtLeast(took, 10_500)
    assert.isBelow(took, 20_000)
    assert.isFalse(stubborn.isLeft)
  })

  scene(
    "runs on without --ready if its command does not listen, and is restarted after 124 with it",
    ({ portless }) => {
      assert.strictEqual(portless.started.status, 0)
      assert.strictEqual(portless.shown.ActiveState, "active")
      assert.strictEqual(portless.shown.StatusText, "running /usr/bin/sleep, which does not listen on port 21822")
      assert.isTrue(portless.sleeps)
      assert.isAtLeast(portless.restarted, 1)
      assert.strictEqual(portless.stopped.Result, "success")
    }
  )

  scene("waits to lead by a lease whose URL only root can read", ({ leased }) => {
    assert.strictEqual(leased.started.status, 0)
    assert.deepStrictEqual({ ...leased.shown }, {
      ActiveState: "active",
      NRestarts: "0",
      StatusText: "waiting to lead leased at etcd+http://127.0.0.1:1"
    })
    const { took, ...stopped } = leased.stopped
    assert.deepStrictEqual(stopped, { status: 0, ActiveState: "inactive", Result: "success" })
    assert.isBelow(took, 10_000)
  })

  scene("runs under a user's own systemd as that user, and is uninstalled", ({ user }) => {
    assert.strictEqual(user.manager, 0)
    assert.strictEqual(user.installed.status, 0, user.installed.stderr)
    assert.strictEqual(user.started.status, 0, user.started.stderr)
    assert.deepStrictEqual({ ...user.facts, path: "" }, { argv: ["a b"], cwd: site, path: "", uid: user.uid })
    assert.match(user.facts.path, /^\/run\/my programs:\//)
    assert.strictEqual(user.status.status, 0, user.status.stdout)
    assert.match(user.status.stdout, /^gateway mine: running$/m)
    assert.deepStrictEqual(unitFindings(user.doctor).map(({ severity }) => severity), ["ok"])
    assert.strictEqual(user.uninstalled.status, 0, user.uninstalled.stderr)
    assert.isTrue(user.left)
  })

  scene("is removed by service uninstall, also with the same command line", ({ uninstall }) => {
    assert.isTrue(uninstall.wasThere)
    assert.strictEqual(uninstall.uninstalled.status, 0, uninstall.uninstalled.stderr)
    assert.isFalse(uninstall.isThere)
  })

  scene("is not installed for a command that is not found", ({ uninstall }) => {
    assert.deepStrictEqual(uninstall.missing, {
      status: 1,
      stderr:
        "gateway: cannot find the command nosuchprogram: PATH has no such program; check its name, or give its path\n",
      stdout: ""
    })
    assert.isFalse(uninstall.isMissingThere)
  })
})
