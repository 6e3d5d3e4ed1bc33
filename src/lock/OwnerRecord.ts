/**
 * The owner record: the JSON text in a lock file. It describes the owner, which is the process that holds the lock, to
 * readers of the file. If there is a kernel lock, only the kernel lock decides which process is the owner.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { phases } from "../internal/lockErrors.ts"
import { type Check, type Checks, isOneOf, isText, optional, parseJson, pick } from "../internal/plainJson.ts"
import type { Child, LeaseRecord, OwnerRecord, OwnerRecordEncoded } from "./RecordSchema.ts"
import { readSupervisor, readTime, writeTime } from "./recordValues.ts"

/**
 * @since 0.1.0
 * @category schemas
 */
export { Phase, Ready } from "../GatewayLockError.ts"
export { ProcessIdentity } from "../host/ProcessIdentity.ts"
export { type Child, LeaseRecord, OwnerRecord, type OwnerRecordEncoded } from "./RecordSchema.ts"

/**
 * The largest file that is read as a record, in bytes. A gateway never writes a larger file.
 *
 * @internal
 */
export const maxBytes = 64 * 1024

const isPid: Check = (value) => Number.isSafeInteger(value) && Number(value) > 0
const isStartTime: Check = (value) => Number.isFinite(value) && Number(value) >= 0

const childChecks: Checks<Child> = { pid: isPid, startTime: optional(isStartTime) }

const leaseChecks: Checks<LeaseRecord> = {
  name: isText,
  store: optional(isText),
  state: isOneOf("standby", "leader", "lost"),
  fencingToken: optional(isText),
  renewedAt: optional(isText),
  trustedUntil: optional(isText)
}

/** A record as JSON. Its lease may be of a later version, whose lease this version does not understand. */
interface Raw extends Omit<OwnerRecordEncoded, "lease"> {
  readonly lease?: unknown
}

/** The keys and values that `RecordSchema` describes. */
const checks: Checks<Raw> = {
  version: isOneOf(1),
  instanceId: (value) => isText(value) && value !== "",
  ...childChecks,
  bootId: optional(isText),
  pidNamespace: optional(isText),
  createdAt: isText,
  configPath: isText,
  configName: optional(isText),
  stateDir: isText,
  host: isText,
  port: (value) => Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= 65535,
  phase: isOneOf(...phases),
  supervisor: isText,
  supervisorReason: optional(isText),
  lock: optional(isOneOf("kernel", "record")),
  mode: optional(isOneOf("run", "exec")),
  child: optional((value) => pick(childChecks, value) !== undefined),
  ready: optional((value) =>
    isOneOf("none", "port", "notify")(value) || (typeof value === "string" && value.startsWith("http:/"))
  ),
  inheritsLock: optional((value) => typeof value === "boolean"),
  lease: () => true
}

/** Reads a record. A lease that this version does not understand is ignored, and the rest of the record is still used. */
const decode = (json: string): Option.Option<OwnerRecord> =>
  Option.map(
    Option.flatMapNullable(parseJson(json), (value) => pick(checks, value)),
    ({ lease, ...record }) => {
      const child = pick(childChecks, record.child)
      const known = pick(leaseChecks, lease)
      return {
        ...record,
        createdAt: readTime(record.createdAt),
        supervisor: readSupervisor(record.supervisor),
        ...(child === undefined ? {} : { child }),
        ...(known === undefined ? {} : { lease: known })
      }
    }
  )

/** All keys that are written, also those of the objects in a record. */
const keys = [...Object.keys(checks), ...Object.keys(leaseChecks)]

const utf8 = new TextDecoder("utf-8", { fatal: false })

/**
 * Reads a record. Ignores unknown keys and never fails. The result is `None` if the content is empty, incomplete, too
 * large, or no record at all. `None` means that nothing is known about the owner.
 *
 * @example
 * import { FileSystem } from "@effect/platform"
 * import { Effect, Option } from "effect"
 * import { LockFile } from "gateway-lock"
 *
 * // Reads from the lock file in a support bundle which process owned it.
 * const owner = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const record = LockFile.OwnerRecord.parse(yield* fs.readFile("bundle/gateway.873c57fe.lock"))
 *   return Option.map(record, ({ phase, pid, port }) => `pid ${pid}, ${phase} on port ${port}`)
 * })
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (content: Uint8Array): Option.Option<OwnerRecord> =>
  content.length === 0 || content.length > maxBytes ? Option.none() : decode(utf8.decode(content))

/**
 * Encodes a record as the bytes of a lock file: one line of JSON.
 *
 * @internal
 */
export const encode = (record: OwnerRecord): Uint8Array =>
  new TextEncoder().encode(
    `${JSON.stringify({ ...record, createdAt: writeTime(record.createdAt) }, keys)}\n`
  )

/**
 * The address on which the owner listens, or will listen.
 *
 * @since 0.1.0
 * @category getters
 */
export const address = (record: OwnerRecord): Address => ({ host: record.host, port: record.port })

/**
 * The name of the lease for which the owner waits. `undefined` if it leads or has no lease.
 *
 * @internal
 */
export const awaitedLease = ({ lease }: OwnerRecord): string | undefined =>
  lease?.state === "standby" ? lease.name : undefined

/**
 * Converts a record to a `Holder`, the form in which errors carry the owner.
 *
 * @internal
 */
export const toHolder = (record: OwnerRecord, command?: string): Holder => ({
  pid: record.pid,
  ...(Option.isNone(record.createdAt) ? {} : { since: record.createdAt.value }),
  phase: record.phase,
  configPath: record.configPath,
  ...(record.configName === undefined ? {} : { configName: record.configName }),
  stateDir: record.stateDir,
  host: record.host,
  port: record.port,
  instanceId: record.instanceId,
  supervisor: record.supervisor,
  ...(record.ready === undefined ? {} : { ready: record.ready }),
  ...(command === undefined ? {} : { command })
})
