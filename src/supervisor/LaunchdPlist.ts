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
 * - `KeepAlive={SuccessfulExit=false}`: launchd restarts a crashed gateway. It does not restart a duplicate: a start that finds a
 *   healthy gateway leaves that gateway in control and exits 0. `KeepAlive=true` would restart the duplicate permanently.
 * - `ThrottleInterval`: at most one start in ten seconds, which is launchd's default. launchd has no limit on the number of
 *   restarts.
 * - `ExitTimeOut`: the time between SIGTERM and SIGKILL. This time is longer than the drain timeout.
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
