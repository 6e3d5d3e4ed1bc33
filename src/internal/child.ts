/**
 * Starts the programs that the gateway needs (ps, lsof, systemctl, systemd-notify, PowerShell, …).
 *
 * All of these programs are started here, so that three rules hold for each program. The program gets no secret from the
 * environment. The program is killed after a time limit. If Node's `spawn` throws, the gateway does not end. A test checks that only
 * one other module in `src` starts a program: `ChildProgram.ts`, which starts the user's command of `gateway exec`.
 */
// A child inherits the environment of this process, not the values of a `ConfigProvider`. So this file reads `process.env`.
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
 * The environment variables that child processes inherit, besides `LC_*`. Child processes do not get any other variables, because
 * these can contain tokens and passwords of the gateway, of its app and of OpenTelemetry's exporter. Some of the other variables
 * are meant for this process only, because systemd sets them for it (`NOTIFY_SOCKET`, `WATCHDOG_*`, `LISTEN_*`).
 */
const passed = new Set([
  // Folders of programs and libraries.
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
  // The user, and the folders of the user's files.
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "TEMP",
  "TMP",
  // Language, time zone and terminal.
  "LANG",
  "LANGUAGE",
  "LOCPATH",
  "LOCALE_ARCHIVE",
  "TZ",
  "TZDIR",
  "TERM",
  "NO_COLOR",
  "SYSTEMD_COLORS",
  // By these variables, systemctl and loginctl find the service manager, or decide not to contact it.
  "XDG_RUNTIME_DIR",
  "DBUS_SESSION_BUS_ADDRESS",
  "DBUS_SYSTEM_BUS_ADDRESS",
  "SYSTEMD_OFFLINE",
  "SYSTEMD_IGNORE_CHROOT",
  // Windows programs expect these variables. Without `SYSTEMROOT`, for example, some programs do not start.
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

/** Names are compared without case, because names on Windows can have any case. The variables `LC_*` set the locale. */
const isPassed = (name: string): boolean => passed.has(name.toUpperCase()) || /^LC_[A-Z]+$/.test(name)

/** The part of an environment that a child inherits. Pure. */
export const inherited = (environment: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => isPassed(name) && value !== undefined ? [[name, value]] : [])
  )

/** The part of this process's environment that a child inherits. */
export const ownInherited = (): Record<string, string> => inherited(process.env)

/** Makes a command. It inherits only the part of this process's environment that has no secrets (`inherited`). */
export const child = (program: string, ...args: ReadonlyArray<string>): Command.Command =>
  Command.make(program, ...args).pipe(Command.env(ownInherited(), { extendEnv: false }))

/** Why a program gave no result: it could not be started, or it did not end in time. */
export type ChildError = PlatformError | Cause.TimeoutException

/**
 * Turns an exception of Node's `spawn` into a failure. The executor of @effect/platform-node 0.108 does not catch such exceptions
 * (`runCommand` in internal/commandExecutor.ts of @effect/platform-node-shared), so they would be defects.
 *
 * If a start fails with EACCES, EAGAIN, EMFILE, ENFILE or ENOENT, Node emits an `error` event. With any other error Node throws:
 * ENOMEM, E2BIG, EPERM, UNKNOWN for a file that Windows cannot execute, … (nodejs/node, lib/internal/child_process.js,
 * `ChildProcess.prototype.spawn`). Node also throws if an argument has a null byte, or if its permission model forbids child
 * processes.
 */
const failIfThrown = (program: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.catchSomeDefect(self, (defect) => {
    const code = codeOf(defect)
    // Errors of Node have a code. A defect without a code is a bug of this program, and stays a defect.
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
 * Starts a program and runs `use` on it for at most `limit`. If the limit is reached or the effect is interrupted, the program
 * gets SIGKILL.
 *
 * The effect then returns without waiting for the program's end, because SIGKILL does not end a program while that program is
 * blocked in the kernel. The executor's own finalizer, which sends SIGTERM and waits (@effect/platform-node-shared, `runCommand`
 * in internal/commandExecutor.ts), runs in the background. The limit also holds if `run` is called in a finalizer, where a
 * timeout alone cannot interrupt anything.
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

/** The stdout of a program, with any exit status. */
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
