/**
 * The code of an error of Node: an errno name such as `EADDRINUSE`, or a name of Node's own. Empty where there is none.
 */
export const errorCode = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string" ? cause.code : ""
