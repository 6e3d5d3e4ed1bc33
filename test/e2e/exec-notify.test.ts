/**
 * Tests `gateway exec --ready notify` under a real systemd that only this test uses. `support/systemdNotifyScenes.mjs` runs under that
 * systemd, and prints what it observes as one JSON object. This file checks that object.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Systemd from "./support/systemd.ts"

const End = { ActiveState: Schema.String, ExecMainStatus: Schema.String, Result: Schema.String }
const Ended = Schema.Struct(End)
const Refused = Schema.Struct({ ...End, log: Schema.String })

const Seen = Schema.Struct({
  ready: Schema.Struct({
    before: Schema.Struct({
      ActiveState: Schema.String,
      phase: Schema.String,
      rule: Schema.String,
      status: Schema.Number,
      health: Schema.Number
    }),
    after: Schema.Struct({
      ActiveState: Schema.String,
      StatusText: Schema.String,
      status: Schema.Number,
      health: Schema.Number
    }),
    text: Schema.String,
    second: Ended,
    stopped: Ended,
    log: Schema.String
  }),
  late: Schema.Struct({ seen: Ended, log: Schema.String, left: Schema.Array(Schema.String) }),
  unsuitable: Schema.Struct({ simple: Refused, main: Refused, silent: Refused })
})

const skipped = Program.noSystemd

const scenes = await (skipped === undefined ? Systemd.play(["systemdNotifyScenes.mjs"], Seen, 100) : undefined)

const scene = (name: string, test: (seen: typeof Seen.Type) => void) =>
  it.skipIf(scenes === undefined)(Program.named(name, skipped), () => {
    if (scenes !== undefined) test(scenes)
  })

describe("gateway exec --ready notify under systemd", () => {
  scene("stays in the phase starting until the command has notified systemd", ({ ready: { before } }) => {
    assert.deepStrictEqual(
      { ...before },
      { ActiveState: "activating", phase: "starting", rule: "notify", status: 4, health: 1 }
    )
  })

  scene("is then listening and healthy, and leaves the command's status text", ({ ready: { after, log, text } }) => {
    assert.deepStrictEqual({ ...after }, { ActiveState: "active", StatusText: "mine", status: 0, health: 0 }, log)
    assert.include(text, "its command has told systemd that it is ready")
  })

  scene("is left in control by a second service", ({ ready: { second } }) => {
    assert.strictEqual(second.ExecMainStatus, "78")
  })

  scene("stops the command that does not notify in time, with status 124", ({ late: { left, log, seen } }) => {
    assert.strictEqual(seen.ExecMainStatus, "124", log)
    assert.include(log, "was not ready (it did not send READY=1 to systemd) within 1s, so it was stopped")
    assert.deepStrictEqual(left, [])
  })

  scene("is refused in one line by a unit that cannot show it, and says what to set", ({ unsuitable }) => {
    for (
      const [{ ExecMainStatus, log }, expected] of [
        [unsuitable.simple, "exec-simple.service has Type=simple; set Type=notify, or use --ready port"],
        [
          unsuitable.main,
          "exec-main.service has NotifyAccess=main, so systemd ignores messages of the command; set NotifyAccess=all"
        ],
        [unsuitable.silent, "systemd has set no NOTIFY_SOCKET; use a unit with Type=notify and NotifyAccess=all"]
      ] as const
    ) {
      assert.strictEqual(ExecMainStatus, "64", log)
      const lines = log.trim().split("\n")
      assert.strictEqual(lines.length, 1, log)
      assert.include(log, `--ready notify cannot be used: ${expected}`)
    }
  })
})

describe("gateway exec --ready notify outside of systemd", () => {
  it.scopedLive("is refused in one line that says what to use instead", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr, stdout } = yield* Execs.run(site, ["echo", "started"], { flags: ["--ready", "notify"] })
      assert.strictEqual(code, 64, stderr)
      assert.match(
        stderr,
        /^gateway: --ready notify cannot be used: this process is not a systemd service \(.*\); use --ready port or --ready http:\/<path>\n$/
      )
      assert.strictEqual(stdout, "")
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))
})
