/**
 * What every gateway answers by itself: health routes and the control socket, bound to the running instance.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { LockFile } from "../lock/LockFile.ts"
import { Lifecycle } from "../port/Lifecycle.ts"
import { OwnRoutes } from "../port/ServerSocket.ts"
import { version } from "../Version.ts"
import * as ControlSocket from "./ControlSocket.ts"
import * as HealthRoutes from "./HealthRoutes.ts"
import * as StatusFeed from "./StatusFeed.ts"
import type { StatusFeedOptions } from "./StatusFeed.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: StatusFeedOptions = {}
): Effect.Effect<OwnRoutes["Type"], never, LockFile | Lifecycle | Scope.Scope> =>
  Effect.gen(function*() {
    const { instanceId } = yield* LockFile
    const lifecycle = yield* Lifecycle
    const startedAt = yield* Clock.currentTimeNanos
    return OwnRoutes.of({
      owns: HealthRoutes.owns,
      app: HealthRoutes.make(lifecycle, instanceId),
      control: {
        path: ControlSocket.path,
        hello: Effect.map(
          Clock.currentTimeNanos,
          (now) => ControlSocket.hello({ instanceId, version, uptimeMs: Number((now - startedAt) / 1_000_000n) })
        ),
        answer: ControlSocket.answer,
        watch: yield* StatusFeed.make(options),
        farewell: ControlSocket.shutdown
      }
    })
  })

/**
 * `layer`, with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: StatusFeedOptions): Layer.Layer<OwnRoutes, never, LockFile | Lifecycle> =>
  Layer.scoped(OwnRoutes, make(options))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<OwnRoutes, never, LockFile | Lifecycle> = layerWith({})
