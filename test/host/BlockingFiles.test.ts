/**
 * The blocking and the pooled operations of `BlockingFiles` against those of `@effect/platform-node`.
 */
import { FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Layer, Option } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as BlockingFiles from "../../src/host/BlockingFiles.ts"
import { errnoOf } from "../../src/internal/errno.ts"
import { platformError } from "../../src/internal/platformError.ts"

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytes = (text: string) => new TextEncoder().encode(text)

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "gateway-lock-files-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

/** The parts of a result that differ between two files, and the stack of an error. */
const changing = new Set(["ino", "mtime", "atime", "birthtime", "stack", "fd"])

/** The outcome of an operation, without the parts that differ from run to run. */
const outcome = <A>(self: Effect.Effect<A, unknown>, folder: string): Effect.Effect<unknown> =>
  Effect.map(Effect.exit(self), (exit) =>
    JSON.parse(
      JSON.stringify(exit, (key, value: unknown) =>
        changing.has(key) ? undefined : typeof value === "bigint" ? String(value) : value).replaceAll(
          folder,
          "<folder>"
        )
    ))

/** Calls each operation that a start uses, also where it fails, and notes the outcomes. */
const walk = (folder: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const at = (name: string) => Path.join(folder, name)
    const noted: Array<unknown> = []
    const note = <A>(self: Effect.Effect<A, unknown>) =>
      Effect.map(outcome(self, folder), (seen) => void noted.push(seen))
    yield* note(fs.stat(at("a")))
    yield* note(fs.readLink(at("a")))
    yield* note(Effect.scoped(fs.open(at("a"), { flag: "r+" })))
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* fs.open(at("a"), { flag: "wx+", mode: 0o600 })
      yield* note(file.writeAll(bytes("first and more")))
      yield* note(file.seek(0, "start"))
      yield* note(Effect.map(file.readAlloc(5), Option.map(text)))
      yield* note(file.seek(1, "current"))
      yield* note(Effect.map(file.readAlloc(100), Option.map(text)))
      yield* note(file.readAlloc(100))
      yield* note(file.seek(0, "start"))
      yield* note(file.write(bytes("FIRST")))
      yield* note(file.truncate(5))
      yield* note(file.read(new Uint8Array(8)))
      yield* note(file.sync)
      yield* note(file.stat)
    }))
    yield* note(Effect.scoped(fs.open(at("a"), { flag: "wx" })))
    yield* note(Effect.scoped(fs.open(at("a/b"), { flag: "r" })))
    yield* note(Effect.scoped(fs.open(`${folder}\0`, { flag: "r" })))
    yield* note(fs.link(at("a"), at("linked")))
    yield* note(fs.link(at("a"), at("linked")))
    yield* note(fs.rename(at("linked"), at("renamed")))
    yield* note(fs.rename(at("linked"), at("renamed")))
    yield* note(fs.readLink(at("a")))
    yield* note(Effect.map(fs.readFile(at("renamed")), text))
    yield* note(fs.readFile(at("missing")))
    yield* note(fs.makeDirectory(at("folder"), { mode: 0o700 }))
    yield* note(fs.makeDirectory(at("folder"), { mode: 0o700 }))
    yield* note(fs.makeDirectory(at("x/y"), { mode: 0o700 }))
    yield* note(fs.stat(at("folder")))
    yield* note(Effect.map(fs.readDirectory(folder), (names) => names.toSorted()))
    yield* note(fs.readDirectory(at("missing")))
    yield* note(fs.remove(at("renamed")))
    yield* note(fs.remove(at("a")))
    // Node's `rm` calls lstat(2) before unlink(2).
    assert.isTrue(Exit.isFailure(yield* Effect.exit(fs.remove(at("a")))))
    yield* note(fs.remove(at("folder"), { recursive: true }))
    return noted
  })

const inNewFolder = (layer: Layer.Layer<FileSystem.FileSystem>, may: boolean) =>
  Effect.scoped(
    Effect.flatMap(temporaryFolder, (folder) => Effect.provide(BlockingFiles.blockingIf(may)(walk(folder)), layer))
  )

describe("operations that can block", () => {
  for (const may of [true, false]) {
    it.effect(`have the outcomes of Node's, ${may ? "blocking" : "in the thread pool"}`, () =>
      Effect.gen(function*() {
        const expected = yield* inNewFolder(NodeFileSystem.layer, may)
        const noted = yield* inNewFolder(BlockingFiles.layer, may)
        assert.deepStrictEqual(noted, expected)
      }))
  }

  it.scoped("make every call of a record's life at once, without the thread pool", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* temporaryFolder, "record")
      const life = Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* Effect.scoped(Effect.gen(function*() {
          const file = yield* fs.open(path, { flag: "wx+", mode: 0o600 })
          yield* file.writeAll(bytes("record"))
          yield* file.truncate(6)
          yield* file.stat
          yield* fs.stat(path)
          yield* fs.readDirectory(Path.dirname(path))
          yield* fs.link(path, `${path}.linked`)
          yield* fs.rename(`${path}.linked`, `${path}.renamed`)
          yield* fs.remove(`${path}.renamed`)
          yield* fs.remove(path)
        }))
      }).pipe(Effect.provide(BlockingFiles.layer))
      // `runSyncExit` fails at the first call that needs the event loop.
      assert.isTrue(Exit.isSuccess(Effect.runSyncExit(BlockingFiles.blockingIf(true)(life))))
      assert.isTrue(Exit.isFailure(Effect.runSyncExit(BlockingFiles.blockingIf(false)(life))))
    }))
})

describe("the file system of a folder", () => {
  const mountinfo = [
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
    "30 22 0:26 / /srv rw shared:2 - nfs4 server:/srv rw",
    "31 30 0:27 / /srv/local rw - xfs /dev/vdb rw",
    "32 22 0:28 / /mnt/two\\040words rw shared:3 master:4 - tmpfs tmpfs rw",
    "33 22 0:29 / /over rw - ext4 /dev/vdc rw",
    "34 33 0:30 / /over rw - fuse.sshfs host: rw",
    ""
  ].join("\n")

  for (
    const [path, type] of [
      ["/home/me/locks", "ext4"],
      ["/srv", "nfs4"],
      ["/srv/locks", "nfs4"],
      ["/srv/local/locks", "xfs"],
      ["/srv/locality", "nfs4"],
      ["/srvlocks", "ext4"],
      ["/mnt/two words/locks", "tmpfs"],
      ["/over/locks", "fuse.sshfs"]
    ] as const
  ) {
    it(`of ${path} is ${type}`, () => assert.strictEqual(BlockingFiles.fileSystemOf(path, mountinfo), type))
  }

  it("is unknown without a mount", () => assert.isUndefined(BlockingFiles.fileSystemOf("/a", "")))
})

it("an errno that Node does not name has its name in the description of a blocking call", () => {
  const cause = Object.assign(new Error("UNKNOWN: unknown error, write"), {
    errno: -Os.constants.errno.EDQUOT,
    code: "UNKNOWN",
    syscall: "write"
  })
  assert.strictEqual(errnoOf(platformError("writeAll", 3, cause)), "EDQUOT")
})
