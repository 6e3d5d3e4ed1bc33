/**
 * Decides what a starting gateway does when another process, the owner, has the lock or the port. `recover` leaves a healthy owner
 * in control, and waits for an unhealthy owner up to a timeout. `standby` waits without a timeout.
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
import { formatDuration } from "../internal/formatDuration.ts"
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
 * The pause before the first quick attempt to start after an owner's end. Each later pause is twice as long as the one before.
 * Several attempts are necessary, because the kernel closes the files of an ended process one after the other. So the kernel may
 * release the owner's lock a moment after it closes the owner's connections.
 */
const firstPause = Duration.millis(5)
const attemptsAfterEnd = 7

/**
 * The longest time that a start needs to find that another owner has the port. If an attempt fails with `PortInUse` only after a
 * longer time, the attempt spent the additional time on other work, such as the warm-up of an app before the bind. That work is
 * not a wait for the owner, so it must not use up the timeout of `recover`. The additional time is added to the deadline.
 */
const longestRefusal = Duration.seconds(1)

const nowMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/**
 * Whether the port is in use by a socket that does not listen. If the socket listened, the error would be `PortInUse`. For example,
 * the kernel may give the port to an outgoing connection, and it frees the port when that connection closes.
 */
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

/**
 * Makes the function that reports a wait. That function runs `beforeWaiting` once, and logs one line for each change of `status`.
 * It calls `onWaiting` for each change of `status`, and for each wait that ends later than the last reported wait.
 */
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

/** The state that one attempt to start passes to the next attempt. */
interface Round {
  /**
   * How many quick attempts are left. Quick attempts are milliseconds apart, and begin when this process sees that an owner has
   * ended.
   */
  readonly quickAttempts: number
  /** The instance id of the owner that the last wait was for. */
  readonly owner: string | undefined
  /** Whether the last wait for this owner ended with a free port or without any change. The next wait is then a plain pause. */
  readonly isSettled: boolean
  /**
   * Whether to watch that owner over an open connection. `false` after the owner closed such a connection soon after it was
   * opened, because a standby (a start that waits for the owner's end) would otherwise reconnect without a pause.
   */
  readonly mayWatch: boolean
}

const first: Round = { quickAttempts: 0, owner: undefined, isSettled: false, mayWatch: true }

const ownerId = (error: OwnerChange.Occupied): string => error.holder?.instanceId ?? "unknown"

/**
 * The state for the wait after a refused attempt. If the previous attempt was refused because of a different owner, the result is
 * a new state, made from `first`. During the quick attempts, a refusal may name no holder, because the ended owner may remove its
 * record before it releases the lock. Such a refusal counts as a refusal by the ended owner, so the state is kept.
 */
const roundFor = (error: OwnerChange.Occupied, before: Round): Round =>
  before.owner === ownerId(error) || (before.quickAttempts > 0 && error.holder === undefined)
    ? before
    : { ...first, owner: ownerId(error) }

const after = (change: OwnerChange.Change, round: Round): Round => {
  switch (change._tag) {
    case "Free":
    case "Unchanged":
      return { ...round, isSettled: true }
    case "Ended":
      return { ...round, quickAttempts: attemptsAfterEnd, isSettled: false, mayWatch: !change.dropped }
    case "Changed":
      return { ...round, isSettled: false }
  }
}

/** The pause before the next quick attempt. */
const pauseOf = ({ quickAttempts }: Round): Duration.Duration =>
  Duration.times(firstPause, 2 ** (attemptsAfterEnd - quickAttempts))

/**
 * Repeats a start until it succeeds, or until it fails with an error that does not go away by waiting.
 *
 * After `PortInUse` or `LockHeld`, `refused` waits until another attempt is worthwhile. If an attempt fails with `BindFailed`
 * because a socket that does not listen has the port, `taken` waits before the next attempt.
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

/** The time at which `recover` stops waiting for an unhealthy owner. Time that `recover` spends on something else postpones it. */
interface Deadline {
  /** The time until the deadline, at least zero. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /** Moves the deadline later, by a time that `recover` did not spend waiting. */
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

/** The settings and state that one call of `recover` keeps for all its attempts to start. */
interface Recovering {
  readonly supervisor: RecoveryOptions["supervisor"]
  readonly address: Address
  readonly retryInterval: Duration.Duration
  readonly timeout: Duration.Duration
  readonly deadline: Deadline
  /** Whether this call of `recover` has already probed the health of an owner. */
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

/** Fails with `OwnerHealthy` if the answer is from a healthy owner. */
const leaveIfHealthy = ({ address, supervisor }: Recovering, error: OwnerChange.Occupied) => (answer: Health) =>
  OwnerChange.isHealthy(error, answer)
    ? new OwnerHealthy({
      supervisor,
      ...OwnerChange.addressOf(error, address),
      ...(error.holder === undefined ? {} : { holder: error.holder })
    })
    : Effect.void

/** Runs an effect. If the effect has not ended at the deadline, this function interrupts it and fails with `OwnerUnhealthy`. */
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

/**
 * Probes the owner, and fails with `OwnerHealthy` if the owner is healthy. The deadline does not interrupt the first probe.
 * Before its answer the owner's health is unknown, so the error `OwnerUnhealthy` could be wrong.
 */
const judge = (self: Recovering, error: OwnerChange.Occupied) =>
  Effect.gen(function*() {
    const isFirst = !(yield* Ref.getAndSet(self.wasJudged, true))
    const looks = yield* isFirst
      ? OwnerChange.look(error, self.address)
      : within(self, error)(OwnerChange.look(error, self.address))
    yield* leaveIfHealthy(self, error)(OwnerChange.strongestAnswer(looks))
    return looks
  })

/**
 * Waits for a change of the owner, for at most one retry interval. If this process cannot see the owner's end, the wait takes at
 * most one poll interval.
 */
const waitForOwner = (self: Recovering, error: OwnerChange.Occupied, round: Round) =>
  Effect.gen(function*() {
    const { address, report, retryInterval, timeout } = self
    const looks = yield* judge(self, error)
    const interval = OwnerChange.isObservable(error)
      ? retryInterval
      : Duration.min(retryInterval, defaults.pollInterval)
    const state = describe(error, address, OwnerChange.strongestAnswer(looks))
    yield* report(`waiting up to ${formatDuration(timeout)} for the owner: ${state}`, interval)
    const waited = { ...round, error, address, onAnswer: leaveIfHealthy(self, error) }
    return yield* OwnerChange.awaitAny(waited, looks).pipe(
      Effect.raceFirst(Effect.as(Effect.sleep(interval), OwnerChange.unchanged)),
      within(self, error)
    )
  }).pipe(waitingFor("owner"))

/** Waits before the next attempt to bind the port. At the deadline, fails with the error of the last attempt. */
const waitForPort = <E>({ deadline, report, retryInterval, timeout }: Recovering, error: E & BindFailed) =>
  Effect.gen(function*() {
    const interval = Duration.min(retryInterval, defaults.pollInterval)
    yield* report(`waiting up to ${formatDuration(timeout)} for the port: ${describeTaken(error)}`, interval)
    const left = yield* deadline.remaining
    if (Duration.lessThan(left, interval)) {
      yield* Effect.sleep(left)
      return yield* Effect.fail(error)
    }
    yield* Effect.sleep(interval)
  }).pipe(waitingFor("owner"))

/**
 * Runs the start of a program that a supervisor has started. If another process, the owner, has the lock or the port, leaves a
 * healthy owner in control. Waits, up to a timeout, for an unhealthy owner to become healthy or to end.
 *
 * - The start fails with `PortInUse` or `LockHeld`, and the owner is healthy: fails with `OwnerHealthy`.
 * - The start fails with `PortInUse` or `LockHeld`, and the owner is unhealthy: retries. After `health.timeout`, fails with
 *   `OwnerUnhealthy`.
 * - The start fails with `BindFailed`, because a socket that does not listen has the port: retries. After `health.timeout`, fails
 *   with `BindFailed`.
 * - The start fails with any other error: fails with that error at once.
 *
 * A retry runs the whole start again. While an unhealthy owner lives, a retry follows every `health.retryInterval`, and the owner's
 * health is probed every second in between. After the owner has ended, the next retry follows within a second or two. After
 * `BindFailed`, a retry follows every second, or every `health.retryInterval` if that is shorter.
 *
 * `health.timeout` counts only the time spent waiting for another owner, on the monotonic clock. An attempt that has acquired the
 * lock may take as long as it needs before it binds the port.
 *
 * With the supervisor `none`, the start runs once and its errors are not changed, because a person started the program and can
 * read the errors.
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
 * // For a systemd unit with RestartPreventExitStatus=78: systemd does not restart this program after it exits 78.
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
        if (round.quickAttempts === 0) return after(yield* waitForOwner(recovering, error, round), round)
        yield* within(recovering, error)(Effect.sleep(pauseOf(round)))
        return { ...round, quickAttempts: round.quickAttempts - 1 }
      })

    return yield* retrying(start, refused, (error) => waitForPort(recovering, error))
  }))

/**
 * Runs a start as a standby: waits until the current owner (the process that has the lock or the port) ends, without a timeout,
 * and then takes over. If several standbys wait, one takes over and the others wait until that new owner ends.
 *
 * How the standby notices the end of the owner:
 *
 * - A gateway: the standby watches the gateway over an open connection.
 * - A listener that cannot be watched in this way: the standby probes the listener every second.
 * - An owner that holds the lock without listening: the standby tries to acquire the lock every second.
 * - A server that `gateway exec` runs under the lock: the standby reads the owner's lock file and checks the owner's process, and
 *   opens no connection.
 * - A socket that has the port and does not listen: the standby tries to bind every second.
 *
 * A standby waits only if the start fails with `PortInUse`, with `LockHeld`, or with `BindFailed` because a socket that does not
 * listen has the port. Any other failure of the start ends the standby with that failure. The option `health` is not used.
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
      round.quickAttempts > 0
        ? Effect.as(Effect.sleep(pauseOf(round)), { ...round, quickAttempts: round.quickAttempts - 1 })
        : Effect.map(untilChange(error, round), (change) =>
          after(change, round)), (error) =>
      Effect.zipRight(report(`standing by: ${describeTaken(error)}`, Duration.infinity), pause).pipe(
        waitingFor("standby")
      ))
  }))
