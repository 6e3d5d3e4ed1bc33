/**
 * fast-check arbitraries for the property tests. An import of this module sets the number of runs of each property to
 * `FAST_CHECK_NUM_RUNS`, or to 100 if that variable is not set.
 */
import { Config, DateTime, Duration, Effect, FastCheck as fc, Option } from "effect"
import type { Address } from "../src/Address.ts"
import * as Errors from "../src/GatewayLockError.ts"
import type { Holder } from "../src/GatewayLockError.ts"
import type { Liveness } from "../src/host/ProcessIdentity.ts"
import type * as OwnerRecord from "../src/lock/OwnerRecord.ts"

export const numRuns = Effect.runSync(Config.withDefault(Config.integer("FAST_CHECK_NUM_RUNS"), 100))
fc.configureGlobal({ ...fc.readConfigureGlobal(), numRuns })

/**
 * Any Unicode character that is not a surrogate, as the unit "binary" of fast-check. That unit builds a table of all characters,
 * which takes most of a second and 100 MB in each test process.
 */
export const character = fc.integer({ min: 0, max: 0x10ffff }).filter((code) => code < 0xd800 || code > 0xdfff).map(
  (code) => String.fromCodePoint(code),
  (text) => {
    if (typeof text !== "string" || [...text].length !== 1) throw new TypeError("not one character")
    return text.codePointAt(0) ?? 0
  }
)

/** Text that a hostile file could contain or a hostile peer could send: any Unicode, line ends, quotes, brackets. */
export const text = fc.string({ unit: character, maxLength: 40 })

export const port = fc.integer({ min: 1, max: 65535 })
export const pid = fc.integer({ min: 1, max: 2 ** 22 })

export const host = fc.oneof(
  fc.constantFrom("127.0.0.1", "127.0.0.2", "::1", "localhost", "0.0.0.0", "::", "gateway.example"),
  fc.ipV4(),
  fc.ipV6()
)

/** Loopback hosts. For any other host, a gateway requires an access token. */
export const loopback = fc.constantFrom("127.0.0.1", "127.0.0.2", "::1", "localhost")

export const address: fc.Arbitrary<Address> = fc.record({ host, port })

export const phase = fc.constantFrom<OwnerRecord.Phase>("starting", "listening", "draining")

export const supervisorKind = fc.constantFrom(...Errors.SupervisorKind.literals)

/** A time in whole milliseconds, as in a lock file. */
export const time = fc.integer({
  min: DateTime.unsafeMake("0001-01-01T00:00:00Z").epochMillis,
  max: DateTime.unsafeMake("9999-12-31T00:00:00Z").epochMillis
}).map((epochMillis) => DateTime.unsafeMake(epochMillis))

export const processIdentity: fc.Arbitrary<OwnerRecord.ProcessIdentity> = fc.record({
  pid,
  startTime: fc.nat(),
  bootId: fc.uuid(),
  pidNamespace: fc.integer({ min: 1 }).map((inode) => `pid:[${inode}]`)
}, { requiredKeys: ["pid"] })

export const leaseRecord: fc.Arbitrary<OwnerRecord.LeaseRecord> = fc.record({
  name: text,
  store: text,
  state: fc.constantFrom("standby" as const, "leader" as const, "lost" as const),
  fencingToken: fc.bigInt(0n, 2n ** 63n - 1n).map(String),
  renewedAt: text,
  trustedUntil: text
}, { requiredKeys: ["name", "state"] })

export const ownerRecord: fc.Arbitrary<OwnerRecord.OwnerRecord> = fc.record({
  version: fc.constant(1 as const),
  instanceId: fc.oneof(fc.uuid(), fc.string({ unit: character, minLength: 1 })),
  pid,
  startTime: fc.oneof(fc.nat(), fc.double({ min: 0, noNaN: true, noDefaultInfinity: true })),
  bootId: text,
  pidNamespace: text,
  createdAt: fc.option(time, { nil: undefined }).map(Option.fromNullable),
  configPath: text,
  stateDir: text,
  host,
  port: fc.integer({ min: 0, max: 65535 }),
  phase,
  supervisor: supervisorKind,
  lock: fc.constantFrom("kernel" as const, "record" as const),
  mode: fc.constantFrom("run" as const, "exec" as const),
  child: fc.record({ pid, startTime: fc.nat() }, { requiredKeys: ["pid"] }),
  ready: fc.oneof(
    fc.constantFrom("none" as const, "port" as const),
    fc.webPath().map((path) => `http:/${path}` as const)
  ),
  inheritsLock: fc.boolean(),
  lease: leaseRecord
}, {
  requiredKeys: [
    "version",
    "instanceId",
    "pid",
    "createdAt",
    "configPath",
    "stateDir",
    "host",
    "port",
    "phase",
    "supervisor"
  ]
})

export const holder: fc.Arbitrary<Holder> = fc.record({
  pid,
  pidMeaning: fc.constantFrom(...Errors.PidMeaning.literals),
  command: text,
  endedWrapper: pid,
  ready: fc.constantFrom<OwnerRecord.Ready>("none", "port", "http:/ready"),
  since: time,
  phase,
  configPath: text,
  stateDir: text,
  host,
  port,
  instanceId: fc.uuid(),
  supervisor: supervisorKind,
  unit: fc.record({ name: text, scope: fc.constantFrom("user" as const, "system" as const) })
}, { requiredKeys: [] })

const cause = fc.oneof(
  text.map((message) => new Error(message)),
  text,
  fc.jsonValue({ maxDepth: 2 })
)
const timeout = fc.nat({ max: 10 ** 9 }).map(Duration.millis)
const supervisor = fc.constantFrom<Errors.SupervisorKind>("systemd", "launchd", "schtasks", "external")

export const gatewayLockError: fc.Arbitrary<Errors.GatewayLockError> = fc.oneof(
  fc.record({ host, port, holder, listener: text }, { requiredKeys: ["host", "port"] })
    .map((fields) => new Errors.PortInUse(fields)),
  fc.record({
    host,
    port,
    reason: text,
    code: fc.constantFrom("EACCES", "EADDRNOTAVAIL", "ENOBUFS"),
    available: fc.array(host, { maxLength: 3 }),
    cause
  }, { requiredKeys: ["host", "port", "reason"] })
    .map((fields) => new Errors.BindFailed(fields)),
  fc.record({ path: text, timeout, holder, serving: address }, { requiredKeys: ["path", "timeout"] })
    .map((fields) => new Errors.LockHeld(fields)),
  fc.record({ path: text, reason: text, holder, cause }, { requiredKeys: ["path", "reason"] })
    .map((fields) => new Errors.LockUnavailable(fields)),
  fc.record({ path: text, reason: text, holder, cause }, { requiredKeys: ["path", "reason"] })
    .map((fields) => new Errors.LockLost(fields)),
  fc.record({ supervisor, host, port, holder }, { requiredKeys: ["supervisor", "host", "port"] })
    .map((fields) => new Errors.OwnerHealthy(fields)),
  fc.record({ supervisor, host, port, timeout, holder }, {
    requiredKeys: ["supervisor", "host", "port", "timeout"]
  }).map((fields) => new Errors.OwnerUnhealthy(fields)),
  fc.record({ lease: text, reason: text, fencingToken: fc.bigInt(0n, 2n ** 63n), cause }, {
    requiredKeys: ["lease", "reason"]
  }).map((fields) => new Errors.LeadershipLost(fields)),
  fc.record({ lease: text, store: text, reason: text, cause }, { requiredKeys: ["lease", "store", "reason"] })
    .map((fields) => new Errors.LeaseUnavailable(fields))
)

export const duration = fc.oneof(
  fc.constantFrom(0, 1, 29_999, 30_000, 30_001).map(Duration.millis),
  fc.nat({ max: 10 ** 8 }).map(Duration.millis)
)

export const liveness = fc.constantFrom<Liveness>("Alive", "Gone", "Unknown")

/** The body of a health response, with each field valid, wrong or missing. */
export const healthBody = fc.record({
  ok: fc.oneof(fc.boolean(), fc.jsonValue()),
  status: fc.oneof(fc.constantFrom("live", "draining", "starting", "LIVE"), text),
  instanceId: fc.oneof(fc.uuid(), fc.constant(""), fc.jsonValue()),
  more: fc.jsonValue()
}, { requiredKeys: [] })
