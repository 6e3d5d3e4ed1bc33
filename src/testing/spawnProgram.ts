/**
 * Runs a program in a process of a simulated host.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as HostClock from "./HostClock.ts"
import type { Requirements } from "./ProcessPlatform.ts"
import type { ProcessRegister } from "./ProcessRegister.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import type { ProcessOptions, SimulatedProcess } from "./SimulatedProcess.ts"
import type { ExecServices } from "./SimulatedPrograms.ts"
import type { SimulatedScheduler } from "./SimulatedScheduler.ts"

/**
 * Makes the clock of a process. The timers of a stopped process fire when the process continues, and the timers of an ended
 * process never fire. The wall-clock time includes the steps that a test has made with `SimulatedHost.stepWallClock`.
 */
export const processClock = (
  kernel: SimulatedKernel.SimulatedKernel,
  process: SimulatedKernel.KernelProcess
): Clock.Clock => {
  const { clock } = process
  const { hostClock } = kernel
  const nanos = () => HostClock.at(hostClock, clock.unsafeCurrentTimeNanos())
  /** Sleeps by the clock of the host, whose speed can change meanwhile. */
  const sleepUntil = (end: bigint): Effect.Effect<void> =>
    Effect.suspend(() => {
      const left = end - nanos()
      if (left <= 0n) return Effect.void
      const { changes } = hostClock
      const part = hostClock.isPaused
        ? hostClock.power.await
        : clock.sleep(Duration.nanos(HostClock.stretch(hostClock, left)))
      return Effect.flatMap(
        part,
        () => hostClock.changes === changes && !hostClock.isPaused ? Effect.void : sleepUntil(end)
      )
    })
  const wall = () => clock.unsafeCurrentTimeMillis() + kernel.wallClockStep
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: wall,
    currentTimeMillis: Effect.sync(wall),
    unsafeCurrentTimeNanos: nanos,
    currentTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      (Duration.isFinite(duration)
        ? Effect.suspend(() => sleepUntil(nanos() + Duration.unsafeToNanos(duration)))
        : clock.sleep(duration)).pipe(
          Effect.zipRight(SimulatedKernel.running(process)),
          Effect.zipRight(Effect.suspend(() => process.state === "running" ? Effect.void : SimulatedKernel.dead))
        )
  }
}

/** Makes the handle with which a test controls a running program. */
const handleOf = <A, E>(
  kernel: SimulatedKernel.SimulatedKernel,
  { endAll }: ProcessRegister,
  process: SimulatedKernel.KernelProcess,
  fiber: Fiber.RuntimeFiber<A, E>
): SimulatedProcess<A, E> => {
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
    status: Effect.sync(() => process.state === "running" ? Option.none() : Option.fromNullable(process.status)),
    isRunning: () => process.state === "running"
  }
}

/** Makes `SimulatedHost.spawn`, which runs a program in a new process or within a process that runs already. */
export const spawnProgram = (
  kernel: SimulatedKernel.SimulatedKernel,
  scheduler: SimulatedScheduler,
  processes: ProcessRegister,
  platformOf: (
    process: SimulatedKernel.KernelProcess,
    options: ProcessOptions
  ) => Effect.Effect<Context.Context<Requirements | ExecServices>>
) =>
<A, E>(
  program: Effect.Effect<A, E, Requirements | ExecServices | Scope.Scope>,
  options: ProcessOptions = {}
): Effect.Effect<SimulatedProcess<A, E>> =>
  Effect.gen(function*() {
    const process = yield* processes.register(options)
    const fiber = yield* program.pipe(
      Effect.scoped,
      Effect.provide(yield* platformOf(process, options)),
      Effect.onExit((exit) => {
        process.status ??= Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause) ? 0 : 1
        return processes.end(process, "gone", Exit.isSuccess(exit) ? "ends" : `ends with ${exit.cause._tag}`)
      }),
      Effect.withClock(processClock(kernel, process)),
      // `forkDaemon` lets a simulated process outlive the fiber that starts it. If the process is killed, its fiber stays
      // suspended for ever, and holds no resources.
      Effect.forkDaemon,
      Effect.withScheduler(scheduler.newLane())
    )
    // A stopped process receives SIGTERM only when it continues.
    const interruptOnceRunning = Effect.zipRight(
      Effect.raceFirst(process.gate.await, process.gone.await),
      Effect.suspend(() => process.state === "running" ? Fiber.interruptFork(fiber) : Effect.void)
      // `raceFirst` interrupts the loser of the race. In an uninterruptible region it would wait for the loser, which may never
      // complete. The fiber that sends the signal may be uninterruptible, so the race is made interruptible.
    ).pipe(Effect.interruptible)
    process.onSignal = { ...process.onSignal, SIGTERM: Effect.asVoid(Effect.forkDaemon(interruptOnceRunning)) }
    return handleOf(kernel, processes, process, fiber)
  })
