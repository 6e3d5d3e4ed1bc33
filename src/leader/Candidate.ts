/**
 * A candidate: waits until it may acquire the lease, and acquires it.
 *
 *     look at the lease, every renew interval
 *       absent                → create it, and look again
 *       an own attempt has it → its answer was lost: release it, never adopt it
 *       released, or its holder is proved dead → acquire at once
 *       unchanged for its ttl → acquire
 *     acquire: compare-and-set against the look
 *       granted in time       → lead
 *       granted too late      → release it
 *       changed               → look again
 *       no answer             → it may have been granted: look again
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LeaseUnavailable } from "../GatewayLockError.ts"
import { InstanceId } from "../host/InstanceId.ts"
import * as Candidacy from "./Candidacy.ts"
import { attempt, attemptUninterruptibly, type Election, release, sleepUntil, unavailable } from "./Election.ts"
import { HighestToken, type HighestTokenFailed } from "./HighestToken.ts"
import type { Claim, Grant, LeaseHolder, Sighting, StoreError } from "./LeaseStore.ts"
import * as Term from "./Term.ts"

/** What a candidate remembers. */
interface Candidate<R> {
  readonly election: Election
  /** Whether the former holder, which has described itself so, is proved dead. */
  readonly provesDeath: (former: LeaseHolder) => Effect.Effect<boolean>
  /** Takes over a grant that was answered in time. Runs uninterruptibly, so that no grant is left without an owner. */
  readonly onGrant: (grant: Grant) => Effect.Effect<void, never, R>
  readonly tokens: HighestToken["Type"]
  /** The attempts whose answers were lost. */
  readonly unanswered: Set<string>
  /** The highest token that this host has seen. */
  highest: bigint
  /** Whether the last statement failed, so that each outage is logged once. */
  isFailing: boolean
}

/** What the candidate does next, and when. */
interface Plan {
  readonly _tag: "Look" | "Acquire"
  readonly at: bigint
  readonly watch: Option.Option<Candidacy.Watch>
}

const lookAt = (at: bigint, watch: Option.Option<Candidacy.Watch>): Plan => ({ _tag: "Look", at, watch })

const nextLookAfter = ({ times }: Election, sentAt: bigint): bigint =>
  sentAt + Duration.unsafeToNanos(times.renewInterval)

const unremembered = (election: Election) => (error: HighestTokenFailed): LeaseUnavailable =>
  unavailable(election, error.message, error)

/** A store that fails is waited for. A store that refuses is an error of the start. */
const failed = <R>(candidate: Candidate<R>, error: StoreError): Effect.Effect<void, LeaseUnavailable> => {
  const { election } = candidate
  if (error._tag === "StoreRefused") return Effect.fail(unavailable(election, error.message, error))
  if (candidate.isFailing) return Effect.void
  candidate.isFailing = true
  return Effect.logWarning(`cannot reach lease ${election.name} at ${election.store.location} yet: ${error.message}`)
}

const raise = <R>(candidate: Candidate<R>, token: bigint): Effect.Effect<void, LeaseUnavailable> =>
  token <= candidate.highest
    ? Effect.void
    : Effect.zipRight(
      Effect.mapError(candidate.tokens.raise(token), unremembered(candidate.election)),
      Effect.sync(() => {
        candidate.highest = token
      })
    )

/** Creates a lease that does not exist. The next look finds it. */
const create = <R>(candidate: Candidate<R>, sentAt: bigint): Effect.Effect<Plan, LeaseUnavailable> =>
  Effect.gen(function*() {
    const { election } = candidate
    // Without the own description: nobody holds the new lease, so nobody's death may be proved by it.
    const claim = { ...(yield* newClaim(election)), holder: {} }
    yield* Effect.catchAll(attempt(election, election.store.create(claim)), (error) => failed(candidate, error))
    // Not at once: a look may be answered by a server that does not have the new lease yet.
    return lookAt(nextLookAfter(election, sentAt), Option.none())
  })

const newClaim = ({ holder, name, times }: Election): Effect.Effect<Claim> =>
  Effect.map(Effect.flatten(InstanceId), (holderId) => ({ name, holderId, ttl: times.duration, holder }))

/** Plans the next step after a look that found the lease. */
const judge = <R>(
  candidate: Candidate<R>,
  before: Option.Option<Candidacy.Watch>,
  sighting: Sighting,
  { receivedAt, sentAt }: Term.Exchange
): Effect.Effect<Plan, LeaseUnavailable> =>
  Effect.gen(function*() {
    const { election, unanswered } = candidate
    yield* raise(candidate, sighting.fencingToken)
    yield* election.report({ _tag: "Candidate", seen: Option.some(sighting) })
    const watch = Candidacy.observe(before, sighting, receivedAt)
    const holderId = Option.getOrUndefined(sighting.holderId)
    if (holderId !== undefined && unanswered.has(holderId)) {
      const isReleased = yield* release(election, {
        name: election.name,
        holderId,
        fencingToken: sighting.fencingToken
      })
      // Forgotten once it is released. If a look still shows it then, another server answers, and the wait is the usual one.
      if (isReleased) unanswered.delete(holderId)
      return lookAt(isReleased ? receivedAt : nextLookAfter(election, sentAt), Option.some(watch))
    }
    const isHolderDead = Option.isSome(sighting.holderId) && (yield* candidate.provesDeath(sighting.holder))
    const acquireAt = Candidacy.mayAcquireAt(watch, isHolderDead)
    const nextLookAt = nextLookAfter(election, sentAt)
    return acquireAt <= nextLookAt
      ? { _tag: "Acquire", at: acquireAt, watch: Option.some(watch) }
      : lookAt(nextLookAt, Option.some(watch))
  })

const look = <R>(
  candidate: Candidate<R>,
  watch: Option.Option<Candidacy.Watch>
): Effect.Effect<Plan, LeaseUnavailable> =>
  Effect.gen(function*() {
    const { election } = candidate
    const sentAt = yield* election.now
    const seen = yield* Effect.either(attempt(election, election.store.look(election.name)))
    const receivedAt = yield* election.now
    if (seen._tag === "Left") {
      yield* failed(candidate, seen.left)
      // The wait goes on: the lease is compared again when it is acquired.
      return lookAt(nextLookAfter(election, sentAt), watch)
    }
    candidate.isFailing = false
    return Option.isNone(seen.right)
      ? yield* create(candidate, sentAt)
      : yield* judge(candidate, watch, seen.right.value, { sentAt, receivedAt })
  })

/** Checks a grant, and takes it over. `None`: it came too late, and was released. */
const accept = <R>(
  candidate: Candidate<R>,
  grant: Grant,
  exchange: Term.Exchange
): Effect.Effect<Option.Option<Term.Term>, LeaseUnavailable, R> =>
  Effect.gen(function*() {
    const { election, highest } = candidate
    const term = Term.begin(election.times, grant, exchange)
    if (grant.fencingToken <= highest) {
      yield* release(election, grant)
      return yield* Effect.fail(unavailable(
        election,
        `its fencing token ${grant.fencingToken} is not above ${highest}, which this host has seen: was the lease deleted or restored?`
      ))
    }
    yield* Effect.tapError(raise(candidate, grant.fencingToken), () => release(election, grant))
    if (Option.isNone(term)) yield* release(election, grant)
    else yield* candidate.onGrant(grant)
    return term
  })

/**
 * Sends one attempt. It is uninterruptible and takes the attempt timeout at most, because an attempt whose answer is not awaited
 * may leave a grant that nobody releases.
 */
const acquire = <R>(
  candidate: Candidate<R>,
  { sighting }: Candidacy.Watch
): Effect.Effect<Option.Option<Term.Term>, LeaseUnavailable, R> =>
  Effect.gen(function*() {
    const { election, unanswered } = candidate
    const claim = yield* newClaim(election)
    const sentAt = yield* election.now
    const answer = yield* Effect.either(attemptUninterruptibly(election, election.store.acquire(sighting, claim)))
    const receivedAt = yield* election.now
    if (answer._tag === "Left") {
      unanswered.add(claim.holderId)
      yield* failed(candidate, answer.left)
      return Option.none()
    }
    return Option.isNone(answer.right)
      ? Option.none()
      : yield* accept(candidate, answer.right.value, { sentAt, receivedAt })
  }).pipe(Effect.uninterruptible)

const campaign = <R>(candidate: Candidate<R>, plan: Plan): Effect.Effect<Term.Term, LeaseUnavailable, R> =>
  Effect.gen(function*() {
    const { election } = candidate
    yield* sleepUntil(election, plan.at)
    // After a hint the lease has probably changed, so it is looked at first.
    const isDue = plan.at <= (yield* election.now)
    if (plan._tag === "Look" || !isDue || Option.isNone(plan.watch)) return yield* look(candidate, plan.watch)
    const term = yield* acquire(candidate, plan.watch.value)
    // The lease has changed, or the answer was lost. What was seen before no longer counts.
    return Option.isSome(term) ? term.value : lookAt(nextLookAfter(election, plan.at), Option.none())
  }).pipe(Effect.flatMap((next) => "_tag" in next ? campaign(candidate, next) : Effect.succeed(next)))

/**
 * Waits until this process leads. `onGrant` gets the grant in the same uninterruptible step in which it was accepted.
 */
export const elect = <R>(
  election: Election,
  options: Pick<Candidate<R>, "provesDeath" | "onGrant">
): Effect.Effect<Term.Term, LeaseUnavailable, R> =>
  Effect.gen(function*() {
    const tokens = yield* HighestToken
    const candidate: Candidate<R> = {
      election,
      ...options,
      tokens,
      unanswered: new Set(),
      highest: yield* Effect.mapError(tokens.read, unremembered(election)),
      isFailing: false
    }
    yield* election.report({ _tag: "Candidate", seen: Option.none() })
    return yield* campaign(candidate, lookAt(yield* election.now, Option.none()))
  })
