import { FileSystem } from "@effect/platform"
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Scope } from "effect"
import { constants } from "node:os"
import { fileURLToPath } from "node:url"
import * as KernelLock from "../../src/host/KernelLock.ts"
import { hasAddon } from "../fixtures/kernelLocks.ts"
import { eventually } from "../fixtures/net.ts"
import { run } from "../fixtures/processes.ts"
import { noKernelLocks, notLinux, unless } from "../fixtures/skips.ts"

const fd = FileSystem.FileDescriptor(7)

const throwing = (...thrown: ReadonlyArray<unknown>) => throwingOn("linux", ...thrown)

const throwingOn = (platform: string, ...thrown: ReadonlyArray<unknown>) => {
  const calls: Array<ReadonlyArray<unknown>> = []
  const lock = KernelLock.fromAddon({
    tryLock: (...args) => {
      calls.push(args)
      const next = thrown[calls.length - 1]
      if (next !== undefined) throw next
    },
    unlock: (...args) => {
      calls.push(args)
    }
  }, platform)
  return { lock, calls }
}
const errno = (code: string, message = `${code}: from the kernel`) => Object.assign(new Error(message), { code })

describe("KernelLock.fromAddon", () => {
  it.effect("what the addon grants is granted", () =>
    Effect.gen(function*() {
      const { calls, lock } = throwing()
      yield* lock.supported
      assert.isTrue(yield* lock.tryLock(fd))
      // The lock is exclusive. It covers one byte, which lies beyond the end of any record. A JavaScript number holds the offset
      // of that byte exactly.
      assert.deepStrictEqual(calls, [[7, 0x4000_0000_0000, 1, true]])
    }))

  it.effect.each<readonly [platform: string, range: readonly [offset: number, length: number]]>([
    ["linux", [0x4000_0000_0000, 1]],
    ["win32", [0x4000_0000_0000, 1]],
    // On macOS the addon can lock only the whole file (fs-native-extensions, `src/apple.c`).
    ["darwin", [0, 0]]
  ])("which range is locked on %s", ([platform, range]) =>
    Effect.gen(function*() {
      const { calls, lock } = throwingOn(platform)
      assert.isTrue(yield* lock.tryLock(fd))
      assert.isFalse(yield* lock.isLocked(fd))
      assert.deepStrictEqual(calls, [[7, ...range, true], [7, ...range, false], [7, ...range]])
    }))

  it.effect("whether it is held is asked for reading, and what is granted is given back", () =>
    Effect.gen(function*() {
      const free = throwing()
      assert.isFalse(yield* free.lock.isLocked(fd))
      assert.deepStrictEqual(free.calls, [[7, 0x4000_0000_0000, 1, false], [7, 0x4000_0000_0000, 1]])
      const held = throwing(errno("EAGAIN"))
      assert.isTrue(yield* held.lock.isLocked(fd))
      assert.strictEqual(held.calls.length, 1)
    }))

  it.effect.each(["EAGAIN", "EWOULDBLOCK", "EBUSY"])("%s: another holds it", (code) =>
    Effect.gen(function*() {
      const { calls, lock } = throwing(errno(code))
      assert.isFalse(yield* lock.tryLock(fd))
      assert.strictEqual(calls.length, 1)
    }))

  it.effect("EINTR decides nothing, and is asked again", () =>
    Effect.gen(function*() {
      const granted = throwing(errno("EINTR"), errno("EINTR"))
      assert.isTrue(yield* granted.lock.tryLock(fd))
      assert.strictEqual(granted.calls.length, 3)
      const refused = throwing(errno("EINTR"), errno("EAGAIN"))
      assert.isFalse(yield* refused.lock.tryLock(fd))
    }))

  it.effect.each(["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])(
    "%s: this file system cannot lock",
    (code) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(throwing(errno(code)).lock.tryLock(fd))
        assert.strictEqual(error._tag, "KernelLockUnsupported")
        assert.deepInclude(error, { where: "filesystem", reason: `${code}: from the kernel` })
        assert.strictEqual(error.message, `${code}: from the kernel`)
      })
  )

  unless(notLinux).effect(
    "ENOLCK without its name, which libuv does not know, is told all the same",
    () =>
      Effect.gen(function*() {
        const code = `Unknown system error -${constants.errno.ENOLCK}`
        const error = yield* Effect.flip(throwing(errno(code, code)).lock.tryLock(fd))
        assert.strictEqual(error._tag, "KernelLockUnsupported")
        assert.strictEqual(error.message, `ENOLCK: ${code}`)
      })
  )

  it.effect.each<readonly [thrown: unknown, reason: string]>([
    [errno("EIO"), "EIO: from the kernel"],
    [errno("EBADF", "bad file descriptor"), "EBADF: bad file descriptor"],
    [errno("EACCES", "two\nlines"), "EACCES: two"],
    [new Error("no code at all"), "no code at all"],
    ["a string", "a string"],
    [{ code: 11 }, "[object Object]"]
  ])("anything else says nothing about the holder: %s", ([thrown, reason]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(throwing(thrown).lock.tryLock(fd))
      assert.strictEqual(error._tag, "KernelLockFailed")
      assert.strictEqual(error.reason, reason)
      assert.strictEqual(Cause.pretty(Cause.fail(error)).split("\n", 1)[0]?.includes(reason), true)
    }))

  it.effect("is asked when run, not when described", () =>
    Effect.gen(function*() {
      const { calls, lock } = throwing()
      const later = lock.tryLock(fd)
      assert.deepStrictEqual(calls, [])
      yield* later
      yield* later
      assert.strictEqual(calls.length, 2)
    }))
})

describe("KernelLock.layerAbsent", () => {
  it.effect("has no lock for any file, and says why", () =>
    Effect.gen(function*() {
      const lock = yield* KernelLock.KernelLock
      for (const error of [yield* Effect.flip(lock.supported), yield* Effect.flip(lock.tryLock(fd))]) {
        assert.strictEqual(error._tag, "KernelLockUnsupported")
        assert.deepInclude(error, { where: "addon", reason: "musl" })
      }
    }).pipe(Effect.provide(KernelLock.layerAbsent("musl"))))
})

unless(noKernelLocks(hasAddon)).describe("KernelLock.layerLive, live", () => {
  const withFile = <A, E, R>(use: (path: string, lock: KernelLock.KernelLock["Type"]) => Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped({ prefix: "kernel-lock-" })
      return yield* use(path, yield* KernelLock.KernelLock)
    }).pipe(Effect.provide(Layer.merge(KernelLock.layerLive, NodeContext.layer)))

  const open = (path: string) =>
    Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.map(fs.open(path, { flag: "r+" }), ({ fd }) => fd))

  it.scopedLive("a second open file is refused, the first may ask again", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const [first, second] = yield* Effect.all([open(path), open(path)])
        assert.isTrue(yield* lock.tryLock(first))
        assert.isFalse(yield* lock.tryLock(second))
        assert.isTrue(yield* lock.tryLock(first))
        assert.isFalse(yield* lock.tryLock(second))
      })
    ))

  it.scopedLive("closing the file frees the lock, and only its own", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const first = yield* Scope.extend(open(path), scope)
        const second = yield* open(path)
        assert.isTrue(yield* lock.tryLock(first))
        // POSIX locks (`F_SETLK` of fcntl(2)) would be released here, because the process closes a descriptor of the locked file.
        // The lock under test must stay held.
        yield* Effect.scoped(open(path))
        assert.isFalse(yield* lock.tryLock(second))
        yield* Scope.close(scope, Exit.void)
        // The lock may become free a moment later: a program that another test starts at this moment has a copy of every
        // descriptor until its exec.
        yield* eventually("the lock", lock.tryLock(second))
      })
    ))

  it.scopedLive("two files do not exclude each other, and a locked one can be read and written", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const other = yield* fs.makeTempFileScoped()
        assert.isTrue(yield* lock.tryLock(yield* open(path)))
        assert.isTrue(yield* lock.tryLock(yield* open(other)))
        yield* fs.writeFileString(path, "record")
        assert.strictEqual(yield* fs.readFileString(path), "record")
      })
    ))

  it.scopedLive("of many at once exactly one is granted", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const files = yield* Effect.all(Array.from({ length: 32 }, () => open(path)))
        const granted = yield* Effect.forEach(files, lock.tryLock, { concurrency: "unbounded" })
        assert.strictEqual(granted.filter(Boolean).length, 1)
      })
    ))

  unless(notLinux).scopedLive(
    "a file that is open for reading only cannot be locked for writing",
    () =>
      withFile((path, lock) =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const { fd } = yield* fs.open(path, { flag: "r" })
          const error = yield* Effect.flip(lock.tryLock(fd))
          assert.strictEqual(error._tag, "KernelLockFailed")
          assert.include(error.reason, "EBADF")
        })
      )
  )

  const locker = fileURLToPath(new URL("../fixtures/locker.cjs", import.meta.url))

  it.scopedLive("SIGKILL frees it", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const file = yield* open(path)
        const holder = yield* run(process.execPath, [locker, path])
        assert.strictEqual(yield* holder.line, "locked")
        assert.isFalse(yield* lock.tryLock(file))
        yield* holder.kill
        assert.isTrue(yield* lock.tryLock(file))
      })
    ))

  it.scopedLive("a detached child of the holder does not keep it", () =>
    withFile((path, lock) =>
      Effect.gen(function*() {
        const file = yield* open(path)
        const holder = yield* run(process.execPath, [locker, path, "with-child"])
        const said = yield* holder.line
        const child = Number(/^locked (\d+)$/.exec(said)?.[1])
        yield* Effect.addFinalizer(() => Effect.ignore(Effect.try(() => process.kill(child, "SIGKILL"))))
        yield* holder.kill
        assert.isTrue(process.kill(child, 0), "the child lives")
        yield* eventually("the lock", lock.tryLock(file))
      })
    ))
})
