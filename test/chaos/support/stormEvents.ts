/**
 * What a storm's worker is told, and what it tells: one line of JSON per event, which survives its death.
 */
import * as Schema from "effect/Schema"

/**
 * The lock under test. `kernel` and `record` are this project's two modes. `os-lock` is right by construction and
 * `none` and `pid-file` are wrong by construction: they test the judge.
 */
export const Contender = Schema.Literal("kernel", "record", "os-lock", "proper-lockfile", "pid-file", "none")
export type Contender = typeof Contender.Type

/** Where in its turn a worker kills itself. `acquiring` and `releasing` are in the middle of either; `any` is a timer. */
export const Point = Schema.Literal("acquiring", "granted", "holding", "releasing", "any")
export type Point = typeof Point.Type

export const Phase = Schema.Literal("acquiring", "holding", "releasing", "pausing")
export type Phase = typeof Phase.Type

export const Orders = Schema.Struct({
  contender: Contender,
  folder: Schema.String,
  seed: Schema.String,
  /** A worker that was not killed ends after so many turns. */
  turns: Schema.Int,
  /** How many of a thousand turns end in death, at each point. */
  killsPerThousand: Schema.Int,
  pollMillis: Schema.Int
})
export type Orders = typeof Orders.Type

/** Two had the lock at one time. */
export const Violation = Schema.TaggedStruct("Violation", {
  /** `refused`: granted while another held the witness. `overtaken`: another was granted before we had released. */
  kind: Schema.Literal("refused", "overtaken"),
  pid: Schema.Int,
  /** Milliseconds since the epoch. */
  at: Schema.Number,
  turn: Schema.Int,
  /** Whose token was found where ours belongs: pid, turn and time of its grant. */
  other: Schema.String
})
export type Violation = typeof Violation.Type

export const Event = Schema.Union(
  Schema.TaggedStruct("Granted", { waitedMs: Schema.Number }),
  Schema.TaggedStruct("Released", {}),
  Schema.TaggedStruct("Reclaimed", { message: Schema.String }),
  /** The lock could not be had: not a violation, and not expected either. */
  Schema.TaggedStruct("Failed", { reason: Schema.String }),
  /** The last line of a worker that kills itself. */
  Schema.TaggedStruct("Dying", { point: Point, phase: Phase }),
  Violation
)
export type Event = typeof Event.Type
