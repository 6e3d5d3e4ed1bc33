/**
 * A collector for OpenTelemetry data: a server on loopback that accepts OTLP exports as JSON over HTTP.
 */
import { Deferred, Effect, FiberId, Schema, type Scope } from "effect"
import type * as Http from "node:http"
import { nodeHttpServer } from "../../fixtures/net.ts"

const Value = Schema.Struct({
  stringValue: Schema.optional(Schema.String),
  intValue: Schema.optional(Schema.Union(Schema.Number, Schema.String)),
  doubleValue: Schema.optional(Schema.Number),
  boolValue: Schema.optional(Schema.Boolean)
})
const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: Value }))
const Resource = Schema.Struct({ attributes: Attributes })
const Span = Schema.Struct({
  traceId: Schema.String,
  spanId: Schema.String,
  parentSpanId: Schema.optional(Schema.String),
  name: Schema.String,
  attributes: Attributes
})
const Traces = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({
    resource: Resource,
    scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Span) }))
  }))
})
const MetricsData = Schema.Struct({
  resourceMetrics: Schema.Array(Schema.Struct({
    scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(Schema.Struct({ name: Schema.String })) }))
  }))
})

const attributesOf = (attributes: typeof Attributes.Type): Readonly<Record<string, unknown>> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

/** A span as it was received. */
export interface Received {
  readonly name: string
  readonly traceId: string
  /** The name of the parent span, if it has been received too. */
  readonly parent: string | undefined
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface Collector {
  readonly url: string
  /** All spans that have been received so far, in the order in which the spans ended. */
  readonly spans: () => ReadonlyArray<Received>
  /** The names of the metrics in the last export. */
  readonly metrics: () => ReadonlyArray<string>
  /** The resource of the last export. */
  readonly resource: () => Readonly<Record<string, unknown>>
  /** The headers of each export request. */
  readonly requests: () => ReadonlyArray<Http.IncomingHttpHeaders>
  /** Completes once a span of this name has been received. */
  readonly arrival: (name: string) => Effect.Effect<void>
}

/** Collects exports until the scope closes. */
export const collect: Effect.Effect<Collector, never, Scope.Scope> = Effect.gen(function*() {
  const spans: Array<typeof Span.Type> = []
  const requests: Array<Http.IncomingHttpHeaders> = []
  const waiting: Array<{ readonly name: string; readonly arrived: Deferred.Deferred<void> }> = []
  let metrics: ReadonlyArray<string> = []
  let resource: Readonly<Record<string, unknown>> = {}

  const receive = (path: string, body: string) => {
    if (path === "/v1/traces") {
      const { resourceSpans } = Schema.decodeUnknownSync(Schema.parseJson(Traces))(body)
      for (const { resource: { attributes }, scopeSpans } of resourceSpans) {
        resource = attributesOf(attributes)
        spans.push(...scopeSpans.flatMap(({ spans }) => spans))
      }
    } else {
      const { resourceMetrics } = Schema.decodeUnknownSync(Schema.parseJson(MetricsData))(body)
      metrics = resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics).flatMap(({ metrics }) =>
        metrics.map(({ name }) => name)
      )
    }
    for (const { arrived, name } of waiting) {
      if (spans.some((span) => span.name === name)) Deferred.unsafeDone(arrived, Effect.void)
    }
  }

  const port = yield* nodeHttpServer((request, response) => {
    requests.push(request.headers)
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
      receive(request.url ?? "", Buffer.concat(chunks).toString())
      response.setHeader("content-type", "application/json").end("{}")
    })
  })
  return {
    url: `http://127.0.0.1:${port}`,
    spans: () =>
      spans.map(({ attributes, name, parentSpanId, traceId }) => ({
        name,
        traceId,
        parent: spans.find(({ spanId }) => spanId === parentSpanId)?.name,
        attributes: attributesOf(attributes)
      })),
    metrics: () => metrics,
    resource: () => resource,
    requests: () => requests,
    arrival: (name) =>
      Effect.suspend(() => {
        const arrived = Deferred.unsafeMake<void>(FiberId.none)
        waiting.push({ name, arrived })
        return spans.some((span) => span.name === name) ? Effect.void : Deferred.await(arrived)
      }).pipe(
        Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error(`no span ${name}`) }),
        Effect.orDie
      )
  }
})
