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
import { HostPlatform } from "../host/HostPlatform.ts"
import { ProcessTable } from "../host/ProcessTable.ts"

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

const watchFolder = ({ entry, folder }: Target, changed: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    yield* fs.watch(folder).pipe(
      Stream.filter(({ path }) => entry === undefined || NodePath.basename(path) === entry),
      Stream.runForEach(() => changed),
      Effect.ignore,
      // `fs.watch` of Node throws if the system allows no more watches. The interval between two looks then shows the change.
      Effect.catchAllDefect(() => Effect.void),
      Effect.repeat(watchAgain)
    )
  })

const endCheckInterval = "250 millis"

/** Completes when a process ends that is alive now. Completes never if it is not alive. */
const ended = (pid: number) =>
  Effect.gen(function*() {
    const { identify, liveness } = yield* ProcessTable
    const process = yield* identify(pid)
    if ((yield* liveness(process)) !== "Alive") return yield* Effect.never
    yield* Effect.repeat(liveness(process), {
      while: (liveness) => liveness === "Alive",
      schedule: Schedule.spaced(endCheckInterval)
    })
  })

/**
 * Starts to watch. The result completes at the next change of the given places. Changes before the call count too, if the last call
 * had the same folders.
 */
export const make: Effect.Effect<
  (places: Places) => Effect.Effect<void, never, FileSystem.FileSystem | ProcessTable>,
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
    })
  return ({ folders, pids }) =>
    Effect.gen(function*() {
      yield* arm(folders)
      const change = Queue.take(changes)
      // Elsewhere, each check of a process starts another program.
      if ((yield* HostPlatform) !== "linux") return yield* change
      yield* pids.reduce<Effect.Effect<void, never, ProcessTable>>(
        (first, pid) => Effect.raceFirst(first, ended(pid)),
        change
      )
    })
})
