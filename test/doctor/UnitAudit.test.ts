import { assert, describe, it } from "@effect/vitest"
import { Duration, FastCheck as fc, Option } from "effect"
import { isProblem } from "../../src/doctor/DoctorReport.ts"
import * as UnitAudit from "../../src/doctor/UnitAudit.ts"
import type { ServiceScope } from "../../src/supervisor/ServiceOptions.ts"
import { systemdTiming } from "../../src/supervisor/SystemdUnit.ts"

/** The properties of a unit that `gateway service install` wrote with default settings, as `systemctl show` of systemd 252 prints them. */
const shown: Readonly<Record<string, string>> = {
  LoadState: "loaded",
  ActiveState: "active",
  Result: "success",
  ExecMainStatus: "0",
  Type: "notify",
  NotifyAccess: "all",
  Restart: "always",
  RestartUSec: "2s",
  NRestarts: "0",
  TimeoutStartUSec: "1min 30s",
  TimeoutStopUSec: "20s",
  WatchdogUSec: "30s",
  StartLimitIntervalUSec: "5min 39s",
  StartLimitBurst: "20",
  RestartPreventExitStatus: "64 78",
  NeedDaemonReload: "no",
  User: "",
  DynamicUser: "no",
  ExecStart:
    "{ path=/usr/bin/node ; argv[]=/usr/bin/node /opt/my gateway/main.js run --profile default --port 1 --supervisor systemd ; ignore_errors=no ; start_time=[n/a] ; pid=0 }"
}

const needs: UnitAudit.Needs = {
  drainTimeout: Duration.seconds(10),
  releaseTimeout: Duration.zero,
  health: { timeout: Duration.minutes(5) },
  install: "gateway service install",
  canNotify: true,
  unstable: []
}

const unit = (
  change: Readonly<Record<string, string>> = {},
  scope: ServiceScope = "user"
): UnitAudit.Unit =>
  Option.getOrThrow(UnitAudit.parseShow(
    Object.entries({ ...shown, ...change }).map(([property, value]) => `${property}=${value}\n`).join(""),
    "gateway-default.service",
    scope
  ))

const problems = (change: Readonly<Record<string, string>>, with_: Partial<UnitAudit.Needs> = {}) =>
  UnitAudit.audit(unit(change), { ...needs, ...with_ }).filter(isProblem)

describe("UnitAudit.parseSpan", () => {
  it.each([
    ["100ms", 100],
    ["1min 30s", 90_000],
    ["5min 39s", 339_000],
    ["1h 500us", 3_600_000.5],
    ["1month 2w", 2_629_800_000 + 2 * 604_800_000],
    ["0", 0]
  ])("%s", (text, millis) => {
    assert.deepStrictEqual(Option.map(UnitAudit.parseSpan(text), Duration.toMillis), Option.some(millis))
  })

  it("infinity", () => {
    assert.isFalse(Option.exists(UnitAudit.parseSpan("infinity"), Duration.isFinite))
  })

  it.prop(
    "never fails, and nothing else is a time",
    [fc.string()],
    ([text]) =>
      Option.match(UnitAudit.parseSpan(text), {
        onNone: () => true,
        onSome: () => /^\s*(infinity|[\d.\sa-z]+)\s*$/.test(text)
      })
  )
})

describe("UnitAudit.parseShow", () => {
  it("a unit that systemd does not know is none", () => {
    assert.isTrue(Option.isNone(UnitAudit.parseShow("LoadState=not-found\nRestart=no\n", "a.service", "system")))
    assert.isTrue(Option.isNone(UnitAudit.parseShow("", "a.service", "system")))
  })
})

describe("UnitAudit.audit", () => {
  it("finds nothing wrong with the generated unit", () => {
    assert.deepStrictEqual(UnitAudit.audit(unit(), needs).map(({ severity }) => severity), ["ok"])
  })

  const seconds = (min: number, max: number) => fc.integer({ min, max }).map(Duration.seconds)

  it.prop(
    "finds nothing wrong with the generated unit, whatever it was generated for",
    [seconds(0, 86_400), seconds(0, 86_400), seconds(1, 600)],
    ([drainTimeout, timeout, retryInterval]) => {
      const health = { timeout, retryInterval }
      const timing = systemdTiming({ drainTimeout, health })
      const found = problems({
        RestartUSec: `${timing.restart}s`,
        TimeoutStartUSec: `${timing.startTimeout}s`,
        TimeoutStopUSec: `${timing.stopTimeout}s`,
        WatchdogUSec: `${timing.watchdog}s`,
        StartLimitIntervalUSec: `${timing.startLimitInterval}s`,
        StartLimitBurst: String(timing.startLimitBurst)
      }, { drainTimeout, health })
      assert.deepStrictEqual(found, [])
    }
  )

  it.prop(
    "warns of a start limit that waits exhaust, and of no other",
    [fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 100_000 })],
    ([burst, restart, interval]) => {
      const found = problems({
        StartLimitBurst: String(burst),
        RestartUSec: `${restart}s`,
        StartLimitIntervalUSec: `${interval}s`
      })
      // A start that waits for an unhealthy owner can fail after 30 s, the watchdog interval of this unit. systemd then starts the
      // unit again after `restart` seconds. The start limit is hit if `burst` such rounds fit into the interval of the limit.
      const latches = interval >= burst * (restart + 30)
      assert.strictEqual(
        found.some(({ message }) => message.includes("one unhealthy owner exhausts the start limit")),
        latches
      )
    }
  )

  it.each<[string, Record<string, string>, RegExp, RegExp]>([
    [
      "a start limit that was hit",
      { ActiveState: "failed", Result: "start-limit-hit" },
      /has reached its start limit/,
      /^systemctl --user reset-failed gateway-default\.service && systemctl --user start gateway-default\.service$/
    ],
    [
      "one that was hit by a service that had failed before, of which systemd says no more than that",
      { ActiveState: "failed", Result: "exit-code", ExecMainStatus: "1", NRestarts: "20" },
      /has reached its start limit/,
      /reset-failed/
    ],
    [
      "a failure",
      { ActiveState: "failed", Result: "exit-code", ExecMainStatus: "1" },
      /has failed \(exit-code/,
      /^journalctl --user-unit/
    ],
    ["a changed file", { NeedDaemonReload: "yes" }, /has changed on disk/, /^systemctl --user daemon-reload$/],
    [
      "no 78",
      { RestartPreventExitStatus: "64" },
      /a duplicate is restarted in an endless loop/,
      /^gateway service install && /
    ],
    ["no 64", { RestartPreventExitStatus: "78 TERM" }, /a start with invalid settings/, /^gateway service install && /],
    [
      "instant restarts",
      { RestartUSec: "100ms", StartLimitBurst: "5", StartLimitIntervalUSec: "10s" },
      /a failure that lasts \S+ exhausts the start limit/,
      /install/
    ],
    ["no restarts", { Restart: "no" }, /a crash is not restarted/, /install/],
    ["a short stop", { TimeoutStopUSec: "10s" }, /systemd kills the gateway during the drain/, /install/],
    ["messages of the main process alone", { NotifyAccess: "main" }, /systemd ignores READY=1/, /install/],
    ["Type=simple", { Type: "simple" }, /systemd counts it as active before it listens/, /install/]
  ])("%s", (_, change, message, remedy) => {
    const found = problems(change)
    assert.strictEqual(found.length, 1, JSON.stringify(found))
    assert.match(found[0]?.message ?? "", message)
    assert.match(found[0]?.remedy ?? "", remedy)
  })

  it("a duplicate that left the other in control has not failed", () => {
    assert.deepStrictEqual(
      problems({ ActiveState: "failed", Result: "exit-code", ExecMainStatus: "78", NRestarts: "30" }),
      []
    )
  })

  it("a system unit that runs as root, unless it was told to (N40)", () => {
    const found = (change: Readonly<Record<string, string>>) => UnitAudit.audit(unit(change, "system"), needs)
    assert.deepStrictEqual(found({}), [{
      check: "unit",
      severity: "warning",
      message:
        "gateway-default.service runs as root: an attacker who breaks into the gateway controls the whole machine",
      remedy: "gateway service install && systemctl restart gateway-default.service"
    }])
    assert.isFalse(found({ DynamicUser: "yes", User: "gateway-default" }).some(isProblem))
    assert.isFalse(found({ User: "bob" }).some(isProblem))
    const asTold = found({ User: "root" })
    assert.isFalse(asTold.some(isProblem))
    assert.isTrue(asTold.some(({ message }) => message.includes("runs as root, as set by its User=")))
    // This is a user unit (`systemctl --user`). It always runs as the user whose service manager starts it, so it needs no `User=`.
    assert.isFalse(UnitAudit.audit(unit(), needs).some(isProblem))
  })

  it("reads which Node and which program the unit runs, and nothing else of its command line", () => {
    const { execPath, scriptPath } = unit()
    assert.deepStrictEqual({ execPath, scriptPath }, {
      execPath: "/usr/bin/node",
      scriptPath: "/opt/my gateway/main.js"
    })
    for (const ExecStart of ["", "{ path=/bin/x ; argv[]=/bin/y z ; ignore_errors=no }", "{ path=/bin/x ;"]) {
      assert.strictEqual(unit({ ExecStart }).scriptPath, "")
    }
  })

  describe("of a unit that runs a command", () => {
    const exec = (flags: string, command = "/usr/bin/server --stop-timeout 1h -- run --profile x") => ({
      ExecStart:
        `{ path=/usr/bin/node ; argv[]=/usr/bin/node /opt/my gateway/main.js exec --profile default --supervisor systemd${flags} -- ${command} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }`,
      WatchdogUSec: "0"
    })

    it("finds nothing wrong with the generated unit, which has no watchdog", () => {
      assert.deepStrictEqual(UnitAudit.audit(unit(exec("")), needs).map(({ severity }) => severity), ["ok"])
      assert.strictEqual(unit(exec("")).scriptPath, "/opt/my gateway/main.js")
    })

    const seconds = (min: number, max: number) => fc.integer({ min, max }).map(Duration.seconds)

    it.prop(
      "finds nothing wrong with the generated unit, whatever it was generated for",
      [
        seconds(0, 86_400),
        seconds(0, 60),
        seconds(0, 86_400),
        seconds(1, 600),
        seconds(0, 86_400),
        seconds(0, 86_400),
        fc.boolean()
      ],
      ([drainTimeout, releaseTimeout, timeout, retryInterval, startTimeout, stopTimeout, mustBeReady]) => {
        const health = { timeout, retryInterval }
        const command = {
          flags: [],
          program: "/x",
          args: [],
          workingDirectory: "/",
          searchPath: "/bin",
          hasPort: true,
          startTimeout,
          mustBeReady,
          stopTimeout
        }
        const timing = systemdTiming({ drainTimeout, releaseTimeout, health, exec: command })
        const flag = ` --stop-timeout=${Duration.toSeconds(stopTimeout)} seconds`
        assert.deepStrictEqual(
          problems({
            ...exec(flag),
            RestartUSec: `${timing.restart}s`,
            TimeoutStartUSec: `${timing.startTimeout}s`,
            TimeoutStopUSec: `${timing.stopTimeout}s`,
            StartLimitIntervalUSec: `${timing.startLimitInterval}s`,
            StartLimitBurst: String(timing.startLimitBurst)
          }, { drainTimeout, releaseTimeout, health }),
          []
        )
      }
    )

    it("reads a unit that names the program and not Node", () => {
      const { ExecStart } = exec("")
      const seen = unit({ ExecStart: ExecStart.replaceAll("/usr/bin/node /opt/my gateway/main.js", "/usr/bin/node") })
      assert.strictEqual(seen.scriptPath, "")
      assert.isDefined(seen.exec)
    })

    it("compares the stop with --stop-timeout instead of the drain timeout, and names a command to type", () => {
      assert.deepStrictEqual(problems(exec(" --stop-timeout=5s"), { drainTimeout: Duration.hours(1) }), [])
      for (const flag of [" --stop-timeout=20 seconds --group", " --stop-timeout 20s"]) {
        const [found, ...others] = problems(exec(flag))
        assert.deepStrictEqual(others, [])
        assert.strictEqual(
          found?.message,
          "gateway-default.service: TimeoutStopSec=20s is not longer than the stop timeout of 20s: systemd kills the command"
        )
        assert.strictEqual(
          found?.remedy,
          "gateway service install --exec -- <command> && systemctl --user restart gateway-default.service"
        )
      }
    })

    it("with a lease, compares the stop with the time to release it too", () => {
      const needs = { releaseTimeout: Duration.seconds(10) }
      for (const [found, timeout] of [[problems({}, needs), "drain"], [problems(exec(""), needs), "stop"]] as const) {
        assert.deepStrictEqual(found.map(({ message }) => message), [
          `gateway-default.service: TimeoutStopSec=20s is not longer than the ${timeout} timeout of 10s and 10s for the lease: `
          + "systemd kills the gateway before it has released the lease"
        ])
      }
      assert.deepStrictEqual(problems({}, { releaseTimeout: Duration.seconds(9) }), [])
    })

    it("takes no line of an argument for a property of the unit", () => {
      const command = "/bin/sh -c a\n\nRestart=no\nNotifyAccess=none\nLoadState=not-found"
      assert.deepStrictEqual(problems(exec("", command)), [])
    })
  })

  it("paths that do not stay, and how to install it with those that do (N42)", () => {
    const found = problems({}, {
      unstable: [
        { path: "/nvm/node", because: "nvm", of: "node", prefer: "/usr/bin/node", exists: true },
        { path: "/_npx/gateway", because: "npx, a cache", of: "program", prefer: "/usr/bin/gateway", exists: true }
      ]
    })
    assert.deepStrictEqual(found.map(({ message, remedy }) => [message, remedy]), [
      [
        "gateway-default.service runs /nvm/node, which may disappear (nvm); prefer /usr/bin/node",
        "/usr/bin/node \"$(command -v gateway)\" service install && systemctl --user restart gateway-default.service"
      ],
      [
        "gateway-default.service runs /_npx/gateway, which may disappear (npx, a cache); prefer /usr/bin/gateway",
        "/usr/bin/gateway service install && systemctl --user restart gateway-default.service"
      ]
    ])
  })

  it("no systemd-notify", () => {
    assert.match(problems({}, { canNotify: false })[0]?.message ?? "", /never becomes active/)
    assert.deepStrictEqual(problems({ Type: "simple" }, { canNotify: false }).length, 1)
  })
})
