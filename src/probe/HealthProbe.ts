/**
 * A health check over `/healthz`, with a deadline.
 *
 * A responder is a healthy gateway if and only if it answers 200 with JSON whose `ok` is `true` and whose `status` is
 * `"live"`. The whole response must arrive within the probe timeout. No other key is required. A non-empty `instanceId`
 * identifies the gateway. Without an `instanceId`, the identity of the gateway is unknown.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { type Address, isLoopback, isWildcard } from "../Address.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import type * as Metrics from "../telemetry/Metrics.ts"
import { spanned } from "../telemetry/spans.ts"
import * as StartMetrics from "../telemetry/startMetrics.ts"

/**
 * The result of a probe.
 *
 * - `NoListener`: nothing accepts connections on the address. With `unreachable`, the address cannot be reached from this
 *   host, so a listener may be there, but the probe cannot see it.
 * - `Healthy`: a gateway that serves.
 * - `Unhealthy`: a gateway that reports that it does not serve (starting or draining).
 * - `Foreign`: a listener that is not a gateway.
 * - `Stalled`: a listener that gave no whole answer in time. An address that is not loopback and does not even accept
 *   the connection in time is `NoListener` with `unreachable`.
 *
 * Without an `instanceId` the gateway's identity is unknown. For example, the released versions of the OpenClaw gateway send
 * none.
 *
 * @since 0.1.0
 * @category models
 */
export type Health =
  | { readonly _tag: "NoListener"; readonly detail: string; readonly unreachable?: boolean }
  | { readonly _tag: "Healthy"; readonly instanceId?: string }
  | { readonly _tag: "Unhealthy"; readonly instanceId?: string; readonly detail: string }
  | { readonly _tag: "Foreign"; readonly detail: string }
  | { readonly _tag: "Stalled"; readonly detail: string }

/**
 * Options of a health probe.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthProbeOptions {
  /**
   * The absolute deadline of one probe, from connecting to the last byte. If this process itself is paused (stopped, or
   * starved of CPU), that pause uses up at most a quarter of the deadline. Default 1 second.
   */
  readonly probeTimeout?: Duration.DurationInput | undefined
}

/**
 * Probes whether a healthy gateway answers on an address, and which instance it is.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, HealthProbe } from "gateway-lock"
 *
 * const isHealthy = Effect.gen(function*() {
 *   const { probe } = yield* HealthProbe.HealthProbe
 *   const health = yield* probe({ host: "127.0.0.1", port: 18789 })
 *   return health._tag === "Healthy"
 * }).pipe(Effect.provide(HealthProbe.layer({ probeTimeout: "300 millis" })), Effect.provide(Gateway.layerNode))
 *
 * @since 0.1.0
 * @category tags
 */
export class HealthProbe extends Context.Tag("gateway-lock/HealthProbe")<HealthProbe, {
  /** Probes once. Never fails, and ends within the probe timeout unless this process is paused. */
  readonly probe: (address: Address) => Effect.Effect<Health>
}>() {}

/**
 * The path that a probe requests.
 *
 * @since 0.1.0
 * @category constants
 */
export const healthPath = "/healthz"

/**
 * The deadline of a probe if the option `probeTimeout` is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultTimeout = Duration.seconds(1)

interface Body {
  readonly ok: boolean
  readonly status: string
  readonly instanceId?: unknown
}

const parseJson = Option.liftThrowable((text: string): unknown => JSON.parse(text))

const isBody = (value: unknown): value is Body =>
  Predicate.isRecord(value) && typeof value["ok"] === "boolean" && typeof value["status"] === "string"

/** If an answer has no `instanceId`, only these statuses distinguish an unhealthy gateway from another program. */
const gatewayStatuses: ReadonlySet<string> = new Set(["starting", "live", "draining"])

/**
 * Classifies an HTTP answer to `/healthz`. Pure.
 *
 * An answer that is not healthy counts as `Unhealthy`, and not as `Foreign`, if it has an `instanceId`, or if its `status`
 * is `starting`, `live` or `draining`. An `instanceId` that is empty or not a string counts as absent.
 *
 * @internal
 */
export const classify = (answer: ProbeTransport.Answer): Health => {
  const body = Option.filter(parseJson(answer.body), isBody)
  const foreign: Health = {
    _tag: "Foreign",
    detail: `answered HTTP ${answer.status} to ${healthPath}, not as a gateway`
  }
  if (Option.isNone(body)) return foreign
  const { instanceId, ok, status } = body.value
  const identity = typeof instanceId === "string" && instanceId !== "" ? { instanceId } : {}
  if (answer.status === 200 && ok && status === "live") return { _tag: "Healthy", ...identity }
  if (!("instanceId" in identity) && !gatewayStatuses.has(status)) return foreign
  return {
    _tag: "Unhealthy",
    ...identity,
    detail: `answered HTTP ${answer.status} with status ${JSON.stringify(status.slice(0, 40))}`
  }
}

const resultLabels = {
  NoListener: "no_listener",
  Healthy: "healthy",
  Unhealthy: "unhealthy",
  Foreign: "foreign",
  Stalled: "stalled"
} as const satisfies Record<Health["_tag"], Metrics.ProbeResult>

/** Records the result as a metric and on the current span. An interrupted probe has no result. */
const record = (exit: Exit.Exit<Health>, seconds: number): Effect.Effect<void> => {
  if (Exit.isFailure(exit)) return Effect.void
  const result = resultLabels[exit.value._tag]
  return Effect.zipRight(
    Metric.update(Metric.tagged(StartMetrics.probeSeconds, "result", result), seconds),
    Effect.annotateCurrentSpan("gateway.probe.result", result)
  )
}

/** The number of sleeps into which a deadline is divided. */
const parts = 4

/**
 * Waits for the deadline in several sleeps, one after the other. The whole process can be paused, and a connection can be
 * refused during the pause. After the pause, the event loop can run the due timer first, and poll the sockets later.
 * With only one sleep, the deadline would then pass before the probe sees the refusal. With several sleeps, the event
 * loop polls the sockets between two of them, so the probe sees the refusal.
 */
const deadline = (timeout: Duration.Duration): Effect.Effect<void> =>
  Effect.repeatN(Effect.sleep(Duration.times(timeout, 1 / parts)), parts - 1)

/**
 * Makes a probe over the `ProbeTransport` of the context. Each probe has a span and a metric.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: HealthProbeOptions = {}
): Effect.Effect<HealthProbe["Type"], never, ProbeTransport.ProbeTransport> =>
  Effect.map(ProbeTransport.ProbeTransport, (transport) => {
    const timeout = Duration.decode(options.probeTimeout ?? defaultTimeout)
    const stalled: Health = {
      _tag: "Stalled",
      detail: `gave no complete answer to ${healthPath} within ${Duration.toMillis(timeout)}ms`
    }
    const unconnected: Health = {
      _tag: "NoListener",
      detail: `no connection was made within ${Duration.toMillis(timeout)}ms`,
      unreachable: true
    }
    /**
     * The result when the deadline passes.
     *
     * If the connection was made, a listener gave no whole answer in time. The result is `stalled`.
     *
     * Loopback or a wildcard: a connection to a free port is refused at once, also on Windows (`uv__tcp_connect` in libuv's
     * src/win/tcp.c). So if no connection is made, there is a listener that accepts nothing, and its queue is full. The
     * result is `stalled`.
     *
     * Another address: if no connection is made, the port can be free all the same. Windows takes 2 seconds to refuse a
     * connection to a free port there (Microsoft KB 175523), and a firewall can drop the connection without an answer. The
     * result is `unconnected`. If the gateway then binds the port, the bind shows whether the port is free.
     */
    const afterDeadline = ({ host }: Address, connecting: boolean): Health =>
      connecting && !isLoopback(host) && !isWildcard(host) ? unconnected : stalled
    const probe = (address: Address) =>
      Effect.suspend(() => {
        const connecting = MutableRef.make(false)
        return transport.get(address, healthPath, connecting).pipe(
          Effect.match({
            onSuccess: classify,
            onFailure: (error): Health =>
              error.reason === "NoListener"
                ? {
                  _tag: "NoListener",
                  detail: error.detail,
                  ...(error.unreachable === true ? { unreachable: true } : {})
                }
                : { _tag: "Foreign", detail: `did not answer as HTTP (${error.detail})` }
          }),
          Effect.raceFirst(
            Effect.map(
              Effect.interruptible(deadline(timeout)),
              () => afterDeadline(address, MutableRef.get(connecting))
            )
          ),
          StartMetrics.timed(record),
          spanned("gateway.probe", { "server.address": address.host, "server.port": address.port })
        )
      })
    return HealthProbe.of({ probe })
  })

/**
 * The probe as a layer. `Gateway.layerNode` provides the transport.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: HealthProbeOptions = {}
): Layer.Layer<HealthProbe, never, ProbeTransport.ProbeTransport> => Layer.effect(HealthProbe, make(options))
