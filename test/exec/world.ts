/**
 * A simulated command for tests of `Exec.run`: a child that may leave a daemon behind, and the services that start, signal and
 * find this child.
 */
import { FileSystem } from "@effect/platform"
import { Context, DateTime, Deferred, Duration, Effect, Fiber, Option, Queue, Ref } from "effect"
import * as Exec from "../../src/exec/Exec.ts"
import { LockLost } from "../../src/GatewayLockError.ts"
import { type ChildExit, ChildProgram, type ChildSpec } from "../../src/host/ChildProgram.ts"
import { FileHolders } from "../../src/host/FileHolders.ts"
import { ProcessTable } from "../../src/host/ProcessTable.ts"
import { ReceivedSignals, type Terminal } from "../../src/host/ReceivedSignals.ts"
import { Signals } from "../../src/host/Signals.ts"
import * as History from "../../src/lock/History.ts"
import { LockFile } from "../../src/lock/LockFile.ts"
import type { OwnerRecord } from "../../src/lock/OwnerRecord.ts"
import { record } from "../fixtures/listening.ts"

/** How the simulated command behaves. Times are in milliseconds. */
export interface Behaviour {
  /** When the child exits by itself with `status`. `undefined`: it never does. */
  readonly lifetime: number | undefined
  readonly status: number
  /** How long the child takes to end after SIGTERM. `undefined`: it ignores the signal. */
  readonly termDelay: number | undefined
  /** When the child's daemon ends by itself. `undefined`: the child starts no daemon. */
  readonly daemon: number | undefined
  /** When the child becomes ready. `undefined`: never. */
  readonly readyAfter: number | undefined
}

export interface Sent {
  readonly at: number
  readonly signal: string
  readonly to: "child" | "group" | "daemon"
}

const childPid = 1000
const daemonPid = 1001

const now = Effect.map(DateTime.now, ({ epochMillis }) => epochMillis)

/** Makes one simulated command and the services that run it. Time passes by the `TestClock` of the test. */
export const make = (behaviour: Behaviour, options: { readonly terminal?: Terminal } = {}) =>
  Effect.gen(function*() {
    const sent: Array<Sent> = []
    const changes: Array<Partial<OwnerRecord>> = []
    const specs: Array<ChildSpec> = []
    const loss = yield* Deferred.make<never, LockLost>()
    const signals = yield* Queue.unbounded<NodeJS.Signals>()
    const childEnd = yield* Deferred.make<ChildExit>()
    const daemonEnd = yield* Deferred.make<void>()
    const startedAt = yield* Ref.make(Number.NaN)
    const history = yield* History.make(DateTime.unsafeMake(0))
    const alive = yield* Ref.make<ReadonlySet<number>>(new Set())
    const remove = (pid: number) => Ref.update(alive, (pids) => new Set([...pids].filter((other) => other !== pid)))

    const endChild = (exit: ChildExit) =>
      Effect.whenEffect(remove(childPid), Deferred.succeed(childEnd, exit)).pipe(Effect.asVoid)
    const endDaemon = Effect.whenEffect(remove(daemonPid), Deferred.succeed(daemonEnd, undefined)).pipe(Effect.asVoid)
    const later = (millis: number, effect: Effect.Effect<void>) =>
      Effect.forkDaemon(Effect.delay(effect, Duration.millis(millis)))

    const start = (spec: ChildSpec) =>
      Effect.gen(function*() {
        specs.push(spec)
        yield* Ref.set(startedAt, yield* now)
        yield* Ref.set(alive, new Set(behaviour.daemon === undefined ? [childPid] : [childPid, daemonPid]))
        if (behaviour.daemon === undefined) yield* Deferred.succeed(daemonEnd, undefined)
        else yield* later(behaviour.daemon, endDaemon)
        if (behaviour.lifetime !== undefined) {
          yield* later(behaviour.lifetime, endChild({ _tag: "Exited", status: behaviour.status }))
        }
        return {
          pid: childPid,
          ended: Deferred.await(childEnd),
          deserted: Effect.zipRight(Deferred.await(childEnd), Deferred.await(daemonEnd)),
          isDeserted: Effect.zipWith(Deferred.isDone(childEnd), Deferred.isDone(daemonEnd), (a, b) => a && b),
          mark: Option.some("1:2"),
          hasEnded: Deferred.isDone(childEnd),
          begin: Effect.void,
          signal: (signal: NodeJS.Signals, to: "child" | "group") =>
            Effect.gen(function*() {
              if (!(yield* Ref.get(alive)).has(childPid)) return
              sent.push({ at: yield* now, signal, to })
              if (signal === "SIGKILL") return yield* endChild({ _tag: "Signalled", signal })
              if (signal !== "SIGTERM" || behaviour.termDelay === undefined) return
              yield* later(behaviour.termDelay, endChild({ _tag: "Signalled", signal }))
            })
        }
      })

    const lock = LockFile.of({
      path: "/s/locks/gateway.lock",
      instanceId: record.instanceId,
      enforcement: "kernel",
      record: Effect.succeed(record),
      update: (change) => Effect.sync(() => changes.push(change) > 0),
      withDescriptors: (use) => use([FileSystem.FileDescriptor(7), FileSystem.FileDescriptor(8)]),
      acquiredFiles: [],
      startedAt: DateTime.unsafeMake(0),
      heldSince: DateTime.unsafeMake(0),
      history: history.changes,
      lost: Deferred.await(loss),
      whenLost: Effect.never
    })
    const services = Context.make(LockFile, lock).pipe(
      Context.add(ChildProgram, ChildProgram.of({ start })),
      Context.add(
        ReceivedSignals,
        ReceivedSignals.of({
          listen: () => Effect.succeed(signals),
          terminal: Effect.succeed(options.terminal ?? "None")
        })
      ),
      Context.add(
        FileHolders,
        FileHolders.of({ holdersOf: () => Effect.map(Ref.get(alive), (pids) => [...pids]) })
      ),
      Context.add(
        ProcessTable,
        ProcessTable.of({
          self: Effect.succeed({ pid: 1 }),
          liveness: ({ pid }) => Effect.map(Ref.get(alive), (pids) => pids.has(pid) ? "Alive" : "Gone"),
          identify: (pid) => Effect.succeed({ pid, startTime: 5 }),
          commandName: () => Effect.succeedNone,
          tree: (roots) =>
            Effect.map(Ref.get(alive), (pids) =>
              [...pids].filter((pid) =>
                pid === childPid && roots.includes(pid)
              ).map((pid) => ({ pid, startTime: 5 }))),
          network: () => Effect.succeed("Same"),
          noteRelease: () => Effect.void,
          isLeftover: () => Effect.succeed(false)
        })
      ),
      Context.add(
        Signals,
        Signals.of({
          send: ({ pid }, signal) =>
            Effect.gen(function*() {
              if (pid !== daemonPid || !(yield* Ref.get(alive)).has(pid)) return
              sent.push({ at: yield* now, signal, to: "daemon" })
              if (signal === "SIGKILL") yield* endDaemon
            }),
          ancestors: Effect.succeed([])
        })
      )
    )
    return {
      sent,
      changes,
      specs,
      signals,
      alive: Ref.get(alive),
      childEnd,
      startedAt: Ref.get(startedAt),
      lose: Deferred.fail(loss, new LockLost({ path: lock.path, reason: "the file was replaced" })),
      /**
       * Runs the command in the background. The fiber is not a child of the test's fiber. Otherwise the end of the test would
       * interrupt it, and the stop of the command would wait for a clock that no longer advances.
       */
      run: (exec: Partial<Exec.ExecOptions> = {}) =>
        Exec.run({
          command: "server",
          args: ["--fast"],
          env: {},
          readiness: {
            mode: "report",
            rule: "port",
            isReady: () =>
              Effect.zipWith(
                now,
                Ref.get(startedAt),
                (now, began) => behaviour.readyAfter !== undefined && now - began >= behaviour.readyAfter
              ),
            describe: () => Effect.succeed(""),
            startTimeout: Duration.minutes(1)
          },
          stopTimeout: Duration.seconds(10),
          inheritsLock: true,
          toGroup: false,
          onReady: Effect.void,
          onLate: Effect.void,
          signals,
          ...exec
        }).pipe(Effect.scoped, Effect.provide(services), Effect.forkDaemon)
    }
  })

/** Whether a fiber has ended. */
export const isOver = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<boolean> =>
  Effect.map(Fiber.poll(fiber), Option.isSome)
