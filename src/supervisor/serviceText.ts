/**
 * The lines of a service definition.
 */

/** The comment at the beginning of each definition. */
export const writtenBy = "Written by \"gateway service\", and written anew by every \"gateway service install\"."

/** Puts lines together. A line that is `false` is left out. */
export const lines = (...parts: ReadonlyArray<string | false>): string =>
  parts.flatMap((part) => part === false ? [] : [`${part}\n`]).join("")
