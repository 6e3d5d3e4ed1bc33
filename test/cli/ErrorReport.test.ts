import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Schema } from "effect"
import { facts, toJson, toText } from "../../src/cli/ErrorReport.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import * as arbitraries from "../arbitraries.ts"

const now = Date.parse("2026-01-01T01:02:03.000Z")

const holder: Errors.Holder = {
  pid: 123,
  pidMeaning: "Alive",
  command: "node",
  since: "2026-01-01T00:00:00.000Z",
  phase: "listening",
  configPath: "/home/u/.config/gateway.json",
  stateDir: "/home/u/.local/state/gateway",
  host: "127.0.0.1",
  port: 18789,
  instanceId: "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10"
}

const golden: ReadonlyArray<readonly [name: string, error: Errors.GatewayLockError, lines: ReadonlyArray<string>]> = [
  [
    "PortInUse by a known gateway",
    new Errors.PortInUse({ host: "127.0.0.1", port: 18789, holder, listener: "a healthy gateway" }),
    [
      "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:18789",
      "  held by: pid 123 (node)",
      "  since: 2026-01-01T00:00:00.000Z (1h 2m 3s ago)",
      "  phase: listening",
      "  config: /home/u/.config/gateway.json",
      "  state: /home/u/.local/state/gateway",
      "  answers: a healthy gateway",
      "  to use it: ws://127.0.0.1:18789",
      "  to stop it: kill 123",
      "  to run beside it: gateway run --profile <name> --port 18790"
    ]
  ],
  [
    "PortInUse by a stranger",
    new Errors.PortInUse({ host: "::1", port: 65535, listener: "did not answer as HTTP (Parse Error)" }),
    [
      "GatewayLockError: another gateway instance is already listening on ws://[::1]:65535",
      "  answers: did not answer as HTTP (Parse Error)",
      "  to see who it is: ss -ltnp 'sport = :65535'",
      "  to run beside it: gateway run --profile <name> --port 65534"
    ]
  ],
  [
    "BindFailed",
    new Errors.BindFailed({ host: "192.0.2.1", port: 80, reason: "listen EADDRNOTAVAIL" }),
    [
      "GatewayLockError: failed to bind gateway socket on ws://192.0.2.1:80: listen EADDRNOTAVAIL",
      "  address: ws://192.0.2.1:80",
      "  to use another: gateway run --port <port> --host <host>"
    ]
  ],
  [
    "LockHeld after waiting",
    new Errors.LockHeld({
      path: "/s/locks/gateway.lock",
      timeoutMs: 5000,
      holder: { pid: 9, pidMeaning: "Alive", phase: "starting" }
    }),
    [
      "GatewayLockError: gateway already running (pid 9); lock timeout after 5000ms",
      "  held by: pid 9",
      "  phase: starting",
      "  lock: /s/locks/gateway.lock",
      "  to stop it: kill 9",
      "  to run beside it: gateway run --profile <name> --port <port>"
    ]
  ],
  [
    "LockHeld by an owner that serves elsewhere",
    new Errors.LockHeld({
      path: "/l",
      timeoutMs: 0,
      holder: { pid: 1, pidMeaning: "OtherPidNamespace" },
      serving: { host: "::1", port: 4000 }
    }),
    [
      "GatewayLockError: gateway already running (pid 1) on ws://[::1]:4000",
      "  held by: pid 1 in another PID namespace",
      "  lock: /l",
      "  to use it: ws://[::1]:4000",
      "  to run beside it: gateway run --profile <name> --port <port>"
    ]
  ],
  [
    "LockHeld by nobody known",
    new Errors.LockHeld({ path: "/l", timeoutMs: 1 }),
    [
      "GatewayLockError: gateway already running; lock timeout after 1ms",
      "  lock: /l",
      "  to run beside it: gateway run --profile <name> --port <port>"
    ]
  ],
  [
    "LockUnavailable",
    new Errors.LockUnavailable({ path: "/l", reason: "EROFS: read-only file system" }),
    [
      "GatewayLockError: failed to acquire gateway lock at /l: EROFS: read-only file system",
      "  lock: /l",
      "  to use another folder: gateway run --state-dir <path>"
    ]
  ],
  [
    "LockLost",
    new Errors.LockLost({ path: "/l", reason: "the file was removed" }),
    [
      "GatewayLockError: lost gateway lock at /l: the file was removed",
      "  lock: /l",
      "  what to do: start the gateway again, and keep cleaners out of its state directory"
    ]
  ],
  [
    "OwnerHealthy",
    new Errors.OwnerHealthy({
      supervisor: "launchd",
      host: "127.0.0.1",
      port: 1,
      holder: { pid: 9, pidMeaning: "Alive" }
    }),
    [
      "GatewayLockError: gateway already running under launchd; existing gateway is healthy, leaving it in control",
      "  held by: pid 9",
      "  to use it: ws://127.0.0.1:1",
      "  to stop it: kill 9"
    ]
  ],
  [
    "OwnerUnhealthy",
    new Errors.OwnerUnhealthy({ supervisor: "systemd", host: "::1", port: 1, timeoutMs: 300_000 }),
    [
      "GatewayLockError: gateway already running under systemd; existing gateway did not become healthy after 300000ms",
      "  to ask it: curl http://[::1]:1/healthz"
    ]
  ]
]

/** Labels are aligned; how far is a matter of taste, so that the table above need not count spaces. */
const squeezed = (line: string) => line.replace(/:\s+/g, ": ")

describe("ErrorReport.toText", () => {
  it.each(golden)("%s", (_, error, lines) => {
    const text = toText(error, now)
    assert.deepStrictEqual(text.split("\n").map(squeezed), lines)
  })

  it.each(golden)("%s: the values stand in one column", (_, error) => {
    const starts = toText(error, now).split("\n").slice(1).map((line) => /^ {2}[a-z ]+:\s+/.exec(line)?.[0].length)
    assert.strictEqual(new Set(starts).size, 1)
    assert.isNumber(starts[0])
  })

  it("covers every error of the family", () => {
    assert.deepStrictEqual(
      [...new Set(golden.map(([, error]) => error._tag))].toSorted(),
      Errors.GatewayLockError.members.map((member) => member._tag).toSorted()
    )
  })

  it.each([
    ["2026-01-01T01:02:03.000Z", "2026-01-01T01:02:03.000Z (just now)"],
    ["2026-01-01T01:02:02.500Z", "2026-01-01T01:02:02.500Z (just now)"],
    ["2026-01-01T01:02:01.000Z", "2026-01-01T01:02:01.000Z (2s ago)"],
    ["2025-12-31T01:02:03.000Z", "2025-12-31T01:02:03.000Z (1d ago)"],
    // A clock that was set back makes no negative age, and words make none at all.
    ["2026-01-01T01:02:04.000Z", "2026-01-01T01:02:04.000Z"],
    ["yesterday", "yesterday"]
  ])("since %s reads: %s", (since, expected) => {
    const error = new Errors.LockHeld({ path: "/l", timeoutMs: 1, holder: { since } })
    assert.deepInclude(facts(error, now), ["since", expected])
  })

  it("advises the next port, and below the last one", () => {
    const advice = (port: number) => toText(new Errors.PortInUse({ host: "127.0.0.1", port }), now)
    assert.include(advice(1), "--port 2")
    assert.include(advice(65535), "--port 65534")
  })

  it.each<readonly [Errors.PidMeaning | undefined, heldBy: string]>([
    ["Alive", "pid 1 (node)"],
    ["Gone", "pid 1, which is no longer running"],
    ["OtherPidNamespace", "pid 1 in another PID namespace"],
    ["OtherBoot", "pid 1 of another boot or machine"],
    ["Unknown", "pid 1, not visible from here"],
    [undefined, "pid 1"]
  ])("a pid that is %s reads: %s", (pidMeaning, heldBy) => {
    const meaning = pidMeaning === undefined ? {} : { pidMeaning }
    const error = new Errors.LockHeld({ path: "/l", timeoutMs: 1, holder: { pid: 1, command: "node", ...meaning } })
    assert.deepInclude(facts(error, now), ["held by", heldBy])
    // Whatever it is, a program that reads the message finds the pid where it always was.
    assert.strictEqual(error.message, "gateway already running (pid 1); lock timeout after 1ms")
  })

  it.prop(
    "advises to stop a process if and only if it was seen to be alive",
    [arbitraries.gatewayLockError],
    ([error]) => {
      const { pid, pidMeaning } = "holder" in error && error.holder !== undefined ? error.holder : {}
      const kills = facts(error, now).filter(([, value]) => value.startsWith("kill "))
      assert.deepStrictEqual(
        kills,
        pid !== undefined && pidMeaning === "Alive" ? [["to stop it", `kill ${pid}`]] : []
      )
    }
  )

  it.prop(
    "every fact has a label and a value",
    [arbitraries.gatewayLockError],
    ([error]) => facts(error, now).length > 0 && facts(error, now).every(([label]) => /^[a-z ]+$/.test(label))
  )
})

describe("ErrorReport.toJson", () => {
  const Report = Schema.Struct({
    level: Schema.Literal("ERROR"),
    timestamp: Schema.String,
    name: Schema.Literal("GatewayLockError"),
    message: Schema.String,
    error: Errors.GatewayLockError,
    facts: Schema.Record({ key: Schema.String, value: Schema.String })
  })
  const decode = Schema.decodeUnknownSync(Schema.parseJson(Report))

  it.prop("is one line with the error itself and every fact as fields", [
    arbitraries.gatewayLockError,
    fc.nat({ max: 10 ** 13 })
  ], ([error, at]) => {
    const line = toJson(error, at)
    assert.notInclude(line, "\n")
    const report = decode(line)
    assert.strictEqual(Date.parse(report.timestamp), at)
    assert.strictEqual(report.message, error.message)
    assert.strictEqual(report.error.constructor, error.constructor)
    assert.deepStrictEqual(Object.entries(report.facts).toSorted(), facts(error, at).map(([k, v]) => [k, v]).toSorted())
  })

  it("reads so", () => {
    const error = new Errors.LockHeld({ path: "/l", timeoutMs: 0, holder: { pid: 9, pidMeaning: "Alive" } })
    assert.deepStrictEqual(JSON.parse(toJson(error, now)), {
      level: "ERROR",
      timestamp: "2026-01-01T01:02:03.000Z",
      name: "GatewayLockError",
      message: "gateway already running (pid 9); lock timeout after 0ms",
      error: { _tag: "LockHeld", path: "/l", timeoutMs: 0, holder: { pid: 9, pidMeaning: "Alive" } },
      facts: {
        "held by": "pid 9",
        lock: "/l",
        "to stop it": "kill 9",
        "to run beside it": "gateway run --profile <name> --port <port>"
      }
    })
  })
})
