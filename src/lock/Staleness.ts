/**
 * Decides whether a lock that no kernel enforces may be taken from its recorded owner. Pure.
 *
 * Used only for a lock in record-only mode. If there are kernel locks, a held lock has a living owner and a free lock
 * has none, so nothing needs to be judged.
 *
 * Two mistakes have let two gateways run side by side in the field. The rules avoid both:
 *
 * - Taking a free port as proof of death. An owner that is still starting has a free port too. So has an owner in
 *   another network namespace.
 * - Taking an unknown state of the owner as proof of death.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Liveness } from "../host/ProcessIdentity.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/**
 * The facts that the decision depends on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  /** The record in the lock file. `None` for an empty, torn, oversized or foreign file. */
  readonly record: Option.Option<OwnerRecord>
  /**
   * Whether the record is a leftover: an earlier process with this pid wrote it, or this program wrote
   * it for a lock that it has since released.
   */
  readonly namesThisProcess: boolean
  /** The liveness of the recorded process, from the process table. */
  readonly owner: Liveness
  /** Whether a listener has the recorded address, in this process's network. */
  readonly portInUse: boolean
  /**
   * Whether the owner is known to have the same network. A port that is free here says nothing about an owner in
   * another network.
   */
  readonly sameNetwork: boolean
  /** How long ago the lock file was last written or touched. */
  readonly age: Duration.Duration
  /** For how long this start has seen a silent owner: alive, with phase `listening` in its record, and with a free port. */
  readonly silentFor: Duration.Duration
  /** The age after which a file is stale if only its age can decide. Default 30 seconds. */
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
 * Decides by the first of these rules that applies:
 *
 * - No readable record: take the lock once the file is older than `staleAfter`. Before, an owner may be writing the
 *   record.
 * - The record names an earlier process with this pid, or an instance that this program has released: take the lock.
 * - The owner is gone: take the lock.
 * - The owner's state is unknown: wait while its port is in use. Otherwise take the lock once the file is older than
 *   `staleAfter`.
 * - The owner is alive: wait. Exception: take the lock if the owner has this network, its record has phase `listening`,
 *   and its port has been seen free for `staleAfter`.
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
          && evidence.record.value.phase === "listening"
          && Duration.greaterThanOrEqualTo(evidence.silentFor, evidence.staleAfter)
        ? reclaim("port free")
        : wait("owner alive")
  }
}
