/**
 * The kinds of locks that a storm can test. In a storm, worker processes acquire one lock again and again, and some kill themselves.
 * Each function here returns an effect that acquires the lock and holds it until the scope closes.
 */
import * as NodeCommandExecutor from "@effect/platform-node/NodeCommandExecutor"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as BlockingFiles from "../../../src/host/BlockingFiles.ts"
import * as KernelLock from "../../../src/host/KernelLock.ts"
import * as LinkTarget from "../../../src/host/LinkTarget.ts"
import * as ProbeTransport from "../../../src/host/ProbeTransport.ts"
import * as ProcessTable from "../../../src/host/ProcessTable.ts"
import * as LockFile from "../../../src/lock/LockFile.ts"
import * as HealthProbe from "../../../src/probe/HealthProbe.ts"
import * as PortProbe from "../../../src/probe/PortProbe.ts"
import type { Contender } from "./stormEvents.ts"
import { osLock } from "./witness.ts"

export class NotGranted extends Data.TaggedError("NotGranted")<{ readonly reason: string }> {}

class Busy extends Data.TaggedError("Busy") {}

/**
 * Runs before each change that a lock makes to a file. A worker can kill itself in this step. The files then stay as they are
 * between two changes, which is the hardest case for the next worker.
 */
export type Step = Effect.Effect<void>

/**
 * What each worker that competes for the lock is given: the folder of the lock, the interval at which a waiting worker tries
 * again, and the step to run before each change of a file.
 */
export interface Contest {
  readonly folder: string
  readonly pollInterval: Duration.Duration
  readonly step: Step
}

/** The lock timeout of a worker. It is longer than the time for which the files of a dead worker can block the others. */
const timeout = "1 minutes"

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string" ? cause.code : ""

const failed = (cause: unknown) => new NotGranted({ reason: String(cause) })

const poll = <E>(once: Effect.Effect<void, E | Busy, Scope.Scope>, pollInterval: Duration.Duration) =>
  once.pipe(
    Effect.retry({ schedule: Schedule.spaced(pollInterval), while: (error) => error instanceof Busy }),
    Effect.timeoutFail({ duration: timeout, onTimeout: () => new NotGranted({ reason: "timeout" }) }),
    Effect.mapError((error) => error instanceof NotGranted ? error : failed(error))
  )

// ---------------------------------------------------------------------------
// the lock of this project
// ---------------------------------------------------------------------------

const changing = (file: FileSystem.File, step: Step): FileSystem.File => {
  const changes: Partial<FileSystem.File> = {
    writeAll: (bytes) => Effect.zipRight(step, file.writeAll(bytes)),
    truncate: (size) => Effect.zipRight(step, file.truncate(size)),
    sync: Effect.zipRight(step, file.sync)
  }
  return new Proxy(file, { get: (target, key) => Reflect.get(key in changes ? changes : target, key) })
}

/** A file system, except that `step` runs before each call that changes a file or its name. */
const steppingFiles = (step: Step, real: Layer.Layer<FileSystem.FileSystem>) =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (fs): FileSystem.FileSystem => ({
      ...fs,
      open: (path, options) =>
        Effect.map(
          options?.flag?.startsWith("w") === true
            ? Effect.zipRight(step, fs.open(path, options))
            : fs.open(path, options),
          (file) => changing(file, step)
        ),
      rename: (from, to) => Effect.zipRight(step, fs.rename(from, to)),
      link: (from, to) => Effect.zipRight(step, fs.link(from, to)),
      remove: (path, options) => Effect.zipRight(step, fs.remove(path, options))
    }))
  ).pipe(Layer.provide(real))

/** The services that this project's lock needs. A worker builds them once and uses them each time that it acquires the lock. */
const services = (kernel: Layer.Layer<KernelLock.KernelLock>, step: Step, blocks: boolean) => {
  const files = steppingFiles(step, blocks ? BlockingFiles.layer : NodeFileSystem.layer)
  const table = Layer.provide(ProcessTable.layerLive, [
    NodeFileSystem.layer,
    Layer.provide(NodeCommandExecutor.layer, NodeFileSystem.layer)
  ])
  const probes = Layer.provideMerge(
    PortProbe.layer,
    Layer.provide(HealthProbe.layer({}), ProbeTransport.layerLive)
  )
  return Layer.mergeAll(files, kernel, table, probes)
}

/** The services of the program that decide how calls on files are made. */
const asTheProgram = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  self.pipe(
    Effect.provideService(BlockingFiles.BlockingFiles, BlockingFiles.local),
    Effect.provideService(LinkTarget.LinkTarget, LinkTarget.live)
  )

/** This project's lock without a port. With a port, the listener of one worker would also keep the others out. */
const lockFile = (
  { folder, pollInterval, step }: Contest,
  kernel: Layer.Layer<KernelLock.KernelLock>,
  blocks = false
) =>
  Effect.map(Layer.build(services(kernel, step, blocks)), (context) =>
    LockFile.make({
      stateDir: folder,
      configPath: Path.join(folder, "gateway.json"),
      lock: { timeout, pollInterval, staleAfter: "2 seconds" }
    }).pipe(
      Effect.asVoid,
      Effect.mapError((error) => new NotGranted({ reason: `${error._tag}: ${error.message}` })),
      Effect.provide(context),
      blocks ? asTheProgram : identity
    ))

// ---------------------------------------------------------------------------
// other locks
// ---------------------------------------------------------------------------

/** The operating system's lock on a file. No worker ever removes the file. */
const bareOsLock = ({ folder, pollInterval }: Contest) => {
  const addon = osLock()
  return poll(
    Effect.acquireRelease(
      Effect.sync(() => Fs.openSync(Path.join(folder, "os.lock"), "a+", 0o600)),
      (fd) => Effect.sync(() => Fs.closeSync(fd))
    ).pipe(
      Effect.filterOrFail((fd) => addon.tryLock(fd), () => new Busy()),
      Effect.asVoid
    ),
    pollInterval
  )
}

/**
 * The library proper-lockfile. `stale` has the shortest time that the library allows. The library calls `onCompromised` when a
 * lock is lost. Here that function does nothing, because the test finds out by other means when two workers hold the lock.
 */
const properLockfile = ({ folder, pollInterval }: Contest) => {
  const load = Effect.promise(() => import("proper-lockfile"))
  return poll(
    Effect.asVoid(Effect.acquireRelease(
      Effect.flatMap(load, ({ default: { lock } }) =>
        Effect.tryPromise({
          try: () =>
            lock(Path.join(folder, "proper"), { stale: 2000, realpath: false, retries: 0, onCompromised: () => {} }),
          catch: (cause) => codeOf(cause) === "ELOCKED" ? new Busy() : failed(cause)
        })),
      // The release fails if another worker has taken the lock from this worker. The error is ignored, because the test finds out
      // by other means when two workers hold the lock.
      (release) => Effect.ignore(Effect.tryPromise(() => release()))
    )),
    pollInterval
  )
}

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch (cause) {
    return codeOf(cause) === "ESRCH"
  }
}

/**
 * A pid file as many programs write it: a worker that finds the pid of a dead process removes the file and tries again. This lock
 * is wrong. Between the check and the removal, another worker may replace the file by its own pid file. Then the first worker
 * removes the pid file of a living owner.
 */
const pidFile = ({ folder, pollInterval }: Contest) => {
  const path = Path.join(folder, "pid")
  const call = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({
      try: run,
      catch: (cause) => ["EEXIST", "ENOENT"].includes(codeOf(cause)) ? new Busy() : failed(cause)
    })
  const create = Effect.acquireRelease(
    call(() => Fs.promises.writeFile(path, String(process.pid), { flag: "wx" })),
    () => Effect.ignore(call(() => Fs.promises.unlink(path)))
  )
  const removeStale = Effect.gen(function*() {
    const pid = Number(yield* call(() => Fs.promises.readFile(path, "utf8")))
    if (pid === 0 || isGone(pid)) yield* call(() => Fs.promises.unlink(path))
    return yield* new Busy()
  })
  return poll(Effect.catchTag(create, "Busy", () => removeStale), pollInterval)
}

export type Acquire = Effect.Effect<void, NotGranted, Scope.Scope>

/** Makes the lock under test for one process. The result acquires the lock and holds it until the scope closes. */
export const make = (contender: Contender, contest: Contest): Effect.Effect<Acquire, never, Scope.Scope> => {
  switch (contender) {
    case "kernel":
      return lockFile(contest, KernelLock.layerLive)
    case "blocking":
      return lockFile(contest, KernelLock.layerLive, true)
    case "record":
      return lockFile(contest, KernelLock.layerAbsent("the storm is without"))
    case "os-lock":
      return Effect.succeed(bareOsLock(contest))
    case "proper-lockfile":
      return Effect.succeed(properLockfile(contest))
    case "pid-file":
      return Effect.succeed(pidFile(contest))
    case "none":
      return Effect.succeed(Effect.void)
  }
}
