/**
 * Notices changes of gateways between two looks: a lock file that is written, replaced or removed, and the end of an owner, whose
 * lock file a crash does not change.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as NodePath from "node:path"
import { currentProcess, exists } from "../host/ProcessSource.ts"
import { lasting } from "./lasting.ts"

/** Where a change shows. */
export interface Places {
  /** Folders whose entries change. A folder may be absent. */
  readonly folders: ReadonlyArray<string>
  /** The owners on this host. */
  readonly pids: ReadonlyArray<number>
}

/** A folder to watch, and the only entry that counts. `undefined`: all entries count. */
interface Target {
  readonly folder: string
  readonly entry: string | undefined
}

/** The folder itself, or its nearest parent that exists. There, only the entry that leads to the folder counts. */
const targetOf = (folder: string): Effect.Effect<Target, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    let present = folder
    let entry: string | undefined
    while (!(yield* Effect.orElseSucceed(fs.exists(present), () => false))) {
      const parent = NodePath.dirname(present)
      if (parent === present) break
      entry = NodePath.basename(present)
      present = parent
    }
    return { folder: present, entry }
  })

/** How long to wait before a folder is watched again, after the system stopped or refused the watch. */
const watchAgain = Schedule.spaced("2 seconds")

/** The suffix of lock files. Other files in the folder of the lock files are drafts and tests of starts. */
const lockSuffix = ".lock"

/**
 * Makes a function that says whether a lock file has changed since the last call. An owner touches its lock file every few seconds, and
 * a leader writes its renewals there. Neither is a change.
 */
const contentChanges = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const known = new Map<string, string>()
  return (path: string) =>
    Effect.map(Effect.orElseSucceed(fs.readFileString(path), () => ""), (content) => {
      const now = lasting(content)
      const isChanged = known.get(path) !== now
      known.set(path, now)
      return isChanged
    })
})

const watchFolder = ({ entry, folder }: Target, changed: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const hasChanged = yield* contentChanges
    const names = yield* Effect.orElseSucceed(fs.readDirectory(folder), () => [])
    for (const name of names.filter((name) => name.endsWith(lockSuffix))) yield* hasChanged(NodePath.join(folder, name))
    const matters = (name: string) =>
      entry !== undefined || NodePath.basename(folder) !== "locks"
        ? Effect.succeed(entry === undefined || name === entry)
        : name.endsWith(lockSuffix)
        ? hasChanged(NodePath.join(folder, name))
        : Effect.succeed(false)
    yield* fs.watch(folder).pipe(
      Stream.runForEach(({ path }) =>
        Effect.if(matters(NodePath.basename(path)), { onTrue: () => changed, onFalse: () => Effect.void })
      ),
      Effect.ignore,
      // `fs.watch` of Node throws if the system allows no more watches. The interval between two looks then shows the change.
      Effect.catchAllDefect(() => Effect.void),
      Effect.repeat(watchAgain)
    )
  })

/** How long the system may take to begin to watch a folder. */
const armingTime = "200 millis"

const endCheckInterval = "250 millis"

/**
 * Completes when a process ends that exists now. A process that has ended and whose parent does not wait for it still exists. The
 * interval between two looks then shows its end. A look at the table of processes would cost too much for such short pauses.
 */
const ended = (pid: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const isThere = exists(currentProcess(), pid)
    return Effect.if(isThere, {
      onTrue: () =>
        Effect.asVoid(
          Effect.repeat(isThere, { while: (isThere) => isThere, schedule: Schedule.spaced(endCheckInterval) })
        ),
      onFalse: () => Effect.never
    })
  })

/**
 * Starts to watch. The result completes at the next change of the given places. Changes before the call count too, if the last call
 * had the same folders.
 */
export const make: Effect.Effect<
  (places: Places) => Effect.Effect<void, never, FileSystem.FileSystem>,
  never,
  Scope.Scope
> = Effect.gen(function*() {
  const changes = yield* Queue.sliding<void>(1)
  const changed = Queue.offer(changes, undefined)
  const scope = yield* Effect.scope
  const watched = yield* Ref.make<{ readonly key: string; readonly close: Effect.Effect<void> }>({
    key: "",
    close: Effect.void
  })
  const arm = (folders: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const targets = yield* Effect.forEach([...new Set(folders)].toSorted(), targetOf)
      const key = JSON.stringify(targets)
      const before = yield* Ref.get(watched)
      if (before.key === key) return
      yield* before.close
      const inner = yield* Scope.fork(scope, ExecutionStrategy.sequential)
      yield* Ref.set(watched, { key, close: Scope.close(inner, Exit.void) })
      for (const target of targets) yield* Effect.forkIn(watchFolder(target, changed), inner)
      // A change between the last look and the begin of the watch would be missed. So another look follows.
      yield* Effect.forkIn(Effect.zipRight(Effect.sleep(armingTime), changed), inner)
    })
  return ({ folders, pids }) =>
    Effect.gen(function*() {
      yield* arm(folders)
      yield* pids.reduce((first, pid) => Effect.raceFirst(first, ended(pid)), Queue.take(changes))
    })
})
