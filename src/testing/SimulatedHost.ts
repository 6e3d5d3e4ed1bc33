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
import * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Platform } from "../Gateway.ts"
import { watcherGrace } from "../host/endProcess.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { InstanceId } from "../host/InstanceId.ts"
import { KernelLock } from "../host/KernelLock.ts"
import { NativeFiles } from "../host/NativeFiles.ts"
import { isConfigLock, OpenLockFiles } from "../host/OpenLockFiles.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { PortOwners } from "../host/PortOwners.ts"
import { ProbeTransport } from "../host/ProbeTransport.ts"
import { ProcessEnd } from "../host/ProcessEnd.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { SignalFailed, Signals } from "../host/Signals.ts"
import { GroupIds, UserId } from "../host/UserId.ts"
import { OwnerWatch } from "../probe/OwnerWatch.ts"
import { ServerSocket } from "../server/ServerSocket.ts"
import * as SimulatedClock from "./SimulatedClock.ts"
import * as SimulatedFiles from "./SimulatedFiles.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import * as SimulatedPorts from "./SimulatedPorts.ts"
import * as SimulatedScheduler from "./SimulatedScheduler.ts"

/**
 * What a program in a simulated process may use.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | Platform
  | PlatformFolders.PlatformFolders
  | OwnerWatch
  | PortOwners
  | OpenLockFiles
  | Signals

/**
 * What a simulated process is like. All optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessOptions {
  /** Default, and where a running process has that number: the next free one. The number of a process that ended is reused. */
  readonly pid?: number | undefined
  /** The numbers of further threads, which kill(2) takes for processes. Default none. */
  readonly threads?: ReadonlyArray<number> | undefined
  /** The pid of its parent. Default: none that can be seen. */
  readonly parent?: number | undefined
  /** Default 0, root, whom no permission stops. */
  readonly uid?: number | undefined
  /** Default 0o022. */
  readonly umask?: number | undefined
  /** Files that it may have open at one time. Default: no limit. */
  readonly maxFiles?: number | undefined
  /** Default: the host's own. */
  readonly pidNamespace?: string | undefined
  /** Default: the host's own. */
  readonly networkNamespace?: string | undefined
  /**
   * Default: the host's present one. Another is another machine on the same volume: it does not end with `reboot`, and its
   * PID namespaces are its own. Give it a network namespace of its own, and no kernel locks where the volume has none.
   */
  readonly bootId?: string | undefined
  /** Whether the program has the addon that asks for kernel locks. Default `true`. */
  readonly kernelLocks?: boolean | undefined
  /** The program's file name. Default `node`. */
  readonly command?: string | undefined
  /** Whether it listens for SIGTERM and ends in order, as a program under `runMain` does. Default `true`. */
  readonly listensForSigterm?: boolean | undefined
  /**
   * A running process in which the program runs: a worker thread, or another copy of the library. It has that process's pid,
   * start, boot, namespaces, parent, user and limits, whatever else is given here, and shares its fate: SIGKILL ends and
   * SIGSTOP stops all of its programs. Default: a process of its own.
   */
  readonly within?: SimulatedProcess<unknown, unknown> | undefined
}

/**
 * A program that runs on the host, and what can be done to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedProcess<A, E> {
  readonly pid: number
  /** The how-manyth program of this host: never used twice, as a pid can be. */
  readonly serial: number
  /** SIGKILL: no finalizer runs, and the kernel takes back what it lent. */
  readonly kill: Effect.Effect<void>
  /** SIGKILL by a parent that does not wait: the pid stays taken. */
  readonly killUnreaped: Effect.Effect<void>
  /** SIGTERM: interrupts the program, not others in its process, and waits for its finalizers. */
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
  /** Completes when the program has ended, by itself or by SIGKILL of its process: wait(2). */
  readonly gone: Effect.Effect<void>
  /**
   * With which exit status it has ended: 0 for success and interruption, 1 for a failure and where `ProcessEnd` ended it.
   * `None` while it runs, and if it was killed.
   */
  readonly status: Effect.Effect<Option.Option<number>>
  /** Neither killed nor ended. */
  readonly isRunning: () => boolean
}

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

const ticksPerSecond = 100

/**
 * A stopped process's timers wait for it, a dead one's never fire, and its wall clock can be stepped.
 */
const processClock = (
  kernel: SimulatedKernel.SimulatedKernel,
  process: SimulatedKernel.KernelProcess
): Clock.Clock => {
  const { clock } = process
  const wall = () => clock.unsafeCurrentTimeMillis() + kernel.wallClockStep
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: wall,
    currentTimeMillis: Effect.sync(wall),
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) =>
      clock.sleep(duration).pipe(
        Effect.zipRight(process.gate.await),
        Effect.zipRight(Effect.suspend(() => process.state === "running" ? Effect.void : SimulatedKernel.dead))
      )
  }
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
   * Whose rules hold. Default `linux`, which alone tells namespaces and boots apart. Paths are written with `/` on each. On `darwin` and `win32`, names ignore case and keep it;
   * on `win32`, mode bits say only whether a file is read-only, ids of files are longer than a number of JavaScript, and a file
   * that is open is not replaced.
   */
  readonly platform?: SimulatedKernel.SimulatedPlatform
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
    let instances = 0

    const newProcess = (
      options: ProcessOptions,
      clock: Clock.Clock,
      now: number,
      serial: number
    ): SimulatedKernel.KernelProcess => {
      const place = {
        bootId: options.bootId ?? kernel.bootId,
        pidNamespace: options.pidNamespace ?? "pid:[1]"
      }
      const isFree = options.pid !== undefined && SimulatedKernel.findProcess(kernel, place, options.pid) === undefined
      const process: SimulatedKernel.KernelProcess = {
        serial,
        pid: options.pid !== undefined && isFree ? options.pid : kernel.nextPid++,
        uid: options.uid ?? 0,
        // Two processes of one pid started at one moment of a clock that stands still are still two.
        startTime: Math.floor((now / 1000) * ticksPerSecond) + serial,
        ...place,
        kernelLocks: options.kernelLocks ?? true,
        members: new Set(),
        networkNamespace: options.networkNamespace ?? SimulatedPorts.defaultNetworkNamespace,
        command: options.command ?? "node",
        umask: options.umask ?? 0o022,
        maxFiles: options.maxFiles ?? Number.POSITIVE_INFINITY,
        threads: options.threads ?? [],
        parent: options.parent ?? 0,
        state: "running",
        status: undefined,
        onSignal: { SIGTERM: Effect.void, SIGKILL: Effect.void },
        clock,
        gate: Effect.unsafeMakeLatch(true),
        gone: Effect.unsafeMakeLatch(false),
        files: new Map()
      }
      process.members.add(process)
      return process
    }

    /** One more program of a process: what is the process's is shared, what ends with a worker thread is its own. */
    const newMember = (
      process: SimulatedKernel.KernelProcess,
      options: ProcessOptions,
      serial: number
    ): SimulatedKernel.KernelProcess => {
      const member: SimulatedKernel.KernelProcess = {
        ...process,
        serial,
        status: undefined,
        kernelLocks: options.kernelLocks ?? true,
        gone: Effect.unsafeMakeLatch(false),
        files: new Map()
      }
      process.members.add(member)
      return member
    }

    const register = (options: ProcessOptions): Effect.Effect<SimulatedKernel.KernelProcess> =>
      Effect.gen(function*() {
        // Monotonic, as the kernel's ticks since boot are.
        const clock = yield* Effect.clock
        const now = Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
        const { within } = options
        const host = [...kernel.processes].find(({ serial }) => serial === within?.serial)
        if (within !== undefined && host?.state !== "running") {
          return yield* Effect.dieMessage(`pid ${within.pid} has ended: nothing starts within it`)
        }
        const serial = kernel.nextSerial++
        const process = host === undefined
          ? newProcess(options, clock, now, serial)
          : newMember(host, options, serial)
        // What signal(7) does where nothing is said; a program that runs says more.
        process.onSignal = {
          SIGTERM: endAll(process, "gone", "ends by SIGTERM"),
          SIGKILL: endAll(process, "gone", "is killed")
        }
        kernel.processes.add(process)
        yield* SimulatedKernel.note(kernel, process, "starts", host === undefined ? "" : `within #${host.serial}`)
        return process
      })

    const end = (process: SimulatedKernel.KernelProcess, state: "gone" | "zombie", how: string) =>
      Effect.gen(function*() {
        if (process.state === "gone") return
        if (process.state === "running") yield* SimulatedKernel.note(kernel, process, how)
        process.state = state
        if (state === "gone") kernel.processes.delete(process)
        SimulatedKernel.closeAll(kernel, process)
        yield* ports.closeAll(process)
        yield* process.gone.open
      })

    /** A process with all its programs. */
    const endAll = (process: SimulatedKernel.KernelProcess, state: "gone" | "zombie", how: string) =>
      Effect.forEach(
        [...process.members],
        (member) => end(member, member === process ? state : "gone", how),
        { discard: true }
      )

    const processTable = (process: SimulatedKernel.KernelProcess) =>
      ProcessTable.make({
        self: Effect.succeed({
          pid: process.pid,
          startTime: process.startTime,
          // Only Linux tells these.
          ...(platform === "linux" ? { bootId: process.bootId, pidNamespace: process.pidNamespace } : {})
        }),
        look: (pid) =>
          Effect.sync(() => {
            const seen = SimulatedKernel.findProcess(kernel, process, pid)
            // A thread's number and a zombie's are nobody's.
            if (seen === undefined || seen.pid !== pid || seen.state !== "running") return ProcessTable.Sighting.absent
            return kernel.hidePids && process.uid !== 0 && process.uid !== seen.uid
              ? ProcessTable.Sighting.hidden
              : ProcessTable.Sighting.present(seen.startTime)
          }),
        commandName: (pid) =>
          Effect.sync(() =>
            Option.map(
              Option.fromNullable(SimulatedKernel.findProcess(kernel, process, pid)),
              ({ command }) => command
            )
          ),
        network: (pid) =>
          Effect.sync(() => {
            // Only Linux tells networks apart.
            if (platform !== "linux") return "Same"
            const seen = SimulatedKernel.findProcess(kernel, process, pid)
            const isHidden = kernel.hidePids && process.uid !== 0 && process.uid !== seen?.uid
            if (seen === undefined || isHidden) return "Unknown"
            return seen.networkNamespace === process.networkNamespace ? "Same" : "Other"
          }),
        tolerance: 0
      })

    const signals = (process: SimulatedKernel.KernelProcess): Signals["Type"] => ({
      // As the live one: whether it is still the recorded process is asked in the call that signals.
      send: (recorded, signal) => {
        const { pid } = recorded
        const gone = (reason: string) => new SignalFailed({ pid, why: "Gone", reason })
        return SimulatedKernel.systemCall(
          kernel,
          process,
          { name: "kill", target: `${pid} ${signal}` },
          (code) => new SignalFailed({ pid, why: "Failed", reason: `${code}: simulated error` }),
          () =>
            Effect.gen(function*() {
              const seen = SimulatedKernel.findProcess(kernel, process, pid)
              if (seen === undefined || seen.pid !== pid) return yield* gone("ESRCH: no such process")
              if (seen.startTime !== recorded.startTime) return yield* gone("it is another process by now")
              if (process.uid !== 0 && process.uid !== seen.uid) {
                return yield* new SignalFailed({ pid, why: "NotPermitted", reason: "it belongs to another user" })
              }
              // A zombie gets it, and nothing comes of it.
              if (seen.state !== "running") return
              for (const member of seen.members) {
                if (member.state !== "running") continue
                yield* SimulatedKernel.note(kernel, member, `gets ${signal}`)
                yield* member.onSignal[signal]
              }
            })
        )
      },
      ancestors: Effect.sync(() => {
        const found: Array<number> = []
        for (let pid = process.parent; pid > 0 && !found.includes(pid);) {
          found.push(pid)
          pid = SimulatedKernel.findProcess(kernel, process, pid)?.parent ?? 0
        }
        return found
      })
    })

    const processEnd = (process: SimulatedKernel.KernelProcess, listensForSigterm: boolean): ProcessEnd["Type"] => ({
      end: ({ drained, isWatched, within }) =>
        Effect.gen(function*() {
          process.status = 1
          const exit = end(process, "gone", "ends itself")
          yield* Effect.forkDaemon(Effect.zipRight(Effect.sleep(within), exit))
          yield* Effect.forkDaemon(Effect.gen(function*() {
            if (isWatched) yield* Effect.zipRight(drained, Effect.sleep(watcherGrace))
            if (listensForSigterm) return yield* process.onSignal.SIGTERM
            yield* drained
            yield* exit
          }))
        })
    })

    const openLockFiles = (viewer: SimulatedKernel.KernelProcess) =>
      OpenLockFiles.of({
        paths: Effect.sync(() => {
          const open = new Set(
            [...kernel.processes].filter(({ bootId, pidNamespace, uid }) =>
              bootId === viewer.bootId && pidNamespace === viewer.pidNamespace && uid === viewer.uid
            ).flatMap(({ files }) => [...files.values()].map(({ inode }) => inode))
          )
          const paths = [...kernel.paths].filter(([path, inode]) => isConfigLock(path) && open.has(inode))
          return { _tag: "Seen", paths: paths.map(([path]) => path) }
        })
      })

    const context = (
      process: SimulatedKernel.KernelProcess,
      { listensForSigterm = true }: ProcessOptions
    ): Effect.Effect<Context.Context<Requirements>> =>
      Effect.map(
        processTable(process),
        (table) =>
          Context.make(FileSystem.FileSystem, SimulatedFiles.makeFileSystem(kernel, process)).pipe(
            Context.add(KernelLock, SimulatedFiles.makeKernelLock(kernel, process)),
            Context.add(ProcessTable.ProcessTable, table),
            Context.add(ProbeTransport, ports.probeTransport(process)),
            Context.add(OwnerWatch, ports.ownerWatch(process)),
            Context.add(PortOwners, ports.portOwners(process)),
            Context.add(OpenLockFiles, openLockFiles(process)),
            Context.add(ServerSocket, ports.serverSocket(process)),
            Context.add(Signals, signals(process)),
            Context.add(
              PlatformFolders.PlatformFolders,
              PlatformFolders.make({ config: "/config", state: "/state" })
            ),
            Context.add(ProcessEnd, processEnd(process, listensForSigterm)),
            Context.add(HostPlatform, platform),
            Context.add(NativeFiles, SimulatedFiles.makeNativeFiles(kernel, process)),
            Context.add(UserId, Effect.succeed(platform === "win32" ? Option.none() : Option.some(process.uid))),
            // The group of every simulated file is 0.
            Context.add(GroupIds, Effect.succeed(platform === "win32" ? [] : [0])),
            Context.add(InstanceId, Effect.sync(() => `instance-${++instances}`))
          )
      )

    const set = (what: string, change: () => void) =>
      Effect.zipRight(SimulatedKernel.note(kernel, undefined, what), Effect.sync(change))

    return {
      spawn: (program, options = {}) =>
        Effect.gen(function*() {
          const process = yield* register(options)
          const fiber = yield* program.pipe(
            Effect.scoped,
            Effect.provide(yield* context(process, options)),
            Effect.onExit((exit) => {
              process.status ??= Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause) ? 0 : 1
              return end(process, "gone", Exit.isSuccess(exit) ? "ends" : `ends with ${exit.cause._tag}`)
            }),
            Effect.withClock(processClock(kernel, process)),
            // Outlives the test's fiber only as a killed process does: suspended, holding nothing.
            Effect.forkDaemon,
            Effect.withScheduler(scheduler.newLane())
          )
          // Stopped by SIGSTOP, it is told when it continues.
          const told = Effect.zipRight(
            Effect.raceFirst(process.gate.await, process.gone.await),
            Effect.suspend(() => process.state === "running" ? Fiber.interruptFork(fiber) : Effect.void)
            // Also if the sender is uninterruptible: a race waits for its loser.
          ).pipe(Effect.interruptible)
          process.onSignal = { ...process.onSignal, SIGTERM: Effect.asVoid(Effect.forkDaemon(told)) }
          const kill = (state: "gone" | "zombie", how: string) =>
            Effect.suspend(() => {
              if (process.state === "running") process.status = undefined
              return endAll(process, state, how)
            })
          return {
            pid: process.pid,
            serial: process.serial,
            kill: kill("gone", "is killed"),
            killUnreaped: kill("zombie", "is killed and not reaped"),
            terminate: Effect.zipRight(SimulatedKernel.note(kernel, process, "is told to end"), Fiber.interrupt(fiber)),
            interrupt: Effect.zipRight(
              SimulatedKernel.note(kernel, process, "is told to end"),
              Fiber.interruptFork(fiber)
            ),
            freeze: Effect.zipRight(SimulatedKernel.note(kernel, process, "stops"), process.gate.close),
            resume: Effect.zipRight(SimulatedKernel.note(kernel, process, "continues"), process.gate.open),
            exit: Fiber.await(fiber),
            poll: Fiber.poll(fiber),
            gone: process.gone.await,
            status: Effect.sync(() =>
              process.state === "running" ? Option.none() : Option.fromNullable(process.status)
            ),
            isRunning: () => process.state === "running"
          }
        }),
      layer: (options = {}) =>
        Layer.effectContext(Effect.flatMap(register(options), (process) => context(process, options))),
      files: SimulatedFiles.makeFileSystem(
        kernel,
        newProcess({ command: "test", pid: 0 }, Clock.make(), 0, SimulatedKernel.testSerial)
      ),
      ports,
      settle: SimulatedScheduler.settle(scheduler),
      reboot: Effect.gen(function*() {
        yield* SimulatedKernel.note(kernel, undefined, "reboots")
        for (const process of kernel.processes) {
          if (process.bootId !== kernel.bootId) continue
          yield* end(process, "gone", "ends with the boot")
        }
        kernel.bootId = `boot-${kernel.nextSerial++}`
      }),
      stepWallClock: (by, direction) =>
        set(`wall clock ${direction} by ${Duration.format(by)}`, () => {
          kernel.wallClockStep += (direction === "forward" ? 1 : -1) * Duration.toMillis(by)
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
        }),
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
