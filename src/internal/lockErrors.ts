/**
 * The classes of the errors of a gateway, and the types of their fields. Their schemas are in `GatewayLockError.ts`: a refused start
 * raises an error, but encodes and decodes none.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import { toUrl } from "../Address.ts"
import type { GatewayLockError, Holder, SupervisorKind } from "../GatewayLockError.ts"
import { printable } from "./printable.ts"

/** The values of `PidMeaning`, which describes them. */
export const pidMeanings = ["Alive", "Gone", "OtherPidNamespace", "OtherBoot", "Unknown"] as const

/** The values of `SupervisorKind`, which describes them. */
export const supervisorKinds = ["none", "systemd", "launchd", "schtasks", "external"] as const

/** The values of `Phase`, which describes them. */
export const phases = ["starting", "listening", "draining"] as const

const pidOf = (holder: Holder | undefined): string => holder?.pid === undefined ? "" : ` (pid ${holder.pid})`

/**
 * The requested address already has a listener. The start fails at once and does not wait.
 *
 * @since 0.1.0
 * @category errors
 */
export class PortInUse extends Data.TaggedError("PortInUse")<{
  readonly host: string
  readonly port: number
  /** The process that listens, if it owns a gateway's lock and the record in the lock file could be read. */
  readonly holder?: Holder
  /** What the start found out about the listener, in words. */
  readonly listener?: string
}> {
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
export class BindFailed extends Data.TaggedError("BindFailed")<{
  readonly host: string
  readonly port: number
  readonly reason: string
  /** The errno name, if the error has one. */
  readonly code?: string
  /** The addresses that this host has. Present only with `EADDRNOTAVAIL`. */
  readonly available?: ReadonlyArray<string>
  readonly cause?: unknown
}> {
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
export class LockHeld extends Data.TaggedError("LockHeld")<{
  readonly path: string
  /** How long the start waited. In JSON, milliseconds under `timeoutMs`. */
  readonly timeout: Duration.Duration
  readonly holder?: Holder
  readonly serving?: { readonly host: string; readonly port: number }
}> {
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
export class LockUnavailable extends Data.TaggedError("LockUnavailable")<{
  readonly path: string
  readonly reason: string
  /** The owner that the lock file names, if the file could be read. */
  readonly holder?: Holder
  readonly cause?: unknown
}> {
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
export class LockLost extends Data.TaggedError("LockLost")<{
  readonly path: string
  readonly reason: string
  /** The process that holds the lock now, if known. */
  readonly holder?: Holder
  readonly cause?: unknown
}> {
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
export class OwnerHealthy extends Data.TaggedError("OwnerHealthy")<{
  readonly supervisor: SupervisorKind
  readonly host: string
  readonly port: number
  readonly holder?: Holder
}> {
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
export class OwnerUnhealthy extends Data.TaggedError("OwnerUnhealthy")<{
  readonly supervisor: SupervisorKind
  readonly host: string
  readonly port: number
  /** How long the start waited. In JSON, milliseconds under `timeoutMs`. */
  readonly timeout: Duration.Duration
  readonly holder?: Holder
}> {
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
export class LeadershipLost extends Data.TaggedError("LeadershipLost")<{
  /** The name of the lease. */
  readonly lease: string
  readonly reason: string
  /** The token of the leadership that was lost. In JSON, a decimal number as a string. */
  readonly fencingToken?: bigint
  readonly cause?: unknown
}> {
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
export class LeaseUnavailable extends Data.TaggedError("LeaseUnavailable")<{
  /** The name of the lease. */
  readonly lease: string
  /** The address of the store, without credentials. */
  readonly store: string
  readonly reason: string
  readonly cause?: unknown
}> {
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
 * Whether a value is an error of this module.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isGatewayLockError = (u: unknown): u is GatewayLockError => family.some((error) => u instanceof error)
