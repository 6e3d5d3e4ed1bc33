/**
 * The answer to `gateway status`: a gateway's lock, its owner, the port and its health at one moment, as schemas.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { holderFields, ServiceUnit } from "../GatewayLockError.ts"
import { optionalMilliseconds } from "../internal/milliseconds.ts"
import { optional } from "../internal/optional.ts"

/**
 * Lock, owner and port in one word.
 *
 * - `running`: the lock is held, and its owner answers, healthy.
 * - `starting`: the lock is held by one that does not serve yet.
 * - `draining`: the lock is held by one that shuts down.
 * - `unhealthy`: the lock is held by one that should serve, and does not, or says that it is not well.
 * - `dead`: nobody holds the lock; an owner that did not end in order left its file.
 * - `not-running`: there is no lock file, and the port is free.
 * - `foreign-listener`: somebody has the port who is not the lock's owner.
 * - `unknown`: it cannot be told; the reason says why.
 *
 * @since 0.1.0
 * @category models
 */
export const Verdict = Schema.Literal(
  "running",
  "starting",
  "draining",
  "unhealthy",
  "dead",
  "not-running",
  "foreign-listener",
  "unknown"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Verdict = typeof Verdict.Type

/**
 * Who a lock file names. Arguments and environment of a process are never part of it: they can hold secrets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner extends Schema.Struct.Type<typeof ownerFields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerEncoded extends Schema.Struct.Encoded<typeof ownerFields> {}

const ownerFields = {
  ...holderFields,
  /** The profile whose state directory it has, by this platform's folders; absent for a directory of its own. */
  profile: optional(Schema.String),
  /** Why it takes `supervisor` for its supervisor, in words. */
  supervisorReason: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Owner: Schema.Schema<Owner, OwnerEncoded> = Schema.Struct(ownerFields)

/**
 * One lock file.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lock extends Schema.Struct.Type<typeof lockFields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockEncoded extends Schema.Struct.Encoded<typeof lockFields> {}

const lockFields = {
  path: Schema.String,
  /**
   * `absent`: there is no such file; `held`: somebody has it; `left`: nobody has it, and it was not removed; `unknown`: it
   * cannot be told.
   */
  state: Schema.Literal("absent", "held", "left", "unknown"),
  /** What keeps others out of a held one: the kernel's lock, or only its record. */
  enforcement: optional(Schema.Literal("kernel", "record")),
  /** Of a left one, since it was last written or touched. As JSON, milliseconds under `ageMs`. */
  age: optionalMilliseconds("ageMs"),
  /** Why it cannot be told, in words. */
  reason: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Lock: Schema.Schema<Lock, LockEncoded> = Schema.Struct(lockFields)

/**
 * A process that listens on the port.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listener extends Schema.Struct.Type<typeof listenerFields> {}

const listenerFields = {
  /** The address that its socket is bound to. */
  host: Schema.String,
  /** Absent where the process is not visible from here: another user's, or in another PID namespace. */
  pid: optional(Schema.Int),
  /** The program's file name, without its arguments. */
  command: optional(Schema.String),
  /** Whether it is the lock's owner. */
  isOwner: Schema.Boolean
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Listener: Schema.Schema<Listener> = Schema.Struct(listenerFields)

/**
 * What keeps a gateway from a port on which nothing listens.
 *
 * @since 0.1.0
 * @category models
 */
export interface Blocked extends Schema.Struct.Type<typeof blockedFields> {}

const blockedFields = {
  /** What has it, in words. */
  reason: Schema.String,
  /** Absent where the process is not visible from here. */
  pid: optional(Schema.Int),
  /** The program's file name, without its arguments. */
  command: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Blocked: Schema.Schema<Blocked> = Schema.Struct(blockedFields)

/**
 * The port that was asked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Port extends Schema.Struct.Type<typeof portFields> {}

const portFields = {
  host: Schema.String,
  port: Schema.Int,
  /** Whose address it is: the lock owner's, or the one of the settings. */
  from: Schema.Literal("owner", "settings"),
  /** Who answers: nobody, a gateway, somebody else, or somebody who does not answer in time. */
  state: Schema.Literal("free", "gateway", "foreign", "stalled"),
  /** The processes that listen there, as far as they can be seen. */
  listeners: Schema.Array(Listener),
  /** Why they cannot be told, in words. */
  listenersUnknown: optional(Schema.String),
  /** Where nobody listens, and no gateway runs: what keeps one from binding it nevertheless. */
  blocked: optional(Blocked)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Port: Schema.Schema<Port> = Schema.Struct(portFields)

/**
 * What `/healthz` of the asked port says.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health extends Schema.Struct.Type<typeof healthFields> {}

const healthFields = {
  /** Whether a healthy gateway answers there, whichever it is. */
  healthy: Schema.Boolean,
  /** Whether the instance that answers is the lock's: `unknown` where no instance is named by the answer or by the lock. */
  identity: Schema.Literal("owner", "other", "unknown"),
  /** Which instance answers; absent where no gateway answers, or one that names none. */
  instanceId: optional(Schema.String),
  /** The answer in words. */
  detail: Schema.String
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Health: Schema.Schema<Health> = Schema.Struct(healthFields)

/**
 * A unit of systemd that runs a gateway for the whole machine.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends Schema.Struct.Type<typeof serviceFields> {}

const serviceFields = {
  unit: ServiceUnit,
  profile: Schema.String,
  /** As whom it runs, by name or number. */
  user: Schema.String,
  /** `active`, `activating`, `deactivating`, … (systemctl(1)). */
  activeState: Schema.String,
  /** Absent where the unit does not tell. */
  stateDir: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Service: Schema.Schema<Service> = Schema.Struct(serviceFields)

/**
 * The lock of a state directory, and who holds it.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateLock extends Schema.Struct.Type<typeof stateLockFields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateLockEncoded extends Schema.Struct.Encoded<typeof stateLockFields> {}

const stateLockFields = { ...lockFields, owner: optional(Owner) }

/**
 * @since 0.1.0
 * @category schemas
 */
export const StateLock: Schema.Schema<StateLock, StateLockEncoded> = Schema.Struct(stateLockFields)

/**
 * What is known of one gateway at one moment, as `gateway status --json` prints it.
 *
 * @example
 * import { Command } from "@effect/platform"
 * import { Effect, Schema } from "effect"
 * import { GatewayStatus } from "gateway-lock"
 *
 * // For a monitor that has the program, and not its lock.
 * const isWell = Command.string(Command.make("gateway", "status", "--json")).pipe(
 *   Effect.flatMap(Schema.decode(Schema.parseJson(GatewayStatus.GatewayStatus))),
 *   Effect.map(({ verdict }) => verdict === "running" || verdict === "starting")
 * )
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayStatus extends Schema.Struct.Type<typeof fields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayStatusEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** Of this form; another meaning of a field is another version. */
  version: Schema.Literal(1),
  /** When it was looked at. */
  asOf: Schema.DateTimeUtc,
  verdict: Verdict,
  /** What the verdict rests on, in one line. */
  reason: Schema.String,
  /** The profile that was asked about, or whose state directory it is; absent for a directory of its own. */
  profile: optional(Schema.String),
  /** The config file whose path names the lock; absent where only the lock is known. */
  configPath: optional(Schema.String),
  stateDir: Schema.String,
  lock: Lock,
  /** The lock's owner, or who left it; absent where there is no readable record. */
  owner: optional(Owner),
  /** The lock of the state directory, where a gateway of another config holds it: it keeps this one from starting. */
  stateLock: optional(StateLock),
  /**
   * The system service that this gateway is, where the settings' own lock is held by nobody; or, with the verdict
   * `foreign-listener`, the one that has the port.
   */
  service: optional(Service),
  /** Absent where no address is known. */
  port: optional(Port),
  /** Absent where no port was asked. */
  health: optional(Health),
  /** What was found wrong besides, such as a config file that cannot be used; one line each. */
  warnings: Schema.Array(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const GatewayStatus: Schema.Schema<GatewayStatus, GatewayStatusEncoded> = Schema.Struct(fields)
