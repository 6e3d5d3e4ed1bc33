/**
 * A gateway that runs already, in whatever process: to look at it, and to end it. Exported by `Gateway`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as PlatformFolders from "../host/PlatformFolders.ts"
import type * as PortOwners from "../host/PortOwners.ts"
import type * as Signals from "../host/Signals.ts"
import * as GatewayStatus from "../inspect/GatewayStatus.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as PortProbe from "../probe/PortProbe.ts"
import { defaults as listenerDefaults } from "../server/ListenerOptions.ts"
import { identified } from "../settings/GatewayIdentity.ts"
import * as StopOwner from "../stop/StopOwner.ts"
import type { GatewayOptions, InspectOptions } from "./GatewayOptions.ts"
import { layerNode, type Platform } from "./NodePlatform.ts"
import { checkNames, type Names } from "./optionNames.ts"

/**
 * `inspect`, on a platform of your own: in memory, in tests.
 *
 * Never fails; a wrong option is a defect, `SettingInvalid`.
 *
 * @since 0.1.0
 * @category reading
 */
export const inspectPlatform = (
  options: InspectOptions = {}
): Effect.Effect<GatewayStatus.GatewayStatus, never, GatewayStatus.Requirements> =>
  Effect.flatMap(
    Effect.zipRight(Effect.orDie(checkNames(options)), identified(options)),
    ({ address, configName, configPath, profile, stateDir }) =>
      GatewayStatus.inspect({
        ...address,
        profile,
        configPath,
        configName,
        stateDir,
        health: options.health
      })
  )

/**
 * Who holds what of the gateway that these options name, and is it well? For a launcher, which may start it or use it.
 *
 * Changes nothing, never fails, and takes two health probes at most. A wrong option is a defect, as for `layer`.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { owner, port, verdict } = yield* Gateway.inspect({ profile: "blue" })
 *   if (verdict === "running") yield* Console.log(`pid ${owner?.pid} on port ${port?.port}`)
 * })
 *
 * @since 0.1.0
 * @category reading
 */
export const inspect = (options: InspectOptions = {}): Effect.Effect<GatewayStatus.GatewayStatus> =>
  Effect.provide(inspectPlatform(options), layerNode)

/**
 * Which gateway to end, and how. All optional, with the same defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions extends InspectOptions, Pick<GatewayOptions, "drainTimeout"> {
  /** How long the owner may take after SIGTERM. Default: its drain timeout, as far as `drainTimeout` tells, and 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** SIGKILL after that. Default `false`. */
  readonly force?: boolean | undefined
  /** Told every 3 seconds what is waited for. */
  readonly onWaiting?: StopOwner.StopOptions["onWaiting"]
}

const ofStop: Names<Omit<StopOptions, keyof GatewayOptions>> = { timeout: true, force: true, onWaiting: true }

/**
 * `stop`, on a platform of your own: in memory, in tests.
 *
 * Fails as `stop` does.
 *
 * @since 0.1.0
 * @category running
 */
export const stopPlatform = (
  options: StopOptions = {}
): Effect.Effect<
  StopOwner.Outcome,
  StopOwner.StopError,
  Platform | PlatformFolders.PlatformFolders | PortOwners.PortOwners | Signals.Signals
> =>
  Effect.gen(function*() {
    yield* keepInterruption
    yield* Effect.orDie(checkNames(options, ofStop))
    const { address, configName, configPath, profile, stateDir } = yield* identified(options)
    return yield* StopOwner.stop({
      path: yield* LockInspection.lockPathOf({ configName, configPath, stateDir }),
      address,
      profile,
      timeout: options.timeout
        ?? Duration.sum(options.drainTimeout ?? listenerDefaults.drainTimeout, StopOwner.defaults.margin),
      force: options.force,
      onWaiting: options.onWaiting
    }).pipe(
      Effect.provide(PortProbe.layer),
      Effect.provide(HealthProbe.layer(options.health))
    )
  })

/**
 * Ends the running gateway that these options name, and nobody else: its pid, start time, boot and lock are verified
 * immediately before each signal. Completes when the lock is free and the port closed, so that a start can follow; with
 * `NotRunning`, where there was nothing to end.
 *
 * Fails with `OwnerUnverified` where it cannot be told that this process is the gateway (nobody was signalled),
 * `OwnerSupervised` where its supervisor would start it again, `OwnerNotEnded` where it did not end in time. A wrong option
 * is a defect, as for `layer`.
 *
 * @example
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 * import { Gateway } from "gateway-lock"
 *
 * const Main = HttpServer.serve(HttpRouter.get(HttpRouter.empty, "/", HttpServerResponse.text("version 2"))).pipe(
 *   Layer.provideMerge(Gateway.layer({ port: 18789 }))
 * )
 *
 * // The next version takes the place of the present one.
 * const program = Effect.zipRight(Gateway.stop({ port: 18789 }), Gateway.launch(Main))
 *
 * @since 0.1.0
 * @category running
 */
export const stop = (options: StopOptions = {}): Effect.Effect<StopOwner.Outcome, StopOwner.StopError> =>
  Effect.provide(stopPlatform(options), layerNode)
