/**
 * Requests per second of one server process, over kept connections with one request at a time on each.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import { connect } from "node:net"
import { measure } from "../measure.ts"
import { BenchFailed, bounded, freePort, host, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { body } from "../servers/answer.ts"

const connections = 16

/** Short, and many of them in turns: what a machine does beside it changes from second to second. */
const seconds = 0.3
const pairsOfRun = 4

/** Of each server: two processes of the same program can differ by more than two programs. */
const processes = 3

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

const serving = (program: string) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const port = yield* freePort
    const process = yield* startNode([program, String(port), folder])
    yield* process.said("listening").pipe(bounded(`${program} listens`))
    return requestsPerSecond(port)
  })

/** A sample of one process after the other. */
const servers = (name: string) =>
  Effect.gen(function*() {
    const program = yield* Program.server(name, yield* Program.temporaryFolder)
    const samples = yield* Effect.replicateEffect(serving(program), processes)
    const next = yield* Ref.make(0)
    return Effect.flatMap(
      Ref.getAndUpdate(next, (index) => (index + 1) % processes),
      (index) => samples[index] ?? new BenchFailed({ reason: `${name} has no process ${index}` })
    )
  })

export const throughput: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const gateway = yield* servers("gateway")
    const figures = [
      { name: "NodeHttpServer.layer", baseline: yield* servers("platform"), aim: { least: 0.97 } },
      { name: "bare node:http", baseline: yield* servers("bare") }
    ]
    const rows = yield* Effect.forEach(figures, ({ aim, baseline, name }) =>
      measure({
        runs: pairsOfRun * runs,
        baseline: { name, sample: baseline },
        subject: { name: "Gateway.layer", sample: gateway },
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
