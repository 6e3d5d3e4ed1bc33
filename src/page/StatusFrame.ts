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
import { optional } from "../internal/optional.ts"
import { StateChange } from "../lock/History.ts"
import { Phase } from "../lock/OwnerRecord.ts"

/**
 * Another gateway of this user on this host, as far as it can be told.
 *
 * @since 0.1.0
 * @category models
 */
export const Neighbour = Schema.Struct({
  /** Absent for a state directory that is no profile's. */
  profile: optional(Schema.String),
  stateDir: Schema.String,
  lockPath: Schema.String,
  configPath: optional(Schema.String),
  pid: optional(Schema.Number),
  host: optional(Schema.String),
  port: optional(Schema.Number),
  /** What `gateway status` calls it: `running`, `starting`, `draining`, `unhealthy`, `dead`, …. */
  verdict: Schema.String,
  /** When its start began, ISO 8601, UTC. */
  since: optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Neighbour = typeof Neighbour.Type

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
export const StatusFrame = Schema.Struct({
  type: Schema.Literal("status"),
  version: Schema.Literal(1),
  /** The gateway's wall clock when it wrote this, ISO 8601, UTC: for ages where the reader's clock differs. */
  now: Schema.String,
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
    /** When the start began, ISO 8601, UTC. */
    startedAt: Schema.String,
    /** Since the server was loaded, by the monotonic clock, in milliseconds. */
    uptimeMs: Schema.Number
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
    /** ISO 8601, UTC. */
    heldSince: Schema.String
  }),
  supervisor: Schema.Struct({
    /** `none`, `systemd`, `launchd`, `schtasks` or `external`. */
    kind: Schema.String,
    /** Why we think so, in words. */
    reason: optional(Schema.String)
  }),
  /** The last changes, oldest first. */
  history: Schema.Array(StateChange),
  /** Absent where nobody looks for them, and until they have been looked for. */
  neighbours: optional(Schema.Array(Neighbour))
})

/**
 * @since 0.1.0
 * @category models
 */
export type StatusFrame = typeof StatusFrame.Type
