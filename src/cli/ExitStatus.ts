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
  /** `EX_TEMPFAIL` of sysexits(3), as lockf(1) uses it: another process has the lock. */
  taken: 75,
  leftInControl: 78,
  /** `exec` stopped its command, because the command was not ready in time. timeout(1) uses the same status. */
  timedOut: 124,
  /** `exec` itself failed, and not the command that it runs. env(1), nohup(1) and timeout(1) use the same status. */
  wrapperFailed: 125,
  /** The command of `exec` was found, but cannot be executed. Shells use the same status. */
  notExecutable: 126,
  /** The command of `exec` was not found. Shells use the same status. */
  notFound: 127
} as const

/** The result of a command that reports a state, such as `status`. Its exit status is part of the answer. */
export class Answered extends Data.TaggedClass("Answered")<{ readonly status: number }> {}

/**
 * The result of `exec` if a signal ended its command. The program then ends itself by the same signal, so that its parent sees
 * how the command ended.
 */
export class EndedBySignal extends Data.TaggedClass("EndedBySignal")<{ readonly signal: NodeJS.Signals }> {}

/** An exit status with its meaning, for `--help` and the manual page. */
export type Description = readonly [status: number, when: string]

/** The exit statuses of every command. */
export const ofEvery: ReadonlyArray<Description> = [
  [ExitStatus.usage, "bad usage or bad configuration"],
  [ExitStatus.defect, "a bug in the program; the full cause is printed"]
]

/** The exit statuses of `run`, in addition to those that every command has. */
export const ofRun: ReadonlyArray<Description> = [
  [
    ExitStatus.ok,
    "clean shutdown by SIGTERM, SIGINT or SIGHUP; with --ensure, already running; under launchd, schtasks or external, a healthy owner stays in control"
  ],
  [ExitStatus.failure, "the gateway could not start or lost its lock"],
  [ExitStatus.leftInControl, "under systemd, a healthy owner stays in control"]
]

/** The exit statuses of `exec`, in addition to those that every command has. */
export const ofExec: ReadonlyArray<Description> = [
  [ExitStatus.taken, "the lock or the port is taken; the command was not started"],
  [ExitStatus.leftInControl, "under systemd, a healthy owner stays in control; 0 under other supervisors"],
  [ExitStatus.timedOut, "with --ready: the command was not ready in time, and was stopped"],
  [ExitStatus.wrapperFailed, "the lock cannot be used or was lost, an owner stays unhealthy, or the wrapper failed"],
  [ExitStatus.notExecutable, "the command cannot be executed"],
  [ExitStatus.notFound, "the command was not found"],
  [ExitStatus.ok, "otherwise the exit status of the command; if a signal ended it, the wrapper ends by the same signal"]
]

/** The tags of the errors that mean exit status 1, in addition to most errors of the kind `GatewayLockError`. */
const failures: ReadonlySet<string> = new Set([
  "OutputFailed",
  "ServiceFailed",
  "ExecUnavailable",
  "OwnerUnverified",
  "OwnerSupervised",
  "OwnerNotEnded"
])

const isFailure = (error: unknown): boolean =>
  hasProperty(error, "_tag") && isString(error._tag) && failures.has(error._tag)

/**
 * The exit status of `exec` if `exec` itself fails. `conflict` is the status for a lock or a port that is taken. `None` for an
 * error that has the same status in every command. Pure.
 */
export const ofExecFailure = (error: unknown, conflict: number): Option.Option<number> => {
  const tag = hasProperty(error, "_tag") ? error._tag : undefined
  switch (tag) {
    case "PortInUse":
    case "LockHeld":
      return Option.some(conflict)
    case "OwnerHealthy":
      return Option.none()
    case "NotReady":
      return Option.some(ExitStatus.timedOut)
    case "ExecUnavailable":
    case "NotifyUnknown":
    case "WatchdogFailed":
      return Option.some(ExitStatus.wrapperFailed)
    case "SpawnFailed": {
      const why = hasProperty(error, "why") ? error.why : undefined
      return Option.some(
        why === "NotFound"
          ? ExitStatus.notFound
          : why === "NotExecutable"
          ? ExitStatus.notExecutable
          : ExitStatus.wrapperFailed
      )
    }
    default:
      return isGatewayLockError(error) ? Option.some(ExitStatus.wrapperFailed) : Option.none()
  }
}

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
