/**
 * Tests `gateway service start|stop|restart|status|logs` under a real systemd that only this test uses.
 *
 * `support/systemdControlScenes.mjs` runs under that systemd, and prints what it observes as one JSON object.
 */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Program from "./support/program.ts"
import * as Systemd from "./support/systemd.ts"

const Ran = Schema.Struct({
  status: Schema.NullOr(Schema.Number),
  signal: Schema.NullOr(Schema.String),
  stderr: Schema.String,
  stdout: Schema.String
})
const State = Schema.Struct({ ActiveState: Schema.String, MainPID: Schema.String })

const Seen = Schema.Struct({
  life: Schema.Struct({
    absent: Schema.Struct({ status: Ran, start: Ran, logs: Ran }),
    installed: Ran,
    before: Ran,
    dry: Ran,
    untouched: Schema.String,
    started: Ran,
    running: Schema.extend(Ran, State),
    restarted: Ran,
    after: State,
    logs: Ran,
    last: Ran
  }),
  following: Schema.Struct({
    during: Schema.Boolean,
    status: Schema.NullOr(Schema.Number),
    signal: Schema.NullOr(Schema.String),
    left: Schema.String,
    closed: Ran
  }),
  stopped: Schema.Struct({ stopped: Ran, again: Ran, after: Ran }),
  failed: Schema.Struct({ refused: Ran, status: Ran }),
  user: Schema.Struct({ manager: Schema.Number, installed: Ran, started: Ran, status: Ran, logs: Ran, stopped: Ran }),
  withoutManager: Schema.Struct({ start: Ran, status: Ran, elsewhere: Ran })
})

const skipped = Program.noSystemd

const scenes = await (skipped === undefined
  ? Systemd.play(["systemdControlScenes.mjs"], Seen, 150)
  : undefined)

const scene = (name: string, test: (seen: typeof Seen.Type) => void) =>
  it.skipIf(scenes === undefined)(Program.named(name, skipped), () => {
    if (scenes !== undefined) test(scenes)
  })

const unit = "gateway-a-b--c.service"

describe("gateway service on a real systemd", () => {
  scene("refuses in one line what is not installed; its status is 4", ({ life: { absent } }) => {
    const why = `it is not installed, /etc/systemd/system/${unit} does not exist`
    const install = "to install it: gateway service install --system --profile a-b--c"
    for (
      const [ran, verb, status] of [[absent.status, "show", 4], [absent.start, "start", 1], [
        absent.logs,
        "show",
        1
      ]] as const
    ) {
      assert.deepInclude(ran, { status, stdout: "", stderr: `gateway: cannot ${verb} ${unit}: ${why}; ${install}\n` })
    }
  })

  scene("says after an installation what to type, and where the logs are", ({ life: { installed } }) => {
    assert.strictEqual(installed.status, 0, installed.stderr)
    for (
      const line of [
        `installed ${unit}`,
        `to start it, or to apply a change: systemctl restart ${unit}`,
        `to see it: systemctl status ${unit}`,
        `to read its logs: journalctl -u ${unit}`
      ]
    ) assert.include(installed.stdout.split("\n"), line)
  })

  scene("starts, restarts and stops it, with the command on stderr", ({ life, stopped }) => {
    assert.strictEqual(life.before.status, 3)
    assert.deepInclude(life.dry, { status: 0, stdout: `would run systemctl start ${unit}\n` })
    assert.strictEqual(life.untouched, "inactive")
    assert.deepInclude(life.started, { status: 0, stdout: "", stderr: `gateway: run systemctl start ${unit}\n` })
    assert.strictEqual(life.running.ActiveState, "active")
    assert.strictEqual(life.running.status, 0)
    assert.match(life.running.stdout, /Active: active \(running\)/)
    assert.strictEqual(life.restarted.status, 0, life.restarted.stderr)
    assert.strictEqual(life.after.ActiveState, "active")
    assert.notStrictEqual(life.after.MainPID, life.running.MainPID)
    assert.deepInclude(stopped.stopped, { status: 0, stdout: "" })
    assert.strictEqual(stopped.again.status, 0)
    assert.strictEqual(stopped.after.status, 3)
    assert.match(stopped.after.stdout, /Active: inactive/)
  })

  scene("shows the logs: all of them, or the last ones", ({ life: { last, logs } }) => {
    assert.strictEqual(logs.status, 0)
    assert.strictEqual(logs.stderr, `gateway: run journalctl --no-pager -u ${unit} -n all\n`)
    assert.isAtLeast(logs.stdout.split("serving").length, 3)
    assert.match(logs.stdout, /starting .*server\.cjs/)
    assert.lengthOf(last.stdout.trimEnd().split("\n"), 1)
  })

  scene("follows the logs until SIGINT, which ends journalctl too", ({ following }) => {
    assert.isTrue(following.during)
    assert.isTrue(
      following.signal === "SIGINT" || following.status === 0 || following.status === 130,
      JSON.stringify(following)
    )
    assert.strictEqual(following.left, "")
  })

  scene("ends quietly if the reader of the logs has ended", ({ following: { closed } }) => {
    assert.include(["0\n", "1\n", "141\n"], closed.stdout)
    assert.match(closed.stderr, /^gateway: run journalctl [^\n]+\n$/)
  })

  scene("ends as systemctl does: 1 for a start that fails, 3 for the status of a failed unit", ({ failed }) => {
    assert.strictEqual(failed.refused.status, 1)
    assert.match(
      failed.refused.stderr,
      /^gateway: run systemctl start gateway-missing\.service\nJob for gateway-missing\.service failed/
    )
    assert.notInclude(failed.refused.stderr, "does not answer")
    assert.strictEqual(failed.status.status, 3)
    assert.match(failed.status.stdout, /Active: failed/)
  })

  scene("does the same for the service of a user", ({ user }) => {
    assert.strictEqual(user.manager, 0)
    assert.include(user.installed.stdout, "to read its logs: journalctl --user-unit gateway-mine.service\n")
    assert.deepInclude(user.started, {
      status: 0,
      stderr: "gateway: run systemctl --user start gateway-mine.service\n"
    })
    assert.strictEqual(user.status.status, 0, user.status.stderr)
    // The manager of this scene is no login session, so journald does not know the unit of the gateway's own lines.
    assert.match(user.logs.stdout, /systemd\[\d+\]: Started gateway-mine\.service/, user.logs.stderr)
    assert.strictEqual(user.stopped.status, 0)
  })

  scene(
    "tells a user without a running manager what is missing",
    ({ withoutManager: { elsewhere, start, status } }) => {
      for (const [ran, code] of [[start, 1], [status, 4]] as const) {
        assert.strictEqual(ran.status, code, ran.stderr)
        assert.match(ran.stderr, /Failed to connect to (?:user scope )?bus/)
        assert.match(
          ran.stderr,
          /\ngateway: systemd does not answer here; try again in a login session of that user, [^\n]+\n$/
        )
      }
      assert.strictEqual(elsewhere.status, 4)
      assert.match(elsewhere.stderr, /it is installed for the whole machine: add --system\n$/)
    }
  )
})
