/**
 * The routes that every gateway answers itself: the health routes and the control socket, a WebSocket.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { unending } from "../internal/unending.ts"
import { LockFile } from "../lock/LockFile.ts"
import { version } from "../Version.ts"
import * as ControlSocket from "./ControlSocket.ts"
import * as HealthRoutes from "./HealthRoutes.ts"
import { Lifecycle } from "./Lifecycle.ts"
import * as OwnPaths from "./OwnPaths.ts"
import { type ControlProtocol, OwnRoutes } from "./ServerSocket.ts"

/**
 * Options of the gateway's own routes.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayRoutesOptions {
  /** Moves some of the gateway's own routes to other paths, or leaves their paths to the app. Default: no route is moved. */
  readonly routes?: OwnPaths.OwnPaths | undefined
  /**
   * Runs for each client of the control socket that has sent `watch`, and pushes frames to that client. Ends when the client
   * disconnects or the gateway shuts down. Default: pushes nothing.
   */
  readonly watch?: ControlProtocol["watch"] | undefined
}

/**
 * Makes the gateway's own routes. They report the lock's `instanceId` and the uptime, which is the time since `make` ran.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: GatewayRoutesOptions = {}
): Effect.Effect<OwnRoutes["Type"], never, LockFile | Lifecycle> =>
  Effect.gen(function*() {
    const { instanceId } = yield* LockFile
    const lifecycle = yield* Lifecycle
    const startedAt = yield* Clock.currentTimeNanos
    const paths = OwnPaths.healthPaths(options.routes ?? {})
    return OwnRoutes.of({
      owns: (path) => paths.has(path),
      app: HealthRoutes.make(lifecycle, instanceId, paths),
      control: {
        path: OwnPaths.controlPath(options.routes ?? {}),
        hello: Effect.map(
          Clock.currentTimeNanos,
          (now) => ControlSocket.hello({ instanceId, version, uptimeMs: Number((now - startedAt) / 1_000_000n) })
        ),
        answer: ControlSocket.answer,
        watch: options.watch ?? (() => unending),
        farewell: ControlSocket.shutdown
      }
    })
  })

/**
 * Provides the gateway's own routes, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: GatewayRoutesOptions): Layer.Layer<OwnRoutes, never, LockFile | Lifecycle> =>
  Layer.effect(OwnRoutes, make(options))

/**
 * Provides the gateway's own routes, each at its default path. A client that sends `watch` on the control socket gets no
 * status frames.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<OwnRoutes, never, LockFile | Lifecycle> = layerWith({})
