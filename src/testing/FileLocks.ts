/**
 * The kernel locks of open files, and their release when the last process that has the file open closes it.
 *
 * @since 0.1.0
 */
import type { KernelProcess, OpenFile, RangeLock, SimulatedKernel } from "./SimulatedKernel.ts"

/**
 * The end of a lock range. A length of 0 means up to the end of the file, even if the file grows.
 *
 * @internal
 */
export const lockEnd = (offset: number, length: number): number =>
  length === 0 ? Number.POSITIVE_INFINITY : offset + length

/**
 * Whether two ranges share a byte.
 *
 * @internal
 */
export const overlaps = (
  one: Pick<RangeLock, "from" | "to">,
  other: Pick<RangeLock, "from" | "to">
): boolean => one.from < other.to && other.from < one.to

/**
 * Releases the locks of an open file, unless another process has inherited that open file. If the file is the end of a pipe, the
 * process that reads from the other end notices that it is closed.
 *
 * @internal
 */
export const unlock = (kernel: SimulatedKernel, file: OpenFile): void => {
  for (const { files } of kernel.processes) if (files.get(file.fd) === file) return
  kernel.pipes.get(file)?.unsafeOpen()
  kernel.pipes.delete(file)
  // A finalizer can close a file after its process was killed. The kill has already released the locks of the file, and another
  // process may hold a lock on this inode by now. So only the locks of this open file are removed.
  const left = kernel.locks.get(file.inode.ino)?.filter((lock) => lock.file !== file) ?? []
  if (left.length === 0) kernel.locks.delete(file.inode.ino)
  else kernel.locks.set(file.inode.ino, left)
}

/**
 * Closes all open files of a process and releases its locks, as the kernel does when a process ends.
 *
 * @internal
 */
export const closeAll = (kernel: SimulatedKernel, process: KernelProcess): void => {
  const files = [...process.files.values()]
  process.files.clear()
  for (const file of files) unlock(kernel, file)
}
