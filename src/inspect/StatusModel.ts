/**
 * The schemas of the answer to `gateway status`: a gateway's lock, owner, port and health at one moment.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { holderFields, Ready, ServiceUnit } from "../GatewayLockError.ts"
import { optionalMilliseconds } from "../internal/milliseconds.ts"
import { optional } from "../internal/optional.ts"

/**
 * The state of a gateway in one word, from its lock, owner and port.
 *
 * - `running`: the lock is held, and its owner answers and is healthy. If the owner's record has a rule for its health, that rule
 *   decides instead.
 * - `standby`: the owner holds the lock, is healthy, and waits to lead the gateways of several hosts.
 * - `starting`: the owner holds the lock and does not serve yet.
 * - `draining`: the owner holds the lock and is shutting down.
 * - `unhealthy`: the owner holds the lock and should serve, but does not answer or reports that it is not healthy.
 * - `dead`: no process holds the lock. An owner that did not shut down cleanly left the lock file.
 * - `not-running`: there is no lock file, and the port is free.
 * - `foreign-listener`: a process that is not the lock's owner has the port.
 * - `unknown`: the state cannot be determined. `reason` says why.
 *
 * @since 0.1.0
 * @category models
 */
export const Verdict = Schema.Literal(
  "running",
  "standby",
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
 * The owner that a lock file names. Never contains the process's arguments or environment, because they can contain secrets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Owner extends Schema.Struct.Type<typeof ownerFields> {}

/**
 * `Owner` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerEncoded extends Schema.Struct.Encoded<typeof ownerFields> {}

const ownerFields = {
  ...holderFields,
  /**
   * The profile whose state directory the owner uses, by this platform's folder conventions. Absent if the directory belongs to
   * no profile.
   */
  profile: optional(Schema.String),
  /** `exec` if the owner is a wrapper that holds the lock for a command. Absent or `run`: the owner serves itself. */
  mode: optional(Schema.Literal("run", "exec")),
  /** The name of the lease by which the owner leads, or waits to lead. A former owner did so, and `lease` is then absent. */
  leaseName: optional(Schema.String),
  /** How the owner found out that the program in `supervisor` started it, in words. */
  supervisorReason: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Owner: Schema.Schema<Owner, OwnerEncoded> = Schema.Struct(ownerFields)

/**
 * The state of one lock file.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lock extends Schema.Struct.Type<typeof lockFields> {}

/**
 * `Lock` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockEncoded extends Schema.Struct.Encoded<typeof lockFields> {}

const lockFields = {
  path: Schema.String,
  /**
   * - `absent`: the file does not exist.
   * - `held`: a process holds the lock.
   * - `left`: no process holds the lock, but the file was not removed.
   * - `unknown`: the state cannot be determined.
   */
  state: Schema.Literal("absent", "held", "left", "unknown"),
  /**
   * The processes that hold the kernel lock although the recorded owner has ended. They inherited its open lock file. Absent if the
   * system shows no such process.
   */
  holders: optional(Schema.Array(Schema.Struct({ pid: Schema.Int, command: optional(Schema.String) }))),
  /** How a held lock keeps other processes out: by a kernel lock, or only by the record in the file, which names the owner. */
  enforcement: optional(Schema.Literal("kernel", "record")),
  /** The time since a `left` file was last written or touched. In JSON, milliseconds under `ageMs`. */
  age: optionalMilliseconds("ageMs"),
  /** Why the state is `unknown`, in words. */
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
  /** The address that the socket is bound to. */
  host: Schema.String,
  /** Absent if the process is not visible from here, because it belongs to another user or is in another PID namespace. */
  pid: optional(Schema.Int),
  /** The program's file name, without its arguments. */
  command: optional(Schema.String),
  /** True if the process is the lock's owner. Also true if the owner is a `gateway exec` that has started this process. */
  isOwner: Schema.Boolean
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Listener: Schema.Schema<Listener> = Schema.Struct(listenerFields)

/**
 * The reason why a gateway cannot bind a port on which nothing listens.
 *
 * @since 0.1.0
 * @category models
 */
export interface Blocked extends Schema.Struct.Type<typeof blockedFields> {}

const blockedFields = {
  /** What occupies the port, in words. */
  reason: Schema.String,
  /** The process that has the blocking socket open. Absent if no such process is visible from here. */
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
 * The port that was probed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Port extends Schema.Struct.Type<typeof portFields> {}

const portFields = {
  host: Schema.String,
  port: Schema.Int,
  /** The source of the address: the record of the lock's owner, or the settings. */
  from: Schema.Literal("owner", "settings"),
  /**
   * - `free`: no listener.
   * - `gateway`: a gateway answers.
   * - `foreign`: a listener that is not a gateway answers.
   * - `stalled`: a listener does not answer in time.
   */
  state: Schema.Literal("free", "gateway", "foreign", "stalled"),
  /** The processes that listen on the port, as far as they are visible from here. */
  listeners: Schema.Array(Listener),
  /** Why the listening processes cannot be determined, in words. */
  listenersUnknown: optional(Schema.String),
  /** Set if the port cannot be bound although no process listens on it and no gateway runs. */
  blocked: optional(Blocked)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Port: Schema.Schema<Port> = Schema.Struct(portFields)

/**
 * The answer of `/healthz` on the probed port. If the owner's record has a rule for its health, the result of that rule instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health extends Schema.Struct.Type<typeof healthFields> {}

const healthFields = {
  /**
   * Whether a healthy gateway answers, even if that gateway is not the lock's owner. If `rule` is present: whether the owner is
   * healthy by that rule.
   */
  healthy: Schema.Boolean,
  /**
   * Whether the instance that answers is the lock's owner. `unknown` if the answer or the lock names no instance. If `rule` is
   * present: whether the process that listens is one of the owner's processes.
   */
  identity: Schema.Literal("owner", "other", "unknown"),
  /** The instance that answers. Absent if no gateway answers, or if the gateway names no instance. */
  instanceId: optional(Schema.String),
  /** The rule by which the owner counts as healthy. Absent for an owner that answers at `/healthz`. */
  rule: optional(Ready),
  /** The answer, in words. */
  detail: Schema.String
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Health: Schema.Schema<Health> = Schema.Struct(healthFields)

/**
 * The lease by which the owner leads, or waits to lead, the gateways of several hosts. The owner itself says so in its lock file. To
 * ask the store, use `gateway leader show`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease extends Schema.Struct.Type<ReturnType<typeof leaseFields>> {}

/**
 * `Lease` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseEncoded extends Schema.Struct.Encoded<ReturnType<typeof leaseFields>> {}

const leaseFields = () => ({
  name: Schema.String,
  /** The address of the store, without credentials. Absent until the owner has opened the store. */
  store: optional(Schema.String),
  /** `standby`: waits to lead. `leader`: leads. `lost`: has lost its leadership and ends. */
  state: Schema.Literal("standby", "leader", "lost"),
  /** The fencing token of the leadership, as a decimal number. */
  fencingToken: optional(Schema.String),
  /** When the last renewal that succeeded was sent. */
  renewedAt: optional(Schema.DateTimeUtc),
  /** When the owner stops leading unless it renews before. A time in the past means that the owner is stopped or hangs. */
  trustedUntil: optional(Schema.DateTimeUtc)
})

/**
 * The schema is made at its first use, so that a start without a lease does not spend time on it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Lease: Schema.Schema<Lease, LeaseEncoded> = Schema.suspend(() => Schema.Struct(leaseFields()))

/**
 * A systemd system unit that runs a gateway, as opposed to a unit of one user's service manager.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends Schema.Struct.Type<typeof serviceFields> {}

const serviceFields = {
  unit: ServiceUnit,
  profile: Schema.String,
  /** The user that the service runs as, by name or number. */
  user: Schema.String,
  /** `active`, `activating`, `deactivating`, … (systemctl(1)). */
  activeState: Schema.String,
  /** Absent if the unit names no state directory. */
  stateDir: optional(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Service: Schema.Schema<Service> = Schema.Struct(serviceFields)

/**
 * The lock of a state directory, with its owner.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateLock extends Schema.Struct.Type<typeof stateLockFields> {}

/**
 * `StateLock` as JSON. Times are ISO 8601, in UTC.
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
 * The state of one gateway at one moment, as `gateway status --json` prints it.
 *
 * @example
 * import { Command } from "@effect/platform"
 * import { Effect, Schema } from "effect"
 * import { GatewayStatus } from "gateway-lock"
 *
 * // For a monitor that can run the program, but cannot read the lock.
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
 * `GatewayStatus` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayStatusEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** The version of this format. It changes if the meaning of a field changes. */
  version: Schema.Literal(1),
  /** When the gateway was inspected. */
  asOf: Schema.DateTimeUtc,
  verdict: Verdict,
  /** The reason for the verdict, in one line. */
  reason: Schema.String,
  /** The profile that the caller asked for. For an inspection of a lock file by its path, the profile of its state directory, if any. */
  profile: optional(Schema.String),
  /** The config file whose path identifies the lock. Absent if neither the request nor a readable owner record names it. */
  configPath: optional(Schema.String),
  stateDir: Schema.String,
  lock: Lock,
  /** The owner that holds the lock, or the former owner that left the lock file. Absent if there is no readable record. */
  owner: optional(Owner),
  /** Set if a process holds the lock, and its record names a lease. */
  lease: optional(Lease),
  /** The state directory's lock, if a gateway of another config holds it. That gateway prevents this one from starting. */
  stateLock: optional(StateLock),
  /**
   * The systemd system service that runs this gateway. Set only if no process holds the lock that the settings name. If the
   * verdict is `foreign-listener`, `service` is instead the system service that has the port.
   */
  service: optional(Service),
  /** Absent if no address is known. */
  port: optional(Port),
  /** Absent if no port was probed and the record of the lock's holder has no rule for its health. */
  health: optional(Health),
  /** Other problems that were found, such as a config file that cannot be used; one line each. */
  warnings: Schema.Array(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const GatewayStatus: Schema.Schema<GatewayStatus, GatewayStatusEncoded> = Schema.Struct(fields)
