import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Promtool from "../fixtures/promtool.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const repository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const read = (path: string) => Effect.promise(() => Fs.readFile(repository(path), "utf8"))

const scrape = (site: Gateways.Site) =>
  Effect.map(Clients.request(site, "/metrics"), ({ body, headers, status }) => {
    assert.strictEqual(status, 200, body)
    return { text: body, type: headers["content-type"] }
  })

/** The value of one series in the text of `/metrics`. `series` is the name with the labels, exactly as that text has them. */
const valueOf = ({ text }: { readonly text: string }, series: string): number | undefined => {
  const line = text.split("\n").find((line) => line.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

/**
 * The names of all samples in the text of `/metrics`. The names of a histogram's samples end in `_bucket`, `_sum` or `_count`.
 */
const namesIn = (text: string): ReadonlySet<string> =>
  new Set(
    text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.split(/[ {]/)[0] ?? "")
  )

/** A gateway with a lease. It has the metrics of a lease, although its store cannot be reached. */
const newStandby = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  const { line } = yield* Gateways.startListening(site, {
    env: { GATEWAY_LEASE_URL: "postgresql://postgres@127.0.0.1:1/postgres" }
  })
  yield* line(/waiting to lead default at /)
  return site
})

const own = /\b(?:gateway|process|nodejs)_[a-z_]+\b/g

/** Polls until a series has the value, because the gateway notices the end of a connection a moment after the client does. */
const eventually = (site: Gateways.Site, series: string, value: number) =>
  scrape(site).pipe(
    Effect.repeat({ until: (metrics) => valueOf(metrics, series) === value }),
    Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => new Error(`${series} did not become ${value}`) }),
    Effect.orDie
  )

const noPromtool = Program.without("promtool")

describe("/metrics", () => {
  it.scopedLive.skipIf(noPromtool !== undefined)(
    Program.named("is what promtool takes without a complaint", noPromtool),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        const { text, type } = yield* scrape(site)
        assert.strictEqual(type, "text/plain; version=0.0.4; charset=utf-8")
        assert.deepStrictEqual(yield* Promtool.checkMetrics(text), { status: 0, output: "" })
      })
  )

  it.scopedLive("tells who runs, that the lock is held, and what the process uses", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway({ flags: ["--profile", "blue"] })
      const metrics = yield* scrape(site)
      const instance = yield* Clients.instanceIdOf(site)
      const { version } = yield* Clients.hello(site)
      const info = `gateway_info{instance_id="${instance}",profile="blue",version="${version}"}`
      assert.strictEqual(valueOf(metrics, info), 1, metrics.text)
      assert.strictEqual(valueOf(metrics, "gateway_lock_held"), 1)
      assert.strictEqual(valueOf(metrics, "gateway_lock_acquire_total{verdict=\"acquired\"}"), 1)
      assert.strictEqual(valueOf(metrics, "gateway_lock_acquire_seconds_count"), 1)
      assert.strictEqual(valueOf(metrics, "gateway_lock_record_only"), Program.kernelLocks ? 0 : 2)
      assert.strictEqual(valueOf(metrics, "gateway_connections_limit"), 10_000)
      const now = yield* Effect.clockWith(({ currentTimeMillis }) => currentTimeMillis)
      assert.approximately(valueOf(metrics, "process_start_time_seconds") ?? 0, now / 1000, 60)
      for (
        const name of [
          "process_cpu_seconds_total",
          "process_resident_memory_bytes",
          "nodejs_heap_size_used_bytes",
          "nodejs_eventloop_lag_seconds",
          ...Program.isLinux ? ["process_open_fds", "process_max_fds"] : []
        ]
      ) assert.isAbove(valueOf(metrics, name) ?? 0, 0, name)
      const head = yield* Clients.request(site, "/metrics", "HEAD")
      assert.deepStrictEqual({ status: head.status, body: head.body }, { status: 200, body: "" })
    }))

  it.scopedLive("counts a reclaim after a crash, by its reason, and none after a clean end", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const series = `gateway_lock_reclaim_total{reason="${Program.kernelLocks ? "kernel_lock_free" : "owner_gone"}"}`
      const first = yield* Gateways.startListening(site)
      assert.strictEqual(valueOf(yield* scrape(site), series), 0)
      yield* Gateways.stop(first, "SIGKILL")
      const second = yield* Gateways.startListening(site)
      const metrics = yield* scrape(site)
      assert.strictEqual(valueOf(metrics, series), 1, metrics.text)
      assert.lengthOf(metrics.text.split("\n").filter((line) => /^gateway_lock_reclaim_total\{.*\} [^0]/.test(line)), 1)
      yield* Gateways.stop(second)
      yield* Gateways.startListening(site)
      assert.strictEqual(valueOf(yield* scrape(site), series), 0)
    }))

  it.scopedLive("counts the connections that are open now", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      // The connection over which the test reads `/metrics` counts as well, so the value is 1 without any other client.
      yield* eventually(site, "gateway_connections", 1)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.replicateEffect(Clients.greeted(site), 3)
        yield* Clients.connect(site)
        yield* eventually(site, "gateway_connections", 5)
      }))
      yield* eventually(site, "gateway_connections", 1)
    }))

  it.scopedLive("has every metric of docs/metrics.md, and docs/metrics.md has every metric of a gateway", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const { text } = yield* scrape(site)
      const page = yield* read("docs/metrics.md")
      // `test/e2e/lease.test.ts` has the metrics of a gateway with a lease.
      const told = new Set(
        page.split("\n").filter((line) => !line.includes("| with a lease:")).flatMap((
          line
        ) => [.../^\| `((?:gateway|process|nodejs)_[a-z_]+)/.exec(line)?.slice(1) ?? []])
      )
      const families = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name))
      // The gauge `gateway_lock_waiters` is set only while a start waits for the lock, and such a start does not serve `/metrics`
      // yet.
      told.delete("gateway_lock_waiters")
      assert.deepStrictEqual(
        [...told].toSorted(),
        [...families].filter((name) => /^(?:gateway|process|nodejs)_/.test(name)).toSorted()
      )
    }))
})

describe("the scrape configurations of docs/metrics.md", () => {
  it.scopedLive.skipIf(noPromtool !== undefined)(
    Program.named("are accepted by promtool, beside the file of alerts", noPromtool),
    () =>
      Effect.gen(function*() {
        const page = yield* read("docs/metrics.md")
        const blocks = [...page.matchAll(/```yaml\n([^]*?)```/g)].map(([, text = ""]) => text)
        assert.lengthOf(blocks, 2)
        const folder = yield* Gateways.temporaryFolder
        const place = (name: string, text: string) => Effect.promise(() => Fs.writeFile(Path.join(folder, name), text))
        yield* place("alerts.yaml", yield* read("test/examples/alerts.yaml"))
        yield* place("gateway.token", "secret")
        for (const block of blocks) {
          yield* place(
            "prometheus.yml",
            block.replace("/etc/gateway-lock/gateway.token", Path.join(folder, "gateway.token"))
          )
          const check = yield* Promtool.run(["check", "config", Path.join(folder, "prometheus.yml")])
          assert.strictEqual(check.status, 0, check.output)
        }
      })
  )
})

describe("the alerts", () => {
  it.scopedLive("use metrics that there are", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const there = new Set([
        ...namesIn((yield* scrape(site)).text),
        ...namesIn((yield* scrape(yield* newStandby)).text)
      ])
      const rules = yield* read("test/examples/alerts.yaml")
      const used = new Set(rules.split("\n").filter((line) => !line.trimStart().startsWith("#")).join("\n").match(own))
      assert.isAbove(used.size, 10)
      assert.deepStrictEqual([...used].filter((name) => !there.has(name)), [])
    }))

  it.live.skipIf(noPromtool !== undefined)(
    Program.named("are rules, and fire for what they are for and nothing else", noPromtool),
    () =>
      Effect.gen(function*() {
        const check = yield* Promtool.run(["check", "rules", repository("test/examples/alerts.yaml")])
        assert.strictEqual(check.status, 0, check.output)
        const test = yield* Promtool.run(["test", "rules", repository("test/examples/alerts.test.yaml")])
        assert.strictEqual(test.status, 0, test.output)
      })
  )
})
