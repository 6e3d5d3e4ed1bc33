import { describe, it } from "@effect/vitest"
import { FastCheck as fc, Schema } from "effect"
import { PidMeaning } from "../../src/GatewayLockError.ts"
import { type Evidence, judge, Verdict } from "../../src/inspect/GatewayStatus.ts"
import * as arbitraries from "../arbitraries.ts"

const evidence: fc.Arbitrary<Evidence> = fc.record({
  lock: fc.constantFrom("absent" as const, "held" as const, "left" as const, "unknown" as const),
  lockReason: fc.option(arbitraries.text, { nil: undefined }),
  owner: fc.option(
    fc.record({
      phase: arbitraries.phase,
      pidMeaning: fc.option(fc.constantFrom(...PidMeaning.literals), { nil: undefined }),
      network: fc.constantFrom("Same" as const, "Other" as const, "Unknown" as const),
      lease: fc.option(arbitraries.leaseRecord, { nil: undefined })
    }),
    { nil: undefined }
  ),
  port: fc.constantFrom(
    "free" as const,
    "gateway" as const,
    "foreign" as const,
    "stalled" as const,
    "unasked" as const
  ),
  unreachable: fc.boolean(),
  healthy: fc.boolean(),
  identity: fc.constantFrom("owner" as const, "other" as const, "unknown" as const),
  listener: fc.constantFrom("owner" as const, "other" as const, "unknown" as const),
  detail: arbitraries.text
}).map((drawn) => ({
  ...drawn,
  unreachable: drawn.unreachable && drawn.port === "free",
  // These lines exclude combinations that do not occur. Only a gateway at the port can answer that it is healthy. `identity` says
  // whether the gateway at the port is the owner in the lock file. It is `unknown` if there is no such gateway or no such owner.
  healthy: drawn.healthy && drawn.port === "gateway",
  identity: drawn.port !== "gateway" || drawn.owner === undefined ? "unknown" : drawn.identity,
  owner: drawn.lock === "absent" ? undefined : drawn.owner,
  ...(drawn.lock === "absent" ? { identity: "unknown" as const } : {})
}))

describe("GatewayStatus.judge", () => {
  it.prop("there is a verdict of the list, with a reason in words", [evidence], ([seen]) => {
    const { reason, verdict } = judge(seen)
    return Schema.is(Verdict)(verdict) && (reason.length > 0 || seen.detail === "")
  })

  /** Whether the owner holds the lock, answers healthy by its own name, and does not shut down. */
  const isHealthyOwner = (seen: Evidence): boolean =>
    seen.healthy && seen.identity === "owner" && (seen.lock === "held" || seen.lock === "unknown")
    && seen.owner?.phase !== "draining"

  it.prop(
    "running is a healthy owner without a lease, or one that leads",
    [evidence],
    ([seen]) =>
      (judge(seen).verdict === "running")
        === (isHealthyOwner(seen) && (seen.owner?.lease === undefined || seen.owner.lease.state === "leader"))
  )

  it.prop(
    "standby is a healthy owner that waits for its lease",
    [evidence],
    ([seen]) => (judge(seen).verdict === "standby") === (isHealthyOwner(seen) && seen.owner?.lease?.state === "standby")
  )

  it.prop(
    "an owner with a rule stands by whatever the rule says, until it shuts down",
    [evidence, fc.boolean(), arbitraries.phase],
    ([seen, healthy, phase]) => {
      const owner = {
        pidMeaning: undefined,
        network: "Same" as const,
        phase,
        ready: { healthy, detail: "drawn" },
        lease: { name: "reports", state: "standby" as const }
      }
      return judge({ ...seen, lock: "held", owner }).verdict === (phase === "draining" ? "draining" : "standby")
    }
  )

  it.prop("dead is a left lock on whose port nobody is", [evidence], ([seen]) =>
    (judge(seen).verdict === "dead")
      === (seen.lock === "left" && (seen.port === "free" || seen.port === "unasked")))

  it.prop(
    "not running is no lock file, and a port on which nobody is",
    [evidence],
    ([seen]) =>
      (judge(seen).verdict === "not-running")
        === (seen.lock === "absent" && (seen.port === "free" || seen.port === "unasked"))
  )

  it.prop("starting and draining are phases of who has the lock, and draining is one that has lost its lease", [
    evidence
  ], ([seen]) => {
    const { verdict } = judge(seen)
    return (verdict !== "starting" && verdict !== "draining")
      || ((seen.owner?.phase === verdict || (verdict === "draining" && seen.owner?.lease?.state === "lost"))
        && seen.lock !== "left" && seen.lock !== "absent")
  })

  it.prop("an owner that cannot be seen from here is not called unhealthy for a port that is free here", [evidence], ([
    seen
  ]) =>
    judge(seen).verdict !== "unhealthy" || seen.port !== "free"
    || (seen.owner?.pidMeaning === "Alive" && seen.owner.network === "Same" && !seen.unreachable))

  it.prop(
    "a listener is not called foreign that answers by the owner's name, or is its process",
    [evidence],
    ([seen]) =>
      judge(seen).verdict !== "foreign-listener"
      || (seen.identity !== "owner" && seen.port !== "free" && seen.port !== "unasked")
  )
})
