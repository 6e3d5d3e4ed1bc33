/**
 * Drains a listener, which means that it ends the listener's connections before a shutdown. The order is: accept no more
 * connections, log the shutdown, close the control sockets (WebSockets that the gateway itself answers), wait up to a timeout
 * until the other connections end, cut those that did not end in time.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import { atMost } from "../internal/atMost.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { shown } from "../internal/WaitDisplay.ts"
import { LockFile } from "../lock/LockFile.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { spannedAsRoot } from "../telemetry/spans.ts"
import { DrainCut } from "./DrainCut.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { defaults, type ListenerOptions } from "./ListenerOptions.ts"
import { type BoundSocket, goingAway, OwnRoutes } from "./ServerSocket.ts"
import { StopRequest } from "./StopRequest.ts"

/** How long viewers of the status page may take to disconnect at the end of a drain. */
const farewellGrace = Duration.seconds(1)

/**
 * How long the drain waits for the write of the phase `draining` to the record in the lock file. After this time, the drain
 * continues, even if the write has not ended.
 */
const recordGrace = Duration.seconds(1)

/** The drain of one listener. */
export interface Drain {
  /** How long the drain waits for open connections to end. */
  readonly timeout: Duration.Duration
  /** Whether the drain has begun. */
  readonly hasBegun: Effect.Effect<boolean>
  /** Drains for the given reason. Only the first call drains; each later call waits for that drain to end. */
  readonly drain: (reason: string) => Effect.Effect<void>
  /** Ends the waiting of this drain within a time from now, also if the drain has not begun yet. */
  readonly limit: (time: Duration.Duration) => Effect.Effect<void, never, Scope.Scope>
}

const connectionsText = (count: number): string => `${count} connection${count === 1 ? "" : "s"}`

/**
 * Waits until the connections of a listener that accepts no more have ended, but not longer than the timeout. `open` is the number
 * of these connections at the beginning. `isCuttable`: a second stop signal completes `drainCut`.
 */
const awaitConnections = (
  bound: BoundSocket,
  address: Address,
  open: number,
  timeout: Duration.Duration,
  drainCut: Effect.Effect<void>,
  isCuttable: boolean
): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (open > 0) {
      yield* Effect.logInfo(
        `draining ${connectionsText(open)} on ${toUrl(address)}, up to ${formatDuration(timeout)}`
      )
    }
    const left = yield* bound.idle.pipe(
      Effect.raceFirst(drainCut),
      atMost(timeout),
      shown({
        text: Effect.map(bound.pending, (left) => `draining, ${connectionsText(left)} open`),
        limit: timeout,
        isCuttable
      }),
      Effect.zipRight(bound.pending)
    )
    yield* Metric.incrementBy(Metrics.drainCutTotal, left)
    yield* Effect.annotateCurrentSpan({ "gateway.drain.connections": open, "gateway.drain.cut": left })
    if (left > 0) yield* Effect.logWarning(`cutting ${connectionsText(left)} that did not end in time`)
  })

/** Makes the `Drain` object of a bound listener. Log lines name that listener by `address`. */
export const make = (
  options: ListenerOptions,
  bound: BoundSocket,
  address: Address
): Effect.Effect<Drain, never, LockFile | OwnRoutes | Lifecycle> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const routes = yield* OwnRoutes
    const lock = yield* LockFile
    const isOver = yield* Deferred.make<void>()
    const drainCut = Effect.raceFirst(yield* DrainCut, Deferred.await(isOver))
    const stopRequest = yield* StopRequest
    const timeout = Duration.decode(options.drainTimeout ?? defaults.drainTimeout)
    const drained = yield* Deferred.make<void>()
    const hasBegun = yield* Ref.make(false)

    const runHook = (reason: string) =>
      (options.onDrain?.(reason) ?? Effect.void).pipe(
        // `timeoutOption` interrupts the hook and waits for its end, so an uninterruptible hook would outlast the timeout. With
        // `disconnect`, the drain does not wait for the end of such a hook, which then continues in the background.
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
        const hook = yield* Effect.forkDaemon(runHook(reason))
        const updated = yield* Effect.forkDaemon(lock.update({ phase: "draining" }))
        const farewell = routes.control.farewell(reason)
        yield* bound.closeControlSockets(farewell, goingAway, reason)
        const open = yield* bound.pending
        // The wait for the write of the record has a limit. Without the limit, a file system that hangs would stop the drain here,
        // and the open connections would not be ended.
        yield* Fiber.await(updated).pipe(Effect.raceFirst(drainCut), atMost(recordGrace))
        yield* awaitConnections(bound, address, open, timeout, drainCut, Option.isSome(asked))
        yield* bound.destroyConnections
        yield* bound.dismissViewers(farewell, goingAway, reason).pipe(
          Effect.raceFirst(drainCut),
          atMost(farewellGrace)
        )
        yield* Fiber.await(hook).pipe(
          Effect.raceFirst(drainCut),
          atMost(timeout)
        )
      })

    return {
      timeout,
      hasBegun: Ref.get(hasBegun),
      limit: (time) =>
        Effect.asVoid(Effect.forkScoped(Effect.interruptible(
          Effect.zipRight(Effect.sleep(time), Deferred.succeed(isOver, undefined))
        ))),
      drain: (reason) =>
        Effect.if(Ref.getAndSet(hasBegun, true), {
          onTrue: () => Deferred.await(drained),
          onFalse: () =>
            drainNow(reason).pipe(
              Metrics.timed((_, seconds) => Metric.update(Metrics.drainSeconds, seconds)),
              spannedAsRoot("gateway.drain", { "server.port": address.port, "gateway.drain.reason": reason }),
              Effect.ensuring(Deferred.succeed(drained, undefined)),
              Effect.uninterruptible
            )
        })
    }
  })
