/**
 * Which one of several starters may move a dead owner's file away, where no kernel lock can be had?
 *
 * Whoever creates the claim on it, a file of its own beside it that is named after the dead owner. One owner's file, one
 * claim: while the lock file is that owner's, nobody but the claim's holder moves it; once it is not, the claim is void,
 * whoever has it, since no owner ever comes back under its name. So nothing depends on how quick a claim's holder is.
 *
 * A claim whose holder died is moved away in the same manner, under a claim on that claim.
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
import type { OwnerRecord } from "./OwnerRecord.ts"
import { isSame, type Snapshot } from "./Snapshot.ts"

export interface ClaimOptions {
  /** Reads a file of ours; `None` where there is none. */
  readonly look: (path: string) => Effect.Effect<Option.Option<Snapshot>, PlatformError | LockUnavailable>
  /** Creates a file exclusively, with our record in it from the first moment; `false` where there is one. */
  readonly create: (path: string) => Effect.Effect<boolean, PlatformError>
  /** Whether the holder of a claim is dead, as far as can be told. */
  readonly isAbandoned: (claim: Snapshot) => Effect.Effect<boolean>
}

/** A claim, a claim on a dead claim, one on that: so many starters have died in the middle of a reclaim. */
const maxDepth = 4

/**
 * The name of an owner as part of a file's name: what stands in a lock file may be anything.
 */
const nameOf = ({ fileId, record }: Pick<Snapshot, "fileId" | "record">): string =>
  createHash("sha256").update(
    Option.match(record, { onNone: () => `file ${fileId}`, onSome: ({ instanceId }) => instanceId })
  ).digest("hex").slice(0, 16)

/** The claim on a file as it was seen. */
export const claimPath = (path: string, judged: Snapshot): string => `${path}.${nameOf(judged)}.reclaim`

/** Where an owner makes a file of its own before it has the name: nobody else's, since its id is new. */
export const draftPath = (path: string, record: OwnerRecord): string =>
  `${path}.${nameOf({ fileId: "", record: Option.some(record) })}.draft`

/** Where the holder of that claim moves the file. */
export const asidePath = (path: string, judged: Snapshot): string => `${path}.${nameOf(judged)}.stale`

/**
 * `true`: ours alone until the scope closes. `false`: another is at it. `None`: that has just changed, look again.
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
    const created = yield* Effect.acquireRelease(
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
 * Removes what dead starters left beside a lock file that is ours: claims on former owners are void, and what was moved
 * aside under them is nobody's, unless its mover lives and is about to look at it; so is a draft, unless its author lives.
 */
export const sweep = (fs: FileSystem.FileSystem, path: string, options: ClaimOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    const folder = NodePath.dirname(path)
    const names = (yield* fs.readDirectory(folder)).filter((name) => isLeftover(name, NodePath.basename(path)))
    // The longest first: a claim on a claim before the claim.
    for (const name of names.toSorted((a, b) => b.length - a.length)) {
      const left = NodePath.join(folder, name)
      const mover = name.endsWith(".stale") ? left.replace(/\.stale$/, ".reclaim") : left
      const claimed = yield* options.look(mover)
      const abandoned = Option.isNone(claimed)
        // Its author makes another one, if it lives: nobody waits for a draft.
        || (name.endsWith(".draft") && Option.isNone(claimed.value.record))
        || (yield* options.isAbandoned(claimed.value))
      if (abandoned) yield* fs.remove(left).pipe(Effect.catchIf(isNotFound, () => Effect.void))
    }
  }).pipe(
    // Harmless where it stays.
    Effect.ignore
  )
