/**
 * May a lock that no kernel enforces be taken from its recorded owner? Pure.
 *
 * Only consulted for a lock in record-only mode: under a kernel lock, a held lock has a
 * living owner and a free one has none, and nothing needs to be judged.
 *
 * Two mistakes have put two gateways side by side in the field, and the table avoids both:
 * taking a free port for death (an owner that is still starting has a free port too), and
 * taking "cannot tell" for death.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { OwnerRecord } from "./OwnerRecord.ts"

/**
 * What is known about a recorded process.
 *
 * @since 0.1.0
 * @category models
 */
export type Liveness = "Alive" | "Gone" | "Unknown"

/**
 * Everything the decision rests on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  /** What the lock file says; `None` for an empty, torn, oversized or foreign file. */
  readonly record: Option.Option<OwnerRecord>
  /** The record names this very process, which does not hold it: a leftover of a process that had our pid. */
  readonly namesThisProcess: boolean
  readonly owner: Liveness
  readonly portInUse: boolean
  /** How long ago the lock file was last written or touched. */
  readonly age: Duration.Duration
  /** For how long we ourselves have watched the owner be alive and listening on paper with a free port. */
  readonly silentFor: Duration.Duration
  readonly staleAfter: Duration.Duration
}

/**
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Reclaim"; readonly reason: ReclaimReason }
  | { readonly _tag: "Wait"; readonly reason: WaitReason }

/**
 * @since 0.1.0
 * @category models
 */
export type ReclaimReason = "names this process" | "no readable owner" | "owner gone" | "port free"

/**
 * @since 0.1.0
 * @category models
 */
export type WaitReason = "record being written" | "owner alive" | "owner unknown, port in use" | "owner unknown"

const reclaim = (reason: ReclaimReason): Verdict => ({ _tag: "Reclaim", reason })
const wait = (reason: WaitReason): Verdict => ({ _tag: "Wait", reason })

/**
 * The rules, in order; the first that fits decides.
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
          && evidence.record.value.phase === "listening"
          && Duration.greaterThanOrEqualTo(evidence.silentFor, evidence.staleAfter)
        ? reclaim("port free")
        : wait("owner alive")
  }
}
