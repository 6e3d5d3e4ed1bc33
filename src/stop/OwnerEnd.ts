/**
 * Waits until an owner (a gateway that holds a lock) has ended. An owner has ended when it has released its lock and closed its
 * port. If the owner's record in the lock file has a health rule (`ready`), as that of `gateway exec` has, only the lock counts.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as NodePath from "node:path"
import { toUrl } from "../Address.ts"
import type { Holder } from "../GatewayLockError.ts"
import { parseProcStat } from "../host/ProcessTable.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as OwnerRecord from "../lock/OwnerRecord.ts"
import { ownerLiveness, presentProcess } from "../lock/PresentProcess.ts"
import { PortProbe, type PortState } from "../probe/PortProbe.ts"
import { isOrphaned, type Sweeper } from "./InheritedLock.ts"
import { defaults, type Requirements, type StopOptions } from "./StopOptions.ts"

/**
 * The delay between two checks of the owner. A change in the folder of the lock file ends the delay early. The first delays are
 * short, because an idle gateway ends within a few milliseconds.
 */
const lookAgain = (looks: number): Duration.Duration =>
  Duration.min(Duration.times("10 millis", 1.5 ** Math.min(looks, 20)), "100 millis")

/** How long to wait for a process to exit after it has released its lock and closed its port. */
const exitTimeout = Duration.seconds(1)

type Progress =
  | { readonly _tag: "Ended"; readonly successor: Option.Option<Holder> }
  | { readonly _tag: "Waiting"; readonly for: string }
  /** The owner has ended, but processes that inherited its lock still hold it. */
  | { readonly _tag: "Inherited" }

const waiting = (what: string): Progress => ({ _tag: "Waiting", for: what })

/** Whether a signal or a debugger has suspended the process (proc(5)). `false` if the state of the process cannot be read. */
const isSuspended = (pid: number): Effect.Effect<boolean, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(`/proc/${pid}/stat`)).pipe(
    Effect.map((text) => Option.exists(parseProcStat(text), ({ state }) => /^[Tt]$/.test(state))),
    Effect.orElseSucceed(() => false)
  )

/**
 * Whether an instance (one run of a gateway) has closed its port. This is so if nothing listens on the port, or if another
 * process listens on it. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isPortClosed = (state: PortState, instanceId: string, isProcessGone: boolean): boolean => {
  switch (state._tag) {
    case "Free":
      return true
    case "Gateway":
      // A listener that answers as a gateway but names no instance may be a program that the owner started. Its answer does not
      // show whether the owner has closed its port. Therefore the port counts as closed once the owner's process has ended. The
      // same rule applies to a `Foreign` listener.
      return state.instanceId === undefined ? isProcessGone : state.instanceId !== instanceId
    case "Foreign":
      return isProcessGone
    case "Stalled":
      // The owner's port may still be open, because a child process can inherit the owner's listening socket. Such a socket looks
      // stalled: the kernel accepts connections, but nothing answers.
      return false
  }
}

const describeAlive = (pid: number, record: OwnerRecord.OwnerRecord) =>
  Effect.map(isSuspended(pid), (suspended) =>
    suspended
      ? `it is suspended (SIGSTOP), so SIGTERM has no effect yet; to resume it: kill -CONT ${pid}`
      : record.phase === "draining"
      ? "it is draining"
      : `it is still ${record.phase}`)

const progress = (instance: OwnerRecord.OwnerRecord, path: string): Effect.Effect<Progress, never, Requirements> =>
  Effect.gen(function*() {
    const ports = yield* PortProbe
    const { owner, process } = yield* presentProcess(instance)
    const isGone = owner === "Gone"
    const state = yield* LockInspection.inspect(path)
    if (state._tag === "Unknown") return waiting(`its lock cannot be inspected (${state.reason})`)
    const other = state._tag === "Held"
      ? Option.filter(state.owner, ({ record }) => record.instanceId !== instance.instanceId)
      : Option.none()
    if (state._tag === "Held" && Option.isNone(other)) {
      if (Option.isSome(isOrphaned(state))) return { _tag: "Inherited" }
      return isGone
        ? waiting("its process has ended, but its lock is still held, perhaps by a child process")
        : waiting(
          yield* describeAlive(
            process.pid,
            Option.match(state.owner, { onNone: () => instance, onSome: ({ record }) => record })
          )
        )
    }
    const successor = Option.map(other, ({ holder }) => holder)
    // An owner with a health rule (`ready`), such as `gateway exec`, need not listen on the recorded port. An unrelated program
    // may have had that port all the time. Therefore only the lock shows the end of such an owner.
    if (instance.ready !== undefined) return { _tag: "Ended", successor }
    const address = OwnerRecord.address(instance)
    const port = yield* ports.probe(address)
    return isPortClosed(port, instance.instanceId, isGone)
      ? { _tag: "Ended", successor }
      : waiting(
        `its lock is free, but ${toUrl(address)} is still in use${port._tag === "Free" ? "" : ` (${port.detail})`}`
      )
  })

/**
 * Reports each change in the folder of the lock file. An owner that shuts down removes its lock file, which is such a change.
 */
const folderChanges = (path: string): Effect.Effect<Queue.Dequeue<void>, never, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const changes = yield* Queue.sliding<void>(1)
    yield* fs.watch(NodePath.dirname(path)).pipe(
      Stream.runForEach(() => Queue.offer(changes, undefined)),
      // If the folder cannot be watched, the owner is checked only after the delays of `lookAgain`.
      Effect.ignore,
      Effect.forkScoped
    )
    return changes
  })

/** What the stop waits for while processes that inherited the lock hold it. */
export const describeInheritors = (inheritors: ReadonlyArray<string>): string =>
  `its process has ended, but its lock is still held by ${
    inheritors.length === 0
      ? "another process, perhaps a child process"
      : `${inheritors.join(", ")}, which inherited it`
  }`

/** How long the look at the end of a wait may take. It reads a few files and asks a port. */
const lastLookTimeout = Duration.seconds(2)

/**
 * Waits until the instance has ended. The inner option is the process that holds the lock now, if there is one. The outer option
 * is `None` if the timeout has passed before the instance has ended. `last` then says, in words, what the stop was waiting for.
 *
 * If the instance was `gateway exec`, and processes that inherited its lock hold it after its end, `sweeper` stops them.
 */
export const untilEnded = (
  instance: OwnerRecord.OwnerRecord,
  options: StopOptions,
  timeout: Duration.Duration,
  last: Ref.Ref<string>,
  sweeper: Sweeper
): Effect.Effect<Option.Option<Option.Option<Holder>>, never, Requirements> =>
  Effect.scoped(Effect.gen(function*() {
    const began = yield* Clock.currentTimeNanos
    const changes = yield* folderChanges(options.path)
    const { onWaiting } = options
    const { pid } = (yield* presentProcess(instance)).process
    if (onWaiting !== undefined) {
      const interval = Duration.decode(options.progressInterval ?? defaults.progressInterval)
      yield* Effect.all([Ref.get(last), Clock.currentTimeNanos]).pipe(
        Effect.flatMap(([what, now]) => onWaiting({ pid, for: what, elapsed: Duration.nanos(now - began) })),
        Effect.schedule(Schedule.spaced(interval)),
        Effect.forkScoped
      )
    }
    const loop = (looks: number): Effect.Effect<Option.Option<Holder>, never, Requirements> =>
      Effect.flatMap(progress(instance, options.path), (now) =>
        now._tag === "Ended"
          ? Effect.succeed(now.successor)
          : Effect.flatMap(
            now._tag === "Waiting" ? Effect.succeed(now.for) : Effect.map(sweeper.sweep, describeInheritors),
            (what) => Ref.set(last, what)
          ).pipe(
            Effect.zipRight(Effect.timeoutOption(Queue.take(changes), lookAgain(looks))),
            Effect.zipRight(loop(looks + 1))
          ))
    const ended = yield* Effect.timeoutOption(loop(0), timeout)
    if (Option.isSome(ended)) return ended
    // If this process was stopped during the wait, its last look was long ago. A file system may not answer any more.
    const now = yield* Effect.timeoutOption(progress(instance, options.path), lastLookTimeout)
    return Option.flatMap(now, (now) => now._tag === "Ended" ? Option.some(now.successor) : Option.none())
  }))

/**
 * A gateway releases its lock and closes its port shortly before its process exits. This function waits up to `exitTimeout` until
 * the process has exited, so that a caller that looks for the process after the stop does not find it.
 */
export const untilGone = (instance: OwnerRecord.OwnerRecord) =>
  ownerLiveness(instance).pipe(
    Effect.repeat({ while: (liveness) => liveness === "Alive", schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOption(exitTimeout),
    Effect.asVoid
  )
