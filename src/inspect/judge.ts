/**
 * Derives the verdict on a gateway from its lock, port and health. Pure.
 *
 * @since 0.1.0
 */
import type { Holder } from "../GatewayLockError.ts"
import type { Network } from "../host/ProcessTable.ts"
import type { LeaseRecord, Phase } from "../lock/OwnerRecord.ts"
import type * as ReadyRule from "../ready/ReadyRule.ts"
import type { Health, Lock, Port, Verdict } from "./StatusModel.ts"

/**
 * The facts that a verdict rests on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  readonly lock: Lock["state"]
  /** Why the state of the lock is `unknown`. */
  readonly lockReason?: string | undefined
  /** The owner that the lock names. */
  readonly owner?: {
    readonly phase: Phase
    readonly pidMeaning: Holder["pidMeaning"]
    /** Whether the owner's process, if it is alive, uses the same network (on Linux: network namespace) as this process. */
    readonly network: Network
    /** Whether the owner is healthy by the rule in its record. `undefined` if the record has no such rule. */
    readonly ready?: ReadyRule.Judgement | undefined
    /** The lease by which the owner leads, or waits to lead. */
    readonly lease?: Pick<LeaseRecord, "name" | "state"> | undefined
  } | undefined
  /** What answers on the port. `unasked` if no address is known. */
  readonly port: Port["state"] | "unasked"
  /**
   * Whether no connection to the address is possible from this process, for example because the address belongs to another network
   * namespace. Then the port seems free even if a gateway listens there.
   */
  readonly unreachable: boolean
  /** Whether a healthy gateway answers. */
  readonly healthy: boolean
  /** Whether the instance that answers is the one that the lock names. */
  readonly identity: Health["identity"]
  /** Whether the processes that listen on the port include the lock's owner. */
  readonly listener: "owner" | "other" | "unknown"
  /** What the port answers, in words. */
  readonly detail: string
}

/**
 * A verdict and the reason for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement {
  readonly verdict: Verdict
  /** The reason, in one line. */
  readonly reason: string
}

const judged = (verdict: Verdict, reason: string): Judgement => ({ verdict, reason })

/**
 * Whether a process other than the owner has the port. If the owner itself answers, `judge` returns before it calls this function. So
 * a gateway that answers is not the owner.
 */
const isOccupied = ({ listener, port }: Evidence): boolean =>
  port === "gateway" || port === "foreign" || (port === "stalled" && listener === "other")

const foreign = (detail: string) => judged("foreign-listener", `${detail} has the port, but does not hold this lock`)

/** The verdict on an owner that is healthy. Its lease says whether it works, or waits to lead. */
const judgeHealthy = (lease: NonNullable<Evidence["owner"]>["lease"], reason: string): Judgement => {
  switch (lease?.state) {
    case undefined:
      return judged("running", reason)
    case "leader":
      return judged("running", `${reason}, and leads ${lease.name}`)
    case "standby":
      return judged("standby", `its owner is healthy and waits to lead ${lease.name}`)
    case "lost":
      return judged("draining", `its owner has lost its leadership of ${lease.name} and ends`)
  }
}

const judgeHeld = (evidence: Evidence, { network, phase, pidMeaning }: NonNullable<Evidence["owner"]>): Judgement => {
  const { detail, port, unreachable } = evidence
  if (phase === "draining") return judged("draining", "its owner is shutting down")
  if (isOccupied(evidence)) return foreign(detail)
  if (phase === "starting") return judged("starting", "its owner holds the lock and does not serve yet")
  switch (port) {
    case "stalled":
      return judged("unhealthy", detail)
    case "unasked":
      return judged("unknown", "its owner's record has no port to probe")
    default:
      if (pidMeaning === "Alive" && network === "Same") {
        if (unreachable) {
          return judged("unknown", "the lock is held, but its owner's address cannot be reached from here")
        }
        return judged("unhealthy", "its owner holds the lock, but nothing listens on its port")
      }
      return judged(
        "unknown",
        `the lock is held, but its owner's port is free here: the owner ${
          pidMeaning === "Alive" && network === "Other" ? "is" : "may be"
        } in another network`
      )
  }
}

/** The verdict on an owner that holds the lock, and whose record has a rule for its health. */
const judgeReady = (
  { detail, listener, port, unreachable }: Evidence,
  { lease, network, phase, pidMeaning }: NonNullable<Evidence["owner"]>,
  ready: ReadyRule.Judgement
): Judgement => {
  if (phase === "draining") return judged("draining", "its owner is shutting down")
  // The rule is for the command, which such an owner ends or has not started.
  if (lease?.state === "standby" || lease?.state === "lost") return judgeHealthy(lease, ready.detail)
  if (phase === "starting") return judged("starting", "its owner holds the lock and is not ready yet")
  if (ready.healthy) return judgeHealthy(lease, `the owner holds the lock and is healthy: ${ready.detail}`)
  const isFree = port === "free" || port === "unasked"
  if (!isFree && listener === "other") return foreign(detail)
  // A port or a process that cannot be seen from here proves nothing about the owner.
  const isVisible = isFree ? pidMeaning === "Alive" && network === "Same" && !unreachable : listener === "owner"
  return judged(isVisible ? "unhealthy" : "unknown", `the owner holds the lock, but ${ready.detail}`)
}

/**
 * Derives the verdict from lock, port and health. Pure.
 *
 * If a process holds the lock and its record has a rule for its health, that rule and the phase in the record decide.
 *
 * A healthy owner that waits for a lease gets the verdict `standby` instead of `running`.
 *
 * If the instance that answers on the port has the instance id of the lock's record, it is the owner, whatever its pid. The
 * verdict then follows from the phase in the record and the health. If no process holds the lock, the verdict on such an owner is
 * `unknown`.
 *
 * Otherwise the state of the lock decides. If the lock is held, the phase in the record and the port decide too.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge = (evidence: Evidence): Judgement => {
  const { detail, healthy, identity, lock, lockReason, owner, port } = evidence
  if (lock === "held" && owner?.ready !== undefined) return judgeReady(evidence, owner, owner.ready)
  if (identity === "owner") {
    if (lock === "left" || lock === "absent") {
      return judged("unknown", "the recorded instance answers, but does not hold this lock: its lock file was replaced")
    }
    if (owner?.phase === "draining") return judged("draining", "its owner is shutting down")
    if (healthy) return judgeHealthy(owner?.lease, "the owner of the lock answers and is healthy")
    return owner?.phase === "starting"
      ? judged("starting", "its owner holds the lock and does not serve yet")
      : judged("unhealthy", detail)
  }
  switch (lock) {
    case "held":
      return owner === undefined
        ? judged("unknown", "a process holds the lock, but its record is not readable")
        : judgeHeld(evidence, owner)
    case "left":
      return port !== "free" && port !== "unasked"
        ? foreign(detail)
        : judged("dead", "its owner did not shut down cleanly: the lock file is left, and no process holds it")
    case "absent":
      return port !== "free" && port !== "unasked"
        ? foreign(detail)
        : judged("not-running", "there is no lock file, and nothing listens on the port")
    case "unknown":
      return judged("unknown", `the state of the lock is unknown: ${lockReason ?? "for an unknown reason"}`)
  }
}
