import type { PlatformError } from "@effect/platform/Error"
import { errnoOf, nameErrno } from "./errno.ts"

/**
 * One line for a person: the system's own words (`EACCES: permission denied, open '…'`) where there are any.
 */
export const describePlatformError = (error: PlatformError): string =>
  nameErrno(
    (error.description === undefined || error.description === "" ? error.message : error.description).split("\n", 1)[0]
      ?? error._tag
  )

/** One line for a person: what was thrown. */
export const describeDefect = (defect: unknown): string =>
  (defect instanceof Error ? nameErrno(defect.message) : String(defect)).split("\n", 1)[0] ?? ""

/** Whether a file operation failed because the path names nothing. */
export const isNotFound = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

/** Whether an exclusive creation failed because the path names something. */
export const isAlreadyExists = (error: PlatformError): boolean =>
  error._tag === "SystemError" && error.reason === "AlreadyExists"

const linkRefusals = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])

/** Whether a file system refused a hard link because it has none (link(2): `EPERM`; others say it more plainly). */
export const hasNoLinks = (error: PlatformError): boolean =>
  error._tag === "SystemError" && error.method === "link"
  && linkRefusals.has(errnoOf(error))
