/**
 * Tells whether the process that wrote a lock file is still alive. The file's record, a JSON text, has the pid and the start time of
 * that process, so another process that has the same pid now is not mistaken for it.
 *
 * The answer is `Alive`, `Gone` or `Unknown`. It is `Unknown` if the process cannot be read, if it is in another PID namespace,
 * or if the record has no start time to compare. `Unknown` proves nothing.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { memoized } from "../internal/memoized.ts"
import { onClose } from "../internal/onClose.ts"
import { linux } from "./LinuxProcesses.ts"
import { isPredecessor, judge } from "./Liveness.ts"
import type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"
import { currentProcess, type Network, type ProcessHandle, type Source } from "./ProcessSource.ts"
import { descendants, type ProcessEntry } from "./ProcessTree.ts"
import { posix } from "./PsProcesses.ts"
import { windows } from "./WindowsProcesses.ts"

/** @internal */
export { parseBootOffsetTicks, parseParent, parseProcStat, parseTgid } from "./LinuxProcesses.ts"
/** @internal */
export { type Comparison, isPredecessor, judge, Sighting } from "./Liveness.ts"
export type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"
export type { Network } from "./ProcessSource.ts"
/** @internal */
export { currentProcess, type ProcessHandle, type Source } from "./ProcessSource.ts"
/** @internal */
export { parsePs, parsePsTree } from "./PsProcesses.ts"
/** @internal */
export { parseCim, Patience } from "./WindowsProcesses.ts"

/**
 * Asks the operating system about processes, including the process that runs this code. No operation fails.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProcessTable extends Context.Tag("gateway-lock/ProcessTable")<ProcessTable, {
  /** The identity of this process. Parts that cannot be read are absent. */
  readonly self: Effect.Effect<ProcessIdentity>
  /** Whether the process that a record describes is still running. `Unknown` if the system does not show whether it runs. */
  readonly liveness: (recorded: ProcessIdentity) => Effect.Effect<Liveness>
  /**
   * The identity of a process of this PID namespace. The start time is absent if it cannot be read. The boot id and the PID
   * namespace are the same as those of this process, so they are taken from `self`.
   */
  readonly identify: (pid: number) => Effect.Effect<ProcessIdentity>
  /** The file name of the program that a process runs, without arguments. `None` if it cannot be read. */
  readonly commandName: (pid: number) => Effect.Effect<Option.Option<string>>
  /**
   * Whether a process uses the same network as this process. Only with the answer `Same` can this process probe the ports of the
   * other process. Call `network` only with a pid of this PID namespace, because a pid of another namespace names an unrelated
   * process here.
   */
  readonly network: (pid: number) => Effect.Effect<Network>
  /**
   * The processes with these pids and all their descendants, each after its parent. Processes that have ended are left out. On
   * Windows, descendants are left out too.
   *
   * Call `tree` only with pids of this PID namespace. A process whose parent has ended is not in the tree of that parent, because
   * the kernel gives it another parent.
   */
  readonly tree: (pids: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<ProcessIdentity>>
  /**
   * When the scope closes, remembers that the gateway with this instance id has released its lock. From then on, a lock file
   * that this gateway failed to remove counts as a leftover, even though the process that the file names is alive.
   */
  readonly noteRelease: (instanceId: string) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Whether a lock file's record is a leftover, which means that the gateway that wrote it no longer holds the lock. A record is
   * a leftover if `noteRelease` remembers its instance id, or if an earlier process with the pid of this process wrote it. A
   * record that another worker thread or another copy of the library wrote in this process is not a leftover, because its gateway
   * may still run.
   */
  readonly isLeftover: (recorded: ProcessIdentity & { readonly instanceId: string }) => Effect.Effect<boolean>
}>() {}

const treeOf = ({ look, processes }: Source, pids: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<ProcessEntry>> =>
  processes === undefined
    ? Effect.map(
      Effect.forEach(pids, (pid) => Effect.map(look(pid), (sighting) => ({ pid, sighting }))),
      (found) =>
        found.flatMap(({ pid, sighting }) =>
          sighting._tag === "Present" ? [{ pid, parent: 0, startTime: sighting.startTime }] : []
        )
    )
    : Effect.map(processes, (entries) => descendants(entries, pids))

/**
 * Makes a process table from the facts of a platform. The identity of this process is read once.
 *
 * @internal
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
      identify: (pid) =>
        Effect.map(Effect.all([self, source.look(pid)]), ([{ bootId, pidNamespace }, sighting]) => ({
          pid,
          ...(sighting._tag === "Present" ? { startTime: sighting.startTime } : {}),
          ...(bootId === undefined ? {} : { bootId }),
          ...(pidNamespace === undefined ? {} : { pidNamespace })
        })),
      commandName: source.commandName,
      network: source.network,
      tree: (pids) =>
        Effect.zipWith(self, treeOf(source, pids), ({ bootId, pidNamespace }, entries) =>
          entries.map(({ pid, startTime }) => ({
            pid,
            startTime,
            ...(bootId === undefined ? {} : { bootId }),
            ...(pidNamespace === undefined ? {} : { pidNamespace })
          }))),
      noteRelease: (instanceId) =>
        onClose(Effect.sync(() =>
          released.add(instanceId)
        )),
      isLeftover: (recorded) =>
        Effect.map(self, (self) => released.has(recorded.instanceId) || isPredecessor(self, recorded, source.tolerance))
    })
  })

/**
 * The maximum number of remembered instance ids. The id of a gateway is remembered after the gateway has released its lock. The id
 * that was least recently added or looked up is forgotten first.
 */
const maxReleased = 100

const makeReleased = () => {
  /** The instance ids of gateways that released their lock. The id that was last added or looked up is at the end. */
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
    /**
     * Whether the gateway with this instance id has released its lock. If so, moves the id to the end, because the ids at the
     * beginning are forgotten first. If a lock file could not be removed, each later start finds that file and looks up the
     * instance id in it. So the id in such a file is moved to the end again and again, and is not forgotten.
     */
    has: (id: string): boolean => {
      if (!ids.has(id)) return false
      add(id)
      return true
    }
  }
}

/**
 * Reads `/proc` (proc(5)): start ticks, boot id and PID namespace. Threads and zombies do not count as processes.
 *
 * @internal
 */
export const layerProc = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, FileSystem.FileSystem> =>
  Layer.effect(ProcessTable, Effect.flatMap(linux(handle), make))

/**
 * Looks up processes with ps(1). Each run of `ps` has a time limit of two seconds. Start times are whole seconds, and zombies do not
 * count as processes.
 *
 * @internal
 */
export const layerPs = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.effect(ProcessTable, Effect.flatMap(posix(handle), make))

/**
 * Reads the names and creation times of all processes with one CIM query (`Win32_Process`). A lookup waits at most ten seconds
 * for the query. The reference `Patience` can shorten this wait.
 *
 * @internal
 */
export const layerCim = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.scoped(ProcessTable, Effect.flatMap(windows(handle), make))

/**
 * The process table of a platform: `/proc` on Linux, CIM on Windows, `ps` elsewhere.
 *
 * @internal
 */
export const layer = (
  handle: ProcessHandle
): Layer.Layer<ProcessTable, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  handle.platform === "linux" ? layerProc(handle) : handle.platform === "win32" ? layerCim(handle) : layerPs(handle)

/**
 * The process table of the platform that this process runs on.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host, type LockFile } from "gateway-lock"
 *
 * // "Unknown" is not proof that the process has ended.
 * const hasEnded = (record: LockFile.OwnerRecord.OwnerRecord) =>
 *   Host.ProcessTable.ProcessTable.pipe(
 *     Effect.flatMap(({ liveness }) => liveness(record)),
 *     Effect.map((liveness) => liveness === "Gone"),
 *     Effect.provide(Host.ProcessTable.layerLive),
 *     Effect.provide(NodeContext.layer)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProcessTable, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =
  Layer.suspend(() => layer(currentProcess()))
