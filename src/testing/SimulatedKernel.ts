/**
 * What the simulated processes share: who lives, what is open, and the gate that every system call passes.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"

/**
 * The operating system that is simulated.
 *
 * @since 0.1.0
 * @category models
 */
export type SimulatedPlatform = "linux" | "darwin" | "win32"

/**
 * What a file system object is. Sockets and devices are not simulated.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeType = "File" | "Directory" | "SymbolicLink" | "FIFO"

/**
 * A file system object. What an open file refers to, whatever its names are by now.
 *
 * @since 0.1.0
 * @category models
 */
export interface Inode {
  readonly ino: number
  readonly type: NodeType
  /** Whose it is. Permissions have an owner and everybody else; groups are not simulated. */
  readonly uid: number
  content: Uint8Array
  target: string
  mode: number
  mtimeMillis: number
  links: number
}

/**
 * An open file description (open(2)): the thing that holds a kernel lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenFile {
  readonly fd: number
  readonly inode: Inode
  readonly writable: boolean
  position: number
}

/**
 * A kernel lock on bytes of a file: from the first to before the last.
 *
 * @since 0.1.0
 * @category models
 */
export interface RangeLock {
  readonly file: OpenFile
  readonly from: number
  readonly to: number
  readonly exclusive: boolean
}

/**
 * A process as the kernel knows it.
 *
 * @since 0.1.0
 * @category models
 */
export interface KernelProcess {
  /** The how-manyth program of this host: never used twice, as a pid can be. */
  readonly serial: number
  readonly pid: number
  readonly uid: number
  readonly startTime: number
  readonly bootId: string
  readonly pidNamespace: string
  readonly networkNamespace: string
  readonly command: string
  readonly umask: number
  /** Files that it may have open at one time; a further one fails with `EMFILE`. */
  readonly maxFiles: number
  /** The numbers of its further threads, which share the pids' number space (gettid(2)). */
  readonly threads: ReadonlyArray<number>
  /** The pid of its parent; 0 where that is not to be seen. */
  readonly parent: number
  /** Whether this program has the addon that asks for kernel locks. */
  readonly kernelLocks: boolean
  /** Every program of the process, this one included: worker threads, or further copies of the library. */
  readonly members: Set<KernelProcess>
  state: "running" | "zombie" | "gone"
  /** The exit status, once it is known. */
  status: number | undefined
  /** What a signal does to it; both are done at once, and waited for by nobody. */
  onSignal: { readonly SIGTERM: Effect.Effect<void>; readonly SIGKILL: Effect.Effect<void> }
  /** The host's, by which it was started: not stopped with the process, nor stepped. */
  readonly clock: Clock.Clock
  /** Closed while stopped by SIGSTOP. */
  readonly gate: Effect.Latch
  /** Opens when the process has ended, however it ended. */
  readonly gone: Effect.Latch
  readonly files: Map<number, OpenFile>
}

/**
 * One system call, before it happens.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemCall {
  /** Which process makes it: `serial` of the `SimulatedProcess`. */
  readonly serial: number
  readonly pid: number
  readonly name: string
  /** The path, descriptor or address that it is about. */
  readonly target: string
}

/**
 * Runs before each system call and decides its fate: succeed with `None` to let it happen, with an errno name to make
 * it fail; sleep to delay it; kill the process to make it the last. A `close` cannot fail. Time is the host's, whatever
 * was done to the process.
 *
 * @since 0.1.0
 * @category models
 */
export type Intercept = (call: SystemCall) => Effect.Effect<Option.Option<string>>

/**
 * Something that happened, for reading: a system call with its outcome, or what was done to a process or to the host.
 *
 * @since 0.1.0
 * @category models
 */
export interface TraceEntry {
  /** Milliseconds of the simulation's monotonic time. */
  readonly at: number
  /** `None`: the host itself. */
  readonly serial: Option.Option<number>
  readonly pid: number
  /** The system call, or in words what happened to a process or to the host. */
  readonly name: string
  /** What the call was about. */
  readonly target: string
  /** Which file an open descriptor was for, whatever its path means by now. */
  readonly ino: Option.Option<number>
  /** `ok`, an errno name, or empty. */
  readonly outcome: string
}

/**
 * The state of the host. `SimulatedHost` is what changes it; a test reads it by way of that.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedKernel {
  /** Whose rules hold. */
  readonly platform: SimulatedPlatform
  readonly paths: Map<string, Inode>
  /** The locks on an inode. */
  readonly locks: Map<number, Array<RangeLock>>
  /** Every program of each process whose number is taken, zombies too. */
  readonly processes: Set<KernelProcess>
  readonly trace: Array<TraceEntry>
  /** Bytes that all files together may hold. */
  capacity: number
  /** Files, folders and links that there may be. */
  maxInodes: number
  readOnly: boolean
  /** Whether `/proc` shows a user its own processes alone (`hidepid=2`, proc(5)). */
  hidePids: boolean
  /** What happens when a kernel lock is asked for. */
  locking: "works" | "absent" | "refused" | "grants everything"
  /** How far the wall clock has been stepped, in milliseconds. */
  wallClockStep: number
  intercept: Intercept
  nextInode: number
  nextFd: number
  nextPid: number
  nextSerial: number
  bootId: string
}

/**
 * A kernel with an empty root folder, no process and no limits.
 *
 * @internal
 */
export const make = (platform: SimulatedPlatform = "linux"): SimulatedKernel => {
  const root: Inode = {
    ino: 1,
    type: "Directory",
    uid: 0,
    content: new Uint8Array(),
    target: "",
    mode: 0o755,
    mtimeMillis: 0,
    links: 1
  }
  return {
    platform,
    paths: new Map([["/", root]]),
    locks: new Map(),
    processes: new Set(),
    trace: [],
    capacity: Number.POSITIVE_INFINITY,
    maxInodes: Number.POSITIVE_INFINITY,
    readOnly: false,
    hidePids: false,
    locking: "works",
    wallClockStep: 0,
    intercept: () => Effect.succeedNone,
    nextInode: 2,
    nextFd: 3,
    nextPid: 100,
    nextSerial: 1,
    bootId: "boot-1"
  }
}

/**
 * The `serial` of the test's own hand: never intercepted, never traced.
 *
 * @internal
 */
export const testSerial = 0

/**
 * The process or thread that a number means in a PID namespace of a boot. Of a process with several programs, one that runs.
 *
 * @internal
 */
export const findProcess = (
  kernel: SimulatedKernel,
  { bootId, pidNamespace }: Pick<KernelProcess, "bootId" | "pidNamespace">,
  pid: number
): KernelProcess | undefined => {
  let found: KernelProcess | undefined
  for (const process of kernel.processes) {
    if (process.bootId !== bootId || process.pidNamespace !== pidNamespace) continue
    if (process.pid !== pid && !process.threads.includes(pid)) continue
    if (process.state === "running") return process
    found ??= process
  }
  return found
}

const writeDown = (
  kernel: SimulatedKernel,
  process: KernelProcess | undefined,
  clock: Clock.Clock,
  name: string,
  target: string,
  outcome: string,
  ino: Option.Option<number>
): void => {
  if (process?.serial === testSerial) return
  kernel.trace.push({
    at: Number(clock.unsafeCurrentTimeNanos() / 1_000_000n),
    serial: process === undefined ? Option.none() : Option.some(process.serial),
    pid: process?.pid ?? 0,
    name,
    target,
    ino,
    outcome
  })
}

/**
 * Adds an entry to the trace. Of the test's own hand nothing is told.
 *
 * @internal
 */
export const note = (
  kernel: SimulatedKernel,
  process: KernelProcess | undefined,
  name: string,
  target = "",
  outcome = "",
  ino = Option.none<number>()
): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    writeDown(kernel, process, clock, name, target, outcome, ino)
    return Effect.void
  })

/**
 * Where a dead process's fibers stay. Without the timer by which `Effect.never` keeps the real process, and everything
 * that the fiber refers to, alive.
 *
 * @internal
 */
export const dead: Effect.Effect<never> = Effect.async(() => {})

const step = (kernel: SimulatedKernel, process: KernelProcess, call: Omit<SystemCall, "serial" | "pid">) =>
  Effect.gen(function*() {
    if (process.state !== "running") return yield* dead
    const intercepted = process.serial === testSerial
      ? Effect.succeedNone
      : kernel.intercept({ serial: process.serial, pid: process.pid, ...call })
    // Most calls are left alone, and then no clock is needed: to provide it takes longer than the call.
    const fate = yield* Exit.isExit(intercepted) ? intercepted : Effect.withClock(intercepted, process.clock)
    yield* Effect.yieldNow()
    yield* process.gate.await
    // Dead by the interceptor's hand, or by another process's in the meantime.
    if (process.state !== "running") return yield* dead
    return fate
  })

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "ok"
  if (exit.cause._tag !== "Fail") return exit.cause._tag
  const { error } = exit.cause
  const message = Predicate.hasProperty(error, "message") ? String(error.message) : ""
  return /\bE[A-Z]{2,}\b/.exec(message)?.[0] ?? "failed"
}

/**
 * Passes a system call through the gate. A dead process never returns from it, a stopped one not before it continues.
 *
 * @internal
 */
export const systemCall = <A, E extends { readonly message: string }>(
  kernel: SimulatedKernel,
  process: KernelProcess,
  call: Omit<SystemCall, "serial" | "pid">,
  fail: (code: string) => E,
  body: (clock: Clock.Clock) => Effect.Effect<A, E>,
  ino = Option.none<number>()
): Effect.Effect<A, E> =>
  Effect.flatMap(step(kernel, process, call), (fate) =>
    Effect.clockWith((clock) => {
      const done = Option.isSome(fate) ? Effect.fail(fail(fate.value)) : body(clock)
      const written = (exit: Exit.Exit<unknown, unknown>) =>
        writeDown(kernel, process, clock, call.name, call.target, outcomeOf(exit), ino)
      // Most calls are over at once. Then nothing can interrupt them, and no finalizer is needed, which takes longer than the call.
      if (!Exit.isExit(done)) return Effect.onExit(done, (exit) => Effect.sync(() => written(exit)))
      written(done)
      return done
    }))

/**
 * Closing, which cannot fail: the schedule can delay it, or make it the last call.
 *
 * @internal
 */
export const closeCall = (
  kernel: SimulatedKernel,
  process: KernelProcess,
  target: string,
  body: () => void
): Effect.Effect<void> =>
  Effect.zipRight(
    step(kernel, process, { name: "close", target }),
    Effect.zipRight(Effect.sync(body), note(kernel, process, "close", target, "ok"))
  )

/**
 * Where a range of that length ends. A length of 0 reaches to the end of the file, wherever that will be.
 *
 * @internal
 */
export const lockEnd = (offset: number, length: number): number =>
  length === 0 ? Number.POSITIVE_INFINITY : offset + length

/**
 * Whether two ranges have a byte in common.
 *
 * @internal
 */
export const overlaps = (
  one: Pick<RangeLock, "from" | "to">,
  other: Pick<RangeLock, "from" | "to">
): boolean => one.from < other.to && other.from < one.to

/**
 * Releases the locks of an open file, exclusive or shared, if it has any.
 *
 * @internal
 */
export const unlock = (kernel: SimulatedKernel, file: OpenFile): void => {
  // A dead process has had its files closed already, and another may hold a lock by now.
  const left = kernel.locks.get(file.inode.ino)?.filter((lock) => lock.file !== file) ?? []
  if (left.length === 0) kernel.locks.delete(file.inode.ino)
  else kernel.locks.set(file.inode.ino, left)
}

/**
 * Takes from a process what the kernel takes from one that ends: its open files, and the locks on them.
 *
 * @internal
 */
export const closeAll = (kernel: SimulatedKernel, process: KernelProcess): void => {
  for (const file of process.files.values()) unlock(kernel, file)
  process.files.clear()
}

/**
 * An entry as a line: time, process, call and outcome. Pure.
 *
 * @example
 * import { Console, Effect, Option } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, SimulatedKernel } from "gateway-lock/testing"
 *
 * // How does a start fare whose disk is full?
 * const test = Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   yield* host.setIntercept(({ name }) => Effect.succeed(name === "write" ? Option.some("ENOSPC") : Option.none()))
 *   yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   yield* host.settle
 *   yield* Console.log(host.trace().map(SimulatedKernel.renderEntry).join("\n"))
 * })
 *
 * @since 0.1.0
 * @category tracing
 */
export const renderEntry = ({ at, name, outcome, pid, serial, target }: TraceEntry): string => {
  const who = Option.match(serial, { onNone: () => "host", onSome: (serial) => `#${serial} (pid ${pid})` })
  const result = outcome === "" || outcome === "ok" ? "" : ` → ${outcome}`
  return `${String(at).padStart(8)} ms  ${who.padEnd(14)} ${`${name} ${target}`.trim()}${result}`
}
