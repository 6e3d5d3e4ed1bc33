/**
 * What a lock file says about its owner. It explains; the kernel lock decides.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Address } from "../Address.ts"
import { type Holder, Phase, SupervisorKind } from "../GatewayLockError.ts"
import { ProcessIdentity, processIdentityFields } from "../host/ProcessIdentity.ts"
import { optional } from "../internal/optional.ts"

const Port = Schema.Int.pipe(Schema.between(0, 65535))

export { Phase, ProcessIdentity }

/** What another program wrote may be no time: then the rest of the record still counts. */
const recordedTime = Schema.transform(Schema.String, Schema.OptionFromSelf(Schema.DateTimeUtcFromSelf), {
  strict: true,
  decode: (text) => Option.map(DateTime.make(text), DateTime.toUtc),
  encode: Option.match({ onNone: () => "", onSome: DateTime.formatIso })
})

/** A later version may write a kind that this one does not know: to this one it is one of the others. */
const recordedSupervisor = Schema.transform(Schema.String, SupervisorKind, {
  strict: true,
  decode: (name) => Schema.is(SupervisorKind)(name) ? name : "external",
  encode: (kind) => kind
})

/**
 * What a lock file holds, version 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerRecord extends Schema.Struct.Type<typeof fields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerRecordEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  version: Schema.Literal(1),
  /** New for every start; `/healthz` shows the same. */
  instanceId: Schema.NonEmptyString,
  ...processIdentityFields,
  /**
   * When the lock was acquired: not when the start began, which may have waited for it. `None` where the file has a text there that
   * is no time.
   */
  createdAt: recordedTime,
  /** Canonical, as the next one. */
  configPath: Schema.String,
  /** The absolute path with its links unresolved: the same gateway when a link of it leads elsewhere. Absent in older files. */
  configName: optional(Schema.String),
  stateDir: Schema.String,
  /** Where it listens, or means to; empty, with port 0, for an owner that serves nothing. */
  host: Schema.String,
  port: Port,
  phase: Phase,
  supervisor: recordedSupervisor,
  /** Why we think so, in words. */
  supervisorReason: optional(Schema.String),
  /**
   * What keeps others out: a kernel lock, or (where none can be had) only this record.
   * Absent in files of other writers, which means `kernel`.
   */
  lock: optional(Schema.Literal("kernel", "record"))
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const OwnerRecord: Schema.Schema<OwnerRecord, OwnerRecordEncoded> = Schema.Struct(fields)

/**
 * The largest file that is read as a record, in bytes. Anything larger was not written by a gateway.
 *
 * @internal
 */
export const maxBytes = 64 * 1024

const FromJson = Schema.parseJson(OwnerRecord)
/** Not a constant: the parser is made when the first record is read, and a start that finds none does without. */
const decode = (json: string) => Schema.decodeUnknownEither(FromJson)(json)

const keys = Object.keys(fields)

const utf8 = new TextDecoder("utf-8", { fatal: false })

/**
 * Reads a record. Unknown keys are ignored; an empty, torn, oversized or foreign file is
 * `None`, "no information about the owner", and never an error.
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
 * The bytes of a lock file: one line of JSON.
 *
 * @internal
 */
export const encode = (record: OwnerRecord): Uint8Array =>
  new TextEncoder().encode(
    `${JSON.stringify({ ...record, createdAt: Schema.encodeSync(recordedTime)(record.createdAt) }, keys)}\n`
  )

/**
 * Where the owner listens, or means to.
 *
 * @since 0.1.0
 * @category getters
 */
export const address = (record: OwnerRecord): Address => ({ host: record.host, port: record.port })

/**
 * The record as the errors carry it.
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
  ...(command === undefined ? {} : { command })
})
