/** The bits that chmod(1) sets, in octal, as it takes them. */
export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0")

/** A word of a command as a shell takes it literally: in single quotes where it is not plain (sh(1)). */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
