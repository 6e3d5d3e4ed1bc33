/**
 * The task that has the Task Scheduler run a gateway: [MS-TSCH] 2.5, XML Task Definition Format.
 */
import { escapeXml } from "./escapeXml.ts"
import { commandWords, serviceNames, type ServiceOptions } from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

/**
 * One argument, so that `CommandLineToArgvW` reads it back: backslashes count only before a quote, where they are
 * doubled.
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
 * The task, as `schtasks /Create /XML` reads it. Declared as UTF-16, which is what `schtasks` writes and reads best;
 * `encode` writes it so, with a byte order mark.
 *
 * - `MultipleInstancesPolicy=IgnoreNew`: one instance, whoever asks for another.
 * - `RestartOnFailure`: once a minute, the shortest interval there is, 255 times, the greatest count. A duplicate, which
 *   leaves the healthy gateway in control with status 0, is no failure.
 * - `ExecutionTimeLimit=PT0S`: no limit; left out it would be three days.
 * - `Priority=5`: normal; the default of 7 is below normal.
 *
 * **Gotchas.** The Task Scheduler replaces `%NAME%` where there is such a variable, and has no way to write it
 * literally. Times for a stop cannot be told to it: `schtasks /End` ends the process at once.
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
    // S-1-5-18 is LocalSystem. S4U: as that user, without a password and without being logged on.
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
