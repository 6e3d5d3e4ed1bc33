/**
 * The programs that the gateway starts for itself (ps, lsof, systemctl, systemd-notify, PowerShell, …), and what they get of
 * its environment. All of them are made here, so that none can be handed a secret: a test searches `src` for others.
 */
// The environment of this very process is what its children would inherit, whatever a `ConfigProvider` says.
// @effect-diagnostics processEnv:off
import * as Command from "@effect/platform/Command"

/**
 * Everything else stays here: tokens and passwords of the gateway, of its app and of OpenTelemetry's exporter, and what
 * systemd means for this process alone (`NOTIFY_SOCKET`, `WATCHDOG_*`, `LISTEN_*`).
 */
const passed = new Set([
  // Where programs and their libraries are.
  "PATH",
  "PATHEXT",
  "LD_LIBRARY_PATH",
  "LD_PRELOAD",
  "DYLD_LIBRARY_PATH",
  "DYLD_FALLBACK_LIBRARY_PATH",
  "NIX_LD",
  "NIX_LD_LIBRARY_PATH",
  "PREFIX",
  "PSMODULEPATH",
  // Whose they are, and where their files are.
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "TEMP",
  "TMP",
  // How they speak.
  "LANG",
  "LANGUAGE",
  "LOCPATH",
  "LOCALE_ARCHIVE",
  "TZ",
  "TZDIR",
  "TERM",
  // How systemctl and loginctl find the manager.
  "XDG_RUNTIME_DIR",
  "DBUS_SESSION_BUS_ADDRESS",
  "DBUS_SYSTEM_BUS_ADDRESS",
  "SYSTEMD_OFFLINE",
  "SYSTEMD_IGNORE_CHROOT",
  // What a Windows program needs to start.
  "SYSTEMROOT",
  "SYSTEMDRIVE",
  "WINDIR",
  "COMSPEC",
  "OS",
  "PROCESSOR_ARCHITECTURE",
  "NUMBER_OF_PROCESSORS",
  "COMPUTERNAME",
  "USERNAME",
  "USERDOMAIN",
  "USERPROFILE",
  "HOMEDRIVE",
  "HOMEPATH",
  "APPDATA",
  "LOCALAPPDATA",
  "PROGRAMDATA",
  "ALLUSERSPROFILE",
  "PROGRAMFILES",
  "PROGRAMFILES(X86)",
  "PROGRAMW6432",
  "COMMONPROGRAMFILES",
  "COMMONPROGRAMFILES(X86)"
])

/** Names are upper case, and on Windows any case. `LC_*` are the locale's. */
const isPassed = (name: string): boolean => passed.has(name.toUpperCase()) || /^LC_[A-Z]+$/.test(name)

/** What a child gets of an environment. Pure. */
export const inherited = (environment: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => isPassed(name) && value !== undefined ? [[name, value]] : [])
  )

/** A program of this machine with the part of our environment, as it is now, that is no secret. */
export const child = (program: string, ...args: ReadonlyArray<string>): Command.Command =>
  Command.make(program, ...args).pipe(Command.env(inherited(process.env), { extendEnv: false }))
