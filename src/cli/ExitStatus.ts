/**
 * The exit statuses: sysexits(3) for usage and software errors, 78 for the one that systemd must not restart, and for
 * `status` those of LSB init scripts (Linux Standard Base 5.0, "Init Script Actions").
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

/** What a command ends with that has answered: its exit status is part of the answer. */
export class Answered extends Data.TaggedClass("Answered")<{ readonly status: number }> {}

/** For `--help` and the man page. */
export type Description = readonly [status: number, when: string]

/** What every command can end with. */
export const ofEvery: ReadonlyArray<Description> = [
  [ExitStatus.usage, "bad usage or bad configuration"],
  [ExitStatus.defect, "a bug; its cause is printed whole"]
]

/** What else `run` ends with. */
export const ofRun: ReadonlyArray<Description> = [
  [
    ExitStatus.ok,
    "clean shutdown by SIGTERM, SIGINT or SIGHUP; with --ensure, it runs already; a healthy gateway keeps control under launchd, schtasks or external"
  ],
  [ExitStatus.failure, "the gateway could not start or lost its lock"],
  [ExitStatus.leftInControl, "a healthy gateway runs already under systemd, and keeps control"]
]

/** Failures of the other commands. */
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
  // A bug first: it may have happened while a failure was being cleaned up after.
  if (Option.isSome(Cause.dieOption(cause))) return ExitStatus.defect
  const failure = Cause.failureOption(cause)
  if (Option.isNone(failure)) return ExitStatus.ok
  if (isFailure(failure.value)) return ExitStatus.failure
  if (!isGatewayLockError(failure.value)) return ExitStatus.usage
  if (failure.value._tag !== "OwnerHealthy") return ExitStatus.failure
  return failure.value.supervisor === "systemd" ? ExitStatus.leftInControl : ExitStatus.ok
}
