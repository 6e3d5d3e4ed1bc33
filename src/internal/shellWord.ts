/**
 * Quotes a word of a command for a POSIX shell. The word gets single quotes only if it needs them (POSIX shell, 2.2.2).
 */
export const shellWord = (word: string): string =>
  /^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
