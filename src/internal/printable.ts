/**
 * Escapes control characters and line separators, so that a text stays on one line and cannot control a terminal. This is
 * needed because messages quote paths, environment variables and lock files, which other users may have written.
 */
export const printable = (text: string): string =>
  text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
