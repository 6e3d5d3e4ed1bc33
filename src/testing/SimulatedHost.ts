/**
 * A host in memory: files, kernel locks, processes and ports, with time only from the clock of the fiber (a `TestClock`
 * in tests). `Gateway.layerPlatform` and every part run on it as they run on a real one.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Platform } from "../Gateway.ts"
import { InstanceId } from "../InstanceId.ts"
import { KernelLock } from "../lock/KernelLock.ts"
import * as ProcessTable from "../lock/ProcessTable.ts"
import * as PlatformFolders from "../PlatformFolders.ts"
import { ProbeTransport } from "../port/ProbeTransport.ts"
import { ServerSocket } from "../port/ServerSocket.ts"
import * as SimulatedFiles from "./SimulatedFiles.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import * as SimulatedPorts from "./SimulatedPorts.ts"

/**
 * What a program in a simulated process may use.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = Platform | PlatformFolders.PlatformFolders

/**
 * @since 0.1.0
 * @category models
 */
export interface ProcessOptions {
  /** Default: the next free one. Giving the number of a process that ended is how pids are reused. */
  readonly pid?: number
  /** Default: the host's own. */
  readonly pidNamespace?: string
  /** The program's file name. Default `node`. */
  readonly command?: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SimulatedProcess<A, E> {
  readonly pid: number
  /** SIGKILL: no finalizer runs, and the kernel takes back what it lent. */
  readonly kill: Effect.Effect<void>
  /** SIGKILL by a parent that does not wait: the pid stays taken. */
  readonly killUnreaped: Effect.Effect<void>
  /** SIGTERM: interrupts the program and waits for its finalizers. */
  readonly terminate: Effect.Effect<Exit.Exit<A, E>>
  /** SIGTERM without waiting. */
  readonly interrupt: Effect.Effect<void>
  /** SIGSTOP. */
  readonly freeze: Effect.Effect<void>
  /** SIGCONT. */
  readonly resume: Effect.Effect<void>
  /** Waits for the program's end; for ever, if it was killed. */
  readonly exit: Effect.Effect<Exit.Exit<A, E>>
  /** The exit, if the program has ended. */
  readonly poll: Effect.Effect<Option.Option<Exit.Exit<A, E>>>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SimulatedHost {
  /** Runs a program in a process of its own, in the background. Its scope closes when it ends. */
  readonly spawn: <A, E>(
    program: Effect.Effect<A, E, Requirements | Scope.Scope>,
    options?: ProcessOptions
  ) => Effect.Effect<SimulatedProcess<A, E>>
  /** The platform of one more process, for a program that runs in the test's own fiber. That process does not end. */
  readonly layer: (options?: ProcessOptions) => Layer.Layer<Requirements>
  /** The file system, as root sees it. */
  readonly files: FileSystem.FileSystem
  readonly ports: Pick<SimulatedPorts.SimulatedPorts, "foreign" | "get" | "connect" | "owners">
  /** Lets everything happen that needs no time to pass. */
  readonly settle: Effect.Effect<void>
  /** Ends every process at once, frees locks and ports, keeps the files, and starts a new boot. */
  readonly reboot: Effect.Effect<void>
  /** Which processes hold a kernel lock on a path. */
  readonly lockHolders: (path: string) => ReadonlyArray<number>
  readonly setLocking: (locking: SimulatedKernel.SimulatedKernel["locking"]) => Effect.Effect<void>
  /** Bytes that all files together may hold. */
  readonly setCapacity: (bytes: number) => Effect.Effect<void>
  /** Sees every system call before it happens; see `Intercept`. */
  readonly setIntercept: (intercept: SimulatedKernel.Intercept) => Effect.Effect<void>
}

const ticksPerSecond = 100

/** A whole start of a gateway takes some sixty system calls, each a step. */
const settlingSteps = 1000

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SimulatedHost> = Effect.sync(() => {
  const kernel = SimulatedKernel.make()
  const ports = SimulatedPorts.make(kernel)
  let instances = 0

  const register = (options: ProcessOptions): Effect.Effect<SimulatedKernel.KernelProcess> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const process: SimulatedKernel.KernelProcess = {
        pid: options.pid ?? kernel.nextPid++,
        // Two processes of one pid started at one moment of a clock that stands still are still two.
        startTime: Math.floor((now / 1000) * ticksPerSecond) + instances++,
        bootId: kernel.bootId,
        pidNamespace: options.pidNamespace ?? "pid:[1]",
        command: options.command ?? "node",
        state: "running",
        gate: Effect.unsafeMakeLatch(true),
        files: new Map()
      }
      kernel.processes.set(process.pid, process)
      return process
    })

  const end = (process: SimulatedKernel.KernelProcess, state: "gone" | "zombie") =>
    Effect.sync(() => {
      if (process.state === "gone") return
      process.state = state
      SimulatedKernel.closeAll(kernel, process)
      ports.closeAll(process.pid)
    })

  const processTable = (process: SimulatedKernel.KernelProcess) =>
    ProcessTable.make({
      self: Effect.succeed({
        pid: process.pid,
        startTime: process.startTime,
        bootId: process.bootId,
        pidNamespace: process.pidNamespace
      }),
      look: (pid) =>
        Effect.sync(() => {
          const seen = kernel.processes.get(pid)
          return seen === undefined || seen.state !== "running" || seen.pidNamespace !== process.pidNamespace
            ? ProcessTable.Sighting.absent
            : ProcessTable.Sighting.present(seen.startTime)
        }),
      commandName: (pid) =>
        Effect.sync(() => Option.map(Option.fromNullable(kernel.processes.get(pid)), ({ command }) => command)),
      tolerance: 0
    })

  const context = (process: SimulatedKernel.KernelProcess): Effect.Effect<Context.Context<Requirements>> =>
    Effect.map(
      processTable(process),
      (table) =>
        Context.make(FileSystem.FileSystem, SimulatedFiles.makeFileSystem(kernel, process)).pipe(
          Context.add(KernelLock, SimulatedFiles.makeKernelLock(kernel, process)),
          Context.add(ProcessTable.ProcessTable, table),
          Context.add(ProbeTransport, ports.probeTransport(process)),
          Context.add(ServerSocket, ports.serverSocket(process)),
          Context.add(PlatformFolders.PlatformFolders, PlatformFolders.make({ config: "/config", state: "/state" })),
          Context.add(InstanceId, Effect.sync(() => `instance-${instances++}`))
        )
    )

  const root: SimulatedKernel.KernelProcess = {
    pid: SimulatedKernel.rootPid,
    startTime: 0,
    bootId: kernel.bootId,
    pidNamespace: "pid:[1]",
    command: "init",
    state: "running",
    gate: Effect.unsafeMakeLatch(true),
    files: new Map()
  }
  return {
    spawn: (program, options = {}) =>
      Effect.gen(function*() {
        const process = yield* register(options)
        const fiber = yield* program.pipe(
          Effect.scoped,
          Effect.provide(yield* context(process)),
          Effect.onExit(() => end(process, "gone")),
          // Outlives the test's fiber only as a killed process does: suspended, holding nothing.
          Effect.forkDaemon
        )
        return {
          pid: process.pid,
          kill: end(process, "gone"),
          killUnreaped: end(process, "zombie"),
          terminate: Fiber.interrupt(fiber),
          interrupt: Fiber.interruptFork(fiber),
          freeze: Effect.asVoid(process.gate.close),
          resume: Effect.asVoid(process.gate.open),
          exit: Fiber.await(fiber),
          poll: Fiber.poll(fiber)
        }
      }),
    layer: (options = {}) => Layer.effectContext(Effect.flatMap(register(options), context)),
    files: SimulatedFiles.makeFileSystem(kernel, root),
    ports,
    settle: Effect.repeatN(Effect.yieldNow(), settlingSteps),
    reboot: Effect.gen(function*() {
      for (const process of kernel.processes.values()) yield* end(process, "gone")
      kernel.processes.clear()
      kernel.bootId = `boot-${instances++}`
    }),
    lockHolders: (path) => {
      const inode = kernel.paths.get(path)
      const open = inode === undefined ? undefined : kernel.locks.get(inode.ino)
      return [...kernel.processes.values()].filter((process) =>
        open !== undefined && process.files.get(open.fd) === open
      ).map(({ pid }) => pid)
    },
    setLocking: (locking) =>
      Effect.sync(() => {
        kernel.locking = locking
      }),
    setCapacity: (bytes) =>
      Effect.sync(() => {
        kernel.capacity = bytes
      }),
    setIntercept: (intercept) =>
      Effect.sync(() => {
        kernel.intercept = intercept
      })
  }
})
