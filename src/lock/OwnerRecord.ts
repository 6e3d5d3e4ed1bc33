/**
 * The owner record: the JSON text in a lock file. It describes the owner, which is the process that holds the lock, to
 * readers of the file. If there is a kernel lock, only the kernel lock decides which process is the owner.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Address } from "../Address.ts"
import { type Holder, Phase, Ready, SupervisorKind } from "../GatewayLockError.ts"
import { ProcessIdentity, processIdentityFields } from "../host/ProcessIdentity.ts"
import { optional } from "../internal/optional.ts"
import * as Lease from "./LeaseRecord.ts"

const Port = Schema.Int.pipe(Schema.between(0, 65535))

/**
 * @since 0.1.0
 * @category schemas
 */
export { LeaseRecord } from "./LeaseRecord.ts"
export { Phase, ProcessIdentity, Ready }

/** If another program wrote text that is not a time, the time is `None`, and the rest of the record is still used. */
const readTime = (text: string): Option.Option<DateTime.Utc> => Option.map(DateTime.make(text), DateTime.toUtc)
const writeTime = (time: Option.Option<DateTime.Utc>): string =>
  Option.isNone(time) ? "" : DateTime.formatIso(time.value)
const recordedTime = Schema.transform(Schema.String, Schema.OptionFromSelf(Schema.DateTimeUtcFromSelf), {
  strict: true,
  decode: readTime,
  encode: writeTime
})

/** A later version may write a kind of supervisor that this version does not know. That kind is read as `external`. */
const readSupervisor = (name: string): SupervisorKind =>
  SupervisorKind.literals.find((kind) => kind === name) ?? "external"
const recordedSupervisor = Schema.transform(Schema.String, SupervisorKind, {
  strict: true,
  decode: readSupervisor,
  encode: (kind) => kind
})

/**
 * The record in a lock file, version 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerRecord extends Schema.Struct.Type<typeof fields> {}

/**
 * An `OwnerRecord` as JSON. Times are in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerRecordEncoded extends Schema.Struct.Encoded<typeof fields> {}

/**
 * Identifies the command that a wrapper (`gateway exec`) has started, by pid and start time. Its boot and its PID
 * namespace are those of the wrapper, which are in the same record.
 *
 * @since 0.1.0
 * @category models
 */
export interface Child extends Schema.Struct.Type<typeof childFields> {}

const { pid, startTime } = processIdentityFields
const childFields = { pid, startTime }
const Child: Schema.Schema<Child> = Schema.Struct(childFields)

const fields = {
  version: Schema.Literal(1),
  /** A new id for every start. `/healthz` answers with this id. */
  instanceId: Schema.NonEmptyString,
  ...processIdentityFields,
  /**
   * When the owner acquired the lock. The owner may have started earlier and waited for the lock. `None` if the text in
   * the file is not a time.
   */
  createdAt: recordedTime,
  /** The canonical path of the config file. `stateDir` is canonical too. */
  configPath: Schema.String,
  /**
   * The absolute config path with its symbolic links unresolved. It identifies the gateway even after a link was changed
   * to another target. Absent in files that older versions of this package wrote.
   */
  configName: optional(Schema.String),
  stateDir: Schema.String,
  /** The host on which the owner listens, or will listen. Empty, with port 0, for an owner without a listener. */
  host: Schema.String,
  port: Port,
  phase: Phase,
  supervisor: recordedSupervisor,
  /** A text that says why the owner assumes the supervisor in `supervisor`. */
  supervisorReason: optional(Schema.String),
  /**
   * What keeps other starts out: a kernel lock, or only this record if no kernel lock is available. Files that other
   * programs wrote do not have this key. A file without it counts as `kernel`.
   */
  lock: optional(Schema.Literal("kernel", "record")),
  /**
   * `run`: the owner serves by itself. `exec`: the owner is a wrapper, which started `child` and keeps the lock for it. Files
   * without this key count as `run`.
   */
  mode: optional(Schema.Literal("run", "exec")),
  /** The command that a wrapper (`mode` is `exec`) has started, in the wrapper's PID namespace. Absent until it has started. */
  child: optional(Child),
  /** The rule by which the owner counts as healthy. Absent for an owner that answers at `/healthz`. */
  ready: optional(Ready),
  /**
   * Whether `child` has the lock files open, which it inherited from the wrapper. The kernel lock is then held until the last
   * process that inherited it has ended, even if the wrapper is killed.
   */
  inheritsLock: optional(Schema.Boolean),
  /** The lease by which the owner leads, or waits to lead, the gateways of several hosts. Absent without a lease. */
  lease: optional(Lease.LeaseRecord)
}

/**
 * The schema of the record in a lock file.
 *
 * @since 0.1.0
 * @category schemas
 */
export const OwnerRecord: Schema.Schema<OwnerRecord, OwnerRecordEncoded> = Schema.Struct(fields)

/**
 * The largest file that is read as a record, in bytes. A gateway never writes a larger file.
 *
 * @internal
 */
export const maxBytes = 64 * 1024

/**
 * The schema of a record's JSON text, without transformations: the time and the supervisor stay text, and `decode` converts
 * them. Effect builds a parser without transformations in less time than one with them.
 */
const FromJson = Schema.parseJson(
  Schema.Struct({
    ...fields,
    createdAt: Schema.String,
    supervisor: Schema.String,
    lease: Schema.optional(Schema.Unknown)
  })
)
/**
 * Parses a record. Effect builds the parser at the first call, and keeps it for later calls. So a start that finds no record
 * does not spend time on the parser.
 */
const decode = (json: string): Either.Either<OwnerRecord, unknown> =>
  Either.map(Schema.decodeUnknownEither(FromJson)(json), ({ lease, ...record }) => ({
    ...record,
    createdAt: readTime(record.createdAt),
    supervisor: readSupervisor(record.supervisor),
    ...Lease.parse(lease)
  }))

/** All keys that are written, also those of the objects in a record. */
const keys = [...Object.keys(fields), ...Lease.keys]

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
  content.length === 0 || content.length > maxBytes ? Option.none() : Either.getRight(decode(utf8.decode(content)))

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
