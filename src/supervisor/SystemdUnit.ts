/**
 * Makes the text of a gateway's systemd unit, in the format of systemd.unit(5), systemd.service(5), systemd.exec(5) and
 * systemd.syntax(7).
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import {
  commandWords,
  type GuardedCommand,
  secretFiles,
  type ServiceOptions,
  stopTimeout,
  wholeSeconds
} from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

/**
 * The times and the start limit of a unit. All times are in whole seconds.
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
 * Computes the times of a unit. A slow failure (one of those listed below) never exhausts the start limit, no matter how often it
 * is repeated. systemd does not restart a unit that has exhausted its start limit: the unit stays down until an operator acts.
 *
 * **Start limit.** `I` is `StartLimitIntervalSec`, `B` is `StartLimitBurst`, and `R` is `RestartSec`. systemd counts starts in
 * windows. A start more than `I` after the first start of a window opens a new window. More than `B` starts in one window exhaust
 * the limit (`ratelimit_below` in systemd's `ratelimit.c`). If starts are at least `P` apart, a window has at most `⌊I / P⌋ + 1`
 * starts. So such starts never exhaust the limit if and only if `I < B · P`.
 *
 * These are the slow failures, each with the time between two starts:
 *
 * - The owner of the lock never becomes healthy, and the start exits with status 1: `health.timeout + R`.
 * - The start hangs and sends no more notifications: `TimeoutStartSec + R`.
 * - The gateway serves and then hangs: at least `WatchdogSec + R`.
 * - A command of `exec` is not ready in time, and `exec` stops it: at least `--start-timeout + R`.
 *
 * So `P = R + W`, with `W = min(health.timeout, TimeoutStartSec, WatchdogSec, --start-timeout)`. The unit uses
 * `I = ⌈B · (R + W/2)⌉ − 1`, which is below `B · P` for every `W`, including zero. Starts that fail at once do exhaust the limit,
 * if two starts are less than about `R + W/2` apart.
 *
 * With the defaults `R = 2`, `W = 30` and `B = 20`, `I` is 339. The slow failures would exhaust the limit only if `I` was at
 * least `20 · 32 = 640`. `B` is 20, so that starts that fail at once exhaust the limit only after `B · R = 40` seconds. A
 * temporary cause, such as a volume that is mounted late, can pass in that time.
 *
 * **Start timeout.** A start that waits for the lock's owner sends `EXTEND_TIMEOUT_USEC` at least once in each retry interval. The
 * first message must arrive within `TimeoutStartSec`. So the timeout is two retry intervals plus 30 seconds, and at least 90
 * seconds, which is systemd's default. For a command of `exec`, it is also longer than `--start-timeout` and `--stop-timeout`
 * together, so that `exec` stops a command that is not ready in time before systemd does.
 *
 * **Stop timeout.** The stop timeout is the drain timeout plus ten seconds. For a command of `exec`, it is `--stop-timeout` plus ten
 * seconds. With a lease, two attempts at its store are added.
 *
 * @since 0.1.0
 * @category timing
 */
export const systemdTiming = (
  options: Pick<ServiceOptions, "drainTimeout" | "releaseTimeout" | "health" | "exec">
): SystemdTiming => {
  const { exec } = options
  const restart = 2
  const watchdog = 30
  const startLimitBurst = 20
  const startTimeout = Math.max(
    90,
    30 + 2 * wholeSeconds(options.health.retryInterval),
    exec === undefined ? 0 : 30 + wholeSeconds(exec.startTimeout) + wholeSeconds(exec.stopTimeout)
  )
  const shortestWait = Math.min(
    Duration.toSeconds(options.health.timeout),
    startTimeout,
    watchdog,
    exec?.mustBeReady === true ? Duration.toSeconds(exec.startTimeout) : Infinity
  )
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
 * Quotes a text as one word of systemd.syntax(7). Specifiers (`%`, systemd.unit(5)) are escaped.
 *
 * A text with special characters is put in double quotes. Control characters, and characters that systemd considers invalid
 * Unicode, are escaped byte by byte.
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
 * Quotes an argument of a command line of systemd.service(5). This function does the same as `quoteSystemd`, and also escapes
 * `$`.
 *
 * **Gotchas.** Use this function for arguments only, because systemd takes a `$` in the path of the program literally.
 *
 * @since 0.1.0
 * @category quoting
 */
export const quoteSystemdArgument = (text: string): string => quoteSystemd(text.replace(/\$/g, "$$$$"))

/**
 * The config and state folders that a system unit uses instead of the folders in a user's home. Each one is the folder
 * `gateway-lock` below `%E` or `%S` of systemd.unit(5), and contains one folder for each profile.
 *
 * @since 0.1.0
 * @category paths
 */
export const systemFolders = { config: "/etc/gateway-lock", state: "/var/lib/gateway-lock" } as const

/** The folder to which `StateDirectory=` is relative. */
const stateRoot = "/var/lib"

const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

/**
 * The name of a state directory for the setting `StateDirectory=`. With this setting, systemd creates the directory for the
 * service's user. Pure.
 *
 * `None` for a directory that is not below `/var/lib`. Also `None` for a name that systemd would not take literally in this
 * setting. An example is a name with a colon, because in this setting a colon separates the name of a directory from the name of
 * a link to that directory.
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
 * The state directory of a system unit: the value of the flag `state-dir`, or by default the profile's folder below
 * `systemFolders.state`. Pure.
 *
 * @since 0.1.0
 * @category paths
 */
export const systemStateDir = ({ args, profile }: Pick<ServiceOptions, "args" | "profile">): string =>
  args.get("state-dir") ?? NodePath.posix.join(systemFolders.state, profile)

/** The systemd credential that replaces the path after a flag, if the path is that of a file with a secret. */
const credentialOf = (options: ServiceOptions, flag: string | undefined): Option.Option<string> =>
  Option.fromNullable(secretFiles(options).find(([secret]) => flag === `--${secret}`)?.[1])

/** The lines with which systemd passes files with secrets, which the service's user may not be able to read. */
const credentialLines = (options: ServiceOptions): ReadonlyArray<string | false> =>
  secretFiles(options).map(([flag, credential]) => {
    const path = options.args.get(flag)
    return path !== undefined && `LoadCredential=${credential}:${path.replace(/%/g, "%%")}`
  })

/** The folders that `ProtectHome=yes` hides. */
const homes = ["/home", "/root", "/run/user"]

/** The capability to bind a port below 1024. */
const bindCapability = "CAP_NET_BIND_SERVICE"

const isPrivileged = (port: number | undefined): boolean => port !== undefined && port < 1024

const userLine = ({ user }: ServiceOptions): string =>
  user === undefined ? "DynamicUser=yes" : `User=${user.replace(/%/g, "%%")}`

/** The lines with which systemd creates the state directory. Empty if `StateDirectory=` cannot express this directory. */
const stateDirectoryLines = (stateDir: string): ReadonlyArray<string> =>
  Option.match(stateDirectoryName(stateDir), {
    onNone: () => [],
    onSome: (name) => [`StateDirectory=${quoteSystemd(name)}`, "StateDirectoryMode=0700"]
  })

/**
 * The lines of a system unit that set its user and its sandbox.
 *
 * - `DynamicUser=`, set if the option `user` is absent: the service runs as a user that exists only for this service, and not as
 *   root. systemd creates the state directory, and gives it to the uid that this user has in the current run.
 * - `XDG_CONFIG_HOME`, `XDG_STATE_HOME`: a dynamic user has no home, so the unit sets these variables to folders of the system.
 * - `LoadCredential=`: lets the gateway read a file with a secret that only root can read.
 * - `ProtectProc=` is not set, because it would hide the processes of other users, and the gateway would consider a hidden owner
 *   of the lock dead.
 * - `PrivateUsers=` is not set, because it would hide the uids of other users, and the gateway needs these uids to check the
 *   owners of files.
 * - `AF_NETLINK`: the gateway needs these sockets to list the machine's addresses. It shows them in the error about a `host` that
 *   the machine does not have.
 * - `AF_UNIX`: systemd-notify needs these sockets.
 * - `MemoryDenyWriteExecute=` is not set, because V8 writes machine code to memory and then runs that code.
 */
const systemLines = (options: ServiceOptions): ReadonlyArray<string | false> => {
  const { args, execPath, port, scriptPath } = options
  const stateDir = systemStateDir(options)
  const stateDirectory = stateDirectoryLines(stateDir)
  const isHomeNeeded = [execPath, scriptPath, stateDir, args.get("config") ?? ""]
    .some((path) => homes.some((home) => isBelow(path, home)))
  const capability = isPrivileged(port) ? bindCapability : ""
  return [
    userLine(options),
    "Environment=XDG_CONFIG_HOME=%E XDG_STATE_HOME=%S",
    ...stateDirectory,
    stateDirectory.length === 0 && NodePath.isAbsolute(stateDir) && `ReadWritePaths=${quoteSystemd(stateDir)}`,
    ...credentialLines(options),
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

/**
 * The lines of a system unit of `gateway exec` that set its user, its state directory, its credential and its capabilities.
 *
 * - `DynamicUser=`, set if the option `user` is absent, implies a read-only system and a private `/tmp` (systemd.exec(5)).
 * - The unit sets no other sandbox, because the command may need to do anything that its user is allowed to do.
 * - `XDG_STATE_HOME` is not set, because the guarded command would inherit it. Instead, `gateway exec` gets the state directory by
 *   `--state-dir`.
 * - `LoadCredential=`: lets `gateway exec` read a file with the lease URL that only root can read. The command has the same user, so it
 *   can read the credential too.
 * - `AmbientCapabilities=`: the command inherits the capability to bind a port below 1024.
 */
const systemExecLines = (options: ServiceOptions, { hasPort }: GuardedCommand): ReadonlyArray<string | false> => [
  userLine(options),
  ...stateDirectoryLines(systemStateDir(options)),
  ...credentialLines(options),
  hasPort && isPrivileged(options.port) && `AmbientCapabilities=${bindCapability}`
]

/**
 * The lines of a unit of `gateway exec` that its command needs.
 *
 * - `WorkingDirectory=`: systemd takes quotes and backslashes in this value literally, and replaces only specifiers.
 * - `PATH`: the search path of systemd has no folder of a version manager, and a script such as `node_modules/.bin/vite` finds Node
 *   in `PATH`.
 */
const commandLines = ({ searchPath, workingDirectory }: GuardedCommand): ReadonlyArray<string> => [
  `WorkingDirectory=${workingDirectory.replace(/%/g, "%%")}`,
  `Environment=${quoteSystemd(`PATH=${searchPath}`)}`
]

/**
 * The text of the unit, for the user's systemd manager (`systemctl --user`) or for the system's.
 *
 * - `NotifyAccess=all`: systemd-notify(1) sends the notifications, and it is a child process of the gateway.
 * - `RestartPreventExitStatus`: exit status 64 means a usage or configuration error, which a restart would repeat. Exit status 78
 *   means that another gateway is healthy and stays in control.
 * - `KillMode=mixed`: only the gateway gets SIGTERM and drains. After the gateway has ended, systemd kills the remaining
 *   processes.
 * - `TimeoutStopSec`: after this time, systemd kills the gateway, and with `exec` the command and all processes that it has
 *   started.
 * - The sandbox takes away only what a gateway does not need. A unit of a user's manager has fewer sandbox settings, because
 *   `Protect…` and `Private…` need a mount namespace. A user's manager may not be able to create one.
 *
 * A unit of `gateway exec` has the same restart rules. These are the other exit statuses of `exec`, and why systemd restarts the
 * service after each of them:
 *
 * - 75: the lock or the port is taken. The cause is temporary. Under systemd `exec` itself does not use this status, because a start
 *   waits for an unhealthy owner and then ends with 125.
 * - 124: the command was not ready in time. 125: the lock was lost, or the owner stays unhealthy. The next start may succeed.
 * - 126, 127: the command cannot be executed or was not found. An upgrade may be replacing the program. systemd also restarts a
 *   service whose own program is missing. The start limit ends the restarts after 40 seconds.
 *
 * A unit of `gateway exec` has no `WatchdogSec`. `exec` would feed the watchdog itself, so the watchdog could not notice a command
 * that hangs. It has neither a sandbox nor `UMask`, because the command may need what they take away.
 *
 * @since 0.1.0
 * @category constructors
 */
export const systemdUnit = (options: ServiceOptions): string => {
  const timing = systemdTiming(options)
  const { exec } = options
  const isSystem = options.scope === "system"
  return lines(
    `# ${writtenBy}`,
    "[Unit]",
    `Description=${exec === undefined ? "Gateway" : "Command of gateway exec"} (profile ${
      options.profile.replace(/%/g, "%%")
    })`,
    isSystem && "After=network.target",
    `StartLimitIntervalSec=${timing.startLimitInterval}`,
    `StartLimitBurst=${timing.startLimitBurst}`,
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=all",
    `ExecStart=${execStart(options)}`,
    ...(exec === undefined ? [] : commandLines(exec)),
    "Restart=always",
    `RestartSec=${timing.restart}`,
    "RestartPreventExitStatus=64 78",
    `TimeoutStartSec=${timing.startTimeout}`,
    `TimeoutStopSec=${timing.stopTimeout}`,
    exec === undefined && `WatchdogSec=${timing.watchdog}`,
    "KillMode=mixed",
    ...(exec === undefined
      ? ["UMask=0077", "NoNewPrivileges=yes", "LockPersonality=yes", "RestrictRealtime=yes"]
      : []),
    ...(isSystem ? exec === undefined ? systemLines(options) : systemExecLines(options, exec) : []),
    "",
    "[Install]",
    `WantedBy=${isSystem ? "multi-user.target" : "default.target"}`
  )
}

/** The value of `ExecStart=`. A system unit passes files with secrets as credentials instead of their paths. */
const execStart = (options: ServiceOptions): string => {
  const [program, ...args] = commandWords("systemd", options)
  const isSystem = options.scope === "system"
  // The words after `--` are those of the command of `exec`.
  const ownEnd = options.exec === undefined ? args.length : args.indexOf("--")
  return [
    quoteSystemd(program),
    ...args.map((word, index) =>
      Option.match(isSystem && index < ownEnd ? credentialOf(options, args[index - 1]) : Option.none(), {
        onNone: () => quoteSystemdArgument(word),
        onSome: (credential) => `\${CREDENTIALS_DIRECTORY}/${credential}`
      })
    )
  ].join(" ")
}
