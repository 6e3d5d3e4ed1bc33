/**
 * Helpers for the text of a service definition.
 */

/** The text of the comment at the beginning of each service definition. */
export const writtenBy = "Written by \"gateway service\", and replaced by every \"gateway service install\"."

/** Joins lines, each with a line end. Omits a line that is `false`. */
export const lines = (...parts: ReadonlyArray<string | false>): string =>
  parts.flatMap((part) => part === false ? [] : [`${part}\n`]).join("")
