/**
 * Finds the holder of a lock. Reads the record in a lock file without locking the file, and finds out what the recorded
 * pid means on this host: for example, whether the recorded process is alive.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Holder, LockUnavailable, type PidMeaning } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import { configLockPath, type ConfigNames, isNamedBy, stateLockPath } from "./LockPaths.ts"
import * as OwnerRecord from "./OwnerRecord.ts"
import { presentProcess } from "./PresentProcess.ts"
import { linkTarget } from "./Snapshot.ts"

/**
 * Reads the record of a lock file without locking it. Never fails: the result is `None` if the file is absent, cannot
 * be read or has no record. A record does not mean that its owner is alive.
 *
 * @since 0.1.0
 * @category reading
 */
export const readOwner = (
  path: string
): Effect.Effect<Option.Option<OwnerRecord.OwnerRecord>, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    fs.stat(path).pipe(
      Effect.flatMap((info) =>
        info.type === "File" && info.size <= FileSystem.Size(OwnerRecord.maxBytes)
          ? Effect.zipWith(
            fs.readFile(path),
            linkTarget(fs, path),
            (content, link) => Option.isSome(link) ? Option.none() : OwnerRecord.parse(content)
          )
          : Effect.succeedNone
      ),
      // Callers do not distinguish absent, unreadable and incomplete files, so the result is `None` for all of them.
      Effect.orElseSucceed(() => Option.none())
    ))

/**
 * Reads the records in the two lock files of a gateway. The first record is in the lock file of the gateway's config. The
 * second is in the lock file of the state directory, and is used only if it names the same config.
 *
 * If a symbolic link in the config's path was changed after the owner started, the canonical path is different now. The
 * name of the config's lock file depends on that path, so that name is different too. Then only the second record names
 * the owner. The first record is absent, or was left by an earlier owner that did not shut down cleanly.
 *
 * @since 0.1.0
 * @category reading
 */
export const readOwnersOf = (
  options: ConfigNames
): Effect.Effect<ReadonlyArray<OwnerRecord.OwnerRecord>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const own = Option.toArray(yield* readOwner(configLockPath(options)))
    const shared = Option.toArray(yield* readOwner(stateLockPath(options)))
    return [
      ...own,
      ...shared.filter((record) => isNamedBy(record, options, platform) && record.instanceId !== own[0]?.instanceId)
    ]
  })

/**
 * Why it is unknown whether the recorded process is alive. `OtherBoot` and `OtherPidNamespace`: the record is from
 * another boot, machine or PID namespace, so its pid means nothing here. `Unknown`: there is another reason.
 */
const whyUnknown = (self: OwnerRecord.ProcessIdentity, record: OwnerRecord.OwnerRecord): PidMeaning => {
  const differ = (a: string | undefined, b: string | undefined) => a !== undefined && b !== undefined && a !== b
  // On every machine, the first PID namespace has the same name. The boot id tells machines apart, so it is compared
  // first.
  if (differ(self.bootId, record.bootId)) return "OtherBoot"
  return differ(self.pidNamespace, record.pidNamespace) ? "OtherPidNamespace" : "Unknown"
}

/** The owner that a record names. */
interface Owner {
  /** The owner in the form in which errors carry it. */
  readonly holder: Holder
  /** The process that `holder.pid` names. */
  readonly process: OwnerRecord.ProcessIdentity
}

/**
 * The owner that a record names, with the meaning of its pid on this host (`pidMeaning`). The name of the command and the systemd
 * unit are included only if that pid belongs to the owner, and not to a later process.
 *
 * `gateway exec` is a wrapper: it starts another program and keeps the lock for it. If the recorded wrapper has ended and its
 * child has not, the child is the owner.
 */
export const ownerOf = (
  record: OwnerRecord.OwnerRecord
): Effect.Effect<Owner, never, ProcessTable.ProcessTable | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable.ProcessTable
    const { isChild, liveness, process } = yield* presentProcess(record)
    // Look the command up only if the recorded process is alive. Otherwise the pid can belong to an unrelated process.
    const command = liveness === "Alive" ? yield* table.commandName(process.pid) : Option.none<string>()
    const unit = liveness === "Alive" && record.supervisor === "systemd"
      ? yield* ServiceUnit.ofProcess(process.pid)
      : Option.none()
    return {
      process,
      holder: {
        ...OwnerRecord.toHolder(record, Option.getOrUndefined(command)),
        ...(isChild ? { pid: process.pid, endedWrapper: record.pid } : {}),
        ...(Option.isSome(unit) ? { unit: unit.value } : {}),
        pidMeaning: liveness === "Unknown" ? whyUnknown(yield* table.self, record) : liveness
      }
    }
  })

/** The owner that a record names, in the form in which errors carry it. */
export const holderOf = (
  record: OwnerRecord.OwnerRecord
): Effect.Effect<Holder, never, ProcessTable.ProcessTable | FileSystem.FileSystem> =>
  Effect.map(ownerOf(record), ({ holder }) => holder)

/**
 * Like `holderOf`, but also uses the instance id with which a listener answered (`answers`). If the record has that id,
 * the owner is alive, even if the operating system does not list its processes in time. A record from another boot or
 * PID namespace is excepted: `Alive` would mean that its pid may be signalled, but here the pid can be another process's.
 */
export const holderBy = (
  record: OwnerRecord.OwnerRecord,
  answers: string | undefined
): Effect.Effect<Holder, never, ProcessTable.ProcessTable | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const holder = yield* holderOf(record)
    const self = yield* Effect.flatMap(ProcessTable.ProcessTable, (table) => table.self)
    const isHere = record.bootId === self.bootId && record.pidNamespace === self.pidNamespace
    return holder.pidMeaning === "Unknown" && isHere && answers === record.instanceId
      ? { ...holder, pidMeaning: "Alive" as const }
      : holder
  })

/**
 * Fails with the error, to which it adds the owner that the lock file names. If that owner is this instance itself, or if
 * the lock file is a symbolic link, the error stays as it was.
 */
export const withHolder = (instanceId: string) =>
(
  error: LockUnavailable
): Effect.Effect<never, LockUnavailable, FileSystem.FileSystem | ProcessTable.ProcessTable> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const isLink = Option.isSome(yield* Effect.option(fs.readLink(error.path)))
    const record = isLink ? Option.none() : yield* readOwner(error.path)
    if (Option.isNone(record) || record.value.instanceId === instanceId) return yield* error
    return yield* new LockUnavailable({
      path: error.path,
      reason: error.reason,
      holder: yield* holderOf(record.value),
      ...(error.cause === undefined ? {} : { cause: error.cause })
    })
  })
