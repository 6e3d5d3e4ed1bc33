/**
 * Who holds a lock? Reads the record of a lock file without taking part in the locking, and tells what its pid means here.
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
import { linkTarget } from "./Snapshot.ts"

/**
 * Reads a lock file without taking part in the locking. Never fails: `None` for one that is absent, cannot be read or is not
 * a record. That it has an owner does not say that the owner lives.
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
      // "No information" by contract: absent, unreadable and torn are the same to a reader.
      Effect.orElseSucceed(() => Option.none())
    ))

/**
 * As `readOwner`, of the gateway that these paths name: from the lock of its config, then from the lock of the state directory,
 * if that names the same config. After a link in the config's path was changed, the owner is in the second only, and the first
 * is absent or was left by an owner that did not end in order.
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

/** Why a pid cannot be told about, where the record itself says it. */
const elsewhere = (self: OwnerRecord.ProcessIdentity, record: OwnerRecord.OwnerRecord): PidMeaning => {
  const differ = (a: string | undefined, b: string | undefined) => a !== undefined && b !== undefined && a !== b
  // Every machine's first namespace has the same name: the boot tells more, and goes first.
  if (differ(self.bootId, record.bootId)) return "OtherBoot"
  return differ(self.pidNamespace, record.pidNamespace) ? "OtherPidNamespace" : "Unknown"
}

/**
 * Who a record names, whose number its pid is here, and its command and unit where it is that very process's.
 */
export const holderOf = (
  record: OwnerRecord.OwnerRecord
): Effect.Effect<Holder, never, ProcessTable.ProcessTable | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable.ProcessTable
    const liveness = yield* table.liveness(record)
    // Asked only of the recorded process: under any other verdict the command is a stranger's.
    const command = liveness === "Alive" ? yield* table.commandName(record.pid) : Option.none<string>()
    const unit = liveness === "Alive" && record.supervisor === "systemd"
      ? yield* ServiceUnit.ofProcess(record.pid)
      : Option.none()
    return {
      ...OwnerRecord.toHolder(record, Option.getOrUndefined(command)),
      ...(Option.isSome(unit) ? { unit: unit.value } : {}),
      pidMeaning: liveness === "Unknown" ? elsewhere(yield* table.self, record) : liveness
    }
  })

/**
 * `holderOf`, with what the instance says that answers on a port: one that answers under the record's name lives, though the
 * system does not tell in time, unless the record is of another machine.
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

/** Adds the owner that the file names to the error, unless that is this start itself. A link is not followed. */
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
