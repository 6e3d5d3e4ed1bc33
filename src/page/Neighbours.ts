/**
 * Finds the other gateways of this user, for the status page.
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
 * The host capabilities that a search for the user's other gateways needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable | ProbeTransport | PlatformFolders

/**
 * The effect that searches once for the gateways of this user on this host. Its result may contain the gateway that searches.
 * The default is `None`: no search.
 *
 * The status feed repeats this effect as long as a client watches. A client watches from the moment that it sends `watch`
 * on the control socket, the gateway's own WebSocket.
 *
 * @since 0.1.0
 * @category references
 */
export class Neighbours extends Context.Reference<Neighbours>()("gateway-lock/Neighbours", {
  defaultValue: (): Option.Option<Effect.Effect<ReadonlyArray<Neighbour>>> => Option.none()
}) {}

/**
 * Provides a search for the user's other gateways. It looks into the state directories of the profiles and, on Linux, at
 * the lock files that processes have open. The code for the search is loaded when the first client asks for the status.
 *
 * `Gateway.layer` includes this layer. `Gateway.layerPlatform` does not include it. Without this layer, the status feed
 * searches for no other gateways.
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
