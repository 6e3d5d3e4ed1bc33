/**
 * Requests per second of one server process, over kept connections with one request at a time on each.
 */
import * as Effect from "effect/Effect"
import { connect } from "node:net"
import { measure } from "../measure.ts"
import { BenchFailed, bounded, freePort, host, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { body } from "../servers/answer.ts"

const connections = 16
const seconds = 1.5

const request = `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`

/** Answers of one connection until the scope closes. */
const keepAsking = (port: number, onAnswer: () => void) =>
  Effect.acquireRelease(
    Effect.async<() => void, BenchFailed>((resume) => {
      let received = ""
      const socket = connect({ host, port, noDelay: true }, () => {
        socket.write(request)
        resume(Effect.succeed(() => socket.destroy()))
      })
      socket.setEncoding("latin1")
      socket.on("data", (text: string) => {
        received += text
        if (!received.endsWith(body)) return
        received = ""
        onAnswer()
        socket.write(request)
      })
      socket.on("error", (error) => resume(new BenchFailed({ reason: error.message })))
    }),
    (end) => Effect.sync(end)
  )

const requestsPerSecond = (port: number) =>
  Effect.gen(function*() {
    let answers = 0
    yield* Effect.replicateEffect(
      keepAsking(port, () => {
        answers += 1
      }),
      connections
    )
    const clock = yield* Effect.clock
    const began = clock.unsafeCurrentTimeNanos()
    answers = 0
    yield* Effect.sleep(`${seconds} seconds`)
    const perSecond = answers / (Number(clock.unsafeCurrentTimeNanos() - began) / 1e9)
    if (answers === 0) return yield* new BenchFailed({ reason: `no answer on port ${port}` })
    return perSecond
  })

const serving = (name: string, folder: string) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const process = yield* startNode(Program.serverArgs(name, String(port), folder))
    yield* process.said("listening").pipe(bounded(`${name} listens`))
    return port
  })

export const throughput: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const gateway = yield* serving("gateway", folder)
    const figures = [
      { name: "NodeHttpServer.layer", baseline: yield* serving("platform", folder), aim: { least: 0.97 } },
      { name: "bare node:http", baseline: yield* serving("bare", folder) }
    ]
    const rows = yield* Effect.forEach(figures, ({ aim, baseline, name }) =>
      measure({
        runs: Math.min(runs, 15),
        baseline: { name, sample: requestsPerSecond(baseline) },
        subject: { name: "Gateway.layer", sample: requestsPerSecond(gateway) },
        rows: [{
          name: `requests, ${connections} connections`,
          unit: "per second",
          read: Program.itself,
          compare: "ratio",
          ...(aim === undefined ? {} : { aim })
        }]
      }))
    return rows.flat()
  })
