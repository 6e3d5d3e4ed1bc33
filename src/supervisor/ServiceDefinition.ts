/**
 * The text that hands a gateway to a service manager: a systemd unit, a launchd property list, a Task Scheduler task.
 *
 * Pure: options in, text out. Where the text goes, and how the manager is told of it, is `ServiceManager`'s business.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as NodePath from "node:path"

/**
 * The managers there are, by the names that `--supervisor` knows.
 *
 * @since 0.1.0
 * @category models
 */
export const managers = ["systemd", "launchd", "schtasks"] as const

/**
 * @since 0.1.0
 * @category models
 */
export type Manager = typeof managers[number]

/**
 * `user`: runs while that user is logged in. `system`: runs from boot; needs root or an administrator to install.
 *
 * @since 0.1.0
 * @category models
 */
export type ServiceScope = "user" | "system"

/**
 * @since 0.1.0
 * @category models
 */
export interface ServiceOptions {
  /** Names the service: two profiles are two services. */
  readonly profile: string
  readonly scope: ServiceScope
  /** The absolute path of the program that runs the script: node. */
  readonly execPath: string
  /** The absolute path of `dist/main.js`. */
  readonly scriptPath: string
  /**
   * The flags that were given, without their dashes, and their values; paths absolute, since a manager starts its
   * services in another folder. Profile and supervisor are always written, and not taken from here.
   */
  readonly args: ReadonlyMap<string, string>
  /** Absolute; holds the error output under launchd. */
  readonly stateDir: string
  /** `drainTimeout`: a stop takes this long, so that a manager must wait longer. */
  readonly drainTimeout: Duration.Duration
  /** `health.timeout`: a start can take this long and then fail. */
  readonly healthTimeout: Duration.Duration
  /** `health.retryInterval`: how far apart signs of life from a waiting start can be. */
  readonly healthRetryInterval: Duration.Duration
  /**
   * Who runs a service of the system. Default: on systemd a user that exists only while the service runs (`DynamicUser=`),
   * on launchd root, on Windows LocalSystem. For a user's task on Windows, the user at whose logon it starts. Not used
   * elsewhere.
   */
  readonly user?: string | undefined
  /** The base port. A service of the system on a port below 1024 keeps the capability to bind it. */
  readonly port?: number | undefined
}

/**
 * A definition, ready to be written.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceDefinition {
  readonly manager: Manager
  /** What the manager calls it: the unit, the label, the task's path. */
  readonly name: string
  readonly fileName: string
  readonly text: string
  /** `utf-16le` is written with a byte order mark. */
  readonly encoding: "utf-8" | "utf-16le"
}

const serviceNames: Record<Manager, (profile: string) => string> = {
  systemd: (profile) => `gateway-${profile}.service`,
  launchd: (profile) => `dev.gateway-lock.${profile}`,
  schtasks: (profile) => `\\gateway-lock\\${profile}`
}

const fileNames: Record<Manager, (profile: string) => string> = {
  systemd: serviceNames.systemd,
  launchd: (profile) => `${serviceNames.launchd(profile)}.plist`,
  schtasks: (profile) => `gateway-${profile}.task.xml`
}

/**
 * What the manager calls the service of a profile, and what its file is called.
 *
 * @since 0.1.0
 * @category naming
 */
export const names = (manager: Manager, profile: string): { readonly name: string; readonly fileName: string } => ({
  name: serviceNames[manager](profile),
  fileName: fileNames[manager](profile)
})

/**
 * The definition for a manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (manager: Manager, options: ServiceOptions): ServiceDefinition => ({
  manager,
  ...names(manager, options.profile),
  text: texts[manager](options),
  encoding: manager === "schtasks" ? "utf-16le" : "utf-8"
})

/**
 * The bytes of a definition's file.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (definition: Pick<ServiceDefinition, "text" | "encoding">): Uint8Array =>
  definition.encoding === "utf-8"
    ? Buffer.from(definition.text, "utf8")
    : Buffer.from(`\uFEFF${definition.text}`, "utf16le")

/**
 * The words of the command line, program first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandWords = (manager: Manager, options: ServiceOptions): readonly [string, ...Array<string>] => [
  options.execPath,
  options.scriptPath,
  "run",
  ...flagWords("profile", options.profile),
  ...[...options.args].flatMap(([flag, value]) =>
    flag === "profile" || flag === "supervisor" ? [] : flagWords(flag, value)
  ),
  ...flagWords("supervisor", manager)
]

/** A value that looks like a flag is one word with its flag: else the command line would be refused. */
const flagWords = (flag: string, value: string): ReadonlyArray<string> =>
  value.startsWith("-") ? [`--${flag}=${value}`] : [`--${flag}`, value]

/**
 * The first word that a manager's format has no way to write, or that the manager is known to refuse.
 *
 * - No argument of any program can hold a NUL, and no text file half a surrogate pair.
 * - `LoadCredential=` and `User=` of systemd have no quotes: a line end in them would begin another setting.
 * - systemd refuses a program whose path holds a control character, a quote or a backslash ("Executable name contains
 *   special characters"), however it is quoted.
 * - XML 1.0 has no way to write a control character, not even by number.
 *
 * @since 0.1.0
 * @category decisions
 */
export const unwritable = (manager: Manager, options: ServiceOptions): Option.Option<string> => {
  if (manager === "systemd" && /[\p{Cc}"'\\]/u.test(options.execPath)) return Option.some(options.execPath)
  if (manager === "systemd" && options.scope === "system") {
    const unquoted = [options.args.get(tokenFileFlag) ?? "", options.user ?? ""].find((word) => /\p{Cc}/u.test(word))
    if (unquoted !== undefined) return Option.some(unquoted)
  }
  const words = [...commandWords(manager, options), options.stateDir, options.user ?? ""]
  const cannot = manager === "systemd" ? /[\0\ud800-\udfff]/u : notXml
  return Option.fromNullable(words.find((word) => cannot.test(word)))
}

// ---------------------------------------------------------------------------
// systemd: systemd.unit(5), systemd.service(5), systemd.syntax(7)
// ---------------------------------------------------------------------------

const wholeSeconds = (duration: Duration.Duration): number => Math.ceil(Duration.toSeconds(duration))

/** Between the end of the drain and the end of the process: the lock is released, and nothing more. */
const stopMargin = 10

/** How long a manager waits for a stop before it kills, in seconds. */
const stopTimeout = (options: Pick<ServiceOptions, "drainTimeout">): number =>
  wholeSeconds(options.drainTimeout) + stopMargin

/**
 * How long a stop of the service may take before its manager ends it by force.
 *
 * @since 0.1.0
 * @category timing
 */
export const longestStop = (options: Pick<ServiceOptions, "drainTimeout">): Duration.Duration =>
  Duration.seconds(stopTimeout(options))

/**
 * The times of a unit, in whole seconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemdTiming {
  readonly restart: number
  readonly startTimeout: number
  readonly stopTimeout: number
  readonly watchdog: number
  readonly startLimitInterval: number
  readonly startLimitBurst: number
}

/**
 * The times of a unit, so that no wait, however often it is repeated, exhausts the start limit: a latched unit stays
 * down until somebody notices.
 *
 * **Start limit.** systemd counts starts from a first one on; a start more than `I` later opens a new window, and more
 * than `B` starts in one window latch the unit (`ratelimit_below` in systemd's `ratelimit.c`). Starts that are at least
 * `P` apart put at most `⌊I / P⌋ + 1` into a window, so they never latch if and only if `I < B · P`.
 *
 * With `R` = `RestartSec`, the failures that take time are
 *
 * - an owner that never becomes healthy: `health.timeout`, exit 1, `R`;
 * - a start that stops giving signs of life: `TimeoutStartSec`, `R`;
 * - a gateway that serves and then wedges: `WatchdogSec` at the least, `R`;
 *
 * so `P = R + W` with `W = min(health.timeout, TimeoutStartSec, WatchdogSec)`. Chosen is `I = ⌈B · (R + W/2)⌉ − 1`,
 * below `B · P` for every `W`, zero included. What still latches is a start that fails at once, over and over: one
 * cycle shorter than about `R + W/2`. With the defaults `R = 2`, `W = 30`, `B = 20`: `I = 339`, and the worst wait
 * would need `20 · 32 = 640` or more. `B` is 20 so that a passing cause of instant failures, such as a volume that is
 * mounted late, has 40 seconds to pass.
 *
 * **Start timeout.** A start that waits for an owner sends `EXTEND_TIMEOUT_USEC` on its way; the first must arrive
 * within `TimeoutStartSec`. So that is two retry intervals and half a minute, and 90 seconds at the least, as
 * systemd's own default.
 *
 * **Stop timeout.** The drain, and ten seconds.
 *
 * @since 0.1.0
 * @category timing
 */
export const systemdTiming = (
  options: Pick<ServiceOptions, "drainTimeout" | "healthTimeout" | "healthRetryInterval">
): SystemdTiming => {
  const restart = 2
  const watchdog = 30
  const startLimitBurst = 20
  const startTimeout = Math.max(90, 30 + 2 * wholeSeconds(options.healthRetryInterval))
  const shortestWait = Math.min(Duration.toSeconds(options.healthTimeout), startTimeout, watchdog)
  return {
    restart,
    startTimeout,
    stopTimeout: stopTimeout(options),
    watchdog,
    startLimitInterval: Math.ceil(startLimitBurst * (restart + shortestWait / 2)) - 1,
    startLimitBurst
  }
}

/**
 * A word of systemd.syntax(7) that stands for this text, specifiers (`%`, systemd.unit(5)) made literal.
 *
 * What is not plain is put in double quotes; control characters and what systemd takes for invalid Unicode are written
 * byte by byte.
 *
 * @since 0.1.0
 * @category quoting
 */
export const quoteSystemd = (text: string): string => {
  const escaped = text
    .replace(/["\\]/g, "\\$&")
    .replace(/%/g, "%%")
    .replace(
      /[\p{Cc}\p{Cn}]/gu,
      (char) => [...Buffer.from(char, "utf8")].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")
    )
  return /^[A-Za-z0-9_./:=,@+%$-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

/**
 * An argument of a command line of systemd.service(5): as `quoteSystemd`, and `$` made literal.
 *
 * **Gotchas.** For arguments only: in the path of the program, a `$` stands for itself.
 *
 * @since 0.1.0
 * @category quoting
 */
export const quoteSystemdArgument = (text: string): string => quoteSystemd(text.replace(/\$/g, "$$$$"))

// ---------------------------------------------------------------------------
// a unit of the system: systemd.exec(5), systemd.unit(5) "Specifiers"
// ---------------------------------------------------------------------------

/**
 * Where a system unit of systemd keeps what an ordinary gateway keeps in its user's home: `%E` and `%S` of systemd.unit(5),
 * and a folder of ours in each, with one folder for each profile.
 *
 * @since 0.1.0
 * @category paths
 */
export const systemFolders = { config: "/etc/gateway-lock", state: "/var/lib/gateway-lock" } as const

/** What `StateDirectory=` is relative to. */
const stateRoot = "/var/lib"

const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

/**
 * The state directory of a system unit, as `StateDirectory=` names it: systemd makes it for the service's user. `None` for
 * one that is elsewhere, or whose name `StateDirectory=` would read differently: a colon separates links there. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const stateDirectoryName = (path: string): Option.Option<string> => {
  const name = NodePath.posix.normalize(path).replace(/\/$/, "").slice(stateRoot.length + 1)
  const isPlain = isBelow(path, stateRoot) && name !== "" && !/[:\p{Cc}]/u.test(name) && !name.split("/").includes("..")
  return isPlain && !isBelow(name, "private") ? Option.some(name) : Option.none()
}

/**
 * The state directory that a system unit of systemd has: the one that was given, or that of the profile. Pure.
 *
 * @since 0.1.0
 * @category paths
 */
export const systemStateDir = ({ args, profile }: Pick<ServiceOptions, "args" | "profile">): string =>
  args.get("state-dir") ?? NodePath.posix.join(systemFolders.state, profile)

const tokenFileFlag = "token-file"

/** The name that the token has among the unit's credentials. */
const tokenCredential = "token"

/** The folders that `ProtectHome=yes` hides. */
const homes = ["/home", "/root", "/run/user"]

/**
 * Who the service is, and what it may see and do.
 *
 * - Without a user, `DynamicUser=`: nobody else is that user, and nothing runs as root. systemd makes the state directory,
 *   and gives it to whatever number the user has this time.
 * - `XDG_CONFIG_HOME`, `XDG_STATE_HOME`: such a user has no home, so the profile's folders are those of the system.
 * - `LoadCredential=`: the token's file can be closed to all but root.
 * - The processes of other users stay visible (`ProtectProc=` is left alone): a hidden owner of the lock would look dead.
 *   So do their numbers (`PrivateUsers=`): the owner of a file is compared.
 * - `AF_NETLINK`: the addresses of the host, for the message about one that it does not have. `AF_UNIX`: systemd-notify.
 * - `MemoryDenyWriteExecute=` is left alone: V8 writes the code that it runs.
 */
const systemLines = (options: ServiceOptions): ReadonlyArray<string | false> => {
  const { args, execPath, port, scriptPath, user } = options
  const stateDir = systemStateDir(options)
  const stateDirectory = stateDirectoryName(stateDir)
  const tokenFile = args.get(tokenFileFlag)
  const isHomeNeeded = [execPath, scriptPath, stateDir, args.get("config") ?? ""]
    .some((path) => homes.some((home) => isBelow(path, home)))
  const capability = port !== undefined && port < 1024 ? "CAP_NET_BIND_SERVICE" : ""
  return [
    user === undefined ? "DynamicUser=yes" : `User=${user.replace(/%/g, "%%")}`,
    "Environment=XDG_CONFIG_HOME=%E XDG_STATE_HOME=%S",
    ...Option.match(stateDirectory, {
      onNone: () => [NodePath.isAbsolute(stateDir) && `ReadWritePaths=${quoteSystemd(stateDir)}`],
      onSome: (name) => [`StateDirectory=${quoteSystemd(name)}`, "StateDirectoryMode=0700"]
    }),
    tokenFile !== undefined && `LoadCredential=${tokenCredential}:${tokenFile.replace(/%/g, "%%")}`,
    "ProtectSystem=strict",
    `ProtectHome=${isHomeNeeded ? "read-only" : "yes"}`,
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    `CapabilityBoundingSet=${capability}`,
    `AmbientCapabilities=${capability}`,
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM"
  ]
}

const writtenBy = "Written by \"gateway service\", and written anew by every \"gateway service install\"."

/**
 * The unit, for `systemctl --user` or for the system.
 *
 * - `NotifyAccess=all`: the gateway notifies through systemd-notify(1), which is a child of its own.
 * - `RestartPreventExitStatus`: 64 is a mistake that a restart repeats, 78 a healthy gateway that keeps control.
 * - `KillMode=mixed`: the gateway drains at SIGTERM; what it leaves behind is killed after it.
 * - The hardening is what a gateway cannot notice. A user's manager has less of it: `Protect…` and `Private…` need a
 *   mount namespace, which it may not have.
 *
 * @since 0.1.0
 * @category constructors
 */
export const systemdUnit = (options: ServiceOptions): string => {
  const timing = systemdTiming(options)
  const isSystem = options.scope === "system"
  const tokenFile = isSystem ? options.args.get(tokenFileFlag) : undefined
  const [program, ...args] = commandWords("systemd", options)
  return lines(
    `# ${writtenBy}`,
    "[Unit]",
    `Description=Gateway (profile ${options.profile.replace(/%/g, "%%")})`,
    isSystem && "After=network.target",
    `StartLimitIntervalSec=${timing.startLimitInterval}`,
    `StartLimitBurst=${timing.startLimitBurst}`,
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=all",
    `ExecStart=${
      [
        quoteSystemd(program),
        ...args.map((word, index) =>
          tokenFile !== undefined && args[index - 1] === `--${tokenFileFlag}`
            ? `\${CREDENTIALS_DIRECTORY}/${tokenCredential}`
            : quoteSystemdArgument(word)
        )
      ].join(" ")
    }`,
    "Restart=always",
    `RestartSec=${timing.restart}`,
    "RestartPreventExitStatus=64 78",
    `TimeoutStartSec=${timing.startTimeout}`,
    `TimeoutStopSec=${timing.stopTimeout}`,
    `WatchdogSec=${timing.watchdog}`,
    "KillMode=mixed",
    "UMask=0077",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    ...(isSystem ? systemLines(options) : []),
    "",
    "[Install]",
    `WantedBy=${isSystem ? "multi-user.target" : "default.target"}`
  )
}

// ---------------------------------------------------------------------------
// launchd: launchd.plist(5)
// ---------------------------------------------------------------------------

/**
 * The property list, for `~/Library/LaunchAgents` or `/Library/LaunchDaemons`.
 *
 * - `KeepAlive={SuccessfulExit=false}`: a crash is restarted; a duplicate, which leaves the healthy gateway in control
 *   with status 0, is not. `KeepAlive=true` would start it again for ever.
 * - `ThrottleInterval`: at most one start in ten seconds, launchd's own default; there is no limit after which it gives up.
 * - `ExitTimeOut`: the time between SIGTERM and SIGKILL, above the drain.
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
    `  <string>${escapeXml(serviceNames.launchd(options.profile))}</string>`,
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

// ---------------------------------------------------------------------------
// Task Scheduler: [MS-TSCH] 2.5, XML Task Definition Format
// ---------------------------------------------------------------------------

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
    `    <URI>${escapeXml(serviceNames.schtasks(options.profile))}</URI>`,
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

const texts: Record<Manager, (options: ServiceOptions) => string> = {
  systemd: systemdUnit,
  launchd: launchdPlist,
  schtasks: taskXml
}

// ---------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------

const lines = (...parts: ReadonlyArray<string | false>): string =>
  parts.flatMap((part) => part === false ? [] : [`${part}\n`]).join("")

/** What is not a `Char` of XML 1.0, 2.2. */
const notXml = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u

const xmlReferences: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  // A parser reads a bare carriage return as a line feed (XML 1.0, 2.11).
  "\r": "&#13;"
}

/**
 * Text for XML, inside an element or an attribute in double quotes.
 *
 * @since 0.1.0
 * @category quoting
 */
export const escapeXml = (text: string): string => text.replace(/[&<>"\r]/g, (char) => xmlReferences[char] ?? char)
