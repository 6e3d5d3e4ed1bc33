/**
 * Sends status frames to the clients that watch: those that have sent `watch` on the control socket (the gateway's own
 * WebSocket). Such a client gets the current state at once, and again after every change. It also gets a frame at
 * intervals, because some values, such as the uptime, change all the time. Without watching clients, nothing is computed.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as RcRef from "effect/RcRef"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import { fromRecord } from "../inspect/leaseFromRecord.ts"
import * as Changing from "../internal/changing.ts"
import type { HolderGateway } from "../leader/HolderText.ts"
import { LockFile } from "../lock/LockFile.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import { Lifecycle } from "../server/Lifecycle.ts"
import type { ControlProtocol, WatchingClient } from "../server/ServerSocket.ts"
import { version } from "../Version.ts"
import { encodeFrame } from "./encodeFrame.ts"
import type { Place } from "./Monitor.ts"
import { Neighbours } from "./Neighbours.ts"
import * as Observer from "./Observer.ts"
import type { Neighbour, StatusFrame } from "./StatusFrame.ts"

/**
 * Options of the status feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusFeedOptions {
  /** The name of the gateway's profile, which every frame contains. By default the frames contain none. */
  readonly profile?: string | undefined
  /** The leader while this gateway waits to lead. By default the frames contain none. */
  readonly leader?: Effect.Effect<Option.Option<HolderGateway>> | undefined
}

/**
 * The longest time between two frames. A client that receives nothing for several of these intervals has lost its
 * connection.
 *
 * @since 0.1.0
 * @category constants
 */
export const heartbeat = Duration.seconds(5)

/**
 * The longest time between two frames during a drain. A drain is the part of a shutdown in which the gateway waits until its open
 * connections end. This time is shorter than `heartbeat`, so that a client sees how the number of open connections goes down.
 */
const drainingHeartbeat = Duration.seconds(1)

/** The longest time between two frames of a leader, so that a client sees renewals of its lease. */
const leaderHeartbeat = Duration.seconds(2)

const heartbeatOf = ({ lease, phase }: StatusFrame): Duration.Duration => {
  if (phase === "draining") return drainingHeartbeat
  return lease?.state === "leader" ? leaderHeartbeat : heartbeat
}

/**
 * The minimum time between two searches for other gateways.
 *
 * @since 0.1.0
 * @category constants
 */
export const lookInterval = Duration.seconds(5)

/**
 * After a search, the pause is at least 20 times as long as the search was. A search over very many processes can be slow,
 * and without such a pause it would keep the CPU busy.
 */
const lookShare = 20

type Sighting = Option.Option<ReadonlyArray<Neighbour>>

/** Who leads. The id of its instance is not shown. */
const toLeader = ({ hostname, pid, url }: HolderGateway): NonNullable<StatusFrame["leader"]> => ({
  ...(hostname === undefined ? {} : { hostName: hostname }),
  ...(pid === undefined ? {} : { pid }),
  ...(url === undefined ? {} : { url })
})

/** Which gateway this is. `uptime` is shown in whole milliseconds. */
const instanceOf = (
  lock: LockFile["Type"],
  { configPath, host, pid, port, stateDir }: OwnerRecord,
  { profile }: StatusFeedOptions,
  place: Place,
  uptime: Duration.Duration
): StatusFrame["instance"] => ({
  instanceId: lock.instanceId,
  version,
  ...place,
  ...(profile === undefined ? {} : { profile }),
  pid,
  host,
  port,
  configPath,
  stateDir,
  startedAt: lock.startedAt,
  uptime: Duration.millis(Math.floor(Duration.toMillis(uptime)))
})

/**
 * Repeats the search for other gateways, as long as any client watches. The pauses between searches are kept even if clients come
 * and go, so that no client can make this gateway search more often.
 */
const makeSearch = Effect.gen(function*() {
  const lock = yield* LockFile
  const look = yield* Neighbours
  const seen = yield* Changing.make<Sighting>(Option.none())
  const nextAt = yield* Ref.make(0n)
  const nextIn = (pause: Duration.Duration) =>
    Effect.flatMap(Clock.currentTimeNanos, (now) => Ref.set(nextAt, now + Duration.unsafeToNanos(pause)))
  const until = Effect.zipWith(
    Ref.get(nextAt),
    Clock.currentTimeNanos,
    (next, now) => Duration.nanos(next > now ? next - now : 0n)
  )
  const search = (find: Effect.Effect<ReadonlyArray<Neighbour>>) =>
    Effect.gen(function*() {
      yield* Effect.flatMap(until, Effect.sleep)
      // If the last client leaves during the search, the next client does not begin another one at once.
      yield* nextIn(lookInterval)
      const [took, found] = yield* Effect.timed(find)
      yield* nextIn(Duration.max(lookInterval, Duration.times(took, lookShare)))
      yield* seen.update(() => Option.some(found.filter(({ lockPath }) => lockPath !== lock.path)))
    }).pipe(Effect.forever)
  // What was found for earlier clients may be wrong by now.
  const forget = Effect.whenEffect(
    seen.update(() => Option.none()),
    Effect.map(until, (pause) => Duration.equals(pause, Duration.zero))
  )
  const repeated = Option.isNone(look)
    ? Effect.void
    : Effect.zipRight(forget, Effect.forkScoped(Effect.interruptible(search(look.value))))
  return { seen: seen.current, repeated }
})

/**
 * The status feed of one gateway.
 *
 * @internal
 */
export interface Feed {
  /** Sends status frames to one client. The server runs it once for each client that watches. */
  readonly watch: ControlProtocol["watch"]
  /** Observes the gateway until the scope closes. Called once the gateway listens. */
  readonly observe: Observer.Observer["observe"]
}

/** Returns the function that puts a frame together. */
const composer = (options: StatusFeedOptions, observer: Observer.Observer) =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const lifecycle = yield* Lifecycle
    const loadedAt = yield* Clock.currentTimeNanos
    const leader = options.leader ?? Effect.succeedNone
    return (
      client: WatchingClient,
      history: StatusFrame["history"],
      neighbours: Sighting
    ): Effect.Effect<StatusFrame> =>
      Effect.gen(function*() {
        const record = yield* lock.record
        const draining = yield* lifecycle.draining
        const connections = yield* client.connections
        const reason = record.supervisorReason
        const uptime = Duration.nanos((yield* Clock.currentTimeNanos) - loadedAt)
        const leads = record.lease?.state === "standby" ? yield* leader : Option.none()
        return {
          type: "status",
          version: 1,
          now: yield* DateTime.now,
          instance: instanceOf(lock, record, options, yield* observer.place, uptime),
          phase: record.phase,
          ...(draining ? { shutdownReason: yield* lifecycle.drainBegan } : {}),
          connections,
          watching: connections - (yield* client.pending),
          lock: { path: lock.path, enforcement: lock.enforcement, heldSince: lock.heldSince },
          supervisor: { kind: record.supervisor, ...(reason === undefined ? {} : { reason }) },
          ...(record.lease === undefined ? {} : { lease: fromRecord(record.lease) }),
          ...(Option.isSome(leads) ? { leader: toLeader(leads.value) } : {}),
          history,
          ...(yield* observer.observed),
          ...(Option.isSome(neighbours) ? { neighbours: neighbours.value } : {})
        }
      })
  })

/**
 * Makes the feed. All clients share one frame: it is computed and encoded once, however many watch. Only the first frame of a client
 * is its own, because it must be current.
 *
 * @internal
 */
export const makeFeed = (
  options: StatusFeedOptions = {}
): Effect.Effect<Feed, never, LockFile | Lifecycle | Scope.Scope> =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const observer = yield* Observer.make(options.profile)
    const compose = yield* composer(options, observer)
    const search = yield* makeSearch
    // The clients are those of one server, so any of them can tell its numbers.
    const someClient = yield* Ref.make(Option.none<WatchingClient>())

    const shared = yield* RcRef.make({
      acquire: Effect.gen(function*() {
        const latest = yield* Changing.make(Option.none<string>())
        yield* search.repeated
        const computing = yield* Effect.gen(function*() {
          const history = yield* lock.history
          const around = yield* search.seen
          const client = yield* Ref.get(someClient)
          if (Option.isNone(client)) return yield* Effect.never
          const frame = yield* compose(client.value, history.value, around.value)
          yield* latest.update(() => Option.some(encodeFrame(frame)))
          yield* Effect.raceAll([history.outdated, around.outdated, Effect.sleep(heartbeatOf(frame))])
        }).pipe(Effect.forever, Effect.interruptible, Effect.forkScoped)
        return { latest, computing }
      })
    })

    const watch = (client: WatchingClient) =>
      Effect.gen(function*() {
        yield* Ref.set(someClient, Option.some(client))
        const { computing, latest } = yield* RcRef.get(shared)
        let current = yield* latest.current
        if (Option.isSome(current.value)) {
          const { value: history } = yield* lock.history
          const { value: around } = yield* search.seen
          yield* client.push(encodeFrame(yield* compose(client, history, around)))
        }
        const follow = Effect.gen(function*() {
          yield* current.outdated
          current = yield* latest.current
          if (Option.isSome(current.value)) yield* client.push(current.value.value)
        })
        // A defect of the computation ends the socket of each client.
        return yield* Effect.raceFirst(Effect.forever(follow), Fiber.join(computing))
      }).pipe(Effect.scoped)

    return { watch, observe: observer.observe }
  })

/**
 * Makes the handler that the server runs once for each client that watches. The handler sends status frames to that client, and
 * never ends by itself.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: StatusFeedOptions = {}
): Effect.Effect<ControlProtocol["watch"], never, LockFile | Lifecycle | Scope.Scope> =>
  Effect.map(makeFeed(options), ({ watch }) => watch)
