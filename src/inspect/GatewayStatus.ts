/**
 * The present state of a gateway: the lock, its owner, the port, and a verdict on all of them. This is the answer to
 * `gateway status`, and programs can use it as well.
 *
 * Inspecting changes nothing: no file is created, written or removed, and no process is signalled.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as NodePath from "node:path"
import { type Address, toUrl } from "../Address.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { realPath } from "../host/NativeFiles.ts"
import { OpenLockFiles } from "../host/OpenLockFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { type PortBlocker, PortOwners } from "../host/PortOwners.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import { Patience, ProcessTable } from "../host/ProcessTable.ts"
import * as LockFile from "../lock/LockFile.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import type { LookOptions } from "./askPort.ts"
import { fromRecord } from "./leaseFromRecord.ts"
import { describeLock, look, ownerOf, type Target } from "./look.ts"
import type { GatewayStatus, Owner, Port } from "./StatusModel.ts"

export type { LookOptions } from "./askPort.ts"
/** @internal */
export { type Evidence, judge, type Judgement } from "./judge.ts"
export {
  Blocked,
  GatewayStatus,
  type GatewayStatusEncoded,
  Health,
  Lease,
  type LeaseEncoded,
  Listener,
  Lock,
  type LockEncoded,
  Owner,
  type OwnerEncoded,
  Port,
  Service,
  StateLock,
  type StateLockEncoded,
  Verdict
} from "./StatusModel.ts"

/**
 * The services that inspecting needs from the machine.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | FileSystem.FileSystem
  | KernelLock
  | ProcessTable
  | ProbeTransport
  | PortOwners
  | PlatformFolders
  | OpenLockFiles

/**
 * Which gateway to inspect.
 *
 * @since 0.1.0
 * @category models
 */
export interface InspectOptions extends LookOptions, Address {
  /** The profile to show in the result. No file is looked up by this name. */
  readonly profile?: string | undefined
  /** The canonical path of the config file. */
  readonly configPath: string
  /** The path of the config file as the settings name it: symbolic links are not resolved. Default: `configPath`. */
  readonly configName?: string | undefined
  /** The canonical path of the state directory. */
  readonly stateDir: string
  /** The problems that were found in the settings. The resulting `GatewayStatus` lists them in its own `warnings`. */
  readonly warnings?: ReadonlyArray<string> | undefined
}

/** The profile that has this state directory by the platform's folder conventions. `None` if the directory belongs to no profile. */
const profileOf = (stateDir: string) =>
  Effect.gen(function*() {
    const folders = yield* PlatformFolders
    if (Either.isLeft(folders.stateRoot)) return Option.none()
    const stateRoot = folders.stateRoot.right
    const root = yield* Effect.orElseSucceed(realPath(stateRoot), () => stateRoot)
    return NodePath.dirname(stateDir) === root || NodePath.dirname(stateDir) === stateRoot
      ? Option.some(NodePath.basename(stateDir))
      : Option.none()
  })

const describeOwner = ({ holder, record }: LockInspection.Owner) =>
  Effect.map(profileOf(record.stateDir), (profile): Owner => ({
    ...holder,
    ...(Option.isSome(profile) ? { profile: profile.value } : {}),
    supervisor: record.supervisor,
    ...(record.mode === undefined ? {} : { mode: record.mode }),
    ...(record.lease === undefined ? {} : { leaseName: record.lease.name }),
    ...(record.supervisorReason === undefined ? {} : { supervisorReason: record.supervisorReason })
  }))

/** The lease of a present owner. What a former owner led is over. */
const describeLease = (
  state: LockInspection.LockState,
  owner: LockInspection.Owner | undefined
): Pick<GatewayStatus, "lease"> => {
  const lease = state._tag === "Held" || state._tag === "Unknown" ? owner?.record.lease : undefined
  return lease === undefined ? {} : { lease: fromRecord(lease) }
}

/**
 * Whether the inspected gateway itself holds the lock of the state directory, and not a gateway with another config. This is so if
 * both lock files have records with the same instance id, or if the state directory's record names the inspected config file.
 */
const isSameGateway = (
  { configName, configPath }: Target,
  owner: LockInspection.Owner | undefined,
  { record }: LockInspection.Owner,
  platform: string
): boolean =>
  record.instanceId === owner?.record.instanceId
  || (configPath !== undefined && LockFile.isNamedBy(record, { configName, configPath }, platform))

/** The lock of the state directory, if a process holds that lock and the lock's record is readable. */
const stateHolder = (target: Target) =>
  Effect.gen(function*() {
    const path = LockFile.stateLockPath(target)
    const state = yield* LockInspection.inspect(path)
    const owner = ownerOf(state)
    return state._tag === "Held" && owner !== undefined ? Option.some({ path, state, owner }) : Option.none()
  })

const differs = (target: Target, port: Port | undefined): ReadonlyArray<string> => {
  const { address } = target
  return port?.from !== "owner" || address === undefined || address.port === 0
      || (port.port === address.port && port.host === address.host)
    ? []
    : [`the settings say ${toUrl(address)}, but the owner uses ${toUrl(port)}`]
}

/**
 * Limits how long an inspection waits for an answer of the operating system: at most as long as for a health probe. On Windows, for
 * example, a question about a process starts PowerShell, which can take seconds.
 */
const withinProbe = ({ health }: LookOptions) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Patience,
    (patience) =>
      Effect.provideService(self, Patience, Duration.min(patience, health?.probeTimeout ?? HealthProbe.defaultTimeout))
  )

/** The processes that hold the kernel lock although the recorded owner has ended. They inherited its open lock file. */
const inheritors = (path: string, state: LockInspection.LockState) =>
  Effect.gen(function*() {
    if (state._tag !== "Held" || state.enforcement !== "kernel") return {}
    if (!Option.exists(state.owner, ({ holder }) => holder.pidMeaning === "Gone")) return {}
    const pids = yield* Effect.flatMap(OpenLockFiles, ({ holders }) => holders(path))
    const table = yield* ProcessTable
    const holders = yield* Effect.forEach(pids, (pid) =>
      Effect.map(
        table.commandName(pid),
        (command) => Option.isNone(command) ? { pid } : { pid, command: command.value }
      ))
    return holders.length === 0 ? {} : { holders }
  })

const answer = (target: Target): Effect.Effect<GatewayStatus, never, Requirements> =>
  Effect.gen(function*() {
    const [{ asked, health, owner, reason, state, verdict }, holder] = yield* Effect.all([
      look(target),
      stateHolder(target)
    ], {
      concurrency: "unbounded"
    })
    const platform = yield* HostPlatform
    const other = Option.filter(holder, (holder) => !isSameGateway(target, owner, holder.owner, platform))
    const isWanted = asked?.port.state === "free" && (verdict === "dead" || verdict === "not-running")
      && target.listeners !== false
    const blocked = isWanted
      ? yield* Effect.flatMap(PortOwners, ({ blocker }) => blocker(asked.port))
      : Option.none<PortBlocker>()
    const configPath = target.configPath ?? owner?.record.configPath
    return {
      version: 1,
      asOf: yield* DateTime.now,
      verdict,
      reason,
      ...(target.profile === undefined ? {} : { profile: target.profile }),
      ...(configPath === undefined ? {} : { configPath }),
      stateDir: target.stateDir,
      lock: { ...describeLock(target.lockPath, state), ...(yield* inheritors(target.lockPath, state)) },
      ...(owner === undefined ? {} : { owner: yield* describeOwner(owner) }),
      ...describeLease(state, owner),
      ...(Option.isSome(other)
        ? {
          stateLock: {
            ...describeLock(other.value.path, other.value.state),
            owner: yield* describeOwner(other.value.owner)
          }
        }
        : {}),
      ...(asked === undefined ? {} : {
        port: Option.isNone(blocked) ? asked.port : { ...asked.port, blocked: blocked.value }
      }),
      ...(health === undefined ? {} : { health }),
      warnings: [...target.warnings, ...differs(target, asked?.port)]
    } satisfies GatewayStatus
  }).pipe(withinProbe(target))

/**
 * Inspects the gateway that these settings name.
 *
 * Never fails: the answer says what could not be read. Probes the gateway at most twice. Each probe, and each question to the
 * operating system about processes or ports, has a time limit.
 *
 * @since 0.1.0
 * @category reading
 */
export const inspect = (options: InspectOptions): Effect.Effect<GatewayStatus, never, Requirements> =>
  Effect.flatMap(
    Effect.provideService(LockInspection.lockPathOf(options), Patience, Duration.zero),
    (lockPath) =>
      answer({
        ...options,
        lockPath,
        profile: options.profile,
        address: { host: options.host, port: options.port },
        warnings: options.warnings ?? []
      })
  )

/**
 * Inspects the gateway of a lock file. This is for callers that know only the path of that file, and not the settings of the
 * gateway. The path has the form `<state directory>/locks/gateway.<8 hex digits>.lock` or
 * `<state directory>/locks/gateway.state.lock`.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { Gateway, GatewayStatus } from "gateway-lock"
 *
 * const program = GatewayStatus.inspectLock("/var/lib/importer/locks/gateway.state.lock").pipe(
 *   Effect.flatMap(({ reason, verdict }) => Console.log(`${verdict}: ${reason}`)),
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category reading
 */
export const inspectLock = (
  lockPath: string,
  options: LookOptions = {}
): Effect.Effect<GatewayStatus, never, Requirements> =>
  Effect.gen(function*() {
    const stateDir = NodePath.dirname(NodePath.dirname(lockPath))
    return yield* answer({
      ...options,
      lockPath,
      stateDir,
      configPath: undefined,
      profile: Option.getOrUndefined(yield* profileOf(stateDir)),
      address: undefined,
      warnings: []
    })
  })
