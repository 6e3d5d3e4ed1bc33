/**
 * Makes the property list with which launchd runs a gateway: launchd.plist(5).
 */
import * as NodePath from "node:path"
import { escapeXml } from "./escapeXml.ts"
import { commandWords, serviceNames, type ServiceOptions, stopTimeout } from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

/**
 * The property list, for `~/Library/LaunchAgents` or `/Library/LaunchDaemons`.
 *
 * - `KeepAlive={SuccessfulExit=false}`: launchd restarts a gateway that crashes, but not one that exits with status 0. A start
 *   that finds a healthy gateway is a duplicate, and exits 0. So launchd does not restart it. `KeepAlive=true` would restart the
 *   duplicate again and again.
 * - `ThrottleInterval`: launchd starts the gateway at most once in ten seconds, which is also its default. launchd has no limit
 *   on the number of restarts.
 * - `ExitTimeOut`: the time between SIGTERM and SIGKILL. It is longer than the drain timeout, so that SIGKILL does not cut off
 *   the drain.
 *
 * @since 0.1.0
 * @category constructors
 */
export const launchdPlist = (options: ServiceOptions): string =>
  lines(
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">",
    `<!-- ${writtenBy} -->`,
    "<plist version=\"1.0\">",
    "<dict>",
    "  <key>Label</key>",
    `  <string>${escapeXml(serviceNames("launchd", options.profile).name)}</string>`,
    ...(options.scope === "system" && options.user !== undefined
      ? ["  <key>UserName</key>", `  <string>${escapeXml(options.user)}</string>`]
      : []),
    "  <key>ProgramArguments</key>",
    "  <array>",
    ...commandWords("launchd", options).map((word) => `    <string>${escapeXml(word)}</string>`),
    "  </array>",
    "  <key>RunAtLoad</key>",
    "  <true/>",
    "  <key>KeepAlive</key>",
    "  <dict>",
    "    <key>SuccessfulExit</key>",
    "    <false/>",
    "  </dict>",
    "  <key>ThrottleInterval</key>",
    "  <integer>10</integer>",
    "  <key>ExitTimeOut</key>",
    `  <integer>${stopTimeout(options)}</integer>`,
    "  <key>StandardErrorPath</key>",
    `  <string>${escapeXml(NodePath.join(options.stateDir, "launchd.stderr.log"))}</string>`,
    "</dict>",
    "</plist>"
  )
