/**
 * Is that process alive, and is it still the same process?
 *
 * Three-valued: what cannot be read, lies in another PID namespace or has nothing to be
 * compared with is `Unknown`, which is proof of nothing.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { child, output } from "../internal/child.ts"
import { memoized } from "../internal/memoized.ts"
import type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"

export type { Liveness, ProcessIdentity }

/**
 * What the operating system tells of processes, this one too. Nothing here fails.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProcessTable extends Context.Tag("gateway-lock/ProcessTable")<ProcessTable, {
  /** This process. Parts that cannot be read are absent. */
  readonly self: Effect.Effect<ProcessIdentity>
  /** Whether the process that a record describes still runs. Never fails: what cannot be told is `Unknown`. */
  readonly liveness: (recorded: ProcessIdentity) => Effect.Effect<Liveness>
  /** The program's file name, without arguments; `None` where it cannot be read. */
  readonly commandName: (pid: number) => Effect.Effect<Option.Option<string>>
  /**
   * Whether a process has the same network as this one: only then do its ports mean anything here. To be asked of a pid
   * that means the same process here.
   */
  readonly network: (pid: number) => Effect.Effect<Network>
  /**
   * Notes an instance of this program as released when the scope closes. A file that it could not remove is a leftover from
   * then on, though its process lives.
   */
  readonly noteRelease: (instanceId: string) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Whether a record was left by this program, which has released that instance, or by an earlier process with this pid. A
   * record of this process that another worker thread or another copy of the library wrote is no leftover.
   */
  readonly isLeftover: (recorded: ProcessIdentity & { readonly instanceId: string }) => Effect.Effect<boolean>
}>() {}

/**
 * In which network a process is, compared with this one.
 *
 * - `Same`: the same network namespace; everywhere on a platform that has none.
 * - `Other`: another one, with ports of its own (network_namespaces(7)).
 * - `Unknown`: it cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Network = "Same" | "Other" | "Unknown"

/**
 * What the operating system says of one pid.
 *
 * `Absent`: no such process (`ESRCH`), or only a thread or a dead process under that number.
 * `Hidden`: it exists and nothing more can be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Sighting =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Hidden" }
  | { readonly _tag: "Present"; readonly startTime: number }

/**
 * The three of them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Sighting = {
  absent: { _tag: "Absent" } as const,
  hidden: { _tag: "Hidden" } as const,
  present: (startTime: number): Sighting => ({ _tag: "Present", startTime })
}

/**
 * How a recorded start time compares with the one that the system has, in the unit of `startTime`. A number is a `tolerance`
 * alone.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison {
  /** How far apart two readings of one start time can be. */
  readonly tolerance: number
  /**
   * How much later than the system's the recorded time may be: for one that a process read by its own clock, when its exec
   * was done. Default 0: both are the system's.
   */
  readonly startLag?: number | undefined
  /** Whether the system has the same time for a process as long as it lives. Default `true`. */
  readonly isFixed?: boolean | undefined
}

/**
 * Compares a recorded process with what was seen under its pid. Pure.
 *
 * - Another PID namespace or another boot: `Unknown`. The pid means nothing here; after a reboot as well as
 *   for a neighbour on a shared folder, and nothing in a record tells those two apart.
 * - Nobody under the pid: `Gone`.
 * - Somebody whose start time cannot be compared: `Unknown`.
 * - Start times more than the tolerance apart: the pid was given to another process, `Gone`.
 *
 * A process that read its start by its own clock did so at the end of its exec, at the time that the system has for it or
 * later. So only a process that started later than recorded is another one. A much earlier one is none that a pid was given
 * to after the record, and perhaps not the recorded one either (a record of another machine): `Unknown`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge = (
  self: ProcessIdentity,
  recorded: ProcessIdentity,
  sighting: Sighting,
  comparison: number | Comparison
): Liveness => {
  const { isFixed = true, startLag = 0, tolerance } = typeof comparison === "number"
    ? { tolerance: comparison }
    : comparison
  if (recorded.pidNamespace !== self.pidNamespace || recorded.bootId !== self.bootId) return "Unknown"
  switch (sighting._tag) {
    case "Absent":
      return "Gone"
    case "Hidden":
      return "Unknown"
    case "Present":
      if (recorded.startTime === undefined) return "Unknown"
      if (sighting.startTime - recorded.startTime > tolerance) return isFixed ? "Gone" : "Unknown"
      if (recorded.startTime - sighting.startTime <= tolerance + startLag) return "Alive"
      return startLag === 0 && isFixed ? "Gone" : "Unknown"
  }
}

/**
 * What each platform provides; `make` does the rest.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  /** This process, with what the platform can tell of it. */
  readonly self: Effect.Effect<ProcessIdentity>
  /** What is to be seen under a pid now. */
  readonly look: (pid: number) => Effect.Effect<Sighting>
  /** The program's file name, without arguments. */
  readonly commandName: (pid: number) => Effect.Effect<Option.Option<string>>
  /** In which network a process is. */
  readonly network: (pid: number) => Effect.Effect<Network>
  /** How far apart two readings of one start time can be, in the unit of `startTime`. */
  readonly tolerance: number
  /** As in `Comparison`. */
  readonly startLag?: number | undefined
  /** As in `Comparison`. */
  readonly isFixed?: boolean | undefined
}

/**
 * A table over what a platform tells. This process is asked about once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (source: Source): Effect.Effect<ProcessTable["Type"]> =>
  Effect.gen(function*() {
    const self = yield* memoized(source.self)
    const released = makeReleased()
    return ProcessTable.of({
      self,
      liveness: (recorded) =>
        Effect.map(
          Effect.all([self, source.look(recorded.pid)]),
          ([self, sighting]) => judge(self, recorded, sighting, source)
        ),
      commandName: source.commandName,
      network: source.network,
      noteRelease: (instanceId) => Effect.addFinalizer(() => Effect.sync(() => released.add(instanceId))),
      isLeftover: (recorded) =>
        Effect.map(self, (self) => released.has(recorded.instanceId) || isPredecessor(self, recorded, source.tolerance))
    })
  })

/** So many released instances are remembered: those that are asked about, and the latest ones. */
const maxReleased = 100

const makeReleased = () => {
  /** In the order in which they were added or asked about. */
  const ids = new Set<string>()
  const add = (id: string) => {
    ids.delete(id)
    ids.add(id)
    for (const oldest of ids) {
      if (ids.size <= maxReleased) break
      ids.delete(oldest)
    }
  }
  return {
    add,
    /** A file that cannot be removed is met by each later start: it must not be forgotten for those. */
    has: (id: string): boolean => {
      if (!ids.has(id)) return false
      add(id)
      return true
    }
  }
}

/**
 * Whether a record names an earlier process that had this process's pid: the same pid, PID namespace and boot, and start
 * times more than `tolerance` apart. With the same start time it names this very process, which lives; with another boot,
 * perhaps a process of another machine: every machine's first PID namespace has the same name.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isPredecessor = (self: ProcessIdentity, recorded: ProcessIdentity, tolerance: number): boolean =>
  recorded.pid === self.pid && recorded.pidNamespace === self.pidNamespace && recorded.bootId === self.bootId
  && recorded.startTime !== undefined && self.startTime !== undefined
  && Math.abs(recorded.startTime - self.startTime) > tolerance

/**
 * The signal-0 question of kill(2): `ESRCH` is the only proof of absence, `EPERM` means it exists.
 */
type Existence = "yes" | "no"

/**
 * What only the process itself can give.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessHandle {
  readonly pid: number
  /** As `process.platform` has it. */
  readonly platform: string
  /**
   * When this process started, milliseconds since the epoch; the same in each of its threads. Used where asking the system
   * would mean starting a program.
   */
  readonly startedAt: number
  /** kill(2): throws an error with `code` `ESRCH` or `EPERM`. */
  readonly kill: (pid: number, signal: 0) => boolean
}

const exists = (handle: ProcessHandle, pid: number): Effect.Effect<Existence> =>
  Effect.try(() => handle.kill(pid, 0)).pipe(
    Effect.match({
      onSuccess: (): Existence => "yes",
      onFailure: ({ error }): Existence =>
        typeof error === "object" && error !== null && "code" in error && error.code === "ESRCH" ? "no" : "yes"
    })
  )

/**
 * Between the system's start time, to the second for ps(1), and `ProcessHandle.startedAt`, in milliseconds. A Node from a slow
 * disk, or under a virus scanner, may take a minute to take its own.
 *
 * The system's is the wall clock of the fork on macOS (apple-oss-distributions/xnu, bsd/kern/kern_fork.c, `p_start`) and of
 * the creation on Windows (`Win32_Process.CreationDate`). It does not move when the clock is set.
 *
 * @internal
 */
export const ownClock = { tolerance: 2000, startLag: 60_000 } as const satisfies Comparison

// ---------------------------------------------------------------------------
// Linux: proc(5)
// ---------------------------------------------------------------------------

/**
 * The fields of `/proc/<pid>/stat` that matter: state (3), num_threads (20), starttime (22), in clock ticks since boot.
 *
 * The command in field 2 can itself hold spaces and brackets, so counting starts after the last `)`.
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
 * The thread group id of `/proc/<pid>/status`: equal to the pid for a process, another number for a thread.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseTgid = (text: string): Option.Option<number> =>
  Option.fromNullable(/^Tgid:\s*(\d+)$/m.exec(text)?.[1]).pipe(Option.map(Number))

/**
 * How far the boot-time clock of this time namespace is shifted, in clock ticks (time_namespaces(7)): start times are
 * shown shifted by it, and must be compared without.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseBootOffsetTicks = (text: string): number => {
  const match = /^boottime\s+(-?\d+)\s+(-?\d+)$/m.exec(text)
  return match === null ? 0 : Math.floor(Number(match[1]) * ticksPerSecond + Number(match[2]) / nanosPerTick)
}

/** `USER_HZ`, which proc(5) uses for start times: 100 on every architecture that Node supports. */
const ticksPerSecond = 100
const nanosPerTick = 1e9 / ticksPerSecond

/** A zombie whose other threads still run is alive: its files and locks are. */
const isDead = (stat: { readonly state: string; readonly threads: number }) =>
  (stat.state === "Z" || stat.state === "X" || stat.state === "x") && stat.threads <= 1

const linux = (handle: ProcessHandle): Effect.Effect<Source, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const read = (path: string) => fs.readFileString(path)
    const offset = yield* memoized(
      read("/proc/self/timens_offsets").pipe(Effect.map(parseBootOffsetTicks), Effect.orElseSucceed(() => 0))
    )
    const stat = (pid: number) => Effect.map(read(`/proc/${pid}/stat`), parseProcStat)

    const self: Effect.Effect<ProcessIdentity> = Effect.all({
      stat: Effect.option(stat(handle.pid)).pipe(Effect.map(Option.flatten)),
      offset,
      bootId: Effect.option(read("/proc/sys/kernel/random/boot_id")),
      pidNamespace: Effect.option(fs.readLink("/proc/self/ns/pid"))
    }, { concurrency: "unbounded" }).pipe(
      Effect.map(({ bootId, offset, pidNamespace, stat }) => ({
        pid: handle.pid,
        ...(Option.isSome(stat) ? { startTime: Math.max(0, stat.value.startTicks - offset) } : {}),
        ...(Option.isSome(bootId) ? { bootId: bootId.value.trim() } : {}),
        ...(Option.isSome(pidNamespace) ? { pidNamespace: pidNamespace.value } : {})
      }))
    )

    const look = (pid: number): Effect.Effect<Sighting> =>
      Effect.gen(function*() {
        if ((yield* exists(handle, pid)) === "no") return Sighting.absent
        const tgid = Option.flatten(yield* Effect.option(Effect.map(read(`/proc/${pid}/status`), parseTgid)))
        if (Option.isSome(tgid) && tgid.value !== pid) return Sighting.absent
        const seen = Option.flatten(yield* Effect.option(stat(pid)))
        if (Option.isNone(seen)) {
          // It may have ended between the two questions; else /proc hides it (hidepid, another user).
          return (yield* exists(handle, pid)) === "no" ? Sighting.absent : Sighting.hidden
        }
        return isDead(seen.value)
          ? Sighting.absent
          : Sighting.present(Math.max(0, seen.value.startTicks - (yield* offset)))
      })

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

    return { self, look, commandName, network, tolerance: 1 }
  })

// ---------------------------------------------------------------------------
// macOS: ps(1)
// ---------------------------------------------------------------------------

/**
 * Reads one line of `ps -o stat= -o lstart= -o comm= -p <pid>` under `LC_ALL=C` and `TZ=UTC`: state letters, start time
 * (to the second), program.
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

/** How long ps(1) may take. */
const psTimeout = Duration.seconds(2)

const posix = (handle: ProcessHandle): Effect.Effect<Source, never, CommandExecutor.CommandExecutor> =>
  Effect.map(Effect.context<CommandExecutor.CommandExecutor>(), (context) => {
    const ps = (pid: number) =>
      // Each column by an option of its own: what follows `=` is one column's header up to the end of the argument, for POSIX
      // and for FreeBSD (freebsd-src, bin/ps/keyword.c, parsefmt), though not for macOS.
      child("ps", "-o", "stat=", "-o", "lstart=", "-o", "comm=", "-p", String(pid)).pipe(
        Command.env({ LC_ALL: "C", TZ: "UTC" }),
        (command) => output(command, psTimeout),
        Effect.map(parsePs),
        Effect.option,
        Effect.map(Option.flatten),
        Effect.provide(context)
      )
    const look = (pid: number): Effect.Effect<Sighting> =>
      Effect.gen(function*() {
        if ((yield* exists(handle, pid)) === "no") return Sighting.absent
        const seen = yield* ps(pid)
        if (Option.isNone(seen)) return (yield* exists(handle, pid)) === "no" ? Sighting.absent : Sighting.hidden
        return seen.value.state.startsWith("Z") ? Sighting.absent : Sighting.present(seen.value.startMillis)
      })
    return {
      self: Effect.succeed({ pid: handle.pid, startTime: handle.startedAt }),
      look,
      commandName: (pid) => Effect.map(ps(pid), Option.map(({ command }) => command)),
      network: () => Effect.succeed("Same"),
      ...ownClock,
      // FreeBSD adds the time of boot, which moves when the clock is set (freebsd-src, sys/kern/kern_proc.c,
      // fill_kinfo_proc_only). What others do is not known.
      isFixed: handle.platform === "darwin"
    }
  })

// ---------------------------------------------------------------------------
// Windows: Win32_Process
// ---------------------------------------------------------------------------

const CimProcess = Schema.Struct({
  ProcessId: Schema.Number,
  Name: Schema.NullOr(Schema.String),
  /** ISO 8601, UTC; `null` where Windows has none, as for its idle process. */
  Created: Schema.NullOr(Schema.String)
})
const CimProcesses = Schema.parseJson(Schema.Union(Schema.Array(CimProcess), CimProcess))

/** What Windows tells of a process: its program's file name, and when it was created, in milliseconds since the epoch. */
interface Known {
  readonly name: string
  readonly created: number
}

/**
 * Reads the answer of the CIM query, by pid: `[{"ProcessId":4,"Name":"node.exe","Created":"2026-01-01T00:00:00.0000000Z"}]`. A
 * process without a name or a time is left out. `None` for anything else.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseCim = (text: string): Option.Option<ReadonlyMap<number, Known>> =>
  Option.map(
    Schema.decodeUnknownOption(CimProcesses)(text.trim()),
    (answer) =>
      new Map(
        [answer].flat().flatMap(({ Created, Name, ProcessId }) => {
          const created = Date.parse(Created ?? "")
          return Name === null || Number.isNaN(created) ? [] : [[ProcessId, { name: Name, created }] as const]
        })
      )
  )

/**
 * All processes, so that one query answers whatever is asked while it runs. Nothing that the language mode of a locked down
 * machine forbids: methods of the core types alone (PowerShell's about_Language_Modes, ConstrainedLanguage).
 */
const cimQuery = "Get-CimInstance Win32_Process -Property ProcessId,Name,CreationDate | "
  + "Select-Object ProcessId,Name,@{n='Created';e={if($_.CreationDate){$_.CreationDate.ToUniversalTime().ToString('o')}}} | "
  + "ConvertTo-Json -Compress"

/**
 * How long a question about a process may wait for the system, where that takes a program that is slow to start: PowerShell.
 * Counted from the start of that program, which goes on: a later question has its answer. Default: until it ends, ten seconds
 * at most. A start does not wait at all, a look at a gateway for as long as for a probe.
 *
 * @since 0.1.0
 * @category references
 */
export class Patience extends Context.Reference<Patience>()("gateway-lock/ProcessTable/Patience", {
  defaultValue: () => Duration.infinity
}) {}

/** PowerShell alone needs a second to start; on a slow machine several. */
const cimTimeout = Duration.seconds(10)

/** An answer is used so long, in milliseconds; one that failed to come is not asked for again so soon. */
const [freshFor, retryAfter] = [2000, 30_000]

interface Query {
  readonly began: number
  readonly answer: Deferred.Deferred<Option.Option<ReadonlyMap<number, Known>>>
  /** Until when nothing else is asked. Unknown while it runs. */
  readonly until: Ref.Ref<number>
}

const nowMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/**
 * Node tells of no process but its own when it started (`process.kill(pid, 0)` says that there is one), so Windows is asked by
 * PowerShell, and only about a pid that there is.
 */
const windows = (
  handle: ProcessHandle
): Effect.Effect<Source, never, CommandExecutor.CommandExecutor | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    const scope = yield* Effect.scope
    const turn = yield* Effect.makeSemaphore(1)
    const last = yield* Ref.make(Option.none<Query>())

    /** The query that runs or has just answered, or a new one. */
    const query = Effect.gen(function*() {
      const now = yield* nowMillis
      const before = yield* Ref.get(last)
      if (Option.isSome(before) && now < (yield* Ref.get(before.value.until))) return before.value
      const answer = yield* Deferred.make<Option.Option<ReadonlyMap<number, Known>>>()
      const until = yield* Ref.make(Number.POSITIVE_INFINITY)
      const next: Query = { began: now, answer, until }
      yield* output(child("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", cimQuery), cimTimeout).pipe(
        Effect.map(parseCim),
        Effect.orElseSucceed(() => Option.none()),
        Effect.onExit((exit) =>
          Effect.flatMap(nowMillis, (now) =>
            Ref.set(until, now + (Exit.isSuccess(exit) && Option.isSome(exit.value) ? freshFor : retryAfter)))
        ),
        Effect.intoDeferred(answer),
        Effect.interruptible,
        // When the table goes, the program goes.
        Effect.forkIn(scope)
      )
      yield* Ref.set(last, Option.some(next))
      return next
    }).pipe(Effect.uninterruptible, turn.withPermits(1), Effect.provide(context))

    const known = (pid: number): Effect.Effect<Option.Option<Known>> =>
      Effect.gen(function*() {
        const { answer, began } = yield* query
        const patience = Duration.toMillis(Duration.min(yield* Patience, cimTimeout))
        const left = Math.max(0, began + patience - (yield* nowMillis))
        const found = (yield* Deferred.isDone(answer))
          ? yield* Deferred.await(answer)
          : left === 0
          ? Option.none()
          : Option.flatten(yield* Effect.timeoutOption(Deferred.await(answer), Duration.millis(left)))
        return Option.flatMapNullable(found, (processes) =>
          processes.get(pid))
      })

    const look = (pid: number): Effect.Effect<Sighting> =>
      Effect.gen(function*() {
        if ((yield* exists(handle, pid)) === "no") return Sighting.absent
        const seen = yield* known(pid)
        if (Option.isNone(seen)) return (yield* exists(handle, pid)) === "no" ? Sighting.absent : Sighting.hidden
        return Sighting.present(seen.value.created)
      })
    return {
      self: Effect.succeed({ pid: handle.pid, startTime: handle.startedAt }),
      look,
      commandName: (pid) => Effect.map(known(pid), Option.map(({ name }) => name)),
      network: () => Effect.succeed("Same"),
      ...ownClock
    }
  })

/**
 * From `/proc` (proc(5)): start ticks, boot id, PID namespace; threads and zombies are told from processes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProc = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, FileSystem.FileSystem> =>
  Layer.effect(ProcessTable, Effect.flatMap(linux(handle), make))

/**
 * From `ps` (ps(1)): start time to the second, zombies told from processes. Two seconds for an answer at most.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPs = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.effect(ProcessTable, Effect.flatMap(posix(handle), make))

/**
 * From one CIM query for all processes (`Win32_Process`): creation time. For as long as `Patience` says, and ten seconds at most.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCim = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.scoped(ProcessTable, Effect.flatMap(windows(handle), make))

/**
 * The one that fits the platform: `/proc` on Linux, CIM on Windows, `ps` elsewhere.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  handle: ProcessHandle
): Layer.Layer<ProcessTable, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  handle.platform === "linux" ? layerProc(handle) : handle.platform === "win32" ? layerCim(handle) : layerPs(handle)

/**
 * This very process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const currentProcess = (): ProcessHandle => ({
  pid: process.pid,
  platform: process.platform,
  startedAt: performance.timeOrigin,
  kill: (pid, signal) => process.kill(pid, signal)
})

/**
 * The one that fits, for this very process.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { type OwnerRecord, ProcessTable } from "gateway-lock"
 *
 * // Only what is certain counts: "Unknown" is neither.
 * const hasEnded = (record: OwnerRecord.OwnerRecord) =>
 *   ProcessTable.ProcessTable.pipe(
 *     Effect.flatMap(({ liveness }) => liveness(record)),
 *     Effect.map((liveness) => liveness === "Gone"),
 *     Effect.provide(ProcessTable.layerLive),
 *     Effect.provide(NodeContext.layer)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProcessTable, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =
  Layer.suspend(() => layer(currentProcess()))
