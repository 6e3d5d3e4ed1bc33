import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, MutableRef } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { endianness } from "node:os"
import { join } from "node:path"
import { parseProcNet } from "../../src/host/ProcNet.ts"
import * as QuickFiles from "../../src/host/QuickFiles.ts"
import { notLinux, unless } from "../fixtures/skips.ts"

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

/** The bytes of a file, as a text: a comparison of millions of array elements takes seconds. */
const bytesOf = (files: FileSystem.FileSystem, path: string) =>
  Effect.map(files.readFile(path), (bytes) => Buffer.from(bytes).toString("latin1"))

/** A port on which this process listens, until the scope closes. */
const listeningPort = Effect.map(
  Effect.acquireRelease(
    Effect.async<Server>((resume) => {
      const server = createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
  ),
  (server) => {
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }
)

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
            assert.deepStrictEqual(yield* outcome(bytesOf(quick, path)), yield* outcome(bytesOf(patient, path)), path)
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

  unless(notLinux).scopedLive(
    "reads lists of sockets of any length to their end",
    test(({ quick }) =>
      Effect.gen(function*() {
        for (const count of [0, 1, 10, 20, 30, 40, 300]) {
          const ports = yield* Effect.forEach(Array.from({ length: count }), () => listeningPort, { concurrency: 20 })
          const text = yield* quick.readFileString("/proc/net/tcp")
          assert.includeMembers(parseProcNet(text, endianness()).map(({ port }) => port), ports)
          const bytes = yield* quick.readFile("/proc/net/tcp")
          assert.isAtLeast(bytes.length, 150 * (1 + count))
          for (const end of [text, new TextDecoder().decode(bytes)]) assert.isTrue(end.endsWith("\n"))
        }
      }).pipe(Effect.scoped)
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
