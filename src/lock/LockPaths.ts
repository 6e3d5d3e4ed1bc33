/**
 * The paths of a gateway's lock files, and whether the record in a lock file names that gateway.
 */
import { createHash } from "node:crypto"
import * as NodePath from "node:path"
import { foldPath } from "../host/NativeFiles.ts"
import type { LockFileOptions } from "./LockFileOptions.ts"
import type * as OwnerRecord from "./OwnerRecord.ts"

/** The folder of the lock files: `<state-dir>/locks`. */
export const lockFolder = ({ stateDir }: Pick<LockFileOptions, "stateDir">): string => NodePath.join(stateDir, "locks")

/**
 * The path of the config's lock file:
 * `<state-dir>/locks/gateway.<first 8 hex digits of SHA-256 of the canonical config path>.lock`.
 *
 * @since 0.1.0
 * @category paths
 */
export const configLockPath = (options: Pick<LockFileOptions, "stateDir" | "configPath">): string =>
  NodePath.join(
    lockFolder(options),
    `gateway.${createHash("sha256").update(options.configPath).digest("hex").slice(0, 8)}.lock`
  )

/**
 * The path of the state directory's lock file: `<state-dir>/locks/gateway.state.lock`.
 *
 * @since 0.1.0
 * @category paths
 */
export const stateLockPath = (options: Pick<LockFileOptions, "stateDir">): string =>
  NodePath.join(lockFolder(options), "gateway.state.lock")

/**
 * Identifies a gateway by its state directory and the path of its config file. `configPath` is that path with its symbolic
 * links resolved; the config's lock file is named after it. `configName` is the path with its links unresolved. If a link
 * is changed while a gateway runs, `configPath` changes, but `configName` still matches the one in the gateway's record.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigNames = Pick<LockFileOptions, "stateDir" | "configPath" | "configName">

/**
 * Whether a lock file's record belongs to the gateway that these paths name. Pure. Ignores the case of letters on macOS
 * and Windows, because their file systems do. `platform` is a value of `process.platform`.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isNamedBy = (
  record: Pick<OwnerRecord.OwnerRecord, "configPath" | "configName">,
  { configName, configPath }: Pick<ConfigNames, "configPath" | "configName">,
  platform: string = process.platform
): boolean => {
  const same = (one: string, other: string) => foldPath(platform, one) === foldPath(platform, other)
  return same(record.configPath, configPath)
    || (record.configName !== undefined && same(record.configName, configName ?? configPath))
}
