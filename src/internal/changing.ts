/**
 * A value that changes. Its readers can wait for the next value.
 *
 * This module does not use `Stream`, because loading `Stream` takes time. A gateway that fails early, for example because its port
 * is in use, would load `Stream` in vain.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"

/**
 * The value at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Current<A> {
  readonly value: A
  /** Completes when the value changes. Completes at once if the value has changed since this `Current` was read. */
  readonly outdated: Effect.Effect<void>
}

export interface Changing<A> {
  readonly current: Effect.Effect<Current<A>>
  readonly update: (change: (value: A) => A) => Effect.Effect<void>
}

export const make = <A>(initial: A): Effect.Effect<Changing<A>> =>
  Effect.gen(function*() {
    const state = yield* Ref.make({ value: initial, changed: yield* Deferred.make<void>() })
    return {
      current: Effect.map(Ref.get(state), ({ changed, value }) => ({ value, outdated: Deferred.await(changed) })),
      update: (change) =>
        Effect.gen(function*() {
          const changed = yield* Deferred.make<void>()
          const before = yield* Ref.getAndUpdate(state, ({ value }) => ({ value: change(value), changed }))
          yield* Deferred.succeed(before.changed, undefined)
        }).pipe(Effect.uninterruptible)
    }
  })
