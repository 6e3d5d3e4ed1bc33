/**
 * What a gateway observes of itself for the status page, with a `Monitor`: samples of its activity, and its runs. Without a `Monitor`
 * it observes nothing.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { atMost } from "../internal/atMost.ts"
import { memoized } from "../internal/memoized.ts"
import { LockFile } from "../lock/LockFile.ts"
import { Lifecycle } from "../server/Lifecycle.ts"
import { defaultProfile } from "../settings/GatewayConfig.ts"
import { detachSpan } from "../telemetry/spans.ts"
import * as Activity from "./Activity.ts"
import { Monitor, type Monitoring, type Place } from "./Monitor.ts"
import type { RunLog } from "./RunLog.ts"
import type { StatusFrame } from "./StatusFrame.ts"

/** What the listener of a gateway knows of its clients. */
export type Served = Omit<Activity.Sources, "memory">

export interface Observer {
  /** The names of the host and of the process. */
  readonly place: Effect.Effect<Place>
  readonly observed: Effect.Effect<Pick<StatusFrame, "activity" | "commands" | "runs">>
  /** Observes until the scope closes. Called once the gateway listens. */
  readonly observe: (served: Served) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * The start of a run is written after this time, so that the work for it comes after the first answers. A run that ends before is
 * not written.
 */
const startDelay = Duration.seconds(1)

/** The time between two signs of life in the file with the runs. A crash is dated by the last one. */
const touchInterval = Duration.minutes(1)

/** How long a shutdown waits until the end of the run is written. */
const endLimit = Duration.millis(500)

const absent: Observer = {
  place: Effect.succeed({}),
  observed: Effect.succeed({}),
  observe: () => Effect.void
}

/** Writes that this gateway leads, once it does. */
const writeLeading = (lock: LockFile["Type"], { note }: RunLog) =>
  Effect.gen(function*() {
    for (;;) {
      const { outdated, value } = yield* lock.history
      if (value.some(({ kind }) => kind === "leading")) return yield* note({ kind: "leading" })
      yield* outdated
    }
  })

/** Writes that this run listens, then its signs of life and whether it leads. Never ends. */
const writeRun = (lock: LockFile["Type"], log: RunLog) =>
  Effect.gen(function*() {
    const { value } = yield* lock.history
    const { lease, pid } = yield* lock.record
    yield* log.started({ pid, ...(value.some(({ kind }) => kind === "reclaimed") ? { tookOver: true } : {}) })
    const touch = Effect.forever(Effect.zipRight(Effect.sleep(touchInterval), log.touch))
    const leading = lease === undefined ? Effect.void : writeLeading(lock, log)
    return yield* Effect.all([touch, leading], { concurrency: "unbounded", discard: true })
  })

const observeWith = ({ commands, memory, place, runLog }: Monitoring, profile: string) =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const lifecycle = yield* Lifecycle
    const samples = Activity.make()
    const log = yield* Ref.make(Option.none<RunLog>())
    // Added before the listener, so that it runs after the drain, while the lock is still held.
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        const written = yield* Ref.get(log)
        if (Option.isNone(written)) return
        const reason = (yield* lifecycle.draining) ? { reason: yield* lifecycle.drainBegan } : {}
        yield* atMost(endLimit)(written.value.note({ kind: "stopped", ...reason }))
      })
    )
    const advised = yield* memoized(
      Effect.flatMap(lock.record, ({ configPath, host, pid, port, stateDir, supervisor }) =>
        commands({ configPath, host, pid, port, stateDir, supervisor, profile }))
    )
    const begin = Effect.gen(function*() {
      yield* Effect.sleep(startDelay)
      const made = yield* runLog(lock.path, lock.instanceId)
      yield* Ref.set(log, Option.some(made))
      return yield* writeRun(lock, made)
    })
    return {
      place: yield* memoized(place),
      observed: Effect.gen(function*() {
        const activity = samples.current()
        const written = yield* Ref.get(log)
        return {
          ...(activity === undefined ? {} : { activity }),
          ...(Option.isNone(written) ? {} : { runs: yield* written.value.runs }),
          commands: yield* advised
        }
      }),
      observe: (served: Served) =>
        Effect.all([samples.take({ ...served, memory }), begin], { concurrency: "unbounded", discard: true }).pipe(
          detachSpan,
          Effect.interruptible,
          Effect.forkScoped,
          Effect.asVoid
        )
    } satisfies Observer
  })

export const make = (
  profile: string = defaultProfile
): Effect.Effect<Observer, never, LockFile | Lifecycle | Scope.Scope> =>
  Effect.flatMap(
    Monitor,
    Option.match({
      onNone: () => Effect.succeed(absent),
      onSome: (monitoring) => observeWith(monitoring, profile)
    })
  )
