/**
 * Effect's metric registry in the Prometheus text exposition format, version 0.0.4.
 *
 * Mount `app` where a scraper looks, by convention at `/metrics`; no gateway does so by itself.
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
import * as ProcessMetrics from "./ProcessMetrics.ts"

/**
 * The media type of the text format, for the `Content-Type` of an answer.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

type Type = "counter" | "gauge" | "histogram" | "summary"

type Labels = ReadonlyArray<readonly [key: string, value: string]>

/** One line but for its name's first part. */
interface Sample {
  readonly suffix: string
  readonly labels: Labels
  readonly value: number | bigint
}

/** All series of one name. */
interface Family {
  readonly name: string
  readonly type: Type
  readonly help: string
  /** By their labels: of two series that differ in nothing the first counts. */
  readonly series: Map<string, ReadonlyArray<Sample>>
}

const sanitize = (text: string, forbidden: RegExp): string => {
  const clean = text.replaceAll(forbidden, "_")
  return clean === "" || /^[0-9]/.test(clean) ? `_${clean}` : clean
}

const metricName = (name: string): string => sanitize(name, /[^a-zA-Z0-9_:]/g)

/** Two underscores at the beginning are for Prometheus' own use. */
const labelName = (name: string): string => sanitize(name, /[^a-zA-Z0-9_]/g).replace(/^__+/, "_")

/** Labels that the format itself gives to a type. */
const reserved: Readonly<Record<Type, string | undefined>> = {
  counter: undefined,
  gauge: undefined,
  histogram: "le",
  summary: "quantile"
}

const byText = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

/** Sorted by name; the values of names that became the same are joined. */
const labelsOf = (tags: ReadonlyArray<{ readonly key: string; readonly value: string }>, type: Type): Labels => {
  const values = new Map<string, Array<string>>()
  for (const { key, value } of tags.toSorted((a, b) => byText(a.key, b.key) || byText(a.value, b.value))) {
    const clean = labelName(key)
    const name = clean === reserved[type] ? `exported_${clean}` : clean
    values.set(name, [...values.get(name) ?? [], value])
  }
  return [...values].map(([name, values]) => [name, values.join(";")] as const).toSorted(([a], [b]) => byText(a, b))
}

/** Half of a surrogate pair has no UTF-8. */
const escapeHelp = (text: string): string =>
  text.replaceAll(/\p{Surrogate}/gu, "\ufffd").replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeValue = (text: string): string => escapeHelp(text).replaceAll("\"", "\\\"")

const renderLabels = (labels: Labels): string =>
  labels.length === 0 ? "" : `{${labels.map(([name, value]) => `${name}="${escapeValue(value)}"`).join(",")}}`

const renderNumber = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

const plain = (labels: Labels, value: number | bigint): ReadonlyArray<Sample> => [{ suffix: "", labels, value }]

const withLabel = (labels: Labels, name: string, value: string): Labels => [...labels, [name, value]]

/** What becomes of one metric: nothing where it is of a kind that the format does not know. */
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
    // One that may fall is a gauge to Prometheus.
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

/** Every name that a family's lines begin with: no other family may have one of them. */
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

/** The same whatever order a registry has. */
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
 * What a registry's snapshot is in the text format: sorted by name and labels, so that the same state is the same text. Pure.
 *
 * A counter's name ends in `_total`; a counter that may fall is a gauge; a frequency is a counter with the label `key`. What a
 * name or label may not contain becomes `_`. Where two metrics come to the same name and are of different types, or to the
 * same series, the first in the order of their names counts.
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
 * Answers with all metrics of this process, its own figures included.
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
  const text = encode(yield* Metric.snapshot)
  return HttpServerResponse.text(text, { contentType, headers: { "cache-control": "no-store" } })
})
