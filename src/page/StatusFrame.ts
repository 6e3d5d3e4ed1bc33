/**
 * What a client that watches the control socket is sent: a gateway's whole state, again at every change.
 *
 *     → {"type":"watch"}
 *     ← {"type":"status","version":1,…}
 *
 * Without arguments, environment or tokens, its own or anybody's.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Phase, SupervisorKind } from "../GatewayLockError.ts"
import { Verdict } from "../inspect/StatusModel.ts"
import { milliseconds } from "../internal/milliseconds.ts"
import { optional } from "../internal/optional.ts"
import { StateChange } from "../lock/History.ts"

/**
 * Another gateway of this user on this host, as far as it can be told.
 *
 * @since 0.1.0
 * @category models
 */
export interface Neighbour extends Schema.Struct.Type<typeof neighbourFields> {}

/**
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface NeighbourEncoded extends Schema.Struct.Encoded<typeof neighbourFields> {}

const neighbourFields = {
  /** Absent for a state directory that is no profile's. */
  profile: optional(Schema.String),
  stateDir: Schema.String,
  lockPath: Schema.String,
  configPath: optional(Schema.String),
  pid: optional(Schema.Number),
  host: optional(Schema.String),
  port: optional(Schema.Number),
  /** As `gateway status` has it. */
  verdict: Verdict,
  /** When it took its lock. */
  since: optional(Schema.DateTimeUtc)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const Neighbour: Schema.Schema<Neighbour, NeighbourEncoded> = Schema.Struct(neighbourFields)

/**
 * Version 1. Readers ignore unknown keys; what they know keeps its meaning for as long as the version stays.
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
 * The same as JSON: times in ISO 8601, UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusFrameEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  type: Schema.Literal("status"),
  version: Schema.Literal(1),
  /** The gateway's wall clock when it wrote this: for ages where the reader's clock differs. */
  now: Schema.DateTimeUtc,
  instance: Schema.Struct({
    instanceId: Schema.String,
    /** Of the package. */
    version: Schema.String,
    /** Absent where the program has not said it. */
    profile: optional(Schema.String),
    pid: Schema.Number,
    host: Schema.String,
    port: Schema.Number,
    configPath: Schema.String,
    stateDir: Schema.String,
    /** When the start began. */
    startedAt: Schema.DateTimeUtc,
    /** Since the server was loaded, by the monotonic clock. As JSON, milliseconds under `uptimeMs`. */
    uptime: milliseconds("uptimeMs")
  }),
  phase: Phase,
  /** Once shutdown has begun: why. */
  shutdownReason: optional(Schema.String),
  /** Open now, with the ones that watch. */
  connections: Schema.Number,
  /** Those that watch: a shutdown waits for the others. */
  watching: Schema.Number,
  lock: Schema.Struct({
    path: Schema.String,
    /** What keeps others out: a kernel lock, or the record alone. */
    enforcement: Schema.Literal("kernel", "record"),
    heldSince: Schema.DateTimeUtc
  }),
  supervisor: Schema.Struct({
    kind: SupervisorKind,
    /** Why we think so, in words. */
    reason: optional(Schema.String)
  }),
  /** The last changes, oldest first. */
  history: Schema.Array(StateChange),
  /** Absent where nobody looks for them, and until they have been looked for. */
  neighbours: optional(Schema.Array(Neighbour))
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const StatusFrame: Schema.Schema<StatusFrame, StatusFrameEncoded> = Schema.Struct(fields)
