/**
 * The frame that a client receives after it sends `watch` on the control socket (a WebSocket that the gateway itself
 * answers): the whole state of the gateway. A new frame follows after every change.
 *
 *     → {"type":"watch"}
 *     ← {"type":"status","version":1,…}
 *
 * A frame never contains command line arguments, environment variables or tokens of any process.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Phase, SupervisorKind } from "../GatewayLockError.ts"
import { Lease, Verdict } from "../inspect/StatusModel.ts"
import { milliseconds } from "../internal/milliseconds.ts"
import { optional } from "../internal/optional.ts"
import { StateChange } from "../lock/History.ts"

/**
 * Another gateway of this user on this host. Unknown facts are absent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Neighbour extends Schema.Struct.Type<typeof neighbourFields> {}

/**
 * The JSON form of `Neighbour`. Times are in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface NeighbourEncoded extends Schema.Struct.Encoded<typeof neighbourFields> {}

const neighbourFields = {
  /** The name of the profile. Absent if the state directory does not belong to a profile. */
  profile: optional(Schema.String),
  stateDir: Schema.String,
  lockPath: Schema.String,
  configPath: optional(Schema.String),
  pid: optional(Schema.Number),
  host: optional(Schema.String),
  port: optional(Schema.Number),
  /** The state of this other gateway in one word, as `gateway status` would report it. */
  verdict: Verdict,
  /** When the gateway acquired its lock. */
  since: optional(Schema.DateTimeUtc)
}

/**
 * The schema of `Neighbour`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Neighbour: Schema.Schema<Neighbour, NeighbourEncoded> = Schema.Struct(neighbourFields)

/**
 * The whole state of a gateway, in version 1 of the frame. Readers must ignore unknown keys. The known keys keep their
 * meaning as long as the version stays the same.
 *
 * @example
 * import { Socket } from "@effect/platform"
 * import { Console, Effect, Option, Schema } from "effect"
 * import { StatusPage } from "gateway-lock"
 *
 * const decode = Schema.decodeOption(Schema.parseJson(StatusPage.StatusFrame.StatusFrame))
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const socket = yield* Socket.makeWebSocket("ws://127.0.0.1:18789/")
 *   const write = yield* socket.writer
 *   yield* Effect.forkScoped(write("{\"type\":\"watch\"}"))
 *   yield* socket.runRaw((frame) =>
 *     typeof frame === "string"
 *       ? Option.match(decode(frame), { onNone: () => Effect.void, onSome: ({ phase }) => Console.log(phase) })
 *       : undefined
 *   )
 * }))
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusFrame extends Schema.Struct.Type<typeof fields> {}

/**
 * The JSON form of `StatusFrame`. Times are in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusFrameEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  type: Schema.Literal("status"),
  version: Schema.Literal(1),
  /**
   * The time on the gateway's wall clock when it wrote the frame. Compute ages from this time, because the reader's clock
   * may differ.
   */
  now: Schema.DateTimeUtc,
  instance: Schema.Struct({
    instanceId: Schema.String,
    /** The version of this package (`gateway-lock`) that the gateway uses. */
    version: Schema.String,
    /** The name of the gateway's profile. Absent if the app has not set one. */
    profile: optional(Schema.String),
    pid: Schema.Number,
    host: Schema.String,
    port: Schema.Number,
    configPath: Schema.String,
    stateDir: Schema.String,
    /** When the gateway began to start, before it acquired its lock. */
    startedAt: Schema.DateTimeUtc,
    /** The time since the gateway set up its server, by the monotonic clock. In JSON: milliseconds, under `uptimeMs`. */
    uptime: milliseconds("uptimeMs")
  }),
  phase: Phase,
  /** Why the gateway shuts down. Absent until a shutdown begins. */
  shutdownReason: optional(Schema.String),
  /** The number of open connections, including those in `watching`. */
  connections: Schema.Number,
  /** The number of connections whose client has sent `watch`. A shutdown does not wait until these connections end. */
  watching: Schema.Number,
  lock: Schema.Struct({
    path: Schema.String,
    /** What excludes other holders: a kernel lock, or only the record in the lock file. */
    enforcement: Schema.Literal("kernel", "record"),
    heldSince: Schema.DateTimeUtc
  }),
  supervisor: Schema.Struct({
    kind: SupervisorKind,
    /** A text that says why the gateway assumes the supervisor in `kind`. */
    reason: optional(Schema.String)
  }),
  /** The lease by which this gateway leads, or waits to lead, the gateways of several hosts. Absent without a lease. */
  lease: optional(Lease),
  /** The most recent changes, oldest first. */
  history: Schema.Array(StateChange),
  /** The user's other gateways. Absent if the gateway does not search for them, and until the first search ends. */
  neighbours: optional(Schema.Array(Neighbour))
}

/**
 * The schema of `StatusFrame`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const StatusFrame: Schema.Schema<StatusFrame, StatusFrameEncoded> = Schema.Struct(fields)
