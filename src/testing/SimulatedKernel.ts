/**
 * What the simulated processes share: who lives, what is open, and the gate that every system call passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
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
 * @since 0.1.0
 * @category models
 */
export interface KernelProcess {
  readonly pid: number
  readonly startTime: number
  readonly bootId: string
  readonly pidNamespace: string
  readonly command: string
  state: "running" | "zombie" | "gone"
  /** Closed while stopped by SIGSTOP. */
  readonly gate: Effect.Latch
  readonly files: Map<number, OpenFile>
}

/**
 * One system call, before it happens.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemCall {
  readonly pid: number
  readonly name: string
  /** The path, descriptor or address that it is about. */
  readonly target: string
}

/**
 * Runs before each system call and decides its fate: succeed with `None` to let it happen, with an errno name to make
 * it fail; sleep to delay it; kill the process to make it the last.
 *
 * @since 0.1.0
 * @category models
 */
export type Intercept = (call: SystemCall) => Effect.Effect<Option.Option<string>>

/**
 * @since 0.1.0
 * @category models
 */
export interface SimulatedKernel {
  readonly paths: Map<string, Inode>
  /** Which open file holds the lock of an inode. */
  readonly locks: Map<number, OpenFile>
  readonly processes: Map<number, KernelProcess>
  /** Bytes that all files together may hold. */
  capacity: number
  /** What happens when a kernel lock is asked for. */
  locking: "works" | "absent" | "refused" | "grants everything"
  intercept: Intercept
  nextInode: number
  nextFd: number
  nextPid: number
  bootId: string
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (): SimulatedKernel => {
  const root: Inode = {
    ino: 1,
    type: "Directory",
    content: new Uint8Array(),
    target: "",
    mode: 0o755,
    mtimeMillis: 0,
    links: 1
  }
  return {
    paths: new Map([["/", root]]),
    locks: new Map(),
    processes: new Map(),
    capacity: Number.POSITIVE_INFINITY,
    locking: "works",
    intercept: () => Effect.succeedNone,
    nextInode: 2,
    nextFd: 3,
    nextPid: 100,
    bootId: "boot-1"
  }
}

/**
 * The test's own hand: never intercepted.
 *
 * @since 0.1.0
 * @category constants
 */
export const rootPid = 1

/**
 * Passes a system call through the gate. A dead process never returns from it, a stopped one not before it continues.
 *
 * @since 0.1.0
 * @category system calls
 */
export const systemCall = <A, E>(
  kernel: SimulatedKernel,
  process: KernelProcess,
  call: Omit<SystemCall, "pid">,
  fail: (code: string) => E,
  body: () => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    if (process.state !== "running") return yield* Effect.never
    const errno = process.pid === rootPid ? Option.none() : yield* kernel.intercept({ pid: process.pid, ...call })
    yield* Effect.yieldNow()
    yield* process.gate.await
    if (process.state !== "running") return yield* Effect.never
    if (Option.isSome(errno)) return yield* Effect.fail(fail(errno.value))
    return yield* body()
  })

/**
 * Takes from a process what the kernel takes from one that ends: its open files, and the locks on them.
 *
 * @since 0.1.0
 * @category system calls
 */
export const closeAll = (kernel: SimulatedKernel, process: KernelProcess): void => {
  for (const file of process.files.values()) {
    if (kernel.locks.get(file.inode.ino) === file) kernel.locks.delete(file.inode.ino)
  }
  process.files.clear()
}
