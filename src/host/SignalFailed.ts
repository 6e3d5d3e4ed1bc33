/**
 * The error of a signal that could not be sent.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The signal could not be sent. `why` gives the reason:
 *
 * - `Gone`: the process has ended. Another process may have its pid now.
 * - `NotPermitted`: the process belongs to another user (`EPERM` of kill(2)).
 * - `Failed`: the system gave another reason.
 *
 * @since 0.1.0
 * @category errors
 */
export class SignalFailed extends Schema.TaggedError<SignalFailed>("gateway-lock/SignalFailed")("SignalFailed", {
  pid: Schema.Number,
  why: Schema.Literal("Gone", "NotPermitted", "Failed"),
  reason: Schema.String
}) {
  override get message() {
    return `cannot signal pid ${this.pid}: ${this.reason}`
  }
}
