/**
 * Simulates a host in memory, with files, kernel locks, processes and ports.
 *
 * The host takes the time only from Effect's `Clock`, and a test provides a `TestClock`. `Gateway.layerPlatform` and every other
 * part of the library run on the simulated host as on a real one.
 *
 * Each system call of a simulated process is one step. `setIntercept` can delay a call, make it fail, or end the process
 * before the call runs. `trace` returns the calls and events so far.
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
 *   yield* first.kill // no finalizer runs, and the kernel releases the locks and ports
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
import * as HostClock from "./HostClock.ts"
import { makePlatform, type Requirements } from "./ProcessPlatform.ts"
import { makeProcessRegister, newProcess } from "./ProcessRegister.ts"
import * as SimulatedClock from "./SimulatedClock.ts"
import * as SimulatedFiles from "./SimulatedFiles.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import * as SimulatedPorts from "./SimulatedPorts.ts"
import type { ProcessOptions, SimulatedProcess } from "./SimulatedProcess.ts"
import * as SimulatedPrograms from "./SimulatedPrograms.ts"
import * as SimulatedScheduler from "./SimulatedScheduler.ts"
import { spawnProgram } from "./spawnProgram.ts"

export type { Requirements } from "./ProcessPlatform.ts"
export type { ProcessOptions, SimulatedProcess } from "./SimulatedProcess.ts"

/**
 * A simulated host, with the operations that a test can perform on it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedHost {
  /**
   * Runs a program in the background, in a new process or in the process that the option `within` names. The program's
   * scope closes when the program ends.
   */
  readonly spawn: <A, E>(
    program: Effect.Effect<A, E, Requirements | Scope.Scope>,
    options?: ProcessOptions
  ) => Effect.Effect<SimulatedProcess<A, E>>
  /**
   * Runs a program as `spawn` does. The program may also start children and receive signals, as `gateway exec` does.
   *
   * @internal
   */
  readonly spawnParent: <A, E>(
    program: Effect.Effect<A, E, Requirements | SimulatedPrograms.ExecServices | Scope.Scope>,
    options?: ProcessOptions
  ) => Effect.Effect<SimulatedProcess<A, E>>
  /**
   * The programs that the processes of the host can start as children.
   *
   * @internal
   */
  readonly programs: Omit<SimulatedPrograms.SimulatedPrograms, "servicesOf">
  /**
   * Starts a process. The layer provides the services of this process to a program that runs in the test's own fiber. The
   * process goes on after the program has ended or the scope of the layer has closed. Only a signal, `reboot` or the service
   * `ProcessEnd` ends the process.
   */
  readonly layer: (options?: ProcessOptions) => Layer.Layer<Requirements>
  /**
   * An HTTP client for the ports of the host, for example for `HttpApiClient`. A request to `http://127.0.0.1:18789/` reaches
   * the gateway that listens there. A response arrives once its body is complete, so an endless stream never arrives.
   */
  readonly layerClient: Layer.Layer<HttpClient.HttpClient>
  /** The file system of the host, with the permissions of root. */
  readonly files: FileSystem.FileSystem
  /** The network of the host: sends requests, and adds listeners that do not belong to the host's processes. */
  readonly ports: Pick<
    SimulatedPorts.SimulatedPorts,
    "foreign" | "connection" | "get" | "connect" | "owners" | "loseLoopbackV4"
  >
  /** Runs all simulated processes until each of them waits for time to pass. */
  readonly settle: Effect.Effect<void>
  /** Ends every process of this boot at once, and starts a new boot. Locks and ports become free; files stay. */
  readonly reboot: Effect.Effect<void>
  /** Moves the wall clock forward or back by a duration. Sleeps and measured durations are not affected. */
  readonly stepWallClock: (by: Duration.DurationInput, direction: "forward" | "back") => Effect.Effect<void>
  /**
   * Sets how fast the monotonic clock of the host runs, compared with the clock of the simulation. Default 1. A sleep that has begun
   * before the clock gets faster can end late.
   */
  readonly setClockRate: (rate: number) => Effect.Effect<void>
  /**
   * Pauses the host, as a hypervisor pauses a virtual machine: no process runs, and the monotonic clock of the host stands still.
   * Nothing on the host can notice it. For a pause that its clock counts, stop the processes by `freeze`.
   */
  readonly pause: Effect.Effect<void>
  /** Lets a paused host continue. */
  readonly unpause: Effect.Effect<void>
  /** The pids of the processes that hold an exclusive kernel lock on a path. */
  readonly lockHolders: (path: string) => ReadonlyArray<number>
  /** The number of open files of each program that has open files. The key is the `serial` of the program. */
  readonly openFiles: () => ReadonlyMap<number, number>
  /** Sets whether kernel locks work, are absent, are refused, or are granted to every process. Default: they work. */
  readonly setLocking: (locking: SimulatedKernel.SimulatedKernel["locking"]) => Effect.Effect<void>
  /** Limits the total size of all files, in bytes. Default: no limit. */
  readonly setCapacity: (bytes: number) => Effect.Effect<void>
  /** Limits the number of files, folders and links. Default: no limit. */
  readonly setMaxInodes: (count: number) => Effect.Effect<void>
  /** Sets whether the file system is read-only: changes fail with `EROFS`. Default `false`. */
  readonly setReadOnly: (readOnly: boolean) => Effect.Effect<void>
  /** Sets whether a user other than root sees only its own processes. Default `false`. */
  readonly setHidePids: (hide: boolean) => Effect.Effect<void>
  /** Sets an effect that runs before each system call; see `Intercept`. */
  readonly setIntercept: (intercept: SimulatedKernel.Intercept) => Effect.Effect<void>
  /** The system calls and events so far, oldest first. `SimulatedKernel.renderEntry` formats an entry as a line. */
  readonly trace: () => ReadonlyArray<SimulatedKernel.TraceEntry>
}

/**
 * Options of a simulated host. All of them are optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Decides which process runs next. Default: the scheduler of the current clock if that is a `SimulatedClock`, and otherwise
   * a scheduler that runs tasks in the order of arrival. See `SimulatedScheduler.make`.
   */
  readonly scheduler?: SimulatedScheduler.SimulatedScheduler
  /**
   * The operating system whose rules apply. Default `linux`. Paths use `/` on every platform.
   *
   * - Only `linux` distinguishes namespaces and boots.
   * - On `darwin` and `win32`, file names ignore case and preserve it.
   * - On `win32`, mode bits only show whether a file is read-only. File ids do not fit into a JavaScript number, and an open
   *   file cannot be replaced.
   */
  readonly platform?: SimulatedKernel.SimulatedPlatform
}

/** The settings of a host that a test can change. Each change is added to the trace, except a change by `setIntercept`. */
const settingsOf = (
  kernel: SimulatedKernel.SimulatedKernel,
  clock: Clock.Clock
): Pick<
  SimulatedHost,
  | "stepWallClock"
  | "setClockRate"
  | "pause"
  | "unpause"
  | "setLocking"
  | "setCapacity"
  | "setMaxInodes"
  | "setReadOnly"
  | "setHidePids"
  | "setIntercept"
> => {
  const set = (what: string, change: () => void) =>
    Effect.zipRight(SimulatedKernel.note(kernel, undefined, what), Effect.sync(change))
  const changeClock = (to: Parameters<typeof HostClock.change>[2]) =>
    HostClock.change(kernel.hostClock, clock.unsafeCurrentTimeNanos(), to)

  return {
    stepWallClock: (by, direction) =>
      set(`wall clock ${direction} by ${Duration.format(by)}`, () => {
        kernel.wallClockStep += (direction === "forward" ? 1 : -1) * Duration.toMillis(by)
      }),
    setClockRate: (rate) => set(`clock at ${rate} times the speed`, () => changeClock({ rate })),
    pause: set("pauses", () => {
      changeClock({ isPaused: true })
      kernel.hostClock.power.unsafeClose()
    }),
    unpause: set("continues", () => {
      changeClock({ isPaused: false })
      kernel.hostClock.power.unsafeOpen()
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
 * Makes an empty simulated host with options.
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
    const programs = SimulatedPrograms.make(kernel, ports, scheduler, processes)
    const platformOf = makePlatform(kernel, ports, processes, programs, clock)
    const spawn = spawnProgram(kernel, scheduler, processes, platformOf)

    return {
      spawn,
      spawnParent: spawn,
      programs,
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
      ...settingsOf(kernel, clock),
      trace: () => kernel.trace
    }
  })

/**
 * Makes an empty simulated host: no process, no listener, and only a root folder.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SimulatedHost> = makeWith()
