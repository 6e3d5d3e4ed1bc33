/**
 * Holds a gateway's lock files from acquisition to release.
 *
 * Two files in `<state-dir>/locks`: one per config, so that one config runs once, and one for the state
 * directory, so that two configs do not share it.
 *
 * **Guarantees.** On a file system with locks, at most one process of one kernel holds a lock file, and the lock
 * ends with its process, however it ends. **Does not guarantee** exclusion between machines that share a folder,
 * nor, in record-only mode, against a holder whose liveness cannot be told; the port is the second lock then.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as NodePath from "node:path"
import type { Address } from "../Address.ts"
import { type Holder, LockHeld, LockLost, LockUnavailable, type PidMeaning, PortInUse } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { InstanceId } from "../host/InstanceId.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { isMomentaryCause } from "../host/momentary.ts"
import { foldPath } from "../host/NativeFiles.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import { atMost } from "../internal/atMost.ts"
import { describeDefect, describePlatformError } from "../internal/describeError.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import { once } from "../internal/once.ts"
import { whileNot } from "../internal/whileNot.ts"
import { lookAt } from "../probe/AddressProbe.ts"
import { HealthProbe, make as makeHealthProbe } from "../probe/HealthProbe.ts"
import { make as makePortProbe, PortProbe, type PortState } from "../probe/PortProbe.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { apart, spanned } from "../telemetry/spans.ts"
import * as HeldLock from "./HeldLock.ts"
import * as History from "./History.ts"
import * as LockAttempt from "./LockAttempt.ts"
import * as LockFolder from "./LockFolder.ts"
import { LossReport } from "./LossReport.ts"
import * as OwnerRecord from "./OwnerRecord.ts"
import { linkTarget } from "./Snapshot.ts"
import * as Staleness from "./Staleness.ts"

export type { Enforcement } from "./Snapshot.ts"

/**
 * Which lock files, and how patiently. Times may be given in any form of `Duration.DurationInput`; a number is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockFileOptions {
  /** Where the `locks` folder is, or will be made (mode 0700). */
  readonly stateDir: string
  /** The canonical path of the config file, which may be absent. Its hash names the lock file. */
  readonly configPath: string
  /**
   * The absolute path of the config file with its links unresolved. Readers find the owner by it when a link of it leads
   * elsewhere meanwhile, as in a folder of Kubernetes or of releases. Default: `configPath`.
   */
  readonly configName?: string | undefined
  /** What will be served under the lock. Without it no port is asked while waiting. */
  readonly address?: Address | undefined
  /** Whether that address is a socket of ours already, passed by a supervisor: then it is not asked either. */
  readonly isPassedSocket?: boolean | undefined
  /** How long to wait for an owner that does not serve our port. Default 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How often to try again meanwhile. Default 100 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How old an unreadable or unverifiable record must be before it can be stale, in record-only mode. Default 30 seconds. */
  readonly staleAfter?: Duration.DurationInput | undefined
  /**
   * How often the holder checks that the files are still its own, restores lost ones, and keeps them young; at least three
   * times within `staleAfter`, which wins where the two contradict each other. Default 30 seconds.
   */
  readonly recheckInterval?: Duration.DurationInput | undefined
  /** Run before a wait and its log line: for what the start will need and may not find later. Default nothing. */
  readonly beforeWaiting?: Effect.Effect<void> | undefined
  /** Who started us, for the record. Default `none`. */
  readonly supervisor?: string | undefined
  /** Why we think so, for the record. */
  readonly supervisorReason?: string | undefined
}

/**
 * What holds where an option is left out.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  timeout: Duration.seconds(5),
  pollInterval: Duration.millis(100),
  staleAfter: Duration.seconds(30),
  recheckInterval: Duration.seconds(30)
} as const

/**
 * The lock, held: what it says of us, and that it is still ours.
 *
 * @since 0.1.0
 * @category tags
 */
export class LockFile extends Context.Tag("gateway-lock/LockFile")<LockFile, {
  /** The lock file of this config. */
  readonly path: string
  /** New for every acquisition; `/healthz` shows the same one. */
  readonly instanceId: string
  /** What kept others out when it was taken: the kernel, or only the record. */
  readonly enforcement: LockAttempt.Enforcement
  /** What our lock files say now. */
  readonly record: Effect.Effect<OwnerRecord.OwnerRecord>
  /** Tells readers of the lock files how far we are. Never fails: a record that cannot be rewritten is logged. */
  readonly update: (
    change: Partial<Pick<OwnerRecord.OwnerRecord, "phase" | "host" | "port">>
  ) => Effect.Effect<void>
  /** When the start began that acquired the lock, after waiting for it where need be: ISO 8601, UTC. */
  readonly startedAt: string
  /** When the lock was acquired, both of its files: ISO 8601, UTC. The record's `createdAt`. */
  readonly heldSince: string
  /** What has happened since the start began, the last of it. */
  readonly history: History.History["changes"]
  /** Never succeeds; fails once the lock turns out to be lost. Race the running program with it. */
  readonly lost: Effect.Effect<never, LockLost>
  /** Completes once the lock turns out to be lost. */
  readonly whenLost: Effect.Effect<Loss>
}>() {}

/**
 * How a lock was lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loss {
  readonly error: LockLost
  /** Whether something waited for `lost` at that moment, as `Gateway.launch` and `whileHeld` do. */
  readonly isWatched: boolean
  /** Releases what is still held, such as the lock of the state directory. Otherwise the end of the scope does. */
  readonly release: Effect.Effect<void>
}

/**
 * `<state-dir>/locks/gateway.<first 8 hex digits of SHA-256 of the canonical config path>.lock`
 *
 * @since 0.1.0
 * @category paths
 */
export const configLockPath = (options: Pick<LockFileOptions, "stateDir" | "configPath">): string =>
  NodePath.join(
    options.stateDir,
    "locks",
    `gateway.${createHash("sha256").update(options.configPath).digest("hex").slice(0, 8)}.lock`
  )

/**
 * `<state-dir>/locks/gateway.state.lock`
 *
 * @since 0.1.0
 * @category paths
 */
export const stateLockPath = (options: Pick<LockFileOptions, "stateDir">): string =>
  NodePath.join(options.stateDir, "locks", "gateway.state.lock")

/** The file system refuses for a moment (`isMomentary`). Internal to this module. */
class Refused {
  readonly _tag = "Refused"
  readonly error: LockUnavailable
  constructor(error: LockUnavailable) {
    this.error = error
  }
}

/** Somebody else has it, and may still end. Never leaves this module. */
class NotYet {
  readonly _tag = "NotYet"
  readonly snapshot: LockAttempt.Snapshot
  constructor(snapshot: LockAttempt.Snapshot) {
    this.snapshot = snapshot
  }
}

type Requirements = FileSystem.FileSystem | KernelLock | ProcessTable.ProcessTable | PortProbe | HealthProbe

/** A file that is ours, and how it came to be. */
interface Acquired {
  readonly file: LockAttempt.HeldFile
  readonly reclaimed: Option.Option<Reclaimed>
}

type Reclaimed = LockAttempt.Leftover & {
  readonly path: string
  readonly reason: keyof typeof reclaimLabels
}

/** The reason in a log line, and as a label. */
const reclaimLabels = {
  "its kernel lock is free": "kernel_lock_free",
  "names this process": "names_this_process",
  "no readable owner": "no_readable_owner",
  "owner gone": "owner_gone",
  "port free": "port_free"
} as const satisfies Record<Staleness.ReclaimReason | "its kernel lock is free", Metrics.LockReclaimReason>

const addressToAsk = (options: LockFileOptions): Address | undefined =>
  options.isPassedSocket === true ? undefined : options.address

const sameAddress = (a: Address, b: Address) => a.host === b.host && a.port === b.port

/**
 * What our own port's occupant is called in a `PortInUse`. The record is shown as the holder only where it is the
 * listener's: by the listener's own word, or because it means to serve this very port and nothing contradicts it.
 */
const portInUse = (
  address: Address,
  state: Exclude<PortState, { readonly _tag: "Free" }>,
  holder: Option.Option<Holder>
): PortInUse => {
  const listener = state.detail
  const shown = Option.filter(holder, (holder) =>
    state._tag === "Gateway"
      ? state.instanceId !== undefined && holder.instanceId === state.instanceId
      : state._tag === "Stalled" && holder.port === address.port)
  return new PortInUse({
    ...address,
    listener,
    ...(Option.isSome(shown) ? { holder: shown.value } : {})
  })
}

const describeOwner = (record: Option.Option<OwnerRecord.OwnerRecord>): string =>
  Option.match(record, {
    onNone: () => "an owner that left no readable record",
    onSome: ({ phase, pid }) => `pid ${pid} (${phase})`
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
 *
 * @internal
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
const holderBy = (record: OwnerRecord.OwnerRecord, answers: string | undefined) =>
  Effect.gen(function*() {
    const holder = yield* holderOf(record)
    const self = yield* Effect.flatMap(ProcessTable.ProcessTable, (table) => table.self)
    const isHere = record.bootId === self.bootId && record.pidNamespace === self.pidNamespace
    return holder.pidMeaning === "Unknown" && isHere && answers === record.instanceId
      ? { ...holder, pidMeaning: "Alive" as const }
      : holder
  })

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
 * Which gateway: by its config file's canonical path, which names the lock, or by the path as it was given.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigNames = Pick<LockFileOptions, "stateDir" | "configPath" | "configName">

/**
 * Whether a record is of the gateway that these paths name. Pure. On macOS and Windows, whose file systems ignore case, so does
 * this: `platform` is as `process.platform` has it.
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

/** Adds the owner that the file names to the error, unless that is this start itself. A link is not followed. */
const withHolder = (instanceId: string) =>
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

/**
 * Fails with `PortInUse` if our own port is occupied, naming the lock's owner where that is who answers.
 *
 * Cheaper than taking the lock, and touches nothing: a start asks this first.
 *
 * @since 0.1.0
 * @category checks
 */
export const ensurePortFree = (
  options: LockFileOptions
): Effect.Effect<void, PortInUse, FileSystem.FileSystem | PortProbe | ProcessTable.ProcessTable> =>
  Effect.gen(function*() {
    const address = addressToAsk(options)
    if (address === undefined) return
    const state = yield* Effect.flatMap(PortProbe, (probe) => probe.probe(address))
    if (state._tag === "Free") return
    const owners = yield* readOwnersOf(options)
    const answers = state._tag === "Gateway" ? state.instanceId : undefined
    const record = Option.fromNullable(owners.find(({ instanceId }) => instanceId === answers) ?? owners[0])
    const holder = Option.isSome(record) ? Option.some(yield* holderBy(record.value, answers)) : Option.none<Holder>()
    return yield* portInUse(address, state, holder)
  }).pipe(Effect.provideService(ProcessTable.Patience, Duration.zero))

const isPassing = (error: NotYet | Refused | PortInUse | LockHeld | LockUnavailable): error is NotYet | Refused =>
  error._tag === "NotYet" || error._tag === "Refused"

const acquire = (
  path: string,
  options: LockFileOptions,
  /** What the attempt that begins now writes; told whether it is the first one. */
  recordOf: (isFirst: boolean) => Effect.Effect<OwnerRecord.OwnerRecord>,
  isLockable: boolean,
  /** How much longer this start may wait. */
  patience: Ref.Ref<Duration.Duration>
): Effect.Effect<Acquired, PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const table = yield* ProcessTable.ProcessTable
    const ports = yield* PortProbe
    const health = yield* HealthProbe
    const timeout = Duration.decode(options.timeout ?? defaults.timeout)
    const pollInterval = Duration.decode(options.pollInterval ?? defaults.pollInterval)
    const staleAfter = Duration.decode(options.staleAfter ?? defaults.staleAfter)

    /** Since when, on the monotonic clock, an owner has been seen alive and listening on paper with a free port. */
    const silent = yield* Ref.make(Option.none<{ readonly instanceId: string; readonly since: bigint }>())

    const silentFor = (record: Option.Option<OwnerRecord.OwnerRecord>, isSilent: boolean) =>
      Effect.gen(function*() {
        if (!isSilent || Option.isNone(record)) {
          yield* Ref.set(silent, Option.none())
          return Duration.zero
        }
        const { instanceId } = record.value
        const now = yield* Clock.currentTimeNanos
        const before = Option.filter(yield* Ref.get(silent), (seen) => seen.instanceId === instanceId)
        if (Option.isNone(before)) yield* Ref.set(silent, Option.some({ instanceId, since: now }))
        return Option.match(before, { onNone: () => Duration.zero, onSome: ({ since }) => Duration.nanos(now - since) })
      })

    /** Record-only: may it be taken from its owner? Under a kernel lock the owner lives. */
    const judge = (snapshot: LockAttempt.Snapshot) =>
      Effect.gen(function*() {
        const { record } = snapshot
        const port = Option.isSome(record) ? yield* ports.probe(OwnerRecord.address(record.value)) : undefined
        const owner = Option.isSome(record) ? yield* table.liveness(record.value) : "Unknown"
        const sameNetwork = Option.isSome(record) && owner === "Alive"
          && (yield* table.network(record.value.pid)) === "Same"
        // An address that nothing here reaches can have a listener. A living owner may be behind it.
        const portInUse = port?._tag === "Free"
          ? owner === "Alive" && port.unreachable === true
          : port !== undefined
        return Staleness.decide({
          record,
          namesThisProcess: Option.isSome(record) && (yield* table.isLeftover(record.value)),
          owner,
          portInUse,
          sameNetwork,
          age: snapshot.age,
          silentFor: yield* silentFor(
            record,
            sameNetwork && !portInUse && Option.exists(record, ({ phase }) => phase === "listening")
          ),
          staleAfter
        })
      })

    /** A reclaimer has no port: the process table, or where that cannot tell, only time. */
    const isAbandoned = ({ age, record }: LockAttempt.Snapshot) =>
      Effect.gen(function*() {
        if (Option.isSome(record)) {
          if (yield* table.isLeftover(record.value)) return true
          const owner = yield* table.liveness(record.value)
          if (owner !== "Unknown") return owner === "Gone"
        }
        return Duration.greaterThan(age, staleAfter)
      })

    /** Nothing to wait for: our port is taken, or the owner serves, healthy, somewhere else. */
    const failIfServing = (snapshot: LockAttempt.Snapshot) =>
      Effect.gen(function*() {
        const { record } = snapshot
        const address = addressToAsk(options)
        if (address !== undefined) {
          const state = yield* ports.probe(address)
          if (state._tag !== "Free") {
            // The lock may have changed hands between our reading and our asking.
            const isListener = state._tag !== "Gateway"
              || Option.exists(record, ({ instanceId }) => instanceId === state.instanceId)
            const owner = isListener ? record : yield* readOwner(path)
            const answers = state._tag === "Gateway" ? state.instanceId : undefined
            const holder = Option.isSome(owner)
              ? Option.some(yield* holderBy(owner.value, answers))
              : Option.none<Holder>()
            return yield* portInUse(address, state, holder)
          }
        }
        if (Option.isNone(record) || record.value.phase !== "listening") return
        const serving = OwnerRecord.address(record.value)
        if (address !== undefined && sameAddress(address, serving)) return
        const { instanceId } = record.value
        const looks = yield* lookAt(health, serving)
        if (looks.some(({ answer }) => answer._tag === "Healthy" && answer.instanceId === instanceId)) {
          return yield* new LockHeld({ path, timeoutMs: 0, holder: yield* holderBy(record.value, instanceId), serving })
        }
      })

    const attempt = (record: OwnerRecord.OwnerRecord, reclaim: Option.Option<LockAttempt.Snapshot>) =>
      LockAttempt.attempt({ path, record: (lock) => ({ ...record, lock }), reclaim, isAbandoned, isLockable }).pipe(
        Effect.mapError((error) => isMomentaryCause(platform, error) ? new Refused(error) : error)
      )

    const tryOnce = (isFirst: boolean): Effect.Effect<
      Acquired,
      NotYet | Refused | PortInUse | LockHeld | LockUnavailable,
      Requirements | Scope.Scope
    > =>
      Effect.gen(function*() {
        const record = yield* recordOf(isFirst)
        const first = yield* attempt(record, Option.none())
        if (first._tag === "Mine") {
          return {
            file: first.file,
            reclaimed: Option.map(
              first.file.leftover,
              (leftover) => ({ ...leftover, path, reason: "its kernel lock is free" as const })
            )
          }
        }
        yield* failIfServing(first.snapshot)
        if (first.snapshot.enforcement === "kernel") return yield* Effect.fail(new NotYet(first.snapshot))
        const verdict = yield* judge(first.snapshot)
        if (verdict._tag === "Wait") return yield* Effect.fail(new NotYet(first.snapshot))
        const second = yield* attempt(record, Option.some(first.snapshot))
        if (second._tag === "Held") return yield* Effect.fail(new NotYet(second.snapshot))
        return {
          file: second.file,
          reclaimed: Option.map(second.file.leftover, (leftover) => ({ ...leftover, path, reason: verdict.reason }))
        }
      })

    const gaveUp = (snapshot: LockAttempt.Snapshot) =>
      Effect.gen(function*() {
        const { record } = snapshot
        return new LockHeld({
          path,
          timeoutMs: Duration.toMillis(timeout),
          ...(Option.isSome(record) ? { holder: yield* holderOf(record.value) } : {})
        })
      })

    /** What a wait that is over fails with. */
    const giveUp = (
      last: NotYet | Refused
    ): Effect.Effect<never, LockHeld | LockUnavailable, FileSystem.FileSystem | ProcessTable.ProcessTable> =>
      last._tag === "Refused" ? Effect.fail(last.error) : Effect.flatMap(gaveUp(last.snapshot), Effect.fail)

    const wait = (first: NotYet | Refused, left: Duration.Duration) =>
      Effect.gen(function*() {
        const last = yield* Ref.make(first)
        yield* options.beforeWaiting ?? Effect.void
        yield* Effect.logInfo(
          `waiting up to ${Math.round(Duration.toMillis(left))}ms for gateway lock ${path}${
            first._tag === "Refused" ? `: ${first.error.reason}` : `, held by ${describeOwner(first.snapshot.record)}`
          }`
        )
        return yield* tryOnce(false).pipe(
          Effect.tapError((error) => isPassing(error) ? Ref.set(last, error) : Effect.void),
          Effect.retry({ schedule: Schedule.spaced(pollInterval), while: isPassing }),
          // The first attempt has just been made.
          Effect.delay(pollInterval),
          Effect.catchTags({ NotYet: giveUp, Refused: giveUp }),
          Effect.timeoutTo({
            duration: left,
            onSuccess: Effect.succeed,
            onTimeout: () => Effect.flatMap(Ref.get(last), giveUp)
          }),
          Effect.flatten,
          Effect.timed,
          Effect.tap(([waited]) => Ref.set(patience, Duration.subtract(left, waited))),
          Effect.map(([, acquired]) => acquired),
          Metrics.during(Metric.tagged(Metrics.lockWaiters, "for", "lock"))
        )
      })

    const waitUnlessImpatient = (first: NotYet | Refused) =>
      Effect.flatMap(
        Ref.get(patience),
        (left) => Duration.equals(left, Duration.zero) ? giveUp(first) : wait(first, left)
      )

    return yield* tryOnce(true).pipe(
      Effect.catchTags({ NotYet: waitUnlessImpatient, Refused: waitUnlessImpatient })
    )
  })

const describeReclaim = (reclaimed: Reclaimed): string =>
  `reclaimed gateway lock ${reclaimed.path} left by ${
    Option.match(reclaimed.record, {
      onNone: () => "an owner that left no readable record",
      onSome: ({ createdAt, pid }) => `pid ${pid} since ${createdAt}`
    })
  }, last touched ${Duration.format(Duration.seconds(Math.floor(Duration.toSeconds(reclaimed.age))))} ${
    reclaimed.isAhead === true ? "ahead of this clock" : "ago"
  }: ${reclaimed.reason}`

type AcquireError = PortInUse | LockHeld | LockUnavailable

const verdictLabels = {
  PortInUse: "port_in_use",
  LockHeld: "lock_held",
  LockUnavailable: "lock_unavailable"
} as const satisfies Record<AcquireError["_tag"], Metrics.LockVerdict>

const verdictOf = (cause: Cause.Cause<AcquireError>): Metrics.LockVerdict =>
  Option.match(Cause.failureOption(cause), {
    onSome: (error) => verdictLabels[error._tag],
    onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "defect"
  })

const holderPid = (cause: Cause.Cause<AcquireError>): number | undefined =>
  Option.getOrUndefined(
    Option.flatMapNullable(
      Cause.failureOption(cause),
      (error) => error._tag === "LockUnavailable" ? undefined : error.holder?.pid
    )
  )

/** Tells how it ended: as metrics, and on the present span. */
const recordAcquire = (exit: Exit.Exit<unknown, AcquireError>, seconds: number): Effect.Effect<void> => {
  const verdict = Exit.match(exit, { onSuccess: () => "acquired" as const, onFailure: verdictOf })
  const pid = Exit.match(exit, { onSuccess: () => undefined, onFailure: holderPid })
  return Effect.all([
    Metric.increment(Metric.tagged(Metrics.lockAcquireTotal, "verdict", verdict)),
    Metric.update(Metrics.lockAcquireSeconds, seconds),
    Effect.annotateCurrentSpan({
      "gateway.lock.verdict": verdict,
      ...(pid === undefined ? {} : { "gateway.lock.holder.pid": pid })
    })
  ], { discard: true })
}

const recordReclaim = ({ reason }: Reclaimed): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.increment(Metric.tagged(Metrics.lockReclaimTotal, "reason", reclaimLabels[reason])),
    Effect.annotateCurrentSpan("gateway.lock.reclaim.reason", reclaimLabels[reason])
  )

/** Makes the folder. Where the file system refuses for a moment, it is tried again, and the start has that much less patience. */
const ensureFolder = (path: string, options: LockFileOptions, patience: Ref.Ref<Duration.Duration>) =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const ensure = LockFolder.ensure(path)
    const isPassing = (error: LockUnavailable) => isMomentaryCause(platform, error)
    const again = Effect.gen(function*() {
      const left = yield* Ref.get(patience)
      const [waited] = yield* ensure.pipe(
        Effect.retry({
          schedule: Schedule.spaced(options.pollInterval ?? defaults.pollInterval).pipe(Schedule.upTo(left)),
          while: isPassing
        }),
        Effect.timed
      )
      yield* Ref.set(patience, Duration.subtract(left, waited))
    })
    yield* Effect.catchIf(ensure, isPassing, () => again)
  })

/** Both lock files, held until the scope closes, and the record that goes into them. */
const acquireBoth = (options: LockFileOptions) =>
  Effect.gen(function*() {
    const table = yield* ProcessTable.ProcessTable
    const context = yield* Effect.context<ProcessTable.ProcessTable | FileSystem.FileSystem>()
    const path = configLockPath(options)

    yield* ensurePortFree(options)
    const patience = yield* Ref.make(Duration.decode(options.timeout ?? defaults.timeout))
    yield* ensureFolder(path, options, patience)

    const instanceId = yield* Effect.flatten(InstanceId)
    const identity = yield* table.self
    const now = Effect.map(DateTime.now, DateTime.formatIso)
    const startedAt = yield* now
    const base: OwnerRecord.OwnerRecord = {
      version: 1,
      instanceId,
      ...identity,
      createdAt: startedAt,
      configPath: options.configPath,
      configName: options.configName ?? options.configPath,
      stateDir: options.stateDir,
      host: options.address?.host ?? "",
      port: options.address?.port ?? 0,
      phase: "starting",
      supervisor: options.supervisor ?? "none",
      ...(options.supervisorReason === undefined ? {} : { supervisorReason: options.supervisorReason })
    }
    const record = yield* Ref.make(base)
    const history = yield* History.make(startedAt)
    const recordNow = Effect.flatMap(
      now,
      (createdAt) => Ref.updateAndGet(record, (record) => ({ ...record, createdAt }))
    )
    const hold = (
      path: string,
      recordOf: (isFirst: boolean) => Effect.Effect<OwnerRecord.OwnerRecord>,
      isLockable: boolean
    ) =>
      HeldLock.make({
        path,
        acquire: Effect.catchTag(
          acquire(path, options, recordOf, isLockable, patience),
          "LockUnavailable",
          withHolder(instanceId)
        ),
        record: Ref.get(record),
        holderOf: (record) => Effect.provide(holderOf(record), context),
        recheckInterval: Duration.decode(options.recheckInterval ?? defaults.recheckInterval),
        staleAfter: Duration.decode(options.staleAfter ?? defaults.staleAfter),
        // A start that took a name of ours for free waits so long for the other one; a standby's own wait is elsewhere.
        patience: Duration.max(options.timeout ?? defaults.timeout, defaults.timeout),
        pollInterval: Duration.decode(options.pollInterval ?? defaults.pollInterval),
        note: history.note
      })

    yield* table.noteRelease(instanceId)
    const config = yield* hold(path, () => recordNow, false)
    const configLocked = yield* Ref.get(record)
    const state = yield* hold(
      stateLockPath(options),
      // Both files say the same, unless this one had to be waited for: then the lock, which is both, was acquired later.
      (isFirst) => isFirst ? Effect.succeed(configLocked) : recordNow,
      // In the same folder.
      config.acquired.file.enforcement === "kernel"
    )
    const { createdAt } = yield* Ref.get(record)
    // Harmless where it fails: the next look at the file writes it again.
    if (createdAt !== configLocked.createdAt) yield* Effect.ignore(config.write)
    const locks = [config, state]
    const files = [config.acquired.file, state.acquired.file]

    const recordOnly = files.find(({ enforcement }) => enforcement === "record")
    if (recordOnly !== undefined) yield* HeldLock.warnOfFallback(recordOnly)
    // A predecessor leaves both files; one line tells of it.
    const reclaimed = Option.orElse(config.acquired.reclaimed, () => state.acquired.reclaimed)
    if (Option.isSome(reclaimed)) {
      const told = describeReclaim(reclaimed.value)
      yield* Effect.logWarning(told)
      yield* history.note("reclaimed", told)
      yield* recordReclaim(reclaimed.value)
    } else {
      yield* history.note("locked")
    }
    const enforcement: LockAttempt.Enforcement = recordOnly === undefined ? "kernel" : "record"
    return { path, instanceId, record, locks, enforcement, startedAt, heldSince: createdAt, history }
  }).pipe(
    Metrics.timed(recordAcquire),
    spanned("gateway.lock.acquire", { "gateway.lock.path": configLockPath(options) })
  )

/** How long a release may take: a file system that hangs does not keep a process from ending. */
const releaseTimeout = Duration.seconds(5)

/**
 * Waits for a release, within `releaseTimeout`, and logs how the shutdown went. What has not been released by then is
 * released in the background, and by the kernel when the process ends.
 */
const releaseWithin = (
  release: Effect.Effect<void>,
  path: string,
  drainBegan: Option.Option<bigint>,
  isLost: boolean
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeNanos
    const released = yield* Effect.forkDaemon(release)
    if (Option.isNone(yield* atMost(releaseTimeout)(Fiber.await(released)))) {
      return yield* Effect.logWarning(
        `gateway lock ${path} was not released within ${
          Duration.format(releaseTimeout)
        }: the file system does not answer`
      )
    }
    if (Option.isNone(drainBegan)) return
    const drained = Duration.format(Duration.millis(Math.round(Number(now - drainBegan.value) / 1e6)))
    yield* Effect.logInfo(
      isLost
        ? `gateway stopped: drained in ${drained}`
        : `gateway stopped: drained in ${drained}, released lock ${path}`
    )
  })

/**
 * Takes both locks, in this order: config, state directory. Released in the reverse order when the scope closes, within five
 * seconds.
 *
 * Fails with `PortInUse`, at once, if our port is occupied; `LockHeld` if the owner serves another port or does not
 * end in time; `LockUnavailable` if the files cannot be used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: LockFileOptions
): Effect.Effect<LockFile["Type"], PortInUse | LockHeld | LockUnavailable, Requirements | Scope.Scope> =>
  Effect.gen(function*() {
    yield* keepInterruption
    const path = configLockPath(options)
    const reportTo = yield* LossReport
    const loss = yield* Deferred.make<Loss>()
    const drainBegan = yield* Ref.make(Option.none<bigint>())
    // What is acquired from here on is released as one, so that one bound holds for all of it.
    const scope = yield* Scope.make()
    const release = yield* once(
      Effect.flatMap(
        Effect.all([Ref.get(drainBegan), Deferred.isDone(loss)]),
        ([began, isLost]) => releaseWithin(Scope.close(scope, Exit.void), path, began, isLost)
      )
    )
    yield* Effect.addFinalizer(() => release)
    const { enforcement, heldSince, history, instanceId, locks, record, startedAt } = yield* Scope.extend(
      acquireBoth(options),
      scope
    )

    /** Fibers that wait for `lost`. */
    const watchers = yield* Ref.make(0)
    yield* Scope.extend(
      Effect.acquireRelease(
        Metric.modify(Metrics.lockHeld, 1),
        () => Effect.unlessEffect(Metric.modify(Metrics.lockHeld, -1), Deferred.isDone(loss))
      ),
      scope
    )
    const lose = (error: LockLost) =>
      Effect.gen(function*() {
        const isWatched = Option.isSome(reportTo) || (yield* Ref.get(watchers)) > 0
        if (!(yield* Deferred.succeed(loss, { error, isWatched, release }))) return
        yield* Effect.logError(error.message)
        yield* history.note("lost", error.message)
        yield* Metric.increment(Metrics.lockLostTotal)
        yield* Metric.modify(Metrics.lockHeld, -1)
        if (Option.isSome(reportTo)) yield* reportTo.value(error)
      }).pipe(Effect.uninterruptible)
    // Each on its own: one that waits for its name does not keep the other from being looked after.
    yield* Effect.forEach(locks, ({ watch }) =>
      watch.pipe(
        Effect.catchAll(lose),
        // A lock that is no longer checked is as good as lost.
        Effect.catchAllDefect((defect) =>
          lose(new LockLost({ path, reason: `checking it failed with a defect: ${describeDefect(defect)}` }))
        ),
        apart,
        Effect.interruptible,
        Effect.forkScoped
      ), { discard: true }).pipe(Scope.extend(scope))

    return LockFile.of({
      path,
      instanceId,
      enforcement,
      record: Ref.get(record),
      update: (change) =>
        Effect.gen(function*() {
          yield* Ref.update(record, (record) => ({ ...record, ...change }))
          if (change.phase !== undefined) yield* history.note(change.phase)
          if (change.phase === "draining") yield* Ref.set(drainBegan, Option.some(yield* Clock.currentTimeNanos))
          // Under the name of a lost lock is another owner's file.
          if (yield* Deferred.isDone(loss)) return
          for (const { acquired: { file: { path } }, write } of locks) {
            yield* write.pipe(
              Effect.catchAll((error) =>
                Effect.logWarning(`could not update gateway lock ${path}: ${describePlatformError(error)}`)
              )
            )
          }
        }),
      startedAt,
      heldSince,
      history: history.changes,
      lost: Effect.acquireUseRelease(
        Ref.update(watchers, (count) => count + 1),
        () => Effect.flatMap(Deferred.await(loss), ({ error }) => Effect.fail(error)),
        () => Ref.update(watchers, (count) => count - 1)
      ),
      whenLost: Deferred.await(loss)
    })
  }).pipe(Effect.provideService(ProcessTable.Patience, Duration.zero))

/**
 * Runs an effect for as long as the lock is held. When the lock is lost, the effect is interrupted, and this fails with
 * `LockLost` once it has ended.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * const Lock = LockFile.layerWithProbes({ stateDir: "/var/lib/importer", configPath: "/etc/importer.json" })
 *
 * const program = LockFile.whileHeld(Effect.log("importing")).pipe(
 *   Effect.provide(Lock),
 *   Effect.provide(Gateway.layerNode)
 * )
 *
 * @since 0.1.0
 * @category running
 */
export const whileHeld = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R | LockFile> =>
  Effect.flatMap(LockFile, ({ lost }) => whileNot(lost)(self))

/**
 * The lock, held for as long as the layer is. Fails with `PortInUse`, `LockHeld` or `LockUnavailable`, as `make` does; a lock
 * that is lost later fails `lost`, which `whileHeld` watches.
 *
 * Keep the result in a constant: a second one is a second contender.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LockFileOptions
): Layer.Layer<LockFile, PortInUse | LockHeld | LockUnavailable, Requirements> => Layer.scoped(LockFile, make(options))

/**
 * `layer` with the probes that it asks, which a listener above it asks again.
 *
 * Fails as `layer` does.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, LockFile } from "gateway-lock"
 *
 * // A job of cron, with no port: while the last one is still at it, the next goes home.
 * const Lock = LockFile.layerWithProbes({ stateDir: "/var/lib/importer", configPath: "/etc/importer.json", timeout: 0 })
 *
 * const job = LockFile.whileHeld(Effect.log("importing")).pipe(
 *   Effect.provide(Lock),
 *   Effect.provide(Gateway.layerNode),
 *   Effect.catchTag("LockHeld", ({ holder }) => Effect.log(`pid ${holder?.pid ?? "unknown"} is still at it`))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithProbes = (
  options: LockFileOptions & { readonly healthProbeTimeout?: Duration.DurationInput | undefined }
): Layer.Layer<
  LockFile | PortProbe | HealthProbe,
  PortInUse | LockHeld | LockUnavailable,
  FileSystem.FileSystem | KernelLock | ProcessTable.ProcessTable | ProbeTransport
> =>
  // In one effect: every layer between would cost a start a part of a millisecond.
  Layer.scopedContext(Effect.gen(function*() {
    const health = yield* makeHealthProbe({ timeout: options.healthProbeTimeout })
    const ports = yield* Effect.provideService(makePortProbe, HealthProbe, health)
    const probes = Context.make(HealthProbe, health).pipe(Context.add(PortProbe, ports))
    return Context.add(probes, LockFile, yield* Effect.provide(make(options), probes))
  }))
