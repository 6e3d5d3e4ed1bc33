/**
 * More and more starts of the same gateway at one time.
 */
import * as Effect from "effect/Effect"
import * as Crowd from "../crowd.ts"
import { spread } from "../measure.ts"

/** How many start, and how often that is measured. Large crowds vary less. */
export const points = [[4, 7], [16, 5], [64, 3], [256, 1]] as const

const medians = (crowds: ReadonlyArray<Crowd.Crowd>): Crowd.Crowd => ({
  total: spread(crowds.map(({ total }) => total)).median,
  slowest: spread(crowds.map(({ slowest }) => slowest)).median
})

/** Measures each point in turns with as many times `node -e 0`. Each crowd has exactly one winner, or the measurement fails. */
export const measure = (points: ReadonlyArray<readonly [size: number, times: number]>) =>
  Effect.forEach(points, ([size, times]) =>
    Effect.map(
      Effect.replicateEffect(
        Effect.all([Effect.scoped(Crowd.nodes(size)), Effect.scoped(Crowd.gateways(size))]),
        times
      ),
      (pairs) => ({
        size,
        times,
        baseline: medians(pairs.map(([baseline]) => baseline)),
        ...medians(pairs.map(([, crowd]) => crowd))
      })
    ))
