import { assert, describe, it } from "@effect/vitest"
import { DateTime, FastCheck as fc, Option, Schema } from "effect"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as arbitraries from "../arbitraries.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (content: Uint8Array) => new TextDecoder().decode(content)
const parsed = (content: Uint8Array) => Option.getOrUndefined(OwnerRecord.parse(content))

const full: OwnerRecord.OwnerRecord = {
  version: 1,
  instanceId: "0b5e0e1c-5c1c-4d39-8c4b-0b3a1f8a7d10",
  pid: 123,
  startTime: 456,
  bootId: "3f6a0b1e-8b5f-4b57-a7d5-2d1b5c6f7e80",
  pidNamespace: "pid:[4026531836]",
  createdAt: Option.some(DateTime.unsafeMake("2026-01-01T00:00:00.000Z")),
  configPath: "/c/gateway.json",
  stateDir: "/s",
  host: "127.0.0.1",
  port: 18789,
  phase: "listening",
  supervisor: "none"
}

/** The JSON object that a lock file contains for this record. */
const jsonOf = (record: OwnerRecord.OwnerRecord): object => JSON.parse(text(OwnerRecord.encode(record)))
const json = jsonOf(full)

/** A record whose encoded line has this many bytes. */
const ofSize = (size: number) => {
  const short = OwnerRecord.encode({ ...full, configPath: "" }).length
  return OwnerRecord.encode({ ...full, configPath: "x".repeat(size - short) })
}

describe("OwnerRecord", () => {
  it.prop("what is written is read back", [arbitraries.ownerRecord], ([record]) => {
    assert.deepStrictEqual(parsed(OwnerRecord.encode(record)), record)
  })

  it.prop(
    "is one line, whatever its parts hold",
    [arbitraries.ownerRecord],
    ([record]) => text(OwnerRecord.encode(record)).indexOf("\n") === text(OwnerRecord.encode(record)).length - 1
  )

  it.prop("unknown keys are ignored", [
    arbitraries.ownerRecord,
    fc.dictionary(fc.string({ minLength: 1 }).filter((key) => !(key in full) && key !== "lock"), fc.jsonValue())
  ], ([record, extra]) => {
    assert.deepStrictEqual(parsed(bytes(JSON.stringify({ ...extra, ...jsonOf(record) }))), record)
  })

  it.prop(
    "a lease that is not understood is ignored, and the rest of the record is read",
    [
      arbitraries.ownerRecord,
      fc.oneof(fc.jsonValue(), fc.record({ name: fc.jsonValue(), state: fc.string(), store: fc.jsonValue() }))
    ],
    ([record, lease]) => {
      const seen = parsed(bytes(JSON.stringify({ ...jsonOf(record), lease })))
      assert.deepStrictEqual({ ...seen, lease: undefined }, { ...record, lease: undefined })
    }
  )

  it.prop(
    "is read exactly if its schema decodes it, and to the same record",
    [
      arbitraries.ownerRecord,
      fc.dictionary(
        fc.constantFrom(
          ...Object.keys(full),
          "configName",
          "supervisorReason",
          "lock",
          "mode",
          "child",
          "ready",
          "inheritsLock"
        ),
        fc.oneof(
          fc.jsonValue(),
          fc.integer(),
          fc.constantFrom<unknown>(
            "",
            "exec",
            "notify",
            "http:/",
            "http:/a\n",
            "draining",
            65535,
            65536,
            1.5,
            -0,
            2 ** 53
          ),
          fc.record({ pid: fc.constantFrom(0, 1, "1"), startTime: fc.constantFrom(-1, 0, 0.5, null) }, {
            requiredKeys: []
          })
        ),
        { maxKeys: 2 }
      )
    ],
    ([record, changed]) => {
      const { lease: _, ...json }: Record<string, unknown> = { ...jsonOf(record), ...changed }
      assert.deepStrictEqual(
        OwnerRecord.parse(bytes(JSON.stringify(json))),
        Schema.decodeUnknownOption(Schema.parseJson(OwnerRecord.OwnerRecord))(JSON.stringify(json))
      )
    }
  )

  it.prop("a record cut short at any byte is no information", [
    arbitraries.ownerRecord,
    fc.double({
      min: 0,
      max: 1,
      noNaN: true
    })
  ], ([record, part]) => {
    const whole = OwnerRecord.encode(record)
    // A record without its line end is complete. So at least one more byte is cut off.
    return Option.isNone(OwnerRecord.parse(whole.subarray(0, Math.floor((whole.length - 2) * part))))
  })

  it("every proper prefix of a record is no information", () => {
    const whole = OwnerRecord.encode(full)
    for (let length = 0; length < whole.length - 1; length++) {
      assert.isUndefined(parsed(whole.subarray(0, length)), `prefix of ${length} bytes`)
    }
    assert.deepStrictEqual(parsed(whole.subarray(0, whole.length - 1)), full)
  })

  it.prop("a new record over the tail of a longer one is the new one or no information", [
    arbitraries.ownerRecord,
    arbitraries.ownerRecord
  ], ([before, after]) => {
    const torn = Uint8Array.from(OwnerRecord.encode(before))
    const written = OwnerRecord.encode(after)
    const content = new Uint8Array(Math.max(torn.length, written.length))
    content.set(torn)
    content.set(written)
    const seen = parsed(content)
    if (seen !== undefined) assert.deepStrictEqual(seen, after)
  })

  it.prop(
    "no bytes make it throw",
    [fc.uint8Array({ maxLength: 300 })],
    ([content]) => Option.isOption(OwnerRecord.parse(content))
  )

  it.prop("a record with bytes changed is a record or no information, and never an error", [
    arbitraries.ownerRecord,
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 5 })
  ], ([record, changes]) => {
    const content = Uint8Array.from(OwnerRecord.encode(record))
    for (const [at, byte] of changes) content[at % content.length] = byte
    return Option.isOption(OwnerRecord.parse(content))
  })

  it.prop(
    "foreign JSON is no information",
    [fc.jsonValue()],
    ([value]) => Option.isNone(OwnerRecord.parse(bytes(JSON.stringify(value))))
  )

  it.each([
    ["empty", ""],
    ["a line end", "\n"],
    ["null", "null"],
    ["a number", "12345\n"],
    ["a pid file", "12345"],
    ["an array of the record", JSON.stringify([json])],
    ["two records", `${JSON.stringify(json)}\n${JSON.stringify(json)}\n`],
    ["version 2", JSON.stringify({ ...json, version: 2 })],
    ["version as text", JSON.stringify({ ...json, version: "1" })],
    ["no instance id", JSON.stringify({ ...json, instanceId: "" })],
    ["pid 0, which kill(2) takes for the whole group", JSON.stringify({ ...json, pid: 0 })],
    ["pid -1, which kill(2) takes for everybody", JSON.stringify({ ...json, pid: -1 })],
    ["a fraction of a pid", JSON.stringify({ ...json, pid: 1.5 })],
    ["a pid beyond whole numbers", JSON.stringify({ ...json, pid: 2 ** 53 })],
    ["a port beyond 65535", JSON.stringify({ ...json, port: 65536 })],
    ["an unknown phase", JSON.stringify({ ...json, phase: "dreaming" })],
    ["a negative start time", JSON.stringify({ ...json, startTime: -1 })],
    ["a start time that overflows to infinity", JSON.stringify(json).replace(":456,", ":1e999,")],
    ["null for an optional part", JSON.stringify({ ...json, bootId: null })],
    ["an unknown kind of lock", JSON.stringify({ ...json, lock: "honour" })]
  ])("%s is no information", (_, content) => {
    assert.isUndefined(parsed(bytes(content)))
  })

  it("a record may be 64 KiB long and no longer", () => {
    assert.strictEqual(ofSize(65_536).length, 65_536)
    assert.strictEqual(parsed(ofSize(65_536))?.pid, 123)
    assert.isUndefined(parsed(ofSize(65_537)))
  })

  it("reads a record of another writer: other order, white space, no optional parts", () => {
    const { bootId: _bootId, pidNamespace: _pidNamespace, startTime: _startTime, ...rest } = full
    assert.deepStrictEqual(
      parsed(bytes(JSON.stringify(Object.fromEntries(Object.entries(jsonOf(rest)).toReversed()), null, 2))),
      rest
    )
  })

  it.each([
    ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z"],
    ["2026-01-01T02:00:00.123456+02:00", "2026-01-01T00:00:00.123Z"],
    ["2026-01-01", "2026-01-01T00:00:00.000Z"],
    ["yesterday", undefined],
    ["", undefined],
    ["+999999-01-01T00:00:00Z", undefined]
  ])("a record of another writer with the time %j still counts", (createdAt, time) => {
    const record = parsed(bytes(JSON.stringify({ ...json, createdAt })))
    assert.deepStrictEqual(record, {
      ...full,
      createdAt: Option.map(Option.fromNullable(time), (time) => DateTime.unsafeMake(time))
    })
    assert.strictEqual("since" in OwnerRecord.toHolder(record ?? full), time !== undefined)
  })

  it.each(["runit", "toString", ""])("a supervisor that is not known, %j, is an external one", (supervisor) => {
    assert.deepStrictEqual(parsed(bytes(JSON.stringify({ ...json, supervisor }))), { ...full, supervisor: "external" })
  })

  it("a holder shows who, since when and where, and neither start time nor boot", () => {
    assert.deepStrictEqual(OwnerRecord.toHolder(full, "node"), {
      pid: 123,
      command: "node",
      since: DateTime.unsafeMake("2026-01-01T00:00:00.000Z"),
      phase: "listening",
      configPath: "/c/gateway.json",
      stateDir: "/s",
      host: "127.0.0.1",
      port: 18789,
      instanceId: full.instanceId,
      supervisor: "none"
    })
    assert.notProperty(OwnerRecord.toHolder(full), "command")
    assert.deepStrictEqual(OwnerRecord.address(full), { host: "127.0.0.1", port: 18789 })
  })
})
