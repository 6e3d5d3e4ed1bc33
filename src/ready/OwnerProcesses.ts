/**
 * Finds the processes of an owner, and decides which listeners belong to them.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { hasOpen } from "../host/OpenFiles.ts"
import { listenersAt, type PortListener, type PortListeners, PortOwners } from "../host/PortOwners.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import type * as LockInspection from "../lock/LockInspection.ts"
import type { Evidence } from "./ReadyRule.ts"

/** The pids of the process that owns the lock now, and of all its descendants. */
const treeOf = ({ holder, process }: LockInspection.Owner): Effect.Effect<ReadonlySet<number>, never, ProcessTable> =>
  Effect.gen(function*() {
    // If the owner's process is not alive, or is in another PID namespace, an unrelated process can have its pid here.
    if (holder.pidMeaning !== "Alive") return new Set<number>()
    const tree = yield* Effect.flatMap(ProcessTable, (table) => table.tree([process.pid]))
    return new Set([process.pid, ...tree.map(({ pid }) => pid)])
  })

/**
 * Whether a process belongs to the owner: it is in the owner's process tree, or it has the lock file open. A daemon leaves the tree
 * of the process that started it, but keeps the lock file open that it inherited.
 */
const isOwners = (
  pid: number,
  tree: ReadonlySet<number>,
  lockPath: string
): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  tree.has(pid) ? Effect.succeed(true) : Effect.map(hasOpen(pid, lockPath), Option.contains(true))

/**
 * Decides which process listens on the owner's port, from the listeners that are visible. `isPortFree` says that the port is known
 * to be free. Pure.
 */
export const whoseListener = (
  seen: PortListeners,
  listeners: ReadonlyArray<Pick<PortListener, "pid"> & { readonly isOwner: boolean }>,
  isPortFree: boolean
): Evidence["listener"] => {
  if (listeners.some(({ isOwner }) => isOwner)) return "owner"
  if (seen._tag === "Unseen" || listeners.some(({ pid }) => pid === undefined)) return isPortFree ? "none" : "unknown"
  if (listeners.length > 0) return "other"
  return isPortFree ? "none" : "unknown"
}

/**
 * The listeners that answer at the owner's address, and the owner's listeners on other addresses with the same port. The latter
 * count too, because many programs listen on another address than they are told to, such as `::1` instead of 127.0.0.1. Each
 * listener says whether it belongs to the owner.
 */
export const listenersOf = (
  owner: LockInspection.Owner,
  address: Address,
  lockPath: string
) =>
  Effect.gen(function*() {
    const owners = yield* PortOwners
    const tree = yield* treeOf(owner)
    const seen = yield* owners.listeners(address.port, [...tree])
    const onPort = seen._tag === "Seen" ? seen.listeners : []
    const answering = new Set(listenersAt(address, onPort))
    const listeners = yield* Effect.forEach(onPort, (listener) =>
      Effect.map(
        listener.pid === undefined ? Effect.succeed(false) : isOwners(listener.pid, tree, lockPath),
        (isOwner) => ({ ...listener, isOwner, isAnswering: answering.has(listener) })
      ))
    return { seen, listeners: listeners.filter(({ isAnswering, isOwner }) => isAnswering || isOwner) }
  })
