/**
 * Finds the processes that a process has started, by the parents that the operating system reports. Pure.
 *
 * @since 0.1.0
 */

/**
 * A running process and its parent, as the operating system reports them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessEntry {
  readonly pid: number
  /** The pid of the parent. 0 if the parent is outside this PID namespace. */
  readonly parent: number
  /** When the process started: clock ticks since boot on Linux, milliseconds since the epoch elsewhere. */
  readonly startTime: number
}

/**
 * The processes with these pids, and all their descendants. Each process comes after its parent.
 *
 * A process whose parent has ended is not in the tree of that parent, because the kernel gives it another parent.
 *
 * @since 0.1.0
 * @category decisions
 */
export const descendants = (
  entries: ReadonlyArray<ProcessEntry>,
  roots: ReadonlyArray<number>
): ReadonlyArray<ProcessEntry> => {
  const children = new Map<number, Array<ProcessEntry>>()
  for (const entry of entries) children.set(entry.parent, [...children.get(entry.parent) ?? [], entry])
  const found = new Map<number, ProcessEntry>()
  const add = (entry: ProcessEntry) => {
    if (!found.has(entry.pid)) found.set(entry.pid, entry)
  }
  entries.filter(({ pid }) => roots.includes(pid)).forEach(add)
  // The loop also visits entries that are added to the `Map` during the loop, so it reaches the children of children.
  for (const pid of found.keys()) children.get(pid)?.forEach(add)
  return [...found.values()]
}
