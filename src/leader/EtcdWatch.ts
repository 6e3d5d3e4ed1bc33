/**
 * Watches the keys of a lease, so that a candidate and a leader look as soon as they change. Only a hint: whatever is missed here is
 * found at the next look.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EtcdAnswer from "./EtcdAnswer.ts"
import type { EtcdGateway } from "./EtcdGateway.ts"
import type { StoreError } from "./LeaseStore.ts"

/**
 * How long one stream lasts. A member that is cut off sends nothing, and does not close the stream. So each stream is replaced by
 * a new one, which asks the member that answered the last request.
 */
const streamLifetime = Duration.seconds(30)

/** The pause before the next stream after one that failed. It doubles with each failure in a row, up to the lifetime of a stream. */
const shortestPause = Duration.seconds(1)

/** The keys from `key` up to and without `rangeEnd`, in base64. */
export interface KeyRange {
  readonly key: string
  readonly range_end: string
}

export interface EtcdWatch {
  /** Completes when a key in the range has changed since the last look. Starts to watch when it is first run. */
  readonly changed: Effect.Effect<void>
  /** Says that a look begins: it will show each change that is known now. */
  readonly beforeLook: Effect.Effect<void>
  /** Says that a look has shown the store as it was at this revision. */
  readonly seen: (revision: bigint) => void
}

interface State {
  readonly gateway: EtcdGateway
  readonly range: KeyRange
  /** The highest revision that a look has shown. */
  seen: bigint
  /** The highest revision of an event. */
  event: bigint
  /** From which revision the next stream begins. 0: from now on. */
  from: bigint
  isWatching: boolean
  /** How many streams have failed since the last one that was opened. */
  failures: number
  hint: Deferred.Deferred<void>
}

const wake = (state: State): Effect.Effect<void> =>
  Effect.flatMap(Deferred.make<void>(), (next) => {
    const { hint } = state
    state.hint = next
    return Effect.asVoid(Deferred.succeed(hint, undefined))
  })

const decode = Schema.decodeUnknown(EtcdAnswer.Watch)

const accept = (state: State, line: unknown): Effect.Effect<void, { readonly _tag: "Canceled" }> =>
  Effect.gen(function*() {
    const { result } = yield* Effect.mapError(decode(line), () => ({ _tag: "Canceled" as const }))
    if (result.canceled) {
      // The revision was compacted: what happened since then is unknown, so it counts as a change.
      if (result.compact_revision > 0n) {
        state.from = 0n
        state.event = state.seen + 1n
        yield* wake(state)
      } else {
        // A token that has expired is refused here, in an answer with status 200 and without a code.
        yield* state.gateway.forgetToken
      }
      return yield* Effect.fail({ _tag: "Canceled" as const })
    }
    state.failures = 0
    for (const { kv } of result.events) if (kv.mod_revision > state.event) state.event = kv.mod_revision
    if (result.header.revision >= state.from) state.from = result.header.revision + 1n
    if (state.event > state.seen) yield* wake(state)
  })

const stream = (state: State): Effect.Effect<void, StoreError | { readonly _tag: "Canceled" }> =>
  Effect.suspend(() => {
    const from = state.from > state.seen ? state.from : state.seen === 0n ? 0n : state.seen + 1n
    const create_request = { ...state.range, start_revision: `${from}` }
    return Stream.runForEach(state.gateway.lines("watch", { create_request }), (line) => accept(state, line))
  })

const pause = (state: State): Effect.Effect<void> =>
  Effect.suspend(() => {
    const length = Duration.times(shortestPause, 2 ** Math.min(state.failures, 10))
    state.failures++
    return Effect.sleep(Duration.min(length, streamLifetime))
  })

const keepWatching = (state: State): Effect.Effect<never> =>
  stream(state).pipe(
    Effect.disconnect,
    Effect.timeoutOption(streamLifetime),
    Effect.flatMap((ended) => ended._tag === "None" ? Effect.void : pause(state)),
    Effect.catchAll(() => pause(state)),
    Effect.forever
  )

const changed = (state: State, scope: Scope.Scope): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { hint } = state
    if (state.event > state.seen) return Effect.void
    const start = state.isWatching ? Effect.void : Effect.asVoid(Effect.forkIn(keepWatching(state), scope))
    state.isWatching = true
    return Effect.zipRight(start, Deferred.await(hint))
  })

/** Prepares to watch a range of keys until the scope closes. */
export const make = (
  gateway: EtcdGateway,
  range: KeyRange,
  scope: Scope.Scope
): Effect.Effect<EtcdWatch> =>
  Effect.map(Deferred.make<void>(), (hint) => {
    const state: State = { gateway, range, seen: 0n, event: 0n, from: 0n, isWatching: false, failures: 0, hint }
    const seen = (revision: bigint) => {
      if (revision > state.seen) state.seen = revision
    }
    return { changed: changed(state, scope), beforeLook: Effect.sync(() => seen(state.event)), seen }
  })
