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
  /** The reason for the verdict, in one line. */
  reason: optional(Schema.String),
  /** When the gateway acquired its lock. */
  since: optional(Schema.DateTimeUtc),
  /** The lease by which the gateway leads, or waits to lead. */
  lease: optional(Lease),
  /** The command line that shows more about this gateway, for the shell of its platform. */
  look: optional(Schema.String)
}

/**
 * The schema of `Neighbour`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Neighbour: Schema.Schema<Neighbour, NeighbourEncoded> = Schema.Struct(neighbourFields)

/**
 * What a gateway did in the last ten minutes. Each list has one number a sample, the latest last. All lists have the same length.
 *
 * @since 0.1.0
 * @category models
 */
export interface Activity extends Schema.Struct.Type<typeof activityFields> {}

const samples = Schema.Array(Schema.Number)
const activityFields = {
  /** The time between two samples. In JSON: milliseconds, under `intervalMs`. */
  interval: milliseconds("intervalMs"),
  /** When the latest sample was taken. */
  until: Schema.DateTimeUtc,
  /** The number of open connections. */
  connections: samples,
  /** The resident memory of the process. */
  memoryBytes: samples,
  /** The longest time by which the event loop was late, in milliseconds. */
  lagMs: samples,
  /** The number of requests since the sample before. WebSockets do not count. */
  requests: samples
}

/**
 * A run of a gateway: the time in which one process listened.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run extends Schema.Struct.Type<typeof runFields> {}

const runFields = {
  /** When the gateway listened. */
  startedAt: Schema.DateTimeUtc,
  /** When the run ended. For a crash, when it was seen last, to the minute. Absent for the present run, and if it is unknown. */
  endedAt: optional(Schema.DateTimeUtc),
  /** `stopped`: it ended in order. `crashed`: it did not. `running`: it is the present run. */
  ending: Schema.Literal("running", "stopped", "crashed"),
  /** Whether it took over a lock that its owner had not released. */
  tookOver: optional(Schema.Boolean),
  /** When it began to lead the gateways of several hosts. */
  ledAt: optional(Schema.DateTimeUtc),
  /** Why it stopped. */
  reason: optional(Schema.String),
  pid: optional(Schema.Number)
}

/**
 * A command line that a user of the gateway's host may need, for the shell of its platform.
 *
 * @since 0.1.0
 * @category models
 */
export interface Command extends Schema.Struct.Type<typeof commandFields> {}

const commandFields = {
  purpose: Schema.Literal("restart", "stop", "logs", "status", "check"),
  command: Schema.String
}

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
    /** The name of the host. Absent, as each key here that is optional, if the gateway does not show it. */
    hostName: optional(Schema.String),
    /** The name of the user that the gateway runs as. */
    user: optional(Schema.String),
    /** The version of Node, such as `v20.20.2`. */
    nodeVersion: optional(Schema.String),
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
  /** The leader, by its own description, while this gateway waits to lead. Absent if there is none, and until that is known. */
  leader: optional(Schema.Struct({
    hostName: optional(Schema.String),
    /** The URL of its control socket. */
    url: optional(Schema.String),
    pid: optional(Schema.Number)
  })),
  /** The most recent changes, oldest first. */
  history: Schema.Array(StateChange),
  /** Absent without `Monitor`, and until the first sample. */
  activity: optional(Schema.Struct(activityFields)),
  /** The latest runs of this gateway, oldest first, with the present one. Absent without `Monitor`. */
  runs: optional(Schema.Array(Schema.Struct(runFields))),
  /** The commands for this gateway. Absent without `Monitor`. */
  commands: optional(Schema.Array(Schema.Struct(commandFields))),
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
