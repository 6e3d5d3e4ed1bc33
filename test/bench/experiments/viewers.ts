/**
 * Measures by how much open status pages delay the answers of a gateway. A page is a client that has sent `watch`.
 */
import * as Effect from "effect/Effect"
import { measurePairs } from "../measure.ts"
import { bounded, freePort, startNode } from "../processes.ts"
import * as Program from "../program.ts"
import { asker, openPages, percentile95 } from "../webSockets.ts"

const pages = 10

/** The requests to each of both gateways. With the pauses, they take longer than a page waits for its next frame. */
const requests = 1200
const pause = "5 millis"

/**
 * Asks both gateways in turns, each time one right after the other, because a busy machine delays both alike. Returns the 95th
 * percentile of each, in milliseconds.
 */
const askBoth = (ports: readonly [number, number]) =>
  Effect.gen(function*() {
    const timed = yield* asker
    const [one, other]: [Array<number>, Array<number>] = [[], []]
    const turn = (at: number) =>
      Effect.gen(function*() {
        // Whoever is asked first after a pause waits longer.
        if (at % 2 === 0) one.push(yield* timed(ports[0]))
        other.push(yield* timed(ports[1]))
        if (at % 2 === 1) one.push(yield* timed(ports[0]))
        yield* Effect.sleep(pause)
      })
    yield* Effect.forEach(Array.from({ length: requests }, (_, at) => at), turn, { discard: true }).pipe(
      bounded(`${requests} requests`)
    )
    return [percentile95(one), percentile95(other)] as const
  })

const startGateway = Effect.gen(function*() {
  const folder = yield* Program.temporaryFolder
  const port = yield* freePort
  const process = yield* startNode(Program.gatewayArgs(folder, port))
  yield* process.said("gateway listening")
  return port
})

export const viewers: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const ports = [yield* startGateway, yield* startGateway] as const
    return yield* measurePairs({
      runs: Math.min(runs, 5),
      baseline: "no page open",
      subject: `${pages} pages open`,
      // The pages are open at one gateway, then at the other, because a process can be faster than another of the same program.
      pair: (run) =>
        Effect.scoped(Effect.gen(function*() {
          const [quiet, watched] = run % 2 === 0 ? ports : [ports[1], ports[0]]
          yield* openPages(watched, pages)
          return yield* askBoth([quiet, watched])
        })),
      rows: [
        {
          name: "95th percentile of /healthz",
          unit: "ms",
          read: Program.itself,
          compare: "ratio",
          aim: { most: 1.2 }
        }
      ]
    })
  })
