/**
 * What the status page shows of the process and its host, beside the state of the gateway: names, figures, earlier runs and
 * commands.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, StatusPage } from "gateway-lock"
 *
 * // For a gateway that is composed with `Gateway.layerPlatform`, which shows only its own state without this layer.
 * const Observed = StatusPage.Monitor.layerLive.pipe(Layer.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { HostPlatform } from "../host/HostPlatform.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { memoized } from "../internal/memoized.ts"
import type { Supervised } from "./commands.ts"
import type { RunLog } from "./RunLog.ts"
import type { Command } from "./StatusFrame.ts"

export type { Supervised, Target } from "./commands.ts"
export type { RunEvent } from "./RunEvent.ts"
export type { RunLog } from "./RunLog.ts"

/**
 * The names of the host and of the process. Unknown names are absent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  readonly hostName?: string
  readonly user?: string
  readonly nodeVersion?: string
}

/**
 * What a gateway needs to show more of its process and its host.
 *
 * @since 0.1.0
 * @category models
 */
export interface Monitoring {
  readonly place: Effect.Effect<Place>
  /** The resident memory of this process, in bytes. */
  readonly memory: Effect.Effect<number>
  /** The commands that the page advises for this gateway, which runs in the process `pid`. */
  readonly commands: (
    gateway: Omit<Supervised, "unit"> & { readonly pid: number }
  ) => Effect.Effect<ReadonlyArray<Command>>
  /** The log of the runs of the gateway with this lock file. */
  readonly runLog: (lockPath: string, instanceId: string) => Effect.Effect<RunLog>
}

/**
 * The source of what the status page shows beside the state of the gateway. The default is `None`: the page shows the state alone, no
 * sample is taken, and no run is written.
 *
 * @since 0.1.0
 * @category references
 */
export class Monitor extends Context.Reference<Monitor>()("gateway-lock/Monitor", {
  defaultValue: (): Option.Option<Monitoring> => Option.none()
}) {}

/**
 * Shows the names of this host and process, samples this process every five seconds, and keeps the runs in a file beside the lock
 * file. The code for it is loaded once the gateway listens.
 *
 * `Gateway.layer` includes this layer. `Gateway.layerPlatform` does not include it.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, StatusPage } from "gateway-lock"
 *
 * const Main = Gateway.layerPlatform({ port: 18789 }).pipe(
 *   Layer.provide(StatusPage.Monitor.layerLive),
 *   Layer.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<Monitor, never, FileSystem.FileSystem | PlatformFolders> = Layer.effect(
  Monitor,
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folders = yield* PlatformFolders
    const loaded = yield* memoized(Effect.promise(() => import("./monitoring.ts")))
    return Option.some<Monitoring>({
      place: Effect.map(loaded, ({ place }) => place()),
      memory: Effect.sync(() => process.memoryUsage.rss()),
      commands: (gateway) =>
        Effect.gen(function*() {
          const { commandsFor } = yield* loaded
          return yield* commandsFor(gateway, { folders, platform: yield* HostPlatform })
        }).pipe(Effect.provideService(FileSystem.FileSystem, fs)),
      runLog: (lockPath, instanceId) =>
        Effect.flatMap(loaded, ({ RunLog }) => RunLog.make(lockPath, instanceId)).pipe(
          Effect.provideService(FileSystem.FileSystem, fs)
        )
    })
  })
)
