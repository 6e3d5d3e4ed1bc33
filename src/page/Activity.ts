/**
 * What a gateway did in the last minutes: its connections, memory, event loop lag and requests, sampled at an interval. The samples
 * are kept in this process, so that a page that is opened has them at once. Their number is bounded.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Activity } from "./StatusFrame.ts"

/** The time between two samples. */
export const interval = Duration.seconds(5)

/** How many samples are kept: those of ten minutes. */
export const size = 120

/** How many times the lag of the event loop is measured for one sample. The sample has the longest one. */
const probes = 5

/** What a sample is taken of. */
export interface Sources {
  /** The number of open connections. */
  readonly connections: Effect.Effect<number>
  /** The number of requests since the start. */
  readonly requests: Effect.Effect<number>
  /** The resident memory, in bytes. */
  readonly memory: Effect.Effect<number>
}

/** The samples of one gateway. */
export interface Samples {
  /** Takes samples, and never ends. */
  readonly take: (sources: Sources) => Effect.Effect<never>
  /** `undefined` until the first sample. */
  readonly current: () => Activity | undefined
}

const push = (samples: Array<number>, sample: number): void => {
  samples.push(sample)
  if (samples.length > size) samples.shift()
}

/** Sleeps for the time of one probe, and returns by how many milliseconds the event loop was late. */
const probe = Effect.gen(function*() {
  const pause = Duration.times(interval, 1 / probes)
  const began = yield* Clock.currentTimeNanos
  yield* Effect.sleep(pause)
  const took = Number((yield* Clock.currentTimeNanos) - began) / 1e6
  return Math.max(0, took - Duration.toMillis(pause))
})

/** Makes an empty ring. */
export const make = (): Samples => {
  const connections: Array<number> = []
  const memoryBytes: Array<number> = []
  const lagMs: Array<number> = []
  const requests: Array<number> = []
  let until: DateTime.Utc | undefined
  return {
    take: (sources) =>
      Effect.gen(function*() {
        let before = yield* sources.requests
        return yield* Effect.forever(Effect.gen(function*() {
          let lag = 0
          for (let left = probes; left > 0; left -= 1) lag = Math.max(lag, yield* probe)
          const all = yield* sources.requests
          push(connections, yield* sources.connections)
          push(memoryBytes, yield* sources.memory)
          push(lagMs, Math.round(lag * 10) / 10)
          push(requests, all - before)
          before = all
          until = yield* DateTime.now
        }))
      }),
    current: () => until === undefined ? undefined : { interval, until, connections, memoryBytes, lagMs, requests }
  }
}
