/**
 * Measures gateways with a lease in a real PostgreSQL server and a real etcd: how soon another one leads, how often an idle one asks
 * the store, and what that costs the server. A store that is not installed is left out.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Leadership from "../../../src/leader/Leadership.ts"
import * as PostgresLeaseStore from "../../../src/leader/PostgresLeaseStore.ts"
import * as Etcd from "../../fixtures/etcd.ts"
import * as Postgres from "../../fixtures/postgres.ts"
import { type Aim, alone, measure, type Measured } from "../measure.ts"
import { BenchFailed, expectEnd, freePort, millis, type NodeProcess, residentMiB, startNode } from "../processes.ts"
import * as Program from "../program.ts"

/** Short times, so that a takeover after a crash takes some seconds. */
const times = { duration: 4000, renewInterval: 500, attemptTimeout: 500, renewDeadline: 2500, stopTimeout: 1000 }
const takeoverBound = times.duration + times.renewInterval + times.attemptTimeout

/** A gateway on a host of its own, as far as its folders and its port go. */
interface Site {
  readonly args: ReadonlyArray<string>
  /** Completes when a process of this site leads, or serves without a lease. */
  readonly ready: (process: NodeProcess) => Effect.Effect<void, BenchFailed>
}

const setting = (millis: number): string => `${millis} millis`

const newSite = (url: string | undefined): Effect.Effect<Site, BenchFailed, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const fs = yield* FileSystem.FileSystem
    const port = yield* freePort
    const args = Program.gatewayArgs(folder, port)
    if (url === undefined) return { args, ready: ({ said }) => said("gateway listening") }
    const urlFile = join(folder, "lease-url")
    yield* Effect.mapError(fs.writeFileString(urlFile, url, { mode: 0o600 }), failed)
    const lease = { urlFile, ...Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, setting(ms)])) }
    yield* Program.writeFile(join(folder, "gateway.json"), JSON.stringify({ lease }))
    return { args, ready: ({ said }) => said("leads default with fencing token") }
  })

const failed = (error: { readonly message: string }): BenchFailed => new BenchFailed({ reason: error.message })

const engineFailed = ({ output, what }: Postgres.EngineFailed): BenchFailed =>
  new BenchFailed({ reason: `${what}: ${output}` })

const startLeader = (site: Site) => Effect.tap(startNode(site.args), site.ready)

const startCandidate = (site: Site) =>
  Effect.tap(startNode(site.args), ({ said }) => said("waiting to lead default at"))

/** Ends the leader by a signal, and measures the time until the candidate on another host leads. */
const takeover = (url: string, signal: "SIGTERM" | "SIGKILL") =>
  Effect.scoped(Effect.gen(function*() {
    const clock = yield* Effect.clock
    const [one, two] = [yield* newSite(url), yield* newSite(url)]
    const leader = yield* startLeader(one)
    const candidate = yield* startCandidate(two)
    // The candidate looks, and connects its listener. It says nothing then.
    yield* Effect.sleep("700 millis")
    const from = clock.unsafeCurrentTimeNanos()
    leader.kill(signal)
    yield* two.ready(candidate)
    const took = millis(from, clock.unsafeCurrentTimeNanos())
    yield* expectEnd(leader, signal === "SIGTERM" ? 0 : signal)
    candidate.kill("SIGTERM")
    yield* expectEnd(candidate, 0)
    return took
  }))

const releaseAim = { PostgreSQL: { most: 50 }, etcd: { most: 50 } } satisfies Record<string, Aim>
type Engine = keyof typeof releaseAim

const releases = (engine: Engine, url: string, runs: number) =>
  Effect.map(Effect.replicateEffect(takeover(url, "SIGTERM"), runs), (samples) =>
    alone({
      name: `SIGTERM of the leader to a serving candidate, ${engine}`,
      unit: "ms",
      samples,
      aim: releaseAim[engine]
    }))

const crashes = (engine: Engine, url: string, runs: number) =>
  Effect.map(Effect.replicateEffect(takeover(url, "SIGKILL"), Math.min(runs, 5)), (samples) =>
    alone({
      name: `crash of the leader to a serving candidate, ${engine}, slowest`,
      unit: "ms",
      samples: [Math.max(...samples)],
      aim: { most: takeoverBound }
    }))

/** Kills a gateway, and measures the time from the start of the next one on its host. */
const restart = (url: string | undefined) =>
  Effect.scoped(Effect.gen(function*() {
    const clock = yield* Effect.clock
    const site = yield* newSite(url)
    const first = yield* startLeader(site)
    first.kill("SIGKILL")
    yield* expectEnd(first, "SIGKILL")
    const second = yield* startLeader(site)
    const took = millis(second.startedAt, clock.unsafeCurrentTimeNanos())
    const memory = yield* residentMiB(second)
    second.kill("SIGTERM")
    yield* expectEnd(second, 0)
    return { took, memory }
  }))

const restarts = (engine: Engine, url: string, runs: number) =>
  measure({
    runs,
    baseline: { name: "without a lease", sample: restart(undefined) },
    subject: { name: engine, sample: restart(url) },
    rows: [
      {
        name: `crash to the next start on the same host, ${engine}`,
        unit: "ms",
        read: ({ took }) => took,
        compare: "difference",
        aim: { most: 200 }
      },
      { name: `resident memory of a leader, ${engine}`, unit: "MiB", read: ({ memory }) => memory, compare: "ratio" }
    ]
  })

/** How long the statements of idle gateways are counted, in seconds. */
const countingTime = 20

/** Counts the statements of an idle leader and of an idle candidate. Only a leader renews, and all others come from the candidate. */
const idle = (server: Postgres.PostgresServer) =>
  Effect.scoped(Effect.gen(function*() {
    yield* startLeader(yield* newSite(server.url()))
    yield* startCandidate(yield* newSite(server.url()))
    yield* Effect.sleep("3 seconds")
    yield* server.sql("SELECT pg_stat_statements_reset()")
    yield* Effect.sleep(countingTime * 1000)
    const rows = yield* server.sql(
      `SELECT query LIKE '%SET renewals = l.renewals%' AS renews, sum(calls)::int AS calls FROM pg_stat_statements
       WHERE query NOT LIKE '%pg_stat_statements%' GROUP BY 1`
    )
    return [["leader", true] as const, ["candidate", false] as const].map(([who, renews]) =>
      alone({
        name: `statements of an idle ${who}, renew interval ${times.renewInterval} ms`,
        unit: "per second",
        samples: [Number(rows.find((row) => row["renews"] === renews)?.["calls"] ?? Number.NaN) / countingTime],
        aim: { most: 1000 / times.renewInterval }
      })
    )
  })).pipe(Effect.catchTag("EngineFailed", engineFailed))

/** The requests that a member of etcd has answered, by the method of gRPC. The JSON gateway passes each request on by gRPC. */
const requests = (url: string): Effect.Effect<ReadonlyMap<string, number>, BenchFailed> =>
  Effect.tryPromise({
    try: async () => {
      const text = await (await fetch(`${url.replace("etcd+", "")}/metrics`)).text()
      const counts = new Map<string, number>()
      for (
        const [, method = "", count] of text.matchAll(/^grpc_server_started_total\{grpc_method="(\w+)".*\} (\d+)$/gm)
      ) {
        counts.set(method, (counts.get(method) ?? 0) + Number(count))
      }
      return counts
    },
    catch: (error) => new BenchFailed({ reason: `the metrics of etcd: ${String(error)}` })
  })

/** How many requests of these methods etcd answers in a second. */
const perSecond = (url: string, methods: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const before = yield* requests(url)
    yield* Effect.sleep(countingTime * 1000)
    const after = yield* requests(url)
    const count = methods.reduce((sum, method) => sum + (after.get(method) ?? 0) - (before.get(method) ?? 0), 0)
    return count / countingTime
  })

const etcdMethods = ["Range", "Txn", "LeaseGrant", "LeaseKeepAlive", "Watch"]

/** Counts the requests of an idle leader, and then those of an idle candidate beside it. */
const idleOnEtcd = (url: string) =>
  Effect.scoped(Effect.gen(function*() {
    yield* startLeader(yield* newSite(url))
    const leader = yield* perSecond(url, etcdMethods)
    yield* startCandidate(yield* newSite(url))
    yield* Effect.sleep("3 seconds")
    const both = yield* perSecond(url, etcdMethods)
    return ([["leader", leader, 2], ["candidate", both - leader, 1]] as const).map(([who, rate, each]) =>
      alone({
        name: `requests of an idle ${who}, etcd, renew interval ${times.renewInterval} ms`,
        unit: "per second",
        samples: [rate],
        // A leader sends a transaction and a keepalive. Each of the two replaces its watch every 30 seconds.
        aim: { most: each * 1000 / times.renewInterval + 0.1 }
      })
    )
  }))

/**
 * The processor time of a server and its processes, in milliseconds. `schedstat` has nanoseconds. `stat` has hundredths of a second,
 * which would round the time of a hundred mostly idle processes to nothing.
 */
const processorTime = (server: Postgres.PostgresServer): number => {
  const main = readFileSync(join(server.folder, "data", "postmaster.pid"), "utf8").split("\n")[0]
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).reduce((sum, pid) => {
    try {
      const text = readFileSync(`/proc/${pid}/stat`, "utf8")
      const parent = text.slice(text.lastIndexOf(")") + 2).split(" ")[1]
      if (pid !== main && parent !== main) return sum
      return sum + Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6
    } catch {
      // The process has ended since.
      return sum
    }
  }, 0)
}

const candidates = 100
const window = 20

/** Measures what candidates cost the server, with the default times. They run in this process, each with a connection of its own. */
const crowd = (server: Postgres.PostgresServer) =>
  Effect.scoped(Effect.gen(function*() {
    const one = Effect.gen(function*() {
      const store = yield* PostgresLeaseStore.make({ url: server.url() })
      return yield* Effect.provideService(
        Leadership.make({ lease: { name: "crowd" } }),
        Leadership.LeaseStore.LeaseStore,
        store
      )
    })
    const electionOf = Effect.forkScoped(Effect.mapError(one, failed))
    yield* Effect.replicateEffect(electionOf, candidates)
    const leads = Effect.map(
      server.sql("SELECT holder_id FROM gateway_lock.lease WHERE name = 'crowd' AND renewals > 1"),
      (rows) => rows.length > 0
    )
    yield* leads.pipe(
      Effect.orElseSucceed(() => false),
      Effect.repeat(
        Schedule.intersect(
          Schedule.spaced("200 millis"),
          Schedule.recurs(300)
        ).pipe(Schedule.whileInput((isLed: boolean) => !isLed))
      )
    )
    const before = processorTime(server)
    yield* Effect.sleep(window * 1000)
    const perSecond = (processorTime(server) - before) / window
    return alone({
      name: `processor time of PostgreSQL a second, ${candidates} candidates for one lease, default times`,
      unit: "ms",
      samples: [perSecond]
    })
  })).pipe(
    // The logs of so many candidates would hide the progress.
    Logger.withMinimumLogLevel(LogLevel.None)
  )

const common = (engine: Engine, url: string, runs: number) =>
  Effect.gen(function*() {
    yield* Console.error(`measuring lease: ${engine}`)
    const released = yield* releases(engine, url, runs)
    yield* Console.error(`measuring lease: crashes, ${engine}`)
    const crashed = yield* crashes(engine, url, runs)
    yield* Console.error(`measuring lease: restarts, ${engine}`)
    return [released, crashed, ...yield* restarts(engine, url, runs)]
  })

const serverSettings = { fsync: "on", shared_preload_libraries: "pg_stat_statements" }

const onPostgres = (runs: number) =>
  Effect.gen(function*() {
    const server = yield* Effect.mapError(Postgres.startPostgres(serverSettings), engineFailed)
    yield* Effect.mapError(server.sql("CREATE EXTENSION pg_stat_statements"), engineFailed)
    const rows = yield* common("PostgreSQL", server.url(), runs)
    yield* Console.error("measuring lease: idle gateways")
    const asked = yield* idle(server)
    yield* Console.error("measuring lease: many candidates")
    return [...rows, ...asked, yield* crowd(server)]
  })

const onEtcd = (runs: number) =>
  Effect.gen(function*() {
    const { url } = yield* Effect.mapError(Etcd.start(), failed)
    const rows = yield* common("etcd", url, runs)
    yield* Console.error("measuring lease: idle gateways, etcd")
    return [...rows, ...yield* idleOnEtcd(url)]
  })

export const lease: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const measured: Array<Measured> = []
    if (Postgres.noPostgres === undefined) measured.push(...yield* Effect.scoped(onPostgres(runs)))
    if (Etcd.noEtcd === undefined) measured.push(...yield* Effect.scoped(onEtcd(runs)))
    return measured
  })
