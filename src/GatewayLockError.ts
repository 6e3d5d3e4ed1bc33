/**
 * The errors of a gateway: one class for each failure that a caller handles differently.
 *
 * Each class has its tag as `_tag` and `name`, its data as fields, and a message that is derived from those fields. Match a
 * class with `Effect.catchTag("PortInUse", …)`.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import * as Errors from "./internal/lockErrors.ts"
import { milliseconds } from "./internal/milliseconds.ts"
import { optional } from "./internal/optional.ts"

export {
  BindFailed,
  isGatewayLockError,
  LeadershipLost,
  LeaseUnavailable,
  LockHeld,
  LockLost,
  LockUnavailable,
  OwnerHealthy,
  OwnerUnhealthy,
  PortInUse
} from "./internal/lockErrors.ts"

/**
 * The meaning of the pid in a lock file's record, as seen from this process now. When the record was written, that pid was the pid
 * of the lock's owner.
 *
 * - `Alive`: the recorded process runs and has this pid. Only in this case may a signal be sent to the pid.
 * - `Gone`: the recorded process has ended. An unrelated process may have the same pid now.
 * - `OtherPidNamespace`: the pid is from another PID namespace, such as a container's, and means nothing here.
 * - `OtherBoot`: the pid is from another boot or another machine, and means nothing here.
 * - `Unknown`: the state of the recorded process cannot be determined.
 *
 * @since 0.1.0
 * @category models
 */
export const PidMeaning = Schema.Literal(...Errors.pidMeanings)

/**
 * @since 0.1.0
 * @category models
 */
export type PidMeaning = typeof PidMeaning.Type

/**
 * A systemd unit, and whether the system's or a user's service manager runs it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceUnit {
  readonly name: string
  /** `user`: the unit is controlled with `systemctl --user`. */
  readonly scope: "system" | "user"
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const ServiceUnit: Schema.Schema<ServiceUnit> = Schema.Struct({
  name: Schema.String,
  scope: Schema.Literal("system", "user")
})

/**
 * The supervisor that restarts a gateway.
 *
 * - `none`: no supervisor.
 * - `systemd`: systemd.service(5).
 * - `launchd`: launchd.plist(5).
 * - `schtasks`: the Task Scheduler of Windows.
 * - `external`: another supervisor, such as a container runtime. It is not detected, so the settings have to say `external`.
 *
 * @since 0.1.0
 * @category models
 */
export const SupervisorKind = Schema.Literal(...Errors.supervisorKinds)

/**
 * @since 0.1.0
 * @category models
 */
export type SupervisorKind = typeof SupervisorKind.Type

/**
 * The progress of a gateway: `starting` until the port is bound, `listening` while it serves, `draining` once shutdown has
 * begun.
 *
 * @since 0.1.0
 * @category models
 */
export const Phase = Schema.Literal(...Errors.phases)

/**
 * @since 0.1.0
 * @category models
 */
export type Phase = typeof Phase.Type

/**
 * The rule by which the owner of a lock counts as healthy. Only an owner that does not answer at `/healthz` has such a rule, for
 * example a command that `gateway exec` runs. The owner is healthy:
 *
 * - `none`: while it holds the lock.
 * - `port`: while one of its processes listens on its port.
 * - `http:<path>`: while a request for that path at its address gets a status of 200 to 299.
 * - `notify`: while it holds the lock, after the command has told systemd that it is ready. The phase `listening` says that it has.
 *
 * @since 0.1.0
 * @category models
 */
export type Ready = "none" | "port" | "notify" | `http:/${string}`

/**
 * @since 0.1.0
 * @category schemas
 */
export const Ready: Schema.Schema<Ready> = Schema.Union(
  Schema.Literal("none", "port", "notify"),
  Schema.TemplateLiteral("http:/", Schema.String)
)

/**
 * What is known of the process that holds a lock or a port. Never contains the process's arguments or environment, because
 * they can contain secrets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Holder {
  /** Process id in the holder's own PID namespace. */
  readonly pid?: number
  /** What `pid` means to the process that raised the error. Absent if that process did not look the pid up. */
  readonly pidMeaning?: PidMeaning
  /** The program's file name, without its arguments. Present only if the process is `Alive`. */
  readonly command?: string
  /**
   * The pid of a `gateway exec` process that has ended, although the command that it started still runs and keeps the lock. The
   * field `pid` then has the pid of that command.
   */
  readonly endedWrapper?: number
  /** The rule by which the holder counts as healthy. Absent for a holder that answers at `/healthz`. */
  readonly ready?: Ready
  /** When the holder acquired the lock, by the wall clock of its host. */
  readonly since?: DateTime.Utc
  readonly phase?: Phase
  readonly configPath?: string
  /** The absolute path of the config file, with symbolic links unresolved. */
  readonly configName?: string
  readonly stateDir?: string
  /** The host that the holder listens on, or will listen on once it has started. */
  readonly host?: string
  readonly port?: number
  readonly instanceId?: string
  readonly supervisor?: SupervisorKind
  /** The unit that the holder runs in. Present only if the process is `Alive`. */
  readonly unit?: ServiceUnit
}

/**
 * `Holder` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface HolderEncoded extends Schema.Struct.Encoded<typeof fieldsOfHolder> {}

const fieldsOfHolder = {
  pid: optional(Schema.Number),
  pidMeaning: optional(PidMeaning),
  command: optional(Schema.String),
  endedWrapper: optional(Schema.Number),
  ready: optional(Ready),
  since: optional(Schema.DateTimeUtc),
  phase: optional(Phase),
  configPath: optional(Schema.String),
  configName: optional(Schema.String),
  stateDir: optional(Schema.String),
  host: optional(Schema.String),
  port: optional(Schema.Number),
  instanceId: optional(Schema.String),
  supervisor: optional(SupervisorKind),
  unit: optional(ServiceUnit)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Holder: Schema.Schema<Holder, HolderEncoded> = Schema.Struct(fieldsOfHolder)

/**
 * The fields of `Holder`, for schemas that have these fields and others.
 *
 * @internal
 */
export const holderFields = fieldsOfHolder

/** The schema of an error, from its class and the schemas of its fields. It has the tag and these schemas as properties. */
const errorSchema = <
  Tag extends GatewayLockError["_tag"],
  Fields extends Schema.Struct.Fields,
  E extends Schema.Schema.Type<Schema.TaggedStruct<Tag, Fields>>
>(
  tag: Tag,
  error: new(fields: Schema.Schema.Type<Schema.TaggedStruct<Tag, Fields>>) => E,
  fields: Fields
) =>
  Object.assign(
    Schema.transform(Schema.TaggedStruct(tag, fields), Schema.instanceOf(error), {
      strict: true,
      decode: (fields) => new error(fields),
      encode: (error) => error
    }),
    { _tag: tag, fields }
  )

const host = { host: Schema.String, port: Schema.Number }
const cause = { cause: optional(Schema.Defect) }
const holder = { holder: optional(Holder) }

/**
 * The schema of each error.
 *
 * @internal
 */
export const schemas = {
  PortInUse: errorSchema("PortInUse", Errors.PortInUse, { ...host, ...holder, listener: optional(Schema.String) }),
  BindFailed: errorSchema("BindFailed", Errors.BindFailed, {
    ...host,
    reason: Schema.String,
    code: optional(Schema.String),
    available: optional(Schema.Array(Schema.String)),
    ...cause
  }),
  LockHeld: errorSchema("LockHeld", Errors.LockHeld, {
    path: Schema.String,
    timeout: milliseconds("timeoutMs"),
    ...holder,
    serving: optional(Schema.Struct(host))
  }),
  LockUnavailable: errorSchema("LockUnavailable", Errors.LockUnavailable, {
    path: Schema.String,
    reason: Schema.String,
    ...holder,
    ...cause
  }),
  LockLost: errorSchema("LockLost", Errors.LockLost, {
    path: Schema.String,
    reason: Schema.String,
    ...holder,
    ...cause
  }),
  OwnerHealthy: errorSchema("OwnerHealthy", Errors.OwnerHealthy, { supervisor: SupervisorKind, ...host, ...holder }),
  OwnerUnhealthy: errorSchema("OwnerUnhealthy", Errors.OwnerUnhealthy, {
    supervisor: SupervisorKind,
    ...host,
    timeout: milliseconds("timeoutMs"),
    ...holder
  }),
  LeadershipLost: errorSchema("LeadershipLost", Errors.LeadershipLost, {
    lease: Schema.String,
    reason: Schema.String,
    fencingToken: optional(Schema.BigInt),
    ...cause
  }),
  LeaseUnavailable: errorSchema("LeaseUnavailable", Errors.LeaseUnavailable, {
    lease: Schema.String,
    store: Schema.String,
    reason: Schema.String,
    ...cause
  })
}

/**
 * The schema of all errors in this module, for encoding and decoding. A start fails with `PortInUse`, `BindFailed`,
 * `LockHeld` or `LockUnavailable`. A start under a supervisor (`supervisor/Recovery.ts`) can also fail with `OwnerHealthy` or
 * `OwnerUnhealthy`. A running gateway fails with `LockLost`. With a lease (`leader/Leadership.ts`), a start can also fail with
 * `LeaseUnavailable`, and a running leader with `LeadershipLost`.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const program = Gateway.launch(Gateway.layer({ port: 18789 })).pipe(
 *   Effect.catchTags({
 *     // A gateway already runs: there is nothing to do.
 *     PortInUse: ({ holder }) => Effect.log(`it runs, as pid ${holder?.pid ?? "unknown"}`),
 *     LockHeld: ({ serving }) => Effect.log(`it runs, on port ${serving?.port ?? "unknown"}`),
 *     // Another process may serve now: this one must not continue without the lock.
 *     LockLost: ({ message }) => Effect.logError(message)
 *   })
 * )
 *
 * @since 0.1.0
 * @category schemas
 */
export const GatewayLockError = Schema.Union(
  schemas.PortInUse,
  schemas.BindFailed,
  schemas.LockHeld,
  schemas.LockUnavailable,
  schemas.LockLost,
  schemas.OwnerHealthy,
  schemas.OwnerUnhealthy,
  schemas.LeadershipLost,
  schemas.LeaseUnavailable
)

/**
 * Any error of this module: a union whose members `Effect.catchTags` handles by tag.
 *
 * @since 0.1.0
 * @category errors
 */
export type GatewayLockError =
  | Errors.PortInUse
  | Errors.BindFailed
  | Errors.LockHeld
  | Errors.LockUnavailable
  | Errors.LockLost
  | Errors.OwnerHealthy
  | Errors.OwnerUnhealthy
  | Errors.LeadershipLost
  | Errors.LeaseUnavailable
