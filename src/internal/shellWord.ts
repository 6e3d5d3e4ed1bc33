/**
 * A word of a command to be typed: as it is where a shell takes it so, else in single quotes (POSIX shell, 2.2.2).
 */
export const shellWord = (word: string): string =>
  /^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
