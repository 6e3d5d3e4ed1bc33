import { assert, describe, it } from "@effect/vitest"
import { DateTime, FastCheck as fc, Option, Schema } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { describe as describeHealth } from "../../src/cli/health.ts"
import * as ListReport from "../../src/cli/ListReport.ts"
import * as StatusReport from "../../src/cli/StatusReport.ts"
import { GatewayList } from "../../src/inspect/GatewayList.ts"
import { GatewayStatus, Verdict } from "../../src/inspect/GatewayStatus.ts"
import "../arbitraries.ts"

/** Draws only values that JSON can express: no infinite numbers, and only times in whole milliseconds. */
const inJson = <A, I>(schema: Schema.Schema<A, I>) => {
  const decoded = Schema.decodeUnknownOption(schema)
  const encode = Schema.encodeSync(schema)
  return Arbitrary.make(schema)
    .map((drawn) => decoded(JSON.parse(JSON.stringify(encode(drawn)))))
    .filter(Option.isSome)
    .map(({ value }) => value)
}
const status = inJson(GatewayStatus)
const list = inJson(GatewayList)

/** Removes the escape sequences of colours. */
const unpainted = (text: string | undefined) =>
  text?.split("\u001b[").map((part, at) => at === 0 ? part : part.replace(/^\d+m/, "")).join("")
const plain = { colors: false }
const colored = { colors: true }
const none: StatusReport.Asked = { flags: new Map(), isLeased: false }

/** Whether a text contains no line end and no other control character. */
const isLine = (line: string) => !/\p{Cc}/u.test(line)

const example: GatewayStatus = {
  version: 1,
  asOf: DateTime.unsafeMake("2026-01-01T00:00:12.000Z"),
  verdict: "running",
  reason: "the owner of the lock answers and is healthy",
  profile: "blue",
  configPath: "/c/blue/gateway.json",
  stateDir: "/s/blue",
  lock: { path: "/s/blue/locks/gateway.0123abcd.lock", state: "held", enforcement: "kernel" },
  owner: {
    pid: 4711,
    pidMeaning: "Alive",
    command: "node",
    since: DateTime.unsafeMake("2026-01-01T00:00:00.000Z"),
    phase: "listening",
    profile: "blue",
    configPath: "/c/blue/gateway.json",
    stateDir: "/s/blue",
    host: "127.0.0.1",
    port: 18790,
    instanceId: "i",
    supervisor: "systemd",
    supervisorReason: "SYSTEMD_EXEC_PID is this process (pid 4711)"
  },
  port: {
    host: "127.0.0.1",
    port: 18790,
    from: "owner",
    state: "gateway",
    listeners: [{ host: "127.0.0.1", pid: 4711, command: "node", isOwner: true }]
  },
  health: { healthy: true, identity: "owner", instanceId: "i", detail: "a healthy gateway" },
  warnings: ["invalid config file /c/blue/gateway.json: not JSON"]
}
const now = Date.parse("2026-01-01T00:00:12.000Z")

describe("StatusReport", () => {
  it("of a running gateway", () => {
    const flags = new Map([["profile", "blue"], ["state-dir", "/s/my gateway"]])
    assert.strictEqual(
      StatusReport.toText(example, { flags, isLeased: false }, now, plain, "linux"),
      `gateway blue: running
  held by:    pid 4711 (node)
  since:      2026-01-01T00:00:00.000Z (12s ago)
  phase:      listening
  profile:    blue
  config:     /c/blue/gateway.json
  state:      /s/blue
  supervisor: systemd (SYSTEMD_EXEC_PID is this process (pid 4711))
  port:       ws://127.0.0.1:18790, in use
  listens:    pid 4711 (node) on 127.0.0.1, the owner
  health:     a healthy gateway, the owner of the lock
  lock:       /s/blue/locks/gateway.0123abcd.lock, held (kernel lock)
  because:    the owner of the lock answers and is healthy
  to use it:  ws://127.0.0.1:18790
  to stop it: gateway stop --profile blue --state-dir '/s/my gateway'
  warning:    invalid config file /c/blue/gateway.json: not JSON`
    )
  })

  const rowsOf = (status: GatewayStatus, asked = none) =>
    Object.fromEntries(
      StatusReport.rows(status, asked, now, "linux").filter(([label]) =>
        ["lease", "token", "renewed", "fence", "to see the leader", "to stop it"].includes(label)
      )
    )
  const leading: GatewayStatus = {
    ...example,
    lease: {
      name: "reports",
      store: "postgresql://db:5432/gateway",
      state: "leader",
      fencingToken: "1099511627777",
      renewedAt: DateTime.unsafeMake("2026-01-01T00:00:11.000Z"),
      trustedUntil: DateTime.unsafeMake("2026-01-01T00:00:21.000Z")
    }
  }

  it("of a leader: its lease, token, last renewal, and when it stops", () => {
    assert.deepStrictEqual(rowsOf(leading), {
      lease: "reports at postgresql://db:5432/gateway, leads",
      token: "1099511627777",
      renewed: "2026-01-01T00:00:11.000Z (1s ago)",
      fence: "stops leading in 9s unless it renews the lease",
      "to stop it": "gateway stop"
    })
  })

  it("of a leader that should have stopped", () => {
    const lease = { name: "reports", state: "leader" as const, trustedUntil: DateTime.unsafeMake(now) }
    assert.deepInclude(rowsOf({ ...leading, lease }), {
      lease: "reports, leads",
      fence: "should have stopped leading: it is stopped, or hangs"
    })
  })

  it("of a candidate: how to see the leader", () => {
    const lease = { name: "reports", store: "etcd+http://a:2379", state: "standby" as const }
    assert.deepStrictEqual(rowsOf({ ...example, verdict: "standby", lease }), {
      lease: "reports at etcd+http://a:2379, stands by",
      "to see the leader": "gateway leader show --lease-url-file <path> --lease-name reports",
      "to stop it": "gateway stop"
    })
  })

  it("of a candidate: no flag of the lease that the command has already, or that is the default", () => {
    const lease = { name: "blue", state: "standby" as const }
    const seen = { ...example, verdict: "standby" as const, lease }
    const see = (asked: StatusReport.Asked, status: GatewayStatus = seen) => rowsOf(status, asked)["to see the leader"]
    assert.strictEqual(see({ ...none, isLeased: true }), "gateway leader show")
    const flags = new Map([["lease-url-file", "url"], ["lease-name", "it's"]])
    const named = { ...seen, lease: { ...lease, name: "it's" } }
    assert.strictEqual(
      see({ flags, isLeased: true }, named),
      `gateway leader show --lease-url-file ${process.cwd()}/url --lease-name 'it'\\''s'`
    )
    assert.strictEqual(see({ ...none, isLeased: true }, named), "gateway leader show --lease-name 'it'\\''s'")
  })

  it("of a dead owner: what starts it again, with the flags of its lease and as the wrapper that it was", () => {
    const { lease: _lease, ...left } = { ...leading, verdict: "dead" as const }
    const start = (owner: Partial<NonNullable<GatewayStatus["owner"]>>, asked = none) =>
      Object.fromEntries(
        StatusReport.rows({ ...left, owner: { ...example.owner, ...owner } }, asked, now, "linux")
      )["to start it"]
    const flags = new Map([["port", "18790"], ["profile", "blue"]])
    const leaseName = "reports"
    assert.strictEqual(start({}), "gateway run")
    assert.strictEqual(start({ mode: "run", leaseName }), "gateway run --lease-url-file <path> --lease-name reports")
    assert.strictEqual(
      start({ leaseName: "blue" }, { flags, isLeased: true }),
      "gateway run --port 18790 --profile blue"
    )
    assert.strictEqual(
      start({ mode: "exec" }, { ...none, flags }),
      "gateway exec --port 18790 --profile blue -- <command>"
    )
    assert.strictEqual(
      start({ mode: "exec", port: 0, leaseName }, { ...none, flags }),
      "gateway exec --no-port --profile blue --lease-url-file <path> --lease-name reports -- <command>"
    )
  })

  it.each(Verdict.literals)("%s is coloured where colours may be used, and the same words otherwise", (verdict) => {
    const seen = { ...example, verdict }
    const [painted, bare] = [colored, plain].map((style) => StatusReport.toText(seen, none, now, style, "linux"))
    assert.notStrictEqual(painted, bare)
    assert.strictEqual(unpainted(painted), bare)
  })

  it.prop("of whatever is drawn: a verdict, and one line for each row", [status], ([drawn]) => {
    const [first = "", ...lines] = StatusReport.toText(drawn, none, now, plain, "linux").split("\n")
    return first.startsWith("gateway ") && lines.length === StatusReport.rows(drawn, none, now, "linux").length
      && [first, ...lines].every(isLine) && lines.every((line) => /^ {2}[a-z][a-z ]*: /.test(line))
  })

  it.prop("as JSON, the same comes back", [status], ([drawn]) => {
    const decoded = Schema.decodeUnknownSync(Schema.parseJson(GatewayStatus))(StatusReport.toJson(drawn))
    return Schema.equivalence(GatewayStatus)(decoded, drawn)
  })

  it.prop("health tells why not in one line", [status], ([drawn]) => isLine(describeHealth(drawn, "linux")))
})

describe("ListReport", () => {
  it.prop("a header and one line for each, whatever is drawn", [list, fc.boolean()], ([drawn, colors]) => {
    const lines = unpainted(ListReport.toText(drawn, now, { colors }))?.split("\n") ?? []
    return lines.length === 1 + drawn.gateways.length + drawn.notCovered.length && lines.every(isLine)
  })

  it.prop("as JSON, the same comes back", [list], ([drawn]) => {
    const decoded = Schema.decodeUnknownSync(Schema.parseJson(GatewayList))(ListReport.toJson(drawn))
    return Schema.equivalence(GatewayList)(decoded, drawn)
  })
})
