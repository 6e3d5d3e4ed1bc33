/**
 * Measures the requests per second of a server process. The client keeps its connections open, and has one request at a time on
 * each connection.
 *
 * The compared servers run at the same time, and the client sends requests to each of them in short turns. The turns are short
 * because the load of a machine changes within tenths of a second.
 */
import * as Effect from "effect/Effect"
import { connect, type Socket } from "node:net"
import { type Aim, measurePairs } from "../measure.ts"
import { BenchFailed, bounded, freePort, host, millis, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { body } from "../servers/answer.ts"

const connections = 16

/**
 * The number of requests in one turn. A turn is a short time in which one process gets all requests; it takes about ten
 * milliseconds.
 */
const requestsOfTurn = 128

/** The number of turns that each process gets in one sample. */
const turns = 3

/**
 * The number of turns that each process gets before the measured ones. With fewer turns, much of the server's code is not yet
 * optimized by V8. The number is high because a process loses some of the optimized code while it waits for its turn.
 */
const warmUpTurns = 150

/**
 * The number of processes of each server program. Two processes of the same program can differ in speed by a few percent
 * during their whole lives, so one process is not enough.
 */
const processes = 7

const request = `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`

const connectTo = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Socket, BenchFailed>((resume) => {
      const socket = connect({ host, port, noDelay: true }, () => resume(Effect.succeed(socket)))
      socket.once("error", (error) => resume(new BenchFailed({ reason: error.message })))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Sends a number of requests and returns the time that they took, in milliseconds. All calls use the same connections. */
type Client = (requests: number) => Effect.Effect<number, BenchFailed>

const client = (port: number) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const sockets = yield* Effect.replicateEffect(connectTo(port), connections)
    const between: (end: Effect.Effect<void, BenchFailed>) => void = () => {}
    const turn = { unsent: 0, unanswered: 0, end: between }
    const ask = (socket: Socket) => {
      if (turn.unsent === 0) return
      turn.unsent -= 1
      socket.write(request)
    }
    let closed = 0
    for (const socket of sockets) {
      let received = ""
      socket.setEncoding("latin1")
      socket.on("data", (text: string) => {
        received += text
        if (!received.endsWith(body)) return
        received = ""
        turn.unanswered -= 1
        if (turn.unanswered === 0) turn.end(Effect.void)
        else ask(socket)
      })
      const fail = (what: string) => turn.end(new BenchFailed({ reason: `port ${port}: ${what}` }))
      socket.on("error", ({ message }) => fail(message))
      socket.on("close", () => {
        closed += 1
        fail("a connection was closed")
      })
    }
    const client: Client = (requests) =>
      Effect.async<number, BenchFailed>((resume) => {
        // A server closes a connection that is idle for some seconds, which happens between turns only if the machine is overloaded.
        if (closed > 0) {
          return resume(new BenchFailed({ reason: `port ${port}: a connection was closed between turns` }))
        }
        const began = clock.unsafeCurrentTimeNanos()
        turn.unsent = requests
        turn.unanswered = requests
        turn.end = (end) => resume(Effect.map(end, () => millis(began, clock.unsafeCurrentTimeNanos())))
        sockets.forEach(ask)
      }).pipe(bounded(`${requests} answers on port ${port}`))
    return client
  })

/** Starts a server program that listens on a number of free ports. Returns the ports. */
const serving = (program: string, ports: number) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const listening = yield* Effect.replicateEffect(freePort, ports)
    const process = yield* startNode([program, ...listening.map(String), folder])
    yield* process.said("listening").pipe(bounded(`${program} listens`))
    return listening
  })

/**
 * Starts several processes of one server program. Each process has the same listeners, on ports of its own. The result is a
 * function: it takes the index of a listener, and returns the ports of this listener, one for each process.
 */
const servers = (name: string, ports: number) =>
  Effect.gen(function*() {
    const program = yield* Program.server(name, yield* Program.temporaryFolder)
    const each = yield* Effect.replicateEffect(serving(program, ports), processes)
    return (which: number) => each.flatMap((listening) => listening.slice(which, which + 1))
  })

interface Figure {
  readonly baseline: { readonly name: string; readonly ports: ReadonlyArray<number> }
  readonly subject: ReadonlyArray<number>
  /** The number of samples of each side (baseline and subject) with `--runs 1`. With `--runs N`, each side has N times as many. */
  readonly samples: number
  readonly aim?: Aim
}

/**
 * Compares two servers, the baseline and the subject (the two sides). One sample of a side is the rate of all processes of this
 * side together. The two sides get their turns alternately.
 */
const compared = (runs: number, { aim, baseline, samples, subject }: Figure) =>
  Effect.gen(function*() {
    const sides = yield* Effect.forEach([baseline.ports, subject], (ports) => Effect.forEach(ports, client))
    for (let turn = 0; turn < warmUpTurns; turn += 1) {
      for (const ask of sides.flat()) yield* ask(requestsOfTurn)
    }
    const pair = Effect.gen(function*() {
      const spent = [0, 0]
      for (let turn = 0; turn < turns * processes; turn += 1) {
        // Each side goes first in every second turn. Otherwise one side would always go second, when the processor is warmer.
        for (const which of turn % 2 === 0 ? [0, 1] : [1, 0]) {
          const ask = sides[which]?.[turn % processes]
          if (ask === undefined) return yield* new BenchFailed({ reason: `${baseline.name}: too few processes` })
          spent[which] = (spent[which] ?? 0) + (yield* ask(requestsOfTurn))
        }
      }
      const perSecond = (millis = 0) => turns * processes * requestsOfTurn / millis * 1000
      return [perSecond(spent[0]), perSecond(spent[1])] as const
    })
    return yield* measurePairs({
      runs: samples * runs,
      baseline: baseline.name,
      subject: "Gateway.layer",
      pair: () => pair,
      rows: [{
        name: `requests, ${connections} connections`,
        unit: "per second",
        read: Program.itself,
        compare: "ratio",
        ...(aim === undefined ? {} : { aim })
      }]
    })
  }).pipe(Effect.scoped)

export const throughput: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const [gateway, platform, bare, layers] = yield* Effect.all([
      servers("gateway", 1),
      servers("platform", 1),
      servers("bare", 1),
      servers("layers", 2)
    ])
    const figures: ReadonlyArray<Figure> = [
      {
        baseline: { name: "NodeHttpServer.layer in one process with it", ports: layers(1) },
        subject: layers(0),
        samples: 6,
        aim: { least: 0.98 }
      },
      {
        baseline: { name: "NodeHttpServer.layer in processes of its own", ports: platform(0) },
        subject: gateway(0),
        samples: 3
      },
      { baseline: { name: "bare node:http", ports: bare(0) }, subject: gateway(0), samples: 1 }
    ]
    return (yield* Effect.forEach(figures, (figure) => compared(runs, figure))).flat()
  })
