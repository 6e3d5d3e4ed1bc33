/**
 * The orders of a storm's worker, and the events it reports: one line of JSON for each event. A line survives the worker's
 * death.
 */
import * as Schema from "effect/Schema"

/**
 * The lock under test. `kernel` and `record` are this project's two modes. `os-lock` is correct by construction; `none` and
 * `pid-file` are wrong by construction and test the judge.
 */
export const Contender = Schema.Literal("kernel", "record", "os-lock", "proper-lockfile", "pid-file", "none")
export type Contender = typeof Contender.Type

/**
 * Where in its turn a worker kills itself. `acquiring` and `releasing` are in the middle of that step; `any` is after a
 * random time.
 */
export const Point = Schema.Literal("acquiring", "granted", "holding", "releasing", "any")
export type Point = typeof Point.Type

export const Phase = Schema.Literal("acquiring", "holding", "releasing", "pausing")
export type Phase = typeof Phase.Type

export const Orders = Schema.Struct({
  contender: Contender,
  folder: Schema.String,
  seed: Schema.String,
  /** A worker that is not killed ends after this number of turns. */
  turns: Schema.Int,
  /** How many of a thousand turns end in death. */
  killsPerThousand: Schema.Int,
  pollMillis: Schema.Int
})
export type Orders = typeof Orders.Type

/** Two workers held the lock at one time. */
export const Violation = Schema.TaggedStruct("Violation", {
  /**
   * `refused`: the lock was granted while another worker held the witness. `overtaken`: another worker was granted the lock
   * before this one had released it.
   */
  kind: Schema.Literal("refused", "overtaken"),
  pid: Schema.Int,
  /** Milliseconds since the epoch. */
  at: Schema.Number,
  turn: Schema.Int,
  /** The token that was found in place of this worker's own: pid, turn and time of the grant. */
  other: Schema.String
})
export type Violation = typeof Violation.Type

export const Event = Schema.Union(
  Schema.TaggedStruct("Granted", { waitedMs: Schema.Number }),
  Schema.TaggedStruct("Released", {}),
  Schema.TaggedStruct("Reclaimed", { message: Schema.String }),
  /** The lock could not be acquired. This is no violation, but not expected either. */
  Schema.TaggedStruct("Failed", { reason: Schema.String }),
  /** The last line of a worker that kills itself. */
  Schema.TaggedStruct("Dying", { point: Point, phase: Phase }),
  Violation
)
export type Event = typeof Event.Type
