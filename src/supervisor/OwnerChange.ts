/**
 * Notices that the owner of a port or a lock has changed or ended.
 *
 * A gateway that names its instance is watched over an open connection. Any other listener is asked once a second, on a
 * connection that is closed each time: an idle connection stops a single-threaded server, and the released OpenClaw logs
 * each one as a failed handshake. The owner of a lock that does not listen is watched by its record and its process.
 */
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Address } from "../Address.ts"
import type { LockHeld, PortInUse } from "../GatewayLockError.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import { readOwner } from "../lock/LockFile.ts"
import { type Look, lookAt } from "../probe/AddressProbe.ts"
import { type Health, HealthProbe } from "../probe/HealthProbe.ts"
import { OwnerWatch } from "../probe/OwnerWatch.ts"
import { defaults } from "./RecoveryOptions.ts"

/** A lock or a port of another owner: the only failures that waiting can end. */
export type Occupied = PortInUse | LockHeld

/**
 * - `Unchanged`: nothing was seen.
 * - `Free`: nothing listens, though the start was refused a moment ago.
 * - `Changed`: another owner, another phase or another state: a start can find something else now.
 * - `Ended`: the owner has ended; `dropped` if all that was seen is that it ended a watch soon after accepting it.
 */
export type Change =
  | { readonly _tag: "Unchanged" }
  | { readonly _tag: "Free" }
  | { readonly _tag: "Changed" }
  | { readonly _tag: "Ended"; readonly dropped: boolean }

export const unchanged: Change = { _tag: "Unchanged" }
const free: Change = { _tag: "Free" }
const changed: Change = { _tag: "Changed" }
const ended: Change = { _tag: "Ended", dropped: false }
const dropped: Change = { _tag: "Ended", dropped: true }

/** A watch that lasted so long ended for a reason; one that ends sooner is not opened again at once. */
const shortestWatch = Duration.seconds(10)

/** How long a listener that refused a watch, or dropped one, is asked before it is watched again. */
const watchAgainAfter = Duration.seconds(30)

/** Whether the owner holds the lock without listening, as far as the error tells. */
export const isSilent = (error: Occupied): error is LockHeld => error._tag === "LockHeld" && error.serving === undefined

/**
 * Whether the end of the owner can be seen without another attempt. Not that of a silent owner in another PID namespace, or
 * without a readable record: then the lock is tried again instead.
 */
export const isObservable = (error: Occupied): boolean => !isSilent(error) || error.holder?.pidMeaning === "Alive"

/** Where the owner listens, as far as the error tells. */
export const addressOf = (error: Occupied, address: Address): Address => {
  if (error._tag === "PortInUse") return { host: error.host, port: error.port }
  if (error.serving !== undefined) return error.serving
  const { host, port } = error.holder ?? {}
  return host !== undefined && port !== undefined && port !== 0 ? { host, port } : address
}

/** Whether the answer is a healthy owner's. On the port of a lock's owner another gateway may listen by now. */
export const isHealthy = (error: Occupied, answer: Health): boolean => {
  if (answer._tag !== "Healthy") return false
  const owner = error._tag === "LockHeld" ? error.holder?.instanceId : undefined
  return owner === undefined || answer.instanceId === undefined || answer.instanceId === owner
}

const telling: Record<Health["_tag"], number> = { Healthy: 0, Unhealthy: 1, Foreign: 2, Stalled: 3, NoListener: 4 }

/** The one answer for the addresses that a gateway holds: its own, and the guard address. */
export const mostTelling = (looks: ReadonlyArray<Look>): Health =>
  looks.reduce<Health>(
    (best, { answer }) => telling[answer._tag] < telling[best._tag] ? answer : best,
    { _tag: "NoListener", detail: "" }
  )

/** Asks all the addresses of the owner, at the same time. */
export const look = (error: Occupied, address: Address): Effect.Effect<ReadonlyArray<Look>, never, HealthProbe> =>
  Effect.flatMap(HealthProbe, (health) => lookAt(health, addressOf(error, address)))

const isFree = (looks: ReadonlyArray<Look>): boolean => looks.every(({ answer }) => answer._tag === "NoListener")

const hasListener = ({ answer }: Look): boolean => answer._tag !== "NoListener"

const instanceOf = (answer: Health): string | undefined => "instanceId" in answer ? answer.instanceId : undefined

/** Whether every listener that was found names its instance. Nothing else gets an idle connection. */
const isWatchable = (looks: ReadonlyArray<Look>): boolean =>
  looks.filter(hasListener).every(({ answer }) => instanceOf(answer) !== undefined)

const isSame = (a: Health, b: Health): boolean => a._tag === b._tag && instanceOf(a) === instanceOf(b)

/**
 * What waiting for another owner needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = OwnerWatch | HealthProbe | ProcessTable | FileSystem

/** What is to be noticed, and how. */
export interface Wait<E = never, R = never> {
  readonly error: Occupied
  /** What the start would serve. */
  readonly address: Address
  /** Whether a gateway may be watched over an open connection. */
  readonly mayWatch: boolean
  /** Whether nothing changed in the wait before this one. */
  readonly isSettled: boolean
  /** Sees each answer of a poll; its failure ends the wait. */
  readonly onAnswer: (answer: Health) => Effect.Effect<void, E, R>
}

const pause = Effect.as(Effect.sleep(defaults.pollInterval), unchanged)

/**
 * For a port that looks free. The owner may have ended since the refusal: then the next attempt succeeds at once. Or the
 * port belongs to an outgoing connection, which no probe reaches: then it is tried once a second.
 */
const whileFree = ({ isSettled }: Pick<Wait, "isSettled">) => isSettled ? pause : Effect.succeed(free)

/** Asks once a second, after a first pause, until an answer differs from the first one. */
const poll = <E, R>(
  { address, error, onAnswer }: Wait<E, R>,
  first: ReadonlyArray<Look>,
  firstPause: Effect.Effect<unknown> = pause
) =>
  Effect.gen(function*() {
    let before = firstPause
    while (true) {
      yield* before
      before = pause
      const now = yield* look(error, address)
      yield* onAnswer(mostTelling(now))
      if (isFree(now) && !isFree(first)) return ended
      if (now.some(({ answer }, index) => !isSame(answer, first[index]?.answer ?? answer))) return changed
    }
  }).pipe(
    // A span a second would drown out the rest.
    Effect.withTracerEnabled(false)
  )

/** Holds a connection open to each address that has a listener, until the first of them ends. */
const watch = (looks: ReadonlyArray<Look>) =>
  Effect.gen(function*() {
    const watch = yield* OwnerWatch
    const began = yield* Clock.currentTimeNanos
    yield* looks.filter(hasListener).map(({ target }) => watch.ended(target)).reduce(
      (one, other) => Effect.raceFirst(one, other)
    )
    const lasted = Duration.nanos((yield* Clock.currentTimeNanos) - began)
    return Duration.lessThan(lasted, shortestWatch) ? dropped : ended
  })

/** While it watches, it does not ask. */
const watchOrPoll = (
  wait: Wait,
  looks: ReadonlyArray<Look>
): Effect.Effect<Change, never, OwnerWatch | HealthProbe> => {
  const polling = (firstPause?: Effect.Effect<unknown>): Effect.Effect<Change, never, OwnerWatch | HealthProbe> =>
    Effect.flatMap(
      Effect.timeoutOption(poll(wait, looks, firstPause), watchAgainAfter),
      Option.match({ onNone: () => watching, onSome: (change) => Effect.succeed(change) })
    )
  // A gateway that ends in the middle of the handshake cannot be told from one that refuses: it is asked at once.
  const watching = Effect.catchTag(watch(looks), "NotWatchable", () => polling(Effect.void))
  return wait.mayWatch ? watching : polling()
}

/**
 * Waits for a change of a port's owner, without an end. A gateway whose watch holds is not asked. `looks` is what was found
 * just before.
 */
export const awaitPort = (wait: Wait, looks: ReadonlyArray<Look>): Effect.Effect<Change, never, Requirements> => {
  if (isFree(looks)) return whileFree(wait)
  return isWatchable(looks) ? watchOrPoll(wait, looks) : poll(wait, looks)
}

/** A file and a process are looked at: cheap, and rarer the longer it lasts. */
const lookAgain = Schedule.exponential("50 millis", 1.5).pipe(Schedule.union(Schedule.spaced(defaults.pollInterval)))

/** Waits until a lock has a new record, a new phase, or no living owner any more; without an end. */
export const awaitLock = ({ holder, path }: LockHeld): Effect.Effect<Change, never, Requirements> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const now = Effect.gen(function*() {
      const record = yield* readOwner(path)
      if (Option.isNone(record)) return holder === undefined ? unchanged : ended
      if (record.value.instanceId !== holder?.instanceId || record.value.phase !== holder.phase) return changed
      const hasEnded = holder.pidMeaning !== "Gone" && (yield* table.liveness(record.value)) === "Gone"
      return hasEnded ? ended : unchanged
    })
    return yield* now.pipe(
      Effect.filterOrFail((change) => change._tag !== "Unchanged", () => "unchanged" as const),
      Effect.retry(lookAgain)
    )
  }).pipe(
    // The schedule has no end, so neither has the failing.
    Effect.orDie
  )

/**
 * Waits for a change of an owner whose health matters: it is asked every second, watched or not. `looks` is what was found
 * just before.
 */
export const awaitAny = <E, R>(
  wait: Wait<E, R>,
  looks: ReadonlyArray<Look>
): Effect.Effect<Change, E, R | Requirements> => {
  const { error, mayWatch } = wait
  if (isSilent(error)) return Effect.raceFirst(awaitLock(error), poll(wait, looks))
  if (isFree(looks)) return whileFree(wait)
  return mayWatch && isWatchable(looks)
    ? Effect.raceFirst(
      poll(wait, looks),
      Effect.catchTag(watch(looks), "NotWatchable", () => Effect.as(Effect.sleep(Duration.infinity), unchanged))
    )
    : poll(wait, looks)
}
