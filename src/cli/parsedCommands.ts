/**
 * The parsed command lines that several modules share.
 */

/**
 * The command line of `gateway exec`, or the part of another command line that is for `exec`. The last four fields contain the text
 * that the user typed, which is parsed later.
 */
export interface ExecCommandLine {
  readonly _tag: "Exec"
  readonly flags: ReadonlyMap<string, string>
  /** The flags that only `exec` has, as typed, in the order of the table `commands`. */
  readonly ownFlags: ReadonlyArray<string>
  /** The command to run: a program and its arguments. */
  readonly words: readonly [program: string, ...args: ReadonlyArray<string>]
  readonly standby: boolean
  readonly ensure: boolean
  readonly force: boolean
  readonly hasPort: boolean
  /** Whether `exec` binds the port itself, and passes the listening socket to the command. */
  readonly listens: boolean
  readonly toGroup: boolean
  readonly inheritsLock: boolean
  readonly diesWithWrapper: boolean
  readonly ready: string | undefined
  readonly startTimeout: string | undefined
  readonly stopTimeout: string | undefined
  readonly conflictStatus: string | undefined
}

/** The command line of a report that `--watch` repeats. */
export interface Reported {
  readonly flags: ReadonlyMap<string, string>
  readonly json: boolean
  readonly watch: boolean
  /** The value of `--interval` in the form that was typed, not yet parsed. */
  readonly interval: string | undefined
}
