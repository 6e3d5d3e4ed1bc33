import type { PlatformError } from "@effect/platform/Error"
import { errnoOf, nameErrno } from "./errno.ts"

/**
 * Describes a platform error in one line for people. If the error has a message of the system, such as `EACCES: permission
 * denied, open '…'`, this message is the description.
 */
export const describePlatformError = (error: PlatformError): string =>
  nameErrno(
    (error.description === undefined || error.description === "" ? error.message : error.description).split("\n", 1)[0]
      ?? error._tag
  )

/** Describes a thrown value in one line for people. */
export const describeDefect = (defect: unknown): string =>
  (defect instanceof Error ? nameErrno(defect.message) : String(defect)).split("\n", 1)[0] ?? ""

/** Whether a file operation failed because nothing exists at the path. */
export const isNotFound = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

/** Whether an exclusive creation failed because something exists at the path. */
export const isAlreadyExists = (error: PlatformError): boolean =>
  error._tag === "SystemError" && error.reason === "AlreadyExists"

const linkRefusals = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])

/**
 * Whether a file system refused a hard link because it does not support hard links. link(2) documents `EPERM` for that. Some
 * file systems answer `ENOTSUP`, `EOPNOTSUPP` or `ENOSYS`.
 */
export const hasNoLinks = (error: PlatformError): boolean =>
  error._tag === "SystemError" && error.method === "link"
  && linkRefusals.has(errnoOf(error))
