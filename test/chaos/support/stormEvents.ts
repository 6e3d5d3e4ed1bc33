/**
 * The orders that a storm gives to a worker, and the events that the worker reports. A worker writes one line of JSON for each
 * event. A line that is written is not lost if the worker dies.
 */
import * as Schema from "effect/Schema"

/**
 * The kinds of locks that a storm can test. `kernel` and `record` are this project's lock, with kernel locks and without them.
 * `blocking` is `kernel` as the program acquires it, with calls that block.
 * `os-lock` is correct by construction. `none` and `pid-file` are wrong by construction, and show whether a storm finds violations.
 */
export const Contender = Schema.Literal(
  "kernel",
  "blocking",
  "record",
  "os-lock",
  "proper-lockfile",
  "pid-file",
  "none"
)
export type Contender = typeof Contender.Type

/**
 * The point of a turn at which the worker kills itself. In a turn, the worker acquires and releases the lock. With `acquiring` or
 * `releasing`, the worker dies while it acquires or releases the lock. With `any`, it dies after a random time, in any phase of
 * the turn.
 */
export const Point = Schema.Literal("acquiring", "granted", "holding", "releasing", "any")
export type Point = typeof Point.Type

export const Phase = Schema.Literal("acquiring", "holding", "releasing", "pausing")
export type Phase = typeof Phase.Type

export const Orders = Schema.Struct({
  contender: Contender,
  folder: Schema.String,
  seed: Schema.String,
  /** The worker ends after this number of turns, unless it dies earlier. In each turn, the worker acquires and releases the lock. */
  turns: Schema.Int,
  /** How many of a thousand turns end because the worker kills itself. */
  killsPerThousand: Schema.Int,
  pollMillis: Schema.Int
})
export type Orders = typeof Orders.Type

/**
 * Two workers held the lock under test at the same time. The witness, a second lock that each worker takes after the lock under
 * test, has shown this.
 */
export const Violation = Schema.TaggedStruct("Violation", {
  /**
   * `refused`: this worker was granted the lock under test, but could not take the witness because another worker held it.
   * `overtaken`: another worker was granted the lock under test before this worker had released it.
   */
  kind: Schema.Literal("refused", "overtaken"),
  pid: Schema.Int,
  /** Milliseconds since the epoch. */
  at: Schema.Number,
  turn: Schema.Int,
  /**
   * The token of the other worker, which this worker found in the file of the witness. Each holder writes its token there: its pid,
   * its turn and the time at which the lock under test was granted.
   */
  other: Schema.String
})
export type Violation = typeof Violation.Type

export const Event = Schema.Union(
  Schema.TaggedStruct("Granted", { waitedMs: Schema.Number }),
  Schema.TaggedStruct("Released", {}),
  Schema.TaggedStruct("Reclaimed", { message: Schema.String }),
  /**
   * The worker could not acquire the lock within its timeout, or got an error. This is not a violation, but it is not expected
   * either.
   */
  Schema.TaggedStruct("Failed", { reason: Schema.String }),
  /** The last event of a worker that kills itself. */
  Schema.TaggedStruct("Dying", { point: Point, phase: Phase }),
  Violation
)
export type Event = typeof Event.Type
