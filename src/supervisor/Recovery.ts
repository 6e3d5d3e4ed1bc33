/**
 * What a start does when somebody else is there: leave a healthy owner in control, wait for an unhealthy one within
 * bounds, or stand by without bounds.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { type Holder, type LockHeld, OwnerHealthy, OwnerUnhealthy, type PortInUse } from "../GatewayLockError.ts"
import { readOwner } from "../lock/LockFile.ts"
import { ProcessTable } from "../lock/ProcessTable.ts"
import * as Metrics from "../Metrics.ts"
import { type Address, probeTargets, toUrl } from "../port/Address.ts"
import { type Health, HealthProbe } from "../port/HealthProbe.ts"
import { OwnerWatch } from "../port/OwnerWatch.ts"
import { defaults, type RecoveryOptions } from "./RecoveryOptions.ts"

export { defaults, type RecoveryOptions }

type Requirements = OwnerWatch | ProcessTable | FileSystem.FileSystem

/** A lock or port that somebody else has: all that waiting can mend. */
type Occupied = PortInUse | LockHeld

/**
 * Tries again soon after an owner was seen to end: the kernel closes a process's files one after the other, so its lock
 * may go a moment after its connections.
 */
const afterEnd = Duration.millis(5)
const triesAfterEnd = 20

const isOccupied = (error: { readonly _tag: string }): error is Occupied =>
  error._tag === "PortInUse" || error._tag === "LockHeld"

/** By an owner that serves nothing yet, or no more: it can be watched by its lock alone. */
const isHeldSilently = (error: Occupied): error is LockHeld => error._tag === "LockHeld" && error.serving === undefined

/** Where the owner listens, as far as the error tells. */
const ownerAddress = (error: Occupied, address: Address): Address => {
  if (error._tag === "PortInUse") return { host: error.host, port: error.port }
  if (error.serving !== undefined) return error.serving
  const { host, port } = error.holder ?? {}
  return host !== undefined && port !== undefined && port !== 0 ? { host, port } : address
}

const name = (holder: Holder | undefined): string => holder?.pid === undefined ? "an owner" : `pid ${holder.pid}`

const describe = (error: Occupied, address: Address, health: Health | undefined): string =>
  `${name(error.holder)} ${
    isHeldSilently(error)
      ? `holds the lock (${error.holder?.phase ?? "phase unknown"})`
      : `has ${toUrl(ownerAddress(error, address))}`
  }${health === undefined || health._tag === "NoListener" ? "" : `, ${health._tag.toLowerCase()}`}`

const telling: Record<Health["_tag"], number> = { Healthy: 0, Unhealthy: 1, Foreign: 2, Stalled: 3, NoListener: 4 }

/** The one answer for the addresses that a gateway holds: its own, and the guard address. */
const mostTelling = (answers: ReadonlyArray<Health>): Health =>
  answers.reduce<Health>(
    (best, answer) => telling[answer._tag] < telling[best._tag] ? answer : best,
    { _tag: "NoListener", detail: "" }
  )

/** Keeps what an attempt acquired only if it succeeds. */
const attempt = <A, E, R>(start: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const outer = yield* Effect.scope
      const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const exit = yield* Effect.exit(restore(Scope.extend(start, inner)))
      if (Exit.isFailure(exit)) yield* Scope.close(inner, exit)
      return yield* exit
    })
  )

const reporter = (options: RecoveryOptions) =>
  Effect.map(Ref.make(""), (last) => (status: string, wait: Duration.Duration) =>
    Effect.gen(function*() {
      // One line for a change of state, not one for each attempt.
      if ((yield* Ref.getAndSet(last, status)) !== status) yield* Effect.logInfo(status)
      yield* options.onWaiting?.({ status, for: wait }) ?? Effect.void
    }))

/**
 * Completes when a lock whose owner serves nothing has a new record, a new phase, or no living owner any more.
 */
const lockChanged = (error: LockHeld) =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const before = error.holder
    const changed = Effect.gen(function*() {
      const record = yield* readOwner(error.path)
      if (Option.isNone(record)) return before !== undefined
      if (record.value.instanceId !== before?.instanceId || record.value.phase !== before.phase) return true
      return (yield* table.liveness(record.value)) === "Gone"
    })
    yield* changed.pipe(
      Effect.filterOrFail((changed) => changed, () => "unchanged" as const),
      Effect.retry(lookAgain)
    )
  }).pipe(
    // The schedule has no end, so neither has the failing.
    Effect.orDie
  )

/** A file and a process are looked at: cheap, and rarer the longer it lasts. */
const lookAgain = Schedule.exponential("50 millis", 1.5).pipe(Schedule.union(Schedule.spaced("1 second")))

/**
 * Waits until it is worth trying again: `true` when the owner was seen to end, `false` when the time is over.
 */
const untilWorthAnother = (error: Occupied, watched: Address, interval: Duration.Duration, watching: boolean) =>
  Effect.gen(function*() {
    const watch = yield* OwnerWatch
    const over = Effect.as(Effect.sleep(interval), false)
    if (!watching) return yield* over
    return yield* Effect.raceFirst(
      Effect.as(
        isHeldSilently(error)
          ? lockChanged(error)
          // Whoever has the port may be on the guard address alone: only where nobody is on any of them is it free.
          : Effect.forEach(probeTargets(watched), watch.ended, { concurrency: "unbounded", discard: true }),
        true
      ),
      over
    )
  })

const waitingFor = (what: "owner" | "standby") => Metrics.during(Metric.tagged(Metrics.lockWaiters, "for", what))

/** What an attempt knows of the ones before it. */
interface Round {
  /** Quick attempts that are left after an owner was seen to end. */
  readonly soon: number
  /** Which owner that was. */
  readonly ended: string | undefined
}

const first: Round = { soon: 0, ended: undefined }

const after = (ended: boolean, error: Occupied): Round => ended ? { soon: triesAfterEnd, ended: ownerId(error) } : first

const ownerId = (error: Occupied): string => error.holder?.instanceId ?? "unknown"

/**
 * Whether the owner may be watched: not if it was seen to end and is still there, or a listener that drops everybody would
 * be asked without a pause.
 */
const mayWatch = (round: Round, error: Occupied): boolean => round.ended !== ownerId(error)

/**
 * A start under a supervisor. Without one, the start as it is: a person is there to read the error.
 *
 * Only `PortInUse` and `LockHeld` are recovered. A healthy owner: `OwnerHealthy`. Otherwise the whole start is tried
 * again every `retryInterval`, and at once when the owner ends, until `healthTimeout`: `OwnerUnhealthy`. Time is the
 * monotonic clock's.
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
 * Recovery.recover(Layer.build(Main), { supervisor: "systemd", address, healthTimeout: "2 minutes" }).pipe(
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
export const recover = <A, E extends { readonly _tag: string }, R>(
  start: Effect.Effect<A, E, R>,
  options: RecoveryOptions
): Effect.Effect<A, E | OwnerHealthy | OwnerUnhealthy, R | Requirements | HealthProbe | Scope.Scope> =>
  Effect.gen(function*() {
    if (options.supervisor === "none") return yield* start
    const { address, supervisor } = options
    const retryInterval = Duration.decode(options.retryInterval ?? defaults.retryInterval)
    const healthTimeout = Duration.decode(options.healthTimeout ?? defaults.healthTimeout)
    const health = yield* HealthProbe
    const report = yield* reporter(options)
    const lastHolder = yield* Ref.make<Holder | undefined>(undefined)
    const began = yield* Clock.currentTimeNanos
    const deadline = began + BigInt(Math.round(Duration.toMillis(healthTimeout) * 1_000_000))

    const judge = (error: Occupied, watching: boolean) =>
      Effect.gen(function*() {
        const watched = ownerAddress(error, address)
        const answer = mostTelling(
          yield* Effect.forEach(probeTargets(watched), health.probe, { concurrency: "unbounded" })
        )
        yield* Ref.set(lastHolder, error.holder)
        if (answer._tag === "Healthy") {
          return yield* new OwnerHealthy({
            supervisor,
            ...watched,
            ...(error.holder === undefined ? {} : { holder: error.holder })
          })
        }
        yield* report(
          `waiting up to ${Duration.format(healthTimeout)} for the owner: ${describe(error, address, answer)}`,
          retryInterval
        )
        return yield* untilWorthAnother(error, watched, retryInterval, watching).pipe(waitingFor("owner"))
      })

    const loop = (round: Round): Effect.Effect<A, E | OwnerHealthy, R | Requirements | HealthProbe | Scope.Scope> =>
      attempt(start).pipe(
        Effect.catchAll((error) =>
          !isOccupied(error)
            ? Effect.fail(error)
            : round.soon > 0
            ? Effect.zipRight(Effect.sleep(afterEnd), loop({ ...round, soon: round.soon - 1 }))
            : Effect.flatMap(judge(error, mayWatch(round, error)), (ended) => loop(after(ended, error)))
        )
      )

    return yield* loop(first).pipe(
      Effect.timeoutTo({
        duration: Duration.nanos(deadline - began),
        onSuccess: (result) => Effect.succeed(result),
        onTimeout: () =>
          Effect.flatMap(Ref.get(lastHolder), (holder) =>
            new OwnerUnhealthy({
              supervisor,
              ...address,
              timeoutMs: Duration.toMillis(healthTimeout),
              ...(holder === undefined ? {} : { holder })
            }))
      }),
      Effect.flatten
    )
  })

/**
 * Waits for the present owner to end, however it ends and however long it takes, then starts. Of several standbys one
 * takes over, and the others go on waiting for it.
 *
 * Only `PortInUse` and `LockHeld` are waited for; with any other failure of the start, this fails. `healthTimeout` does not
 * count here.
 *
 * @since 0.1.0
 * @category combinators
 */
export const standby = <A, E extends { readonly _tag: string }, R>(
  start: Effect.Effect<A, E, R>,
  options: RecoveryOptions
): Effect.Effect<A, E, R | Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const { address } = options
    const retryInterval = Duration.decode(options.retryInterval ?? defaults.retryInterval)
    const report = yield* reporter(options)
    const loop = (round: Round): Effect.Effect<A, E, R | Requirements | Scope.Scope> =>
      attempt(start).pipe(
        Effect.catchAll((error) => {
          if (!isOccupied(error)) return Effect.fail(error)
          if (round.soon > 0) return Effect.zipRight(Effect.sleep(afterEnd), loop({ ...round, soon: round.soon - 1 }))
          const watching = mayWatch(round, error)
          const interval = !watching
            ? defaults.standbyInterval
            // A lock that only its record keeps can go stale without a change that could be seen.
            : isHeldSilently(error)
            ? retryInterval
            : Duration.infinity
          return report(`standing by: ${describe(error, address, undefined)}`, interval).pipe(
            Effect.zipRight(untilWorthAnother(error, ownerAddress(error, address), interval, watching)),
            waitingFor("standby"),
            Effect.flatMap((ended) => loop(after(ended, error)))
          )
        })
      )
    return yield* loop(first)
  })
