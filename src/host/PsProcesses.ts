/**
 * Reads the processes of macOS and other Unix systems from ps(1).
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { child, output } from "../internal/child.ts"
import { Sighting } from "./Liveness.ts"
import { lookBy, ownClock, type ProcessHandle, type Source } from "./ProcessSource.ts"
import type { ProcessEntry } from "./ProcessTree.ts"

/**
 * Reads one line of `ps -o stat= -o lstart= -o comm= -p <pid>`, run with `LC_ALL=C` and `TZ=UTC`. The line has the state
 * letters, the start time in whole seconds, and the program.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parsePs = (
  text: string
): Option.Option<{ readonly state: string; readonly startMillis: number; readonly command: string }> => {
  const match = /^\s*(\S+)\s+[A-Z][a-z]{2}\s+([A-Z][a-z]{2}\s+\d{1,2}\s+\d{2}:\d{2}:\d{2}\s+\d{4})\s+(.*\S)\s*$/m.exec(
    text
  )
  const startMillis = Date.parse(`${match?.[2]} UTC`)
  return match?.[1] === undefined || match[3] === undefined || Number.isNaN(startMillis)
    ? Option.none()
    : Option.some({ state: match[1], startMillis, command: match[3].split("/").pop() ?? match[3] })
}

/**
 * Reads the lines of `ps -A -o pid= -o ppid= -o stat= -o lstart=`, run with `LC_ALL=C` and `TZ=UTC`. Zombies and lines of another
 * form are left out.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parsePsTree = (text: string): ReadonlyArray<ProcessEntry> =>
  text.split("\n").flatMap((line) => {
    const match =
      /^\s*(\d+)\s+(\d+)\s+(\S+)\s+[A-Z][a-z]{2}\s+([A-Z][a-z]{2}\s+\d{1,2}\s+\d{2}:\d{2}:\d{2}\s+\d{4})\s*$/.exec(line)
    const startTime = Date.parse(`${match?.[4]} UTC`)
    return match === null || Number.isNaN(startTime) || match[3]?.startsWith("Z") === true
      ? []
      : [{ pid: Number(match[1]), parent: Number(match[2]), startTime }]
  })

/** How long ps(1) may take. */
const psTimeout = Duration.seconds(2)

/** The source of process facts on Unix systems other than Linux: ps(1). */
export const posix = (handle: ProcessHandle): Effect.Effect<Source, never, CommandExecutor.CommandExecutor> =>
  Effect.map(Effect.context<CommandExecutor.CommandExecutor>(), (context) => {
    const ps = (pid: number) =>
      // Each column has its own `-o`, because a list such as `-o stat=,lstart=` does not work everywhere. In POSIX and on FreeBSD
      // (freebsd-src, bin/ps/keyword.c, parsefmt) the text after `=` up to the end of the argument is the header of the column.
      // So ps would read `,lstart=` as the header of `stat`. On macOS the header ends before the next column, so both forms work.
      child("ps", "-o", "stat=", "-o", "lstart=", "-o", "comm=", "-p", String(pid)).pipe(
        Command.env({ LC_ALL: "C", TZ: "UTC" }),
        (command) => output(command, psTimeout),
        Effect.map(parsePs),
        Effect.option,
        Effect.map(Option.flatten),
        Effect.provide(context)
      )
    const processes = child("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "lstart=").pipe(
      Command.env({ LC_ALL: "C", TZ: "UTC" }),
      (command) => output(command, psTimeout),
      Effect.map(parsePsTree),
      Effect.orElseSucceed((): ReadonlyArray<ProcessEntry> => []),
      Effect.provide(context)
    )
    const look = (pid: number): Effect.Effect<Sighting> =>
      lookBy(
        handle,
        pid,
        Effect.map(
          ps(pid),
          Option.map(({ startMillis, state }) =>
            state.startsWith("Z") ? Sighting.absent : Sighting.present(startMillis)
          )
        )
      )
    return {
      self: Effect.succeed({ pid: handle.pid, startTime: handle.startedAt }),
      look,
      commandName: (pid) => Effect.map(ps(pid), Option.map(({ command }) => command)),
      network: () => Effect.succeed("Same"),
      processes,
      ...ownClock,
      // macOS records a start time once, at the fork, and never changes it (see `ownClock`). FreeBSD computes start times
      // from the time of boot, which changes when the clock is set (freebsd-src, sys/kern/kern_proc.c, fill_kinfo_proc_only).
      // How other systems compute start times is unknown.
      isFixed: handle.platform === "darwin"
    }
  })
