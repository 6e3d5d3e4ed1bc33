import type { PlatformError } from "@effect/platform/Error"

/**
 * One line for a person: the system's own words (`EACCES: permission denied, open '…'`) where there are any.
 */
export const describePlatformError = (error: PlatformError): string =>
  (error.description === undefined || error.description === "" ? error.message : error.description).split("\n", 1)[0]
    ?? error._tag

/** Whether a file operation failed because the path names nothing. */
export const isNotFound = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

/** Whether an exclusive creation failed because the path names something. */
export const isAlreadyExists = (error: PlatformError): boolean =>
  error._tag === "SystemError" && error.reason === "AlreadyExists"
