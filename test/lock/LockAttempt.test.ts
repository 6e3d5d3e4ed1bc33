import { Command, Error as PlatformError, FileSystem } from "@effect/platform"
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it, type Vitest } from "@effect/vitest"
import { Duration, Effect, Exit, FastCheck as fc, Layer, Option, Ref, Schedule, Scope } from "effect"
import * as KernelLock from "../../src/host/KernelLock.ts"
import * as LockAttempt from "../../src/lock/LockAttempt.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import { numRuns } from "../arbitraries.ts"
import { hasAddon } from "../fixtures/kernelLocks.ts"
import { eventually } from "../fixtures/net.ts"
import { openFiles } from "../fixtures/openFiles.ts"
import { ownedBy } from "../fixtures/records.ts"
import { isLinux, noKernelLocks, notLinux, notPosix, unless } from "../fixtures/skips.ts"

const absent = KernelLock.layerAbsent("no addon for this machine")
const answering = (code: string) =>
  Layer.succeed(
    KernelLock.KernelLock,
    KernelLock.fromAddon({
      tryLock: () => {
        throw Object.assign(new Error(`${code}: from the kernel`), { code })
      },
      unlock: () => undefined
    })
  )
const grantsAll = Layer.succeed(
  KernelLock.KernelLock,
  KernelLock.fromAddon({ tryLock: () => undefined, unlock: () => undefined })
)

/**
 * Makes one attempt to acquire the lock, in a new scope. Closing the scope releases the lock. `release` closes the scope, and
 * so does the end of the test.
 */
const attempt = (path: string, instanceId: string, reclaim?: LockAttempt.Snapshot, present?: string) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const result = yield* Scope.extend(
      LockAttempt.attempt({
        path,
        record: (lock) => ({ ...ownedBy(instanceId), lock }),
        reclaim: Option.fromNullable(reclaim),
        present
      }),
      scope
    )
    return { result, release: Scope.close(scope, Exit.void) }
  })

const mine = (path: string, instanceId: string, reclaim?: LockAttempt.Snapshot) =>
  Effect.flatMap(
    attempt(path, instanceId, reclaim),
    ({ release, result }) =>
      result._tag === "Mine" ? Effect.succeed({ file: result.file, release }) : Effect.dieMessage("it is held")
  )

const held = (path: string, instanceId: string, reclaim?: LockAttempt.Snapshot) =>
  Effect.flatMap(
    attempt(path, instanceId, reclaim),
    ({ result }) => result._tag === "Held" ? Effect.succeed(result.snapshot) : Effect.dieMessage("it was taken")
  )

const ownerAt = (path: string) =>
  Effect.map(LockFile.readOwner(path), (owner) => Option.getOrUndefined(owner)?.instanceId)
const ownerOf = (snapshot: LockAttempt.Snapshot) => Option.getOrUndefined(snapshot.record)?.instanceId

interface Folder {
  readonly folder: string
  readonly fs: FileSystem.FileSystem
  /** The path of the lock file. */
  readonly path: string
}

const inFolder = <A, E, R>(
  kernel: Layer.Layer<KernelLock.KernelLock>,
  use: (folder: Folder) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "lock-attempt-" }), fs.realPath)
    return yield* use({ folder, fs, path: `${folder}/gateway.lock` })
  }).pipe(Effect.provide(Layer.merge(kernel, NodeContext.layer)))

/** Returns a function that declares tests. Each test uses the given kernel lock, and gets a new folder. */
const testsIn = (
  kernel: Layer.Layer<KernelLock.KernelLock>,
  test: Vitest.Test<Scope.Scope> = it.scopedLive
) =>
<A, E>(
  title: string,
  body: (folder: Folder) => Effect.Effect<A, E, KernelLock.KernelLock | NodeContext.NodeContext | Scope.Scope>
) => test(title, () => inFolder(kernel, body))

/**
 * Starts several attempts at the same time. Checks that exactly one acquires the lock, and that the lock file names that one.
 */
const assertOneOf = (starters: number, path: string, judged?: LockAttempt.Snapshot) =>
  Effect.gen(function*() {
    const results = yield* Effect.forEach(
      Array.from({ length: starters }, (_, index) => `starter-${index}`),
      (instanceId) => Effect.map(attempt(path, instanceId, judged), ({ result }) => ({ instanceId, result })),
      { concurrency: "unbounded" }
    )
    const winners = results.filter(({ result }) => result._tag === "Mine")
    assert.strictEqual(winners.length, 1)
    assert.strictEqual(yield* ownerAt(path), winners[0]?.instanceId)
  })

const inodeAt = (path: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.map(fs.stat(path), ({ ino }) => Option.getOrThrow(ino)))

const entries = (folder: string) => Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory(folder))

/** How many files below `folder` this process has open. */
const openCount = (folder: string) => Effect.map(openFiles(folder), ({ length }) => length)

/**
 * Runs an effect with some calls of its file system replaced. A replaced call lets a test act right before or after the original
 * call, as another process could at that moment.
 */
const hooked = (change: (fs: FileSystem.FileSystem) => Partial<FileSystem.FileSystem>) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
) =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => Effect.provideService(self, FileSystem.FileSystem, { ...fs, ...change(fs) })
  )

/**
 * Makes an effect that runs `self` the first time, and does nothing after that. The effect keeps the services of the place where
 * it is made. So it can run inside a replaced call of the file system, where no services are provided.
 */
const first = <E, R>(self: Effect.Effect<unknown, E, R>) =>
  Effect.zipWith(
    Effect.context<R>(),
    Ref.make(true),
    (context, due) => Effect.whenEffect(Effect.orDie(Effect.provide(self, context)), Ref.getAndSet(due, false))
  )

/** Fails as a system call does, with a message in Node's form. */
const failing = (call: string, why: string, reason: PlatformError.SystemErrorReason = "Unknown") =>
  Effect.fail(
    new PlatformError.SystemError({ reason, module: "FileSystem", method: call, description: `${why}, ${call}` })
  )

/** A file with some replaced methods. */
const patched = (file: FileSystem.File, changes: Partial<FileSystem.File>): FileSystem.File =>
  new Proxy(file, { get: (target, key) => Reflect.get(key in changes ? changes : target, key) })

/** Replaces some methods of every file. */
const withFiles = (changes: Partial<FileSystem.File>) =>
  hooked((fs) => ({ open: (path, options) => Effect.map(fs.open(path, options), (file) => patched(file, changes)) }))

/** Runs `act` before each open of an existing file (flag `r+`). */
const beforeOpening = (act: Effect.Effect<unknown>) =>
  hooked((fs) => ({
    open: (path, options) => Effect.zipRight(options?.flag === "r+" ? act : Effect.void, fs.open(path, options))
  }))

const modes = [
  { mode: "kernel", kernel: KernelLock.layerLive, skip: noKernelLocks(hasAddon) },
  { mode: "record", kernel: absent, skip: undefined }
] as const

for (const { kernel, mode, skip } of modes) {
  unless(skip).describe(`with what keeps others out being the ${mode}`, () => {
    const live = testsIn(kernel)

    live(
      "the first has it, a second is told by whom, and the file says the same",
      ({ fs, path }) =>
        Effect.gen(function*() {
          const { file } = yield* mine(path, "a")
          assert.strictEqual(file.path, path)
          assert.strictEqual(file.enforcement, mode)
          assert.strictEqual(Option.isSome(file.fallback), mode === "record")
          assert.isTrue(Option.isNone(file.leftover))
          const snapshot = yield* held(path, "b")
          assert.deepStrictEqual(Option.getOrUndefined(snapshot.record), { ...ownedBy("a"), lock: mode })
          assert.strictEqual(snapshot.enforcement, mode)
          assert.isBelow(Duration.toMillis(snapshot.age), 20_000)
          assert.deepStrictEqual(
            Option.getOrUndefined(yield* LockFile.readOwner(path)),
            { ...ownedBy("a"), lock: mode }
          )
          assert.strictEqual((yield* fs.stat(path)).mode & 0o777, 0o600)
        })
    )

    live("release removes the file, and the next one starts afresh", ({ folder, path }) =>
      Effect.gen(function*() {
        const a = yield* mine(path, "a")
        yield* a.release
        assert.deepStrictEqual(yield* entries(folder), [])
        const b = yield* mine(path, "b")
        assert.isTrue(Option.isNone(b.file.leftover))
        assert.strictEqual(yield* ownerAt(path), "b")
      }))

    live(
      "of many at once exactly one has it, and the others are told that it is held",
      ({ folder, path }) =>
        Effect.gen(function*() {
          yield* assertOneOf(16, path)
          assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
        })
    )

    const step = fc.record({ who: fc.constantFrom("a", "b", "c"), does: fc.constantFrom("start", "end", "unlink") })
    it.scopedLive.prop("at most one at a time has the file of that name, whatever the order of starts and ends", [
      fc.array(step, { maxLength: 10 })
    ], ([steps]) =>
      inFolder(kernel, ({ fs, path }) =>
        Effect.gen(function*() {
          const holding = new Map<string, Effect.Effect.Success<ReturnType<typeof mine>>>()
          for (const { does, who } of steps) {
            if (does === "unlink") yield* Effect.ignore(fs.remove(path))
            else if (does === "end") {
              yield* holding.get(who)?.release ?? Effect.void
              holding.delete(who)
            } else if (!holding.has(who)) {
              const { release, result } = yield* attempt(path, who)
              if (result._tag === "Mine") holding.set(who, { file: result.file, release })
            }
            const valid = yield* Effect.filter(
              [...holding.values()],
              ({ file }) => Effect.map(file.check, Option.isNone)
            )
            assert.isAtMost(valid.length, 1)
            // A file with the lock's name always belongs to a holder. So if no holder has such a file, no such file exists.
            if (valid.length === 0) assert.isFalse(yield* fs.exists(path))
          }
        })), { fastCheck: { numRuns: Math.min(numRuns, 20) } })

    live(
      "release leaves a newcomer's file alone, when the holder's own was unlinked",
      ({ folder, fs, path }) =>
        Effect.gen(function*() {
          const a = yield* mine(path, "a")
          assert.deepStrictEqual(yield* a.file.check, Option.none())
          yield* fs.remove(path)
          assert.deepStrictEqual(yield* a.file.check, Option.some("the file was removed"))
          const b = yield* mine(path, "b")
          assert.deepStrictEqual(yield* a.file.check, Option.some("the file was replaced"))
          const inode = yield* inodeAt(path)
          yield* a.release
          assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
          assert.strictEqual(yield* inodeAt(path), inode)
          assert.strictEqual(yield* ownerAt(path), "b")
          assert.deepStrictEqual(yield* b.file.check, Option.none())
          yield* b.release
          assert.deepStrictEqual(yield* entries(folder), [])
        })
    )

    live(
      "a record is rewritten in place, longer or shorter, and readers see the whole of it",
      ({ fs, path }) =>
        Effect.gen(function*() {
          const { file } = yield* mine(path, "a")
          const inode = yield* inodeAt(path)
          for (const stateDir of ["/s", `/${"long".repeat(100)}`, "/s"]) {
            const record = { ...ownedBy("a"), stateDir, phase: "listening" as const }
            yield* file.write(record)
            assert.deepStrictEqual(yield* fs.readFile(path), OwnerRecord.encode(record))
          }
          assert.strictEqual(yield* inodeAt(path), inode)
        })
    )

    live("rewriting the record makes the file young again", ({ fs, path }) =>
      Effect.gen(function*() {
        const { file } = yield* mine(path, "a")
        yield* fs.utimes(path, 1000, 1000)
        assert.isAbove(Duration.toDays((yield* held(path, "b")).age), 365)
        yield* file.write(ownedBy("a"))
        assert.isBelow(Duration.toMillis((yield* held(path, "b")).age), 20_000)
      }))

    live(
      "a copy of its own record is taken as it is, and released as such",
      ({ folder, fs, path }) =>
        Effect.gen(function*() {
          const a = yield* mine(path, "a")
          yield* fs.copyFile(path, `${folder}/copy`)
          yield* fs.rename(`${folder}/copy`, path)
          const inode = yield* inodeAt(path)
          const { file, release } = yield* mine(path, "a")
          assert.strictEqual(yield* inodeAt(path), inode)
          assert.notStrictEqual(file.id, a.file.id)
          assert.strictEqual(Option.getOrThrow(Option.getOrThrow(file.leftover).record).instanceId, "a")
          assert.strictEqual((yield* held(path, "b")).fileId, file.id)
          // When the old owner releases its lock, the file of the new owner stays.
          yield* a.release
          assert.deepStrictEqual(yield* file.check, Option.none())
          if (isLinux) assert.strictEqual(yield* openCount(folder), 1)
          yield* release
          assert.deepStrictEqual(yield* entries(folder), [])
        })
    )

    live("the file that it has already is not taken a second time", ({ folder, path }) =>
      Effect.gen(function*() {
        const a = yield* mine(path, "a")
        const { result } = yield* attempt(path, "a", undefined, a.file.id)
        assert.strictEqual(result._tag === "Held" ? result.snapshot.fileId : undefined, a.file.id)
        if (isLinux) assert.strictEqual(yield* openCount(folder), 1)
        assert.deepStrictEqual(yield* a.file.check, Option.none())
        yield* a.release
        assert.deepStrictEqual(yield* entries(folder), [])
      }))

    live(
      "a record that was overwritten in place is noticed where it is all that keeps others out",
      ({ fs, path }) =>
        Effect.gen(function*() {
          const { file } = yield* mine(path, "a")
          assert.strictEqual(Option.getOrThrow(yield* file.read).instanceId, "a")
          for (const content of [new Uint8Array(), OwnerRecord.encode(ownedBy("b"))]) {
            yield* fs.writeFile(path, content)
            assert.deepStrictEqual(yield* file.read, OwnerRecord.parse(content))
            assert.deepStrictEqual(
              yield* file.check,
              mode === "kernel" ? Option.none() : Option.some("the file was overwritten")
            )
          }
          // Without a kernel lock, the file belongs to whoever its record names, so the former owner leaves it as it is.
          yield* file.write(ownedBy("a"))
          const [owner, loss] = mode === "kernel"
            ? ["a", Option.none()]
            : ["b", Option.some("the file was overwritten")]
          assert.strictEqual(Option.getOrThrow(yield* file.read).instanceId, owner)
          assert.deepStrictEqual(yield* file.check, loss)
        })
    )

    live("a refused attempt changes nothing", ({ folder, fs, path }) =>
      Effect.gen(function*() {
        yield* mine(path, "a")
        const seen = Effect.gen(function*() {
          const { ino, mode, mtime, size } = yield* fs.stat(path)
          return { ino, mode, mtime, size, content: yield* fs.readFile(path), entries: yield* entries(folder) }
        })
        const before = yield* seen
        yield* held(path, "b")
        assert.deepStrictEqual(yield* seen, before)
      }))

    testsIn(kernel, unless(notLinux).scopedLive)(
      "no attempt leaves a file open, and a holder has one",
      ({ folder, path }) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* openCount(folder), 0)
          const a = yield* mine(path, "a")
          assert.strictEqual(yield* openCount(folder), 1)
          yield* Effect.forEach(Array.from({ length: 40 }), () => held(path, "b"), { concurrency: 10 })
          assert.strictEqual(yield* openCount(folder), 1)
          yield* a.release
          assert.strictEqual(yield* openCount(folder), 0)
        })
    )

    live("a record that cannot be written leaves nothing behind", ({ folder, path }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(mine(path, "a")).pipe(
          withFiles({ writeAll: () => failing("write", "ENOSPC: no space left on device") })
        )
        assert.strictEqual(error._tag, "LockUnavailable")
        assert.strictEqual(
          error.message,
          `failed to acquire gateway lock at ${path}: ENOSPC: no space left on device, write`
        )
        assert.deepStrictEqual(yield* entries(folder), [])
        if (isLinux) assert.strictEqual(yield* openCount(folder), 0)
        yield* mine(path, "b")
      }))

    // With a kernel lock, the record is not synced: after a power cut, no process holds the lock.
    live("a record that cannot be completed leaves nothing behind", ({ folder, path }) =>
      Effect.gen(function*() {
        const [call, files] = mode === "kernel"
          ? ["ftruncate", { truncate: () => failing("ftruncate", "EIO: i/o error") }] as const
          : ["fsync", { sync: failing("fsync", "EIO: i/o error") }] as const
        const error = yield* Effect.flip(mine(path, "a")).pipe(withFiles(files))
        assert.strictEqual(error.reason, `EIO: i/o error, ${call}`)
        assert.deepStrictEqual(yield* entries(folder), [])
      }))

    live(
      "a second file that cannot be opened (EMFILE) leaves nothing behind",
      ({ folder, path }) =>
        Effect.gen(function*() {
          const calls = yield* Ref.make(0)
          // The first `open` succeeds and creates the file. Every later `open` fails.
          const error = yield* Effect.flip(mine(path, "a")).pipe(
            hooked((fs) => ({
              open: (path, options) =>
                Effect.tap(fs.open(path, options), () => Ref.update(calls, (n) => n + 1)).pipe(
                  (open) =>
                    Effect.flatMap(Ref.get(calls), (opened) =>
                      opened === 0
                        ? open
                        : failing("open", "EMFILE: too many open files"))
                )
            }))
          )
          assert.strictEqual(error.reason, "EMFILE: too many open files, open")
          assert.deepStrictEqual(yield* entries(folder), [])
        })
    )

    live(
      "a symbolic link is refused, and what it leads to is left alone",
      ({ folder, fs, path }) =>
        Effect.gen(function*() {
          yield* fs.writeFileString(`${folder}/precious`, "")
          for (const target of [`${folder}/precious`, `${folder}/not-there`]) {
            yield* fs.symlink(target, path)
            const error = yield* Effect.flip(mine(path, "a"))
            assert.strictEqual(error.reason, `it is a symbolic link to ${target}`)
            yield* fs.remove(path)
          }
          assert.strictEqual(yield* fs.readFileString(`${folder}/precious`), "")
          assert.deepStrictEqual(yield* entries(folder), ["precious"])
        })
    )

    testsIn(kernel, unless(notPosix).scopedLive)(
      "a folder and a FIFO are refused by what they are",
      ({ folder, fs, path }) =>
        Effect.gen(function*() {
          yield* fs.makeDirectory(path)
          assert.strictEqual((yield* Effect.flip(mine(path, "a"))).reason, "it is not a regular file but a directory")
          const fifo = `${folder}/fifo`
          assert.strictEqual(yield* Command.exitCode(Command.make("mkfifo", fifo)), 0)
          assert.strictEqual((yield* Effect.flip(mine(fifo, "a"))).reason, "it is not a regular file but a fifo")
        })
    )

    live("a folder that does not exist is said to", ({ folder }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(mine(`${folder}/no/gateway.lock`, "a"))
        assert.match(error.message, /^failed to acquire gateway lock at .*\/no\/gateway\.lock: ENOENT: /)
      }))
  })
}

unless(noKernelLocks(hasAddon)).describe("with a kernel lock", () => {
  const kernel = KernelLock.layerLive
  const live = testsIn(kernel)

  live(
    "unlinking while holding and the inode check after locking: who opened the file before it was unlinked starts over",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const a = yield* mine(path, "a")
        const release = yield* first(a.release)
        // `b` opens the lock file of `a`. Then `a` removes the file and releases the lock. Only after that, `b` locks the file.
        const b = yield* mine(path, "b").pipe(
          // If another test starts a program at this moment, that program may inherit the descriptor of `a`. Then the lock is
          // still held after the release, and `b` is refused. So the test tries again.
          Effect.catchAllDefect(Effect.fail),
          Effect.retry({ times: 100, schedule: Schedule.spaced("5 millis") }),
          hooked((fs) => ({ open: (path, options) => Effect.tap(fs.open(path, options), release) }))
        )
        assert.deepStrictEqual(yield* b.file.check, Option.none())
        assert.strictEqual(yield* ownerAt(path), "b")
        assert.strictEqual(ownerOf(yield* held(path, "c")), "b")
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
        if (isLinux) assert.strictEqual(yield* openCount(folder), 1)
      })
  )

  live(
    "unlinking while holding and the inode check after locking: a third that came first has it",
    ({ path }) =>
      Effect.gen(function*() {
        const a = yield* mine(path, "a")
        const handOver = yield* first(Effect.zipRight(a.release, mine(path, "c")))
        yield* eventually("c to be the owner", Effect.map(held(path, "b"), (snapshot) => ownerOf(snapshot) === "c"))
          .pipe(hooked((fs) => ({ open: (path, options) => Effect.tap(fs.open(path, options), handOver) })))
        assert.strictEqual(yield* ownerAt(path), "c")
      })
  )

  live("unlinking while holding: the file is gone before its lock is", ({ fs, path }) =>
    Effect.gen(function*() {
      const lock = yield* KernelLock.KernelLock
      const lockedAtRemoval = yield* Ref.make<ReadonlyArray<boolean>>([])
      const other = yield* Effect.flatMap(mine(path, "a"), (a) =>
        Effect.gen(function*() {
          const watcher = yield* fs.open(path, { flag: "r+" })
          yield* a.release
          return watcher
        })).pipe(
          hooked((fs) => ({
            remove: (path, options) =>
              Effect.zipRight(
                fs.remove(path, options),
                Effect.scoped(Effect.gen(function*() {
                  // The removed file is still open in this process, so it can be opened again through `/proc/self/fd`.
                  const nameless = (yield* fs.readDirectory("/proc/self/fd")).map((fd) => `/proc/self/fd/${fd}`)
                  for (const link of nameless) {
                    const target = yield* Effect.orElseSucceed(fs.readLink(link), () => "")
                    if (target !== `${path} (deleted)`) continue
                    const file = yield* fs.open(link, { flag: "r+" })
                    const granted = yield* Effect.orDie(lock.tryLock(file.fd))
                    yield* Ref.update(lockedAtRemoval, (seen) => [...seen, !granted])
                    break
                  }
                }))
              )
          }))
        )
      assert.deepStrictEqual(yield* Ref.get(lockedAtRemoval), isLinux ? [true] : [])
      yield* eventually("the lock", lock.tryLock(other.fd))
    }))

  it.scopedLive.each<readonly [what: string, content: string, owner: string | undefined]>([
    ["empty", "", undefined],
    ["foreign", "12345\n", undefined],
    ["torn", "{\"version\":1,\"instan", undefined],
    ["oversized", "x".repeat(70_000), undefined],
    ["an owner's", new TextDecoder().decode(OwnerRecord.encode(ownedBy("dead"))), "dead"],
    [
      "an owner's that had a kernel lock",
      new TextDecoder().decode(OwnerRecord.encode({ ...ownedBy("dead"), lock: "kernel" })),
      "dead"
    ]
  ])(
    "what is left under a free lock is stale: %s",
    ([, content, owner]) =>
      inFolder(kernel, ({ fs, path }) =>
        Effect.gen(function*() {
          yield* fs.writeFileString(path, content)
          const inode = yield* inodeAt(path)
          const { file } = yield* mine(path, "a")
          // An empty file does not count as the leftover of a dead owner. Another start, which is slower, may have created it and
          // not yet written its record.
          assert.strictEqual(Option.isSome(file.leftover), content !== "")
          const record = Option.flatMap(file.leftover, ({ record }) => record)
          assert.strictEqual(Option.getOrUndefined(record)?.instanceId, owner)
          assert.strictEqual(yield* inodeAt(path), inode)
          assert.deepStrictEqual(
            yield* fs.readFile(path),
            OwnerRecord.encode({ ...ownedBy("a"), lock: "kernel" })
          )
        }))
  )

  live(
    "a holder without a kernel lock is respected, and is succeeded only once it was judged",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const a = yield* Effect.provide(mine(path, "a"), absent)
        const snapshot = yield* held(path, "b")
        assert.strictEqual(snapshot.enforcement, "record")
        assert.strictEqual(ownerOf(snapshot), "a")
        assert.strictEqual(yield* ownerAt(path), "a")
        if (isLinux) assert.strictEqual(yield* openCount(folder), 1)
        const b = yield* mine(path, "b", snapshot)
        assert.strictEqual(b.file.enforcement, "kernel")
        assert.strictEqual(Option.getOrThrow(Option.getOrThrow(b.file.leftover).record).instanceId, "a")
        yield* b.release
        yield* a.release
      })
  )

  live(
    "the file that it has without a kernel lock is not taken a second time with one",
    ({ path }) =>
      Effect.gen(function*() {
        const a = yield* Effect.provide(mine(path, "a"), absent)
        const { result } = yield* attempt(path, "a", undefined, a.file.id)
        assert.strictEqual(result._tag, "Held")
        assert.strictEqual(Option.getOrThrow(yield* a.file.read).lock, "record")
      })
  )

  live("what was judged stale and is another one's now is not taken", ({ path }) =>
    Effect.gen(function*() {
      const a = yield* Effect.provide(mine(path, "a"), absent)
      const judged = yield* held(path, "b")
      yield* a.release
      yield* Effect.provide(mine(path, "c"), absent)
      assert.strictEqual(ownerOf(yield* held(path, "b", judged)), "c")
    }))

  live("a holder with a kernel lock is respected by those who have none", ({ path }) =>
    Effect.gen(function*() {
      yield* mine(path, "a")
      const snapshot = yield* Effect.provide(held(path, "b"), absent)
      assert.strictEqual(snapshot.enforcement, "record")
      assert.strictEqual(ownerOf(snapshot), "a")
    }))

  testsIn(answering("EIO"))(
    "a file system that fails to lock (EIO) is an error, and nothing that is in the next one's way",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(mine(path, "a"))
        assert.strictEqual(error.message, `failed to acquire gateway lock at ${path}: EIO: from the kernel`)
        if (isLinux) assert.strictEqual(yield* openCount(folder), 0)
        yield* Effect.provide(mine(path, "b"), KernelLock.layerLive)
        assert.strictEqual(yield* ownerAt(path), "b")
      })
  )
})

describe("a file system without locks", () => {
  it.scopedLive.each(["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])(
    "that says so (%s) is kept by the record, and no empty file stays",
    (code) =>
      inFolder(answering(code), ({ folder, path }) =>
        Effect.gen(function*() {
          const a = yield* mine(path, "a")
          assert.strictEqual(a.file.enforcement, "record")
          assert.include(Option.getOrThrow(a.file.fallback).reason, code)
          assert.strictEqual(Option.getOrThrow(a.file.fallback).where, "filesystem")
          assert.strictEqual(ownerOf(yield* held(path, "b")), "a")
          assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
          yield* a.release
          assert.deepStrictEqual(yield* entries(folder), [])
        }))
  )

  testsIn(grantsAll)(
    "that grants one lock twice is found out, and kept by the record",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const a = yield* mine(path, "a")
        assert.strictEqual(a.file.enforcement, "record")
        assert.strictEqual(Option.getOrThrow(a.file.fallback).reason, "the file system granted the same lock twice")
        const snapshot = yield* held(path, "b")
        assert.strictEqual(snapshot.enforcement, "record")
        assert.strictEqual(ownerOf(snapshot), "a")
        assert.strictEqual(yield* ownerAt(path), "a")
        yield* a.release
        assert.deepStrictEqual(yield* entries(folder), [])
      })
  )
})

describe("a file that one with a kernel lock has taken over in place", () => {
  testsIn(absent, unless(noKernelLocks(hasAddon)).scopedLive)(
    "is neither overwritten nor removed by the record-only holder that lost it",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const loser = yield* mine(path, "loser")
        const judged = yield* Effect.provide(held(path, "taker"), KernelLock.layerLive)
        const taker = yield* Effect.provide(mine(path, "taker", judged), KernelLock.layerLive)
        assert.strictEqual(taker.file.id, loser.file.id)
        assert.deepStrictEqual(yield* loser.file.check, Option.some("the file was overwritten"))
        yield* loser.file.write({ ...ownedBy("loser"), phase: "draining" })
        assert.strictEqual(yield* ownerAt(path), "taker")
        yield* loser.release
        assert.strictEqual(yield* ownerAt(path), "taker")
        assert.isTrue(Option.isNone(yield* taker.file.check))
        yield* taker.release
        assert.deepStrictEqual(yield* entries(folder), [])
      })
  )

  testsIn(absent)(
    "is not removed while its new record is being written",
    ({ folder, fs, path }) =>
      Effect.gen(function*() {
        const loser = yield* mine(path, "loser")
        yield* Effect.scoped(
          Effect.flatMap(fs.open(path, { flag: "r+" }), (file) => file.writeAll(new TextEncoder().encode("{\"half")))
        )
        yield* loser.file.write(ownedBy("loser"))
        yield* loser.release
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
      })
  )
})

describe("by the record alone", () => {
  const live = testsIn(absent)
  const leave = (path: string, instanceId: string) =>
    Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFile(path, OwnerRecord.encode(ownedBy(instanceId))))

  live("nothing is taken that was not judged", ({ fs, path }) =>
    Effect.gen(function*() {
      for (const content of ["", "{\"ver", "x".repeat(70_000)]) {
        yield* fs.writeFileString(path, content)
        const snapshot = yield* held(path, "a")
        assert.isTrue(Option.isNone(snapshot.record))
        assert.strictEqual(yield* fs.readFileString(path), content)
      }
    }))

  live(
    "what was judged stale is taken, and nothing else stays in the folder",
    ({ folder, path }) =>
      Effect.gen(function*() {
        yield* leave(path, "dead")
        const judged = yield* held(path, "a")
        const { file } = yield* mine(path, "a", judged)
        assert.strictEqual(Option.getOrThrow(Option.getOrThrow(file.leftover).record).instanceId, "dead")
        assert.strictEqual(yield* ownerAt(path), "a")
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
      })
  )

  live("of many who judged the same file stale exactly one takes it", ({ folder, path }) =>
    Effect.gen(function*() {
      yield* leave(path, "dead")
      const judged = yield* held(path, "judge")
      yield* assertOneOf(8, path, judged)
      assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
    }))

  live(
    "a file that was replaced between judging and moving is put back, the very same one",
    ({ folder, fs, path }) =>
      Effect.gen(function*() {
        yield* leave(path, "dead")
        const judged = yield* held(path, "a")
        const inode = yield* Ref.make(0)
        const replace = yield* first(Effect.gen(function*() {
          yield* leave(`${folder}/new`, "newcomer")
          yield* Ref.set(inode, yield* inodeAt(`${folder}/new`))
          yield* fs.rename(`${folder}/new`, path)
        }))
        const snapshot = yield* held(path, "a", judged).pipe(
          hooked((fs) => ({ rename: (from, to) => Effect.zipRight(replace, fs.rename(from, to)) }))
        )
        assert.strictEqual(ownerOf(snapshot), "newcomer")
        assert.strictEqual(yield* ownerAt(path), "newcomer")
        assert.strictEqual(yield* inodeAt(path), yield* Ref.get(inode))
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
      })
  )

  live("a name that a third has taken meanwhile is left to it", ({ folder, fs, path }) =>
    Effect.gen(function*() {
      yield* leave(path, "dead")
      const judged = yield* held(path, "a")
      const replace = yield* first(Effect.gen(function*() {
        yield* fs.remove(path)
        yield* leave(path, "newcomer")
      }))
      const third = yield* first(leave(path, "third"))
      const snapshot = yield* held(path, "a", judged).pipe(
        hooked((fs) => ({
          rename: (from, to) => Effect.zipRight(replace, fs.rename(from, to)),
          link: (from, to) => Effect.zipRight(third, fs.link(from, to))
        }))
      )
      assert.strictEqual(ownerOf(snapshot), "third")
      assert.strictEqual(yield* ownerAt(path), "third")
      assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
    }))

  live("a file that goes away before it is moved is no loss", ({ path }) =>
    Effect.gen(function*() {
      yield* leave(path, "dead")
      const judged = yield* held(path, "a")
      const { file } = yield* mine(path, "a", judged).pipe(
        hooked((fs) => ({ rename: (from, to) => Effect.zipRight(fs.remove(from), fs.rename(from, to)) }))
      )
      assert.isTrue(Option.isNone(file.leftover))
      assert.strictEqual(yield* ownerAt(path), "a")
    }))

  live("who creates the file first has it", ({ path }) =>
    Effect.gen(function*() {
      const snapshot = yield* held(path, "a").pipe(
        hooked((fs) => ({
          link: (from, to) => Effect.zipRight(fs.writeFile(to, OwnerRecord.encode(ownedBy("other"))), fs.link(from, to))
        }))
      )
      assert.strictEqual(ownerOf(snapshot), "other")
      assert.strictEqual(yield* ownerAt(path), "other")
    }))

  live(
    "where there are no hard links, who creates the file first has it",
    ({ folder, path }) =>
      Effect.gen(function*() {
        const withoutLinks = hooked(() => ({ link: () => failing("link", "EPERM: operation not permitted") }))
        yield* withoutLinks(mine(path, "a"))
        assert.strictEqual(yield* ownerAt(path), "a")
        assert.strictEqual(ownerOf(yield* withoutLinks(held(path, "b"))), "a")
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
      })
  )

  live("the file has its record from the moment that it has its name", ({ path }) =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      yield* mine(path, "a").pipe(
        hooked((fs) => ({
          link: (from, to) =>
            Effect.tap(fs.link(from, to), () => Effect.map(fs.readFileString(to), (text) => seen.push(text)))
        }))
      )
      assert.deepStrictEqual(seen, [
        new TextDecoder().decode(OwnerRecord.encode({ ...ownedBy("a"), lock: "record" }))
      ])
    }))

  live(
    "a starter whose fresh file a slow reclaimer moves away does not take it for its own",
    ({ folder, fs, path }) =>
      Effect.gen(function*() {
        const steal = yield* first(fs.rename(path, `${folder}/aside`))
        const { file } = yield* mine(path, "a").pipe(
          hooked((fs) => ({ link: (from, to) => Effect.zipLeft(fs.link(from, to), steal) }))
        )
        // The test had moved the attempt's first file aside. The attempt then made a second file under the lock's name.
        assert.deepStrictEqual(yield* file.check, Option.none())
        assert.deepStrictEqual((yield* entries(folder)).toSorted(), ["aside", "gateway.lock"])
      })
  )

  live(
    "a copy that is another's by the time it is opened is not taken",
    ({ folder, fs, path }) =>
      Effect.gen(function*() {
        yield* leave(path, "a")
        const replace = yield* first(Effect.gen(function*() {
          yield* leave(`${folder}/new`, "newcomer")
          yield* fs.rename(`${folder}/new`, path)
        }))
        const snapshot = yield* held(path, "a").pipe(beforeOpening(replace))
        assert.strictEqual(ownerOf(snapshot), "newcomer")
        assert.strictEqual(yield* ownerAt(path), "newcomer")
        assert.deepStrictEqual(yield* entries(folder), ["gateway.lock"])
      })
  )

  live("a copy that is gone by the time it is opened is made again", ({ fs, path }) =>
    Effect.gen(function*() {
      yield* leave(path, "a")
      const vanish = yield* first(fs.remove(path))
      const { file } = yield* mine(path, "a").pipe(beforeOpening(vanish))
      assert.isTrue(Option.isNone(file.leftover))
      assert.strictEqual(yield* ownerAt(path), "a")
    }))

  live("a new file that cannot be looked at does not stay in the way", ({ folder, path }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(mine(path, "a")).pipe(
        hooked((fs) => ({
          open: (path, options) =>
            Effect.map(fs.open(path, options), (file) =>
              options?.flag === "wx"
                ? patched(file, { stat: failing("fstat", "EIO: i/o error") })
                : file)
        }))
      )
      assert.strictEqual(error.reason, "EIO: i/o error, fstat")
      assert.deepStrictEqual(yield* entries(folder), [])
    }))

  live("a path that never holds still is given up", ({ path }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(mine(path, "a")).pipe(
        hooked((fs) => ({
          open: (path, options) =>
            options?.flag === "wx"
              ? failing("open", "EEXIST: file already exists", "AlreadyExists")
              : fs.open(path, options)
        }))
      )
      assert.strictEqual(error.reason, "other processes keep replacing the file")
    }))
})
