/**
 * Decides whether a lock that no kernel enforces may be taken from its recorded owner. Pure.
 *
 * Used only for a lock in record-only mode, in which no kernel lock is available. Kernel locks need no such decision,
 * because a held kernel lock has a living owner and a free kernel lock has none.
 *
 * Two mistakes have let two gateways run side by side in the field. The rules avoid both:
 *
 * - To take a free port as proof that the owner is dead. While an owner starts, its port is free too. The port of an
 *   owner in another network namespace also looks free.
 * - To take an unknown state of the owner as proof that the owner is dead.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Liveness } from "../host/ProcessIdentity.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/**
 * The facts by which `decide` judges whether a lock may be taken from its recorded owner.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  /** The record in the lock file. `None` if the file is empty, incomplete, too large, or contains no record. */
  readonly record: Option.Option<OwnerRecord>
  /**
   * Whether the record is a leftover. It is one if an earlier process with this process's pid wrote it, or if this
   * process wrote it for a lock that this process has released.
   */
  readonly namesThisProcess: boolean
  /**
   * Whether the owner lives, according to the process table. The owner can be a wrapper (`gateway exec`) with the command that
   * it started. Such an owner lives while the wrapper or the command lives.
   */
  readonly owner: Liveness
  /** Whether a program listens on the recorded address, as seen from this process's network. */
  readonly portInUse: boolean
  /**
   * Whether the owner is known to be in the same network as this process. A port that is free here says nothing about an
   * owner in another network.
   */
  readonly sameNetwork: boolean
  /** How long ago the lock file was last written or touched. */
  readonly age: Duration.Duration
  /**
   * For how long this start has seen that the owner is silent. An owner is silent if it is alive and its record has phase
   * `listening`, but its port is free.
   */
  readonly silentFor: Duration.Duration
  /**
   * The age after which a file is stale if only its age can decide. Also how long a living owner must be silent before its
   * lock is taken. Default 30 seconds.
   */
  readonly staleAfter: Duration.Duration
}

/**
 * The decision. `Reclaim`: take the lock, for this reason. `Wait`: do not take it yet, because the owner is or may be
 * alive.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Reclaim"; readonly reason: ReclaimReason }
  | { readonly _tag: "Wait"; readonly reason: WaitReason }

/**
 * Why a lock may be taken.
 *
 * @since 0.1.0
 * @category models
 */
export type ReclaimReason = "names this process" | "no readable owner" | "owner gone" | "port free"

/**
 * Why a lock may not be taken yet.
 *
 * @since 0.1.0
 * @category models
 */
export type WaitReason = "record being written" | "owner alive" | "owner unknown, port in use" | "owner unknown"

const reclaim = (reason: ReclaimReason): Verdict => ({ _tag: "Reclaim", reason })
const wait = (reason: WaitReason): Verdict => ({ _tag: "Wait", reason })

/**
 * Whether the port of a living owner should be in use. An owner whose record has a health rule (`ready`) may not listen at all,
 * so its free port proves nothing.
 */
export const shouldListen = ({ phase, ready }: OwnerRecord): boolean => phase === "listening" && ready === undefined

/**
 * Decides by the first of these rules that applies:
 *
 * - No readable record: take the lock once the file is older than `staleAfter`. Until then wait, because an owner may be
 *   writing the record.
 * - The record names an earlier process that had this process's pid, or an instance whose lock this process has released:
 *   take the lock.
 * - The owner is gone: take the lock.
 * - The owner's state is unknown: wait while its port is in use. Otherwise take the lock once the file is older than
 *   `staleAfter`.
 * - The owner is alive: wait. Exception: take the lock if the owner is in this process's network, its record has phase
 *   `listening` and no health rule (`ready`), and its port has been seen free for `staleAfter`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const decide = (evidence: Evidence): Verdict => {
  const old = Duration.greaterThan(evidence.age, evidence.staleAfter)
  if (Option.isNone(evidence.record)) {
    return old ? reclaim("no readable owner") : wait("record being written")
  }
  if (evidence.namesThisProcess) return reclaim("names this process")
  switch (evidence.owner) {
    case "Gone":
      return reclaim("owner gone")
    case "Unknown":
      if (evidence.portInUse) return wait("owner unknown, port in use")
      return old ? reclaim("port free") : wait("owner unknown")
    case "Alive":
      return !evidence.portInUse
          && evidence.sameNetwork
          && shouldListen(evidence.record.value)
          && Duration.greaterThanOrEqualTo(evidence.silentFor, evidence.staleAfter)
        ? reclaim("port free")
        : wait("owner alive")
  }
}
