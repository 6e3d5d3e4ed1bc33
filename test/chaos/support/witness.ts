/**
 * The judge of a storm: the kernel's own exclusion, taken without waiting by whoever was granted the lock under test.
 *
 * It must not accuse the successor of a holder that was killed, so the kernel must drop the witness before it drops the
 * lock under test. Linux lets go of the open files of a dead process as deferred work, of which it does the last first
 * (`task_work_run`); a test of that name sees it. So the witness gets a descriptor higher than any that the lock under
 * test will have.
 *
 * A second judge beside it: every holder writes its token into the witness and must find it there at the end.
 */
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"

interface Addon {
  readonly tryLock: (fd: number) => boolean
  readonly unlock: (fd: number) => void
}

const isAddon = (value: unknown): value is Addon =>
  typeof value === "object" && value !== null
  && "tryLock" in value && typeof value.tryLock === "function"
  && "unlock" in value && typeof value.unlock === "function"

const load = (): Addon => {
  const addon: unknown = createRequire(import.meta.url)("fs-native-extensions")
  if (!isAddon(addon)) throw new Error("fs-native-extensions has no tryLock or no unlock")
  return addon
}

/** The kernel's lock on an open file, without waiting. */
export const osLock: () => Addon = load

const lowest = 200
const tokenBytes = 64

/** Opens a file under a descriptor that is higher than those that a worker has open otherwise. */
const openHigh = (path: string): number => {
  const fillers: Array<number> = []
  for (;;) {
    const fd = Fs.openSync(path, Fs.constants.O_RDWR | Fs.constants.O_CREAT, 0o600)
    if (fd >= lowest) {
      for (const filler of fillers) Fs.closeSync(filler)
      return fd
    }
    fillers.push(fd)
  }
}

export interface Witness {
  /** Whether nobody else had it; if not, the other's token. Ours is written in either case. */
  readonly take: (token: string) => { readonly granted: boolean; readonly other: string }
  /** What the witness says now: our token, or that of somebody who was granted the lock while we had it. */
  readonly read: () => string
  readonly drop: () => void
}

export const open = (folder: string): Witness => {
  const addon = load()
  const fd = openHigh(Path.join(folder, "witness"))
  const read = () => {
    const bytes = Buffer.alloc(tokenBytes)
    return bytes.toString("utf8", 0, Fs.readSync(fd, bytes, 0, tokenBytes, 0)).trim()
  }
  return {
    take: (token) => {
      const granted = addon.tryLock(fd)
      const other = read()
      // One write of one size: never a mixture of two tokens.
      Fs.writeSync(fd, token.padEnd(tokenBytes), 0)
      return { granted, other }
    },
    read,
    drop: () => addon.unlock(fd)
  }
}
