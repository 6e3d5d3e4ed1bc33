/**
 * Prepares the output of `systemctl show` for a parser that reads one property from each line.
 */

/**
 * Replaces each line end in the value of `ExecStart` by a space. An argument of a command can contain line ends, and systemctl(1)
 * prints them as they are. The next line of an argument could then be mistaken for another property.
 */
export const joinExecStart = (text: string): string =>
  text.replace(/^ExecStart=\{ path=.*? ; ignore_errors=[^\n]*\}$/gms, (value) => value.replaceAll("\n", " "))
