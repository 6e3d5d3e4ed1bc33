/**
 * The exit statuses of the program. Usage errors and defects have the statuses of sysexits(3). A start under systemd exits
 * with 78 if a healthy gateway already holds the lock. The unit has `RestartPreventExitStatus=78`, so systemd does not restart
 * it. The command `status` has the statuses of LSB init scripts (Linux Standard Base 5.0, "Init Script Actions").
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { hasProperty, isString } from "effect/Predicate"
import { isGatewayLockError } from "../GatewayLockError.ts"

export const ExitStatus = {
  ok: 0,
  failure: 1,
  notRunning: 3,
  otherwise: 4,
  usage: 64,
  defect: 70,
  leftInControl: 78
} as const

/** The result of a command that reports a state, such as `status`. Its exit status is part of the answer. */
export class Answered extends Data.TaggedClass("Answered")<{ readonly status: number }> {}

/** An exit status with its meaning, for `--help` and the manual page. */
export type Description = readonly [status: number, when: string]

/** The exit statuses of every command. */
export const ofEvery: ReadonlyArray<Description> = [
  [ExitStatus.usage, "bad usage or bad configuration"],
  [ExitStatus.defect, "a bug in the program; the full cause is printed"]
]

/** The exit statuses of `run`, in addition to those of `ofEvery`. */
export const ofRun: ReadonlyArray<Description> = [
  [
    ExitStatus.ok,
    "clean shutdown by SIGTERM, SIGINT or SIGHUP; with --ensure, already running; under launchd, schtasks or external, a healthy owner stays in control"
  ],
  [ExitStatus.failure, "the gateway could not start or lost its lock"],
  [ExitStatus.leftInControl, "under systemd, a healthy owner stays in control"]
]

/** The tags of the errors that end a command other than `run` with status 1. */
const failures: ReadonlySet<string> = new Set([
  "OutputFailed",
  "ServiceFailed",
  "OwnerUnverified",
  "OwnerSupervised",
  "OwnerNotEnded"
])

const isFailure = (error: unknown): boolean =>
  hasProperty(error, "_tag") && isString(error._tag) && failures.has(error._tag)

/** The status of a finished program. */
export const fromExit = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return exit.value instanceof Answered ? exit.value.status : ExitStatus.ok
  const { cause } = exit
  // A cause can contain both a failure and a defect, because a finalizer can die after the failure. The defect has precedence.
  if (Option.isSome(Cause.dieOption(cause))) return ExitStatus.defect
  const failure = Cause.failureOption(cause)
  if (Option.isNone(failure)) return ExitStatus.ok
  if (isFailure(failure.value)) return ExitStatus.failure
  if (!isGatewayLockError(failure.value)) return ExitStatus.usage
  if (failure.value._tag !== "OwnerHealthy") return ExitStatus.failure
  return failure.value.supervisor === "systemd" ? ExitStatus.leftInControl : ExitStatus.ok
}
