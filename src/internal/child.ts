/**
 * The programs that the gateway starts for itself (ps, lsof, systemctl, systemd-notify, PowerShell, …), and what they get of
 * its environment. All of them are made and run here, so that none can be handed a secret, last for ever, or end the gateway
 * by a start that throws: a test searches `src` for others.
 */
// The environment of this very process is what its children would inherit, whatever a `ConfigProvider` says.
// @effect-diagnostics processEnv:off
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import { type PlatformError, SystemError } from "@effect/platform/Error"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { atMost } from "./atMost.ts"
import { codeOf } from "./errno.ts"

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

/** Why a program gave no answer: it could not be started, or it did not end in time. */
export type ChildError = PlatformError | Cause.TimeoutException

/**
 * Makes a failure of what `spawn` throws.
 *
 * Node emits five errors of a start (EACCES, EAGAIN, EMFILE, ENFILE, ENOENT) and throws every other: ENOMEM, E2BIG, EPERM,
 * UNKNOWN for a file that Windows cannot execute, … (nodejs/node, lib/internal/child_process.js, `ChildProcess.prototype.spawn`).
 * It throws as well for an argument with a null byte and where its permission model forbids child processes. The executor of
 * @effect/platform-node 0.108 has no handler for that, so it would be a defect.
 */
const failIfThrown = (program: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.catchSomeDefect(self, (defect) => {
    const code = codeOf(defect)
    // A mistake of this program has no code.
    return code === "" || !(defect instanceof Error) ? Option.none() : Option.some(
      new SystemError({
        reason: code === "ENOENT" ? "NotFound" : code === "EACCES" || code === "EPERM" ? "PermissionDenied" : "Unknown",
        module: "Command",
        method: "spawn",
        pathOrDescriptor: program,
        syscall: "spawn",
        description: defect.message,
        cause: defect
      })
    )
  })

const programOf = (command: Command.Command): string => Command.flatten(command)[0].command

/**
 * Starts a program, and runs `use` on it for as long as `limit`: then, and where it is interrupted, the program gets SIGKILL.
 * Nobody waits for its end, because a program in the kernel may not end (the executor's own finalizer sends SIGTERM and waits).
 * Also in a finalizer, where a timeout alone could not interrupt anything.
 */
export const run = <A, E>(
  command: Command.Command,
  limit: Duration.Duration,
  use: (process: CommandExecutor.Process) => Effect.Effect<A, E>
): Effect.Effect<A, E | ChildError, CommandExecutor.CommandExecutor> =>
  Effect.gen(function*() {
    const process = yield* Command.start(command)
    yield* Effect.addFinalizer((exit) =>
      Exit.isSuccess(exit) ? Effect.void : process.kill("SIGKILL").pipe(
        failIfThrown("taskkill"),
        Effect.ignore,
        Effect.unlessEffect(Effect.orElseSucceed(Effect.negate(process.isRunning), () => false))
      )
    )
    return yield* use(process)
  }).pipe(
    Effect.scoped,
    failIfThrown(programOf(command)),
    Effect.disconnect,
    atMost(limit),
    Effect.flatMap(Option.match({
      onNone: () => Effect.fail(new Cause.TimeoutException()),
      onSome: Effect.succeed
    }))
  )

/** What a program prints on stdout, whatever its exit status. */
export const output = (
  command: Command.Command,
  limit: Duration.Duration
): Effect.Effect<string, ChildError, CommandExecutor.CommandExecutor> =>
  run(command, limit, ({ stdout }) => Stream.mkString(Stream.decodeText(stdout)))

/** The exit status of a program. */
export const exitStatus = (
  command: Command.Command,
  limit: Duration.Duration
): Effect.Effect<number, ChildError, CommandExecutor.CommandExecutor> =>
  run(command, limit, ({ exitCode }) => Effect.map(exitCode, Number))
