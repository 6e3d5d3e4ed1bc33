/**
 * Notices that the owner has changed or ended, for a gateway that waits to start. The owner is the process that listens on the
 * port or holds the lock.
 *
 * - If the owner is a gateway whose answers contain an instance id, this module watches the gateway over an open connection. This
 *   connection ends when the gateway ends.
 * - If the owner is another listener, this module probes the listener once a second, and closes the connection after each probe.
 *   An idle connection would block a single-threaded server, and some programs (such as OpenClaw) log each idle connection as a
 *   failed handshake.
 * - If the owner holds the lock without listening, this module reads the owner's record (the JSON text in the lock file), and
 *   checks whether the owner's process has ended.
 * - If the owner is a server that `gateway exec` runs, its record has a rule for its health. This module then reads the record,
 *   checks the process, and evaluates the rule. It keeps no connection to the owner's port open.
 */
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Address } from "../Address.ts"
import type { Holder, LockHeld, PortInUse } from "../GatewayLockError.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import type { PortOwners } from "../host/PortOwners.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import { configLockPath, readOwner } from "../lock/LockFile.ts"
import { ownerLiveness } from "../lock/PresentProcess.ts"
import { type Look, lookAt } from "../probe/AddressProbe.ts"
import { type Health, HealthProbe } from "../probe/HealthProbe.ts"
import { OwnerWatch } from "../probe/OwnerWatch.ts"
import * as OwnerHealth from "../ready/OwnerHealth.ts"
import { defaults } from "./RecoveryOptions.ts"

/**
 * The errors of a start that failed because another process, the owner, has the lock or the port. The next attempt to start can
 * succeed after that owner has changed or ended.
 */
export type Occupied = PortInUse | LockHeld

/**
 * The result of a wait for a change of the owner.
 *
 * - `Unchanged`: no change was seen.
 * - `Free`: nothing listens on the port, although an attempt to start was refused a moment ago.
 * - `Changed`: the owner, its phase or its health has changed, so another attempt may have another result.
 * - `Ended`: the owner has ended. `dropped` is `true` if the only evidence is that the owner closed a watch (an open connection)
 *   soon after it accepted the watch.
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

/**
 * A watch is a connection that a start holds open to the owner, because the connection ends when the owner ends. A watch that
 * lasted less than this time counts as dropped. After a dropped watch, the start does not open another watch at once.
 */
const shortestWatch = Duration.seconds(10)

/**
 * How long a start polls a listener that refused or closed a watch (an open connection). After this time, the start tries to
 * watch that listener again.
 */
const watchAgainAfter = Duration.seconds(30)

/** Whether the owner holds the lock without listening, according to the error. */
export const isSilent = (error: Occupied): error is LockHeld => error._tag === "LockHeld" && error.serving === undefined

/**
 * Whether a start can see the owner's end without another attempt to acquire the lock. It can see the end of every owner that
 * listens. For an owner that does not listen, the owner's record (the JSON text in the lock file) must be readable. The pid in
 * that record must also be valid in the PID namespace of this process.
 */
export const isObservable = (error: Occupied): boolean => !isSilent(error) || error.holder?.pidMeaning === "Alive"

/**
 * Where the owner listens, according to the error. If the error names no such address, the result is `address`, at which this
 * start is to listen.
 */
export const addressOf = (error: Occupied, address: Address): Address => {
  if (error._tag === "PortInUse") return { host: error.host, port: error.port }
  if (error.serving !== undefined) return error.serving
  const { host, port } = error.holder ?? {}
  return host !== undefined && port !== undefined && port !== 0 ? { host, port } : address
}

/**
 * Whether the answer to a probe says that the owner in `error` is healthy. The owner's record (the JSON text in the lock file)
 * names a port, but another gateway may listen on that port by now. So this function compares the instance ids of the answer and
 * the record, if both are known.
 */
export const isHealthy = (error: Occupied, answer: Health): boolean => {
  if (answer._tag !== "Healthy") return false
  const owner = error._tag === "LockHeld" ? error.holder?.instanceId : undefined
  return owner === undefined || answer.instanceId === undefined || answer.instanceId === owner
}

/**
 * Orders the answers of probes by how much each answer tells about the owner. The strongest answer, which tells the most, has
 * rank 0.
 */
const rank: Record<Health["_tag"], number> = { Healthy: 0, Unhealthy: 1, Foreign: 2, Stalled: 3, NoListener: 4 }

/**
 * Selects the strongest of the answers from all addresses that a gateway binds. A gateway binds its configured address and the
 * guard address, which is a loopback address that every gateway binds.
 */
export const strongestAnswer = (looks: ReadonlyArray<Look>): Health =>
  looks.reduce<Health>(
    (best, { answer }) => rank[answer._tag] < rank[best._tag] ? answer : best,
    { _tag: "NoListener", detail: "" }
  )

/** An owner whose record has a health rule (`ready`), such as `gateway exec`. `path` is the owner's lock file. */
interface RuledOwner {
  readonly path: string
  readonly holder: Holder
  readonly instanceId: string
}

/** The owner that the error names, if the owner's record has a health rule (`ready`). */
const ruledOwner = (error: Occupied): RuledOwner | undefined => {
  const { holder } = error
  if (holder?.ready === undefined || holder.instanceId === undefined) return undefined
  const { configPath, instanceId, stateDir } = holder
  if (error._tag === "LockHeld") return { path: error.path, holder, instanceId }
  return configPath === undefined || stateDir === undefined
    ? undefined
    : { path: configLockPath({ configPath, stateDir }), holder, instanceId }
}

/** Probes all addresses of the owner at the same time. If the owner's record has a rule for its health, evaluates that rule instead. */
export const look = (
  error: Occupied,
  address: Address
): Effect.Effect<ReadonlyArray<Look>, never, HealthProbe | OwnerHealth.Requirements> => {
  const target = addressOf(error, address)
  const ruled = ruledOwner(error)
  return ruled === undefined
    ? Effect.flatMap(HealthProbe, (health) => lookAt(health, target))
    : Effect.map(OwnerHealth.probe(ruled.path, ruled.instanceId), (answer) => [{ target, answer }])
}

const isFree = (looks: ReadonlyArray<Look>): boolean => looks.every(({ answer }) => answer._tag === "NoListener")

const hasListener = ({ answer }: Look): boolean => answer._tag !== "NoListener"

const instanceOf = (answer: Health): string | undefined => "instanceId" in answer ? answer.instanceId : undefined

/**
 * Whether the answer of every listener contains an instance id. A start holds an idle connection only to listeners whose answers
 * contain an instance id.
 */
const isWatchable = (looks: ReadonlyArray<Look>): boolean =>
  looks.filter(hasListener).every(({ answer }) => instanceOf(answer) !== undefined)

const isSame = (a: Health, b: Health): boolean => a._tag === b._tag && instanceOf(a) === instanceOf(b)

/**
 * The services that a wait for a change of the owner requires.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | OwnerWatch
  | HealthProbe
  | FileSystem
  | KernelLock
  | ProcessTable
  | PortOwners
  | ProbeTransport

/** The error that names the owner, and the settings of a wait for a change of that owner. */
export interface Wait<E = never, R = never> {
  readonly error: Occupied
  /** The address at which this start is to listen. */
  readonly address: Address
  /** Whether this start may watch the owner over an open connection. */
  readonly mayWatch: boolean
  /** Whether the last wait for this owner ended without a change. */
  readonly isSettled: boolean
  /** Called with the answer to each probe. If this function fails, the wait fails as well. */
  readonly onAnswer: (answer: Health) => Effect.Effect<void, E, R>
}

const pause = Effect.as(Effect.sleep(defaults.pollInterval), unchanged)

/**
 * The wait if nothing listens on the port although the last attempt to start was refused. The first such wait ends at once, because
 * the owner may have ended after the refusal. Each later one takes a second, because an outgoing connection may have the port, and
 * no probe can reach such a connection.
 */
const whileFree = ({ isSettled }: Pick<Wait, "isSettled">) => isSettled ? pause : Effect.succeed(free)

/**
 * Probes the owner after `firstPause` and then once a second, until an answer differs from the earlier answer of the same
 * address. The earlier answers are `first`.
 */
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
      yield* onAnswer(strongestAnswer(now))
      if (isFree(now) && !isFree(first)) return ended
      if (now.some(({ answer }, index) => !isSame(answer, first[index]?.answer ?? answer))) return changed
    }
  }).pipe(
    // A span per probe would drown out the rest of the trace.
    Effect.withTracerEnabled(false)
  )

/** Holds a connection open to each address that has a listener, until one of these connections ends. */
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

/**
 * Watches the owner over an open connection. If the owner refuses to be watched, or if `mayWatch` is `false`, this function first
 * polls the owner. If nothing has changed after the time `watchAgainAfter`, it tries to watch again.
 */
const watchOrPoll = (
  wait: Wait,
  looks: ReadonlyArray<Look>
): Effect.Effect<Change, never, Requirements> => {
  const polling = (firstPause?: Effect.Effect<unknown>): Effect.Effect<Change, never, Requirements> =>
    Effect.flatMap(
      Effect.timeoutOption(poll(wait, looks, firstPause), watchAgainAfter),
      Option.match({ onNone: () => watching, onSome: (change) => Effect.succeed(change) })
    )
  // A gateway that ends during the handshake looks like a gateway that refuses the watch. So the first probe follows a refused
  // watch without a pause, and shows whether the gateway has ended.
  const watching = Effect.catchTag(watch(looks), "NotWatchable", () => polling(Effect.void))
  return wait.mayWatch ? watching : polling()
}

/**
 * Waits for a change of a port's owner, without a timeout. While this function watches a gateway over an open connection, it does
 * not probe that gateway. If the owner's record has a health rule (`ready`), this function opens no connection, and instead reads the lock
 * file and checks the process. `looks` are the answers of the latest probe.
 */
export const awaitPort = (wait: Wait, looks: ReadonlyArray<Look>): Effect.Effect<Change, never, Requirements> => {
  if (isFree(looks)) return whileFree(wait)
  const ruled = ruledOwner(wait.error)
  if (ruled !== undefined) {
    // This process can check the owner's process only if the recorded pid is valid in this PID namespace. Otherwise only another
    // attempt to start shows whether the owner has ended, so the wait takes at most one poll interval.
    return ruled.holder.pidMeaning === "Alive" ? awaitLock(ruled) : Effect.raceFirst(awaitLock(ruled), pause)
  }
  return isWatchable(looks) ? watchOrPoll(wait, looks) : poll(wait, looks)
}

/**
 * When to read the owner's record and check the owner's process again. The first pause is 50 ms, and each later pause is longer,
 * up to the poll interval.
 */
const lookAgain = Schedule.exponential("50 millis", 1.5).pipe(Schedule.union(Schedule.spaced(defaults.pollInterval)))

/**
 * Waits, without a timeout, until the record (the JSON text in the lock file) names another instance or another phase, or until
 * the lock has no living owner.
 */
export const awaitLock = (
  { holder, path }: Pick<LockHeld, "holder" | "path">
): Effect.Effect<Change, never, Requirements> =>
  Effect.gen(function*() {
    const now = Effect.gen(function*() {
      const record = yield* readOwner(path)
      if (Option.isNone(record)) return holder === undefined ? unchanged : ended
      if (record.value.instanceId !== holder?.instanceId || record.value.phase !== holder.phase) return changed
      const hasEnded = holder.pidMeaning !== "Gone" && (yield* ownerLiveness(record.value)) === "Gone"
      return hasEnded ? ended : unchanged
    })
    return yield* now.pipe(
      Effect.filterOrFail((change) => change._tag !== "Unchanged", () => "unchanged" as const),
      Effect.retry(lookAgain)
    )
  }).pipe(
    // Unreachable: `lookAgain` has no end, so the retries never give up.
    Effect.orDie
  )

/**
 * Waits for a change of the owner or of the owner's health. Only the answer to a probe shows the health. So this function probes
 * the owner every second, even while it watches the owner over an open connection. `looks` are the answers of the latest probe.
 */
export const awaitAny = <E, R>(
  wait: Wait<E, R>,
  looks: ReadonlyArray<Look>
): Effect.Effect<Change, E, R | Requirements> => {
  const { error, mayWatch } = wait
  if (isSilent(error)) return Effect.raceFirst(awaitLock(error), poll(wait, looks))
  const ruled = ruledOwner(error)
  if (ruled !== undefined && !isFree(looks)) return Effect.raceFirst(awaitLock(ruled), poll(wait, looks))
  if (isFree(looks)) return whileFree(wait)
  return mayWatch && isWatchable(looks)
    ? Effect.raceFirst(
      poll(wait, looks),
      Effect.catchTag(watch(looks), "NotWatchable", () => Effect.as(Effect.sleep(Duration.infinity), unchanged))
    )
    : poll(wait, looks)
}
