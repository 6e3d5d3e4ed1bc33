/**
 * Measures how soon a server process answers, how much memory it takes, and how soon it ends after SIGTERM.
 */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { measure } from "../measure.ts"
import { expectEnd, firstAnswer, freePort, host, millis, residentMiB, startNode } from "../processes.ts"
import * as Program from "../program.ts"

/**
 * The baseline: a minimal server that gives the same answer as the gateway's health endpoint. It has no signal handler, so
 * SIGTERM ends it at once.
 */
const bareScript = `import { createServer } from "node:http"
const body = JSON.stringify({ ok: true, status: "live", instanceId: "00000000-0000-4000-8000-000000000000" })
const headers = { "content-type": "application/json", "cache-control": "no-store" }
createServer((_, response) => response.writeHead(200, headers).end(body)).listen(Number(process.argv[2]), "${host}")
`

/** Starts a server, waits for its first answer, lets it idle, sends SIGTERM, and waits for its end. */
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

export const serving: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const script = join(folder, "bare.mjs")
    yield* Program.writeFile(script, bareScript)
    return yield* measure({
      runs,
      baseline: { name: "bare script", sample: lifeOfServer((port) => [script, String(port)], "SIGTERM") },
      subject: { name: "gateway", sample: lifeOfServer((port) => Program.gatewayArgs(folder, port), 0) },
      rows: [
        { name: "start to first 200", unit: "ms", read: (life) => life.start, compare: "ratio", aim: { most: 2.2 } },
        {
          name: "SIGTERM to exit, idle",
          unit: "ms",
          read: (life) => life.stop,
          compare: "difference",
          aim: { most: 50 }
        },
        { name: "resident memory", unit: "MiB", read: (life) => life.memory, compare: "ratio", aim: { most: 1.3 } }
      ]
    })
  })
