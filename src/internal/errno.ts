/**
 * Reads the errno name from errors of Node, from errors of the file system and from texts.
 */
import type { PlatformError } from "@effect/platform/Error"
import { constants } from "node:os"

/**
 * If libuv has no name for an error, the error contains a number instead (`UV_ERRNO_MAP` in include/uv.h,
 * `uv__unknown_err_code` in src/uv-common.c). Operations on lock files can fail with two such errors: `ENOLCK` and `EDQUOT`.
 */
const unnamed = /Unknown system error -(\d+)/

/** Replaces libuv's `Unknown system error -<number>` in a text by the system's errno name. */
export const nameErrno = (text: string): string =>
  text.replace(
    unnamed,
    (all, number) => Object.entries(constants.errno).find(([, known]) => known === Number(number))?.[0] ?? all
  )

/** The code of an error of Node or of an addon, such as `ENOMEM` or `ERR_INVALID_ARG_VALUE`. `""` if it has no code. */
export const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? nameErrno(cause.code)
    : ""

/** The errno name at the start of Node's description (`EACCES: permission denied, open '…'`). `""` if there is none. */
export const errnoOf = (error: PlatformError): string =>
  /^E[A-Z0-9]+(?=:)/.exec(nameErrno(error.description ?? ""))?.[0] ?? ""
