/**
 * In a storm test, many worker processes compete for one lock, the lock under test. A second lock, the witness, shows whether two
 * workers ever hold the lock under test at the same time. The witness is a kernel lock on a file. A worker that was granted the
 * lock under test tries to take the witness, without waiting. If another worker has the witness, both hold the lock under test.
 *
 * If a worker is killed, the kernel releases both locks of this worker, one after the other. The next worker can acquire the lock
 * under test as soon as that lock is released. If the dead worker still had the witness then, the test would report a violation
 * that did not happen. So the kernel must release the witness first. At the end of a process, Linux queues the close of each file
 * in the order of the descriptors, and works off this queue from its end (`task_work_run`). So the witness has a higher
 * descriptor than every file of the lock under test. A test checks that Linux works in this order.
 *
 * The token is a second check: every holder of the witness writes its token into the file, and must find it unchanged when it
 * releases the witness.
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

/** Loads the addon that takes and releases kernel locks on open files. Its `tryLock` returns at once, even if the lock is held. */
export const osLock: () => Addon = load

const lowest = 200
const tokenBytes = 64

/** Opens a file under a descriptor of at least 200, which is higher than those of all other files of a worker. */
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

/** The witness: a kernel lock on a file. Each worker that calls `take` writes its token into the file. */
export interface Witness {
  /**
   * Tries to lock the file, and writes the token into it in any case. `granted` is `true` if no other worker had locked the file.
   * `other` is the token that the file contained before.
   */
  readonly take: (token: string) => { readonly granted: boolean; readonly other: string }
  /** Reads the token in the file. It is the token of the worker that called `take` last, whether or not it was granted the lock. */
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
      // The token is written in one call and has a fixed size, so that a reader never sees a mixture of two tokens.
      Fs.writeSync(fd, token.padEnd(tokenBytes), 0)
      return { granted, other }
    },
    read,
    drop: () => addon.unlock(fd)
  }
}
