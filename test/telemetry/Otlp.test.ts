import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Deferred,
  Duration,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Option,
  Runtime,
  Scope
} from "effect"
import * as Otlp from "../../src/telemetry/Otlp.ts"
import * as arbitraries from "../arbitraries.ts"
import { nodeHttpServer } from "../fixtures/net.ts"

const read = (variables: Readonly<Record<string, string>>) =>
  Effect.withConfigProvider(Otlp.settings, ConfigProvider.fromMap(new Map(Object.entries(variables))))

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" }

describe("Otlp.settings", () => {
  it.effect("follow the base endpoint, with the defaults of the specification", () =>
    Effect.gen(function*() {
      const settings = yield* read(endpoint)
      assert.deepStrictEqual(settings, {
        serviceName: "gateway",
        attributes: {},
        traces: Option.some<Otlp.Target>({
          url: "http://collector:4318/v1/traces",
          protocol: "http/protobuf",
          headers: {},
          timeout: Duration.seconds(10),
          interval: Duration.seconds(5)
        }),
        metrics: Option.some<Otlp.Target>({
          url: "http://collector:4318/v1/metrics",
          protocol: "http/protobuf",
          headers: {},
          timeout: Duration.seconds(10),
          interval: Duration.seconds(60)
        }),
        warnings: []
      })
    }))

  it.effect("prefer what is said of one kind of data, and take its endpoint as it is", () =>
    Effect.gen(function*() {
      const { metrics, traces, ...rest } = yield* read({
        OTEL_EXPORTER_OTLP_ENDPOINT: "https://collector/base/",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://traces:1/own",
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/protobuf",
        OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20abc, x-tenant = a%2Cb",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS: "",
        OTEL_EXPORTER_OTLP_TIMEOUT: "2500",
        OTEL_BSP_SCHEDULE_DELAY: "100",
        OTEL_METRIC_EXPORT_INTERVAL: "200",
        OTEL_SERVICE_NAME: "mine",
        OTEL_RESOURCE_ATTRIBUTES: "service.name=other,deployment.environment=a%20b"
      })
      const headers = { authorization: "Bearer abc", "x-tenant": "a,b" }
      assert.deepStrictEqual(rest, {
        serviceName: "mine",
        attributes: { "deployment.environment": "a b" },
        warnings: []
      })
      assert.deepStrictEqual(
        traces,
        Option.some<Otlp.Target>({
          url: "http://traces:1/own",
          protocol: "http/json",
          headers,
          timeout: Duration.millis(2500),
          interval: Duration.millis(100)
        })
      )
      assert.deepStrictEqual(
        metrics,
        Option.some<Otlp.Target>({
          url: "https://collector/base/v1/metrics",
          protocol: "http/protobuf",
          headers,
          timeout: Duration.millis(2500),
          interval: Duration.millis(200)
        })
      )
    }))

  it.effect("mean the collector of this host where only an exporter is named", () =>
    Effect.gen(function*() {
      const { metrics, traces } = yield* read({ OTEL_TRACES_EXPORTER: "otlp" })
      assert.strictEqual(Option.getOrUndefined(traces)?.url, "http://localhost:4318/v1/traces")
      assert.deepStrictEqual(metrics, Option.none())
    }))

  it.effect("export nothing where that is said", () =>
    Effect.gen(function*() {
      for (
        const [variables, kinds] of [
          [{ ...endpoint, OTEL_SDK_DISABLED: "true" }, []],
          [{ ...endpoint, OTEL_SDK_DISABLED: "TRUE" }, []],
          [{ ...endpoint, OTEL_TRACES_EXPORTER: "none" }, ["metrics"]],
          [{ ...endpoint, OTEL_METRICS_EXPORTER: "none" }, ["traces"]],
          [{ OTEL_SERVICE_NAME: "mine" }, []],
          [{ OTEL_EXPORTER_OTLP_ENDPOINT: "" }, []]
        ] as const
      ) {
        const { metrics, traces, warnings } = yield* read(variables)
        assert.deepStrictEqual<ReadonlyArray<string>>(
          [...Option.isSome(traces) ? ["traces"] : [], ...Option.isSome(metrics) ? ["metrics"] : []],
          [...kinds],
          JSON.stringify(variables)
        )
        assert.deepStrictEqual(warnings, [])
      }
    }))

  it.effect("take what they cannot understand for not set, with one line that does not show a secret", () =>
    Effect.gen(function*() {
      for (
        const [name, value, warning] of [
          ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "is not an http or https URL"],
          [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://me:hunter2@collector",
            "must not contain a user or password; use OTEL_EXPORTER_OTLP_HEADERS"
          ],
          ["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "\"grpc\": must be http/protobuf or http/json"],
          ["OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "\"10s\": must be a number of milliseconds, at least 1"],
          ["OTEL_EXPORTER_OTLP_TIMEOUT", "0", "\"0\": must be a number of milliseconds, at least 1"],
          ["OTEL_EXPORTER_OTLP_HEADERS", "a=b,hunter2", "entry 2 is not key=value, percent-encoded"],
          ["OTEL_EXPORTER_OTLP_HEADERS", "a=%zzhunter2", "entry 1 is not key=value, percent-encoded"],
          ["OTEL_EXPORTER_OTLP_HEADERS", "a=b,c=hunter2%0a", "entry 2 is not a valid HTTP header"],
          ["OTEL_RESOURCE_ATTRIBUTES", "=hunter2", "entry 1 is not key=value, percent-encoded"],
          ["OTEL_TRACES_EXPORTER", "zipkin", "\"zipkin\": must be otlp or none"],
          ["OTEL_METRIC_EXPORT_INTERVAL", "-5", "\"-5\": must be a number of milliseconds, at least 1"],
          ["OTEL_SDK_DISABLED", "perhaps", "\"perhaps\": must be true or false"]
        ] as const
      ) {
        const { warnings, ...rest } = yield* read({ ...endpoint, [name]: value })
        assert.deepStrictEqual(warnings, [`ignoring ${name}: ${warning}`])
        assert.notInclude(warnings.join(), "hunter2")
        const { warnings: _, ...without } = yield* read(name === "OTEL_EXPORTER_OTLP_ENDPOINT" ? {} : endpoint)
        assert.deepStrictEqual(rest, without)
      }
    }))

  it.effect.prop(
    "never fail, and warn in one line",
    [fc.dictionary(
      fc.constantFrom(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
        "OTEL_TRACES_EXPORTER"
      ),
      fc.oneof(
        fc.string({ unit: arbitraries.character }),
        fc.webUrl(),
        fc.string({ unit: fc.constantFrom("=", ",", "%", "2", "a") })
      )
    )],
    ([variables]) =>
      Effect.gen(function*() {
        const { warnings } = yield* read(variables)
        for (const warning of warnings) assert.notInclude(warning, "\n")
      })
  )
})

/** A collector that does not answer until the test tells it to. */
const slowCollector = Effect.gen(function*() {
  const arrived = yield* Deferred.make<void>()
  const answer = yield* Deferred.make<void>()
  const ended = yield* Deferred.make<"answered" | "cut">()
  const fork = Runtime.runFork(yield* Effect.runtime())
  const port = yield* nodeHttpServer((request, response) => {
    response.on(
      "close",
      () => Deferred.unsafeDone(ended, Effect.succeed(response.writableFinished ? "answered" : "cut"))
    )
    request.resume().on("end", () => {
      Deferred.unsafeDone(arrived, Effect.void)
      fork(Effect.zipRight(Deferred.await(answer), Effect.sync(() => response.end())))
    })
  })
  return {
    port,
    arrived: Deferred.await(arrived),
    answer: Deferred.succeed(answer, undefined),
    ended: Deferred.await(ended)
  }
})

/**
 * Starts an exporter that sends ended spans to the collector every 10 milliseconds. Ends one span, and waits until the request with
 * that span has arrived. Returns the exporter's scope: closing this scope ends the exporter.
 */
const exportingTo = ({ arrived, port }: { readonly arrived: Effect.Effect<void>; readonly port: number }) =>
  Effect.gen(function*() {
    const variables = ConfigProvider.fromMap(
      new Map([
        ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", `http://127.0.0.1:${port}/v1/traces`],
        ["OTEL_BSP_SCHEDULE_DELAY", "10"]
      ])
    )
    const scope = yield* Scope.make()
    const runtime = yield* Layer.toRuntime(Otlp.layer({ pid: 1 })).pipe(
      Scope.extend(scope),
      Effect.provide(NodeContext.layer),
      Effect.withConfigProvider(variables)
    )
    yield* Effect.withSpan(Effect.void, "a span").pipe(Effect.provide(runtime))
    yield* arrived
    return scope
  })

describe("an export that is under way when the gateway ends", () => {
  it.scopedLive("may end: its spans are sent once", () =>
    Effect.gen(function*() {
      const collector = yield* slowCollector
      const scope = yield* exportingTo(collector)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.sleep("100 millis")
      yield* collector.answer
      assert.strictEqual(yield* collector.ended, "answered")
      yield* Fiber.join(closing)
    }))

  it.scopedLive("is cut after a second", () =>
    Effect.gen(function*() {
      const collector = yield* slowCollector
      const scope = yield* exportingTo(collector)
      const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
      assert.strictEqual(yield* collector.ended, "cut")
      assert.isAbove(Duration.toMillis(took), 900)
      assert.isBelow(Duration.toMillis(took), 5000)
    }))
})
