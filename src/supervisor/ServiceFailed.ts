/**
 * The error of a failed installation, uninstallation or control of a service, and the advice in its message.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as Schema from "effect/Schema"
import * as NodePath from "node:path"
import { type RootMissing, rootMissing } from "../host/makeFolders.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { printable } from "../internal/printable.ts"
import type { Manager, ServiceOptions, ServiceScope } from "./ServiceOptions.ts"

/**
 * A service could not be installed, uninstalled, started, stopped or shown. The message is one line: what failed, where, why, and what to do. The command
 * `gateway` then exits with status 1.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceFailed extends Schema.TaggedError<ServiceFailed>("gateway-lock/ServiceFailed")("ServiceFailed", {
  /** The step that failed, such as `cannot write the systemd unit`. */
  what: Schema.String,
  /** The path or the command line of the step that failed. */
  where: Schema.String,
  reason: Schema.String,
  advice: Schema.String
}) {
  override get message() {
    return printable(`${this.what} ${this.where}: ${this.reason}; ${this.advice}`)
  }
}

/** The service that an error is about. */
export interface Failing {
  readonly manager: Manager
  readonly service: Pick<ServiceOptions, "scope">
}

const advice: Record<Manager, Record<ServiceScope, string>> = {
  systemd: {
    user: "try again in a login session of that user, where systemctl --user status answers",
    system: "try again as root, on a machine that systemd runs"
  },
  launchd: {
    user: "try again in a graphical login session of that user",
    system: "try again as root"
  },
  schtasks: {
    user: "try again from a terminal that was opened as administrator",
    system: "try again from a terminal that was opened as administrator"
  }
}

/** The advice to the user for the case that the manager refuses a command. */
export const adviceFor = (options: Failing): string => advice[options.manager][options.service.scope]

/** Makes the error for a file or folder that could not be written, created or removed. */
export const fileFailed = (options: Failing, what: string, path: string) => (error: PlatformError | RootMissing) =>
  new ServiceFailed({
    what,
    where: path,
    reason: error._tag === "RootMissing" ? rootMissing(error.root) : describePlatformError(error),
    advice: options.service.scope === "system"
      ? "run it as root or as an administrator, or without --system"
      : `make ${NodePath.dirname(path)} writable for you`
  })
