/**
 * The watchdog of a simulated `gateway exec` with a lease: a process of its own that kills the command when its parent ends, or when
 * the command must have stopped.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { CommandWatchdog, type GuardedCommand, WatchdogFailed } from "../host/CommandWatchdog.ts"
import { unending } from "../internal/unending.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import type { Program, ProgramProcess } from "./SimulatedPrograms.ts"

/** How a simulated process starts another one. */
export type Launch = (parent: SimulatedKernel.KernelProcess, program: Program) => Effect.Effect<ProgramProcess>

/** The processes of the command: its descendants, its session, and those that hold the lock by the file that it has inherited. */
const familyOf = (
  kernel: SimulatedKernel.SimulatedKernel,
  parent: SimulatedKernel.KernelProcess,
  watchdog: ProgramProcess,
  { leadsSession, mark, process: { pid, startTime } }: GuardedCommand
): ReadonlyArray<SimulatedKernel.KernelProcess> => {
  const visible = [...kernel.processes].filter((process) =>
    process.bootId === parent.bootId && process.pidNamespace === parent.pidNamespace
    && process.pid !== parent.pid && process.pid !== watchdog.pid && process.state === "running"
  )
  const locks = Option.match(mark, {
    onNone: () => [],
    onSome: (mark) => kernel.locks.get(Number(mark.split(":")[1])) ?? []
  })
  const chosen = new Set(visible.filter((process) =>
    (process.pid === pid && process.startTime === startTime)
    || (leadsSession && process.group === pid)
    || (kernel.platform === "linux" && locks.some(({ file }) => process.files.get(file.fd) === file))
  ))
  for (const found of chosen) {
    for (const process of visible) if (process.parent === found.pid) chosen.add(process)
  }
  return [...chosen]
}

type Change = { readonly killAt: bigint } | { readonly guarded: GuardedCommand }

interface Watch {
  readonly kernel: SimulatedKernel.SimulatedKernel
  readonly parent: SimulatedKernel.KernelProcess
  readonly changes: Queue.Dequeue<Change>
  readonly done: Effect.Effect<void>
}

const now = Effect.flatMap(Effect.clock, (clock) => clock.currentTimeNanos)

/** The program of the watchdog. */
const watch = ({ changes, done, kernel, parent }: Watch): Program => (process) =>
  Effect.gen(function*() {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const) {
      process.onSignal(signal, Effect.void)
    }
    let killAt = Option.none<bigint>()
    let guarded = Option.none<GuardedCommand>()
    for (;;) {
      const time = yield* now
      const due = Option.match(killAt, {
        onNone: () => unending,
        onSome: (killAt) => Effect.sleep(Duration.nanos(killAt > time ? killAt - time : 0n))
      })
      const next = yield* Effect.raceAll([
        Effect.as(done, "done" as const),
        Effect.as(parent.gone.await, "kill" as const),
        Effect.as(due, "kill" as const),
        Queue.take(changes)
      ])
      if (next === "done") return 0
      if (next === "kill") break
      if ("killAt" in next) killAt = Option.some(next.killAt)
      else guarded = Option.some(next.guarded)
    }
    if (Option.isSome(guarded)) {
      for (const target of familyOf(kernel, parent, process, guarded.value)) yield* target.onSignal.SIGKILL
    }
    return 0
  })

/** The watchdog of a process, for `servicesOf` of the simulated programs. */
export const make = (
  kernel: SimulatedKernel.SimulatedKernel,
  parent: SimulatedKernel.KernelProcess,
  launch: Launch
): CommandWatchdog["Type"] =>
  CommandWatchdog.of({
    start: Effect.gen(function*() {
      const changes = yield* Queue.unbounded<Change>()
      const done = yield* Deferred.make<void>()
      const failed = yield* Deferred.make<never, WatchdogFailed>()
      const program = watch({ kernel, parent, changes, done: Deferred.await(done) })

      /** Each operation is a system call of the parent. */
      const call = <A>(target: string, body: Effect.Effect<A>): Effect.Effect<A, WatchdogFailed> =>
        SimulatedKernel.systemCall(
          kernel,
          parent,
          { name: "write", target },
          (code) => new WatchdogFailed({ reason: `cannot be reached: ${code}` }),
          () => body
        )
      const process = yield* Effect.acquireRelease(
        SimulatedKernel.systemCall(
          kernel,
          parent,
          { name: "spawn", target: "watchdog" },
          (code) => new WatchdogFailed({ reason: `could not be started: ${code}` }),
          () => launch(parent, program)
        ),
        () => Effect.ignore(call("watchdog", Deferred.succeed(done, undefined)))
      )
      const ended = Effect.suspend(() =>
        [...kernel.processes].find(({ serial }) => serial === process.serial)?.gone.await ?? Effect.void
      )
      yield* ended.pipe(
        Effect.zipRight(Deferred.fail(failed, new WatchdogFailed({ reason: "has ended" }))),
        Effect.interruptible,
        Effect.forkScoped
      )
      return {
        failed: Deferred.await(failed),
        killAfter: (left) =>
          Effect.gen(function*() {
            const time = yield* now
            const killAt = time + Duration.unsafeToNanos(yield* left)
            yield* Effect.ignore(call("watchdog", Queue.offer(changes, { killAt })))
          }),
        guard: (guarded) => Effect.asVoid(call("watchdog", Queue.offer(changes, { guarded })))
      }
    })
  })
