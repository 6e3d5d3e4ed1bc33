/**
 * A text in one line, with nothing that speaks to a terminal. Paths, environment variables and lock files are written by others.
 */
export const printable = (text: string): string =>
  text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
