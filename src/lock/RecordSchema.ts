/**
 * The schemas of the record in a lock file. `OwnerRecord` reads and writes records without them, because a refused start would spend
 * more time on making a schema than on reading its record.
 */
import * as Schema from "effect/Schema"
import { Phase, Ready, SupervisorKind } from "../GatewayLockError.ts"
import { processIdentityFields } from "../host/ProcessIdentity.ts"
import { optional } from "../internal/optional.ts"
import { readSupervisor, readTime, writeTime } from "./recordValues.ts"

const Port = Schema.Int.pipe(Schema.between(0, 65535))

const recordedTime = Schema.transform(Schema.String, Schema.OptionFromSelf(Schema.DateTimeUtcFromSelf), {
  strict: true,
  decode: readTime,
  encode: writeTime
})

const recordedSupervisor = Schema.transform(Schema.String, SupervisorKind, {
  strict: true,
  decode: readSupervisor,
  encode: (kind) => kind
})

/**
 * The lease by which an owner leads, or waits to lead, the gateways of several hosts.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseRecord extends Schema.Struct.Type<typeof leaseFields> {}

const leaseFields = {
  /** The name of the lease. */
  name: Schema.String,
  /** The address of the store, without credentials. Absent until the owner has opened the store. */
  store: optional(Schema.String),
  /** `standby`: waits to lead. `leader`: leads. `lost`: has lost its leadership and ends. */
  state: Schema.Literal("standby", "leader", "lost"),
  /** The fencing token of the leadership, as a decimal number. */
  fencingToken: optional(Schema.String),
  /** When the last renewal that succeeded was sent, by the owner's wall clock. ISO 8601, in UTC. */
  renewedAt: optional(Schema.String),
  /** When the owner stops leading unless it renews before. ISO 8601, in UTC. */
  trustedUntil: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const LeaseRecord: Schema.Schema<LeaseRecord> = Schema.Struct(leaseFields)

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
  lease: optional(LeaseRecord)
}

/**
 * The schema of the record in a lock file.
 *
 * @since 0.1.0
 * @category schemas
 */
export const OwnerRecord: Schema.Schema<OwnerRecord, OwnerRecordEncoded> = Schema.Struct(fields)
