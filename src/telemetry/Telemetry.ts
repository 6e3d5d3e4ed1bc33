/**
 * The metrics of a gateway and its process, and a Prometheus endpoint that publishes them.
 *
 * @example
 * import { HttpRouter } from "@effect/platform"
 * import { Telemetry } from "gateway-lock"
 *
 * const router = HttpRouter.empty.pipe(HttpRouter.get("/metrics", Telemetry.PrometheusMetrics.app))
 *
 * @since 0.1.0
 */
export * as LeaseMetrics from "./LeaseMetrics.ts"
export * as Metrics from "./Metrics.ts"
export * as ProcessMetrics from "./ProcessMetrics.ts"
export * as PrometheusMetrics from "./PrometheusMetrics.ts"
