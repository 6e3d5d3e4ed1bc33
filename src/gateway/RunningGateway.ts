/**
 * Inspects and stops a running gateway, in this or another process. `Gateway` exports these functions.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as OpenLockFiles from "../host/OpenLockFiles.ts"
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
 * `inspect` on a platform that you provide, for example an in-memory one in tests.
 *
 * Never fails. An invalid option is a defect, `SettingInvalid`.
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
 * Reads the state of the gateway that these options name: its lock, owner, port and health. A launcher can use the result to
 * decide whether to start the gateway or to use the running one.
 *
 * Changes nothing, never fails, and takes at most as long as two health probes. An invalid option is a defect, as for `layer`.
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
 * Which gateway to stop, and how. All options are optional, with the defaults of `GatewayOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StopOptions extends InspectOptions, Pick<GatewayOptions, "drainTimeout"> {
  /**
   * How long the owner may take to end after SIGTERM. Default: `drainTimeout` plus 5 seconds. Set `drainTimeout` to the value
   * that the owner uses. With a lease, the owner can take two times `lease.attemptTimeout` more, which the 5 seconds cover by default.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /** Whether to send SIGKILL after `timeout`. Default `false`. */
  readonly force?: boolean | undefined
  /** `stop` calls this function every 3 seconds while it waits, and passes what it waits for. */
  readonly onWaiting?: StopOwner.StopOptions["onWaiting"]
}

const stopOptionNames: Names<Omit<StopOptions, keyof GatewayOptions>> = { timeout: true, force: true, onWaiting: true }

/**
 * `stop` on a platform that you provide, for example an in-memory one in tests.
 *
 * Fails like `stop`.
 *
 * @since 0.1.0
 * @category running
 */
export const stopPlatform = (
  options: StopOptions = {}
): Effect.Effect<
  StopOwner.Outcome,
  StopOwner.StopError,
  | Platform
  | PlatformFolders.PlatformFolders
  | PortOwners.PortOwners
  | OpenLockFiles.OpenLockFiles
  | Signals.Signals
> =>
  Effect.gen(function*() {
    yield* keepInterruption
    yield* Effect.orDie(checkNames(options, stopOptionNames))
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
 * Ends the running gateway that these options name, and no other process. The gateway's pid, start time, boot and lock are
 * verified immediately before each signal.
 *
 * Completes when the lock is free and the port is closed, so that a start can follow. If no gateway was running, completes
 * with `NotRunning`.
 *
 * Fails with:
 *
 * - `OwnerUnverified` if the lock's owner cannot be verified to be that gateway. In that case `stop` sends no further signal. If it
 *   has already sent SIGTERM, the error says so.
 * - `OwnerSupervised` if the owner's supervisor would start the gateway again.
 * - `OwnerNotEnded` if the owner did not end in time.
 *
 * An invalid option is a defect, as for `layer`.
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
 * // Stop the present version, then start the next one.
 * const program = Effect.zipRight(Gateway.stop({ port: 18789 }), Gateway.launch(Main))
 *
 * @since 0.1.0
 * @category running
 */
export const stop = (options: StopOptions = {}): Effect.Effect<StopOwner.Outcome, StopOwner.StopError> =>
  Effect.provide(stopPlatform(options), layerNode)
