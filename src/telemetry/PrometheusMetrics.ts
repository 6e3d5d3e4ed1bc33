/**
 * Renders Effect's metric registry in the Prometheus text exposition format, version 0.0.4.
 *
 * Mount `app` at the path that your scraper reads, by convention `/metrics`. A gateway does not mount `app` by itself.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import { rehearsalLabel } from "./Metrics.ts"
import * as ProcessMetrics from "./ProcessMetrics.ts"

/**
 * The media type of the text format, for the `Content-Type` header of a response.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

type Type = "counter" | "gauge" | "histogram" | "summary"

type Labels = ReadonlyArray<readonly [key: string, value: string]>

/**
 * One line of output. The line begins with the name of its family (all series with the same metric name), followed by `suffix`.
 */
interface Sample {
  readonly suffix: string
  readonly labels: Labels
  readonly value: number | bigint
}

/** All series with the same metric name. */
interface Family {
  readonly name: string
  readonly type: Type
  readonly help: string
  /** The key is the text of the rendered labels. Of two series with the same labels, only the first is kept. */
  readonly series: Map<string, ReadonlyArray<Sample>>
}

const sanitize = (text: string, forbidden: RegExp): string => {
  const clean = text.replaceAll(forbidden, "_")
  return clean === "" || /^[0-9]/.test(clean) ? `_${clean}` : clean
}

const metricName = (name: string): string => sanitize(name, /[^a-zA-Z0-9_:]/g)

/** Makes an allowed label name. Prometheus reserves names that begin with two underscores, so such a name keeps only one of them. */
const labelName = (name: string): string => sanitize(name, /[^a-zA-Z0-9_]/g).replace(/^__+/, "_")

/**
 * The label that the format itself adds to each series of a type. If the metric already has a label with this name, that label
 * gets the prefix `exported_`.
 */
const reserved: Readonly<Record<Type, string | undefined>> = {
  counter: undefined,
  gauge: undefined,
  histogram: "le",
  summary: "quantile"
}

const byText = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

/**
 * Replaces forbidden characters in label names, and sorts labels by name. If two label names become equal, the values of these
 * labels are joined with `;`.
 */
const labelsOf = (tags: ReadonlyArray<{ readonly key: string; readonly value: string }>, type: Type): Labels => {
  const values = new Map<string, Array<string>>()
  for (const { key, value } of tags.toSorted((a, b) => byText(a.key, b.key) || byText(a.value, b.value))) {
    const clean = labelName(key)
    const name = clean === reserved[type] ? `exported_${clean}` : clean
    values.set(name, [...values.get(name) ?? [], value])
  }
  return [...values].map(([name, values]) => [name, values.join(";")] as const).toSorted(([a], [b]) => byText(a, b))
}

/** Escapes a help text. A lone surrogate cannot be encoded in UTF-8 and becomes U+FFFD. */
const escapeHelp = (text: string): string =>
  text.replaceAll(/\p{Surrogate}/gu, "\ufffd").replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeValue = (text: string): string => escapeHelp(text).replaceAll("\"", "\\\"")

const renderLabels = (labels: Labels): string =>
  labels.length === 0 ? "" : `{${labels.map(([name, value]) => `${name}="${escapeValue(value)}"`).join(",")}}`

const renderNumber = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

const plain = (labels: Labels, value: number | bigint): ReadonlyArray<Sample> => [{ suffix: "", labels, value }]

const withLabel = (labels: Labels, name: string, value: string): Labels => [...labels, [name, value]]

/** Converts one metric. The result is `None` for a kind of metric that the text format does not have. */
const read = (pair: MetricPair.MetricPair.Untyped): Option.Option<
  {
    readonly name: string
    readonly type: Type
    readonly series: ReadonlyArray<readonly [Labels, ReadonlyArray<Sample>]>
  }
> => {
  const { metricKey: { keyType, name: rawName, tags }, metricState: state } = pair
  const name = metricName(rawName)
  const one = (type: Type, samples: (labels: Labels) => ReadonlyArray<Sample>, named = name) => {
    const labels = labelsOf(tags, type)
    return Option.some({ name: named, type, series: [[labels, samples(labels)] as const] })
  }
  if (MetricState.isCounterState(state)) {
    // A Prometheus counter never decreases, so a counter that can decrease becomes a gauge.
    return isIncremental(keyType)
      ? one("counter", (labels) => plain(labels, state.count), name.endsWith("_total") ? name : `${name}_total`)
      : one("gauge", (labels) => plain(labels, state.count))
  }
  if (MetricState.isGaugeState(state)) return one("gauge", (labels) => plain(labels, state.value))
  if (MetricState.isFrequencyState(state)) {
    return Option.some({
      name: name.endsWith("_total") ? name : `${name}_total`,
      type: "counter" as const,
      series: [...state.occurrences].toSorted(([a], [b]) => byText(a, b)).map(([word, count]) => {
        const labels = labelsOf([...tags, { key: "key", value: word }], "counter")
        return [labels, plain(labels, count)] as const
      })
    })
  }
  if (MetricState.isHistogramState(state)) {
    const buckets = [...state.buckets].filter(([bound]) => bound !== Infinity).toSorted(([a], [b]) => a - b)
    return one("histogram", (labels) => [
      ...buckets.map(([bound, count]) => ({
        suffix: "_bucket",
        labels: withLabel(labels, "le", renderNumber(bound)),
        value: count
      })),
      { suffix: "_bucket", labels: withLabel(labels, "le", "+Inf"), value: state.count },
      { suffix: "_sum", labels, value: state.sum },
      { suffix: "_count", labels, value: state.count }
    ])
  }
  if (MetricState.isSummaryState(state)) {
    return one("summary", (labels) => [
      ...[...state.quantiles].toSorted(([a], [b]) => a - b).map(([quantile, value]) => ({
        suffix: "",
        labels: withLabel(labels, "quantile", renderNumber(quantile)),
        value: Option.getOrElse(value, () => NaN)
      })),
      { suffix: "_sum", labels, value: state.sum },
      { suffix: "_count", labels, value: state.count }
    ])
  }
  return Option.none()
}

const isIncremental = (keyType: unknown): boolean =>
  typeof keyType === "object" && keyType !== null && "incremental" in keyType && keyType.incremental === true

/** All names with which the output lines of one metric can begin. No other metric may use any of these names. */
const namesOf = (name: string, type: Type): ReadonlyArray<string> => {
  switch (type) {
    case "histogram":
      return [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]
    case "summary":
      return [name, `${name}_sum`, `${name}_count`]
    case "counter":
    case "gauge":
      return [name]
  }
}

/** The sort key of a metric. Metrics are sorted, because the registry lists them in no fixed order. */
const orderOf = ({ metricKey: { description, name, tags } }: MetricPair.MetricPair.Untyped, type: Type): string =>
  JSON.stringify([
    name,
    type,
    tags.map(({ key, value }) => [key, value]),
    Option.getOrElse(description, () => "")
  ])

const render = ({ help, name, series, type }: Family): string =>
  [
    `# HELP ${name} ${escapeHelp(help)}`,
    `# TYPE ${name} ${type}`,
    ...[...series].toSorted(([a], [b]) => byText(a, b)).flatMap(([, samples]) =>
      samples.map(({ labels, suffix, value }) => `${name}${suffix}${renderLabels(labels)} ${renderNumber(value)}`)
    )
  ].map((line) => `${line}\n`).join("")

/**
 * Renders a snapshot of a registry in the text format. Lines are sorted by name and labels, so that equal states give equal
 * text. Pure.
 *
 * - The name of a counter ends in `_total`. A counter that can decrease becomes a gauge.
 * - A frequency becomes a counter with the label `key`.
 * - A character that is not allowed in a name becomes `_`.
 * - If two metrics of different types get the same name, or if two metrics get the same series, only one of them is kept. This is
 *   the metric that comes first when all metrics are sorted by name, type and labels.
 *
 * @internal
 */
export const encode = (snapshot: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  const taken = new Map<string, string>()
  const metrics = snapshot.flatMap((pair) => Option.toArray(Option.map(read(pair), (metric) => ({ ...metric, pair }))))
    .map((metric) => ({ ...metric, order: orderOf(metric.pair, metric.type) }))
    .toSorted((a, b) => byText(a.order, b.order))
  for (const { name, pair, series, type } of metrics) {
    const family = families.get(name) ?? {
      name,
      type,
      help: Option.getOrElse(pair.metricKey.description, () => name.replaceAll("_", " ")),
      series: new Map()
    }
    if (family.type !== type || namesOf(name, type).some((line) => (taken.get(line) ?? name) !== name)) continue
    for (const line of namesOf(name, type)) taken.set(line, name)
    families.set(name, family)
    for (const [labels, samples] of series) {
      const key = renderLabels(labels)
      if (!family.series.has(key)) family.series.set(key, samples)
    }
  }
  return [...families.values()].toSorted((a, b) => byText(a.name, b.name)).map(render).join("")
}

/**
 * The text of all metrics, except those of a rehearsal.
 *
 * @internal
 */
export const exported: Effect.Effect<string> = Effect.map(
  Metric.snapshot,
  (metrics) => encode(metrics.filter(({ metricKey: { tags } }) => !tags.some(({ key }) => key === rehearsalLabel)))
)

/**
 * Responds with all metrics of this process, including those of `ProcessMetrics`.
 *
 * @example
 * import { HttpRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 * import { Gateway, Telemetry } from "gateway-lock"
 *
 * const Main = HttpRouter.empty.pipe(
 *   HttpRouter.get("/metrics", Telemetry.PrometheusMetrics.app),
 *   HttpServer.serve(),
 *   Layer.provide(Telemetry.ProcessMetrics.layerLive),
 *   Layer.provideMerge(Gateway.layer({ port: 18789 }))
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const app: HttpApp.Default<never, ProcessMetrics.ProcessMetrics> = Effect.gen(function*() {
  const process = yield* ProcessMetrics.ProcessMetrics
  yield* process.refresh
  const text = yield* exported
  return HttpServerResponse.text(text, { contentType, headers: { "cache-control": "no-store" } })
})
