/**
 * The state that simulated processes share: processes, files, locks and the trace, which lists all system calls. Every system
 * call passes through `systemCall`.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { unending } from "../internal/unending.ts"
import * as HostClock from "./HostClock.ts"

/**
 * The operating system that is simulated.
 *
 * @since 0.1.0
 * @category models
 */
export type SimulatedPlatform = "linux" | "darwin" | "win32"

/**
 * The type of a file system object. Sockets and devices are not simulated.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeType = "File" | "Directory" | "SymbolicLink" | "FIFO"

/**
 * A file system object. An open file refers to its inode, even if the names of the inode change or are removed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Inode {
  readonly ino: number
  readonly type: NodeType
  /** The owner of the file. Permissions distinguish the owner from all other users. Groups are not simulated. */
  readonly uid: number
  content: Uint8Array
  target: string
  mode: number
  mtimeMillis: number
  links: number
}

/**
 * An open file description (open(2)). A kernel lock belongs to it, not to the process.
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
 * A kernel lock on a range of bytes: from `from` up to, but not including, `to`.
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
 * One program that runs in a process, as the kernel sees it. Most processes run one program. A worker thread, or a second copy
 * of this library in the same process, counts as another program.
 *
 * @since 0.1.0
 * @category models
 */
export interface KernelProcess {
  /** The number of this program on its host. Unlike a pid, it is never reused. */
  readonly serial: number
  readonly pid: number
  readonly uid: number
  readonly startTime: number
  readonly bootId: string
  readonly pidNamespace: string
  readonly networkNamespace: string
  readonly command: string
  readonly umask: number
  /** How many files the process may have open at the same time. Opening another one fails with `EMFILE`. */
  readonly maxFiles: number
  /** The ids of the threads other than the main thread. A thread id is never equal to the pid of another process (gettid(2)). */
  readonly threads: ReadonlyArray<number>
  /** The pid of the parent process, or 0 if the process cannot see its parent. */
  readonly parent: number
  /** Whether this program has the native addon that takes kernel locks. */
  readonly kernelLocks: boolean
  /** The process group, which is the pid of its leader. Signals of a terminal's keys reach all processes of a group. */
  readonly group: number
  /** Whether the terminal of the host is the controlling terminal of the process. */
  readonly hasTerminal: boolean
  /** All programs in this process, including this one. Each other program is a worker thread or another copy of the library. */
  readonly members: Set<KernelProcess>
  state: "running" | "zombie" | "gone"
  /** The exit status. It is `undefined` until the status is known, and also if the program was killed. */
  status: number | undefined
  /** The signal that ended the process. It is `undefined` while the process runs, and if the process exited by itself. */
  endedBy: NodeJS.Signals | undefined
  /** What the process does when it gets a signal, for each signal whose default action it has replaced. */
  readonly handlers: Map<NodeJS.Signals, Effect.Effect<void>>
  /** How many SIGCONTs the process has got. Each discards the stop signals on which the process has not acted yet. */
  continued: number
  /** A latch that is closed while the process is blocked in the kernel. Until it opens, signals, even SIGKILL, have no effect. */
  blocked: Effect.Latch | undefined
  /** What each signal does. Each effect completes at once, so the sender does not wait for the process to end. */
  onSignal: { readonly [name in "SIGTERM" | "SIGKILL" | "SIGSTOP"]: Effect.Effect<void> }
  /** The clock of the host. SIGSTOP to the process does not stop this clock, and `stepWallClock` does not change it. */
  readonly clock: Clock.Clock
  /** A latch that is closed while the process is stopped by SIGSTOP. System calls and timers wait until it opens. */
  readonly gate: Effect.Latch
  /** A latch that opens when the program has ended, for any reason. */
  readonly gone: Effect.Latch
  /**
   * The monotonic clock of the host, which tells whether the host is paused.
   *
   * @internal
   */
  readonly hostClock: HostClock.HostClock
  readonly files: Map<number, OpenFile>
}

/**
 * A system call that is about to run.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemCall {
  /** The `serial` of the `SimulatedProcess` that makes the call. */
  readonly serial: number
  readonly pid: number
  readonly name: string
  /** The path, descriptor or address that the call concerns. */
  readonly target: string
}

/**
 * Runs before each system call, and decides its outcome.
 *
 * - Succeed with `None` to let the call run.
 * - Succeed with an errno name to make the call fail. For `close` the errno name has no effect, because `close` cannot fail.
 * - Sleep to delay the call. The sleep uses the monotonic clock of the simulated host. SIGSTOP to the process does not stop that
 *   clock, and a step of the wall clock does not change it.
 * - Kill the process to end it before the call runs.
 *
 * @since 0.1.0
 * @category models
 */
export type Intercept = (call: SystemCall) => Effect.Effect<Option.Option<string>>

/**
 * One entry of the trace: a system call with its outcome, or an event of a process or of the host.
 *
 * @since 0.1.0
 * @category models
 */
export interface TraceEntry {
  /** The time of the entry, in milliseconds of the simulation's monotonic clock. */
  readonly at: number
  /** The program that the entry concerns. `None` means the host itself. */
  readonly serial: Option.Option<number>
  readonly pid: number
  /** The name of the system call, or a description of the event. */
  readonly name: string
  /** The path, descriptor or address that the call concerned. */
  readonly target: string
  /**
   * The inode of the open file, if the call was on a descriptor. In this case `target` is the path by which the file was opened.
   * That path may name another file by now.
   */
  readonly ino: Option.Option<number>
  /** `ok`, an errno name, or another word for a failure without an errno name. Empty if the entry has no outcome. */
  readonly outcome: string
}

/**
 * The state of the host. Tests change it and read it through `SimulatedHost`.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedKernel {
  /** The operating system whose rules apply. */
  readonly platform: SimulatedPlatform
  readonly paths: Map<string, Inode>
  /** The kernel locks, by inode number. */
  readonly locks: Map<number, Array<RangeLock>>
  /** Pipes that a process waits for. The latch of a pipe opens when the last writer has closed its end, or has ended. */
  readonly pipes: Map<OpenFile, Effect.Latch>
  /** The process group in the foreground of the host's terminal. 0: none. */
  foreground: number
  /** All programs, one or more for each process. Those of zombies are included, because a zombie keeps its pid. */
  readonly processes: Set<KernelProcess>
  readonly trace: Array<TraceEntry>
  /** The limit of the total size of all files, in bytes. */
  capacity: number
  /** The limit of the number of files, folders and links. */
  maxInodes: number
  readOnly: boolean
  /** Whether `/proc` shows a user only its own processes (`hidepid=2`, proc(5)). */
  hidePids: boolean
  /** How the kernel answers a request for a kernel lock. With `absent`, no program can use kernel locks. */
  locking: "works" | "absent" | "refused" | "grants everything"
  /** How far the wall clock has been stepped, in milliseconds. */
  wallClockStep: number
  /**
   * The monotonic clock of the host.
   *
   * @internal
   */
  readonly hostClock: HostClock.HostClock
  intercept: Intercept
  nextInode: number
  nextFd: number
  nextPid: number
  nextSerial: number
  bootId: string
}

/**
 * Makes a kernel with an empty root folder, no process and no limits.
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
    pipes: new Map(),
    foreground: 0,
    processes: new Set(),
    trace: [],
    capacity: Number.POSITIVE_INFINITY,
    maxInodes: Number.POSITIVE_INFINITY,
    readOnly: false,
    hidePids: false,
    locking: "works",
    wallClockStep: 0,
    hostClock: HostClock.make(),
    intercept: () => Effect.succeedNone,
    nextInode: 2,
    nextFd: 3,
    nextPid: 100,
    nextSerial: 1,
    bootId: "boot-1"
  }
}

/**
 * The `serial` of the file system calls that the test itself makes. Those calls are neither intercepted nor traced.
 *
 * @internal
 */
export const testSerial = 0

/**
 * Finds the process with a pid or a thread id, in one PID namespace of one boot. If the process has several programs and at
 * least one of them is running, the result is a running program.
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

const addEntry = (
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
 * Adds an entry to the trace. Calls of the test itself are not traced.
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
    addEntry(kernel, process, clock, name, target, outcome, ino)
    return Effect.void
  })

/**
 * Suspends a fiber of an ended process permanently.
 *
 * @internal
 */
export const dead: Effect.Effect<never> = unending

/**
 * Waits until a process runs: it is not stopped by SIGSTOP, and its host is not paused.
 *
 * @internal
 */
export const running = ({ gate, hostClock }: KernelProcess): Effect.Effect<void> =>
  Effect.suspend(() => hostClock.isPaused ? Effect.zipRight(hostClock.power.await, gate.await) : gate.await)

const step = (kernel: SimulatedKernel, process: KernelProcess, call: Omit<SystemCall, "serial" | "pid">) =>
  Effect.gen(function*() {
    if (process.state !== "running") return yield* dead
    const intercepted = process.serial === testSerial
      ? Effect.succeedNone
      : kernel.intercept({ serial: process.serial, pid: process.pid, ...call })
    // The interceptor mostly returns an `Exit`, which needs no clock. An `Exit` is run without `withClock`, because `withClock`
    // takes longer than the call itself.
    const fate = yield* Exit.isExit(intercepted) ? intercepted : Effect.withClock(intercepted, process.clock)
    yield* Effect.yieldNow()
    yield* running(process)
    // During the steps above, the interceptor or another process may have ended this process.
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
 * Runs one system call of a process: asks the interceptor, waits while the process is stopped, runs `body`, and adds the
 * outcome to the trace. If the process ends before `body` runs, the call never returns.
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
        addEntry(kernel, process, clock, call.name, call.target, outcomeOf(exit), ino)
      // Most bodies are an `Exit` already. An `Exit` cannot be interrupted, so it needs no finalizer. A finalizer would take
      // longer than the call itself.
      if (!Exit.isExit(done)) return Effect.onExit(done, (exit) => Effect.sync(() => written(exit)))
      written(done)
      return done
    }))

/**
 * Runs close(2), which cannot fail. The interceptor can delay the call, or end the process before the call runs.
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
 * Formats an entry of the trace as one line: time, process, call and outcome.
 *
 * @example
 * import { Console, Effect, Option } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, SimulatedKernel } from "gateway-lock/testing"
 *
 * // Prints the system calls of a start on a full disk.
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
  const subject = Option.match(serial, { onNone: () => "host", onSome: (serial) => `#${serial} (pid ${pid})` })
  const result = outcome === "" || outcome === "ok" ? "" : ` → ${outcome}`
  return `${String(at).padStart(8)} ms  ${subject.padEnd(14)} ${`${name} ${target}`.trim()}${result}`
}
