/**
 * The drain of a listener, in this order: stop accepting, say so, tell control sockets, wait for what is in flight, cut the rest.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { type Address, toUrl } from "../Address.ts"
import { atMost } from "../internal/atMost.ts"
import { LockFile } from "../lock/LockFile.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { spannedApart } from "../telemetry/spans.ts"
import { DrainCut } from "./DrainCut.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { defaults, type ListenerOptions } from "./ListenerOptions.ts"
import { type BoundSocket, goingAway, OwnRoutes } from "./ServerSocket.ts"
import { StopRequest } from "./StopRequest.ts"

/** At the end of a drain, how long viewers of the status page may take to close. */
const farewellGrace = Duration.seconds(1)

/** How long the record of the lock may take to say that the gateway drains, before the drain goes on without it. */
const recordGrace = Duration.seconds(1)

/** The drain of one listener. */
export interface Drain {
  /** How long it waits for what is in flight. */
  readonly timeout: Duration.Duration
  /** Whether it has begun. */
  readonly hasBegun: Effect.Effect<boolean>
  /** Drains once, for a reason; a second call waits for that drain. */
  readonly drain: (reason: string) => Effect.Effect<void>
}

const connectionsText = (count: number): string => `${count} connection${count === 1 ? "" : "s"}`

/** Waits for the connections of a listener that accepts no more, within the timeout. `open` is how many there were. */
const awaitConnections = (
  bound: BoundSocket,
  address: Address,
  open: number,
  timeout: Duration.Duration,
  drainCut: Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (open > 0) {
      yield* Effect.logInfo(
        `draining ${connectionsText(open)} on ${toUrl(address)}, up to ${Duration.format(timeout)}`
      )
    }
    const left = yield* bound.idle.pipe(
      Effect.raceFirst(drainCut),
      atMost(timeout),
      Effect.zipRight(bound.pending)
    )
    yield* Metric.incrementBy(Metrics.drainCutTotal, left)
    yield* Effect.annotateCurrentSpan({ "gateway.drain.connections": open, "gateway.drain.cut": left })
    if (left > 0) yield* Effect.logWarning(`cutting ${connectionsText(left)} that did not end in time`)
  })

/** The drain of a listener that is bound as `bound` and known as `address`. */
export const make = (
  options: ListenerOptions,
  bound: BoundSocket,
  address: Address
): Effect.Effect<Drain, never, LockFile | OwnRoutes | Lifecycle> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const routes = yield* OwnRoutes
    const lock = yield* LockFile
    const drainCut = yield* DrainCut
    const stopRequest = yield* StopRequest
    const timeout = Duration.decode(options.drainTimeout ?? defaults.drainTimeout)
    const drained = yield* Deferred.make<void>()
    const hasBegun = yield* Ref.make(false)

    const tellHook = (reason: string) =>
      (options.onDrain?.(reason) ?? Effect.void).pipe(
        // A hook that cannot be interrupted is left behind.
        Effect.disconnect,
        Effect.interruptible,
        Effect.timeoutOption(timeout),
        Effect.tapErrorCause((cause) => Effect.logError("onDrain failed", cause))
      )

    const drainNow = (reason: string) =>
      Effect.gen(function*() {
        const asked = yield* stopRequest
        yield* lifecycle.beginDrain(reason)
        yield* bound.stopAccepting
        yield* Effect.logInfo(
          Option.match(asked, {
            onNone: () => `gateway stopping (${reason})`,
            onSome: (request) => `gateway stopping on ${request}`
          })
        )
        const told = yield* Effect.forkDaemon(tellHook(reason))
        const updated = yield* Effect.forkDaemon(lock.update({ phase: "draining" }))
        const farewell = routes.control.farewell(reason)
        yield* bound.closeControlSockets(farewell, goingAway, reason)
        const open = yield* bound.pending
        // A file system that hangs delays no client, and no release of the port.
        yield* atMost(recordGrace)(Fiber.await(updated))
        yield* awaitConnections(bound, address, open, timeout, drainCut)
        yield* bound.destroyConnections
        yield* bound.dismissViewers(farewell, goingAway, reason).pipe(
          Effect.raceFirst(drainCut),
          atMost(farewellGrace)
        )
        yield* Fiber.await(told).pipe(
          Effect.raceFirst(drainCut),
          atMost(timeout)
        )
      })

    return {
      timeout,
      hasBegun: Ref.get(hasBegun),
      drain: (reason) =>
        Effect.if(Ref.getAndSet(hasBegun, true), {
          onTrue: () => Deferred.await(drained),
          onFalse: () =>
            drainNow(reason).pipe(
              Metrics.timed((_, seconds) => Metric.update(Metrics.drainSeconds, seconds)),
              spannedApart("gateway.drain", { "server.port": address.port, "gateway.drain.reason": reason }),
              Effect.ensuring(Deferred.succeed(drained, undefined)),
              Effect.uninterruptible
            )
        })
    }
  })
