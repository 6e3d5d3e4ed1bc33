/**
 * Reads the command line of a systemd unit that `gateway service` has installed. Pure.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as DurationText from "../internal/durationText.ts"
import { defaultStopTimeout } from "../supervisor/ServiceOptions.ts"

/**
 * What a unit runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnitCommand {
  /** The path of Node in `ExecStart`; empty if unknown. */
  readonly execPath: string
  /** The path of the program that Node runs; empty if unknown. */
  readonly scriptPath: string
  /** For a unit that runs a command by `gateway exec`. `undefined` for a unit that runs a gateway. */
  readonly exec: {
    /** How long the command may take to end after SIGTERM: the value of `--stop-timeout`, or its default. */
    readonly stopTimeout: Duration.Duration
  } | undefined
}

/** Reads the flags of `gateway exec`. They end before ` -- `, and the command follows. A value can contain spaces. */
const parseExec = (words: string): NonNullable<UnitCommand["exec"]> => {
  const [flags = ""] = words.split(" -- ", 1)
  const [, given = ""] = / --stop-timeout[ =](.*?)(?= --|$)/s.exec(flags) ?? []
  return { stopTimeout: Option.getOrElse(DurationText.parse(given), () => defaultStopTimeout) }
}

/**
 * Extracts the paths of Node and of the program from the value of `ExecStart` that `systemctl show` prints. `systemctl show` does not
 * quote spaces inside a word. The words `run --profile` or `exec --profile`, which `gateway service` always writes after the program,
 * therefore mark the end of the program's path.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseExecStart = (text: string): UnitCommand => {
  const [, execPath = "", argv = ""] = /^\{ path=(.*?) ; argv\[\]=(.*?) ; ignore_errors=/.exec(text) ?? []
  const words = argv.startsWith(`${execPath} `) ? argv.slice(execPath.length + 1) : ""
  const [, program = "", action = "", rest = ""] = /^(|.*? )(run|exec) --profile (.*)$/.exec(words) ?? []
  return { execPath, scriptPath: program.trimEnd(), exec: action === "exec" ? parseExec(rest) : undefined }
}
