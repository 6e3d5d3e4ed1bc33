/**
 * Decides whether the owner of a lock is healthy. An owner's record, which is in the lock file, can contain a rule for this
 * (`ready`). An owner with such a rule serves no `/healthz`. Pure.
 *
 * @since 0.1.0
 */
import type { Phase, Ready } from "../GatewayLockError.ts"

/**
 * The facts about an owner on which the decision depends. The owner must hold its lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  readonly rule: Ready
  readonly phase: Phase
  /**
   * Which process listens on the owner's port: one of the owner's processes, another process, or none. `unknown` if this process
   * cannot see who listens.
   */
  readonly listener: "owner" | "other" | "none" | "unknown"
  /** The HTTP status of the answer at the rule's path. `undefined` if the rule has no path, or if no answer came in time. */
  readonly status?: number | undefined
  /** The name of the lease for which the owner waits. Absent if it waits for none. */
  readonly awaitsLease?: string | undefined
}

/**
 * Whether the owner is healthy, and why, in words.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement {
  readonly healthy: boolean
  readonly detail: string
}

/**
 * The path that a rule requests. `undefined` if the rule requests nothing.
 *
 * @since 0.1.0
 * @category getters
 */
export const pathOf = (rule: Ready): string | undefined =>
  rule === "none" || rule === "port" || rule === "notify" ? undefined : rule.slice("http:".length)

/** Whether a rule depends on the processes that listen on the owner's port. */
export const needsListeners = (rule: Ready): boolean => rule !== "none" && rule !== "notify"

const healthy = (detail: string): Judgement => ({ healthy: true, detail })
const unhealthy = (detail: string): Judgement => ({ healthy: false, detail })

const byPort = (listener: Evidence["listener"]): Judgement => {
  switch (listener) {
    case "owner":
      return healthy("a process of the owner listens on its port")
    case "other":
      return unhealthy("a process that is not the owner's listens on its port")
    case "none":
      return unhealthy("no process listens on its port")
    case "unknown":
      return unhealthy("it is not visible from here whether a process of the owner listens on its port")
  }
}

const byPath = (path: string, { listener, status }: Evidence): Judgement => {
  // Any program can answer with a status of 200, so an answer of another process does not show that the owner is healthy.
  if (listener === "other") return byPort(listener)
  if (status === undefined) return unhealthy(`gave no answer to ${path} in time`)
  const detail = `answered ${path} with HTTP ${status}`
  return status >= 200 && status < 300 ? healthy(detail) : unhealthy(detail)
}

/**
 * Decides whether an owner that holds its lock is healthy. Pure.
 *
 * An owner that waits for a lease is healthy, because its command must not run before. Otherwise, only an owner with the phase
 * `listening` can be healthy. The rule then decides:
 *
 * - `none`: the owner is healthy.
 * - `port`: the owner is healthy while one of its processes listens on its port.
 * - `http:<path>`: the owner is healthy while that path answers with a status of 200 to 299. An answer of another process does not
 *   count.
 * - `notify`: the owner is healthy. It has the phase `listening` because its command has told systemd that it is ready.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge = (evidence: Evidence): Judgement => {
  const { awaitsLease, listener, phase, rule } = evidence
  if (phase === "starting" && awaitsLease !== undefined) return healthy(`it waits to lead ${awaitsLease}`)
  if (phase !== "listening") return unhealthy(phase === "starting" ? "it does not serve yet" : "it is shutting down")
  if (rule === "none") return healthy("it needs only its lock, and holds it")
  if (rule === "notify") return healthy("its command has told systemd that it is ready")
  const path = pathOf(rule)
  return path === undefined ? byPort(listener) : byPath(path, evidence)
}
