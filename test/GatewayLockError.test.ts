import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Schema } from "effect"
import * as Errors from "../src/GatewayLockError.ts"
import * as arbitraries from "./arbitraries.ts"

const encode = Schema.encodeSync(Errors.GatewayLockError)
const decode = Schema.decodeUnknownSync(Errors.GatewayLockError)

/** All error messages, exactly as §5 of the contract (the project's specification) states them. */
const messages: ReadonlyArray<readonly [error: Errors.GatewayLockError, tag: string, message: string]> = [
  [
    new Errors.PortInUse({ host: "127.0.0.1", port: 18789 }),
    "PortInUse",
    "another gateway instance is already listening on ws://127.0.0.1:18789"
  ],
  [
    new Errors.PortInUse({ host: "::1", port: 1, listener: "a healthy gateway", holder: { pid: 7 } }),
    "PortInUse",
    "another gateway instance is already listening on ws://[::1]:1"
  ],
  [
    new Errors.BindFailed({ host: "127.0.0.1", port: 80, reason: "listen EACCES: permission denied 127.0.0.1:80" }),
    "BindFailed",
    "failed to bind gateway socket on ws://127.0.0.1:80: listen EACCES: permission denied 127.0.0.1:80"
  ],
  [
    new Errors.BindFailed({ host: "fe80::1", port: 65535, reason: "EADDRNOTAVAIL" }),
    "BindFailed",
    "failed to bind gateway socket on ws://[fe80::1]:65535: EADDRNOTAVAIL"
  ],
  [
    new Errors.LockHeld({ path: "/l", timeout: Duration.millis(5000), holder: { pid: 123 } }),
    "LockHeld",
    "gateway already running (pid 123); lock timeout after 5000ms"
  ],
  [
    new Errors.LockHeld({ path: "/l", timeout: Duration.millis(0) }),
    "LockHeld",
    "gateway already running; lock timeout after 0ms"
  ],
  [
    new Errors.LockHeld({ path: "/l", timeout: Duration.millis(250), holder: { phase: "starting" } }),
    "LockHeld",
    "gateway already running; lock timeout after 250ms"
  ],
  [
    new Errors.LockHeld({
      path: "/l",
      timeout: Duration.millis(0),
      holder: { pid: 9 },
      serving: { host: "127.0.0.1", port: 4000 }
    }),
    "LockHeld",
    "gateway already running (pid 9) on ws://127.0.0.1:4000"
  ],
  [
    new Errors.LockHeld({ path: "/l", timeout: Duration.millis(0), serving: { host: "::1", port: 4000 } }),
    "LockHeld",
    "gateway already running on ws://[::1]:4000"
  ],
  [
    new Errors.LockUnavailable({ path: "/s/locks/gateway.0.lock", reason: "EROFS: read-only file system" }),
    "LockUnavailable",
    "failed to acquire gateway lock at /s/locks/gateway.0.lock: EROFS: read-only file system"
  ],
  [
    new Errors.LockLost({ path: "/s/locks/gateway.0.lock", reason: "the file was removed" }),
    "LockLost",
    "lost gateway lock at /s/locks/gateway.0.lock: the file was removed"
  ],
  [
    new Errors.OwnerHealthy({ supervisor: "systemd", host: "127.0.0.1", port: 1 }),
    "OwnerHealthy",
    "gateway already running under systemd; existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop"
  ],
  ...(["launchd", "schtasks", "external"] as const).map((supervisor) =>
    [
      new Errors.OwnerHealthy({ supervisor, host: "127.0.0.1", port: 1 }),
      "OwnerHealthy",
      `gateway already running under ${supervisor}; existing gateway is healthy, leaving it in control`
    ] as const
  ),
  [
    new Errors.OwnerUnhealthy({ supervisor: "systemd", host: "127.0.0.1", port: 1, timeout: Duration.millis(300_000) }),
    "OwnerUnhealthy",
    "gateway already running under systemd; existing gateway did not become healthy after 300000ms"
  ],
  [
    new Errors.LeadershipLost({ lease: "reports", reason: "it was not renewed within 10s", fencingToken: 7n }),
    "LeadershipLost",
    "lost leadership of reports: it was not renewed within 10s"
  ],
  [
    new Errors.LeaseUnavailable({ lease: "reports", store: "postgresql://db/app", reason: "permission denied" }),
    "LeaseUnavailable",
    "failed to use lease reports at postgresql://db/app: permission denied"
  ]
]

describe("GatewayLockError", () => {
  it.each(messages)("says what the contract says: %s", (error, tag, message) => {
    assert.strictEqual(error.message, message)
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(error.name, tag)
    assert.strictEqual(String(error), `${tag}: ${message}`)
    assert.instanceOf(error, Error)
    for (const cause of [Cause.fail(error), Cause.die(error)]) {
      assert.strictEqual(Cause.pretty(cause).split("\n", 1)[0], `${tag}: ${message}`)
      // The lines after the message show the stack.
      assert.match(Cause.pretty(cause), new RegExp(`^${tag}: [^\n]*\n    at `))
    }
  })

  it("covers every tag of the family in the table above", () => {
    const tags = new Set(messages.map(([, tag]) => tag))
    assert.deepStrictEqual(
      [...tags].toSorted(),
      Errors.GatewayLockError.members.map((member) => member._tag).toSorted()
    )
  })

  it.effect("is matched by tag, and only by its own", () =>
    Effect.gen(function*() {
      const start: Effect.Effect<string, Errors.GatewayLockError> = new Errors.PortInUse({ host: "::1", port: 5 })
      const caught = yield* start.pipe(
        Effect.catchTags({
          LockHeld: () => Effect.succeed("held"),
          PortInUse: ({ port }) => Effect.succeed(`port ${port}`)
        })
      )
      assert.strictEqual(caught, "port 5")
    }))

  it.prop("every error survives being encoded as JSON and decoded", [arbitraries.gatewayLockError], ([error]) => {
    const json = JSON.stringify(encode(error))
    const back = decode(JSON.parse(json))
    assert.strictEqual(back.constructor, error.constructor)
    assert.strictEqual(back.message, error.message)
    assert.strictEqual(back.name, back._tag)
    assert.strictEqual(JSON.stringify(encode(back)), json)
  })

  it.prop(
    "isGatewayLockError holds for every error of the family",
    [arbitraries.gatewayLockError],
    ([error]) => Errors.isGatewayLockError(error)
  )

  it("isGatewayLockError holds for nothing else", () => {
    const pretender = { _tag: "PortInUse", name: "GatewayLockError", host: "::1", port: 1 }
    const strangers = [pretender, new Error("PortInUse"), undefined, null, "PortInUse", 0, Errors.PortInUse]
    for (const stranger of strangers) assert.isFalse(Errors.isGatewayLockError(stranger), String(stranger))
  })

  it("is encoded as its tag and its fields", () => {
    const fields = { host: "127.0.0.1", port: 1, holder: { pid: 2 } }
    assert.deepStrictEqual(encode(new Errors.PortInUse(fields)), { _tag: "PortInUse", ...fields })
  })

  it.prop("a message is one line wherever its parts are", [arbitraries.address, arbitraries.pid], ([address, pid]) => {
    const holder = { pid }
    const errors = [
      new Errors.PortInUse({ ...address, holder }),
      new Errors.BindFailed({ ...address, reason: "r" }),
      new Errors.LockHeld({ path: "/l", timeout: Duration.millis(1), holder, serving: address }),
      new Errors.OwnerHealthy({ ...address, supervisor: "systemd" })
    ]
    return errors.every(({ message }) => !message.includes("\n") && !message.includes("undefined"))
  })
})
