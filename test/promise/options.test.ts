import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Either, Struct } from "effect"
import { check } from "../../src/promise/options.ts"

const messageOf = (given: unknown): string =>
  Either.match(Effect.runSync(Effect.either(check(given))), {
    onLeft: ({ message }) => message,
    onRight: () => "accepted"
  })

const accepted = (given: unknown) => Effect.runSync(check(given))

const loop: Record<string, unknown> = {}
loop["self"] = loop

describe("the options of acquire", () => {
  const refused: ReadonlyArray<readonly [given: unknown, message: string]> = [
    [undefined, "invalid options undefined from acquire: expected an object such as { port: 3000 }"],
    [3000, "invalid options 3000 from acquire: expected an object such as { port: 3000 }"],
    [[], "invalid options [] from acquire: expected an object such as { port: 3000 }"],
    [
      {},
      "invalid port undefined from acquire: expected a whole number from 1 to 65535, 0 for a port that the system picks, or false for a program without a port"
    ],
    [
      { port: 3000, prot: 1 },
      "invalid prot (unknown option) from acquire: expected one of port, host, profile, configPath, "
    ],
    [{ port: 3000, prot: 1 }, "; did you mean port?"],
    [{ port: 3000, token: "a secret" }, "invalid token (unknown option) from acquire: "],
    [{ port: 3000, timeout: 5 }, "; did you mean lock.timeout?"],
    [
      { port: 3000, lock: { timeuot: "5s" } },
      "invalid lock.timeuot (unknown option) from acquire: expected one of lock.timeout, lock.pollInterval, lock.staleAfter, lock.recheckInterval; did you mean lock.timeout?"
    ],
    [{ port: 3000, lock: "5s" }, "invalid lock '5s' from acquire: expected an object with lock.timeout, "],
    [{ port: 3000, lock: null }, "invalid lock null from acquire: expected an object with lock.timeout, "],
    [{ port: 3000, health: { retries: 3 } }, "invalid health.retries (unknown option) from acquire: "],
    [
      { port: 3000, lock: { timeout: "soon" } },
      "invalid lock.timeout 'soon' from acquire: expected a duration from \"0 millis\""
    ],
    [{ port: 3000, lock: { timeout: "5 months" } }, "or a number of milliseconds"],
    [{ port: 3000, lock: { timeout: Infinity } }, "invalid lock.timeout Infinity from acquire: "],
    [{ port: 3000, lock: { timeout: -1 } }, "invalid lock.timeout -1 from acquire: "],
    [{ port: 3000, lock: { timeout: NaN } }, "invalid lock.timeout NaN from acquire: "],
    [
      { port: 3000, lock: { pollInterval: 0 } },
      "invalid lock.pollInterval 0 from acquire: expected a duration from \"10 millis\""
    ],
    [{ port: 3000, lock: { staleAfter: 1e21 } }, "invalid lock.staleAfter 1e+21 from acquire: "],
    [{ port: 3000, drainTimeout: true }, "invalid drainTimeout true from acquire: "],
    [{ port: 3000, profile: "My App" }, "invalid profile 'My App' from acquire: expected 1 to 64 characters of a-z"],
    [{ port: 3000, profile: "../x" }, "invalid profile '../x' from acquire: "],
    [{ port: 3000, stateDir: "" }, "invalid stateDir '' from acquire: expected a path"],
    [{ port: 3000, configPath: new URL("file:///etc/app.json") }, "from acquire: expected a path"],
    [
      { port: 3000, host: "http://localhost" },
      "invalid host 'http://localhost' from acquire: expected a host name or an address"
    ],
    [{ port: 3000, host: "*" }, "invalid host '*' from acquire: expected a host name or an address"],
    [
      { port: 3000, ready: "notify" },
      "invalid ready 'notify' from acquire: expected none, port, or http:/ and the rest of a path"
    ],
    [{ port: 3000, ready: "/health" }, "invalid ready '/health' from acquire: "],
    [{ port: 3000, ready: "http:/a b" }, "invalid ready 'http:/a b' from acquire: "],
    [
      { port: false, ready: "port" },
      "invalid ready 'port' from acquire: expected none, port, or http:/ and the rest of a path; without a port, only none"
    ],
    [
      { port: 3000, supervisor: "pm2" },
      "invalid supervisor 'pm2' from acquire: expected auto, none, systemd, launchd, schtasks or external"
    ],
    [{ port: 3000, standby: "yes" }, "invalid standby 'yes' from acquire: expected true or false"],
    [{ port: 3000, onLost: "throw" }, "invalid onLost 'throw' from acquire: expected exit or close"],
    [{ port: 3000, signal: new AbortController() }, "from acquire: expected an AbortSignal"],
    [
      { port: 3000, logger: () => {} },
      "from acquire: expected an object with the functions info, warn and error, such as console"
    ],
    [
      { port: 3000, logger: { info: () => {} } },
      "from acquire: expected an object with the functions info, warn and error"
    ],
    [{ port: 3000, standby: loop }, "invalid standby <ref *1> { self: [Circular *1] } from acquire: "],
    [{ port: 10n }, "invalid port 10n from acquire: "],
    [{ port: "" }, "invalid port '' from acquire: "],
    [{ port: "3000 " }, "invalid port '3000 ' from acquire: "],
    [{ port: 65536 }, "invalid port 65536 from acquire: "],
    [{ port: 3000.5 }, "invalid port 3000.5 from acquire: "],
    [{ port: true }, "invalid port true from acquire: "],
    [{ port: null }, "invalid port null from acquire: "],
    [{ port: { toString: () => "3000" } }, "invalid port { toString: [Function: toString] } from acquire: "]
  ]
  it.each(refused)("%o is refused: %s", (given, message) => {
    assert.include(messageOf(given), message)
    assert.notInclude(messageOf(given), "\n")
  })

  it("a value with line ends or of any length is shown on one line, cut", () => {
    const shown = messageOf({ port: 3000, standby: `a\n${"b".repeat(1000)}\u001b[2J` })
    assert.isBelow(shown.length, 250)
    assert.notInclude(shown, "\n")
    assert.notInclude(shown, "\u001b")
  })

  it("only the port is required", () => {
    const checked = accepted({ port: 3000 })
    assert.deepInclude(checked, {
      port: 3000,
      supervisor: "auto",
      ready: "port",
      standby: false,
      onLost: "exit",
      logger: undefined,
      signal: undefined
    })
    assert.strictEqual(Duration.toMillis(checked.drainTimeout), 10_000)
    assert.deepStrictEqual(new Set(Object.values(checked.lock)), new Set([undefined]))
  })

  it("undefined counts as not given", () => {
    const names = ["host", "profile", "lock", "health", "ready", "standby", "signal", "onLost", "logger"]
    const none = Object.fromEntries(names.map((name) => [name, undefined]))
    assert.deepStrictEqual(accepted({ port: 3000, ...none }), accepted({ port: 3000 }))
  })

  it("a port is a number, its digits, 0 or false", () => {
    assert.deepStrictEqual(
      [3000, "3000", 0, "0", false].map((port) => Struct.pick(accepted({ port }), "port", "ready")),
      [
        { port: 3000, ready: "port" },
        { port: 3000, ready: "port" },
        { port: 0, ready: "port" },
        { port: 0, ready: "port" },
        { port: undefined, ready: "none" }
      ]
    )
  })

  it("times are milliseconds, words or short forms", () => {
    const times = [250, "250ms", "250 millis", 0.25, "1m30s", 0].map((timeout) =>
      accepted({ port: 3000, lock: { timeout } }).lock.timeout
    )
    assert.deepStrictEqual(times.map((time) => time === undefined ? -1 : Duration.toMillis(time)), [
      250,
      250,
      250,
      0.25,
      90_000,
      0
    ])
  })
})
