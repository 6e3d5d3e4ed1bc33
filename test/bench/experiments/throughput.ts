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

/** Short, and many of them in turns: what a machine does beside it changes from second to second. */
const seconds = 0.1
const pairsOfRun = 12

/** Before any of them: until then, much of what is run is not compiled for speed. */
const warmUpSeconds = 3

/**
 * Of each program: two processes of one can differ by more than two programs. An odd number, so that each of them comes
 * first in its pair as often as second.
 */
const processes = 7

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

const requestsPerSecond = (port: number, seconds: number) =>
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

/** Starts a program that listens on so many ports, and asks each until what it runs is compiled for speed. */
const serving = (program: string, ports: number) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const listening = yield* Effect.replicateEffect(freePort, ports)
    const process = yield* startNode([program, ...listening.map(String), folder])
    yield* process.said("listening").pipe(bounded(`${program} listens`))
    for (const port of listening) yield* Effect.scoped(requestsPerSecond(port, warmUpSeconds))
    return listening
  })

/** For each of its ports, a sample of one process after the other. */
const servers = (name: string, ports: number) =>
  Effect.gen(function*() {
    const program = yield* Program.server(name, yield* Program.temporaryFolder)
    const listening = yield* Effect.replicateEffect(serving(program, ports), processes)
    return (which: number) => {
      let next = 0
      return Effect.suspend(() => {
        const port = listening[next++ % processes]?.[which]
        return port === undefined
          ? new BenchFailed({ reason: `${name} has no port ${which}` })
          : requestsPerSecond(port, seconds)
      })
    }
  })

export const throughput: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const [gateway, platform, bare, layers] = yield* Effect.all([
      servers("gateway", 1),
      servers("platform", 1),
      servers("bare", 1),
      servers("layers", 2)
    ])
    const figures = [
      { name: "NodeHttpServer.layer", baseline: platform(0), subject: gateway(0), aim: { least: 0.97 } },
      { name: "the same, in one process", baseline: layers(1), subject: layers(0) },
      { name: "bare node:http", baseline: bare(0), subject: gateway(0) }
    ]
    const rows = yield* Effect.forEach(figures, ({ aim, baseline, name, subject }) =>
      measure({
        runs: pairsOfRun * runs,
        baseline: { name, sample: baseline },
        subject: { name: "Gateway.layer", sample: subject },
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
