/**
 * Programs that simulated processes start as their children, and the services `ChildProgram`, `ReceivedSignals`, `FileHolders`
 * and `CommandWatchdog` of these processes.
 *
 * A program is an effect that runs in a process of its own. It has a pid, a parent, a process group and open files, and it acts on
 * signals as the kernel prescribes. A test gives each program a name, under which `ChildProgram` finds it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import { type ChildExit, ChildProgram, type ChildSpec, SpawnFailed, type StartedChild } from "../host/ChildProgram.ts"
import { CommandWatchdog } from "../host/CommandWatchdog.ts"
import { FileHolders } from "../host/FileHolders.ts"
import { ReceivedSignals } from "../host/ReceivedSignals.ts"
import { SignalFailed } from "../host/Signals.ts"
import type { BindError } from "../server/ServerSocket.ts"
import { unlock } from "./FileLocks.ts"
import type { ForeignBehaviour } from "./ForeignListener.ts"
import type { ProcessRegister } from "./ProcessRegister.ts"
import { deliver, deliverToGroup } from "./SignalDelivery.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import type { SimulatedPorts } from "./SimulatedPorts.ts"
import type { ProcessOptions } from "./SimulatedProcess.ts"
import type { SimulatedScheduler } from "./SimulatedScheduler.ts"
import * as SimulatedWatchdog from "./SimulatedWatchdog.ts"
import { processClock } from "./spawnProgram.ts"

/** The services that `gateway exec` needs, in addition to those of `Requirements`. */
export type ExecServices = ChildProgram | ReceivedSignals | FileHolders | CommandWatchdog

/** How a program starts another one. */
export interface ForkOptions {
  /** Whether the new process leads a new session and process group (setsid(2)). */
  readonly newSession?: boolean
  /** Whether the new process has no parent, as after the second fork of a daemon. */
  readonly orphan?: boolean
}

/** The process of a program: its system calls for the program itself, and its state for the test. */
export interface ProgramProcess {
  readonly pid: number
  readonly serial: number
  /** The pid of the process that started it. */
  readonly parent: number
  readonly isRunning: () => boolean
  /** How the process has ended. `None` while it runs. */
  readonly ended: () => Option.Option<ChildExit>
  /** Replaces the default action of a signal. `Effect.void` ignores the signal. */
  readonly onSignal: (signal: NodeJS.Signals, action: Effect.Effect<void>) => void
  readonly exit: (status: number) => Effect.Effect<void>
  /** Ends itself by a signal, as a crash does. */
  readonly raise: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Starts another process, which inherits all open files. */
  readonly fork: (program: Program, options?: ForkOptions) => Effect.Effect<ProgramProcess>
  /** Listens on an address until the process ends. Every request gets an empty answer with status 200. */
  readonly listen: (address: Address) => Effect.Effect<void, BindError>
  /** Closes all inherited files. */
  readonly closeFiles: Effect.Effect<void>
  /** Blocks the process in the kernel, as an unreachable file server does. Until this time has passed, even SIGKILL has no effect. */
  readonly block: (duration: Duration.DurationInput) => Effect.Effect<void>
  readonly isBlocked: () => boolean
}

/** A program. Its result is the exit status. `spec` is how it was started: words, environment, session. */
export type Program = (process: ProgramProcess, spec: ChildSpec) => Effect.Effect<number>

/** The programs of a host, and the signals that a test sends. */
export interface SimulatedPrograms {
  /** Makes a program available to `ChildProgram` under a name. */
  readonly install: (name: string, program: Program) => void
  /** Sends a signal from outside, as kill(1) does. A pid without a running process gets none. */
  readonly kill: (pid: number, signal: NodeJS.Signals) => Effect.Effect<void>
  /** Puts the process group of a process in the foreground of the host's terminal. */
  readonly foreground: (pid: number) => Effect.Effect<void>
  /** Sends the signal of a key such as Ctrl+C to the process group in the foreground of the terminal. */
  readonly press: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Makes the services of a process. */
  readonly servicesOf: (process: SimulatedKernel.KernelProcess) => Context.Context<ExecServices>
}

/** The descriptions of the errors with which a spawn can fail. Other errno names have the reason `Failed`. */
const spawnFailure = (command: string) => (code: string): SpawnFailed =>
  new SpawnFailed({
    command,
    why: code === "ENOENT" ? "NotFound" : code === "EACCES" ? "NotExecutable" : "Failed",
    reason: `${code}: simulated error`
  })

/** What a new process has from the process that starts it. */
interface Origin {
  readonly process: SimulatedKernel.KernelProcess
  readonly options: ProcessOptions
  readonly files: ReadonlyArray<SimulatedKernel.OpenFile>
  readonly spec: ChildSpec
}

/** Only the end of a pipe has this inode. No name leads to it. */
const pipeInode: SimulatedKernel.Inode = {
  ino: 0,
  type: "FIFO",
  uid: 0,
  content: new Uint8Array(),
  target: "",
  mode: 0o600,
  mtimeMillis: 0,
  links: 0
}

const exitOf = ({ endedBy, state, status }: SimulatedKernel.KernelProcess): Option.Option<ChildExit> =>
  state === "running"
    ? Option.none()
    : Option.some(
      status !== undefined || endedBy === undefined
        ? { _tag: "Exited", status: status ?? 0 }
        : { _tag: "Signalled", signal: endedBy }
    )

/** Goes on after `event` as soon as the process can run. Never goes on if the process has ended, as with every system call. */
const noticed = <A>(process: SimulatedKernel.KernelProcess, event: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.zipLeft(
    event,
    Effect.zipRight(
      SimulatedKernel.running(process),
      Effect.suspend(() => process.state === "running" ? Effect.void : SimulatedKernel.dead)
    )
  )

/** The parts of a host that programs use. */
interface Machine {
  readonly kernel: SimulatedKernel.SimulatedKernel
  readonly ports: SimulatedPorts
  readonly scheduler: SimulatedScheduler
  readonly processes: ProcessRegister
}

const exit = ({ processes }: Machine, process: SimulatedKernel.KernelProcess, status: number) =>
  Effect.zipRight(
    Effect.suspend(() => process.blocked?.await ?? Effect.void),
    Effect.suspend(() => {
      if (process.state !== "running") return Effect.void
      process.status = status
      return processes.end(process, "gone", `exits with ${status}`)
    })
  )

const block = (process: SimulatedKernel.KernelProcess, duration: Duration.DurationInput) =>
  Effect.gen(function*() {
    const latch = Effect.unsafeMakeLatch(false)
    process.blocked = latch
    yield* process.clock.sleep(Duration.decode(duration))
    process.blocked = undefined
    yield* latch.open
  })

const handleOf = (machine: Machine, process: SimulatedKernel.KernelProcess, { spec }: Origin): ProgramProcess => {
  const { kernel, ports } = machine
  const clock = processClock(kernel, process)
  return {
    pid: process.pid,
    serial: process.serial,
    parent: process.parent,
    isRunning: () => process.state === "running",
    ended: () => exitOf(process),
    onSignal: (signal, action) => process.handlers.set(signal, Effect.withClock(action, clock)),
    exit: (status) => exit(machine, process, status),
    raise: (signal) =>
      Effect.suspend(() => {
        process.handlers.delete(signal)
        return deliver(kernel, process, signal)
      }),
    fork: (program, { newSession = false, orphan = false } = {}) =>
      launch(machine, program, {
        process,
        spec,
        files: [...process.files.values()],
        options: { command: process.command, ...sessionOf(process, newSession), ...(orphan ? { parent: 1 } : {}) }
      }),
    // The listener lives as long as its process, so no scope closes it.
    listen: (address) =>
      Effect.flatMap(
        Scope.make(),
        (scope) => Effect.asVoid(Scope.extend(ports.foreign(address, answers, process), scope))
      ),
    closeFiles: Effect.sync(() => {
      const files = [...process.files.values()]
      process.files.clear()
      for (const file of files) unlock(kernel, file)
    }),
    block: (duration) => block(process, duration),
    isBlocked: () => process.blocked !== undefined
  }
}

/** Starts a process that runs a program. */
const launch = (machine: Machine, program: Program, origin: Origin): Effect.Effect<ProgramProcess> =>
  Effect.gen(function*() {
    const { files, options, process: { bootId, clock, networkNamespace, pid, pidNamespace, uid } } = origin
    const { kernel, processes, scheduler } = machine
    const process = yield* processes.register({ uid, pidNamespace, networkNamespace, bootId, parent: pid, ...options })
      // The clock of the parent's process would stop with the parent.
      .pipe(Effect.withClock(clock))
    for (const file of files) process.files.set(file.fd, file)
    const handle = handleOf(machine, process, origin)
    yield* program(handle, origin.spec).pipe(
      Effect.flatMap((status) => exit(machine, process, status)),
      Effect.withClock(processClock(kernel, process)),
      Effect.interruptible,
      Effect.forkDaemon,
      Effect.withScheduler(scheduler.newLane())
    )
    return handle
  })

const answers: ForeignBehaviour = { _tag: "Answers", status: 200, body: "" }

/** The group and the terminal of a new process: those of its parent, or none in a new session. */
const sessionOf = (
  { group, hasTerminal }: SimulatedKernel.KernelProcess,
  newSession: boolean
): Pick<ProcessOptions, "group" | "hasTerminal"> => newSession ? {} : { group, hasTerminal }

/** The service `ReceivedSignals` of a process. */
const receivedSignals = (kernel: SimulatedKernel.SimulatedKernel, process: SimulatedKernel.KernelProcess) =>
  ReceivedSignals.of({
    listen: (signals) =>
      Effect.gen(function*() {
        const queue = yield* Queue.unbounded<NodeJS.Signals>()
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            for (const signal of signals) process.handlers.set(signal, Effect.asVoid(Queue.offer(queue, signal)))
          }),
          () =>
            Effect.sync(() => {
              for (const signal of signals) process.handlers.delete(signal)
            })
        )
        return queue
      }),
    terminal: Effect.sync(() =>
      !process.hasTerminal ? "None" : process.group === kernel.foreground ? "Foreground" : "Background"
    )
  })

/** The service `FileHolders` of a process. As the live layer, it finds no holder on other systems than Linux. */
const fileHolders = (kernel: SimulatedKernel.SimulatedKernel, viewer: SimulatedKernel.KernelProcess) =>
  FileHolders.of({
    holdersOf: (mark) =>
      Effect.sync(() => {
        const locks = kernel.platform === "linux" ? kernel.locks.get(Number(mark.split(":")[1])) ?? [] : []
        return [...kernel.processes].filter(({ bootId, files, pid, pidNamespace }) =>
          pid !== viewer.pid && bootId === viewer.bootId && pidNamespace === viewer.pidNamespace
          && locks.some(({ file }) => files.get(file.fd) === file)
        ).map(({ pid }) => pid)
      })
  })

/** The started child, as its parent sees it. Each operation is a system call of the parent. */
const childOf = (
  kernel: SimulatedKernel.SimulatedKernel,
  parent: SimulatedKernel.KernelProcess,
  spec: ChildSpec,
  child: ProgramProcess,
  begun: Deferred.Deferred<void>,
  deserted: Effect.Latch
): StartedChild => {
  const [process] = [...kernel.processes].filter(({ serial }) => serial === child.serial)
  const hasEnded = () => process === undefined || process.state !== "running"
  const call = <A>(name: string, target: string, body: Effect.Effect<A>) =>
    SimulatedKernel.systemCall(
      kernel,
      parent,
      { name, target },
      (code) => new SignalFailed({ pid: child.pid, why: "Failed", reason: code }),
      () => body
    ).pipe(Effect.ignore)
  const [first] = spec.inherits
  return {
    pid: child.pid,
    ended: noticed(
      parent,
      Effect.zipRight(
        process?.gone.await ?? Effect.void,
        Effect.sync(() => Option.getOrElse(child.ended(), (): ChildExit => ({ _tag: "Exited", status: 0 })))
      )
    ),
    deserted: noticed(parent, deserted.await),
    isDeserted: Effect.sync(() => ![...kernel.pipes.values()].includes(deserted)),
    mark: Option.map(
      Option.fromNullable(first === undefined ? undefined : parent.files.get(first)),
      ({ inode }) => `1:${inode.ino}`
    ),
    hasEnded: Effect.sync(hasEnded),
    begin: call("write", "gate", Deferred.succeed(begun, undefined)),
    signal: (signal, to) =>
      call(
        "kill",
        `${to === "group" && spec.newSession ? "-" : ""}${child.pid} ${signal}`,
        Effect.suspend(() => {
          if (to === "group" && spec.newSession) return deliverToGroup(kernel, parent, child.pid, signal)
          return process === undefined || hasEnded() ? Effect.void : deliver(kernel, process, signal)
        })
      )
  }
}

const start = (
  machine: Machine,
  installed: ReadonlyMap<string, Program>,
  parent: SimulatedKernel.KernelProcess,
  spec: ChildSpec
) =>
  Effect.gen(function*() {
    const { kernel } = machine
    const program = installed.get(spec.command)
    if (program === undefined) return yield* spawnFailure(spec.command)("ENOENT")
    const deserted = Effect.unsafeMakeLatch(spec.inherits.length === 0)
    const pipe: SimulatedKernel.OpenFile = { fd: kernel.nextFd++, inode: pipeInode, writable: true, position: 0 }
    if (spec.inherits.length > 0) kernel.pipes.set(pipe, deserted)
    const begun = yield* Deferred.make<void>()
    // A child that waits executes its command only after the permission of its parent. If the parent ends before, so does it.
    const gated: Program = (process, spec) =>
      Effect.flatMap(
        Effect.raceFirst(Effect.as(Deferred.await(begun), true), Effect.as(parent.gone.await, false)),
        (begins) => begins ? program(process, spec) : Effect.succeed(125)
      )
    const child = yield* launch(machine, spec.waits ? gated : program, {
      process: parent,
      spec,
      // The open files keep their numbers: the simulated kernel identifies an open file by its number.
      files: [
        ...spec.inherits.flatMap((fd) => parent.files.get(fd) ?? []),
        ...(spec.inherits.length > 0 ? [pipe] : [])
      ],
      options: { command: spec.command, ...sessionOf(parent, spec.newSession) }
    })
    return childOf(kernel, parent, spec, child, begun, deserted)
  })

/** Makes the programs of a host. At first there is none. */
export const make = (
  kernel: SimulatedKernel.SimulatedKernel,
  ports: SimulatedPorts,
  scheduler: SimulatedScheduler,
  processes: ProcessRegister
): SimulatedPrograms => {
  const installed = new Map<string, Program>()
  const machine: Machine = { kernel, ports, scheduler, processes }

  const childProgram = (parent: SimulatedKernel.KernelProcess) =>
    ChildProgram.of({
      start: (spec) =>
        SimulatedKernel.systemCall(
          kernel,
          parent,
          { name: "spawn", target: spec.command },
          spawnFailure(spec.command),
          () => start(machine, installed, parent, spec)
        )
    })

  /** Starts a program without open files, in a session of its own. */
  const launchFrom: SimulatedWatchdog.Launch = (process, program) =>
    launch(machine, program, {
      process,
      spec: { command: "watchdog", args: [], env: {}, inherits: [], sockets: [], newSession: true, waits: false },
      files: [],
      options: { command: "node" }
    })

  const here = (pid: number) =>
    SimulatedKernel.findProcess(kernel, { bootId: kernel.bootId, pidNamespace: "pid:[1]" }, pid)

  return {
    install: (name, program) => {
      installed.set(name, program)
    },
    kill: (pid, signal) =>
      Effect.suspend(() => {
        const process = here(pid)
        return process === undefined ? Effect.void : deliver(kernel, process, signal)
      }),
    foreground: (pid) =>
      Effect.sync(() => {
        kernel.foreground = here(pid)?.group ?? 0
      }),
    press: (signal) =>
      Effect.suspend(() =>
        Effect.forEach(
          [...kernel.processes].filter(({ group, hasTerminal }) => hasTerminal && group === kernel.foreground),
          (process) => deliver(kernel, process, signal),
          { discard: true }
        )
      ),
    servicesOf: (process) =>
      Context.make(ChildProgram, childProgram(process)).pipe(
        Context.add(ReceivedSignals, receivedSignals(kernel, process)),
        Context.add(FileHolders, fileHolders(kernel, process)),
        Context.add(CommandWatchdog, SimulatedWatchdog.make(kernel, process, launchFrom))
      )
  }
}
