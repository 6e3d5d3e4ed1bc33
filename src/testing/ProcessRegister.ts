/**
 * Starts and ends the processes of a simulated host. A program gets a new process, or runs in a process that is already running,
 * as a worker thread does.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { closeAll } from "./FileLocks.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import * as SimulatedPorts from "./SimulatedPorts.ts"
import type { ProcessOptions } from "./SimulatedProcess.ts"

const ticksPerSecond = 100

/** Makes a process without adding it to the host's process list. */
export const newProcess = (
  kernel: SimulatedKernel.SimulatedKernel,
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
  const pid = options.pid !== undefined && isFree ? options.pid : kernel.nextPid++
  const process: SimulatedKernel.KernelProcess = {
    serial,
    pid,
    uid: options.uid ?? 0,
    // The start time includes `serial`. So two processes with the same pid have different start times, even if the clock did not
    // advance between their starts.
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
    group: options.group ?? pid,
    hasTerminal: options.hasTerminal ?? false,
    state: "running",
    status: undefined,
    endedBy: undefined,
    handlers: new Map(),
    continued: 0,
    blocked: undefined,
    onSignal: { SIGTERM: Effect.void, SIGKILL: Effect.void, SIGSTOP: Effect.void },
    clock,
    gate: Effect.unsafeMakeLatch(true),
    gone: Effect.unsafeMakeLatch(false),
    hostClock: kernel.hostClock,
    files: new Map()
  }
  process.members.add(process)
  return process
}

/**
 * Makes one more program within a process, such as a worker thread. The program shares the state of the process. It has its own
 * open files and exit status, because a worker thread can end before its process.
 */
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

/** The state of a process after its end. A zombie keeps its pid. */
type EndState = "gone" | "zombie"

/** Starts and ends the processes of a host. */
export interface ProcessRegister {
  readonly register: (options: ProcessOptions) => Effect.Effect<SimulatedKernel.KernelProcess>
  /** Ends one program of a process. */
  readonly end: (process: SimulatedKernel.KernelProcess, state: EndState, how: string) => Effect.Effect<void>
  /** Ends a process and all its programs. */
  readonly endAll: (process: SimulatedKernel.KernelProcess, state: EndState, how: string) => Effect.Effect<void>
}

/** Makes the register of a host's processes. The host has no process at first. */
export const makeProcessRegister = (
  kernel: SimulatedKernel.SimulatedKernel,
  ports: SimulatedPorts.SimulatedPorts
): ProcessRegister => {
  const register = (options: ProcessOptions): Effect.Effect<SimulatedKernel.KernelProcess> =>
    Effect.gen(function*() {
      // Start times are measured in monotonic time, as the kernel's ticks since boot are. So a step of the wall clock does not
      // change start times.
      const clock = yield* Effect.clock
      const now = Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)
      const { within } = options
      const host = [...kernel.processes].find(({ serial }) => serial === within?.serial)
      if (within !== undefined && host?.state !== "running") {
        return yield* Effect.dieMessage(`pid ${within.pid} has ended: nothing starts within it`)
      }
      const serial = kernel.nextSerial++
      const process = host === undefined
        ? newProcess(kernel, options, clock, now, serial)
        : newMember(host, options, serial)
      // The default actions of signal(7). `spawnProgram` replaces the action of SIGTERM.
      process.onSignal = {
        SIGTERM: endAll(process, "gone", "ends by SIGTERM"),
        SIGKILL: endAll(process, "gone", "is killed"),
        SIGSTOP: Effect.asVoid(process.gate.close)
      }
      const lender = [...kernel.processes].find(({ serial }) => serial === options.inherits?.serial)
      for (const [fd, file] of lender?.files ?? []) process.files.set(fd, file)
      kernel.processes.add(process)
      yield* SimulatedKernel.note(kernel, process, "starts", host === undefined ? "" : `within #${host.serial}`)
      return process
    })

  const end = (process: SimulatedKernel.KernelProcess, state: EndState, how: string) =>
    Effect.gen(function*() {
      if (process.state === "gone") return
      if (process.state === "running") yield* SimulatedKernel.note(kernel, process, how)
      process.state = state
      if (state === "gone") kernel.processes.delete(process)
      closeAll(kernel, process)
      yield* ports.closeAll(process)
      yield* process.gone.open
    })

  const endAll = (process: SimulatedKernel.KernelProcess, state: EndState, how: string) =>
    Effect.forEach(
      [...process.members],
      (member) => end(member, member === process ? state : "gone", how),
      { discard: true }
    )

  return { register, end, endAll }
}
