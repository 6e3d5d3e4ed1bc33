/**
 * Simulates the locks of `fs-native-extensions`, the native addon that takes kernel locks. The rules of each platform decide which
 * ranges can be locked, and which locks are refused.
 *
 * - Linux: open-file-description locks (fcntl_locking(2), `F_OFD_SETLK`; the addon's `src/linux.c`). An open file may lock a
 *   range again, even if the new lock changes the mode between shared and exclusive. A conflict with the lock of another open
 *   file gives `EAGAIN`. A write lock on a file that is not open for writing gives `EBADF`.
 * - macOS: `flock(2)` (`src/apple.c`). A lock covers the whole file, which is offset 0 and length 0. The addon answers `EINVAL`
 *   for any other range. An open file has at most one lock, and another lock call converts that lock.
 * - Windows: `LockFileEx` (`src/win32.c`). An exclusive lock must not overlap any other lock, even a lock of the same handle. The
 *   error `ERROR_LOCK_VIOLATION` becomes `EBUSY` (libuv, `uv_translate_sys_error` in `src/win/error.c`). `UnlockFileEx` releases
 *   exactly one lock, and the given range must be equal to the range of that lock.
 */
import * as Effect from "effect/Effect"
import type { AddonCalls } from "../host/KernelLock.ts"
import { lockEnd, overlaps } from "./FileLocks.ts"
import {
  type KernelProcess,
  type OpenFile,
  type RangeLock,
  type SimulatedKernel,
  systemCall
} from "./SimulatedKernel.ts"

/** The error that the native binding throws. */
class AddonError extends Error {
  readonly code: string
  constructor(code: string) {
    super(`${code}: simulated error`)
    this.code = code
  }
}

type Answer = "ok" | "EAGAIN" | "EBADF" | "EBUSY" | "EINVAL" | "ENOENT"

interface Rules {
  /** Adds a lock to the locks of an inode if the answer is `ok`. With any other answer, `locks` does not change. */
  readonly lock: (locks: Array<RangeLock>, wanted: RangeLock) => Answer
  readonly unlock: (locks: Array<RangeLock>, range: RangeLock) => Answer
}

const excludes = (one: RangeLock, other: RangeLock): boolean =>
  overlaps(one, other) && (one.exclusive || other.exclusive)

/** Removes a range from the locks of the open file `range.file`. The parts of a lock before and after the range remain. */
const cutOut = (locks: Array<RangeLock>, range: RangeLock): void => {
  const kept = locks.flatMap((lock) =>
    lock.file !== range.file || !overlaps(lock, range) ? [lock] : [
      ...(lock.from < range.from ? [{ ...lock, to: range.from }] : []),
      ...(lock.to > range.to ? [{ ...lock, from: range.to }] : [])
    ]
  )
  locks.splice(0, locks.length, ...kept)
}

const isWholeFile = ({ from, to }: RangeLock): boolean => from === 0 && to === Number.POSITIVE_INFINITY

const ofAnother = (locks: ReadonlyArray<RangeLock>, { file }: RangeLock) => locks.filter((lock) => lock.file !== file)

/** Locks a range for an open file. In that range the new lock replaces earlier locks of the same open file. */
const convert: Rules["lock"] = (locks, wanted) => {
  if (ofAnother(locks, wanted).some((lock) => excludes(lock, wanted))) return "EAGAIN"
  cutOut(locks, wanted)
  locks.push(wanted)
  return "ok"
}

const posix: Rules = {
  lock: (locks, wanted) => {
    if (wanted.exclusive && !wanted.file.writable) return "EBADF"
    return convert(locks, wanted)
  },
  unlock: (locks, range) => {
    cutOut(locks, range)
    return "ok"
  }
}

const flock: Rules = {
  lock: (locks, wanted) => {
    if (!isWholeFile(wanted)) return "EINVAL"
    return convert(locks, wanted)
  },
  unlock: (locks, range) => {
    if (!isWholeFile(range)) return "EINVAL"
    cutOut(locks, range)
    return "ok"
  }
}

const windows: Rules = {
  lock: (locks, wanted) => {
    const inTheWay = wanted.exclusive
      ? locks.some((lock) => overlaps(lock, wanted))
      : ofAnother(locks, wanted).some((lock) => excludes(lock, wanted))
    if (inTheWay) return "EBUSY"
    locks.push(wanted)
    return "ok"
  },
  unlock: (locks, { file, from, to }) => {
    const at = locks.findIndex((lock) => lock.file === file && lock.from === from && lock.to === to)
    if (at < 0) return "ENOENT"
    locks.splice(at, 1)
    return "ok"
  }
}

const rules: Readonly<Record<SimulatedKernel["platform"], Rules>> = { linux: posix, darwin: flock, win32: windows }

/** Returns the functions of the addon for one process. They lock and unlock files that the process has open. */
export const make = (kernel: SimulatedKernel, process: KernelProcess): AddonCalls => {
  const call = (fd: number, what: string, answer: (file: OpenFile, locks: Array<RangeLock>) => Answer) => {
    const fail = (code: string) => new AddonError(code)
    return systemCall(
      kernel,
      process,
      { name: "fcntl", target: `${fd} ${what}` },
      fail,
      () => {
        const file = process.files.get(fd)
        if (kernel.locking === "refused") return Effect.fail(fail("ENOLCK"))
        if (file === undefined) return Effect.fail(fail("EBADF"))
        if (kernel.locking === "grants everything") return Effect.void
        const locks = kernel.locks.get(file.inode.ino) ?? []
        kernel.locks.set(file.inode.ino, locks)
        const code = answer(file, locks)
        return code === "ok" ? Effect.void : Effect.fail(fail(code))
      }
    )
  }
  const range = (file: OpenFile, offset: number, length: number, exclusive: boolean): RangeLock => ({
    file,
    from: offset,
    to: lockEnd(offset, length),
    exclusive
  })
  const { lock, unlock } = rules[kernel.platform]
  return {
    tryLock: (fd, offset, length, exclusive) =>
      call(
        fd,
        exclusive ? "exclusive" : "shared",
        (file, locks) => lock(locks, range(file, offset, length, exclusive))
      ),
    unlock: (fd, offset, length) =>
      call(fd, "unlock", (file, locks) => unlock(locks, range(file, offset, length, false)))
  }
}
