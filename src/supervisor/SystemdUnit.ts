/**
 * The systemd unit of a gateway: systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.syntax(7).
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { commandWords, type ServiceOptions, stopTimeout, tokenFileFlag, wholeSeconds } from "./ServiceOptions.ts"
import { lines, writtenBy } from "./serviceText.ts"

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
  options: Pick<ServiceOptions, "drainTimeout" | "health">
): SystemdTiming => {
  const restart = 2
  const watchdog = 30
  const startLimitBurst = 20
  const startTimeout = Math.max(90, 30 + 2 * wholeSeconds(options.health.retryInterval))
  const shortestWait = Math.min(Duration.toSeconds(options.health.timeout), startTimeout, watchdog)
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
