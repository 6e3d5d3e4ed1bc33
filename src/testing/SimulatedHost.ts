/**
 * A host in memory: files, kernel locks, processes and ports, with time only from the clock of the fiber (a `TestClock`
 * in tests). `Gateway.layerPlatform` and every part run on it as they run on a real one.
 *
 * Each system call of a simulated process is a step, before which `setIntercept` can delay it, make it fail or end the
 * process. What happened is in `trace`.
 *
 * @example
 * import { Effect, TestClock } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost } from "gateway-lock/testing"
 *
 * const test = Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   const first = yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   yield* host.settle
 *   yield* first.kill // no finalizer runs, the kernel takes back what it lent
 *   const second = yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   yield* host.settle
 *   return host.ports.owners(18789) // [second.pid]
 * })
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { makePlatform, type Requirements } from "./ProcessPlatform.ts"
import { makeProcessRegister, newProcess } from "./ProcessRegister.ts"
import * as SimulatedClock from "./SimulatedClock.ts"
import * as SimulatedFiles from "./SimulatedFiles.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import * as SimulatedPorts from "./SimulatedPorts.ts"
import type { ProcessOptions, SimulatedProcess } from "./SimulatedProcess.ts"
import * as SimulatedScheduler from "./SimulatedScheduler.ts"
import { spawnProgram } from "./spawnProgram.ts"

export type { Requirements } from "./ProcessPlatform.ts"
export type { ProcessOptions, SimulatedProcess } from "./SimulatedProcess.ts"

/**
 * The host, by the hand of the test.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedHost {
  /** Runs a program in the background, in a process of its own or `within` another. Its scope closes when it ends. */
  readonly spawn: <A, E>(
    program: Effect.Effect<A, E, Requirements | Scope.Scope>,
    options?: ProcessOptions
  ) => Effect.Effect<SimulatedProcess<A, E>>
  /** The platform of one more process, for a program that runs in the test's own fiber. That process does not end. */
  readonly layer: (options?: ProcessOptions) => Layer.Layer<Requirements>
  /**
   * A client of the host's ports, for `HttpApiClient` and its like: `http://127.0.0.1:18789/` is the gateway that listens there. A
   * response comes as a whole: one whose stream does not end never comes.
   */
  readonly layerClient: Layer.Layer<HttpClient.HttpClient>
  /** The file system, as root sees it. */
  readonly files: FileSystem.FileSystem
  /** Its network, as the test sees it: asking, and listening as somebody else. */
  readonly ports: Pick<
    SimulatedPorts.SimulatedPorts,
    "foreign" | "connection" | "get" | "connect" | "owners" | "loseLoopbackV4"
  >
  /** Lets everything happen that needs no time to pass. */
  readonly settle: Effect.Effect<void>
  /** Ends every process of this boot at once, frees locks and ports, keeps the files, and starts a new boot. */
  readonly reboot: Effect.Effect<void>
  /** Sets the wall clock on by so much, or back; durations are not affected. */
  readonly stepWallClock: (by: Duration.DurationInput, direction: "forward" | "back") => Effect.Effect<void>
  /** Which processes hold a kernel lock on a path. */
  readonly lockHolders: (path: string) => ReadonlyArray<number>
  /** Which processes have files open, and how many. */
  readonly openFiles: () => ReadonlyMap<number, number>
  /** Whether kernel locks work, are absent, refused or granted to everybody. At first they work. */
  readonly setLocking: (locking: SimulatedKernel.SimulatedKernel["locking"]) => Effect.Effect<void>
  /** Bytes that all files together may hold. */
  readonly setCapacity: (bytes: number) => Effect.Effect<void>
  /** Files, folders and links that there may be. */
  readonly setMaxInodes: (count: number) => Effect.Effect<void>
  /** Whether writing fails with `EROFS`. */
  readonly setReadOnly: (readOnly: boolean) => Effect.Effect<void>
  /** Whether a user sees its own processes alone; root sees all. */
  readonly setHidePids: (hide: boolean) => Effect.Effect<void>
  /** Sees every system call before it happens; see `Intercept`. */
  readonly setIntercept: (intercept: SimulatedKernel.Intercept) => Effect.Effect<void>
  /** What happened so far, oldest first. `SimulatedKernel.renderEntry` makes a line of an entry. */
  readonly trace: () => ReadonlyArray<SimulatedKernel.TraceEntry>
}

/**
 * How the host goes. All optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Which fiber of which process goes on next. Default: as the present clock's says, where that is a simulated one, else in
   * the order of arrival; see `SimulatedScheduler.make`.
   */
  readonly scheduler?: SimulatedScheduler.SimulatedScheduler
  /**
   * Whose rules hold. Default `linux`, which alone tells namespaces and boots apart. Paths are written with `/` on each. On
   * `darwin` and `win32`, names ignore case and keep it. On `win32`, mode bits say only whether a file is read-only, ids of files
   * are longer than a number of JavaScript, and an open file is not replaced.
   */
  readonly platform?: SimulatedKernel.SimulatedPlatform
}

/** What a test can change on a host. Each change is in the trace. */
const settingsOf = (
  kernel: SimulatedKernel.SimulatedKernel
): Pick<
  SimulatedHost,
  | "stepWallClock"
  | "setLocking"
  | "setCapacity"
  | "setMaxInodes"
  | "setReadOnly"
  | "setHidePids"
  | "setIntercept"
> => {
  const set = (what: string, change: () => void) =>
    Effect.zipRight(SimulatedKernel.note(kernel, undefined, what), Effect.sync(change))

  return {
    stepWallClock: (by, direction) =>
      set(`wall clock ${direction} by ${Duration.format(by)}`, () => {
        kernel.wallClockStep += (direction === "forward" ? 1 : -1) * Duration.toMillis(by)
      }),
    setLocking: (locking) =>
      set(`kernel locks: ${locking}`, () => {
        kernel.locking = locking
      }),
    setCapacity: (bytes) =>
      set(`room for ${bytes} bytes`, () => {
        kernel.capacity = bytes
      }),
    setMaxInodes: (count) =>
      set(`room for ${count} inodes`, () => {
        kernel.maxInodes = count
      }),
    setReadOnly: (readOnly) =>
      set(readOnly ? "read-only file system" : "writable file system", () => {
        kernel.readOnly = readOnly
      }),
    setHidePids: (hide) =>
      set(hide ? "hides processes" : "shows processes", () => {
        kernel.hidePids = hide
      }),
    setIntercept: (intercept) =>
      Effect.sync(() => {
        kernel.intercept = intercept
      })
  }
}

/**
 * `make`, with options.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeWith = (options: Options = {}): Effect.Effect<SimulatedHost> =>
  Effect.map(Effect.clock, (clock) => {
    const { platform = "linux" } = options
    const kernel = SimulatedKernel.make(platform)
    const ports = SimulatedPorts.make(kernel)
    const scheduler = options.scheduler ?? SimulatedClock.schedulerOf(clock) ?? SimulatedScheduler.make()
    const processes = makeProcessRegister(kernel, ports)
    const platformOf = makePlatform(kernel, ports, processes)

    return {
      spawn: spawnProgram(kernel, scheduler, processes, platformOf),
      layer: (options = {}) =>
        Layer.effectContext(
          Effect.flatMap(processes.register(options), (process) => platformOf(process, options))
        ),
      layerClient: Layer.succeed(HttpClient.HttpClient, ports.client),
      files: SimulatedFiles.makeFileSystem(
        kernel,
        newProcess(kernel, { command: "test", pid: 0 }, Clock.make(), 0, SimulatedKernel.testSerial)
      ),
      ports,
      settle: SimulatedScheduler.settle(scheduler),
      reboot: Effect.gen(function*() {
        yield* SimulatedKernel.note(kernel, undefined, "reboots")
        for (const process of kernel.processes) {
          if (process.bootId !== kernel.bootId) continue
          yield* processes.end(process, "gone", "ends with the boot")
        }
        kernel.bootId = `boot-${kernel.nextSerial++}`
      }),
      lockHolders: (path) => {
        const inode = kernel.paths.get(path)
        const locks = inode === undefined ? [] : kernel.locks.get(inode.ino) ?? []
        const isHeldBy = ({ files }: SimulatedKernel.KernelProcess) =>
          locks.some(({ exclusive, file }) => exclusive && files.get(file.fd) === file)
        return [...kernel.processes].filter(isHeldBy).map(({ pid }) => pid)
      },
      openFiles: () =>
        new Map(
          [...kernel.processes].filter(({ files }) => files.size > 0).map(({ files, serial }) => [serial, files.size])
        ),
      ...settingsOf(kernel),
      trace: () => kernel.trace
    }
  })

/**
 * A host with nothing on it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SimulatedHost> = makeWith()
