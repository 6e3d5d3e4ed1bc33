/**
 * Finds out what listens on a port. A start probes its port before it waits for a lock, and again before it binds the
 * port.
 *
 * Error messages contain the result, and a start can fail early because of it. Only the bind(2) of the port shows for
 * certain whether the port is free.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Address } from "../Address.ts"
import { lookAt, nothingReached } from "./AddressProbe.ts"
import { type Health, HealthProbe } from "./HealthProbe.ts"

/**
 * What listens on a port.
 *
 * - `Free`: nothing accepts connections on any of the addresses that a gateway would bind. With `unreachable`, all of
 *   these addresses are unreachable from this host, so a listener may be there, but the probe cannot see it.
 * - `Gateway`: a gateway answers. `healthy` says whether it answers `/healthz` as a healthy gateway. Without an
 *   `instanceId`, the identity of the gateway is unknown.
 * - `Foreign`: a listener that is not a gateway answers.
 * - `Stalled`: a listener accepts a connection and does not answer in time.
 *
 * @since 0.1.0
 * @category models
 */
export type PortState =
  | { readonly _tag: "Free"; readonly unreachable?: boolean }
  | { readonly _tag: "Gateway"; readonly instanceId?: string; readonly healthy: boolean; readonly detail: string }
  | { readonly _tag: "Foreign"; readonly detail: string }
  | { readonly _tag: "Stalled"; readonly detail: string }

/**
 * Finds out what listens on a port, on all the addresses that a gateway would bind. Never fails.
 *
 * @since 0.1.0
 * @category tags
 */
export class PortProbe extends Context.Tag("gateway-lock/PortProbe")<PortProbe, {
  /**
   * Probes exactly the addresses that a gateway on `address` would bind. The probes run at the same time, and each ends
   * within the probe timeout. If they show that the host has no 127.0.0.1, a gateway would bind `::1` instead, so `::1` is
   * probed next. Port 0 is always free.
   */
  readonly probe: (address: Address) => Effect.Effect<PortState>
}>() {}

const free: PortState = { _tag: "Free" }

const fromHealth = (health: Health): PortState => {
  switch (health._tag) {
    case "NoListener":
      return free
    case "Healthy":
      return health.instanceId === undefined
        ? { _tag: "Gateway", healthy: true, detail: "a healthy gateway without an instance id" }
        : { _tag: "Gateway", instanceId: health.instanceId, healthy: true, detail: "a healthy gateway" }
    case "Unhealthy":
      return {
        _tag: "Gateway",
        ...(health.instanceId === undefined ? {} : { instanceId: health.instanceId }),
        healthy: false,
        detail: `a gateway that ${health.detail}`
      }
    case "Foreign":
    case "Stalled":
      return health
  }
}

const rank: Record<PortState["_tag"], number> = { Gateway: 0, Foreign: 1, Stalled: 2, Free: 3 }

/**
 * Combines the results for several addresses into the most informative one. Pure.
 *
 * @internal
 */
export const combine = (states: ReadonlyArray<PortState>): PortState =>
  states.reduce((best, state) => rank[state._tag] < rank[best._tag] ? state : best, free)

/**
 * A port probe that uses `HealthProbe`. It takes at most as long as one health probe, or as two on a host without 127.0.0.1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<PortProbe["Type"], never, HealthProbe> = Effect.map(
  HealthProbe,
  (health) =>
    PortProbe.of({
      probe: (address) =>
        address.port === 0
          ? Effect.succeed(free)
          : Effect.map(lookAt(health, address), (looks) => {
            const state = combine(looks.map(({ answer }) => fromHealth(answer)))
            return state._tag === "Free" && nothingReached(looks) ? { ...state, unreachable: true } : state
          })
    })
)

/**
 * The port probe as a layer.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, HealthProbe, PortProbe } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { probe } = yield* PortProbe.PortProbe
 *   const state = yield* probe({ host: "127.0.0.1", port: 18789 })
 *   if (state._tag !== "Free") yield* Effect.logWarning(`port 18789 is in use: ${state.detail}`)
 * }).pipe(Effect.provide(PortProbe.layer), Effect.provide(HealthProbe.layer()), Effect.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<PortProbe, never, HealthProbe> = Layer.effect(PortProbe, make)
