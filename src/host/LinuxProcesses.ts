/**
 * Reads the processes of Linux from `/proc` (proc(5)): start ticks, boot id and PID namespace. Threads do not count as
 * processes, nor do zombies without other threads.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { memoized } from "../internal/memoized.ts"
import { Sighting } from "./Liveness.ts"
import type { ProcessIdentity } from "./ProcessIdentity.ts"
import { lookBy, type Network, type ProcessHandle, type Source } from "./ProcessSource.ts"
import type { ProcessEntry } from "./ProcessTree.ts"

/**
 * Reads three fields of `/proc/<pid>/stat`: state (3), num_threads (20) and starttime (22). The start time is in clock ticks
 * since boot.
 *
 * The command in field 2 can contain spaces and brackets, so counting starts after the last `)`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseProcStat = (
  text: string
): Option.Option<{ readonly state: string; readonly threads: number; readonly startTicks: number }> => {
  const rest = text.slice(text.lastIndexOf(")") + 1).trim().split(/\s+/)
  const [state, threads, startTicks] = [rest[0], Number(rest[17]), Number(rest[19])]
  return state !== undefined && /^[A-Za-z]$/.test(state) && Number.isInteger(threads) && Number.isInteger(startTicks)
    ? Option.some({ state, threads, startTicks })
    : Option.none()
}

/**
 * The pid of the parent in `/proc/<pid>/stat` (field 4, proc(5)). It is 0 if the parent is outside this PID namespace.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseParent = (stat: string): Option.Option<number> =>
  Option.fromNullable(/^\s+[A-Za-z]\s+(\d+)\s/.exec(stat.slice(stat.lastIndexOf(")") + 1))?.[1]).pipe(
    Option.map(Number)
  )

/**
 * Reads the thread group id from the text of `/proc/<pid>/status`. If the id equals the pid, the pid is that of a process.
 * Otherwise the pid is that of a thread.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseTgid = (text: string): Option.Option<number> =>
  Option.fromNullable(/^Tgid:\s*(\d+)$/m.exec(text)?.[1]).pipe(Option.map(Number))

/**
 * Reads the offset of this time namespace's boot-time clock, in clock ticks (time_namespaces(7)). The kernel adds this
 * offset to the start times in `/proc`. So callers subtract the offset from a start time before they compare it.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseBootOffsetTicks = (text: string): number => {
  const match = /^boottime\s+(-?\d+)\s+(-?\d+)$/m.exec(text)
  return match === null ? 0 : Math.floor(Number(match[1]) * ticksPerSecond + Number(match[2]) / nanosPerTick)
}

/** `USER_HZ`, the unit of start times in proc(5). It is 100 on every architecture that Node supports. */
const ticksPerSecond = 100
const nanosPerTick = 1e9 / ticksPerSecond

/**
 * Whether a process has ended. A zombie counts as ended only if it has no other threads. While other threads run, the files of
 * the process stay open and its locks stay held.
 */
const isDead = (stat: { readonly state: string; readonly threads: number }) =>
  (stat.state === "Z" || stat.state === "X" || stat.state === "x") && stat.threads <= 1

/** The source of process facts on Linux: `/proc`. */
export const linux = (handle: ProcessHandle): Effect.Effect<Source, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const read = (path: string) => fs.readFileString(path)
    const offset = yield* memoized(
      read("/proc/self/timens_offsets").pipe(Effect.map(parseBootOffsetTicks), Effect.orElseSucceed(() => 0))
    )
    const stat = (pid: number) => Effect.map(read(`/proc/${pid}/stat`), parseProcStat)

    // One after the other: a fiber for each would take longer than the reads.
    const self: Effect.Effect<ProcessIdentity> = Effect.all({
      stat: Effect.option(stat(handle.pid)).pipe(Effect.map(Option.flatten)),
      offset,
      bootId: Effect.option(read("/proc/sys/kernel/random/boot_id")),
      pidNamespace: Effect.option(fs.readLink("/proc/self/ns/pid"))
    }).pipe(
      Effect.map(({ bootId, offset, pidNamespace, stat }) => ({
        pid: handle.pid,
        ...(Option.isSome(stat) ? { startTime: Math.max(0, stat.value.startTicks - offset) } : {}),
        ...(Option.isSome(bootId) ? { bootId: bootId.value.trim() } : {}),
        ...(Option.isSome(pidNamespace) ? { pidNamespace: pidNamespace.value } : {})
      }))
    )

    // Returns `None` if /proc does not show the process, for example because /proc is mounted with the option hidepid and
    // another user owns the process.
    const readProc = (pid: number): Effect.Effect<Option.Option<Sighting>> =>
      Effect.gen(function*() {
        const tgid = Option.flatten(yield* Effect.option(Effect.map(read(`/proc/${pid}/status`), parseTgid)))
        if (Option.isSome(tgid) && tgid.value !== pid) return Option.some(Sighting.absent)
        const seen = Option.flatten(yield* Effect.option(stat(pid)))
        if (Option.isNone(seen)) return Option.none()
        return Option.some(
          isDead(seen.value)
            ? Sighting.absent
            : Sighting.present(Math.max(0, seen.value.startTicks - (yield* offset)))
        )
      })
    const look = (pid: number): Effect.Effect<Sighting> => lookBy(handle, pid, readProc(pid))

    const commandName = (pid: number) =>
      fs.readLink(`/proc/${pid}/exe`).pipe(
        Effect.map((path) => path.replace(/ \(deleted\)$/, "").split("/").pop() ?? ""),
        Effect.orElse(() => Effect.map(read(`/proc/${pid}/comm`), (text) => text.trim())),
        Effect.option,
        Effect.map(Option.filter((name) => name !== ""))
      )

    const networkOf = (pid: number | "self") => Effect.option(fs.readLink(`/proc/${pid}/ns/net`))
    const ownNetwork = yield* memoized(networkOf("self"))
    const network = (pid: number) =>
      Effect.zipWith(
        ownNetwork,
        networkOf(pid),
        (own, other): Network =>
          Option.isNone(own) || Option.isNone(other) ? "Unknown" : own.value === other.value ? "Same" : "Other"
      )

    const entry = (pid: number): Effect.Effect<ReadonlyArray<ProcessEntry>> =>
      Effect.zipWith(read(`/proc/${pid}/stat`), offset, (text, offset) => {
        const [seen, parent] = [parseProcStat(text), parseParent(text)]
        return Option.isNone(seen) || Option.isNone(parent) || isDead(seen.value)
          ? []
          : [{ pid, parent: parent.value, startTime: Math.max(0, seen.value.startTicks - offset) }]
      }).pipe(Effect.orElseSucceed(() => []))
    const processes = fs.readDirectory("/proc").pipe(
      Effect.map((names) => names.filter((name) => /^\d+$/.test(name)).map(Number)),
      Effect.orElseSucceed((): ReadonlyArray<number> => []),
      Effect.flatMap(Effect.forEach(entry, { concurrency: 16 })),
      Effect.map((found) => found.flat())
    )

    return { self, look, commandName, network, processes, tolerance: 1 }
  })
