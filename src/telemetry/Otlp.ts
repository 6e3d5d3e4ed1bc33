/**
 * Exports spans and metrics over OTLP, configured by the standard environment variables of OpenTelemetry. The program loads
 * this module only if those variables ask for an export.
 *
 * If a variable has an invalid value, this module logs a warning and treats the variable as not set, as OpenTelemetry's
 * specification of environment variables requires. If a collector cannot be reached, this module logs one warning. An unreachable
 * collector delays the shutdown of the gateway by at most one second.
 */
import * as OtlpMetrics from "@effect/opentelemetry/OtlpMetrics"
import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { InstanceId } from "../host/InstanceId.ts"
import { atMost } from "../internal/atMost.ts"
import { variable } from "../internal/environment.ts"
import { codeOf } from "../internal/errno.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { version } from "../Version.ts"
import * as ProcessMetrics from "./ProcessMetrics.ts"

/** The endpoint for traces or for metrics, and how data is sent to it. */
export interface Target {
  readonly url: string
  readonly protocol: Protocol
  readonly headers: Readonly<Record<string, string>>
  /** The longest time that one request may take. */
  readonly timeout: Duration.Duration
  /** The time between two exports. */
  readonly interval: Duration.Duration
}

const protocols = ["http/protobuf", "http/json"] as const

export type Protocol = typeof protocols[number]

export interface Settings {
  readonly serviceName: string
  readonly attributes: Readonly<Record<string, string>>
  readonly traces: Option.Option<Target>
  readonly metrics: Option.Option<Target>
  /** One line for each variable that has an invalid value. */
  readonly warnings: ReadonlyArray<string>
}

/**
 * The decoded value of a variable, or the reason why the value is invalid. The reason does not quote a value that can be a
 * secret.
 */
type Decoded<A> = Either.Either<A, string>

type Read = <A>(names: ReadonlyArray<string>, decode: (value: string) => Decoded<A>) => Effect.Effect<Option.Option<A>>

const quoted = (value: string, allowed: string) => Either.left(`${JSON.stringify(value)}: must be ${allowed}`)

const oneOf = <const A extends string>(allowed: ReadonlyArray<A>) => (value: string): Decoded<A> => {
  const found = allowed.find((name) => name === value.toLowerCase())
  return found === undefined ? quoted(value, allowed.join(" or ")) : Either.right(found)
}

const milliseconds = (value: string): Decoded<Duration.Duration> =>
  /^\d{1,10}$/.test(value) && Number(value) > 0
    ? Either.right(Duration.millis(Number(value)))
    : quoted(value, "a number of milliseconds, at least 1")

/**
 * Decodes the URL of a collector. The URL can contain a password, or a token in its query. So the message about an invalid URL
 * does not quote the URL.
 */
const endpoint = (value: string): Decoded<URL> => {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    return Either.left("is not an http or https URL")
  }
  return url.username === "" && url.password === ""
    ? Either.right(url)
    : Either.left("must not contain a user or password; use OTEL_EXPORTER_OTLP_HEADERS")
}

/** Parses `key=value,key2=value2` with percent-encoded values: OpenTelemetry uses the format of W3C Baggage. */
const pairs = (value: string): Decoded<Readonly<Record<string, string>>> => {
  const result: Record<string, string> = {}
  for (const [index, entry] of value.split(",").entries()) {
    if (entry.trim() === "") continue
    const at = entry.indexOf("=")
    const key = entry.slice(0, Math.max(at, 0)).trim()
    const text = decode(entry.slice(at + 1).trim())
    if (key === "" || Option.isNone(text)) return Either.left(`entry ${index + 1} is not key=value, percent-encoded`)
    result[key] = text.value
  }
  return Either.right(result)
}

const decode = Option.liftThrowable(decodeURIComponent)

/** Parses headers, and checks their names and values by RFC 9110, 5.1 and 5.5. */
const headers = (value: string): Decoded<Readonly<Record<string, string>>> =>
  Either.flatMap(pairs(value), (headers) => {
    const wrong = Object.entries(headers).findIndex(([name, value]) =>
      !/^[!#$%&'*+.^_`|~\w-]+$/.test(name) || /[^\t\x20-\x7e\x80-\xff]/.test(value)
    )
    return wrong === -1 ? Either.right(headers) : Either.left(`entry ${wrong + 1} is not a valid HTTP header`)
  })

const append = (base: URL, path: string): string => {
  const url = new URL(base)
  url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`
  return url.href
}

/** OpenTelemetry's default endpoint. This module uses it if the variables name an exporter but no endpoint. */
const localCollector = new URL("http://localhost:4318")

const defaults = {
  serviceName: "gateway",
  timeout: Duration.seconds(10),
  tracesInterval: Duration.seconds(5),
  metricsInterval: Duration.minutes(1)
} as const

/** Reads the settings from the environment variables. */
export const settings: Effect.Effect<Settings> = Effect.gen(function*() {
  const warnings = yield* Ref.make<ReadonlyArray<string>>([])

  /** Reads the first of several variables that is set and valid. An empty variable counts as not set. */
  const read: Read = (names, decode) =>
    Effect.gen(function*() {
      for (const name of names) {
        const value = yield* variable(name)
        if (Option.isNone(value) || value.value.trim() === "") continue
        const decoded = decode(value.value.trim())
        if (Either.isRight(decoded)) return Option.some(decoded.right)
        const warning = `ignoring ${name}: ${decoded.left}`
        yield* Ref.update(warnings, (all) => all.includes(warning) ? all : [...all, warning])
      }
      return Option.none()
    })

  const target = (signal: "TRACES" | "METRICS", intervalName: string, interval: Duration.Duration) =>
    Effect.gen(function*() {
      const exporter = yield* read([`OTEL_${signal}_EXPORTER`], oneOf(["otlp", "none"]))
      if (Option.contains(exporter, "none")) return Option.none<Target>()
      const own = yield* read([`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`], endpoint)
      const base = yield* read(["OTEL_EXPORTER_OTLP_ENDPOINT"], endpoint)
      const either = (name: string) => [`OTEL_EXPORTER_OTLP_${signal}_${name}`, `OTEL_EXPORTER_OTLP_${name}`]
      const url = Option.orElse(
        Option.map(own, ({ href }) => href),
        () =>
          Option.map(
            Option.orElse(base, () => Option.as(exporter, localCollector)),
            (base) => append(base, `/v1/${signal.toLowerCase()}`)
          )
      )
      if (Option.isNone(url)) return Option.none<Target>()
      return Option.some<Target>({
        url: url.value,
        protocol: Option.getOrElse(yield* read(either("PROTOCOL"), oneOf(protocols)), () => protocols[0]),
        headers: Option.getOrElse(yield* read(either("HEADERS"), headers), () => ({})),
        timeout: Option.getOrElse(yield* read(either("TIMEOUT"), milliseconds), () => defaults.timeout),
        interval: Option.getOrElse(yield* read([intervalName], milliseconds), () => interval)
      })
    })

  const disabled = yield* read(["OTEL_SDK_DISABLED"], oneOf(["true", "false"]))
  if (Option.contains(disabled, "true")) {
    return { serviceName: "", attributes: {}, traces: Option.none(), metrics: Option.none(), warnings: [] }
  }
  const traces = yield* target("TRACES", "OTEL_BSP_SCHEDULE_DELAY", defaults.tracesInterval)
  const metrics = yield* target("METRICS", "OTEL_METRIC_EXPORT_INTERVAL", defaults.metricsInterval)
  const { "service.name": named, ...attributes } = Option.getOrElse(
    yield* read(["OTEL_RESOURCE_ATTRIBUTES"], pairs),
    (): Readonly<Record<string, string>> => ({})
  )
  const serviceName = yield* read(["OTEL_SERVICE_NAME"], Either.right)
  return {
    serviceName: Option.getOrElse(serviceName, () => named ?? defaults.serviceName),
    attributes,
    traces,
    metrics,
    warnings: yield* Ref.get(warnings)
  }
})

/** Shortens an endpoint's URL for a log line. The result has no query, because a query can contain a token. */
const shown = (url: string): string => {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}

/**
 * How long the last export may take when the gateway ends. Traces and metrics are sent at the same time, within this limit.
 */
const shutdownTimeout = Duration.seconds(1)

/**
 * Finds why a request failed. The error of Node's `fetch` has only the message "fetch failed"
 * (lib/internal/deps/undici/undici.js). The reason is in the nested causes of that error.
 */
const reasonOf = (error: HttpClientError.HttpClientError): string => {
  const inner = [error.cause, error.cause instanceof Error ? error.cause.cause : undefined]
  for (const cause of inner.toReversed()) {
    if (!(cause instanceof Error)) continue
    if (cause.message !== "") return cause.message
    const code = codeOf(cause)
    if (code !== "") return code
  }
  return error.description ?? error.reason
}

/** The time that is left for exports while the gateway ends. `None` before the gateway begins to end. */
type TimeLeft = Effect.Effect<Option.Option<Duration.Duration>>

/** Makes a `TimeLeft` that counts down from `shutdownTimeout` once the scope begins to close. */
const makeTimeLeft: Effect.Effect<TimeLeft, never, Scope.Scope> = Effect.gen(function*() {
  const deadline = yield* Ref.make(Option.none<bigint>())
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(
      Clock.currentTimeNanos,
      (now) => Ref.set(deadline, Option.some(now + Option.getOrElse(Duration.toNanos(shutdownTimeout), () => 0n)))
    )
  )
  return Effect.zipWith(
    Ref.get(deadline),
    Clock.currentTimeNanos,
    (deadline, now) => Option.map(deadline, (end) => Duration.nanos(end > now ? end - now : 0n))
  )
})

/**
 * Lets an interrupted request finish within the time that is left. The exporter interrupts its request in flight when the gateway
 * ends. The exporter has already removed the spans of that request from its buffer, so the interruption would lose them.
 */
const finishing = (timeLeft: TimeLeft) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const request = yield* Effect.forkDaemon(Effect.interruptible(self))
      return yield* restore(Fiber.join(request)).pipe(
        Effect.onInterrupt(() =>
          Effect.gen(function*() {
            const left = Option.getOrElse(yield* timeLeft, () => Duration.zero)
            yield* atMost(left)(Fiber.await(request))
            yield* Fiber.interruptFork(request)
          })
        )
      )
    })
  )

/** Makes an HTTP client that applies the target's timeout and logs the first failure. The exporter itself retries requests. */
const sending = ({ timeout, url }: Target, what: string, timeLeft: TimeLeft) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const warned = yield* Ref.make(false)
    const warn = (reason: string) =>
      Effect.unlessEffect(
        Effect.logWarning(`could not send ${what} to ${shown(url)}: ${reason}; further failures are not logged`),
        Ref.getAndSet(warned, true)
      )
    return HttpClient.transform(client, (response, request) =>
      response.pipe(
        Effect.timeoutFail({
          duration: timeout,
          onTimeout: () =>
            new HttpClientError.RequestError({
              request,
              reason: "Transport",
              description: `no answer within ${formatDuration(timeout)}`
            })
        }),
        Effect.tap(({ status }) => status >= 200 && status < 300 ? Effect.void : warn(`HTTP ${status}`)),
        Effect.tapError((error) => warn(reasonOf(error))),
        (self) =>
          Effect.flatMap(
            timeLeft,
            Option.match({
              onNone: () => finishing(timeLeft)(self),
              // The exporter retries a request that fails, and here the retry would come after the deadline. So a request that
              // reaches the deadline is interrupted and does not fail.
              onSome: (left) =>
                Effect.flatMap(
                  Effect.timeoutOption(self, left),
                  Option.match({ onNone: () => Effect.interrupt, onSome: Effect.succeed })
                )
            })
          )
      ))
  })

const serializations: Readonly<Record<Protocol, Layer.Layer<OtlpSerialization.OtlpSerialization>>> = {
  "http/protobuf": OtlpSerialization.layerProtobuf,
  "http/json": OtlpSerialization.layerJson
}

/** The HTTP client and the serialization for one target. */
const exporting = (target: Target, what: string, timeLeft: TimeLeft) =>
  Layer.merge(
    Layer.effect(HttpClient.HttpClient, sending(target, what, timeLeft)).pipe(Layer.provide(FetchHttpClient.layer)),
    serializations[target.protocol]
  )

/**
 * Hides the environment variables from the exporters. Otherwise the exporters would read `OTEL_RESOURCE_ATTRIBUTES` a second time
 * and without the checks of this module. They would then send values that this module has rejected.
 */
const noVariables = Effect.withConfigProvider(ConfigProvider.fromMap(new Map()))

const exportAll = (settings: Settings, pid: number) =>
  Effect.gen(function*() {
    const { "service.version": serviceVersion = version, ...attributes } = settings.attributes
    const resource = {
      serviceName: settings.serviceName,
      serviceVersion,
      attributes: {
        "service.instance.id": yield* Effect.flatten(InstanceId),
        "process.pid": pid,
        ...attributes
      }
    }
    // When `both` closes, the exporters of traces and of metrics send their remaining data at the same time.
    const both = yield* Effect.flatMap(Effect.scope, (scope) => Scope.fork(scope, ExecutionStrategy.parallel))
    // `makeTimeLeft` adds a finalizer that starts the time limit. Finalizers run in reverse order, so the limit starts
    // before `both` closes.
    const left = yield* makeTimeLeft
    const inOwnScope = <A, E, R>(self: Effect.Effect<A, E, R | Scope.Scope>) =>
      Effect.flatMap(Scope.fork(both, ExecutionStrategy.sequential), (scope) => Scope.extend(self, scope))

    if (Option.isSome(settings.metrics)) {
      const { headers, interval, url } = settings.metrics.value
      const { refresh } = yield* ProcessMetrics.ProcessMetrics
      yield* refresh.pipe(Effect.repeat(Schedule.spaced(interval)), Effect.interruptible, Effect.forkScoped)
      yield* OtlpMetrics.make({ url, headers, resource, exportInterval: interval, shutdownTimeout }).pipe(
        noVariables,
        inOwnScope,
        Effect.provide(exporting(settings.metrics.value, "metrics", left))
      )
    }
    if (Option.isNone(settings.traces)) return Layer.empty
    const { headers, interval, url } = settings.traces.value
    const tracer = yield* OtlpTracer.make({ url, headers, resource, exportInterval: interval, shutdownTimeout }).pipe(
      noVariables,
      inOwnScope,
      Effect.provide(exporting(settings.traces.value, "traces", left))
    )
    return Layer.setTracer(tracer)
  })

/**
 * Exports spans and metrics as the environment variables ask, until the scope closes. Without those variables it exports nothing.
 * This layer logs warnings while it is built and while it is closed. So build the logger before this layer, and close the logger
 * after this layer.
 */
export const layer = (process: { readonly pid: number }): Layer.Layer<never, never, FileSystem.FileSystem> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const read = yield* settings
    yield* Effect.forEach(read.warnings, (warning) => Effect.logWarning(warning), { discard: true })
    return yield* exportAll(read, process.pid)
  })).pipe(Layer.provide(ProcessMetrics.layerLive))
