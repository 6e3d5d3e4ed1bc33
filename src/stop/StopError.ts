/**
 * The errors with which a stop can fail. Each error says what to type next.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { SupervisorKind } from "../GatewayLockError.ts"
import { milliseconds } from "../internal/milliseconds.ts"
import { printable } from "../internal/printable.ts"

const optionalPid = Schema.optionalWith(Schema.Number, { exact: true })
const pidOf = ({ pid }: { readonly pid?: number }): string => pid === undefined ? "" : ` (pid ${pid})`

/**
 * The stop was refused, because it could not verify that a signal to the recorded pid would end the gateway and nothing else. No
 * signal was sent, with one exception. With `force`, the stop verifies the owner again before SIGKILL. If only that second
 * verification fails, SIGTERM may have been sent already. The program exits with status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerUnverified
  extends Schema.TaggedError<OwnerUnverified>("gateway-lock/OwnerUnverified")("OwnerUnverified", {
    pid: optionalPid,
    reason: Schema.String,
    /** What to type next. */
    advice: Schema.String
  })
{
  override get message() {
    return printable(`cannot stop the gateway${pidOf(this)}: ${this.reason}; ${this.advice}`)
  }
}

/**
 * A supervisor runs the owner of the lock. If a signal ended the owner, the supervisor would restart it or record a failure. So
 * no signal was sent. The program exits with status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerSupervised
  extends Schema.TaggedError<OwnerSupervised>("gateway-lock/OwnerSupervised")("OwnerSupervised", {
    pid: Schema.Number,
    supervisor: SupervisorKind,
    /** What to type next. */
    advice: Schema.String
  })
{
  override get message() {
    return `cannot stop the gateway (pid ${this.pid}): it is managed by ${this.supervisor}; ${this.advice}`
  }
}

/**
 * The owner of the lock did not end in time. The program exits with status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class OwnerNotEnded extends Schema.TaggedError<OwnerNotEnded>("gateway-lock/OwnerNotEnded")("OwnerNotEnded", {
  pid: Schema.Number,
  /** How long the stop waited. In JSON, this is the field `timeoutMs`, in milliseconds. */
  timeout: milliseconds("timeoutMs"),
  /** Whether SIGKILL was sent. */
  killed: Schema.Boolean,
  /** What the stop was waiting for when its time ended, in words. */
  waitingFor: Schema.String,
  /** What to type next. */
  advice: Schema.String
}) {
  override get message() {
    return `the gateway (pid ${this.pid}) did not end within ${Duration.toMillis(this.timeout)}ms${
      this.killed ? " of SIGKILL" : ""
    }: ${this.waitingFor}; ${this.advice}`
  }
}

/**
 * The errors with which a stop can fail. The field `_tag` tells them apart. Each error has a field `advice`, which says what to
 * type next.
 *
 * @since 0.1.0
 * @category errors
 */
export type StopError = OwnerUnverified | OwnerSupervised | OwnerNotEnded

/**
 * Whether a value is a `StopError`.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isStopError: (u: unknown) => u is StopError = Schema.is(
  Schema.Union(OwnerUnverified, OwnerSupervised, OwnerNotEnded)
)
