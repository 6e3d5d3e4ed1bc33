import { assert, describe, it } from "@effect/vitest"
import { Duration, Exit, Option } from "effect"
import { LockHeld } from "../../src/GatewayLockError.ts"
import { check } from "./check.ts"
import type { Scenario } from "./scenario.ts"
import type { Entry, Player } from "./simulate.ts"

const scenario: Scenario = { platform: "linux", order: 0, locking: "works", starters: [], events: [] }
const lock = "/state/locks/gateway.state.lock"

/**
 * The log entry of a system call by the process with this serial number. If the call is on a file, `ino` is the inode of that
 * file.
 */
const call = (serial: number, name: string, target: string, outcome = "ok", ino?: number): Entry => ({
  _tag: "Traced",
  entry: { at: 0, serial: Option.some(serial), pid: 100 + serial, name, target, ino: Option.fromNullable(ino), outcome }
})
const starts = (serial: number) => call(serial, "starts", "", "")
const enters = (serial: number): Entry => ({ _tag: "Enters", serial, lockPaths: [lock] })
const leaves = (serial: number): Entry => ({ _tag: "Leaves", serial })
const tampers: Entry = { _tag: "Tampers", paths: [lock] }

const judge = (...log: ReadonlyArray<Entry>) =>
  check(scenario, { log, players: [], inspectors: new Set(), aftermath: [] })

const url = (host: string) => `ws://${host}:18789`

describe("who holds a lock", () => {
  it("is one at a time", () => {
    assert.deepStrictEqual(judge(starts(1), enters(1), leaves(1), starts(2), enters(2)), [])
    assert.deepStrictEqual(judge(starts(1), enters(1), starts(2), enters(2)), [`#2 and #1 both hold ${lock}`])
    assert.deepStrictEqual(judge(starts(1), enters(1), call(1, "is killed", "", ""), starts(2), enters(2)), [])
  })

  it("may lose it to somebody who does not know the rules", () => {
    assert.deepStrictEqual(judge(starts(1), enters(1), tampers, starts(2), enters(2)), [])
  })
})

describe("what another holds", () => {
  const holds = [starts(1), call(1, "write", lock, "ok", 7), enters(1)]

  it.each(["unlink", "rename"])("is not to be changed by %s, however lately one has looked", (change) => {
    const violation = [`#2 changes ${lock} (${change}), which #1 holds`]
    assert.deepStrictEqual(judge(starts(2), ...holds, call(2, change, lock)), violation)
    for (const look of ["stat", "open"]) {
      assert.deepStrictEqual(judge(starts(2), call(2, look, lock), ...holds, call(2, change, lock)), violation)
    }
  })

  const read = call(2, "readlink", lock, "EINVAL")
  const cases = [
    {
      change: "unlink",
      looks: [call(2, "stat", lock)],
      tooFar: [[call(2, "stat", lock), read], [call(2, "open", lock)]]
    },
    {
      change: "rename",
      looks: [call(2, "open", lock), read, call(2, "close", lock)],
      tooFar: [[call(2, "open", lock), call(2, "open", `${lock}.reclaim`)], [call(2, "stat", lock)]]
    }
  ]
  it.each(cases)("may be met by $change of one who looked before an outsider's turn", ({ change, looks, tooFar }) => {
    assert.deepStrictEqual(judge(starts(2), ...looks, tampers, ...holds, call(2, change, lock)), [])
    for (const calls of tooFar) {
      assert.lengthOf(judge(starts(2), ...calls, tampers, ...holds, call(2, change, lock)), 1)
    }
  })
})

describe("who listens on a port", () => {
  it("is one, whatever its own address", () => {
    const both = ["#2 and #1 both listen on port 18789"]
    assert.deepStrictEqual(judge(call(1, "bind", url("127.0.0.1")), call(2, "bind", url("127.0.0.1"))), both)
    // Every gateway also binds 127.0.0.1, so that two gateways conflict even if their own addresses differ. Here this bind of
    // process 2 fails without a conflict: the host does not have the address. The gateway then serves without it, so both listen.
    assert.deepStrictEqual(
      judge(
        call(1, "bind", url("127.0.0.1")),
        call(2, "bind", url("[::1]")),
        call(2, "bind", url("127.0.0.1"), "EADDRNOTAVAIL")
      ),
      both
    )
    assert.deepStrictEqual(
      judge(call(1, "bind", url("127.0.0.1")), call(1, "close", url("127.0.0.1")), call(2, "bind", url("127.0.0.1"))),
      []
    )
  })

  it("is not who was refused the guard address", () => {
    const refused = [call(2, "bind", url("127.0.0.1"), "EADDRINUSE"), call(2, "close", url("[::1]"))]
    assert.deepStrictEqual(judge(call(1, "bind", url("127.0.0.1")), call(2, "bind", url("[::1]")), ...refused), [])
    assert.deepStrictEqual(judge(call(2, "bind", url("[::1]")), call(1, "bind", url("127.0.0.1")), ...refused), [])
  })
})

describe("a holder that was stopped", () => {
  const at = (at: number, entry: Entry): Entry =>
    entry._tag === "Traced" ? { ...entry, entry: { ...entry.entry, at } } : entry
  const wrote = (serial: number) => call(serial, "write", lock, "ok", 7)
  const stopped = (until: number, ...then: ReadonlyArray<Entry>) =>
    judge(
      starts(1),
      wrote(1),
      enters(1),
      at(0, call(1, "stops", "", "")),
      at(until, starts(2)),
      at(until, wrote(2)),
      enters(2),
      at(until, call(1, "continues", "", "")),
      ...then
    )
  const robbed = [`#2 changes ${lock} (write), which #1 holds`, `#2 and #1 both hold ${lock}`]

  it("is safe for as long as three writes within half a minute allow, and not for longer", () => {
    assert.deepStrictEqual(stopped(18_000), robbed)
    assert.deepStrictEqual(stopped(18_001), [])
  })

  it("may end the step that it was in, and must look before it does another", () => {
    const writes = (serial: number) => [call(serial, "write", lock, "ok", 7), call(serial, "ftruncate", lock, "ok", 7)]
    assert.deepStrictEqual(stopped(40_000, ...writes(1)), [])
    assert.deepStrictEqual(stopped(40_000, call(1, "stat", lock), call(1, "unlink", lock)), [])
    assert.deepStrictEqual(stopped(40_000, ...writes(1), call(1, "unlink", lock)), [
      `#1 changes ${lock} (unlink), which #2 holds`
    ])
  })
})

describe("who listens on a port of another network", () => {
  it("is one for each network", () => {
    const player = (serial: number, networkNamespace: string): Player => ({
      serial,
      pid: 100 + serial,
      how: "plain",
      port: 18789,
      networkNamespace,
      timeout: 5000,
      failed: false,
      exit: Option.none()
    })
    const log = [call(1, "bind", url("127.0.0.1")), call(2, "bind", url("127.0.0.1"))]
    const among = (...networks: ReadonlyArray<string>) =>
      check(scenario, {
        log,
        players: networks.map((network, index) => player(index + 1, network)),
        inspectors: new Set(),
        aftermath: []
      })
    assert.deepStrictEqual(among("net:[1]", "net:[2]"), [])
    assert.deepStrictEqual(among("net:[1]", "net:[1]"), ["#2 and #1 both listen on port 18789"])
  })
})

describe("a start that was stopped, and is refused", () => {
  const held = new LockHeld({ path: lock, timeout: Duration.seconds(5) })
  const at = (millis: number, name: string, target = "", outcome = "") => {
    const entry = call(1, name, target, outcome)
    return entry._tag === "Traced" ? { ...entry, entry: { ...entry.entry, at: millis } } : entry
  }
  const looksAt = (millis: number) => at(millis, "open", lock, "ok")
  const refused = (...log: ReadonlyArray<Entry>) => refusedBy(held, ...log)
  const refusedBy = (error: LockHeld, ...log: ReadonlyArray<Entry>) =>
    check(scenario, {
      log: [starts(2), at(1000, "starts"), looksAt(1000), ...log, at(20_000, "ends with Fail")],
      players: [{
        serial: 1,
        pid: 101,
        how: "plain",
        port: 18789,
        networkNamespace: "net:[1]",
        timeout: 5000,
        failed: false,
        exit: Option.some(Exit.fail(error))
      }],
      inspectors: new Set(),
      aftermath: []
    })

  it("has looked at the lock since, or had when its time was over", () => {
    const outdated = ["#1 is refused because of what it saw before it was stopped"]
    assert.deepStrictEqual(refused(), [])
    assert.deepStrictEqual(refused(at(2000, "stops"), at(9000, "continues")), outdated)
    assert.deepStrictEqual(refused(looksAt(5999), at(5999, "stops"), at(9000, "continues")), outdated)
    assert.deepStrictEqual(refused(looksAt(6000), at(6000, "stops"), at(9000, "continues")), [])
    assert.deepStrictEqual(refused(at(2000, "stops"), at(9000, "continues"), looksAt(9000)), [])
  })

  it("did not have to wait where the owner serves another port", () => {
    const elsewhere = new LockHeld({
      path: lock,
      timeout: Duration.seconds(5),
      serving: { host: "127.0.0.1", port: 1 }
    })
    assert.deepStrictEqual(refusedBy(elsewhere, at(2000, "stops"), at(9000, "continues")), [])
  })
})

describe("who only inspects", () => {
  it("changes nothing", () => {
    const report = { players: [], inspectors: new Set([2]), aftermath: [] }
    assert.deepStrictEqual(check(scenario, { ...report, log: [call(2, "open", lock), call(2, "read", lock)] }), [])
    assert.deepStrictEqual(check(scenario, { ...report, log: [call(2, "unlink", lock)] }), [
      `#2, which only inspects, changes ${lock}`
    ])
  })
})
