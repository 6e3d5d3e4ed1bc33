/**
 * A gateway that leads the gateways of several hosts, or waits to lead them. `Gateway.layerWithLease` and the program are made from
 * this module. It is loaded only with a lease.
 *
 *     host lock → port → lease → app
 *
 * While the gateway waits for the lease, its port is bound and its own routes answer. After a stop, the order is: not ready, drain,
 * release of the lease, port, host lock. After a loss of the lease, the process ends. It never waits for the lease a second time.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { type BindFailed, type LeadershipLost, LeaseUnavailable, type PortInUse } from "../GatewayLockError.ts"
import { ElapsedTime } from "../host/ElapsedTime.ts"
import { HostFacts } from "../host/HostFacts.ts"
import { ProcessFence } from "../host/ProcessFence.ts"
import * as DeathProof from "../leader/DeathProof.ts"
import * as HighestToken from "../leader/HighestToken.ts"
import * as HolderText from "../leader/HolderText.ts"
import * as Leadership from "../leader/Leadership.ts"
import * as LeaseInRecord from "../leader/LeaseInRecord.ts"
import type * as LeaseStore from "../leader/LeaseStore.ts"
import * as LeaseTimes from "../leader/LeaseTimes.ts"
import * as LockFile from "../lock/LockFile.ts"
import { LossReport } from "../lock/LossReport.ts"
import type { PortProbe } from "../probe/PortProbe.ts"
import { standby } from "../server/HealthRoutes.ts"
import type { ServerSocket } from "../server/ServerSocket.ts"
import { defaultProfile } from "../settings/GatewayConfig.ts"
import * as LeaseMetrics from "../telemetry/LeaseMetrics.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { detachSpan, spannedDetached } from "../telemetry/spans.ts"
import { build, Gateway, type Serving, type ServingOptions } from "./GatewayInstance.ts"

/**
 * How a gateway serves, and the lease by which it leads.
 *
 * @internal
 */
export interface LeadingOptions extends ServingOptions {
  readonly lease?: Leadership.LeaseOptions | undefined
}

/**
 * A gateway whose port is bound, and that waits to lead.
 *
 * @internal
 */
export interface Candidate {
  readonly context: Serving["context"]
  /**
   * Waits until this gateway leads, and leads until the scope closes. Close that scope after the app has ended and before the scope
   * of the candidate.
   */
  readonly lead: Effect.Effect<
    Leadership.Leadership["Type"],
    LeaseUnavailable,
    LeaseStore.LeaseStore | LockFile.LockFile | FileSystem.FileSystem | Scope.Scope
  >
}

/** The loss of the leadership, as the parts of one gateway see it. */
interface Losing {
  readonly lost: Deferred.Deferred<never, LeadershipLost>
  /** The number of fibers that wait for the loss. */
  readonly watchers: Ref.Ref<number>
  /** The leader at the last look. */
  readonly leader: Ref.Ref<Option.Option<HolderText.HolderGateway>>
}

/** Remembers who leads, while this gateway waits to lead. */
const noteLeader = ({ leader }: Losing) => (state: Leadership.LeadershipState): Effect.Effect<void> => {
  if (state._tag !== "Candidate" || Option.isNone(state.seen)) return Effect.void
  const { holder, holderId } = state.seen.value
  return Ref.set(leader, Option.map(holderId, () => HolderText.gatewayOf(holder)))
}

const awaitLoss = ({ lost, watchers }: Losing): Effect.Effect<never, LeadershipLost> =>
  Effect.acquireUseRelease(
    Ref.update(watchers, (count) => count + 1),
    () => Deferred.await(lost),
    () => Ref.update(watchers, (count) => count - 1)
  )

/**
 * The time in which a drain after a loss ends. The rest of `stopTimeout` is for the end of the process, which is killed at the end of
 * `stopTimeout`.
 */
const drainWithin = (stopTimeout: Duration.Duration): Duration.Duration =>
  Duration.subtract(stopTimeout, Duration.min(Duration.millis(500), Duration.times(stopTimeout, 0.25)))

/** Why a leadership was lost, for the metric. */
const lostReasonOf = ({ reason }: LeadershipLost, isLockLost: boolean): LeaseMetrics.LostReason => {
  if (isLockLost) return "lock"
  if (reason.startsWith("it was not renewed")) return "expired"
  return reason.includes("hand over") || reason.includes("handed over") ? "resigned" : "taken"
}

/** Measures how long the store takes to answer a renewal. */
const timedStore = (store: LeaseStore.LeaseStore["Type"]): LeaseStore.LeaseStore["Type"] => ({
  ...store,
  renew: (grant) =>
    store.renew(grant).pipe(
      Metrics.timed((exit, seconds) =>
        Metric.update(
          Metric.tagged(LeaseMetrics.renewSeconds, "result", Exit.isSuccess(exit) ? "renewed" : "failed"),
          seconds
        )
      )
    )
})

/** Keeps the metrics of the leadership. */
const measure = (lifecycle: Serving["lifecycle"]) => {
  let leads = false
  const stop = Effect.suspend(() => {
    if (!leads) return Effect.void
    leads = false
    return Effect.zipRight(Metric.modify(LeaseMetrics.leader, -1), Metric.set(LeaseMetrics.fencingToken, 0n))
  })
  return (state: Leadership.LeadershipState): Effect.Effect<void> => {
    switch (state._tag) {
      case "Candidate":
        return Effect.void
      case "Leader":
        if (leads) return Effect.void
        leads = true
        return Effect.zipRight(
          Metric.modify(LeaseMetrics.leader, 1),
          Metric.set(LeaseMetrics.fencingToken, state.fencingToken)
        )
      case "Lost":
        return Effect.flatMap(lifecycle.failing, (failing) =>
          Effect.zipRight(
            stop,
            Metric.increment(
              Metric.tagged(LeaseMetrics.lostTotal, "reason", lostReasonOf(state.error, failing.includes("lock")))
            )
          ))
      case "Released":
        return stop
    }
  }
}

/** Moves the moment at which the process is killed with each change of the leadership. */
const moveFence = (stopTimeout: Duration.Duration) =>
  Effect.gen(function*() {
    const fence = yield* Effect.flatMap(ProcessFence, ({ make }) => make)
    const { now } = yield* ElapsedTime
    const stop = Duration.unsafeToNanos(stopTimeout)
    let trustedUntil = 0n
    return {
      disarm: fence.disarm,
      onChange: (state: Leadership.LeadershipState): Effect.Effect<void> => {
        switch (state._tag) {
          case "Candidate":
            return Effect.void
          case "Leader":
            trustedUntil = state.trustedUntil
            return fence.killAt(trustedUntil + stop)
          case "Lost":
            return Effect.flatMap(now, (lostAt) => fence.killAt((lostAt < trustedUntil ? lostAt : trustedUntil) + stop))
          case "Released":
            return fence.disarm
        }
      }
    }
  })

/** Ends the service when the leadership is lost. */
const watch = (
  { lifecycle, lose }: Serving,
  leadership: Leadership.Leadership["Type"],
  { lost, watchers }: Losing,
  stopTimeout: Duration.Duration
) =>
  Effect.gen(function*() {
    const reportTo = yield* LossReport
    const end = (error: LeadershipLost) =>
      Effect.gen(function*() {
        const isWatched = Option.isSome(reportTo) || (yield* Ref.get(watchers)) > 0
        // Before anything else, so that no client sees this gateway ready once it is known to be lost.
        yield* lifecycle.fail("leadership")
        yield* Deferred.fail(lost, error)
        if (Option.isSome(reportTo)) yield* reportTo.value(error)
        yield* lose({
          error,
          check: "leadership",
          within: drainWithin(stopTimeout),
          isWatched,
          // The scope of the leadership releases the lease, once the work has ended.
          release: Effect.void
        })
      })
    yield* leadership.lost.pipe(
      Effect.catchAll(end),
      detachSpan,
      Effect.interruptible,
      Effect.forkScoped
    )
  })

/** Describes this process to the next candidates. */
const describe = (serving: Serving) =>
  Effect.gen(function*() {
    const lock = yield* LockFile.LockFile
    const facts = yield* HostFacts
    const record = yield* lock.record
    const { url } = Context.get(serving.context, Gateway)
    const place: DeathProof.HolderPlace = {
      bootId: record.bootId,
      locks: lock.acquiredFiles,
      fileSystem: Option.getOrElse(yield* facts.fileSystemOf(lock.path), () => "unknown"),
      enforcement: lock.enforcement,
      mode: record.mode ?? "run"
    }
    return {
      place,
      holder: HolderText.make({ instanceId: lock.instanceId, hostname: yield* facts.name, pid: record.pid, url }, place)
    }
  })

/** Proves the death of a former holder by the locks of this process, as long as it has them. */
const proof =
  ({ lifecycle }: Serving, place: DeathProof.HolderPlace) => (former: LeaseStore.LeaseHolder): Effect.Effect<boolean> =>
    Effect.map(
      lifecycle.failing,
      (failing) =>
        failing.length === 0
        && Option.exists(HolderText.placeOf(former), (former) => DeathProof.provesDeath(place, former))
    )

const leaseName = ({ lease, profile }: LeadingOptions): string => lease?.name ?? profile ?? defaultProfile

const lead = (options: LeadingOptions, serving: Serving, losing: Losing): Candidate["lead"] =>
  Effect.gen(function*() {
    const lock = yield* LockFile.LockFile
    const name = leaseName(options)
    const { stopTimeout } = Either.getOrElse(LeaseTimes.fromOptions(options.lease), () => LeaseTimes.defaults)
    const store = yield* Leadership.LeaseStore.LeaseStore
    const fence = yield* Effect.mapError(moveFence(stopTimeout), (error) =>
      new LeaseUnavailable({ lease: name, store: store.location, reason: error.message, cause: error }))
    const { holder, place } = yield* describe(serving)
    yield* LeaseMetrics.register
    const count = measure(serving.lifecycle)
    const inRecord = yield* LeaseInRecord.make(lock, { name, store: store.location })
    yield* Effect.logInfo(`waiting to lead ${name} at ${store.location}`)
    const leadership = yield* Leadership.make({
      lease: { ...options.lease, name },
      holder,
      // The fence first: nothing that a metric does may delay it.
      onChange: (state) =>
        Effect.all([fence.onChange(state), count(state), inRecord.onChange(state), noteLeader(losing)(state)], {
          discard: true
        }),
      provesDeath: proof(serving, place)
    }).pipe(
      Effect.provide(HighestToken.layerFile(HighestToken.pathBeside(lock.path, store.location, name))),
      Effect.provideService(Leadership.LeaseStore.LeaseStore, timedStore(store)),
      spannedDetached(
        "gateway.lease.acquire",
        { "gateway.lease.name": name, "gateway.lease.store": store.location },
        (exit: Exit.Exit<Leadership.Leadership["Type"], LeaseUnavailable>) =>
          Exit.isSuccess(exit) ? { "gateway.lease.fencing_token": String(exit.value.fencingToken) } : {}
      )
    )
    // Added after the leadership, so that it runs before the lease is released: the app has ended by then.
    yield* Effect.addFinalizer(() =>
      fence.disarm
    )
    yield* inRecord.saysLeader
    yield* serving.lifecycle.setLeadership("held")
    yield* watch(serving, leadership, losing, stopTimeout)
    // Without the host lock, another gateway of this host may start and wait for the same lease.
    yield* lock.whenLost.pipe(Effect.zipRight(leadership.resign), Effect.interruptible, Effect.forkScoped)
    return leadership
  })

/**
 * Binds the port, and answers as a gateway that waits to lead. `lead` of the result then waits for the lease.
 *
 * @internal
 */
export const candidate = (
  options: LeadingOptions
): Effect.Effect<
  Candidate,
  PortInUse | BindFailed,
  LockFile.LockFile | PortProbe | ServerSocket | Scope.Scope
> =>
  Effect.gen(function*() {
    const losing: Losing = {
      lost: yield* Deferred.make<never, LeadershipLost>(),
      watchers: yield* Ref.make(0),
      leader: yield* Ref.make(Option.none<HolderText.HolderGateway>())
    }
    // Before the port is bound, so that no reader of the record takes this gateway for one that works.
    const { update } = yield* LockFile.LockFile
    yield* update({ lease: { name: leaseName(options), state: "standby" } })
    const serving = yield* build(options, { lost: awaitLoss(losing), leader: Ref.get(losing.leader) })
    return { context: serving.context, lead: lead(options, serving, losing) }
  })

/**
 * An `HttpServer` whose apps answer only while the leadership is trusted. After a pause of the process, a request can arrive before
 * the timer that ends the leadership.
 */
const whileTrusted = (
  server: HttpServer.HttpServer,
  { check }: Leadership.Leadership["Type"]
): HttpServer.HttpServer => {
  const isTrusted = Effect.isSuccess(check)
  return HttpServer.make({
    address: server.address,
    serve: (app, middleware) =>
      server.serve(app, (handled) =>
        Effect.if(isTrusted, {
          onTrue: () => middleware === undefined ? handled : middleware(handled),
          onFalse: () => Effect.succeed(standby)
        }))
  })
}

/**
 * Binds the port, waits until this gateway leads, and provides the server of the app.
 *
 * @internal
 */
export const make = (options: LeadingOptions) =>
  Effect.gen(function*() {
    const { context, lead } = yield* candidate(options)
    const leadership = yield* lead
    return context.pipe(
      Context.add(HttpServer.HttpServer, whileTrusted(Context.get(context, HttpServer.HttpServer), leadership)),
      Context.add(Leadership.Leadership, leadership)
    )
  })
