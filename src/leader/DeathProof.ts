/**
 * Proves that the former holder of a lease is dead, so that a restart on the same host need not wait. Pure.
 *
 * A process that holds the kernel locks on the very files that the former holder had locked knows that the former holder has
 * ended, because a kernel lock ends with its process. The path of a file proves nothing: it may have been removed and made again
 * while the former holder still runs. A machine id proves nothing: clones and containers share it.
 *
 * @internal
 */

/** A lock file by its device and inode, as decimal numbers. */
export interface LockedFile {
  readonly device: string
  readonly inode: string
}

/** Where a process holds its locks. The holder of a lease writes it into the lease. */
export interface HolderPlace {
  /** Absent if the platform has no boot id. Then nothing is proved. */
  readonly bootId?: string | undefined
  /** The lock file of the config and the lock file of the state directory. */
  readonly locks: ReadonlyArray<LockedFile>
  /** The type of the file system of both files. */
  readonly fileSystem: string
  readonly enforcement: "kernel" | "record"
  /** `exec`: the children of a command may outlive a lock that they did not inherit. */
  readonly mode: "run" | "exec"
}

/** The local file systems on which a kernel lock excludes every process of the host. */
const trustedFileSystems: ReadonlySet<string> = new Set(["ext4", "xfs", "btrfs", "tmpfs", "overlayfs"])

const isSameFile = (one: LockedFile, other: LockedFile): boolean =>
  one.device === other.device && one.inode === other.inode

const canProve = ({ enforcement, fileSystem, locks, mode }: HolderPlace): boolean =>
  enforcement === "kernel" && mode === "run" && locks.length > 0 && trustedFileSystems.has(fileSystem)

/** Whether a process that holds the locks of `own` knows that the process which held those of `former` has ended. */
export const provesDeath = (own: HolderPlace, former: HolderPlace): boolean =>
  canProve(own) && canProve(former)
  && own.bootId !== undefined && own.bootId === former.bootId
  && own.locks.length === former.locks.length
  && former.locks.every((file) => own.locks.some((lock) => isSameFile(lock, file)))
