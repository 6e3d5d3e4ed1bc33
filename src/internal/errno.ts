/**
 * The errno name in an error: of one that Node made, of one of the file system, and in a text.
 */
import type { PlatformError } from "@effect/platform/Error"
import { constants } from "node:os"

/** libuv has no name for some errors that lock files meet (`ENOLCK`, `EDQUOT`), and gives their number instead. */
const unnamed = /Unknown system error -(\d+)/

/** The text with such a number replaced by the system's name for it. */
export const nameErrno = (text: string): string =>
  text.replace(
    unnamed,
    (all, number) => Object.entries(constants.errno).find(([, known]) => known === Number(number))?.[0] ?? all
  )

/** The code of what Node or an addon threw or emitted, such as `ENOMEM` or `ERR_INVALID_ARG_VALUE`; `""` where it has none. */
export const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? nameErrno(cause.code)
    : ""

/** The errno name with which Node's description begins (`EACCES: permission denied, open '…'`); `""` where it has none. */
export const errnoOf = (error: PlatformError): string =>
  /^E[A-Z0-9]+(?=:)/.exec(nameErrno(error.description ?? ""))?.[0] ?? ""
