/**
 * The error of a signal that could not be sent.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

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
export class SignalFailed extends Data.TaggedError("SignalFailed")<{
  readonly pid: number
  readonly why: "Gone" | "NotPermitted" | "Failed"
  readonly reason: string
}> {
  override get message() {
    return `cannot signal pid ${this.pid}: ${this.reason}`
  }
}
