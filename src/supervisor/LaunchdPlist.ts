/**
 * Makes the property list with which launchd runs a gateway: launchd.plist(5).
 */
import * as NodePath from "node:path"
import { escapeXml } from "./escapeXml.ts"
import { commandWords, type GuardedCommand, serviceNames, type ServiceOptions, stopTimeout } from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

const execLines = ({ searchPath, workingDirectory }: GuardedCommand, stateDir: string): ReadonlyArray<string> => [
  "  <key>WorkingDirectory</key>",
  `  <string>${escapeXml(workingDirectory)}</string>`,
  "  <key>EnvironmentVariables</key>",
  "  <dict>",
  "    <key>PATH</key>",
  `    <string>${escapeXml(searchPath)}</string>`,
  "  </dict>",
  "  <key>StandardOutPath</key>",
  `  <string>${escapeXml(NodePath.join(stateDir, "launchd.stdout.log"))}</string>`
]

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
 * With the option `exec`, three keys are added: the folder in which the command starts, the value of `PATH`, and the file that
 * gets the command's standard output. The `PATH` of launchd has no folder of Homebrew.
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
    ...(options.exec === undefined ? [] : execLines(options.exec, options.stateDir)),
    "  <key>StandardErrorPath</key>",
    `  <string>${escapeXml(NodePath.join(options.stateDir, "launchd.stderr.log"))}</string>`,
    "</dict>",
    "</plist>"
  )
