/**
 * Decides which of several starts may take the lock file of a dead owner away. Without kernel locks, two starts could
 * otherwise both judge the owner dead, and the slower one could remove the new lock file of the quicker one.
 *
 * A claim is a file beside the lock file, named after the dead owner, so there is one claim for each owner's file. The
 * start that creates the claim holds the claim. While the lock file belongs to that dead owner, only the holder of the
 * claim moves the lock file or takes it over. Once the lock file belongs to another owner, the claim is void, because
 * an owner's id is never used again. So even a slow holder of a claim cannot move a later owner's file.
 *
 * A claim whose holder died is removed in the same way: by the start that holds a claim on that claim.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as NodePath from "node:path"
import type { LockUnavailable } from "../GatewayLockError.ts"
import { isNotFound } from "../internal/describeError.ts"
import { acquire } from "../internal/onClose.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"
import { isSame, type Snapshot } from "./Snapshot.ts"

export interface ClaimOptions {
  /** Reads a lock file or a claim. `None` if there is no such file. */
  readonly look: (path: string) => Effect.Effect<Option.Option<Snapshot>, PlatformError | LockUnavailable>
  /**
   * Creates a file exclusively. The file contains this start's record from the first moment. `false` if the path
   * exists.
   */
  readonly create: (path: string) => Effect.Effect<boolean, PlatformError>
  /** Whether the holder of a claim is dead, as far as is known. */
  readonly isAbandoned: (claim: Snapshot) => Effect.Effect<boolean>
}

/**
 * How long a chain of claims can get, in which each claim is on the claim before it. If a start dies while it holds a
 * claim, another start claims that claim, so the chain grows by one.
 */
const maxDepth = 4

/**
 * The owner's id as part of a file name. If the record cannot be read, the id of the file takes its place. The id is
 * hashed, because it comes from a lock file, which can contain any text.
 */
const nameOf = ({ fileId, record }: Pick<Snapshot, "fileId" | "record">): string =>
  createHash("sha256").update(
    Option.match(record, { onNone: () => `file ${fileId}`, onSome: ({ instanceId }) => instanceId })
  ).digest("hex").slice(0, 16)

/** The path of the file with which a start claims the file at `path`. The owner of that file was judged dead. */
export const claimPath = (path: string, judged: Snapshot): string => `${path}.${nameOf(judged)}.reclaim`

/**
 * The temporary path at which a start writes a new file before the file gets its final name. No other process uses this
 * path, because it contains the new id of this start.
 */
export const draftPath = (path: string, record: OwnerRecord): string =>
  `${path}.${nameOf({ fileId: "", record: Option.some(record) })}.draft`

/** The path to which the holder of a claim moves the file that it claimed. */
export const asidePath = (path: string, judged: Snapshot): string => `${path}.${nameOf(judged)}.stale`

/**
 * Claims a file whose owner was judged dead, until the scope closes. The file is a lock file, or a claim of a dead start.
 * `true`: this start has the claim. `false`: another start has it. `None`: the claim of another start was removed during
 * this call, so the caller must look again.
 */
export const claim = (
  fs: FileSystem.FileSystem,
  path: string,
  judged: Snapshot,
  options: ClaimOptions,
  depth = 0
): Effect.Effect<Option.Option<boolean>, PlatformError | LockUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const name = claimPath(path, judged)
    const created = yield* acquire(
      options.create(name),
      (created) => created ? Effect.ignore(fs.remove(name)) : Effect.void
    )
    if (created) return Option.some(true)
    const other = yield* options.look(name)
    if (Option.isNone(other)) return Option.none()
    if (depth >= maxDepth || !(yield* options.isAbandoned(other.value))) return Option.some(false)
    return yield* Effect.scoped(Effect.gen(function*() {
      const ours = yield* claim(fs, name, other.value, options, depth + 1)
      if (!Option.contains(ours, true)) return ours
      if (Option.exists(yield* options.look(name), (now) => isSame(other.value, now))) yield* fs.remove(name)
      return Option.none()
    }))
  })

const isLeftover = (name: string, lockName: string): boolean =>
  name.startsWith(`${lockName}.`) && /\.(reclaim|stale|draft)$/.test(name)

/**
 * Removes the files that dead starts left beside a held lock file. A file whose name ends in `.reclaim` is a claim on the
 * file of a former owner. `.stale` is a file that the holder of a claim moved aside. `.draft` is a new file without its final
 * name.
 *
 * The name of each file contains the id of an owner or of a start. Ids are never used again, so no later start looks for that
 * name. A file is kept while the start that created it or moved it aside is alive, because that start may still use it. For
 * example, it may put a file back that it moved aside.
 */
export const sweep = (fs: FileSystem.FileSystem, path: string, options: ClaimOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    const folder = NodePath.dirname(path)
    const names = (yield* fs.readDirectory(folder)).filter((name) => isLeftover(name, NodePath.basename(path)))
    // A claim can be claimed too. The second claim has the name of the first claim and a suffix. The longest names come
    // first, so the second claim is removed before the first.
    for (const name of names.toSorted((a, b) => b.length - a.length)) {
      const left = NodePath.join(folder, name)
      const mover = name.endsWith(".stale") ? left.replace(/\.stale$/, ".reclaim") : left
      const claimed = yield* options.look(mover)
      const abandoned = Option.isNone(claimed)
        // An empty draft is removed even if the start that made it is alive, because an empty file does not say which
        // start that is. A start that has lost its draft starts over with a new draft.
        || (name.endsWith(".draft") && Option.isNone(claimed.value.record))
        || (yield* options.isAbandoned(claimed.value))
      if (abandoned) yield* fs.remove(left).pipe(Effect.catchIf(isNotFound, () => Effect.void))
    }
  }).pipe(
    // A leftover that could not be removed is harmless. Its name contains a hash of an instance's id, and no id is used twice.
    Effect.ignore
  )
