/**
 * Binds the port exclusively, serves, drains and closes.
 *
 * @since 0.1.0
 */
import * as HttpServer from "@effect/platform/HttpServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import { type Address, canonical, coversGuard, guardHost, guardHostV6, isWildcard, toUrl, urlHost } from "../Address.ts"
import { BindFailed, type LockLost, PortInUse } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { conflicting, PortOwners } from "../host/PortOwners.ts"
import { ProcessEnd } from "../host/ProcessEnd.ts"
import { atMost } from "../internal/atMost.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { LockFile, type Loss } from "../lock/LockFile.ts"
import { healthPath } from "../probe/HealthProbe.ts"
import { PortProbe } from "../probe/PortProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { apart, type Attributes, spannedApart, spannedAround } from "../telemetry/spans.ts"
import * as Access from "./Access.ts"
import * as AppRoutes from "./AppRoutes.ts"
import { DrainCut } from "./DrainCut.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { defaults, limitsOf, type ListenerOptions } from "./ListenerOptions.ts"
import * as ServerSocket from "./ServerSocket.ts"
import { StopRequest } from "./StopRequest.ts"

export { defaults, type ListenerOptions }

/**
 * The bound port.
 *
 * @since 0.1.0
 * @category tags
 */
export class Listener extends Context.Tag("gateway-lock/Listener")<Listener, {
  /** The host as asked for, with the real port. */
  readonly address: Address
  /** Open now. */
  readonly connections: Effect.Effect<number>
}>() {}

/**
 * An app was to be served on a listener whose last app has ended: the listener was drained and closed then. A defect of `serve`,
 * since `HttpServer.serve` has no errors. Build the layer of the gateway again, or serve the next app before the last one ends.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenerClosed extends Data.TaggedError("ListenerClosed")<Address> {
  override get message() {
    return `cannot serve on ${toUrl(this)}: the listener was closed when its last app ended; `
      + "build the gateway's layer again, or serve the next app before the last one ends"
  }
}

type Requirements = LockFile | PortProbe | ServerSocket.ServerSocket | ServerSocket.OwnRoutes | Lifecycle

/** At the end of a drain, how long viewers of the status page may take to close. */
const farewellGrace = Duration.seconds(1)

/** How long the record of the lock may take to say that the gateway drains, before the drain goes on without it. */
const recordGrace = Duration.seconds(1)

/** After the drain's bound, how long a process may take to end that has lost its lock. */
const endGrace = Duration.seconds(10)

/** How often another free port is tried where the guard address of the first one is taken. */
const freePortTries = 16

const shutdownReason = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: () => "finished",
    onFailure: (cause) => Cause.isInterruptedOnly(cause) ? "stopped" : "failed"
  })

/**
 * Binds the guard address beside `host`: 127.0.0.1, and on a host that has no such address `::1`.
 *
 * On Linux 0.0.0.0 covers 127.0.0.1 where there is one, and `::1` nowhere.
 */
const bindGuard = (
  bound: ServerSocket.BoundSocket,
  platform: string
): Effect.Effect<void, ServerSocket.BindError, Scope.Scope> => {
  const { address, alsoBind, lacksLoopbackV4 } = bound
  const host = canonical(address.host) ?? address.host
  const isAbsent = (error: ServerSocket.BindError) => error.code === "EADDRNOTAVAIL"
  // Where there is such an address, no other one is the guard: gateways that guard different addresses do not exclude each other.
  if (!lacksLoopbackV4) return coversGuard(host, platform) ? Effect.void : alsoBind(guardHost)
  if (host === "0.0.0.0") return Effect.catchIf(alsoBind(guardHostV6), isAbsent, () => Effect.void)
  if (coversGuard(host, platform)) return Effect.void
  return Effect.catchIf(alsoBind(guardHost), isAbsent, (error) =>
    host === guardHostV6
      ? Effect.void
      : Effect.catchIf(alsoBind(guardHostV6), isAbsent, () => isWildcard(host) ? Effect.void : Effect.fail(error)))
}

/**
 * Binds `host` and, unless that covers it, the guard address, both exclusively.
 */
const bindBoth = (
  options: ListenerOptions,
  routes: ServerSocket.OwnRoutes["Type"],
  drainBegan: Effect.Effect<string>
): Effect.Effect<ServerSocket.BoundSocket, ServerSocket.BindError, ServerSocket.ServerSocket | Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = yield* ServerSocket.ServerSocket
    const outer = yield* Effect.scope
    const platform = yield* HostPlatform
    const once = Effect.gen(function*() {
      const inner = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const exit = yield* sockets.bind({
        address: { host: options.host, port: options.port },
        passedSocket: options.passedSocket,
        limits: limitsOf(options),
        rules: Access.rules(options),
        token: options.token,
        routes,
        drainBegan
      }).pipe(
        Effect.tap((bound) => bindGuard(bound, platform)),
        Scope.extend(inner),
        Effect.exit
      )
      if (Exit.isFailure(exit)) yield* Scope.close(inner, exit)
      return yield* exit
    })
    return yield* once.pipe(
      // A free port of one address can be taken on the other: then another one is.
      Effect.retry({ while: (error) => options.port === 0 && error.code === "EADDRINUSE", times: freePortTries })
    )
  })

const bindResult = (exit: Exit.Exit<ServerSocket.BoundSocket, ServerSocket.BindError>): Attributes => {
  if (Exit.isSuccess(exit)) return { "server.port": exit.value.address.port, "gateway.bind.result": "bound" }
  const failure = Cause.failureOption(exit.cause)
  return { "gateway.bind.result": Option.isSome(failure) ? failure.value.code : "interrupted" }
}

/** How often binding is tried again where what kept the port has just let go of it. */
const takenTries = 3

/** Its port was taken a moment ago and is not any more. Never leaves this module. */
class FreeAgain {
  readonly _tag = "FreeAgain"
  readonly error: BindFailed
  constructor(error: BindFailed) {
    this.error = error
  }
}

/** What to say of an address that is in use: by a listener, or by a socket that does not listen. */
const whyTaken = (asked: Address, error: ServerSocket.BindError) =>
  Effect.gen(function*() {
    const state = yield* Effect.flatMap(PortProbe, (ports) => ports.probe(asked))
    if (state._tag !== "Free") return yield* new PortInUse({ ...asked, listener: state.detail })
    const owners = yield* Effect.serviceOption(PortOwners)
    if (Option.isNone(owners)) {
      return yield* new PortInUse({ ...asked, listener: "a process that does not answer from here" })
    }
    const { blocker, listeners } = owners.value
    const seen = yield* listeners(asked.port)
    const [listener] = seen._tag === "Seen" ? conflicting(asked, seen.listeners) : []
    if (listener !== undefined) {
      const who = listener.pid === undefined ? "a process that cannot be seen" : `pid ${listener.pid}`
      return yield* new PortInUse({ ...asked, listener: `${who} listens on ${urlHost(listener.host)}` })
    }
    const blocked = yield* blocker(asked)
    const failed = new BindFailed({
      ...asked,
      code: error.code,
      reason: `${error.reason}; nothing listens there${
        Option.match(blocked, { onNone: () => "", onSome: ({ reason }) => `: ${reason}` })
      }`,
      cause: error
    })
    return yield* Option.isSome(blocked) ? failed : Effect.fail(new FreeAgain(failed))
  })

/**
 * Binds the port and serves on it until the scope closes; then drains, within `drainTimeout`, and closes it. Fails with
 * `PortInUse` where somebody listens there, `BindFailed` where the machine refuses.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: ListenerOptions
): Effect.Effect<
  Context.Context<Listener | HttpServer.HttpServer>,
  PortInUse | BindFailed,
  Requirements | Scope.Scope
> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const lifecycle = yield* Lifecycle
    const routes = yield* ServerSocket.OwnRoutes
    const lock = yield* LockFile
    const ports = yield* PortProbe
    const drainCut = yield* DrainCut
    const stopRequest = yield* StopRequest
    const processEnd = yield* ProcessEnd
    const drainTimeout = Duration.decode(options.drainTimeout ?? defaults.drainTimeout)
    const asked: Address = { host: options.host, port: options.port }

    // Where wildcard and specific addresses do not exclude each other (BSD, macOS), only asking finds the other one.
    // A passed socket is ours, and would only find itself.
    if (options.passedSocket === undefined) {
      const before = yield* ports.probe(asked)
      if (before._tag !== "Free") return yield* new PortInUse({ ...asked, listener: before.detail })
    }

    const bound = yield* bindBoth(options, routes, lifecycle.drainBegan).pipe(
      spannedAround("gateway.bind", { "server.address": options.host, "server.port": options.port }, bindResult),
      Effect.catchAll((error) =>
        error.code === "EADDRINUSE"
          ? whyTaken(asked, error)
          : new BindFailed({
            ...asked,
            reason: error.reason,
            ...(error.code === "" ? {} : { code: error.code }),
            ...(error.available === undefined ? {} : { available: error.available }),
            cause: error
          })
      ),
      Effect.retry({ while: ({ _tag }) => _tag === "FreeAgain", times: takenTries }),
      Effect.catchTag("FreeAgain", ({ error }) => error)
    )
    const address: Address = { host: options.host, port: bound.address.port }
    yield* Metrics.register
    const { maxConnections } = limitsOf(options)
    yield* Effect.acquireRelease(
      Metric.modify(Metrics.connectionsLimit, maxConnections),
      () => Metric.modify(Metrics.connectionsLimit, -maxConnections)
    )

    // -----------------------------------------------------------------------
    // shutdown, in this order: stop accepting, say so, tell sockets, wait, cut
    // -----------------------------------------------------------------------

    const drained = yield* Deferred.make<void>()
    const isDraining = yield* Ref.make(false)

    const awaitConnections = (open: number) =>
      Effect.gen(function*() {
        if (open > 0) {
          yield* Effect.logInfo(
            `draining ${open} connection${open === 1 ? "" : "s"} on ${toUrl(address)}, up to ${
              Duration.format(drainTimeout)
            }`
          )
        }
        const left = yield* bound.idle.pipe(
          Effect.raceFirst(drainCut),
          atMost(drainTimeout),
          Effect.zipRight(bound.pending)
        )
        yield* Metric.incrementBy(Metrics.drainCutTotal, left)
        yield* Effect.annotateCurrentSpan({ "gateway.drain.connections": open, "gateway.drain.cut": left })
        if (left > 0) {
          yield* Effect.logWarning(`cutting ${left} connection${left === 1 ? "" : "s"} that did not end in time`)
        }
      })

    /** Drains once; a second call waits for that drain. */
    const drain = (reason: string): Effect.Effect<void> =>
      Effect.if(Ref.getAndSet(isDraining, true), {
        onTrue: () => Deferred.await(drained),
        onFalse: () =>
          drainNow(reason).pipe(
            Metrics.timed((_, seconds) => Metric.update(Metrics.drainSeconds, seconds)),
            spannedApart("gateway.drain", { "server.port": address.port, "gateway.drain.reason": reason }),
            Effect.ensuring(Deferred.succeed(drained, undefined)),
            Effect.uninterruptible
          )
      })

    const tellHook = (reason: string) =>
      (options.onDrain?.(reason) ?? Effect.void).pipe(
        // A hook that cannot be interrupted is left behind.
        Effect.disconnect,
        Effect.interruptible,
        Effect.timeoutOption(drainTimeout),
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
        yield* bound.closeControlSockets(farewell, ServerSocket.goingAway, reason)
        const open = yield* bound.pending
        // A file system that hangs delays no client, and no release of the port.
        yield* atMost(recordGrace)(Fiber.await(updated))
        yield* awaitConnections(open)
        yield* bound.destroyConnections
        yield* bound.dismissViewers(farewell, ServerSocket.goingAway, reason).pipe(
          Effect.raceFirst(drainCut),
          atMost(farewellGrace)
        )
        yield* Fiber.await(told).pipe(
          Effect.raceFirst(drainCut),
          atMost(drainTimeout)
        )
      })

    // -----------------------------------------------------------------------
    // a lost lock: nothing may be served beside the lock's new owner
    // -----------------------------------------------------------------------

    const lost = yield* Ref.make(Option.none<LockLost>())
    const onLost = ({ error, isWatched, release }: Loss) =>
      Effect.gen(function*() {
        const released = yield* Deferred.make<void>()
        yield* Ref.set(lost, Option.some(error))
        yield* lifecycle.fail("lock")
        if ((options.onLost ?? defaults.onLost) === "exit") {
          yield* processEnd.end({
            isWatched,
            drained: Deferred.await(released),
            within: Duration.sum(drainTimeout, endGrace)
          })
        }
        yield* drain("lock lost")
        yield* Effect.uninterruptible(Effect.zipRight(release, Deferred.succeed(released, undefined)))
      })
    yield* lock.whenLost.pipe(Effect.flatMap(onLost), apart, Effect.interruptible, Effect.forkScoped)

    yield* lifecycle.setBound
    // Runs if no app was ever served; else the app's own finalizer below has drained already.
    yield* Effect.addFinalizer((exit) => drain(shutdownReason(exit)))
    yield* lock.update({ phase: "listening", ...address })

    const apps = yield* Ref.make(0)
    const server = HttpServer.make({
      address: bound.server.address,
      serve: (app, middleware) =>
        Effect.gen(function*() {
          const before = yield* Ref.get(lost)
          // An `HttpServer` has no errors of its own.
          if (Option.isSome(before)) return yield* Effect.die(before.value)
          if (yield* Ref.get(isDraining)) return yield* Effect.die(new ListenerClosed(address))
          yield* middleware === undefined ? bound.server.serve(app) : bound.server.serve(app, middleware)
          // Added after the inner `serve`, so it runs before that one's finalizer takes the handlers away: a drain needs them.
          yield* Effect.acquireRelease(
            Ref.update(apps, (served) => served + 1),
            (_, exit) =>
              Effect.if(Effect.map(Ref.updateAndGet(apps, (served) => served - 1), (served) => served === 0), {
                onTrue: () => drain(shutdownReason(exit)),
                onFalse: () => Effect.void
              })
          )
          yield* lifecycle.setStarted
          for (const { method, path } of yield* AppRoutes.routesOf(app)) {
            if (!routes.owns(path)) continue
            yield* Effect.logWarning(
              `the app's route ${method} ${path} is not reached: the gateway answers ${path} itself`
                + (path === healthPath ? "" : "; the option `routes` moves that, or leaves the path to the app")
            )
          }
        })
    })

    return Context.make(Listener, Listener.of({ address, connections: bound.connections })).pipe(
      Context.add(HttpServer.HttpServer, server)
    )
  })

/**
 * The listener and the `HttpServer` that apps serve on. Fails with `PortInUse` or `BindFailed`. `ServerSocket.OwnRoutes` is
 * what it answers by itself; `Gateway.layerServing` brings those of a gateway.
 *
 * @example
 * import { HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Layer } from "effect"
 * import { Gateway, Lifecycle, Listener, LockFile, type ServerSocket } from "gateway-lock"
 *
 * const address = { host: "127.0.0.1", port: 18789 }
 * const Lock = LockFile.layerWithProbes({ address, stateDir: "/var/lib/importer", configPath: "/etc/importer.json" })
 *
 * // The parts of a gateway, with routes of one's own instead of a gateway's.
 * const serving = (Routes: Layer.Layer<ServerSocket.OwnRoutes, never, LockFile.LockFile>) =>
 *   HttpServer.serve(HttpServerResponse.text("hello")).pipe(
 *     Layer.provide(Listener.layer({ ...address, drainTimeout: "30 seconds" })),
 *     Layer.provide([Routes, Lifecycle.layer]),
 *     Layer.provide(Lock),
 *     Layer.provide(Gateway.layerNode)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: ListenerOptions
): Layer.Layer<Listener | HttpServer.HttpServer, PortInUse | BindFailed, Requirements> =>
  Layer.scopedContext(make(options))
