/**
 * May a lock that no kernel enforces be taken from its recorded owner? Pure.
 *
 * Only consulted for a lock in record-only mode: under a kernel lock, a held lock has a
 * living owner and a free one has none, and nothing needs to be judged.
 *
 * Two mistakes have put two gateways side by side in the field, and the table avoids both:
 * taking a free port for death (an owner that is still starting has a free port too, and so
 * has one in another network namespace), and taking "cannot tell" for death.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Liveness } from "../host/ProcessIdentity.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/**
 * Everything the decision rests on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  /** What the lock file says; `None` for an empty, torn, oversized or foreign file. */
  readonly record: Option.Option<OwnerRecord>
  /** The record was left by this program, which has released it, or by an earlier process with this pid. */
  readonly namesThisProcess: boolean
  /** What the process table says of the recorded process. */
  readonly owner: Liveness
  /** Whether anybody listens on the recorded address, in this process's network. */
  readonly portInUse: boolean
  /** Whether the owner is known to have the same network: a port that is free here says nothing of an owner elsewhere. */
  readonly sameNetwork: boolean
  /** How long ago the lock file was last written or touched. */
  readonly age: Duration.Duration
  /** For how long we ourselves have watched the owner be alive and listening on paper with a free port. */
  readonly silentFor: Duration.Duration
  /** How old a file must be where only its age can tell. 30 seconds, unless set otherwise. */
  readonly staleAfter: Duration.Duration
}

/**
 * `Reclaim`: take it, and say why. `Wait`: its owner lives, or may.
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
 * Why it may not, yet.
 *
 * @since 0.1.0
 * @category models
 */
export type WaitReason = "record being written" | "owner alive" | "owner unknown, port in use" | "owner unknown"

const reclaim = (reason: ReclaimReason): Verdict => ({ _tag: "Reclaim", reason })
const wait = (reason: WaitReason): Verdict => ({ _tag: "Wait", reason })

/**
 * The rules, in order; the first that fits decides.
 *
 * - No readable record: take it once it is older than `staleAfter`; before, it may be being written.
 * - It names an earlier process with this pid, or what this program has released: take it.
 * - Its owner is gone: take it.
 * - Nothing can be told of its owner: wait while its port is in use, and else until the file is older than `staleAfter`.
 * - Its owner lives: wait, unless it has this network, should be listening, and its port has been seen free for `staleAfter`.
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
