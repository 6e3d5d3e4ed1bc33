import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option } from "effect"
import { describe as words, timeoutOf } from "../../src/cli/stop.ts"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import { ownedBy } from "../fixtures/records.ts"

const address = { host: "127.0.0.1", port: 18789 }
const free = { _tag: "Free" } as const

const stopped = {
  _tag: "Stopped",
  pid: 4711,
  record: ownedBy("a"),
  inheritors: [],
  killed: false,
  successor: Option.none()
} as const
const notRunning = { _tag: "NotRunning", left: Option.none(), port: free, listeners: [] } as const

describe("gateway stop says", () => {
  it("that it has stopped or killed the gateway", () => {
    assert.deepStrictEqual(words(stopped, "/l", address, "linux"), {
      answer: "stopped gateway on ws://127.0.0.1:18789 (pid 4711)",
      notes: []
    })
    assert.strictEqual(
      words({ ...stopped, killed: true }, "/l", address, "linux").answer,
      "killed gateway on ws://127.0.0.1:18789 (pid 4711)"
    )
  })

  it("who has the lock now, and who may start it again", () => {
    const record = { ...stopped.record, supervisor: "systemd" as const }
    assert.deepStrictEqual(
      words({ ...stopped, record, successor: Option.some({ pid: 4712, phase: "starting" }) }, "/l", address, "linux")
        .notes,
      [
        "the lock is now held by pid 4712 (starting), which was waiting as a standby or has just started",
        "the gateway ran under systemd, which may start it again"
      ]
    )
  })

  it("that it was not running, whose file is left, and who has the port", () => {
    assert.deepStrictEqual(words(notRunning, "/l", address, "linux"), { answer: "gateway is not running", notes: [] })
    assert.strictEqual(
      words({ ...notRunning, left: Option.some({ pid: 4711 }) }, "/l", address, "linux").answer,
      "gateway is not running; /l was left by pid 4711, and the next start reclaims it"
    )
    const port = { _tag: "Foreign", detail: "answered HTTP 404 to /healthz, not as a gateway" } as const
    const notes = (listeners: ReadonlyArray<string>) =>
      words({ ...notRunning, port, listeners }, "/l", address, "linux").notes
    assert.deepStrictEqual(notes(["pid 9 (nginx)"]), [
      "ws://127.0.0.1:18789 is in use by another program, pid 9 (nginx): answered HTTP 404 to /healthz, not as a gateway; "
      + "to see who it is: ss -ltnp 'sport = :18789'"
    ])
    assert.match(notes([])[0] ?? "", /in use by another program, not visible from here: /)
  })
})

describe("gateway stop waits", () => {
  it.effect("for the drain, with a lease also for two attempts at its store, and 5 seconds more", () =>
    Effect.gen(function*() {
      const drainTimeout = Duration.seconds(10)
      const lease = {
        ...LeaseTimes.defaults,
        attemptTimeout: Duration.seconds(7),
        url: Option.none(),
        urlFile: Option.none<string>(),
        name: "a"
      }
      const leased = { ...lease, urlFile: Option.some("/lease-url") }
      const wait = (lease: typeof leased, timeout?: string) =>
        Effect.map(timeoutOf({ config: { drainTimeout, lease }, timeout }), Duration.toSeconds)
      assert.strictEqual(yield* wait(lease), 15)
      assert.strictEqual(yield* wait(leased), 29)
      assert.strictEqual(yield* wait(leased, "3s"), 3)
    }))
})
