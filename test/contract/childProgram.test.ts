/**
 * Runs the same tests of `ChildProgram`, `FileHolders` and `ReceivedSignals` on real processes and on those of the simulated host.
 */
import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Schedule, type Scope } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as ChildProgram from "../../src/host/ChildProgram.ts"
import * as FileHolders from "../../src/host/FileHolders.ts"
import { KernelLock } from "../../src/host/KernelLock.ts"
import { ProcessTable } from "../../src/host/ProcessTable.ts"
import * as ReceivedSignals from "../../src/host/ReceivedSignals.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { dead } from "../../src/testing/SimulatedKernel.ts"
import type { Program } from "../../src/testing/SimulatedPrograms.ts"
import { hasAddon } from "../fixtures/kernelLocks.ts"
import { noKernelLocks, notLinux, unless } from "../fixtures/skips.ts"

type Services =
  | FileSystem.FileSystem
  | KernelLock
  | ProcessTable
  | ChildProgram.ChildProgram
  | FileHolders.FileHolders
  | ReceivedSignals.ReceivedSignals

/** The commands of these tests: each is a shell script, and a program of the simulated host that does the same. */
const commands = {
  "exits with 7": { script: "exit 7", program: () => Effect.succeed(7) },
  "crashes": {
    script: "kill -SEGV $$; exec sleep 600",
    program: (process) => Effect.zipRight(process.raise("SIGSEGV"), dead)
  },
  "runs": { script: "exec sleep 600", program: () => dead },
  "leaves a process behind": {
    script: "sleep 600 & exit 3",
    program: (process) => Effect.as(process.fork(() => dead), 3)
  }
} satisfies Record<string, { readonly script: string; readonly program: Program }>

type Name = keyof typeof commands

/** The processes under test, real or simulated. */
interface Subject {
  /** The words that start a command. */
  readonly words: (name: Name) => Pick<ChildProgram.ChildSpec, "command" | "args">
  /** Sends a signal to the process that runs the test. */
  readonly signalSelf: (signal: NodeJS.Signals) => Effect.Effect<void, never, ProcessTable>
  readonly run: <E>(
    title: string,
    test: (subject: Subject) => Effect.Effect<void, E, Services | Scope.Scope>,
    needsLocks?: boolean
  ) => void
}

const live: Subject = {
  words: (name) => ({ command: "/bin/sh", args: ["-c", commands[name].script] }),
  signalSelf: (signal) => Effect.sync(() => void process.kill(process.pid, signal)),
  run: (title, test, needsLocks = false) =>
    unless(notLinux ?? (needsLocks ? noKernelLocks(hasAddon) : undefined)).scopedLive(title, () =>
      Effect.provide(
        test(live),
        Layer.mergeAll(
          Gateway.layerNode,
          ChildProgram.layerLive,
          FileHolders.layerLive,
          ReceivedSignals.layerLive
        )
      ))
}

const simulated: Subject = {
  words: (name) => ({ command: name, args: [] }),
  signalSelf: () => Effect.void,
  run: (title, test) =>
    it.scopedLive(title, () =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform: "linux" })
        for (const [name, { program }] of Object.entries(commands)) host.programs.install(name, program)
        yield* host.files.makeDirectory("/tmp")
        const subject: Subject = {
          ...simulated,
          signalSelf: (signal) =>
            Effect.flatMap(
              Effect.flatMap(ProcessTable, ({ self }) => self),
              ({ pid }) => host.programs.kill(pid, signal)
            )
        }
        const process = yield* host.spawnParent(test(subject))
        return yield* Effect.flatten(process.exit)
      }))
}

const spec = (subject: Subject, name: Name, options: Partial<ChildProgram.ChildSpec> = {}) => ({
  ...subject.words(name),
  env: {},
  inherits: [],
  sockets: [],
  newSession: true,
  waits: false,
  ...options
})

/** Starts a command. All its processes are killed at the end of the test. */
const start = (subject: Subject, name: Name, options: Partial<ChildProgram.ChildSpec> = {}) =>
  Effect.acquireRelease(
    Effect.flatMap(ChildProgram.ChildProgram, ({ start }) => start(spec(subject, name, options))),
    (child) => child.signal("SIGKILL", "group")
  )

const exited = (status: number) => ({ _tag: "Exited", status } as const)
const signalled = (signal: NodeJS.Signals) => ({ _tag: "Signalled", signal } as const)

/** Repeats an observation until it gives the expected result. */
const until = <A, E, R>(self: Effect.Effect<A, E, R>, isExpected: (result: A) => boolean) =>
  Effect.repeat(self, { until: isExpected, schedule: Schedule.spaced("10 millis") })

const suite = (name: string, subject: Subject) => {
  describe(`a child program, ${name}`, () => {
    subject.run("that is not there cannot be started", (subject) =>
      Effect.gen(function*() {
        const programs = yield* ChildProgram.ChildProgram
        const failure = yield* Effect.flip(
          programs.start({ ...spec(subject, "runs"), command: "/no-such-program", args: [] })
        )
        assert.strictEqual(failure.why, "NotFound")
      }))

    subject.run("ends with its status or by a signal", (subject) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* (yield* start(subject, "exits with 7")).ended, exited(7))
        assert.deepStrictEqual(yield* (yield* start(subject, "crashes")).ended, signalled("SIGSEGV"))
        const child = yield* start(subject, "runs")
        assert.isFalse(yield* child.hasEnded)
        yield* child.signal("SIGTERM", "child")
        assert.deepStrictEqual(yield* child.ended, signalled("SIGTERM"))
        assert.isTrue(yield* child.hasEnded)
        yield* child.signal("SIGTERM", "child")
      }))

    subject.run("is a child of this process until it ends", (subject) =>
      Effect.gen(function*() {
        const table = yield* ProcessTable
        const child = yield* start(subject, "runs")
        const identity = yield* table.identify(child.pid)
        assert.strictEqual(yield* table.liveness(identity), "Alive")
        const { pid } = yield* table.self
        assert.include((yield* table.tree([pid])).map(({ pid }) => pid), child.pid)
        yield* child.signal("SIGKILL", "child")
        assert.deepStrictEqual(yield* child.ended, signalled("SIGKILL"))
        assert.strictEqual(yield* table.liveness(identity), "Gone")
      }))

    subject.run("that waits begins only with permission", (subject) =>
      Effect.gen(function*() {
        const child = yield* start(subject, "exits with 7", { waits: true })
        assert.isFalse(yield* child.hasEnded)
        yield* child.begin
        assert.deepStrictEqual(yield* child.ended, exited(7))
      }))

    subject.run("without inherited files is deserted at once", (subject) =>
      Effect.gen(function*() {
        const child = yield* start(subject, "runs")
        yield* child.deserted
        assert.isTrue(yield* child.isDeserted)
        assert.isTrue(Option.isNone(child.mark))
        assert.isFalse(yield* child.hasEnded)
      }))

    subject.run(
      "keeps an inherited lock until the last of its processes has ended",
      (subject) =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const { tryLock } = yield* KernelLock
          const { holdersOf } = yield* FileHolders.FileHolders
          const path = `${yield* fs.makeTempDirectoryScoped()}/lock`
          const child = yield* Effect.scoped(Effect.gen(function*() {
            const file = yield* fs.open(path, { flag: "wx+" })
            assert.isTrue(yield* tryLock(file.fd))
            return yield* Effect.flatMap(
              ChildProgram.ChildProgram,
              ({ start }) => start(spec(subject, "leaves a process behind", { inherits: [file.fd] }))
            )
          }))
          yield* Effect.addFinalizer(() => child.signal("SIGKILL", "group"))
          assert.deepStrictEqual(yield* child.ended, exited(3))
          const second = yield* fs.open(path, { flag: "r+" })
          assert.isFalse(yield* tryLock(second.fd))
          // The child has ended, so this signal reaches no process. The process behind it is only in its group.
          yield* child.signal("SIGTERM", "child")
          const [heir, ...others] = yield* holdersOf(Option.getOrThrow(child.mark))
          assert.isDefined(heir)
          assert.notStrictEqual(heir, child.pid)
          assert.deepStrictEqual(others, [])
          assert.isFalse(yield* child.isDeserted)
          yield* child.signal("SIGKILL", "group")
          yield* child.deserted
          assert.isTrue(yield* child.isDeserted)
          yield* until(tryLock(second.fd), (granted) => granted)
        }),
      true
    )
  })

  describe(`received signals, ${name}`, () => {
    subject.run("reach the listener instead of ending the process", (subject) =>
      Effect.gen(function*() {
        const { listen } = yield* ReceivedSignals.ReceivedSignals
        const signals = yield* listen(["SIGUSR2", "SIGWINCH"])
        yield* subject.signalSelf("SIGUSR2")
        assert.strictEqual(yield* Queue.take(signals), "SIGUSR2")
        yield* subject.signalSelf("SIGWINCH")
        assert.strictEqual(yield* Queue.take(signals), "SIGWINCH")
      }))
  })
}

suite("live", live)
suite("simulated", simulated)
