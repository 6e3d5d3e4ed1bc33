/**
 * What is measured. A new figure is one more row where its samples are taken already, else one more experiment.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { measure, type Measured, percentile95 } from "./measure.ts"
import {
  BenchFailed,
  bounded,
  expectEnd,
  firstAnswer,
  freePort,
  host,
  millis,
  residentMiB,
  startNode
} from "./processes.ts"

export type Experiment = (
  runs: number
) => Effect.Effect<ReadonlyArray<Measured>, BenchFailed, FileSystem.FileSystem | Scope.Scope>

const program = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

const gatewayArgs = (folder: string, port: number): ReadonlyArray<string> =>
  [program, "run", "--host", host, "--port", String(port)]
    .concat("--config", join(folder, "gateway.json"), "--state-dir", join(folder, "state"))

/** As little as answers what the gateway answers. No signal handler: SIGTERM ends it there and then. */
const bareScript = `import { createServer } from "node:http"
const body = JSON.stringify({ ok: true, status: "live", instanceId: "00000000-0000-4000-8000-000000000000" })
const headers = { "content-type": "application/json", "cache-control": "no-store" }
createServer((_, response) => response.writeHead(200, headers).end(body)).listen(Number(process.argv[2]), "${host}")
`

const failed = (error: { readonly message: string }) => new BenchFailed({ reason: error.message })

const temporaryFolder = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => fs.makeTempDirectoryScoped({ prefix: "gateway-lock-bench-" })
).pipe(Effect.mapError(failed), bounded("a temporary folder"))

/** From start to end, in milliseconds. */
const lifeOf = (args: ReadonlyArray<string>, status: number, output?: string) =>
  Effect.gen(function*() {
    const process = yield* startNode(args)
    const { at } = yield* expectEnd(process, status, output)
    return millis(process.startedAt, at)
  })

const nodeAlone = { name: "node -e 0", sample: lifeOf(["-e", "0"], 0) }
const itself = (sample: number) => sample

/** A second start, refused by the port or by the lock. */
const refusedStart: Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const port = yield* freePort
    const owner = yield* startNode(gatewayArgs(folder, port))
    yield* firstAnswer(owner, port)

    const inUse = `GatewayLockError: another gateway instance is already listening on ws://${host}:${port}`
    const byPort = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: { name: "PortInUse", sample: lifeOf(gatewayArgs(folder, port), 1, inUse) },
      rows: [{ name: "refused start: PortInUse", unit: "ms", read: itself, compare: "ratio", aim: 2.5 }]
    })

    const held = `GatewayLockError: gateway already running (pid ${owner.pid}) on ws://${host}:${port}`
    const elsewhere = Effect.flatMap(freePort, (other) => lifeOf(gatewayArgs(folder, other), 1, held))
    const byLock = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: { name: "LockHeld", sample: elsewhere },
      rows: [{ name: "refused start: LockHeld", unit: "ms", read: itself, compare: "ratio", aim: 2.5 }]
    })
    const left = "existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop"
    const supervised = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: {
        name: "OwnerHealthy",
        sample: lifeOf([...gatewayArgs(folder, port), "--supervisor", "systemd"], 78, left)
      },
      rows: [{ name: "duplicate under systemd: exit 78", unit: "ms", read: itself, compare: "ratio", aim: 3 }]
    })
    return [...byPort, ...byLock, ...supervised]
  })

/** One life of a server: it starts, answers, idles, and is asked to end. */
const lifeOfServer = (argsFor: (port: number) => ReadonlyArray<string>, endsBy: number | NodeJS.Signals) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const process = yield* startNode(argsFor(port))
    const answeredAt = yield* firstAnswer(process, port)
    const memory = yield* residentMiB(process)
    yield* Effect.sleep("100 millis")
    const clock = yield* Effect.clock
    const askedAt = clock.unsafeCurrentTimeNanos()
    process.kill("SIGTERM")
    const { at } = yield* expectEnd(process, endsBy)
    return { start: millis(process.startedAt, answeredAt), memory, stop: millis(askedAt, at) }
  })

const serving: Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const script = join(folder, "bare.mjs")
    const fs = yield* FileSystem.FileSystem
    yield* fs.writeFileString(script, bareScript).pipe(Effect.mapError(failed), bounded("writing the bare script"))
    return yield* measure({
      runs,
      baseline: { name: "bare script", sample: lifeOfServer((port) => [script, String(port)], "SIGTERM") },
      subject: { name: "gateway", sample: lifeOfServer((port) => gatewayArgs(folder, port), 0) },
      rows: [
        { name: "start to first 200", unit: "ms", read: (life) => life.start, compare: "ratio", aim: 2.2 },
        { name: "SIGTERM to exit, idle", unit: "ms", read: (life) => life.stop, compare: "difference", aim: 50 },
        { name: "resident memory", unit: "MiB", read: (life) => life.memory, compare: "ratio", aim: 1.8 }
      ]
    })
  })

const standbys = 3
const takeovers = 50

/** The owner is killed with three standbys waiting: how long until the port answers again. */
const takeover: Experiment = () =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const port = yield* freePort
    const clock = yield* Effect.clock
    const start = (...flags: ReadonlyArray<string>) => startNode([...gatewayArgs(folder, port), ...flags])
    const standby = Effect.tap(start("--standby"), (process) => process.said("standing by"))

    const cold: Array<number> = []
    const samples: Array<number> = []
    let owner = yield* start()
    cold.push(millis(owner.startedAt, yield* firstAnswer(owner, port)))
    let waiting = yield* Effect.replicateEffect(standby, standbys)
    for (let round = 0; round < takeovers; round += 1) {
      const killedAt = clock.unsafeCurrentTimeNanos()
      owner.kill("SIGKILL")
      const next = yield* Effect.raceAll(
        waiting.map((process) => Effect.as(process.said("gateway listening"), process))
      ).pipe(
        Effect.zip(Effect.flatMap(firstOf(waiting), (process) => firstAnswer(process, port)), { concurrent: true })
      )
      samples.push(millis(killedAt, next[1]))
      owner = next[0]
      waiting = [...waiting.filter((process) => process !== owner), yield* standby]
    }
    return [percentile95({
      name: `takeover after SIGKILL, ${standbys} standbys`,
      baseline: { name: "cold start to first 200", samples: cold },
      subject: { name: `${takeovers} takeovers`, samples },
      aim: 100
    })]
  })

const firstOf = <A>(list: ReadonlyArray<A>): Effect.Effect<A, BenchFailed> => {
  const [first] = list
  return first === undefined ? new BenchFailed({ reason: "nobody waits" }) : Effect.succeed(first)
}

const version: Experiment = (runs) =>
  measure({
    runs,
    baseline: nodeAlone,
    subject: { name: "--version", sample: lifeOf([program, "--version"], 0, "gateway ") },
    rows: [{ name: "--version", unit: "ms", read: itself, compare: "ratio" }]
  })

export const experiments: ReadonlyArray<Experiment> = [refusedStart, serving, takeover, version]
