/**
 * Lists the descendants of a process.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { child, output } from "../internal/child.ts"
import * as ProcFiles from "./ProcFiles.ts"
import { parseParent } from "./Signals.ts"

/**
 * Lists processes by their parents.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProcessTree extends Context.Tag("gateway-lock/ProcessTree")<ProcessTree, {
  /**
   * The pids of the given processes and of all their descendants. Children come before their parents, so that a caller that kills
   * the processes in this order leaves no process whose parent is already gone. Never fails. A process that has left the tree,
   * because its parent ended (a daemon), is not found.
   */
  readonly familyOf: (roots: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<number>>
  /**
   * The pids of the processes, other than this process, that hold a lock on a file (`<device>:<inode>`), because they have
   * inherited an open file with that lock. A process that has only opened the file is not listed. Never fails. The list is empty
   * where the system does not show locks of open files, which is everywhere but on Linux.
   */
  readonly holdersOf: (file: string) => Effect.Effect<ReadonlyArray<number>>
}>() {}

type Parents = ReadonlyMap<number, number>

/** The processes of `roots` and all their descendants, children before parents. Pure. */
export const family = (parents: Parents, roots: ReadonlyArray<number>): ReadonlyArray<number> => {
  const children = new Map<number, Array<number>>()
  for (const [pid, parent] of parents) children.set(parent, [...(children.get(parent) ?? []), pid])
  const found = new Set<number>()
  const waiting = [...roots]
  for (let pid = waiting.shift(); pid !== undefined; pid = waiting.shift()) {
    if (found.has(pid)) continue
    found.add(pid)
    waiting.push(...(children.get(pid) ?? []))
  }
  return [...found].toReversed()
}

const psTimeout = Duration.seconds(2)

/** Each line has a pid and the pid of its parent (`ps -A -o pid=,ppid=`). Pure. */
export const parsePairs = (text: string): Parents =>
  new Map(
    [...text.matchAll(/^\s*(\d+)\s+(\d+)\s*$/gm)].map(([, pid, parent]) => [Number(pid), Number(parent)] as const)
  )

const fromProc = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const names = yield* Effect.orElseSucceed(fs.readDirectory("/proc"), () => [])
  const parents = new Map<number, number>()
  yield* Effect.forEach(
    names.filter((name) => /^\d+$/.test(name)),
    (name) =>
      fs.readFileString(`/proc/${name}/stat`).pipe(
        Effect.map((stat) => {
          const parent = parseParent(stat)
          if (Option.isSome(parent)) parents.set(Number(name), parent.value)
        }),
        // The process has ended since the folder was read.
        Effect.ignore
      ),
    { concurrency: 16, discard: true }
  )
  return parents
})

const parentsNow = (
  platform: string
): Effect.Effect<Parents, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  platform === "linux" ? fromProc : fromPs

const scanLimit = Duration.seconds(2)

const holdersOf = (file: string) =>
  Effect.gen(function*() {
    const found: Array<number> = []
    yield* ProcFiles.scan((pid, files) => {
      if (
        pid !== process.pid &&
        files().some(({ link, target }) => target.startsWith("/") && ProcFiles.isLocked(link, file))
      ) found.push(pid)
      return "more"
    }, scanLimit)
    return found
  })

const fromPs = output(child("ps", "-A", "-o", "pid=,ppid="), psTimeout).pipe(
  Effect.map(parsePairs),
  Effect.orElseSucceed((): Parents => new Map())
)

/**
 * Reads `/proc` on Linux (proc_pid_stat(5)), and runs ps(1) on other Unix systems.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<ProcessTree, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> = Layer
  .effect(
    ProcessTree,
    Effect.map(Effect.context<FileSystem.FileSystem | CommandExecutor.CommandExecutor>(), (context) =>
      ProcessTree.of({
        familyOf: (roots) =>
          Effect.provide(Effect.map(parentsNow(process.platform), (parents) => family(parents, roots)), context),
        holdersOf: (file) => process.platform === "linux" ? holdersOf(file) : Effect.succeed([])
      }))
  )
