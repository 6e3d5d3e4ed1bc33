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
import * as Option from "effect/Option"
import * as RcRef from "effect/RcRef"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { fromRecord } from "../inspect/leaseFromRecord.ts"
import * as Changing from "../internal/changing.ts"
import { LockFile } from "../lock/LockFile.ts"
import type { OwnerRecord } from "../lock/OwnerRecord.ts"
import { Lifecycle } from "../server/Lifecycle.ts"
import type { ControlProtocol, WatchingClient } from "../server/ServerSocket.ts"
import { version } from "../Version.ts"
import { Neighbours } from "./Neighbours.ts"
import { type Neighbour, StatusFrame } from "./StatusFrame.ts"

/**
 * Options of the status feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusFeedOptions {
  /** The name of the gateway's profile, which every frame contains. By default the frames contain none. */
  readonly profile?: string | undefined
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

const encode = Schema.encodeSync(StatusFrame)

type Sighting = Option.Option<ReadonlyArray<Neighbour>>

/** Which gateway this is. `uptime` is shown in whole milliseconds. */
const instanceOf = (
  lock: LockFile["Type"],
  { configPath, host, pid, port, stateDir }: OwnerRecord,
  { profile }: StatusFeedOptions,
  uptime: Duration.Duration
): StatusFrame["instance"] => ({
  instanceId: lock.instanceId,
  version,
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
 * Makes the handler that the server runs once for each client that watches. The handler sends status frames to that client, and
 * never ends by itself.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: StatusFeedOptions = {}
): Effect.Effect<ControlProtocol["watch"], never, LockFile | Lifecycle | Scope.Scope> =>
  Effect.gen(function*() {
    const lock = yield* LockFile
    const lifecycle = yield* Lifecycle
    const look = yield* Neighbours
    const loadedAt = yield* Clock.currentTimeNanos

    // All clients that watch share one repeated search for other gateways. The search runs as long as any client watches.
    const neighbours = yield* RcRef.make({
      acquire: Effect.gen(function*() {
        const seen = yield* Changing.make<Sighting>(Option.none())
        if (Option.isSome(look)) {
          const others = Effect.map(look.value, (found) => found.filter(({ lockPath }) => lockPath !== lock.path))
          yield* Effect.timed(others).pipe(
            Effect.tap(([, found]) => seen.update(() => Option.some(found))),
            Effect.flatMap(([took]) => Effect.sleep(Duration.max(lookInterval, Duration.times(took, lookShare)))),
            Effect.forever,
            Effect.interruptible,
            Effect.forkScoped
          )
        }
        return seen
      })
    })

    const status = (
      client: WatchingClient,
      history: StatusFrame["history"],
      neighbours: Sighting
    ): Effect.Effect<StatusFrame> =>
      Effect.gen(function*() {
        const record = yield* lock.record
        const draining = yield* lifecycle.draining
        const connections = yield* client.connections
        const reason = record.supervisorReason
        return {
          type: "status",
          version: 1,
          now: yield* DateTime.now,
          instance: instanceOf(lock, record, options, Duration.nanos((yield* Clock.currentTimeNanos) - loadedAt)),
          phase: record.phase,
          ...(draining ? { shutdownReason: yield* lifecycle.drainBegan } : {}),
          connections,
          watching: connections - (yield* client.pending),
          lock: { path: lock.path, enforcement: lock.enforcement, heldSince: lock.heldSince },
          supervisor: { kind: record.supervisor, ...(reason === undefined ? {} : { reason }) },
          ...(record.lease === undefined ? {} : { lease: fromRecord(record.lease) }),
          history,
          ...(Option.isSome(neighbours) ? { neighbours: neighbours.value } : {})
        }
      })

    return (client) =>
      Effect.gen(function*() {
        const seen = yield* RcRef.get(neighbours)
        return yield* Effect.forever(Effect.gen(function*() {
          const history = yield* lock.history
          const around = yield* seen.current
          const frame = yield* status(client, history.value, around.value)
          yield* client.push(JSON.stringify(encode(frame)))
          yield* Effect.raceAll([
            history.outdated,
            around.outdated,
            Effect.sleep(heartbeatOf(frame))
          ])
        }))
      }).pipe(Effect.scoped)
  })
