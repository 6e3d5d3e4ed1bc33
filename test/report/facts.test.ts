import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, FastCheck as fc, Option, Redacted, Schema } from "effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import { facts, type Start } from "../../src/report/facts.ts"
import { toJson, toText } from "../../src/report/formats.ts"
import { defectToJson, otherToJson } from "../../src/report/otherFailures.ts"
import { ConfigFileInvalid, SettingInvalid } from "../../src/settings/GatewayConfig.ts"
import * as arbitraries from "../arbitraries.ts"

const now = Date.parse("2026-01-01T01:02:03.000Z")
const folders = {
  configPath: (profile: string) => `/home/u/.config/gateway-lock/${profile}/gateway.json`,
  stateDir: (profile: string) => `/home/u/.local/state/gateway-lock/${profile}`
}

const gatewayOf = (profile: string, port = 18789) => ({
  profile,
  configPath: folders.configPath(profile),
  stateDir: folders.stateDir(profile),
  host: "127.0.0.1",
  port
})

const lease = { ...LeaseTimes.defaults, url: Option.none(), urlFile: Option.none(), name: "default" }

const start: Start = { self: gatewayOf("default"), folders, platform: "linux", nowMillis: now }

const holderOf = ({ configPath, host, port, stateDir }: Start["self"], more: Errors.Holder = {}): Errors.Holder => ({
  pid: 123,
  pidMeaning: "Alive",
  command: "node",
  since: DateTime.unsafeMake("2026-01-01T00:00:00.000Z"),
  phase: "listening",
  configPath,
  stateDir,
  host,
  port,
  instanceId: "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10",
  supervisor: "none",
  ...more
})
const holder = holderOf(start.self)
const listening = { host: "127.0.0.1", port: 18789 }

const who = [
  "  held by: pid 123 (node)",
  "  since: 2026-01-01T00:00:00.000Z (1h 2m 3s ago)",
  "  phase: listening",
  "  config: /home/u/.config/gateway-lock/default/gateway.json",
  "  state: /home/u/.local/state/gateway-lock/default"
]
const nobody = "  held by: an unknown process"
const beside = "  to run beside it: gateway run --profile <name> --port <port>"

interface Golden {
  readonly what: string
  readonly error: Errors.GatewayLockError
  /** The lines, without the address of the page. */
  readonly lines: ReadonlyArray<string>
  /** The entries under `next` in JSON, without the address of the page. */
  readonly next: Readonly<Record<string, string>>
  readonly start?: Partial<Start>
}

const golden: ReadonlyArray<Golden> = [
  {
    what: "PortInUse by a known gateway",
    error: new Errors.PortInUse({ ...listening, holder, listener: "a healthy gateway" }),
    lines: [
      "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:18789",
      ...who,
      "  listener: a healthy gateway",
      "  to use it: ws://127.0.0.1:18789",
      "  to look at it: gateway status",
      "  to stop it: gateway stop",
      "  to run beside it: gateway run --profile <name> --port 18790"
    ],
    next: {
      use: "ws://127.0.0.1:18789",
      status: "gateway status",
      stop: "gateway stop",
      runBeside: "gateway run --profile <name> --port 18790"
    }
  },
  {
    what: "PortInUse by a known gateway under systemd",
    error: new Errors.PortInUse({
      ...listening,
      holder: { ...holder, supervisor: "systemd", unit: { name: "gateway-default.service", scope: "user" } }
    }),
    lines: [
      "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:18789",
      ...who,
      "  supervisor: systemd (gateway-default.service, a user unit)",
      "  to use it: ws://127.0.0.1:18789",
      "  to look at it: gateway status",
      "  to see its service: systemctl --user status gateway-default.service",
      "  to stop it: systemctl --user stop gateway-default.service",
      "  to run beside it: gateway run --profile <name> --port 18790"
    ],
    next: {
      use: "ws://127.0.0.1:18789",
      status: "gateway status",
      serviceStatus: "systemctl --user status gateway-default.service",
      stop: "systemctl --user stop gateway-default.service",
      runBeside: "gateway run --profile <name> --port 18790"
    }
  },
  {
    what: "PortInUse by a gateway of nobody knows which profile",
    error: new Errors.PortInUse({ ...listening, listener: "a healthy gateway" }),
    lines: [
      "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:18789",
      nobody,
      "  listener: a healthy gateway",
      "  to use it: ws://127.0.0.1:18789",
      "  to identify it: gateway list",
      "  to look at it: gateway status",
      "  to run beside it: gateway run --profile <name> --port 18790"
    ],
    next: {
      use: "ws://127.0.0.1:18789",
      list: "gateway list",
      status: "gateway status",
      runBeside: "gateway run --profile <name> --port 18790"
    }
  },
  {
    what: "PortInUse by a stranger",
    error: new Errors.PortInUse({ host: "::1", port: 65535, listener: "did not answer as HTTP (Parse Error)" }),
    lines: [
      "GatewayLockError: another gateway instance is already listening on ws://[::1]:65535",
      nobody,
      "  listener: did not answer as HTTP (Parse Error)",
      "  to identify it: gateway status --port 65535 --host ::1",
      "  to run beside it: gateway run --profile <name> --port 65534"
    ],
    next: {
      status: "gateway status --port 65535 --host ::1",
      runBeside: "gateway run --profile <name> --port 65534"
    }
  },
  {
    what: "BindFailed with EADDRNOTAVAIL",
    error: new Errors.BindFailed({
      host: "192.0.2.1",
      port: 80,
      reason: "listen EADDRNOTAVAIL",
      code: "EADDRNOTAVAIL",
      available: ["127.0.0.1", "::1", "10.0.0.5"]
    }),
    start: { self: { ...gatewayOf("default"), host: "192.0.2.1", port: 80 } },
    lines: [
      "GatewayLockError: failed to bind gateway socket on ws://192.0.2.1:80: listen EADDRNOTAVAIL",
      "  address: ws://192.0.2.1:80",
      "  addresses here: 127.0.0.1, ::1, 10.0.0.5",
      "  to use another: gateway run --port 80 --host 127.0.0.1",
      "  to check it: gateway doctor --port 80 --host 192.0.2.1"
    ],
    next: {
      runElsewhere: "gateway run --port 80 --host 127.0.0.1",
      doctor: "gateway doctor --port 80 --host 192.0.2.1"
    }
  },
  {
    what: "BindFailed with EADDRNOTAVAIL for the guard address",
    error: new Errors.BindFailed({
      host: "10.0.0.5",
      port: 80,
      reason: "listen EADDRNOTAVAIL: address not available 127.0.0.1:80",
      code: "EADDRNOTAVAIL",
      available: ["10.0.0.5"]
    }),
    start: { self: { ...gatewayOf("default"), host: "10.0.0.5", port: 80 } },
    lines: [
      "GatewayLockError: failed to bind gateway socket on ws://10.0.0.5:80: listen EADDRNOTAVAIL: address not available 127.0.0.1:80",
      "  address: ws://10.0.0.5:80",
      "  addresses here: 10.0.0.5",
      "  to fix it: sudo ip address add 127.0.0.1/8 dev lo && sudo ip link set lo up",
      "  to check it: gateway doctor --port 80 --host 10.0.0.5"
    ],
    next: {
      loopback: "sudo ip address add 127.0.0.1/8 dev lo && sudo ip link set lo up",
      doctor: "gateway doctor --port 80 --host 10.0.0.5"
    }
  },
  {
    what: "BindFailed with EACCES",
    error: new Errors.BindFailed({ host: "127.0.0.1", port: 443, reason: "listen EACCES", code: "EACCES" }),
    start: { self: { ...gatewayOf("blue"), port: 443 } },
    lines: [
      "GatewayLockError: failed to bind gateway socket on ws://127.0.0.1:443: listen EACCES",
      "  address: ws://127.0.0.1:443",
      "  to use another: gateway run --profile blue --port 8443",
      "  to allow this one: sudo sysctl net.ipv4.ip_unprivileged_port_start=443, or CAP_NET_BIND_SERVICE for its service",
      "  to check it: gateway doctor --profile blue --port 443"
    ],
    next: {
      runElsewhere: "gateway run --profile blue --port 8443",
      allow: "sudo sysctl net.ipv4.ip_unprivileged_port_start=443, or CAP_NET_BIND_SERVICE for its service",
      doctor: "gateway doctor --profile blue --port 443"
    }
  },
  {
    what: "BindFailed with another reason",
    error: new Errors.BindFailed({ host: "127.0.0.1", port: 443, reason: "no buffer space" }),
    lines: [
      "GatewayLockError: failed to bind gateway socket on ws://127.0.0.1:443: no buffer space",
      "  address: ws://127.0.0.1:443",
      "  to use another: gateway run --port <port> --host <host>",
      "  to check it: gateway doctor"
    ],
    next: { runElsewhere: "gateway run --port <port> --host <host>", doctor: "gateway doctor" }
  },
  {
    what: "BindFailed on a passed descriptor",
    error: new Errors.BindFailed({ host: "127.0.0.1", port: 443, reason: "descriptor 3 is a pipe", code: "ENOTSOCK" }),
    lines: [
      "GatewayLockError: failed to bind gateway socket on ws://127.0.0.1:443: descriptor 3 is a pipe",
      "  address: ws://127.0.0.1:443",
      "  to see the socket: systemctl list-sockets --all",
      "  to check it: gateway doctor"
    ],
    next: { socketUnit: "systemctl list-sockets --all", doctor: "gateway doctor" }
  },
  {
    what: "LockHeld after waiting, by one of no known place",
    error: new Errors.LockHeld({
      path: "/s/locks/gateway.lock",
      timeout: Duration.millis(5000),
      holder: { pid: 9, pidMeaning: "Alive", phase: "starting" }
    }),
    lines: [
      "GatewayLockError: gateway already running (pid 9); lock timeout after 5000ms",
      "  held by: pid 9",
      "  phase: starting",
      "  lock: /s/locks/gateway.lock",
      "  to look at it: gateway status",
      "  to stop it: kill 9",
      beside
    ],
    next: {
      status: "gateway status",
      stop: "kill 9",
      runBeside: "gateway run --profile <name> --port <port>"
    }
  },
  {
    what: "LockHeld by an owner that serves elsewhere, in another container",
    error: new Errors.LockHeld({
      path: "/l",
      timeout: Duration.millis(0),
      holder: { pid: 1, pidMeaning: "OtherPidNamespace", supervisor: "external" },
      serving: { host: "::1", port: 4000 }
    }),
    lines: [
      "GatewayLockError: gateway already running (pid 1) on ws://[::1]:4000",
      "  held by: pid 1 in another PID namespace",
      "  supervisor: external",
      "  lock: /l",
      "  to use it: ws://[::1]:4000",
      "  to look at it: gateway status",
      beside
    ],
    next: {
      use: "ws://[::1]:4000",
      status: "gateway status",
      runBeside: "gateway run --profile <name> --port <port>"
    }
  },
  {
    what: "LockHeld by nobody known",
    error: new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1) }),
    lines: [
      "GatewayLockError: gateway already running; lock timeout after 1ms",
      nobody,
      "  lock: /l",
      "  to look at it: gateway status",
      beside
    ],
    next: { status: "gateway status", runBeside: "gateway run --profile <name> --port <port>" }
  },
  {
    what: "LockUnavailable",
    error: new Errors.LockUnavailable({ path: "/l", reason: "EROFS: read-only file system" }),
    lines: [
      "GatewayLockError: failed to acquire gateway lock at /l: EROFS: read-only file system",
      "  lock: /l",
      "  to check it: gateway doctor",
      "  to use another folder: gateway run --state-dir <path>"
    ],
    next: { doctor: "gateway doctor", runElsewhere: "gateway run --state-dir <path>" }
  },
  {
    what: "LockUnavailable, of which the record can be read",
    error: new Errors.LockUnavailable({ path: "/l", reason: "EACCES: permission denied", holder }),
    lines: [
      "GatewayLockError: failed to acquire gateway lock at /l: EACCES: permission denied",
      ...who,
      "  lock: /l",
      "  to look at it: gateway status",
      "  to check it: gateway doctor",
      "  to stop it: gateway stop",
      "  to use another folder: gateway run --state-dir <path>"
    ],
    next: {
      status: "gateway status",
      doctor: "gateway doctor",
      stop: "gateway stop",
      runElsewhere: "gateway run --state-dir <path>"
    }
  },
  {
    what: "LockLost to nobody",
    error: new Errors.LockLost({ path: "/l", reason: "the file was removed" }),
    lines: [
      "GatewayLockError: lost gateway lock at /l: the file was removed",
      "  lock: /l",
      "  to prevent this: keep cleaners and rm out of the state directory",
      "  to look at it: gateway status",
      "  to start again: gateway run"
    ],
    next: { status: "gateway status", run: "gateway run" }
  },
  {
    what: "LockLost to another",
    error: new Errors.LockLost({ path: "/l", reason: "the file was replaced", holder }),
    lines: [
      "GatewayLockError: lost gateway lock at /l: the file was replaced",
      ...who,
      "  lock: /l",
      "  to prevent this: keep cleaners and rm out of the state directory",
      "  to look at it: gateway status",
      "  to stop it: gateway stop",
      "  to start again: gateway run"
    ],
    next: { status: "gateway status", stop: "gateway stop", run: "gateway run" }
  },
  {
    what: "LeadershipLost",
    error: new Errors.LeadershipLost({ lease: "reports", reason: "it was not renewed within 10s", fencingToken: 7n }),
    lines: [
      "GatewayLockError: lost leadership of reports: it was not renewed within 10s",
      "  lease: reports",
      "  to look at it: gateway status",
      "  to start again: gateway run"
    ],
    next: { status: "gateway status", run: "gateway run" }
  },
  {
    what: "LeadershipLost, of a start that the flags alone make leased",
    error: new Errors.LeadershipLost({ lease: "reports", reason: "it was handed over", fencingToken: 7n }),
    start: { self: { ...start.self, lease: { ...lease, urlFile: Option.some("/my url"), name: "reports" } } },
    lines: [
      "GatewayLockError: lost leadership of reports: it was handed over",
      "  lease: reports",
      "  to look at it: gateway status",
      "  to start again: gateway run --lease-url-file '/my url' --lease-name reports"
    ],
    next: { status: "gateway status", run: "gateway run --lease-url-file '/my url' --lease-name reports" }
  },
  {
    what: "LockUnavailable, of an exec with a lease",
    error: new Errors.LockUnavailable({ path: "/l", reason: "EROFS: read-only file system" }),
    start: {
      self: { ...start.self, lease: { ...lease, urlFile: Option.some("/u") } },
      exec: { hasPort: false }
    },
    lines: [
      "GatewayLockError: failed to acquire gateway lock at /l: EROFS: read-only file system",
      "  lock: /l",
      "  to check it: gateway doctor --lease-url-file /u",
      "  to use another folder: gateway exec --no-port --state-dir <path> --lease-url-file /u -- <command>"
    ],
    next: {
      doctor: "gateway doctor --lease-url-file /u",
      runElsewhere: "gateway exec --no-port --state-dir <path> --lease-url-file /u -- <command>"
    }
  },
  {
    what: "LeadershipLost, of a start whose URL is in the environment",
    error: new Errors.LeadershipLost({ lease: "default", reason: "it was handed over", fencingToken: 7n }),
    start: {
      self: { ...start.self, lease: { ...lease, url: Option.some(Redacted.make("postgresql://u:secret@db/a")) } }
    },
    lines: [
      "GatewayLockError: lost leadership of default: it was handed over",
      "  lease: default",
      "  to look at it: gateway status",
      "  to start again: gateway run"
    ],
    next: { status: "gateway status", run: "gateway run" }
  },
  {
    what: "LeaseUnavailable",
    error: new Errors.LeaseUnavailable({ lease: "reports", store: "postgresql://db/app", reason: "permission denied" }),
    lines: [
      "GatewayLockError: failed to use lease reports at postgresql://db/app: permission denied",
      "  lease: reports",
      "  store: postgresql://db/app",
      "  to check it: gateway doctor"
    ],
    next: { doctor: "gateway doctor" }
  },
  {
    what: "OwnerHealthy under launchd",
    error: new Errors.OwnerHealthy({
      supervisor: "launchd",
      ...listening,
      holder: holderOf(gatewayOf("night"), { supervisor: "launchd" })
    }),
    lines: [
      "GatewayLockError: gateway already running under launchd; existing gateway is healthy, leaving it in control",
      ...who.map((line) => line.replace("/default", "/night")),
      "  supervisor: launchd",
      "  to use it: ws://127.0.0.1:18789",
      "  to look at it: gateway status --profile night",
      "  to see its service: launchctl print gui/$(id -u)/dev.gateway-lock.night || launchctl print system/dev.gateway-lock.night",
      "  to stop it: launchctl bootout gui/$(id -u)/dev.gateway-lock.night || sudo launchctl bootout system/dev.gateway-lock.night"
    ],
    next: {
      use: "ws://127.0.0.1:18789",
      status: "gateway status --profile night",
      serviceStatus:
        "launchctl print gui/$(id -u)/dev.gateway-lock.night || launchctl print system/dev.gateway-lock.night",
      stop:
        "launchctl bootout gui/$(id -u)/dev.gateway-lock.night || sudo launchctl bootout system/dev.gateway-lock.night"
    }
  },
  {
    what: "OwnerHealthy of nobody known",
    error: new Errors.OwnerHealthy({ supervisor: "systemd", ...listening }),
    lines: [
      "GatewayLockError: gateway already running under systemd; existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop",
      nobody,
      "  to use it: ws://127.0.0.1:18789",
      "  to look at it: gateway status"
    ],
    next: { use: "ws://127.0.0.1:18789", status: "gateway status" }
  },
  {
    what: "OwnerUnhealthy under systemd",
    error: new Errors.OwnerUnhealthy({
      supervisor: "systemd",
      ...listening,
      timeout: Duration.millis(300_000),
      holder: { ...holder, supervisor: "systemd", unit: { name: "gateway\\x2ddefault.service", scope: "system" } }
    }),
    lines: [
      "GatewayLockError: gateway already running under systemd; existing gateway did not become healthy after 300000ms",
      ...who,
      "  supervisor: systemd (gateway\\x2ddefault.service)",
      "  to look at it: gateway status",
      "  to probe it: curl http://127.0.0.1:18789/healthz",
      "  to see its service: systemctl status 'gateway\\x2ddefault.service'",
      "  to stop it: systemctl stop 'gateway\\x2ddefault.service'",
      "  to check it: gateway doctor"
    ],
    next: {
      status: "gateway status",
      ask: "curl http://127.0.0.1:18789/healthz",
      serviceStatus: "systemctl status 'gateway\\x2ddefault.service'",
      stop: "systemctl stop 'gateway\\x2ddefault.service'",
      doctor: "gateway doctor"
    }
  },
  {
    what: "OwnerUnhealthy of nobody known",
    error: new Errors.OwnerUnhealthy({
      supervisor: "systemd",
      host: "::1",
      port: 1,
      timeout: Duration.millis(300_000)
    }),
    lines: [
      "GatewayLockError: gateway already running under systemd; existing gateway did not become healthy after 300000ms",
      nobody,
      "  to look at it: gateway status --port 1 --host ::1",
      "  to probe it: curl http://[::1]:1/healthz",
      "  to check it: gateway doctor"
    ],
    next: {
      status: "gateway status --port 1 --host ::1",
      ask: "curl http://[::1]:1/healthz",
      doctor: "gateway doctor"
    }
  }
]

const table = golden.map((row) => [row.what, row] as const)

/** Removes the spaces that align the values behind the labels, because the table above has none. */
const squeezed = (line: string) => line.replace(/:\s+/g, ": ")

/** Splits a line into words as a shell does. It knows single quotes, and `\'` between two quoted parts. */
const unquote = (line: string): ReadonlyArray<string> =>
  [...line.matchAll(/(?:'[^']*'|\\'|[^\s'\\])+/g)].map(([word]) =>
    word.replace(/'([^']*)'|\\(')/g, (_, quoted?: string, escaped?: string) => quoted ?? escaped ?? "")
  )

/** The address with which every report ends. GitHub writes the anchor of a heading in lower case. */
const pageOf = ({ error }: Golden): string =>
  `https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#${error._tag.toLowerCase()}`

const startOf = (row: Golden): Start => ({ ...start, ...row.start })
const rowsOf = (error: Errors.GatewayLockError, at = start) =>
  facts(error, at).map(({ label, value }) => [label, value])

describe("toText", () => {
  it.each(table)("%s", (_, row) => {
    const text = toText(row.error, startOf(row))
    assert.deepStrictEqual(text.split("\n").map(squeezed), [...row.lines, `  more: ${pageOf(row)}`])
  })

  it.each(table)("%s: the values stand in one column", (_, { error }) => {
    const starts = toText(error, start).split("\n").slice(1).map((line) => /^ {2}[a-z ]+:\s+/.exec(line)?.[0].length)
    assert.strictEqual(new Set(starts).size, 1)
    assert.isNumber(starts[0])
  })

  it.each(table)("%s: to use it comes before to stop it", (_, { error }) => {
    const keys = facts(error, start).map(({ key }) => key)
    if (keys.includes("use") && keys.includes("stop")) assert.isBelow(keys.indexOf("use"), keys.indexOf("stop"))
  })

  it("covers every error of the family, those with a holder with one and without", () => {
    const kinds = golden.map(({ error }) => `${error._tag} ${"holder" in error && error.holder !== undefined}`)
    const withHolder = Errors.GatewayLockError.members.filter(({ fields }) => "holder" in fields)
    assert.includeMembers(kinds, [
      ...Errors.GatewayLockError.members.map(({ _tag }) => `${_tag} false`),
      ...withHolder.map(({ _tag }) => `${_tag} true`)
    ])
  })

  it.each([
    ["2026-01-01T01:02:03.000Z", "2026-01-01T01:02:03.000Z (just now)"],
    ["2026-01-01T01:02:02.500Z", "2026-01-01T01:02:02.500Z (just now)"],
    ["2026-01-01T01:02:01.000Z", "2026-01-01T01:02:01.000Z (2s ago)"],
    ["2025-12-31T01:02:03.000Z", "2025-12-31T01:02:03.000Z (1d ago)"],
    // If a clock was set back, this time is in the future. Then no age is shown, because it would be negative.
    ["2026-01-01T01:02:04.000Z", "2026-01-01T01:02:04.000Z"]
  ])("since %s reads: %s", (since, expected) => {
    const error = new Errors.LockHeld({
      path: "/l",
      timeout: Duration.millis(1),
      holder: { since: DateTime.unsafeMake(since) }
    })
    assert.deepInclude(rowsOf(error), ["since", expected])
  })

  it("advises the next port, and below the last one", () => {
    const advice = (port: number) => toText(new Errors.PortInUse({ host: "127.0.0.1", port }), start)
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
    const unit = { supervisor: "systemd", unit: { name: "a.service", scope: "system" } } as const
    const error = new Errors.LockHeld({
      path: "/l",
      timeout: Duration.millis(1),
      holder: { pid: 1, command: "node", ...unit, ...meaning }
    })
    assert.deepInclude(rowsOf(error), ["held by", heldBy])
    // If the process is not known to live here, it may belong to the systemd of another machine or container. Then `systemctl`
    // on this machine cannot stop it.
    assert.strictEqual(toText(error, start).includes("systemctl"), pidMeaning === "Alive")
    // In every case the pid is at the same place in the message, because other programs parse the message.
    assert.strictEqual(error.message, "gateway already running (pid 1); lock timeout after 1ms")
  })

  it.prop(
    "advises to stop a process if and only if it was seen to be alive",
    [arbitraries.gatewayLockError],
    ([error]) => {
      const { pid, pidMeaning } = "holder" in error && error.holder !== undefined ? error.holder : {}
      const stops = facts(error, start).filter(({ key }) => key === "stop")
      assert.strictEqual(stops.length, pid !== undefined && pidMeaning === "Alive" ? 1 : 0)
    }
  )

  it.prop(
    "every fact has a label and a key of its own, and something comes next",
    [arbitraries.gatewayLockError],
    ([error]) => {
      const rows = facts(error, start)
      assert.isTrue(rows.every(({ label }) => /^[a-z ]+$/.test(label)))
      assert.isTrue(rows.some(({ isNext }) => isNext))
      assert.strictEqual(new Set(rows.map(({ key }) => key)).size, rows.length)
      assert.strictEqual(new Set(rows.map(({ label }) => label)).size, rows.length)
    }
  )
})

describe("a command of the report", () => {
  const status = (target: Start["self"], self: Start["self"]) => {
    const error = new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1), holder: holderOf(target) })
    return facts(error, { ...start, self }).find(({ key }) => key === "status")?.value
  }
  const own = { ...gatewayOf("default"), configPath: "/a b/c.json", stateDir: "/it's" }

  it.each<readonly [what: string, target: Start["self"], self: Start["self"], flags: string]>([
    ["of the default gateway has no flags", gatewayOf("default"), gatewayOf("default"), ""],
    ["names a profile", gatewayOf("blue"), gatewayOf("blue"), " --profile blue"],
    ["names the profile of another's folders", gatewayOf("night"), gatewayOf("blue"), " --profile night"],
    ["overrules a profile of the environment", gatewayOf("default"), gatewayOf("blue"), " --profile default"],
    ["names a port", gatewayOf("blue", 4000), gatewayOf("default"), " --profile blue --port 4000"],
    ["overrules a port of the environment", gatewayOf("default"), gatewayOf("default", 4000), " --port 18789"],
    ["names and quotes paths", own, own, " --config '/a b/c.json' --state-dir 'it'\\''s'".replace("'it", "'/it")],
    [
      "overrules paths of the environment",
      gatewayOf("blue"),
      own,
      " --profile blue --config /home/u/.config/gateway-lock/blue/gateway.json --state-dir /home/u/.local/state/gateway-lock/blue"
    ]
  ])("%s", (_, target, self, flags) => {
    assert.strictEqual(status(target, self), `gateway status${flags}`)
  })

  it("does not name a default config file that is absent, since a file that is named must exist", () => {
    const blue = { ...gatewayOf("blue"), configName: folders.configPath("blue") }
    const absent = new Set([folders.configPath("blue")])
    const holder = holderOf({ ...blue, configPath: "/real/blue/gateway.json" }, { configName: blue.configName })
    const error = new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1), holder })
    const status = (configSource: string, isAbsent: boolean) =>
      facts(error, { ...start, self: { ...own, configSource }, ...(isAbsent ? { absent } : {}) })
        .find(({ key }) => key === "status")?.value
    const named = ` --config ${blue.configName}`
    const stateDir = ` --state-dir ${blue.stateDir}`
    assert.strictEqual(status("--config", false), `gateway status --profile blue${named}${stateDir}`)
    assert.strictEqual(status("--config", true), `gateway status --profile blue${stateDir}`)
    assert.strictEqual(status("GATEWAY_CONFIG", true), `GATEWAY_CONFIG= gateway status --profile blue${stateDir}`)
  })

  it("names a config as it was named, and not what its links led to", () => {
    const swapped = { ...own, configPath: "/volume/..2025/gateway.json" }
    const holder = holderOf(swapped, { configName: "/volume/gateway.json" })
    const error = new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1), holder })
    const self = { ...own, configPath: "/volume/..2026/gateway.json", configName: "/volume/gateway.json" }
    const command = facts(error, { ...start, self }).find(({ key }) => key === "stop")?.value
    assert.strictEqual(command, `gateway stop --config /volume/gateway.json --state-dir '/it'\\''s'`)
  })

  const path = arbitraries.text.map((text) => `/${text}`)
  it.effect.prop(
    "means the gateway that it was made for, whatever that is and wherever it is typed",
    [
      fc.record({ configPath: path, stateDir: path, host: arbitraries.loopback, port: arbitraries.port }),
      fc.constantFrom("default", "blue"),
      fc.boolean()
    ],
    ([odd, profile, isOdd]) =>
      Effect.gen(function*() {
        const target = isOdd ? { profile, ...odd } : gatewayOf(profile, odd.port)
        const typed = (status(target, gatewayOf("default")) ?? "").replace(/^gateway /, "")
        const words = unquote(typed)
        const command = yield* CommandLine.parse(words)
        const flags = "flags" in command ? command.flags : new Map<string, string>()
        const at = flags.get("profile") ?? "default"
        assert.deepStrictEqual({
          configPath: flags.get("config") ?? folders.configPath(at),
          stateDir: flags.get("state-dir") ?? folders.stateDir(at),
          host: flags.get("host") ?? "127.0.0.1",
          port: flags.get("port") ?? "18789"
        }, {
          configPath: target.configPath,
          stateDir: target.stateDir,
          host: target.host,
          port: String(target.port)
        })
      })
  )
})

describe("toJson", () => {
  const Report = Schema.Struct({
    level: Schema.Literal("ERROR"),
    timestamp: Schema.String,
    name: Schema.Literal("GatewayLockError"),
    message: Schema.String,
    annotations: Schema.Struct({}),
    spans: Schema.Struct({}),
    error: Errors.GatewayLockError,
    heldForMs: Schema.optional(Schema.Number),
    facts: Schema.Record({ key: Schema.String, value: Schema.String }),
    next: Schema.Record({ key: Schema.String, value: Schema.String })
  })
  const decode = Schema.decodeUnknownSync(Schema.parseJson(Report), { onExcessProperty: "error" })

  it.each(table)("%s", (_, row) => {
    const report = decode(toJson(row.error, startOf(row)))
    assert.strictEqual(`GatewayLockError: ${report.message}`, row.lines[0])
    assert.deepStrictEqual(report.next, { ...row.next, page: pageOf(row) })
    assert.strictEqual(
      report.heldForMs,
      "holder" in row.error && row.error.holder?.since !== undefined ? 3_723_000 : undefined
    )
  })

  it.prop("is one line with the error itself and every fact as fields", [
    arbitraries.gatewayLockError,
    fc.nat({ max: 10 ** 13 })
  ], ([error, nowMillis]) => {
    const line = toJson(error, { ...start, nowMillis })
    assert.notInclude(line, "\n")
    const report = decode(line)
    assert.strictEqual(Date.parse(report.timestamp), nowMillis)
    assert.strictEqual(report.message, error.message)
    assert.strictEqual(report.error.constructor, error.constructor)
    assert.deepStrictEqual(
      Object.entries({ ...report.facts, ...report.next }).toSorted(),
      facts(error, { ...start, nowMillis }).map(({ key, value }) => [key, value]).toSorted()
    )
  })

  it("reads so", () => {
    const error = new Errors.LockHeld({
      path: "/l",
      timeout: Duration.millis(0),
      holder: { pid: 9, pidMeaning: "Alive" }
    })
    assert.deepStrictEqual(JSON.parse(toJson(error, start)), {
      level: "ERROR",
      timestamp: "2026-01-01T01:02:03.000Z",
      name: "GatewayLockError",
      message: "gateway already running (pid 9); lock timeout after 0ms",
      annotations: {},
      spans: {},
      error: { _tag: "LockHeld", path: "/l", timeoutMs: 0, holder: { pid: 9, pidMeaning: "Alive" } },
      facts: { heldBy: "pid 9", lock: "/l" },
      next: {
        status: "gateway status",
        stop: "kill 9",
        runBeside: "gateway run --profile <name> --port <port>",
        page: "https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#lockheld"
      }
    })
  })

  it.each<readonly [what: string, error: { readonly message: string }, fields: unknown]>([
    [
      "bad usage",
      new CommandLine.UsageError({ reason: "unknown flag \"--prot\"", command: "status" }),
      {
        name: "UsageError",
        message: "unknown flag \"--prot\"; see \"gateway status --help\"",
        error: { _tag: "UsageError", reason: "unknown flag \"--prot\"", command: "status" },
        next: { help: "gateway status --help" }
      }
    ],
    [
      "a bad setting",
      new SettingInvalid({ setting: "port", source: "--port", value: "\"0\"", allowed: "more" }),
      {
        name: "SettingInvalid",
        message: "invalid port \"0\" from --port: expected more",
        error: { _tag: "SettingInvalid", setting: "port", source: "--port", value: "\"0\"", allowed: "more" }
      }
    ],
    [
      "a bad config file",
      new ConfigFileInvalid({ path: "/c", reason: "not JSON" }),
      {
        name: "ConfigFileInvalid",
        message: "invalid config file /c: not JSON",
        error: { _tag: "ConfigFileInvalid", path: "/c", reason: "not JSON" }
      }
    ]
  ])("tells of %s as well", (_, error, fields) => {
    const { annotations, level, spans, timestamp, ...rest } = JSON.parse(otherToJson(error, now))
    assert.deepStrictEqual({ annotations, level, spans, timestamp }, {
      annotations: {},
      level: "ERROR",
      spans: {},
      timestamp: "2026-01-01T01:02:03.000Z"
    })
    assert.deepStrictEqual(rest, fields)
  })

  it("tells a bug with its whole cause", () => {
    assert.deepStrictEqual(JSON.parse(defectToJson("Error: x\n  at y", now)), {
      level: "FATAL",
      timestamp: "2026-01-01T01:02:03.000Z",
      name: "Defect",
      message: "Error: x",
      annotations: {},
      spans: {},
      cause: "Error: x\n  at y"
    })
  })
})

describe("advice about gateway exec", () => {
  const held = (error: Partial<Errors.Holder>) =>
    new Errors.LockHeld({ path: "/l", timeout: Duration.seconds(1), holder: { ...holder, ...error } })
  const of = (error: Errors.GatewayLockError, more: Partial<Start> = {}) =>
    facts(error, { ...start, ...more }).map(({ value }) => value)

  it("starts exec, not run, if exec was refused", () => {
    const values = of(held({}), { exec: { hasPort: true } })
    assert.include(values, "gateway exec --profile <name> --port <port> -- <command>")
    assert.isFalse(values.some((value) => value.includes("gateway run")), values.join("\n"))
  })

  it.each([[true, "gateway exec -- <command>"], [false, "gateway exec --no-port -- <command>"]])(
    "starts exec again after it has lost its lock; it has a port: %s",
    (hasPort, command) => {
      const lost = new Errors.LockLost({ path: "/l", reason: "the file was removed" })
      const again = facts(lost, { ...start, exec: { hasPort } }).find(({ key }) => key === "run")
      assert.strictEqual(again?.value, command)
      const values = of(held({}), { exec: { hasPort } })
      assert.include(
        values,
        hasPort
          ? "gateway exec --profile <name> --port <port> -- <command>"
          : "gateway exec --no-port --profile <name> -- <command>"
      )
    }
  )

  it("names no port 0, which a holder without a port has in its record", () => {
    const values = of(held({ host: "", port: 0 }))
    assert.isFalse(values.some((value) => value.includes("--port 0")), values.join("\n"))
  })
})
