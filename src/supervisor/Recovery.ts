/**
 * What a start does when another owner is there: leave a healthy owner in control, wait for an unhealthy one within
 * bounds, or stand by without bounds.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import { type BindFailed, type Holder, OwnerHealthy, OwnerUnhealthy } from "../GatewayLockError.ts"
import { keepIf } from "../internal/keepIf.ts"
import type { Health } from "../probe/HealthProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import * as OwnerChange from "./OwnerChange.ts"
import type { Requirements } from "./OwnerChange.ts"
import { defaults, type RecoveryHealthOptions, type RecoveryOptions, type RecoveryWaiting } from "./RecoveryOptions.ts"

export * as OwnerWatch from "../probe/OwnerWatch.ts"
export { defaults, type RecoveryHealthOptions, type RecoveryOptions, type RecoveryWaiting }
export type { Requirements }

/**
 * After an owner's end: the kernel closes a process's files one after the other, so the lock may go a moment after the
 * connections. Each attempt waits twice as long as the one before.
 */
const afterEnd = Duration.millis(5)
const attemptsAfterEnd = 7

/**
 * How long a start takes, at most, to find that another owner has the port. Whatever an attempt that ends with `PortInUse`
 * lasts beyond that is its own warm-up.
 */
const longestRefusal = Duration.seconds(1)

const nowMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/** A socket that does not listen has the port. The kernel gives a port to an outgoing connection, and takes it back. */
const isTaken = <E extends { readonly _tag: string }>(error: E): error is E & BindFailed =>
  error._tag === "BindFailed" && "code" in error && error.code === "EADDRINUSE"

const describeTaken = (error: BindFailed): string => `${toUrl(error)} cannot be bound: ${error.reason}`

const isOccupied = (error: { readonly _tag: string }): error is OwnerChange.Occupied =>
  error._tag === "PortInUse" || error._tag === "LockHeld"

const name = (holder: Holder | undefined): string => holder?.pid === undefined ? "an owner" : `pid ${holder.pid}`

const describe = (error: OwnerChange.Occupied, address: Address, health: Health | undefined): string =>
  `${name(error.holder)} ${
    OwnerChange.isSilent(error)
      ? `holds the lock (${error.holder?.phase ?? "phase unknown"})`
      : `has ${toUrl(OwnerChange.addressOf(error, address))}`
  }${health === undefined || health._tag === "NoListener" ? "" : `, ${health._tag.toLowerCase()}`}`

/** Reports a wait: one line for each change of state, and `onWaiting` before each wait that goes beyond the last one. */
const reporter = (options: RecoveryOptions) =>
  Effect.map(
    Ref.make({ status: "", until: 0 }),
    (last) => (status: string, wait: Duration.Duration) =>
      Effect.gen(function*() {
        const until = (yield* nowMillis) + Duration.toMillis(wait)
        const before = yield* Ref.get(last)
        if (before.status === status && before.until >= until) return
        if (before.until === 0) yield* options.beforeWaiting ?? Effect.void
        yield* Ref.set(last, { status, until })
        if (before.status !== status) yield* Effect.logInfo(status)
        yield* options.onWaiting?.({ status, for: wait }) ?? Effect.void
      })
  )

const waitingFor = (what: "owner" | "standby") => Metrics.during(Metric.tagged(Metrics.lockWaiters, "for", what))

/** What an attempt knows of the attempts before it. */
interface Round {
  /** Quick attempts that are left after the end of an owner was seen. */
  readonly soon: number
  /** Which owner the last wait was for. */
  readonly owner: string | undefined
  /** Whether the wait before this one was for the same owner, and saw no change. */
  readonly isSettled: boolean
  /** Whether to watch that owner: not if it drops its watchers, or a standby would connect again without a pause. */
  readonly mayWatch: boolean
}

const first: Round = { soon: 0, owner: undefined, isSettled: false, mayWatch: true }

const ownerId = (error: OwnerChange.Occupied): string => error.holder?.instanceId ?? "unknown"

/** The round for a refusal: what was known of another owner does not count. An owner that ends may have no record left. */
const roundFor = (error: OwnerChange.Occupied, before: Round): Round =>
  before.owner === ownerId(error) || (before.soon > 0 && error.holder === undefined)
    ? before
    : { ...first, owner: ownerId(error) }

const after = (change: OwnerChange.Change, round: Round): Round => {
  switch (change._tag) {
    case "Free":
    case "Unchanged":
      return { ...round, isSettled: true }
    case "Ended":
      return { ...round, soon: attemptsAfterEnd, isSettled: false, mayWatch: !change.dropped }
    case "Changed":
      return { ...round, isSettled: false }
  }
}

/** The pause before the next quick attempt. */
const pauseOf = ({ soon }: Round): Duration.Duration => Duration.times(afterEnd, 2 ** (attemptsAfterEnd - soon))

/**
 * Tries again until a start succeeds or fails otherwise; `refused` waits for what makes another attempt worthwhile, and `taken`
 * while a socket that does not listen has the port.
 */
const retrying = <A, E extends { readonly _tag: string }, R, E2, R2, E3, R3>(
  start: Effect.Effect<A, E, R>,
  refused: (error: OwnerChange.Occupied, round: Round, tookMillis: number) => Effect.Effect<Round, E2, R2>,
  taken: (error: E & BindFailed) => Effect.Effect<void, E3, R3>
): Effect.Effect<A, E | E2 | E3, R | R2 | R3 | Scope.Scope> =>
  Effect.gen(function*() {
    let round = first
    while (true) {
      const before = yield* nowMillis
      const result = yield* Effect.either(keepIf(start))
      if (Either.isRight(result)) return result.right
      const error = result.left
      if (isTaken(error)) {
        yield* taken(error)
        round = first
        continue
      }
      if (!isOccupied(error)) return yield* Effect.fail(error)
      round = yield* refused(error, roundFor(error, round), (yield* nowMillis) - before)
    }
  })

/** How much longer a recovery may wait. Only the time that it spends waiting counts. */
interface Deadline {
  /** At least zero. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /** Adds time that was not spent waiting. */
  readonly extend: (millis: number) => Effect.Effect<void>
}

const makeDeadline = (timeout: Duration.Duration): Effect.Effect<Deadline> =>
  Effect.gen(function*() {
    const deadline = yield* Ref.make((yield* nowMillis) + Duration.toMillis(timeout))
    return {
      remaining: Effect.zipWith(
        Ref.get(deadline),
        nowMillis,
        (end, now) => Duration.millis(Math.max(end - now, 0))
      ),
      extend: (millis) => Ref.update(deadline, (end) => end + millis)
    }
  })

/** What the attempts of one `recover` share. */
interface Recovering {
  readonly supervisor: RecoveryOptions["supervisor"]
  readonly address: Address
  readonly retryInterval: Duration.Duration
  readonly timeout: Duration.Duration
  readonly deadline: Deadline
  /** Whether the health of an owner was asked before. */
  readonly wasJudged: Ref.Ref<boolean>
  readonly report: (status: string, wait: Duration.Duration) => Effect.Effect<void>
}

const makeRecovering = (options: RecoveryOptions): Effect.Effect<Recovering> =>
  Effect.gen(function*() {
    const { health = {} } = options
    const timeout = Duration.decode(health.timeout ?? defaults.health.timeout)
    return {
      supervisor: options.supervisor,
      address: options.address,
      retryInterval: Duration.decode(health.retryInterval ?? defaults.health.retryInterval),
      timeout,
      report: yield* reporter(options),
      deadline: yield* makeDeadline(timeout),
      wasJudged: yield* Ref.make(false)
    }
  })

/** Fails with `OwnerHealthy` if the answer says so. */
const leaveIfHealthy = ({ address, supervisor }: Recovering, error: OwnerChange.Occupied) => (answer: Health) =>
  OwnerChange.isHealthy(error, answer)
    ? new OwnerHealthy({
      supervisor,
      ...OwnerChange.addressOf(error, address),
      ...(error.holder === undefined ? {} : { holder: error.holder })
    })
    : Effect.void

/** Fails with `OwnerUnhealthy` at the deadline. */
const within =
  ({ address, deadline, supervisor, timeout }: Recovering, { holder }: OwnerChange.Occupied) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | OwnerUnhealthy, R> =>
    Effect.flatMap(deadline.remaining, (duration) =>
      Effect.timeoutFail(self, {
        duration,
        onTimeout: () =>
          new OwnerUnhealthy({
            supervisor,
            ...address,
            timeout,
            ...(holder === undefined ? {} : { holder })
          })
      }))

/** The first answer is waited for as long as a probe takes: without it, nothing is known of the owner's health. */
const judge = (self: Recovering, error: OwnerChange.Occupied) =>
  Effect.gen(function*() {
    const isFirst = !(yield* Ref.getAndSet(self.wasJudged, true))
    const looks = yield* isFirst
      ? OwnerChange.look(error, self.address)
      : within(self, error)(OwnerChange.look(error, self.address))
    yield* leaveIfHealthy(self, error)(OwnerChange.mostTelling(looks))
    return looks
  })

const waitForOwner = (self: Recovering, error: OwnerChange.Occupied, round: Round) =>
  Effect.gen(function*() {
    const { address, report, retryInterval, timeout } = self
    const looks = yield* judge(self, error)
    const interval = OwnerChange.isObservable(error)
      ? retryInterval
      : Duration.min(retryInterval, defaults.pollInterval)
    const state = describe(error, address, OwnerChange.mostTelling(looks))
    yield* report(`waiting up to ${Duration.format(timeout)} for the owner: ${state}`, interval)
    const waited = { ...round, error, address, onAnswer: leaveIfHealthy(self, error) }
    return yield* OwnerChange.awaitAny(waited, looks).pipe(
      Effect.raceFirst(Effect.as(Effect.sleep(interval), OwnerChange.unchanged)),
      within(self, error)
    )
  }).pipe(waitingFor("owner"))

const waitForPort = <E>({ deadline, report, retryInterval, timeout }: Recovering, error: E & BindFailed) =>
  Effect.gen(function*() {
    const interval = Duration.min(retryInterval, defaults.pollInterval)
    yield* report(`waiting up to ${Duration.format(timeout)} for the port: ${describeTaken(error)}`, interval)
    const left = yield* deadline.remaining
    if (Duration.lessThan(left, interval)) {
      yield* Effect.sleep(left)
      return yield* Effect.fail(error)
    }
    yield* Effect.sleep(interval)
  }).pipe(waitingFor("owner"))

/**
 * A start under a supervisor. Without one, the start as it is: a person is there to read the error.
 *
 * Only `PortInUse` and `LockHeld` are recovered, and `BindFailed` where a socket that does not listen has the port: this is
 * waited for as long as an owner, and is the failure then. Beside a healthy owner this fails with `OwnerHealthy`. Otherwise the whole
 * start is tried again every `health.retryInterval`, and within a second or two of the owner's end. The owner's health is asked
 * every second meanwhile. After `health.timeout` this fails with `OwnerUnhealthy`. Only the time that is spent waiting for
 * another owner counts, on the monotonic clock: an attempt that acquired the lock may warm up for as long as it takes.
 *
 * @example
 * import { HttpServer, HttpServerResponse } from "@effect/platform"
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Context, Effect, Layer } from "effect"
 * import { Gateway, HealthProbe, Recovery } from "gateway-lock"
 *
 * const address = { host: "127.0.0.1", port: 18789 }
 * const Main = HttpServer.serve(HttpServerResponse.text("hello")).pipe(Layer.provideMerge(Gateway.layer(address)))
 *
 * // As a service of systemd, whose unit has RestartPreventExitStatus=78.
 * Layer.build(Main).pipe(
 *   Recovery.recover({ supervisor: "systemd", address, health: { timeout: "2 minutes" } }),
 *   Effect.flatMap((context) => Context.get(context, Gateway.Gateway).lost),
 *   Effect.catchTag("OwnerHealthy", ({ message }) =>
 *     Effect.zipRight(Effect.log(message), Effect.sync(() => { process.exitCode = 78 }))),
 *   Effect.scoped,
 *   Effect.provide(HealthProbe.layer()),
 *   Effect.provide(Gateway.layerNode),
 *   NodeRuntime.runMain
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const recover: {
  (
    options: RecoveryOptions
  ): <A, E extends { readonly _tag: string }, R>(
    start: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | OwnerHealthy | OwnerUnhealthy, R | Requirements | Scope.Scope>
  <A, E extends { readonly _tag: string }, R>(
    start: Effect.Effect<A, E, R>,
    options: RecoveryOptions
  ): Effect.Effect<A, E | OwnerHealthy | OwnerUnhealthy, R | Requirements | Scope.Scope>
} = dual(2, <A, E extends { readonly _tag: string }, R>(
  start: Effect.Effect<A, E, R>,
  options: RecoveryOptions
): Effect.Effect<A, E | OwnerHealthy | OwnerUnhealthy, R | Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    if (options.supervisor === "none") return yield* start
    const recovering = yield* makeRecovering(options)

    const refused = (error: OwnerChange.Occupied, round: Round, tookMillis: number) =>
      Effect.gen(function*() {
        if (error._tag === "PortInUse") {
          const ownMillis = Math.max(tookMillis - Duration.toMillis(longestRefusal), 0)
          yield* recovering.deadline.extend(ownMillis)
        }
        if (round.soon === 0) return after(yield* waitForOwner(recovering, error, round), round)
        yield* within(recovering, error)(Effect.sleep(pauseOf(round)))
        return { ...round, soon: round.soon - 1 }
      })

    return yield* retrying(start, refused, (error) => waitForPort(recovering, error))
  }))

/**
 * Waits for the present owner to end, however it ends and however long it takes, then starts. Of several standbys one
 * takes over, and the others go on waiting for it.
 *
 * A gateway is watched over an open connection. A listener that cannot be watched is asked every second, and a lock whose
 * owner does not listen is tried every second, as is a port that a socket has which does not listen. Only `PortInUse`,
 * `LockHeld` and such a `BindFailed` are waited for; with any other failure of the start, this fails. `health` does not count here.
 *
 * @since 0.1.0
 * @category combinators
 */
export const standby: {
  (
    options: RecoveryOptions
  ): <A, E extends { readonly _tag: string }, R>(
    start: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R | Requirements | Scope.Scope>
  <A, E extends { readonly _tag: string }, R>(
    start: Effect.Effect<A, E, R>,
    options: RecoveryOptions
  ): Effect.Effect<A, E, R | Requirements | Scope.Scope>
} = dual(2, <A, E extends { readonly _tag: string }, R>(
  start: Effect.Effect<A, E, R>,
  options: RecoveryOptions
): Effect.Effect<A, E, R | Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const { address } = options
    const report = yield* reporter(options)
    const pause = Effect.as(Effect.sleep(defaults.pollInterval), OwnerChange.unchanged)

    const untilChange = (error: OwnerChange.Occupied, round: Round) =>
      Effect.gen(function*() {
        const status = `standing by: ${describe(error, address, undefined)}`
        if (OwnerChange.isSilent(error)) {
          yield* report(status, Duration.infinity)
          return yield* round.isSettled ? pause : Effect.raceFirst(OwnerChange.awaitLock(error), pause)
        }
        const looks = yield* OwnerChange.look(error, address)
        yield* report(status, Duration.infinity)
        return yield* OwnerChange.awaitPort({ ...round, error, address, onAnswer: () => Effect.void }, looks)
      }).pipe(waitingFor("standby"))

    return yield* retrying(start, (error, round) =>
      round.soon > 0
        ? Effect.as(Effect.sleep(pauseOf(round)), { ...round, soon: round.soon - 1 })
        : Effect.map(untilChange(error, round), (change) =>
          after(change, round)), (error) =>
      Effect.zipRight(report(`standing by: ${describeTaken(error)}`, Duration.infinity), pause).pipe(
        waitingFor("standby")
      ))
  }))
