import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, MutableRef } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as QuickFiles from "../../src/host/QuickFiles.ts"

/** Gives a test the quick files, the patient ones, the switch and a folder. */
const test = <A, E>(
  body: (given: {
    readonly quick: FileSystem.FileSystem
    readonly patient: FileSystem.FileSystem
    readonly isAlone: MutableRef.MutableRef<boolean>
    readonly folder: string
  }) => Effect.Effect<A, E>
) =>
() =>
  Effect.gen(function*() {
    const patient = yield* FileSystem.FileSystem
    const folder = yield* Effect.flatMap(patient.makeTempDirectoryScoped(), patient.realPath)
    const isAlone = MutableRef.make(true)
    return yield* body({ quick: QuickFiles.make(patient, process.platform, isAlone), patient, isAlone, folder })
  }).pipe(Effect.provide(NodeContext.layer))

/** What an operation results in, as far as callers can tell. */
const outcome = <A, E>(self: Effect.Effect<A, E>) => Effect.exit(self)

describe("QuickFiles", () => {
  it.scopedLive(
    "reads what the patient files read, and fails as they fail",
    test(({ folder, patient, quick }) =>
      Effect.gen(function*() {
        const path = (name: string) => join(folder, name)
        writeFileSync(path("text"), "\ufeffä\n")
        writeFileSync(path("bytes"), new Uint8Array([0, 255, 128]))
        writeFileSync(path("empty"), "")
        writeFileSync(path("large"), "x".repeat(2 * 1024 * 1024))
        mkdirSync(path("folder"))
        symlinkSync("text", path("link"))
        symlinkSync("missing", path("dangling"))
        symlinkSync("loop", path("loop"))
        const names = ["text", "bytes", "empty", "large", "folder", "link", "dangling", "loop", "missing", "text/below"]
        const paths = [...names.map(path), "/proc/self/status", "/proc/0/status", "/proc/self/exe", "/proc/self/fd", ""]
        for (const path of paths) {
          // The status of a process changes between two reads.
          if (path !== "/proc/self/status") {
            assert.deepStrictEqual(yield* outcome(quick.readFile(path)), yield* outcome(patient.readFile(path)), path)
            const text = yield* outcome(quick.readFileString(path))
            assert.deepStrictEqual(text, yield* outcome(patient.readFileString(path)), path)
          }
          assert.deepStrictEqual(yield* outcome(quick.readLink(path)), yield* outcome(patient.readLink(path)), path)
          assert.deepStrictEqual(yield* outcome(quick.realPath(path)), yield* outcome(patient.realPath(path)), path)
        }
        assert.match(yield* quick.readFileString("/proc/self/status"), new RegExp(`^Pid:\\t${process.pid}$`, "m"))
        assert.deepStrictEqual(
          yield* outcome(quick.readFileString(path("text"), "no-encoding")),
          yield* outcome(patient.readFileString(path("text"), "no-encoding"))
        )
      })
    )
  )

  it.scopedLive(
    "a pipe without a writer does not stop this process",
    test(({ folder, quick }) =>
      Effect.gen(function*() {
        const pipe = join(folder, "pipe")
        execFileSync("mkfifo", [pipe])
        const reading = yield* Effect.fork(quick.readFileString(pipe))
        // The reader waits for the writer. If this process stopped, it would never start one.
        yield* Effect.yieldNow()
        spawn("sh", ["-c", "printf written > \"$1\"", "sh", pipe], { stdio: "ignore" })
        assert.strictEqual(yield* Fiber.join(reading), "written")
      })
    )
  )

  it.scopedLive(
    "a process that is no longer alone reads by the thread pool",
    test(({ folder, isAlone, patient }) =>
      Effect.gen(function*() {
        const path = join(folder, "file")
        writeFileSync(path, "on the disk")
        const watched: FileSystem.FileSystem = {
          ...patient,
          readFileString: () => Effect.succeed("by the thread pool")
        }
        const quick = QuickFiles.make(watched, process.platform, isAlone)
        assert.strictEqual(yield* quick.readFileString(path), "on the disk")
        MutableRef.set(isAlone, false)
        assert.strictEqual(yield* quick.readFileString(path), "by the thread pool")
        assert.strictEqual(yield* quick.readFileString("/proc/self/status"), "by the thread pool")
      })
    )
  )
})
