/**
 * What can go wrong, one class per thing a caller does differently.
 *
 * Every class has its reason as `_tag` and `name`, data as fields and a message derived from them. Match with `Effect.catchTag("PortInUse", …)`.
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
 * Whose number a recorded pid is here and now.
 *
 * - `Alive`: the recorded process's. Only then may it be signalled.
 * - `Gone`: that process has ended, and the number may be a stranger's.
 * - `OtherPidNamespace`, `OtherBoot`: it was given in another PID namespace (a container's) or boot (or by another
 *   machine), and means nothing here.
 * - `Unknown`: it cannot be told.
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
 * A unit of systemd, and whose manager runs it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceUnit extends Schema.Struct.Type<typeof serviceUnitFields> {}

const serviceUnitFields = {
  name: Schema.String,
  /** `user`: reached by `systemctl --user`. */
  scope: Schema.Literal("system", "user")
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const ServiceUnit: Schema.Schema<ServiceUnit> = Schema.Struct(serviceUnitFields)

/**
 * Who restarts a gateway: nobody, systemd (systemd.service(5)), launchd (launchd.plist(5)), the Task Scheduler of Windows, or
 * somebody who has to be named, such as a container runtime.
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
 * How far a gateway is: `starting` until the port is bound, `listening` while it serves, `draining` once shutdown has begun.
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
 * Who holds a lock or a port, as far as it is known. Never holds arguments or environment:
 * they can contain secrets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Holder extends Schema.Struct.Type<typeof fieldsOfHolder> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface HolderEncoded extends Schema.Struct.Encoded<typeof fieldsOfHolder> {}

const fieldsOfHolder = {
  /** Process id in the holder's own PID namespace. */
  pid: optional(Schema.Number),
  /** Whose number that is where the error comes from. Absent where nobody looked. */
  pidMeaning: optional(PidMeaning),
  /** The program's file name, without its arguments; only of a process that is `Alive`. */
  command: optional(Schema.String),
  /** When it took the lock, by its host's wall clock. */
  since: optional(Schema.DateTimeUtc),
  phase: optional(Phase),
  configPath: optional(Schema.String),
  /** The config file's absolute path with its links unresolved. */
  configName: optional(Schema.String),
  stateDir: optional(Schema.String),
  /** Where it listens, or means to. */
  host: optional(Schema.String),
  port: optional(Schema.Number),
  instanceId: optional(Schema.String),
  supervisor: optional(SupervisorKind),
  /** The unit that it runs in; only of a process that is `Alive`. */
  unit: optional(ServiceUnit)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Holder: Schema.Schema<Holder, HolderEncoded> = Schema.Struct(fieldsOfHolder)

/**
 * For schemas that have these keys among others.
 *
 * @internal
 */
export const holderFields = fieldsOfHolder

const pidOf = (holder: Holder | undefined): string => holder?.pid === undefined ? "" : ` (pid ${holder.pid})`

/**
 * Something listens on our address already. Nothing was waited for.
 *
 * @since 0.1.0
 * @category errors
 */
export class PortInUse extends Schema.TaggedError<PortInUse>("gateway-lock/PortInUse")("PortInUse", {
  host: Schema.String,
  port: Schema.Number,
  /** Who it is, where the listener is the owner of a lock that we could read. */
  holder: optional(Holder),
  /** What the listener answered when asked, in words. */
  listener: optional(Schema.String)
}) {
  override get message() {
    return `another gateway instance is already listening on ${toUrl(this)}`
  }
}

/**
 * The address is free, or not ours to use, and still could not be bound (`EACCES`, `EADDRNOTAVAIL`, …).
 *
 * @since 0.1.0
 * @category errors
 */
export class BindFailed extends Schema.TaggedError<BindFailed>("gateway-lock/BindFailed")("BindFailed", {
  host: Schema.String,
  port: Schema.Number,
  reason: Schema.String,
  /** The errno name, where there is one. */
  code: optional(Schema.String),
  /** With `EADDRNOTAVAIL`: the addresses that this host has. */
  available: optional(Schema.Array(Schema.String)),
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(`failed to bind gateway socket on ${toUrl(this)}: ${this.reason}`)
  }
}

/**
 * Another process holds the lock and does not serve our port.
 *
 * `serving` is set where the owner runs on another port, so that nothing was waited for;
 * otherwise `timeout` was waited in vain.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockHeld extends Schema.TaggedError<LockHeld>("gateway-lock/LockHeld")("LockHeld", {
  path: Schema.String,
  /** How long was waited. As JSON, milliseconds under `timeoutMs`. */
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
 * The lock could be neither taken nor found held: no permission, no space, not a file, …
 *
 * @since 0.1.0
 * @category errors
 */
export class LockUnavailable
  extends Schema.TaggedError<LockUnavailable>("gateway-lock/LockUnavailable")("LockUnavailable", {
    path: Schema.String,
    reason: Schema.String,
    /** Whom the lock file names, where it can be read at least. */
    holder: optional(Holder),
    cause: optional(Schema.Defect)
  })
{
  override get message() {
    return printable(`failed to acquire gateway lock at ${this.path}: ${this.reason}`)
  }
}

/**
 * The lock was ours and is no longer: its file was removed or replaced, and could not be had again. Stop serving.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLost extends Schema.TaggedError<LockLost>("gateway-lock/LockLost")("LockLost", {
  path: Schema.String,
  reason: Schema.String,
  /** Who has it now, where that is known. */
  holder: optional(Holder),
  cause: optional(Schema.Defect)
}) {
  override get message() {
    return printable(`lost gateway lock at ${this.path}: ${this.reason}`)
  }
}

/**
 * Under a supervisor: a healthy gateway runs already and keeps control.
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
 * Under a supervisor: the owner did not become healthy within the bound.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerUnhealthy
  extends Schema.TaggedError<OwnerUnhealthy>("gateway-lock/OwnerUnhealthy")("OwnerUnhealthy", {
    supervisor: SupervisorKind,
    host: Schema.String,
    port: Schema.Number,
    /** How long was waited. As JSON, milliseconds under `timeoutMs`. */
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

const family = [PortInUse, BindFailed, LockHeld, LockUnavailable, LockLost, OwnerHealthy, OwnerUnhealthy] as const

/**
 * The whole family, for encoding and decoding. A start raises `PortInUse`, `BindFailed`, `LockHeld` and `LockUnavailable`,
 * `Recovery` `OwnerHealthy` and `OwnerUnhealthy` besides, and a running gateway `LockLost`.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const program = Gateway.launch(Gateway.layer({ port: 18789 })).pipe(
 *   Effect.catchTags({
 *     // Somebody serves already: there is nothing to do.
 *     PortInUse: ({ holder }) => Effect.log(`it runs, as pid ${holder?.pid ?? "unknown"}`),
 *     LockHeld: ({ serving }) => Effect.log(`it runs, on port ${serving?.port ?? "unknown"}`),
 *     // It must not go on without the lock: whoever has it now serves.
 *     LockLost: ({ message }) => Effect.logError(message)
 *   })
 * )
 *
 * @since 0.1.0
 * @category schemas
 */
export const GatewayLockError = Schema.Union(...family)

/**
 * Any of them: a union that `Effect.catchTags` takes apart.
 *
 * @since 0.1.0
 * @category errors
 */
export type GatewayLockError = typeof GatewayLockError.Type

/**
 * Whether a value is any of the errors of this module.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isGatewayLockError = (u: unknown): u is GatewayLockError => family.some((error) => u instanceof error)
