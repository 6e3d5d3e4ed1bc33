/**
 * Lets many questions share one reading.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"

/**
 * Returns an effect that gives what `read` gives. A use during a reading waits for the next reading, and all uses that wait share it.
 * So no use gets a result that may be older than the use itself.
 *
 * A reading runs in a daemon fiber, so that the interruption of one use does not end the wait of the others.
 */
export const shareReading = <A, E, R>(read: Effect.Effect<A, E, R>): Effect.Effect<Effect.Effect<A, E, R>> =>
  Effect.map(
    Effect.all([Ref.make(Option.none<Deferred.Deferred<A, E>>()), Effect.makeSemaphore(1)]),
    ([next, turn]) => {
      const reading = (result: Deferred.Deferred<A, E>) =>
        turn.withPermits(1)(Effect.zipRight(Ref.set(next, Option.none()), Effect.intoDeferred(read, result)))
      return Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const own = yield* Deferred.make<A, E>()
          const shared = yield* Ref.modify(next, (waiting) => {
            const joined = Option.getOrElse(waiting, () => own)
            return [joined, Option.some(joined)]
          })
          if (shared === own) yield* Effect.forkDaemon(reading(own))
          return yield* restore(Deferred.await(shared))
        })
      )
    }
  )
