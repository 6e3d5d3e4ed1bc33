import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration } from "effect"
import * as ExecAudit from "../../src/doctor/ExecAudit.ts"
import type { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import { ownedBy } from "../fixtures/records.ts"

const asOf = DateTime.unsafeMake("2026-01-01T00:10:00.000Z")
const since = DateTime.subtractDuration(asOf, Duration.minutes(5))
const record = { ...ownedBy("a"), mode: "exec", ready: "port", child: { pid: 4712, startTime: 1 } } as const
const facts: ExecAudit.ExecFacts = { record, left: [], ports: [], platform: "linux" }
const owner = {
  pid: 4711,
  pidMeaning: "Alive",
  command: "node",
  phase: "listening",
  since,
  supervisor: "none"
} as const
const lock = { path: "/l", state: "held", enforcement: "kernel" } as const
const port = { host: "127.0.0.1", port: 18789, from: "owner", state: "free", listeners: [] } as const

const command = (words: string) => `gateway ${words}`
const status = { asOf, owner, lock, port, reason: "", verdict: "running" } satisfies Partial<GatewayStatus>

const ofLock = (change: Partial<Pick<GatewayStatus, "lock" | "owner">>, more: Partial<ExecAudit.ExecFacts> = {}) =>
  ExecAudit.judgeLock({ ...status, ...change }, { ...facts, ...more }, command, undefined)

const ofPort = (change: Partial<GatewayStatus>, more: Partial<ExecAudit.ExecFacts> = {}) =>
  ExecAudit.judgePort({ ...status, ...change }, { ...facts, ...more }, command)

describe("an owner by exec", () => {
  it("that holds the lock is no problem", () => {
    assert.deepStrictEqual(ofLock({}), [
      { check: "lock", severity: "ok", message: "/l is held by pid 4711 (node) for its command, listening" }
    ])
  })

  it("that has a kernel lock is not said to have none, if only its record can be read", () => {
    const byRecord = { lock: { ...lock, enforcement: "record" } } as const
    const of = (lock: "kernel" | "record") => ofLock(byRecord, { record: { ...record, lock } })
    assert.deepStrictEqual(of("kernel"), ofLock({}))
    assert.include(of("record")[1]?.message, "only its record enforces the lock")
  })

  it("of which no process is visible: lsof shows which process has the lock", () => {
    assert.deepStrictEqual(ofLock({ owner: { ...owner, pidMeaning: "Gone" } }), [
      {
        check: "lock",
        severity: "error",
        message: "/l is held, but its wrapper (pid 4711) and the command have ended",
        remedy: "lsof /l"
      }
    ])
  })

  it("in a systemd unit is restarted by systemd", () => {
    const unit = { name: "web.service", scope: "user" } as const
    const [finding] = ofLock({ owner: { ...owner, pid: 4712, endedWrapper: 4711, unit } })
    assert.strictEqual(finding?.remedy, "systemctl --user restart web.service")
  })

  it("without a port is started again without one", () => {
    const [finding] = ofLock(
      { owner: { ...owner, pid: 4712, endedWrapper: 4711 } },
      { record: { ...record, host: "", port: 0 } }
    )
    assert.strictEqual(finding?.remedy, "gateway stop && gateway exec --no-port -- <command>")
  })

  it("that does not listen is an error only after a minute", () => {
    const starting = { verdict: "starting", owner: { ...owner, phase: "starting" } } as const
    const severity = (age: Duration.DurationInput) =>
      ofPort({ ...starting, owner: { ...starting.owner, since: DateTime.subtractDuration(asOf, age) } })[0]?.severity
    assert.strictEqual(severity("60 seconds"), "info")
    assert.strictEqual(severity("61 seconds"), "error")
    const [unready] = ofPort({ ...starting, verdict: "unhealthy" }, { ports: [18789, 5174, 9229] })
    assert.include(unready?.message, "does not listen on ws://127.0.0.1:18789; it listens on port 5174 and 9229")
    assert.strictEqual(unready?.remedy, "gateway stop && gateway exec --port 5174 -- <command>")
  })

  it("that has not notified systemd is a warning after a minute, whatever port it listens on", () => {
    const notify = { record: { ...record, ready: "notify" }, ports: [18789] } as const
    const starting = { verdict: "starting", owner: { ...owner, phase: "starting" } } as const
    const young = { ...starting.owner, since: DateTime.subtractDuration(asOf, "1 minute") }
    const message = "the command of pid 4711 (node) has not told systemd that it is ready (READY=1)"
    assert.deepStrictEqual(ofPort({ ...starting, owner: young }, notify), [
      { check: "port", severity: "info", message: `${message}; it is still starting` }
    ])
    const unit = { name: "web.service", scope: "system" } as const
    assert.deepStrictEqual(ofPort({ ...starting, owner: { ...starting.owner, unit } }, notify), [
      {
        check: "port",
        severity: "warning",
        message: `${message}; after --start-timeout, exec stops it`,
        remedy: "journalctl -u web.service -n 50"
      }
    ])
  })

  it("whose rule is none needs no listener, and a stranger on its port is no problem", () => {
    const none = { record: { ...record, ready: "none" } } as const
    assert.deepStrictEqual(ofPort({}, none).map(({ severity }) => severity), ["ok"])
    const stranger = { ...port, state: "foreign", listeners: [{ host: "127.0.0.1", pid: 9, isOwner: false }] } as const
    assert.deepStrictEqual(ofPort({ port: stranger }, none), [
      {
        check: "port",
        severity: "info",
        message: "ws://127.0.0.1:18789 is in use by pid 9; the command does not need it"
      }
    ])
  })

  it("of which it is unknown whether it listens is no problem", () => {
    assert.deepStrictEqual(ofPort({ verdict: "unknown", reason: "not visible" }), [
      { check: "port", severity: "info", message: "ws://127.0.0.1:18789: not visible" }
    ])
  })
})
