import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Duration,
  Effect,
  FastCheck as fc,
  MetricBoundaries,
  MetricKey,
  MetricLabel,
  type MetricPair,
  MetricRegistry,
  Option,
  TestClock
} from "effect"
import * as Metrics from "../../src/telemetry/Metrics.ts"
import * as ProcessMetrics from "../../src/telemetry/ProcessMetrics.ts"
import * as PrometheusMetrics from "../../src/telemetry/PrometheusMetrics.ts"
import * as arbitraries from "../arbitraries.ts"
import { named, without } from "../e2e/support/program.ts"
import * as Promtool from "../fixtures/promtool.ts"

interface Series {
  readonly kind: "counter" | "falling" | "gauge" | "frequency" | "histogram" | "summary"
  readonly name: string
  readonly description?: string | undefined
  readonly tags?: ReadonlyArray<readonly [key: string, value: string]>
  readonly value: number
  readonly word?: string
}

/**
 * All histograms of this file use this object, because Effect treats two objects with the same numbers as different
 * boundaries.
 */
const boundaries = MetricBoundaries.fromIterable([0.1, 1])

/** The snapshot of a new registry that has these series. */
const snapshotOf = (series: ReadonlyArray<Series>): ReadonlyArray<MetricPair.MetricPair.Untyped> => {
  const registry = MetricRegistry.make()
  for (const { description, kind, name, tags = [], value, word = "word" } of series) {
    const labels = tags.map(([key, value]) => MetricLabel.make(key, value))
    const described = description === undefined ? {} : { description }
    switch (kind) {
      case "counter":
        registry.getCounter(
          MetricKey.taggedWithLabels(MetricKey.counter(name, { ...described, incremental: true }), labels)
        ).update(value)
        break
      case "falling":
        registry.getCounter(MetricKey.taggedWithLabels(MetricKey.counter(name, described), labels)).update(value)
        break
      case "gauge":
        registry.getGauge(MetricKey.taggedWithLabels(MetricKey.gauge(name, described), labels)).update(value)
        break
      case "frequency":
        registry.getFrequency(MetricKey.taggedWithLabels(MetricKey.frequency(name, described), labels)).update(word)
        break
      case "histogram":
        registry.getHistogram(
          MetricKey.taggedWithLabels(
            MetricKey.histogram(name, boundaries, description),
            labels
          )
        ).update(value)
        break
      case "summary":
        registry.getSummary(
          MetricKey.taggedWithLabels(
            MetricKey.summary({
              name,
              maxAge: "1 minute",
              maxSize: 10,
              error: 0,
              quantiles: [0.5, 0.99],
              ...described
            }),
            labels
          )
        ).update([value, 0])
        break
    }
  }
  return registry.snapshot()
}

const encode = (...series: ReadonlyArray<Series>) => PrometheusMetrics.encode(snapshotOf(series))

// ---------------------------------------------------------------------------
// a strict parser of the Prometheus text format
// ---------------------------------------------------------------------------

interface Sample {
  readonly name: string
  readonly labels: ReadonlyMap<string, string>
  readonly value: number
}

const label = String.raw`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"`
const sampleLine = new RegExp(
  String.raw`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(${label}(?:,${label})*)\})? (NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$`,
  "u"
)

const unescape = (text: string): string =>
  text.replaceAll(/\\(["\\n])/g, (_, escaped: string) => escaped === "n" ? "\n" : escaped)

const parse = (text: string) => {
  const types = new Map<string, string>()
  const samples: Array<Sample> = []
  let family = ""
  assert.isTrue(text === "" || text.endsWith("\n"), "the last line ends")
  for (const line of text.split("\n").slice(0, -1)) {
    const meta = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) ([^\n]*)$/u.exec(line)
    if (meta !== null) {
      const [, keyword = "", name = "", rest = ""] = meta
      if (keyword === "TYPE") {
        assert.isFalse(types.has(name), `a second TYPE of ${name}`)
        types.set(name, rest)
        family = name
      }
      continue
    }
    const match = sampleLine.exec(line)
    if (match === null) return assert.fail(`no line of the format: ${JSON.stringify(line)}`)
    const [, name = "", labels = ""] = match
    assert.isTrue(name.replace(/_(bucket|sum|count)$/, "") === family || name === family, `${name} under ${family}`)
    const pairs = [...labels.matchAll(new RegExp(label, "gu"))].map(([, key = "", value = ""]) =>
      [key, unescape(value)] as const
    )
    assert.strictEqual(new Map(pairs).size, pairs.length, `a label twice: ${line}`)
    const number = match.at(-1) ?? ""
    samples.push({ name, labels: new Map(pairs), value: Number(number.replace("Inf", "Infinity")) })
  }
  const series = samples.map(({ labels, name }) => JSON.stringify([name, [...labels].toSorted()]))
  assert.strictEqual(new Set(series).size, series.length, "no series twice")
  return { types, samples }
}

const hostile = fc.oneof(
  fc.string({ unit: arbitraries.character }),
  fc.string({
    unit: fc.constantFrom("\\", "\"", "\n", "\r", "n", "{", "}", ",", "=", "#", " ", "\u0000", "é", "\ud800")
  }),
  fc.constantFrom("", "le", "quantile", "__name__", "key", "a-b", "a_b", "a.b", "0", "_0")
)
const aSeries: fc.Arbitrary<Series> = fc.record({
  kind: fc.constantFrom("counter", "falling", "gauge", "frequency", "histogram", "summary"),
  name: hostile,
  description: fc.option(hostile, { nil: undefined }),
  tags: fc.array(fc.tuple(hostile, hostile), { maxLength: 4 }),
  value: fc.oneof(fc.double(), fc.double({ min: 0, noNaN: true }), fc.integer()),
  word: hostile
})

describe("PrometheusMetrics.encode", () => {
  it("writes each kind of metric as the format has it", () => {
    assert.strictEqual(
      encode(
        {
          kind: "gauge",
          name: "open",
          description: "Open \"now\"\\\nor so",
          tags: [["b", "2"], ["a", "x\"\\\ny"]],
          value: 1.5
        },
        { kind: "counter", name: "requests", description: "Requests", value: 3 },
        { kind: "falling", name: "balance", value: -2 },
        { kind: "frequency", name: "words", value: 0, word: "hello" },
        { kind: "histogram", name: "took_seconds", value: 0.5, tags: [["le", "mine"]] },
        { kind: "histogram", name: "took_seconds", value: 7, tags: [["le", "mine"]] },
        { kind: "gauge", name: "warm.th", value: -Infinity }
      ),
      String.raw`# HELP balance balance
# TYPE balance gauge
balance -2
# HELP open Open "now"\\\nor so
# TYPE open gauge
open{a="x\"\\\ny",b="2"} 1.5
# HELP requests_total Requests
# TYPE requests_total counter
requests_total 3
# HELP took_seconds took seconds
# TYPE took_seconds histogram
took_seconds_bucket{exported_le="mine",le="0.1"} 0
took_seconds_bucket{exported_le="mine",le="1"} 1
took_seconds_bucket{exported_le="mine",le="+Inf"} 2
took_seconds_sum{exported_le="mine"} 7.5
took_seconds_count{exported_le="mine"} 2
# HELP warm_th warm th
# TYPE warm_th gauge
warm_th -Inf
# HELP words_total words total
# TYPE words_total counter
words_total{key="hello"} 1
`
    )
  })

  it("writes a summary with its quantiles", () => {
    const { samples, types } = parse(encode({ kind: "summary", name: "size", value: 4 }))
    assert.deepStrictEqual([...types], [["size", "summary"]])
    assert.deepStrictEqual(
      samples.map(({ labels, name }) => [name, ...labels.values()]),
      [["size", "0.5"], ["size", "0.99"], ["size_sum"], ["size_count"]]
    )
  })

  it("keeps one of two metrics whose lines would be the same", () => {
    const text = encode(
      { kind: "histogram", name: "a", value: 1 },
      { kind: "gauge", name: "a_count", value: 5 },
      { kind: "gauge", name: "b.c", value: 1 },
      { kind: "gauge", name: "b_c", value: 2 },
      { kind: "counter", name: "b_c", value: 3 },
      { kind: "counter", name: "b_c_total", value: 4 }
    )
    const { samples, types } = parse(text)
    assert.deepStrictEqual([...types], [["a", "histogram"], ["b_c", "gauge"], ["b_c_total", "counter"]])
    assert.deepStrictEqual(samples.filter(({ name }) => name.startsWith("b")).map(({ value }) => value), [1, 3])
  })

  it.prop(
    "is of the format whatever names, labels and values there are, and shows each label's value as it was",
    [fc.array(aSeries, { maxLength: 8 }), hostile],
    ([series, value]) => {
      parse(encode(...series))
      const [sample] = parse(encode({ kind: "gauge", name: "one", tags: [["label", value]], value: 1 })).samples
      assert.strictEqual(sample?.labels.get("label"), value.replaceAll(/\p{Surrogate}/gu, "\ufffd"))
    },
    { fastCheck: { numRuns: 500 } }
  )

  it.prop("is the same text whatever order the registry has", [fc.array(aSeries, { maxLength: 8 })], ([series]) => {
    const snapshot = snapshotOf(series)
    assert.strictEqual(PrometheusMetrics.encode(snapshot.toReversed()), PrometheusMetrics.encode(snapshot))
  })

  const noPromtool = without("promtool")
  it.live.skipIf(noPromtool !== undefined)(
    named("is parsed by promtool, however hostile", noPromtool),
    () =>
      Effect.forEach(
        fc.sample(fc.array(aSeries, { minLength: 5, maxLength: 30 }), 40),
        (series) =>
          Effect.gen(function*() {
            const text = encode(...series)
            const { output, status } = yield* Promtool.checkMetrics(text)
            // Status 3 means that promtool could parse the text, but its linter dislikes the names.
            assert.include([0, 3], status, `${output}\n${text}`)
            assert.notInclude(output, "parsing error")
          })
      )
  )
})

const figures: ProcessMetrics.ProcessFigures = {
  uptime: Duration.seconds(10),
  cpu: Duration.seconds(1.5),
  residentMemory: 1,
  heapTotal: 2,
  heapUsed: 3,
  externalMemory: 4,
  openFiles: Option.some(5),
  maxFiles: Option.none()
}

describe("PrometheusMetrics.app", () => {
  const request = HttpServerRequest.fromWeb(new Request("http://gateway/metrics"))
  const scrape = (process: ProcessMetrics.ProcessMetrics["Type"]) =>
    PrometheusMetrics.app.pipe(
      Effect.provideService(ProcessMetrics.ProcessMetrics, process),
      Effect.provideService(HttpServerRequest.HttpServerRequest, request),
      Effect.scoped,
      Effect.map(HttpServerResponse.toWeb)
    )
  const samplesOf = (response: Response, test: string) =>
    Effect.map(Effect.promise(() => response.text()), (text) =>
      new Map(
        parse(text).samples.filter(({ labels }) => labels.get("test") === test).map((
          { labels, name, value }
        ) => [
          `${name}${[...labels].filter(([key]) => key !== "test").map(([key, value]) => ` ${key}=${value}`).join("")}`,
          value
        ])
      ))

  it.effect("answers in the text format, with figures of the moment, and CPU time that only grows", () =>
    Effect.tagMetrics("test", "figures")(Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      let cpu = Duration.seconds(1.5)
      const process = ProcessMetrics.make(Effect.sync(() => ({ ...figures, cpu })), Effect.void)
      const response = yield* scrape(process)
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
      const first = yield* samplesOf(response, "figures")
      assert.strictEqual(first.get("process_start_time_seconds"), 990)
      assert.strictEqual(first.get("process_cpu_seconds_total"), 1.5)
      assert.strictEqual(first.get("process_open_fds"), 5)
      assert.isFalse(first.has("process_max_fds"))
      cpu = Duration.seconds(4)
      const second = yield* samplesOf(yield* scrape(process), "figures")
      assert.strictEqual(second.get("process_cpu_seconds_total"), 4)
    })))

  it.effect("shows every series of a gateway at zero before its first event", () =>
    Effect.tagMetrics("test", "zero")(Effect.gen(function*() {
      yield* Metrics.register
      const samples = yield* samplesOf(yield* scrape(ProcessMetrics.make(Effect.succeed(figures), Effect.void)), "zero")
      for (
        const series of [
          "gateway_lock_held",
          "gateway_lock_record_only",
          "gateway_lock_lost_total",
          "gateway_drain_cut_total",
          "gateway_connections",
          "gateway_drain_seconds_count",
          "gateway_lock_acquire_seconds_count",
          "gateway_lock_acquire_total verdict=lock_held",
          "gateway_lock_reclaim_total reason=kernel_lock_free",
          "gateway_lock_recheck_total result=regained",
          "gateway_probe_seconds_count result=stalled"
        ]
      ) assert.strictEqual(samples.get(series), 0, series)
    })))
})
