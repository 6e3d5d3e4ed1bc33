/**
 * The errors of a gateway: one class for each failure that a caller handles differently.
 *
 * Each class has its tag as `_tag` and `name`, its data as fields, and a message that is derived from those fields. Match a
 * class with `Effect.catchTag("PortInUse", …)`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { toUrl } from "./Address.ts"
import { milliseconds } from "./internal/milliseconds.ts"
import { optional } from "./internal/optional.ts"
import { printable } from "./internal/printable.ts"

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
export const PidMeaning = Schema.Literal("Alive", "Gone", "OtherPidNamespace", "OtherBoot", "Unknown")

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
export interface ServiceUnit extends Schema.Struct.Type<typeof serviceUnitFields> {}

const serviceUnitFields = {
  name: Schema.String,
  /** `user`: the unit is controlled with `systemctl --user`. */
  scope: Schema.Literal("system", "user")
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const ServiceUnit: Schema.Schema<ServiceUnit> = Schema.Struct(serviceUnitFields)

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
export const SupervisorKind = Schema.Literal("none", "systemd", "launchd", "schtasks", "external")

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
export const Phase = Schema.Literal("starting", "listening", "draining")

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
export interface Holder extends Schema.Struct.Type<typeof fieldsOfHolder> {}

/**
 * `Holder` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface HolderEncoded extends Schema.Struct.Encoded<typeof fieldsOfHolder> {}

const fieldsOfHolder = {
  /** Process id in the holder's own PID namespace. */
  pid: optional(Schema.Number),
  /** What `pid` means to the process that raised the error. Absent if that process did not look the pid up. */
  pidMeaning: optional(PidMeaning),
  /** The program's file name, without its arguments. Present only if the process is `Alive`. */
  command: optional(Schema.String),
  /**
   * The pid of a `gateway exec` process that has ended, although the command that it started still runs and keeps the lock. The
   * field `pid` then has the pid of that command.
   */
  endedWrapper: optional(Schema.Number),
  /** The rule by which the holder counts as healthy. Absent for a holder that answers at `/healthz`. */
  ready: optional(Ready),
  /** When the holder acquired the lock, by the wall clock of its host. */
  since: optional(Schema.DateTimeUtc),
  phase: optional(Phase),
  configPath: optional(Schema.String),
  /** The absolute path of the config file, with symbolic links unresolved. */
  configName: optional(Schema.String),
  stateDir: optional(Schema.String),
  /** The host that the holder listens on, or will listen on once it has started. */
  host: optional(Schema.String),
  port: optional(Schema.Number),
  instanceId: optional(Schema.String),
  supervisor: optional(SupervisorKind),
  /** The unit that the holder runs in. Present only if the process is `Alive`. */
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

const pidOf = (holder: Holder | undefined): string => holder?.pid === undefined ? "" : ` (pid ${holder.pid})`

/**
 * The requested address already has a listener. The start fails at once and does not wait.
 *
 * @since 0.1.0
 * @category errors
 */
export class PortInUse extends Schema.TaggedError<PortInUse>("gateway-lock/PortInUse")("PortInUse", {
  host: Schema.String,
  port: Schema.Number,
  /** The process that listens, if it owns a gateway's lock and the record in the lock file could be read. */
  holder: optional(Holder),
  /** What the start found out about the listener, in words. */
  listener: optional(Schema.String)
}) {
  override get message() {
    return `another gateway instance is already listening on ${toUrl(this)}`
  }
}

/**
 * The address could not be bound, although no listener was found on it. For example, this process may not use the
 * address (`EACCES`), or the host does not have it (`EADDRNOTAVAIL`).
 *
 * @since 0.1.0
 * @category errors
 */
export class BindFailed extends Schema.TaggedError<BindFailed>("gateway-lock/BindFailed")("BindFailed", {
  host: Schema.String,
  port: Schema.Number,
  reason: Schema.String,
  /** The errno name, if the error has one. */
  code: optional(Schema.String),
  /** The addresses that this host has. Present only with `EADDRNOTAVAIL`. */
  available: optional(Schema.Array(Schema.String)),
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(`failed to bind gateway socket on ${toUrl(this)}: ${this.reason}`)
  }
}

/**
 * Another process holds the lock and does not serve the requested port.
 *
 * If the owner serves another port, `serving` is set and the start fails at once. Otherwise the start waits for `timeout`
 * before it fails.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockHeld extends Schema.TaggedError<LockHeld>("gateway-lock/LockHeld")("LockHeld", {
  path: Schema.String,
  /** How long the start waited. In JSON, milliseconds under `timeoutMs`. */
  timeout: milliseconds("timeoutMs"),
  holder: optional(Holder),
  serving: optional(Schema.Struct({ host: Schema.String, port: Schema.Number }))
}) {
  override get message() {
    return this.serving === undefined
      ? `gateway already running${pidOf(this.holder)}; lock timeout after ${Duration.toMillis(this.timeout)}ms`
      : `gateway already running${pidOf(this.holder)} on ${toUrl(this.serving)}`
  }
}

/**
 * The lock could not be acquired, and no other process was found to hold it. Possible reasons are missing permission, a full
 * disk, or a path that is not a file.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockUnavailable
  extends Schema.TaggedError<LockUnavailable>("gateway-lock/LockUnavailable")("LockUnavailable", {
    path: Schema.String,
    reason: Schema.String,
    /** The owner that the lock file names, if the file could be read. */
    holder: optional(Holder),
    cause: optional(Schema.Defect)
  })
{
  override get message() {
    return printable(`failed to acquire gateway lock at ${this.path}: ${this.reason}`)
  }
}

/**
 * This process no longer holds its lock: the lock file was removed or replaced, and could not be restored. The process must
 * stop serving.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLost extends Schema.TaggedError<LockLost>("gateway-lock/LockLost")("LockLost", {
  path: Schema.String,
  reason: Schema.String,
  /** The process that holds the lock now, if known. */
  holder: optional(Holder),
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(`lost gateway lock at ${this.path}: ${this.reason}`)
  }
}

/**
 * A start under a supervisor found that a healthy gateway already runs. The start fails, and the running gateway keeps the lock
 * and the port.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerHealthy extends Schema.TaggedError<OwnerHealthy>("gateway-lock/OwnerHealthy")("OwnerHealthy", {
  supervisor: SupervisorKind,
  host: Schema.String,
  port: Schema.Number,
  holder: optional(Holder)
}) {
  override get message() {
    return `gateway already running under ${this.supervisor}; existing gateway is healthy, ${
      this.supervisor === "systemd"
        ? "exiting with code 78 to prevent a systemd Restart=always loop"
        : "leaving it in control"
    }`
  }
}

/**
 * A start under a supervisor found that another process, the owner, has the lock or the port. The owner did not become healthy
 * within `timeout`.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerUnhealthy
  extends Schema.TaggedError<OwnerUnhealthy>("gateway-lock/OwnerUnhealthy")("OwnerUnhealthy", {
    supervisor: SupervisorKind,
    host: Schema.String,
    port: Schema.Number,
    /** How long the start waited. In JSON, milliseconds under `timeoutMs`. */
    timeout: milliseconds("timeoutMs"),
    holder: optional(Holder)
  })
{
  override get message() {
    return `gateway already running under ${this.supervisor}; existing gateway did not become healthy after ${
      Duration.toMillis(this.timeout)
    }ms`
  }
}

/**
 * This process no longer leads among hosts: its lease was not renewed in time, was taken over, or was handed over. The process must
 * stop everything that only a leader may do, and end.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeadershipLost
  extends Schema.TaggedError<LeadershipLost>("gateway-lock/LeadershipLost")("LeadershipLost", {
    /** The name of the lease. */
    lease: Schema.String,
    reason: Schema.String,
    /** The token of the leadership that was lost. In JSON, a decimal number as a string. */
    fencingToken: optional(Schema.BigInt),
    cause: optional(Schema.Defect)
  })
{
  override get message() {
    return printable(`lost leadership of ${this.lease}: ${this.reason}`)
  }
}

/**
 * The lease cannot be used as it is: a right is missing, the times do not fit together, or the fencing token is not higher than one
 * that this host has seen. A store that is down is waited for, and is no such error.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseUnavailable
  extends Schema.TaggedError<LeaseUnavailable>("gateway-lock/LeaseUnavailable")("LeaseUnavailable", {
    /** The name of the lease. */
    lease: Schema.String,
    /** The address of the store, without credentials. */
    store: Schema.String,
    reason: Schema.String,
    cause: optional(Schema.Defect)
  })
{
  override get message() {
    return printable(`failed to use lease ${this.lease} at ${this.store}: ${this.reason}`)
  }
}

const family = [
  PortInUse,
  BindFailed,
  LockHeld,
  LockUnavailable,
  LockLost,
  OwnerHealthy,
  OwnerUnhealthy,
  LeadershipLost,
  LeaseUnavailable
] as const

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
export const GatewayLockError = Schema.Union(...family)

/**
 * Any error of this module: a union whose members `Effect.catchTags` handles by tag.
 *
 * @since 0.1.0
 * @category errors
 */
export type GatewayLockError = typeof GatewayLockError.Type

/**
 * Whether a value is an error of this module.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isGatewayLockError = (u: unknown): u is GatewayLockError => family.some((error) => u instanceof error)
