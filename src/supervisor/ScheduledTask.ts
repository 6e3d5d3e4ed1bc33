/**
 * Makes the definition of the task with which the Task Scheduler of Windows runs a gateway. The format is that of [MS-TSCH] 2.5,
 * XML Task Definition Format.
 */
import { escapeXml } from "./escapeXml.ts"
import { commandWords, serviceNames, type ServiceOptions } from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

/**
 * Quotes one argument so that `CommandLineToArgvW` reads it back unchanged. Backslashes are special only before a quote, so this
 * function doubles the backslashes before a quote.
 *
 * @since 0.1.0
 * @category quoting
 */
export const quoteWindows = (text: string): string =>
  text !== "" && !/[\s"]/.test(text) ?
    text :
    `"${
      text.replace(
        /(\\*)("|$)/g,
        (_, slashes: string, quote: string) => `${slashes}${slashes}${quote === "" ? "" : "\\\""}`
      )
    }"`

/**
 * Makes the task's XML for `schtasks /Create /XML`. The XML declares UTF-16, the encoding that `schtasks` itself writes.
 * `ServiceDefinition.encode` encodes the XML in UTF-16 with a byte order mark.
 *
 * - `MultipleInstancesPolicy=IgnoreNew`: the Task Scheduler runs at most one instance of the task.
 * - `RestartOnFailure`: the Task Scheduler restarts a failed task once a minute, which is the shortest interval, and at most 255
 *   times, which is the greatest count. A start that finds a healthy gateway leaves that gateway in control and exits 0. Exit
 *   status 0 is no failure, so the Task Scheduler does not restart such a start.
 * - `ExecutionTimeLimit=PT0S`: the task may run without a time limit. The default limit is three days.
 * - `Priority=5`: the process has normal priority. The default of 7 is below normal.
 *
 * **Gotchas.** The Task Scheduler replaces `%NAME%` if an environment variable of that name exists, and the XML format has no
 * escape for `%`. The Task Scheduler has no stop timeout: `schtasks /End` ends the process at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const taskXml = (options: ServiceOptions): string => {
  const [program, ...args] = commandWords("schtasks", options)
  const isSystem = options.scope === "system"
  const user = options.user === undefined ? undefined : escapeXml(options.user)
  return lines(
    "<?xml version=\"1.0\" encoding=\"UTF-16\"?>",
    `<!-- ${writtenBy} -->`,
    "<Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">",
    "  <RegistrationInfo>",
    `    <URI>${escapeXml(serviceNames("schtasks", options.profile).name)}</URI>`,
    `    <Description>Gateway (profile ${escapeXml(options.profile)})</Description>`,
    "  </RegistrationInfo>",
    "  <Triggers>",
    isSystem ? "    <BootTrigger>" : "    <LogonTrigger>",
    "      <Enabled>true</Enabled>",
    !isSystem && user !== undefined && `      <UserId>${user}</UserId>`,
    isSystem ? "    </BootTrigger>" : "    </LogonTrigger>",
    "  </Triggers>",
    "  <Settings>",
    "    <AllowStartOnDemand>true</AllowStartOnDemand>",
    "    <RestartOnFailure>",
    "      <Interval>PT1M</Interval>",
    "      <Count>255</Count>",
    "    </RestartOnFailure>",
    "    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>",
    "    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>",
    "    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>",
    "    <AllowHardTerminate>true</AllowHardTerminate>",
    "    <StartWhenAvailable>true</StartWhenAvailable>",
    "    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>",
    "    <Enabled>true</Enabled>",
    "    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>",
    "    <Priority>5</Priority>",
    "    <RunOnlyIfIdle>false</RunOnlyIfIdle>",
    "  </Settings>",
    "  <Principals>",
    "    <Principal id=\"Gateway\">",
    // S-1-5-18 is LocalSystem. S4U runs the task as the given user without that user's password, even if that user is not logged
    // on.
    (isSystem || user !== undefined) && `      <UserId>${user ?? "S-1-5-18"}</UserId>`,
    isSystem
      ? user !== undefined && "      <LogonType>S4U</LogonType>"
      : "      <LogonType>InteractiveToken</LogonType>",
    "      <RunLevel>LeastPrivilege</RunLevel>",
    "    </Principal>",
    "  </Principals>",
    "  <Actions Context=\"Gateway\">",
    "    <Exec>",
    `      <Command>${escapeXml(program)}</Command>`,
    `      <Arguments>${escapeXml(args.map(quoteWindows).join(" "))}</Arguments>`,
    "    </Exec>",
    "  </Actions>",
    "</Task>"
  )
}
