/**
 * One attempt to acquire a lock file in record-only mode: no kernel lock is available, and only the record keeps other
 * starts out.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import type { LockUnavailable } from "../GatewayLockError.ts"
import type { KernelLockUnsupported } from "../host/KernelLock.ts"
import { isAlreadyExists, isNotFound } from "../internal/describeError.ts"
import { onClose } from "../internal/onClose.ts"
import {
  type Attempt,
  type AttemptOptions,
  claimOptions,
  held,
  heldFile,
  isOurs,
  type Leftover,
  mine
} from "./Attempt.ts"
import * as Claim from "./Claim.ts"
import { create } from "./DraftFile.ts"
import { Moved, type NamedFiles, openExisting, refuseLink } from "./NamedFiles.ts"
import { isSame, readOpen, type Snapshot, writeRecord } from "./Snapshot.ts"

const leftoverOf = ({ age, isAhead, record }: Snapshot): Leftover => ({
  record,
  age,
  ...(isAhead === undefined ? {} : { isAhead })
})

/**
 * Moves a stale lock file to another name, and then removes it. `judged` is the file as it was when it was judged stale. If the
 * path no longer leads to that file with that record, `moveAside` fails with `Moved` and leaves the path as it was.
 */
const moveAside = ({ fs, look }: NamedFiles, path: string, judged: Snapshot) =>
  Effect.gen(function*() {
    const aside = Claim.asidePath(path, judged)
    if (!Option.exists(yield* look(path), (now) => isSame(judged, now))) return yield* Effect.fail(new Moved())
    yield* fs.rename(path, aside).pipe(Effect.catchIf(isNotFound, () => Effect.fail(new Moved())))
    const moved = yield* look(aside)
    if (Option.exists(moved, (moved) => isSame(judged, moved))) return yield* fs.remove(aside)
    // Just before the rename, a start with a kernel lock took over this file in place. The file now belongs to that start, so
    // put it back. If a third start has created the path again since the rename, the third start's file stays.
    yield* fs.link(aside, path).pipe(Effect.catchIf(isAlreadyExists, () => Effect.void))
    yield* fs.remove(aside)
    return yield* Effect.fail(new Moved())
  })

/**
 * Moves a stale lock file aside. Several starts can attempt this at the same time. Only the start that creates the claim,
 * a second file beside the lock file, may move the lock file. `false` if another start has the claim.
 */
const reclaim = (files: NamedFiles, options: AttemptOptions, judged: Snapshot) =>
  Effect.scoped(Effect.gen(function*() {
    const claimed = yield* Claim.claim(files.fs, options.path, judged, claimOptions(files, options, "record"))
    if (Option.isNone(claimed)) return yield* Effect.fail(new Moved())
    if (claimed.value) yield* moveAside(files, options.path, judged)
    return claimed.value
  }))

/** Creates the lock file exclusively, or replaces a stale one. `unsupported` is the reason why there is no kernel lock. */
export const withRecordOnly = (
  files: NamedFiles,
  options: AttemptOptions,
  unsupported: KernelLockUnsupported
): Effect.Effect<Attempt, PlatformError | LockUnavailable | Moved, Scope.Scope> =>
  Effect.gen(function*() {
    const { path } = options
    const { fs, idOf, isStill, look, removeIf, removeIfStill } = files
    const record = options.record("record")
    let leftover = Option.none<Leftover>()
    const found = yield* look(path)
    const copy = Option.filter(found, (found) => isOurs(options, found.record) && found.fileId !== options.present)
    if (Option.isSome(copy)) leftover = Option.map(copy, leftoverOf)
    else if (Option.isSome(found)) {
      const judged = Option.filter(options.reclaim, (judged) => isSame(judged, found.value))
      if (Option.isNone(judged)) return held(found.value)
      if (!(yield* reclaim(files, options, judged.value))) return held(found.value)
      leftover = Option.map(found, leftoverOf)
    }
    const id = Option.isSome(copy) ? copy.value.fileId : yield* create(files, path, record, ({ sync }) => sync)
    const isOpen = yield* Ref.make(false)
    yield* onClose(Effect.unlessEffect(removeIfStill(path, id), Ref.get(isOpen)))
    const file = yield* openExisting(fs, path)
    yield* Ref.set(isOpen, true)
    // If another start has judged this file stale and has a kernel lock, it takes over the file without replacing it. The
    // file then belongs to that start. If the record is unreadable, that start may be writing it. In both cases the
    // release must keep the file.
    const isOursStill = Effect.flatMap(
      readOpen(file),
      (found) => isOurs(options, found) ? isStill(path, id) : Effect.succeed(false)
    )
    yield* onClose(removeIf(path, isOursStill))
    if ((yield* idOf(file)) !== id) return yield* Effect.fail(new Moved())
    if (Option.isSome(copy)) {
      yield* refuseLink(fs, path)
      yield* writeRecord(file, record)
      yield* file.sync
    }
    // Check that the path still leads to this attempt's file. A slow start that wants to move the earlier, stale file
    // may have moved this attempt's file instead, or another program may have replaced it.
    const now = yield* look(path)
    if (!Option.exists(now, (now) => now.fileId === id && isOurs(options, now.record))) {
      return yield* Effect.fail(new Moved())
    }
    yield* Claim.sweep(fs, path, claimOptions(files, options, "record"))
    return mine(
      heldFile(files, options, file, { id, enforcement: "record", fallback: Option.some(unsupported), leftover })
    )
  })
