/**
 * Serves the routes of the program. This module is loaded after the lock is acquired, so that a start that does not get the
 * lock does not load it.
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type { RouteNotFound } from "@effect/platform/HttpServerError"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { isWildcard } from "../Address.ts"
import * as Gateway from "../gateway/GatewayInstance.ts"
import * as PortOwners from "../host/PortOwners.ts"
import { memoized } from "../internal/memoized.ts"
import { LockFile } from "../lock/LockFile.ts"
import * as Monitor from "../page/Monitor.ts"
import * as Neighbours from "../page/Neighbours.ts"
import { lookAt } from "../probe/AddressProbe.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as BadPorts from "../server/BadPorts.ts"
import * as NodeServerSocket from "../server/node/NodeServerSocket.ts"
import { ownAnswerHeaders } from "../server/ServerSocket.ts"
import { type GatewayConfig, releaseTimeout } from "../settings/GatewayConfig.ts"
import type { SupervisorKind } from "../supervisor/Supervisor.ts"
import { extendTimeout, keepFed, type SystemdNotify } from "../supervisor/SystemdNotify.ts"
import * as ProcessMetrics from "../telemetry/ProcessMetrics.ts"
import * as PrometheusMetrics from "../telemetry/PrometheusMetrics.ts"
import { detachSpan } from "../telemetry/spans.ts"

export interface ServeOptions {
  readonly passedSocket: number | undefined
  readonly supervisor: SupervisorKind
  readonly systemd: SystemdNotify["Type"]
  readonly token: Redacted.Redacted | undefined
  /** The URL of the lease store. `undefined`: there is no lease. */
  readonly leaseUrl: Redacted.Redacted | undefined
}

const metricsPath = "/metrics"

/**
 * Whether a request gets no span. Metrics are scraped every few seconds, and a span for each scrape would drown out the other
 * spans. A URL with a query gets no span, because the query might contain a token, and a token must not reach a trace. No route
 * needs a query.
 */
const hasNoSpan = ({ url }: { readonly url: string }): boolean => url === metricsPath || url.includes("?")

/**
 * The routes of the program: the status page and the metrics. The gateway adds its own routes, such as `/healthz`.
 *
 * A request for another path is answered with 404 here. If it failed with `RouteNotFound` instead, the error would be
 * logged with the URL, which might contain a token.
 */
const routesWith = (page: Effect.Effect<HttpApp.Default<RouteNotFound>>) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/", Effect.flatten(page)),
    HttpRouter.get(
      metricsPath,
      Effect.flatMap(Gateway.Gateway, ({ authorized }) => authorized(PrometheusMetrics.app))
    ),
    Effect.catchTag("RouteNotFound", () => HttpServerResponse.empty({ status: 404, headers: ownAnswerHeaders }))
  )

/** The status page. It is loaded when it is asked for, or once `Monitor` is. */
const statusPage = memoized(
  Effect.map(Effect.promise(() => import("../page/StatusPage.ts")), ({ make }) => make({ metricsPath }))
)

/**
 * The time that the rest of the shutdown may take after the drain. The gateway requests this time from systemd in addition to
 * the time of the drain.
 */
const shutdownMargin = Duration.seconds(10)

/**
 * Feeds systemd's watchdog as long as this gateway's `/healthz` answers a real request over the network. So
 * either a blocked event loop or a dead listener stops the feed.
 */
const feedWatchdog = (interval: Duration.Duration, systemd: SystemdNotify["Type"]) =>
  Effect.gen(function*() {
    const { address, instanceId } = yield* Gateway.Gateway
    const health = yield* HealthProbe.HealthProbe
    const feed = Effect.gen(function*() {
      // For a wildcard address such as 0.0.0.0, `lookAt` chooses the addresses to probe, because this machine may have no
      // 127.0.0.1.
      const answers = isWildcard(address.host)
        ? (yield* lookAt(health, address)).map(({ answer }) => answer)
        : [yield* health.probe(address)]
      if (answers.some((answer) => answer._tag === "Healthy" && answer.instanceId === instanceId)) {
        return yield* systemd.notify("WATCHDOG=1")
      }
      yield* Effect.logWarning(
        `the health probe of this gateway failed (${
          answers.map(({ _tag }) => _tag).join(", ")
        }); the watchdog is not fed`
      )
      return false
    })
    yield* keepFed(interval, detachSpan(feed)).pipe(Effect.interruptible, Effect.forkScoped)
  })

const announce = ({ profile }: Pick<GatewayConfig, "profile">, { supervisor, systemd }: ServeOptions) =>
  Effect.gen(function*() {
    const { address: { port }, record, url } = yield* Gateway.Gateway
    const { pid } = yield* record
    const { path: lock } = yield* LockFile
    yield* Effect.annotateLogs(Effect.logInfo(`gateway listening on ${url} (pid ${pid})`), {
      profile,
      port,
      lock,
      supervisor
    })
    if (BadPorts.isBad(port)) {
      yield* Effect.logWarning(`${BadPorts.warning(port)}; start it with --port ${BadPorts.nextAllowed(port)}`)
    }
    yield* systemd.notify("READY=1", `STATUS=listening on ${url}`)
    if (Option.isSome(systemd.watchdog)) yield* feedWatchdog(systemd.watchdog.value, systemd)
  })

/**
 * Notifies systemd that the gateway drains: it lets open connections finish before it ends. The listener calls this function
 * when the drain begins.
 */
const announceDrain = (config: GatewayConfig, systemd: SystemdNotify["Type"]) => (reason: string) =>
  systemd.notify(
    "STOPPING=1",
    `STATUS=draining (${reason})`,
    extendTimeout(Duration.sum(Duration.sum(config.drainTimeout, releaseTimeout(config.lease)), shutdownMargin))
  )

/**
 * Builds the layers one after the other, because merged layers would be memoized and reference-counted, which costs time.
 */
const machine = Effect.gen(function*() {
  const sockets = yield* Layer.build(NodeServerSocket.layer)
  const owners = yield* Layer.build(PortOwners.layerLive)
  const neighbours = yield* Layer.build(Neighbours.layerLive)
  const monitor = yield* Layer.build(Monitor.layerLive)
  const metrics = yield* Layer.build(ProcessMetrics.layerLive)
  return Context.mergeAll(sockets, owners, neighbours, monitor, metrics)
})

const servingOptions = (config: GatewayConfig, options: ServeOptions): Gateway.ServingOptions => ({
  host: config.host,
  port: config.port,
  profile: config.profile,
  passedSocket: options.passedSocket,
  drainTimeout: config.drainTimeout,
  token: options.token,
  allowedHosts: config.allowedHosts,
  allowedOrigins: config.allowedOrigins,
  limits: config.limits,
  onDrain: announceDrain(config, options.systemd)
})

/** Binds the port. With a lease, `lead` of the result waits to lead. */
const bind = (config: GatewayConfig, options: ServeOptions) =>
  Effect.gen(function*() {
    const { leaseUrl: url, systemd } = options
    const serving = servingOptions(config, options)
    if (url === undefined) return { context: yield* Layer.build(Gateway.layerServing(serving)), lead: undefined }
    const { candidate } = yield* Effect.promise(() => import("./lead.ts"))
    return yield* candidate(serving, { lease: config.lease, url, systemd })
  })

/**
 * Binds the port and serves until the scope closes. With a lease, returns an effect that waits to lead. Meanwhile the gateway serves
 * as a standby.
 */
export const serve = (config: GatewayConfig, options: ServeOptions) =>
  Effect.gen(function*() {
    const context = yield* machine
    const { context: gateway, lead } = yield* Effect.provide(bind(config, options), context)
    yield* Effect.zipRight(detachSpan(HttpServer.serveEffect(routesWith(yield* statusPage))), announce(config, options))
      .pipe(
        Effect.provide(Context.merge(context, gateway))
      )
    return lead
  }).pipe(HttpMiddleware.withTracerDisabledWhenEffect(hasNoSpan))
