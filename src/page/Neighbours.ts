/**
 * How the other gateways of this user are found.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { KernelLock } from "../host/KernelLock.ts"
import type { PlatformFolders } from "../host/PlatformFolders.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import type { Neighbour } from "./StatusFrame.ts"

/**
 * What looking for the user's other gateways needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable | ProbeTransport | PlatformFolders

/**
 * Looks for them, once; asked every now and then while somebody watches. The gateway itself may be among them. Nobody
 * looks, by default.
 *
 * @since 0.1.0
 * @category references
 */
export class Neighbours extends Context.Reference<Neighbours>()("gateway-lock/Neighbours", {
  defaultValue: (): Option.Option<Effect.Effect<ReadonlyArray<Neighbour>>> => Option.none()
}) {}

/**
 * In the profiles' state directories and, on Linux, among the files that processes have open. Loaded when somebody
 * watches for the first time.
 *
 * `Gateway.layer` has it; `Gateway.layerPlatform` looks for nobody without.
 *
 * @example
 * import { Layer } from "effect"
 * import { Gateway, StatusPage } from "gateway-lock"
 *
 * const Main = Gateway.layerPlatform({ port: 18789 }).pipe(
 *   Layer.provide(StatusPage.Neighbours.layerLive),
 *   Layer.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<Neighbours, never, Requirements> = Layer.effect(
  Neighbours,
  Effect.map(Effect.context<Requirements>(), (context) =>
    Option.some(
      Effect.promise(() => import("./findNeighbours.ts")).pipe(
        Effect.flatMap(({ findNeighbours }) => findNeighbours),
        Effect.provide(context)
      )
    ))
)
