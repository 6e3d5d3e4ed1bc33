/**
 * Is that process alive, and is it still the same process?
 *
 * Three-valued: what cannot be read, lies in another PID namespace or has nothing to be
 * compared with is `Unknown`, which is proof of nothing.
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
import { linux } from "./LinuxProcesses.ts"
import { isPredecessor, judge } from "./Liveness.ts"
import type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"
import { currentProcess, type Network, type ProcessHandle, type Source } from "./ProcessSource.ts"
import { posix } from "./PsProcesses.ts"
import { windows } from "./WindowsProcesses.ts"

/** @internal */
export { parseBootOffsetTicks, parseProcStat, parseTgid } from "./LinuxProcesses.ts"
/** @internal */
export { type Comparison, isPredecessor, judge, Sighting } from "./Liveness.ts"
export type { Liveness, ProcessIdentity } from "./ProcessIdentity.ts"
export type { Network } from "./ProcessSource.ts"
/** @internal */
export { currentProcess, type ProcessHandle, type Source } from "./ProcessSource.ts"
/** @internal */
export { parsePs } from "./PsProcesses.ts"
/** @internal */
export { parseCim, Patience } from "./WindowsProcesses.ts"

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
 * A table over what a platform tells. This process is asked about once.
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
 * From `/proc` (proc(5)): start ticks, boot id, PID namespace; threads and zombies are told from processes.
 *
 * @internal
 */
export const layerProc = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, FileSystem.FileSystem> =>
  Layer.effect(ProcessTable, Effect.flatMap(linux(handle), make))

/**
 * From `ps` (ps(1)): start time to the second, zombies told from processes. Two seconds for an answer at most.
 *
 * @internal
 */
export const layerPs = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.effect(ProcessTable, Effect.flatMap(posix(handle), make))

/**
 * From one CIM query for all processes (`Win32_Process`): creation time. For as long as `Patience` says, and ten seconds at most.
 *
 * @internal
 */
export const layerCim = (handle: ProcessHandle): Layer.Layer<ProcessTable, never, CommandExecutor.CommandExecutor> =>
  Layer.scoped(ProcessTable, Effect.flatMap(windows(handle), make))

/**
 * The one that fits the platform: `/proc` on Linux, CIM on Windows, `ps` elsewhere.
 *
 * @internal
 */
export const layer = (
  handle: ProcessHandle
): Layer.Layer<ProcessTable, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  handle.platform === "linux" ? layerProc(handle) : handle.platform === "win32" ? layerCim(handle) : layerPs(handle)

/**
 * The one that fits, for this very process.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { Host, type LockFile } from "gateway-lock"
 *
 * // Only what is certain counts: "Unknown" is neither.
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
