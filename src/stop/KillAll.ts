/**
 * Kills a group of processes, such as a process with all its descendants, while these processes may start further processes.
 *
 *     search → suspend each new process (SIGSTOP) → search again, until a search finds no new process
 *       → kill all of them (SIGKILL) → search again, until a search finds no new process
 *
 * A process that was killed right after it started a child would leave a child that has another parent now, so that no search would
 * find it. A suspended process starts no child. So no process is killed before a search has found nothing new.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ProcessIdentity } from "../host/ProcessIdentity.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { type Signal, type SignalFailed, Signals } from "../host/Signals.ts"

/** The largest number of searches. The limit bounds a stop of processes that start others faster than they are suspended. */
const maxSearches = 50

/**
 * The pause before a search that confirms that there is no new process. SIGSTOP first reaches one thread of a process, and the
 * others a moment later. Until then, the others can start a child.
 */
const confirmDelay = Duration.millis(10)

const keyOf = ({ pid, startTime }: ProcessIdentity): string => `${pid}:${startTime ?? ""}`

/** These processes, as far as they are alive, and all their descendants. Each process comes after its parent. */
export const familyOf = (
  processes: ReadonlyArray<ProcessIdentity>
): Effect.Effect<ReadonlyArray<ProcessIdentity>, never, ProcessTable> =>
  Effect.gen(function*() {
    const { liveness, tree } = yield* ProcessTable
    // If one of the processes has ended, another process may have its pid now. So its pid is not looked up.
    const alive = yield* Effect.filter(processes, (process) => Effect.map(liveness(process), (is) => is === "Alive"))
    return alive.length === 0 ? [] : yield* tree(alive.map(({ pid }) => pid))
  })

/**
 * Suspends and kills all processes that `find` returns. `find` gets the processes that were found before. It is called until it
 * returns no other process than these, at most 50 times.
 *
 * Succeeds with the killed processes. If the system refuses a signal to one of them, the others are killed all the same, and the
 * effect then fails with the first refusal. Cannot be interrupted, because an interruption would leave processes suspended.
 */
export const killAll = <R>(
  find: (found: ReadonlyArray<ProcessIdentity>) => Effect.Effect<ReadonlyArray<ProcessIdentity>, never, R>
): Effect.Effect<ReadonlyArray<ProcessIdentity>, SignalFailed, R | Signals> =>
  Effect.gen(function*() {
    const { send } = yield* Signals
    const found = new Map<string, ProcessIdentity>()
    /** The keys of the processes that are to get no further SIGKILL. */
    const done = new Set<string>()
    const killed: Array<ProcessIdentity> = []
    const refused: Array<SignalFailed> = []
    const signal = (process: ProcessIdentity, what: Signal, onSent: () => void) =>
      Effect.matchEffect(send(process, what), {
        onSuccess: () => Effect.sync(onSent),
        onFailure: (error) => Effect.sync(() => error.why === "Gone" || refused.push(error))
      })
    /** Kills the processes that were found since the last call. Returns whether there was one. */
    const kill = Effect.gen(function*() {
      const left = [...found].filter(([key]) => !done.has(key))
      for (const [key, process] of left) {
        done.add(key)
        yield* signal(process, "SIGKILL", () => killed.push(process))
      }
      return left.length > 0
    })
    let isConfirmed = false
    for (let search = 1; search < maxSearches; search++) {
      const fresh = (yield* find([...found.values()])).filter((process) => !found.has(keyOf(process)))
      if (fresh.length > 0) {
        isConfirmed = false
        for (const process of fresh) {
          found.set(keyOf(process), process)
          yield* signal(process, "SIGSTOP", () => {})
        }
      } else if (isConfirmed || found.size === 0) {
        if (!(yield* kill)) break
      } else {
        isConfirmed = true
        yield* Effect.sleep(confirmDelay)
      }
    }
    yield* kill
    const [first] = refused
    return first === undefined ? killed : yield* first
  }).pipe(Effect.uninterruptible)
