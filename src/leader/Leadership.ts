/**
 * One leader among hosts, elected by a lease in a store that all hosts reach.
 *
 * This does not guarantee that only one process acts at each moment. It guarantees that within the assumptions below, and a fencing
 * token makes a late write of a former leader harmless beyond them.
 *
 * - A leader renews the lease at an interval. Without a successful renewal it stops by itself, by its own clock, before any other
 *   host may lead.
 * - Assumed: clocks of two hosts run equally fast within 1 %, a timer runs at most 300 ms late, work stops within `stopTimeout`,
 *   and the store loses no committed change without a new epoch. No wall clock is compared.
 * - A process that was stopped for long, or a virtual machine that was paused, breaks these assumptions. Then only fenced writes
 *   are safe: a resource that remembers the highest token refuses a lower one.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { LeadershipLost, LeaseUnavailable } from "../GatewayLockError.ts"
import { ElapsedTime } from "../host/ElapsedTime.ts"
import * as Changing from "../internal/changing.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { elect } from "./Candidate.ts"
import { attempt, type Election, type LeadershipState, release, sleep, sleepUntil, stateOf } from "./Election.ts"
import { type LeaseHolder, LeaseStore, type StoreError } from "./LeaseStore.ts"
import * as LeaseTimes from "./LeaseTimes.ts"
import * as Term from "./Term.ts"

export type { Current } from "../internal/changing.ts"
export type { LeadershipState } from "./Election.ts"
/**
 * Fencing tokens, for a resource that checks them.
 *
 * @since 0.1.0
 */
export * as FencingToken from "./FencingToken.ts"
/**
 * The operations of a store.
 *
 * @since 0.1.0
 */
export * as LeaseStore from "./LeaseStore.ts"
/**
 * The times of a lease.
 *
 * @since 0.1.0
 */
export * as LeaseTimes from "./LeaseTimes.ts"

/**
 * The lease to lead by. The options have the names of the settings below `lease` in the config file.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeaseOptions extends LeaseTimes.LeaseTimesOptions {
  /** The name of the lease. All processes with this name and store elect one leader among them. Default `default`. */
  readonly name?: string | undefined
}

/**
 * Options of `make` and `layer`. All of them are optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeadershipOptions {
  readonly lease?: LeaseOptions | undefined
  /** What other processes can read about this one while it leads, as JSON. Must not contain secrets. Default: nothing. */
  readonly holder?: LeaseHolder | undefined
  /** Runs at each change of the state, also while this process waits to lead. Must end soon. Default: nothing. */
  readonly onChange?: ((state: LeadershipState) => Effect.Effect<void>) | undefined
  /**
   * Whether the former holder, which described itself so, is proved dead. Then the candidate need not wait. Default: never.
   *
   * @internal
   */
  readonly provesDeath?: ((former: LeaseHolder) => Effect.Effect<boolean>) | undefined
}

/**
 * The leadership of this process, until the scope of `make` or the layer closes. Then the lease is released, so that another
 * candidate leads at once.
 *
 * Everything that only a leader may do runs in `whileLeader`, or in a scope that closes before this one. A process that has lost
 * its leadership must end. It does not become a candidate again.
 *
 * @since 0.1.0
 * @category services
 */
export class Leadership extends Context.Tag("gateway-lock/Leadership")<Leadership, {
  /** The name of the lease. */
  readonly name: string
  /** The number of this leadership, higher than that of every leader before. Pass it to each resource that checks it. */
  readonly fencingToken: bigint
  /**
   * Runs an effect while this process leads. If the leadership is lost, the effect is interrupted. It then has `stopTimeout` to
   * stop, and `whileLeader` fails with `LeadershipLost` at the end of that time even if the effect still runs.
   */
  readonly whileLeader: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LeadershipLost, R>
  /**
   * Compares the clock with the deadline now. Use it right before an act that must not be late: after a pause of the process, a
   * callback can run before the timer that ends the leadership.
   */
  readonly check: Effect.Effect<void, LeadershipLost>
  /** Never succeeds; fails when the leadership is lost or handed over. */
  readonly lost: Effect.Effect<never, LeadershipLost>
  /** Hands over: ends the leadership as a loss does. The lease is released once the scope has closed. */
  readonly resign: Effect.Effect<void>
  /** The state now, and an effect that waits for the next one. */
  readonly changes: Effect.Effect<Changing.Current<LeadershipState>>
}>() {}

/** What the parts of a leader share. */
interface Leading {
  readonly election: Election
  readonly term: Ref.Ref<Term.Term>
  readonly lost: Deferred.Deferred<never, LeadershipLost>
  /** Whether work still ran at the end of its time to stop. Then the lease is not released. */
  readonly hasOverrun: Ref.Ref<boolean>
}

/** Ends the leadership, once. */
const lose = ({ election, lost, term }: Leading, reason: string, cause?: StoreError): Effect.Effect<void> =>
  Effect.gen(function*() {
    const error = new LeadershipLost({
      lease: election.name,
      reason,
      fencingToken: (yield* Ref.get(term)).grant.fencingToken,
      ...(cause === undefined ? {} : { cause })
    })
    if (!(yield* Deferred.fail(lost, error))) return
    yield* election.report({ _tag: "Lost", error })
    yield* Effect.logError(error.message)
  }).pipe(Effect.uninterruptible)

const tooLate = ({ election }: Leading): string =>
  `it was not renewed within ${formatDuration(election.times.renewDeadline)}`

/** Compares the clock with the deadline, and ends the leadership if the deadline has passed. */
const compare = (leading: Leading): Effect.Effect<void> =>
  Effect.gen(function*() {
    const now = yield* leading.election.now
    if (!Term.isTrusted(yield* Ref.get(leading.term), now)) yield* lose(leading, tooLate(leading))
  })

/**
 * Ends the leadership at the deadline. It has a fiber of its own, which sends no statement and so waits for none.
 */
const fence = (leading: Leading, checkEvery: Option.Option<Duration.Duration>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { election, lost, term } = leading
    const left = (yield* Ref.get(term)).trustedUntil - (yield* election.now)
    if (left > 0n) {
      const step = Option.match(checkEvery, { onNone: () => left, onSome: Duration.unsafeToNanos })
      yield* sleep(step < left ? step : left)
    }
    yield* compare(leading)
    return yield* Deferred.isDone(lost)
  }).pipe(Effect.repeat({ until: (isLost) => isLost }), Effect.asVoid)

/** Sends one renewal. Returns why the leadership is lost, or nothing. */
const renew = (leading: Leading, sentAt: bigint): Effect.Effect<string | undefined, StoreError> =>
  Effect.gen(function*() {
    const { election, term } = leading
    const before = yield* Ref.get(term)
    if (!Term.isTrusted(before, sentAt)) return tooLate(leading)
    const answer = yield* attempt(election, election.store.renew(before.grant))
    const after = Term.renew(election.times, before, { sentAt, receivedAt: yield* election.now })
    if (answer === "Lost") return "another process has the lease, or it was deleted or released"
    if (Option.isNone(after)) return tooLate(leading)
    yield* Ref.set(term, after.value)
    yield* election.report(stateOf(after.value))
    return answer === "Resign" ? "another process asked the leader to hand over" : undefined
  })

/** Renews at the interval until the leadership is lost. A store that fails is asked again until the deadline. */
const keepRenewing = (leading: Leading): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { election, lost, term } = leading
    let sentAt = (yield* Ref.get(term)).renewedAt
    let isFailing = false
    while (!(yield* Deferred.isDone(lost))) {
      yield* sleepUntil(election, Term.nextRenewalAt(election.times, yield* Ref.get(term), sentAt))
      sentAt = yield* election.now
      const result = yield* Effect.either(renew(leading, sentAt))
      if (result._tag === "Left") {
        if (!isFailing) yield* Effect.logWarning(`could not renew lease ${election.name}: ${result.left.message}`)
        isFailing = true
        continue
      }
      isFailing = false
      if (result.right !== undefined) yield* lose(leading, result.right)
    }
  })

/** Waits until `work` has ended, or until its time to stop after a loss is over. Returns whether it has ended. */
const stopped = <A, E>(
  { election, lost, term }: Leading,
  work: Fiber.RuntimeFiber<A, E>
): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const isOver = yield* Deferred.make<boolean>()
    yield* Effect.forkDaemon(Effect.zipRight(Fiber.await(work), Deferred.succeed(isOver, true)))
    const overtime = yield* Effect.gen(function*() {
      yield* Effect.ignore(Deferred.await(lost))
      const now = yield* election.now
      yield* sleep(Term.cutAt(election.times, yield* Ref.get(term), now) - now)
      yield* Deferred.succeed(isOver, false)
    }).pipe(Effect.interruptible, Effect.forkDaemon)
    yield* Fiber.interruptFork(work)
    return yield* Effect.zipLeft(Deferred.await(isOver), Fiber.interruptFork(overtime))
  })

const check = (leading: Leading): Effect.Effect<void, LeadershipLost> =>
  Effect.zipRight(
    compare(leading),
    Effect.flatMap(Deferred.poll(leading.lost), Option.getOrElse(() => Effect.void))
  )

const whileLeader =
  (leading: Leading) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LeadershipLost, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        yield* keepInterruption
        yield* check(leading)
        const done = yield* Deferred.make<A, E | LeadershipLost>()
        // Daemons, because a fiber that ends would wait for its child fibers, even for work that does not stop in time.
        const work = yield* Effect.forkDaemon(
          Effect.intoDeferred(restore(Effect.zipRight(keepInterruption, self)), done)
        )
        const watch = yield* Effect.forkDaemon(
          Effect.intoDeferred(Effect.interruptible(Deferred.await(leading.lost)), done)
        )
        const stop = Effect.gen(function*() {
          yield* Fiber.interruptFork(watch)
          if (yield* stopped(leading, work)) return
          yield* Ref.set(leading.hasOverrun, true)
          yield* Effect.logError(
            `the work of lease ${leading.election.name} still runs ${
              formatDuration(leading.election.times.stopTimeout)
            } after the loss`
          )
        })
        return yield* Effect.ensuring(restore(Deferred.await(done)), stop)
      })
    )

/**
 * Waits until this process leads, and leads until the scope closes. The scope then releases the lease, within the attempt timeout.
 *
 * The wait can be interrupted, within the attempt timeout if the lease is just being acquired. A store that cannot be reached is
 * waited for. Fails with `LeaseUnavailable` if the store refuses, if the times do not fit together, or if the token is not higher
 * than one that this host has seen.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: LeadershipOptions = {}
): Effect.Effect<Leadership["Type"], LeaseUnavailable, LeaseStore | Scope.Scope> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const store = yield* LeaseStore
    const name = options.lease?.name ?? "default"
    const times = LeaseTimes.fromOptions(options.lease)
    if (Either.isLeft(times)) {
      return yield* new LeaseUnavailable({ lease: name, store: store.location, reason: times.left.join("; ") })
    }
    const { checkEvery, now } = yield* ElapsedTime
    const state = yield* Changing.make<LeadershipState>({ _tag: "Candidate", seen: Option.none() })
    const election: Election = {
      store,
      name,
      holder: options.holder ?? {},
      times: times.right,
      now,
      report: (next) => Effect.zipRight(state.update(() => next), options.onChange?.(next) ?? Effect.void)
    }
    const hasOverrun = yield* Ref.make(false)
    const term = yield* elect(election, {
      provesDeath: options.provesDeath ?? (() => Effect.succeed(false)),
      onGrant: (grant) =>
        Effect.addFinalizer(() =>
          Effect.gen(function*() {
            // Work that still runs must not act beside the next leader.
            if (yield* Ref.get(hasOverrun)) return
            yield* release(election, grant)
            yield* election.report({ _tag: "Released" })
          })
        )
    })
    const leading: Leading = {
      election,
      term: yield* Ref.make(term),
      lost: yield* Deferred.make<never, LeadershipLost>(),
      hasOverrun
    }
    yield* election.report(stateOf(term))
    yield* Effect.logInfo(`leads ${name} with fencing token ${term.grant.fencingToken}`)
    // Forked after the grant is owned by the scope, so that they end before it is released.
    yield* Effect.forkScoped(fence(leading, checkEvery))
    yield* Effect.forkScoped(keepRenewing(leading))
    return {
      name,
      fencingToken: term.grant.fencingToken,
      whileLeader: whileLeader(leading),
      check: check(leading),
      lost: Deferred.await(leading.lost),
      resign: lose(leading, "it was handed over"),
      changes: state.current
    }
  })

/**
 * `make` as a layer. Its build waits until this process leads. Bind it to a constant: two layers are two candidates.
 *
 * @example
 * import { Effect } from "effect"
 * import { Leadership } from "gateway-lock"
 *
 * // Runs on one host at a time, and needs a `LeaseStore`.
 * const program = Effect.gen(function*() {
 *   const { fencingToken, whileLeader } = yield* Leadership.Leadership
 *   yield* whileLeader(Effect.log(`leads with token ${fencingToken}`))
 * }).pipe(Effect.provide(Leadership.layer({ lease: { name: "reports" } })))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LeadershipOptions = {}
): Layer.Layer<Leadership, LeaseUnavailable, LeaseStore> => Layer.scoped(Leadership, make(options))
