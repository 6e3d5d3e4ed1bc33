/**
 * What a lock file says about its owner. It explains; the kernel lock decides.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Address } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { ProcessIdentity } from "../host/ProcessIdentity.ts"
import { optional } from "../internal/optional.ts"

const Port = Schema.Int.pipe(Schema.between(0, 65535))

export { ProcessIdentity }

/**
 * `starting` until the port is bound, `listening` while it serves, `draining` once shutdown has begun.
 *
 * @since 0.1.0
 * @category models
 */
export const Phase = Schema.Literal("starting", "listening", "draining")

/**
 * @since 0.1.0
 * @category models
 */
export type Phase = typeof Phase.Type

/**
 * What a lock file holds, version 1.
 *
 * @since 0.1.0
 * @category models
 */
export const OwnerRecord = Schema.Struct({
  version: Schema.Literal(1),
  /** New for every start; `/healthz` shows the same. */
  instanceId: Schema.NonEmptyString,
  ...ProcessIdentity.fields,
  /** When the lock was acquired, ISO 8601, UTC: not when the start began, which may have waited for it. */
  createdAt: Schema.String,
  /** Canonical, as the next one. */
  configPath: Schema.String,
  /** The absolute path with its links unresolved: the same gateway when a link of it leads elsewhere. Absent in older files. */
  configName: optional(Schema.String),
  stateDir: Schema.String,
  /** Where it listens, or means to; empty, with port 0, for an owner that serves nothing. */
  host: Schema.String,
  port: Port,
  phase: Phase,
  /** Who restarts it: `none`, `systemd`, `launchd`, `schtasks` or `external`. */
  supervisor: Schema.String,
  /** Why we think so, in words. */
  supervisorReason: optional(Schema.String),
  /**
   * What keeps others out: a kernel lock, or (where none can be had) only this record.
   * Absent in files of other writers, which means `kernel`.
   */
  lock: optional(Schema.Literal("kernel", "record"))
})

/**
 * @since 0.1.0
 * @category models
 */
export type OwnerRecord = typeof OwnerRecord.Type

/**
 * The largest file that is read as a record, in bytes. Anything larger was not written by a gateway.
 *
 * @internal
 */
export const maxBytes = 64 * 1024

const FromJson = Schema.parseJson(OwnerRecord)
/** Not a constant: the parser is made when the first record is read, and a start that finds none does without. */
const decode = (json: string) => Schema.decodeUnknownEither(FromJson)(json)

const keys = Object.keys(OwnerRecord.fields)

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
 * // A support bundle has a copy of the lock file: whose was it?
 * const owner = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const record = LockFile.OwnerRecord.parse(yield* fs.readFile("bundle/gateway.873c57fe.lock"))
 *   return Option.map(record, ({ createdAt, phase, pid }) => `pid ${pid}, ${phase}, since ${createdAt}`)
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
export const encode = (record: OwnerRecord): Uint8Array => new TextEncoder().encode(`${JSON.stringify(record, keys)}\n`)

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
  since: record.createdAt,
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
