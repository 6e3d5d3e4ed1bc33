import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Schema } from "effect"
import { PidMeaning, Ready } from "../../src/GatewayLockError.ts"
import { type Evidence as StatusEvidence, judge as verdictOf } from "../../src/inspect/GatewayStatus.ts"
import { whoseListener } from "../../src/ready/OwnerProcesses.ts"
import { type Evidence, judge, pathOf } from "../../src/ready/ReadyRule.ts"
import * as arbitraries from "../arbitraries.ts"

const rule = fc.constantFrom<Ready>("none", "port", "notify", "http:/ready?a=b")
const listener = fc.constantFrom<Evidence["listener"]>("owner", "other", "none", "unknown")

const evidence: fc.Arbitrary<Evidence> = fc.record({
  rule,
  phase: arbitraries.phase,
  listener,
  status: fc.option(fc.integer({ min: 100, max: 599 }), { nil: undefined })
})
const leased = fc.tuple(evidence, fc.option(arbitraries.text, { nil: undefined }))
  .map(([evidence, awaitsLease]) => ({ ...evidence, awaitsLease }))

describe("ReadyRule.judge", () => {
  it.prop(
    "an owner is healthy only if its phase is listening, or if it waits for a lease",
    [leased],
    ([given]) =>
      !judge(given).healthy || given.phase === "listening"
      || (given.phase === "starting" && given.awaitsLease !== undefined)
  )

  it.prop(
    "an owner that waits for a lease is healthy, whoever listens",
    [leased],
    ([given]) => judge({ ...given, phase: "starting", awaitsLease: "reports" }).healthy
  )

  for (const rule of ["none", "notify"] as const) {
    it.prop(
      `the rule ${rule} needs no listener and no answer`,
      [evidence],
      ([given]) => judge({ ...given, rule }).healthy === (given.phase === "listening")
    )
  }

  it.prop(
    "the rule port needs a listener of the owner, and no answer",
    [evidence],
    ([given]) =>
      judge({ ...given, rule: "port" }).healthy === (given.phase === "listening" && given.listener === "owner")
  )

  it.prop(
    "the rule http needs a status of 200 to 299, and not from another process",
    [evidence],
    ([given]) =>
      judge({ ...given, rule: "http:/ready" }).healthy
        === (given.phase === "listening" && given.listener !== "other" && given.status !== undefined
          && given.status >= 200 && given.status < 300)
  )

  it.prop("there is a reason in words", [evidence], ([given]) => judge(given).detail.length > 0)

  it("the path of a rule is what follows http:", () => {
    assert.strictEqual(pathOf("http:/ready?a=b"), "/ready?a=b")
    assert.strictEqual(pathOf("port"), undefined)
    assert.strictEqual(pathOf("none"), undefined)
    assert.strictEqual(pathOf("notify"), undefined)
  })

  it.each([["none", true], ["port", true], ["notify", true], ["http:/", true], ["http:ready", false], [
    "https:/",
    false
  ], ["", false]])(
    "%s is a rule: %s",
    (text, expected) => assert.strictEqual(Schema.is(Ready)(text), expected)
  )
})

describe("OwnerProcesses.whoseListener", () => {
  const seen = { _tag: "Seen" as const, listeners: [] }
  const unseen = { _tag: "Unseen" as const, reason: "hidden" }
  const own = { pid: 1, isOwner: true }
  const other = { pid: 2, isOwner: false }
  const hidden = { isOwner: false }

  it.each(
    [
      ["the owner's", seen, [own], false, "owner"],
      ["the owner's, beside another", seen, [other, own], false, "owner"],
      ["another's", seen, [other], false, "other"],
      ["another's and a hidden one", seen, [other, hidden], false, "unknown"],
      ["a hidden one", seen, [hidden], false, "unknown"],
      ["none", seen, [], true, "none"],
      ["one that answers and is not listed", seen, [], false, "unknown"],
      ["not shown, the port in use", unseen, [], false, "unknown"],
      ["not shown, the port free", unseen, [], true, "none"]
    ] as const
  )("%s", (_, state, listeners, isFree, expected) => {
    assert.strictEqual(whoseListener(state, listeners, isFree), expected)
  })
})

const status: fc.Arbitrary<StatusEvidence> = fc.record({
  lock: fc.constantFrom("held" as const, "left" as const, "unknown" as const),
  owner: fc.record({
    phase: arbitraries.phase,
    pidMeaning: fc.constantFrom(...PidMeaning.literals),
    network: fc.constantFrom("Same" as const, "Other" as const, "Unknown" as const),
    ready: fc.record({ healthy: fc.boolean(), detail: fc.constant("a reason") })
  }).map((owner) => ({
    ...owner,
    // `ReadyRule.judge` makes no other combination.
    ready: { ...owner.ready, healthy: owner.ready.healthy && owner.phase === "listening" }
  })),
  port: fc.constantFrom(
    "free" as const,
    "gateway" as const,
    "foreign" as const,
    "stalled" as const,
    "unasked" as const
  ),
  unreachable: fc.boolean(),
  healthy: fc.constant(false),
  identity: fc.constant("unknown" as const),
  listener: fc.constantFrom("owner" as const, "other" as const, "unknown" as const),
  detail: fc.constant("a listener that answered HTTP 404")
})

describe("GatewayStatus.judge, of an owner with a rule", () => {
  it.prop("running is an owner that holds the lock and is healthy by its rule, whatever its port answers", [status], ([
    given
  ]) => (verdictOf(given).verdict === "running") === (given.lock === "held" && given.owner?.ready?.healthy === true))

  it.prop("starting and draining are its phases", [status], ([given]) => {
    const { verdict } = verdictOf({ ...given, lock: "held" })
    return (verdict === "starting" || verdict === "draining") === (given.owner?.phase !== "listening")
  })

  it.prop(
    "a foreign listener is another process, and never beside a healthy owner",
    [status],
    ([given]) =>
      given.lock !== "held" || verdictOf(given).verdict !== "foreign-listener"
      || (given.listener === "other" && given.port !== "free" && given.owner?.ready?.healthy === false)
  )

  it.prop(
    "unhealthy is only an owner that can be seen from here",
    [status],
    ([given]) =>
      verdictOf(given).verdict !== "unhealthy" || given.listener === "owner"
      || (given.owner?.pidMeaning === "Alive" && given.owner.network === "Same")
  )

  it.prop("a lock that no process holds is judged as without the rule", [status], ([{ owner, ...given }]) => {
    const { ready: _, ...plain } = owner ?? { phase: "listening", pidMeaning: "Gone", network: "Unknown" }
    return given.lock === "held"
      || verdictOf({ ...given, owner }).verdict === verdictOf({ ...given, owner: plain }).verdict
  })
})
