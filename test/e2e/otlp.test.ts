import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import * as Clients from "./support/clients.ts"
import { collect, type Collector } from "./support/collector.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import { isLinux } from "./support/program.ts"

const exportTo = (url: string) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
  OTEL_BSP_SCHEDULE_DELAY: "100"
})

const shown = (collector: Collector) =>
  collector.spans().map(({ attributes, name, parent }) => ({ name, parent, attributes }))

const preload = fileURLToPath(new URL("../fixtures/loadedFiles.cjs", import.meta.url))
const tellingFiles = { NODE_OPTIONS: `--require=${preload}` }

describe("a gateway under OpenTelemetry's variables", () => {
  it.scopedLive("sends a span for each thing that it does, and its metrics", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const collector = yield* collect
      const gateway = yield* Gateways.startListening(site, {
        env: {
          ...exportTo(collector.url),
          OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=a%20b",
          OTEL_SERVICE_NAME: "mine",
          OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test"
        }
      })
      // The spans arrive while the gateway runs, because it exports them at intervals and not only when it ends.
      yield* collector.arrival("gateway.start")
      yield* Clients.request(site, "/healthz")
      yield* Clients.request(site, "/metrics")
      yield* Clients.request(site, "/nothing-here")
      yield* collector.arrival("http.server GET")
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))

      const server = { "server.address": "127.0.0.1", "server.port": site.port }
      const free = { name: "gateway.probe", attributes: { ...server, "gateway.probe.result": "no_listener" } }
      const [request, ...others] = shown(collector).toSorted((a, b) =>
        Number(b.name.startsWith("http")) - Number(a.name.startsWith("http"))
      )
      assert.strictEqual(request?.attributes["url.path"], "/nothing-here")
      assert.isUndefined(request?.parent)
      assert.deepStrictEqual(others, [
        { ...free, parent: "gateway.lock.acquire" },
        {
          name: "gateway.lock.acquire",
          parent: "gateway.start",
          attributes: { "gateway.lock.path": Gateways.configLock(site), "gateway.lock.verdict": "acquired" }
        },
        // On Linux, a bind has no probe before it.
        ...(isLinux ? [] : [{ ...free, parent: "gateway.start" }]),
        { name: "gateway.bind", parent: "gateway.start", attributes: { ...server, "gateway.bind.result": "bound" } },
        {
          name: "gateway.start",
          parent: undefined,
          attributes: { ...server, "gateway.profile": "default", "gateway.supervisor": "none" }
        },
        {
          name: "gateway.drain",
          parent: undefined,
          attributes: {
            "server.port": site.port,
            "gateway.drain.reason": "stopped",
            "gateway.drain.connections": 0,
            "gateway.drain.cut": 0
          }
        }
      ])
      assert.include(collector.metrics(), "gateway_drain_seconds")
      assert.include(collector.metrics(), "process_resident_memory_bytes")
      const resource = collector.resource()
      assert.deepInclude(resource, {
        "service.name": "mine",
        "deployment.environment": "test",
        "process.pid": gateway.pid
      })
      assert.isString(resource["service.instance.id"])
      assert.deepStrictEqual(new Set(collector.requests().map((headers) => headers["x-tenant"])), new Set(["a b"]))
    }))

  it.scopedLive("sends why a start was refused, and by whom it is held, before it ends", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const collector = yield* collect
      const first = yield* Gateways.startListening(site)
      Gateways.assertRefused(
        yield* Gateways.run(site, { env: exportTo(collector.url) }),
        `another gateway instance is already listening on ${Gateways.url(site)}`
      )
      assert.deepInclude(collector.spans().find(({ name }) => name === "gateway.lock.acquire")?.attributes ?? {}, {
        "gateway.lock.verdict": "port_in_use",
        "gateway.lock.holder.pid": first.pid
      })
    }))

  it.scopedLive("never sends what a client authorised itself with", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const collector = yield* collect
      const gateway = yield* Gateways.startListening(site, { env: exportTo(collector.url) })
      yield* Clients.request(site, "/elsewhere?token=hunter2")
      const connection = yield* Clients.connect(site)
      yield* connection.send(
        `GET /elsewhere HTTP/1.1\r\nhost: 127.0.0.1:${site.port}\r\nauthorization: Bearer hunter2\r\n`
          + "sec-websocket-protocol: hunter2\r\ncookie: a=hunter2\r\n\r\n"
      )
      yield* connection.received(/404/)
      yield* collector.arrival("http.server GET")
      yield* Gateways.stop(gateway)
      assert.notInclude(JSON.stringify(collector.spans()), "hunter2")
    }))

  it.scopedLive("starts, serves and ends all the same without its collector, and says so once", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const nobody = yield* Ports.reserve
      const gateway = yield* Gateways.startListening(site, { env: exportTo(`http://127.0.0.1:${nobody}`) })
      yield* gateway.line(/could not send traces/)
      assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
      const ended = yield* Gateways.within("8 seconds", Gateways.stop(gateway))
      yield* Gateways.assertGone(site, ended)
      for (const what of ["traces", "metrics"]) {
        const line = new RegExp(
          `could not send ${what} to http://127\\.0\\.0\\.1:${nobody}/v1/${what}: connect ECONNREFUSED`
        )
        assert.strictEqual(Gateways.count(ended.stderr, line), 1, ended.stderr)
      }
    }))

  it.scopedLive("is held up at its end for a moment only by a collector that never answers", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const silent = yield* Effect.acquireRelease(
        Effect.async<Net.Server>((resume) => {
          const server = Net.createServer(() => {}).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const bound = silent.address()
      const port = typeof bound === "object" && bound !== null ? bound.port : 0
      const gateway = yield* Gateways.startListening(site, { env: exportTo(`http://127.0.0.1:${port}`) })
      const ended = yield* Gateways.within("8 seconds", Gateways.stop(gateway))
      yield* Gateways.assertGone(site, ended)
    }))

  it.scopedLive("says in one line each which variables it ignores, and starts", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const collector = yield* collect
      const gateway = yield* Gateways.startListening(site, {
        env: { ...exportTo(collector.url), OTEL_EXPORTER_OTLP_TIMEOUT: "soon", OTEL_EXPORTER_OTLP_HEADERS: "hunter2" }
      })
      yield* collector.arrival("gateway.start")
      const { stderr } = yield* Gateways.stop(gateway)
      assert.strictEqual(Gateways.count(stderr, /level=WARN/), 2, stderr)
      assert.match(stderr, /ignoring OTEL_EXPORTER_OTLP_TIMEOUT: .*soon.*: must be a number of milliseconds/)
      assert.match(stderr, /ignoring OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not key=value/)
      assert.notInclude(stderr, "hunter2")
    }))

  it.scopedLive("loads nothing for it without them", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const loaded = (env: Record<string, string>) =>
        Effect.gen(function*() {
          const gateway = yield* Gateways.startListening(site, { env: { ...tellingFiles, ...env } })
          const { stderr } = yield* Gateways.stop(gateway)
          return (/^loaded: (.*)$/m.exec(stderr)?.[1] ?? "").split(" ")
        })
      const without = yield* loaded({ OTEL_SERVICE_NAME: "mine" })
      assert.include(without, "entry")
      assert.include(without, "serve")
      assert.notInclude(without, "Otlp")
      assert.include(yield* loaded(exportTo("http://127.0.0.1:9")), "Otlp")
    }))
})
