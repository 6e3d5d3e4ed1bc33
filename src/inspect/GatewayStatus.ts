/**
 * Who holds what now? The answer to `gateway status`, for programs as well: the lock, its owner, the port, and what both
 * together mean.
 *
 * Looking changes nothing: no file is made, written or removed, and nobody is signalled.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as NodePath from "node:path"
import { type Address, toUrl } from "../Address.ts"
import { Holder, ServiceUnit } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import type { KernelLock } from "../host/KernelLock.ts"
import { realPath } from "../host/NativeFiles.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import { at, type PortBlocker, type PortListeners, PortOwners } from "../host/PortOwners.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import { type Network, Patience, ProcessTable } from "../host/ProcessTable.ts"
import { optional } from "../internal/optional.ts"
import * as LockFile from "../lock/LockFile.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import type { Phase } from "../lock/OwnerRecord.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as PortProbe from "../probe/PortProbe.ts"

// ---------------------------------------------------------------------------
// the answer
// ---------------------------------------------------------------------------

/**
 * Lock, owner and port in one word.
 *
 * - `running`: the lock is held, and its owner answers, healthy.
 * - `starting`: the lock is held by one that does not serve yet.
 * - `draining`: the lock is held by one that shuts down.
 * - `unhealthy`: the lock is held by one that should serve, and does not, or says that it is not well.
 * - `dead`: nobody holds the lock; an owner that did not end in order left its file.
 * - `not-running`: there is no lock file, and the port is free.
 * - `foreign-listener`: somebody has the port who is not the lock's owner.
 * - `unknown`: it cannot be told; the reason says why.
 *
 * @since 0.1.0
 * @category models
 */
export const Verdict = Schema.Literal(
  "running",
  "starting",
  "draining",
  "unhealthy",
  "dead",
  "not-running",
  "foreign-listener",
  "unknown"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Verdict = typeof Verdict.Type

/**
 * Who a lock file names. Arguments and environment of a process are never part of it: they can hold secrets.
 *
 * @since 0.1.0
 * @category models
 */
export const Owner = Schema.Struct({
  ...Holder.fields,
  /** The profile whose state directory it has, by this platform's folders; absent for a directory of its own. */
  profile: optional(Schema.String),
  /** Who restarts it: `none`, `systemd`, `launchd`, `schtasks` or `external`. */
  supervisor: optional(Schema.String),
  /** Why it thinks so, in words. */
  supervisorReason: optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Owner = typeof Owner.Type

/**
 * One lock file.
 *
 * @since 0.1.0
 * @category models
 */
export const Lock = Schema.Struct({
  path: Schema.String,
  /**
   * `absent`: there is no such file; `held`: somebody has it; `left`: nobody has it, and it was not removed; `unknown`: it
   * cannot be told.
   */
  state: Schema.Literal("absent", "held", "left", "unknown"),
  /** What keeps others out of a held one: the kernel's lock, or only its record. */
  enforcement: optional(Schema.Literal("kernel", "record")),
  /** Of a left one, since it was last written or touched, in milliseconds. */
  ageMs: optional(Schema.Int),
  /** Why it cannot be told, in words. */
  reason: optional(Schema.String)
})

/**
 * A process that listens on the port.
 *
 * @since 0.1.0
 * @category models
 */
export const Listener = Schema.Struct({
  /** The address that its socket is bound to. */
  host: Schema.String,
  /** Absent where the process is not visible from here: another user's, or in another PID namespace. */
  pid: optional(Schema.Int),
  /** The program's file name, without its arguments. */
  command: optional(Schema.String),
  /** Whether it is the lock's owner. */
  isOwner: Schema.Boolean
})

/**
 * What keeps a gateway from a port on which nothing listens.
 *
 * @since 0.1.0
 * @category models
 */
export const Blocked = Schema.Struct({
  /** What has it, in words. */
  reason: Schema.String,
  /** Absent where the process is not visible from here. */
  pid: optional(Schema.Int),
  /** The program's file name, without its arguments. */
  command: optional(Schema.String)
})

/**
 * The port that was asked.
 *
 * @since 0.1.0
 * @category models
 */
export const Port = Schema.Struct({
  host: Schema.String,
  port: Schema.Int,
  /** Whose address it is: the lock owner's, or the one of the settings. */
  from: Schema.Literal("owner", "settings"),
  /** Who answers: nobody, a gateway, somebody else, or somebody who does not answer in time. */
  state: Schema.Literal("free", "gateway", "foreign", "stalled"),
  /** The processes that listen there, as far as they can be seen. */
  listeners: Schema.Array(Listener),
  /** Why they cannot be told, in words. */
  listenersUnknown: optional(Schema.String),
  /** Where nobody listens, and no gateway runs: what keeps one from binding it nevertheless. */
  blocked: optional(Blocked)
})

/**
 * What `/healthz` of the asked port says.
 *
 * @since 0.1.0
 * @category models
 */
export const Health = Schema.Struct({
  /** Whether a healthy gateway answers there, whichever it is. */
  healthy: Schema.Boolean,
  /** Whether the instance that answers is the lock's: `unknown` where no instance is named by the answer or by the lock. */
  identity: Schema.Literal("owner", "other", "unknown"),
  /** Which instance answers; absent where no gateway answers, or one that names none. */
  instanceId: optional(Schema.String),
  /** The answer in words. */
  detail: Schema.String
})

/**
 * A unit of systemd that runs a gateway for the whole machine.
 *
 * @since 0.1.0
 * @category models
 */
export const Service = Schema.Struct({
  unit: ServiceUnit,
  profile: Schema.String,
  /** As whom it runs, by name or number. */
  user: Schema.String,
  /** `active`, `activating`, `deactivating`, … (systemctl(1)). */
  activeState: Schema.String,
  /** Absent where the unit does not tell. */
  stateDir: optional(Schema.String)
})

/**
 * What is known of one gateway at one moment, as `gateway status --json` prints it.
 *
 * @example
 * import { Command } from "@effect/platform"
 * import { Effect, Schema } from "effect"
 * import { GatewayStatus } from "gateway-lock"
 *
 * // For a monitor that has the program, and not its lock.
 * const isWell = Command.string(Command.make("gateway", "status", "--json")).pipe(
 *   Effect.flatMap(Schema.decode(Schema.parseJson(GatewayStatus.GatewayStatus))),
 *   Effect.map(({ verdict }) => verdict === "running" || verdict === "starting")
 * )
 *
 * @since 0.1.0
 * @category models
 */
export const GatewayStatus = Schema.Struct({
  /** Of this form; another meaning of a field is another version. */
  version: Schema.Literal(1),
  /** When it was looked at, ISO 8601, UTC. */
  asOf: Schema.String,
  verdict: Verdict,
  /** What the verdict rests on, in one line. */
  reason: Schema.String,
  /** The profile that was asked about, or whose state directory it is; absent for a directory of its own. */
  profile: optional(Schema.String),
  /** The config file whose path names the lock; absent where only the lock is known. */
  configPath: optional(Schema.String),
  stateDir: Schema.String,
  lock: Lock,
  /** The lock's owner, or who left it; absent where there is no readable record. */
  owner: optional(Owner),
  /** The lock of the state directory, where a gateway of another config holds it: it keeps this one from starting. */
  stateLock: optional(Schema.Struct({ ...Lock.fields, owner: optional(Owner) })),
  /**
   * The system service that this gateway is, where the settings' own lock is held by nobody; or, with the verdict
   * `foreign-listener`, the one that has the port.
   */
  service: optional(Service),
  /** Absent where no address is known. */
  port: optional(Port),
  /** Absent where no port was asked. */
  health: optional(Health),
  /** What was found wrong besides, such as a config file that cannot be used; one line each. */
  warnings: Schema.Array(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type GatewayStatus = typeof GatewayStatus.Type

// ---------------------------------------------------------------------------
// the verdict
// ---------------------------------------------------------------------------

/**
 * What the verdict rests on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evidence {
  readonly lock: (typeof Lock.Type)["state"]
  /** Why the lock cannot be told about. */
  readonly lockReason?: string | undefined
  /** Who the lock names. */
  readonly owner?: {
    readonly phase: Phase
    readonly pidMeaning: Holder["pidMeaning"]
    /** Of an owner that is alive: in which network it is, compared with ours. */
    readonly network: Network
  } | undefined
  /** Who answers on the port; `unasked` where no address is known. */
  readonly port: (typeof Port.Type)["state"] | "unasked"
  /** Whether a free port cannot be reached from here: then a listener would not be seen. */
  readonly unreachable: boolean
  /** Whether who answers is a healthy gateway. */
  readonly healthy: boolean
  /** Whether the instance that answers is the one that the lock names. */
  readonly identity: (typeof Health.Type)["identity"]
  /** Whose the listening sockets are, by their processes. */
  readonly listener: "owner" | "other" | "unknown"
  /** What the port answers, in words. */
  readonly detail: string
}

/**
 * A verdict, and what it rests on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement {
  readonly verdict: Verdict
  /** One line. */
  readonly reason: string
}

const judged = (verdict: Verdict, reason: string): Judgement => ({ verdict, reason })

/** Somebody who is not the lock's owner has the port. */
const isOccupied = ({ listener, port }: Evidence): boolean =>
  port === "gateway" || port === "foreign" || (port === "stalled" && listener === "other")

const foreign = (detail: string) => judged("foreign-listener", `${detail} has the port, and not the owner of this lock`)

const judgeHeld = (evidence: Evidence, { network, phase, pidMeaning }: NonNullable<Evidence["owner"]>): Judgement => {
  const { detail, port, unreachable } = evidence
  if (phase === "draining") return judged("draining", "its owner shuts down")
  if (isOccupied(evidence)) return foreign(detail)
  if (phase === "starting") return judged("starting", "its owner holds the lock and does not serve yet")
  switch (port) {
    case "stalled":
      return judged("unhealthy", detail)
    case "unasked":
      return judged("unknown", "its owner names no port that could be asked")
    default:
      if (pidMeaning === "Alive" && network === "Same") {
        if (unreachable) {
          return judged("unknown", "the lock is held, and its owner's address cannot be reached from here")
        }
        return judged("unhealthy", "its owner holds the lock, and nobody listens on its port")
      }
      return judged(
        "unknown",
        `the lock is held, and its owner's port is free here: it ${
          pidMeaning === "Alive" && network === "Other" ? "is" : "may be"
        } in another network`
      )
  }
}

/**
 * What lock, port and health together mean. Pure.
 *
 * The kernel's word on the lock goes first, then the instance that answers, then the phase of the record. An instance
 * that answers under the lock's own name is the owner, whatever else is said of its pid.
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge = (evidence: Evidence): Judgement => {
  const { detail, healthy, identity, lock, lockReason, owner, port } = evidence
  if (identity === "owner") {
    if (lock === "left" || lock === "absent") {
      return judged("unknown", "the recorded instance answers, and does not hold this lock: its file was replaced")
    }
    if (owner?.phase === "draining") return judged("draining", "its owner shuts down")
    if (healthy) return judged("running", "the owner of the lock answers, healthy")
    return owner?.phase === "starting"
      ? judged("starting", "its owner holds the lock and does not serve yet")
      : judged("unhealthy", detail)
  }
  switch (lock) {
    case "held":
      return owner === undefined
        ? judged("unknown", "the lock is held by a process that left no readable record")
        : judgeHeld(evidence, owner)
    case "left":
      return port !== "free" && port !== "unasked"
        ? foreign(detail)
        : judged("dead", "its owner did not end in order: the lock file is left, and nobody holds it")
    case "absent":
      return port !== "free" && port !== "unasked"
        ? foreign(detail)
        : judged("not-running", "there is no lock file, and nobody listens on the port")
    case "unknown":
      return judged("unknown", `the lock cannot be told about: ${lockReason ?? "no reason is known"}`)
  }
}

// ---------------------------------------------------------------------------
// looking
// ---------------------------------------------------------------------------

/**
 * What looking needs from the machine.
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

/**
 * How to look.
 *
 * @since 0.1.0
 * @category models
 */
export interface LookOptions {
  /** The absolute deadline of one probe. Default 1 second. */
  readonly healthProbeTimeout?: Duration.DurationInput | undefined
  /** Whether to look which processes listen. Default `true`. */
  readonly listeners?: boolean | undefined
}

/**
 * Whom to ask about.
 *
 * @since 0.1.0
 * @category models
 */
export interface InspectOptions extends LookOptions, Address {
  /** For the answer alone: nothing is looked up by it. */
  readonly profile?: string | undefined
  /** Canonical. */
  readonly configPath: string
  /** The same path with its links unresolved. Default: `configPath`. */
  readonly configName?: string | undefined
  /** Canonical. */
  readonly stateDir: string
  /** What was found wrong with the settings, to be shown with the answer. */
  readonly warnings?: ReadonlyArray<string> | undefined
}

/** One lock file to look at, and what is known of it besides. */
interface Target extends LookOptions {
  readonly lockPath: string
  readonly stateDir: string
  readonly configPath: string | undefined
  readonly configName?: string | undefined
  readonly profile: string | undefined
  /** Where it would listen, where that is known without its record. */
  readonly address: Address | undefined
  readonly warnings: ReadonlyArray<string>
}

/** The profile that has a state directory, by this platform's folders. */
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
    ...(record.supervisorReason === undefined ? {} : { supervisorReason: record.supervisorReason })
  }))

const ownerOf = (state: LockInspection.LockState): LockInspection.Owner | undefined =>
  state._tag === "Absent" ? undefined : Option.getOrUndefined(state.owner)

const describeLock = (path: string, state: LockInspection.LockState): typeof Lock.Type => {
  switch (state._tag) {
    case "Absent":
      return { path, state: "absent" }
    case "Held":
      return { path, state: "held", enforcement: state.enforcement }
    case "Left":
      return { path, state: "left", ageMs: Math.round(Duration.toMillis(state.age)) }
    case "Unknown":
      return { path, state: "unknown", reason: state.reason }
  }
}

const isPresent = (state: LockInspection.LockState): boolean => state._tag === "Held" || state._tag === "Unknown"

/** The present owner's port, or else the one that the next would have. */
const addressOf = (target: Target, state: LockInspection.LockState): Option.Option<typeof Port.Type["from"]> => {
  const owner = ownerOf(state)
  if (isPresent(state) && owner !== undefined && owner.record.port > 0) return Option.some("owner")
  return target.address === undefined || target.address.port === 0 ? Option.none() : Option.some("settings")
}

const states = { Free: "free", Gateway: "gateway", Foreign: "foreign", Stalled: "stalled" } as const

const describeHealth = (answer: PortProbe.PortState, owner: LockInspection.Owner | undefined): typeof Health.Type => {
  switch (answer._tag) {
    case "Free":
      return {
        healthy: false,
        identity: "unknown",
        detail: answer.unreachable === true ? "it cannot be reached from here" : "nobody listens there"
      }
    case "Gateway":
      return {
        healthy: answer.healthy,
        identity: owner === undefined || answer.instanceId === undefined
          ? "unknown"
          : answer.instanceId === owner.record.instanceId
          ? "owner"
          : "other",
        ...(answer.instanceId === undefined ? {} : { instanceId: answer.instanceId }),
        detail: answer.detail
      }
    case "Foreign":
    case "Stalled":
      return { healthy: false, identity: "unknown", detail: `a listener that ${answer.detail}` }
  }
}

const noListeners: PortListeners = { _tag: "Seen", listeners: [] }

const askPort = (
  address: Address,
  from: (typeof Port.Type)["from"],
  owner: LockInspection.Owner | undefined,
  options: LookOptions
) =>
  Effect.gen(function*() {
    const owners = yield* PortOwners
    const table = yield* ProcessTable
    const health = yield* HealthProbe.make({ timeout: options.healthProbeTimeout })
    const ports = yield* Effect.provideService(PortProbe.make, HealthProbe.HealthProbe, health)
    const alive = owner?.holder.pidMeaning === "Alive" ? [owner.record.pid] : []
    const [answer, listening] = yield* Effect.all([
      ports.probe(address),
      options.listeners === false ? Effect.succeed(noListeners) : owners.listeners(address.port, alive)
    ], { concurrency: "unbounded" })
    const listeners = yield* Effect.forEach(
      listening._tag === "Seen" ? at(address, listening.listeners) : [],
      ({ host, pid }) =>
        Effect.gen(function*() {
          if (pid === undefined) return { host, isOwner: false }
          const command = yield* table.commandName(pid)
          return {
            host,
            pid,
            ...(Option.isSome(command) ? { command: command.value } : {}),
            isOwner: alive.includes(pid)
          }
        })
    )
    const port: typeof Port.Type = {
      host: address.host,
      port: address.port,
      from,
      state: states[answer._tag],
      listeners,
      ...(listening._tag === "Unseen" ? { listenersUnknown: listening.reason } : {})
    }
    return {
      port,
      health: describeHealth(answer, owner),
      unreachable: answer._tag === "Free" && answer.unreachable === true
    }
  })

/** By pid, where all of them can be seen and the owner's means something here. An owner in another network has none here. */
const whoseListeners = (
  { listeners }: typeof Port.Type,
  owner: LockInspection.Owner | undefined,
  network: Network
): Evidence["listener"] => {
  if (listeners.some(({ isOwner }) => isOwner)) return "owner"
  if (network === "Other") return "other"
  return owner?.holder.pidMeaning === "Alive" && listeners.length > 0 && listeners.every(({ pid }) => pid !== undefined)
    ? "other"
    : "unknown"
}

/** One look, by what was seen of the lock just before. */
const lookOnce = (target: Target, state: LockInspection.LockState) =>
  Effect.gen(function*() {
    const owner = ownerOf(state)
    const from = Option.getOrUndefined(addressOf(target, state))
    const address = from === "owner" ? owner?.record : target.address
    // Who left a lock answers for nothing any more.
    const asked = from === undefined || address === undefined
      ? undefined
      : yield* askPort({ host: address.host, port: address.port }, from, owner, target)
    const table = yield* ProcessTable
    // Under any other verdict the pid is a stranger's.
    const network = owner?.holder.pidMeaning === "Alive" ? yield* table.network(owner.record.pid) : "Unknown"
    const { reason, verdict } = judge({
      lock: describeLock(target.lockPath, state).state,
      lockReason: state._tag === "Unknown" ? state.reason : undefined,
      owner: owner === undefined
        ? undefined
        : { phase: owner.record.phase, pidMeaning: owner.holder.pidMeaning, network },
      port: asked?.port.state ?? "unasked",
      unreachable: asked?.unreachable ?? false,
      healthy: asked?.health.healthy ?? false,
      identity: asked?.health.identity ?? "unknown",
      listener: asked === undefined ? "unknown" : whoseListeners(asked.port, owner, network),
      detail: asked?.health.detail ?? ""
    })
    return { state, owner, asked, reason, verdict }
  })

const meaningOf = (state: LockInspection.LockState) => ownerOf(state)?.holder.pidMeaning

const isSameMoment = (a: LockInspection.LockState, b: LockInspection.LockState): boolean => {
  const [one, other] = [ownerOf(a)?.record, ownerOf(b)?.record]
  return a._tag === b._tag && one?.instanceId === other?.instanceId && one?.phase === other?.phase
}

/**
 * The lock is looked at before and after the port: where it changed hands or phase meanwhile, the two do not belong
 * together, and all is looked at once more.
 */
const look = (target: Target) =>
  Effect.gen(function*() {
    // What the system is slow to tell of the owner's process is asked here, and told while the port is asked.
    const before = yield* LockInspection.inspect(target.lockPath).pipe(
      Effect.provideService(Patience, Duration.zero)
    )
    const seen = yield* lookOnce(target, before)
    if (seen.verdict === "running" && seen.owner?.holder.pidMeaning !== "Unknown") return seen
    const after = yield* LockInspection.inspect(target.lockPath)
    if (!isSameMoment(seen.state, after)) return yield* lookOnce(target, after)
    if (meaningOf(seen.state) === meaningOf(after)) return seen
    // It is the owner that answers, so nothing else depends on it.
    return seen.verdict === "running"
      ? { ...seen, state: after, owner: ownerOf(after) }
      : yield* lookOnce(target, after)
  })

/** Whether two locks are one gateway's: one instance has both, or both name one config. */
const isSameGateway = (
  { configName, configPath }: Target,
  owner: LockInspection.Owner | undefined,
  { record }: LockInspection.Owner,
  platform: string
): boolean =>
  record.instanceId === owner?.record.instanceId
  || (configPath !== undefined && LockFile.isNamedBy(record, { configName, configPath }, platform))

/** The state directory's lock, where somebody has it. */
const stateHolder = (target: Target) =>
  Effect.gen(function*() {
    const path = LockFile.stateLockPath(target)
    const state = yield* LockInspection.inspect(path)
    const owner = ownerOf(state)
    return state._tag === "Held" && owner !== undefined ? Option.some({ path, state, owner }) : Option.none()
  })

const differs = (target: Target, port: typeof Port.Type | undefined): ReadonlyArray<string> => {
  const { address } = target
  return port?.from !== "owner" || address === undefined || address.port === 0
      || (port.port === address.port && port.host === address.host)
    ? []
    : [`the settings say ${toUrl(address)}, and the owner has ${toUrl(port)}`]
}

/** Nothing that the system is slow to tell takes longer than a probe may; a start does not wait for it at all. */
const withinProbe = ({ healthProbeTimeout }: LookOptions) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Patience,
    (patience) =>
      Effect.provideService(self, Patience, Duration.min(patience, healthProbeTimeout ?? HealthProbe.defaultTimeout))
  )

const answer = (target: Target): Effect.Effect<GatewayStatus, never, Requirements> =>
  Effect.gen(function*() {
    const [{ asked, owner, reason, state, verdict }, holder] = yield* Effect.all([look(target), stateHolder(target)], {
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
      asOf: DateTime.formatIso(yield* DateTime.now),
      verdict,
      reason,
      ...(target.profile === undefined ? {} : { profile: target.profile }),
      ...(configPath === undefined ? {} : { configPath }),
      stateDir: target.stateDir,
      lock: describeLock(target.lockPath, state),
      ...(owner === undefined ? {} : { owner: yield* describeOwner(owner) }),
      ...(Option.isSome(other)
        ? {
          stateLock: {
            ...describeLock(other.value.path, other.value.state),
            owner: yield* describeOwner(other.value.owner)
          }
        }
        : {}),
      ...(asked === undefined ? {} : {
        port: Option.isNone(blocked) ? asked.port : { ...asked.port, blocked: blocked.value },
        health: asked.health
      }),
      warnings: [...target.warnings, ...differs(target, asked?.port)]
    } satisfies GatewayStatus
  }).pipe(withinProbe(target))

/**
 * Looks at the gateway that these settings name.
 *
 * Never fails: what cannot be read is in the answer. Takes two health probes at most.
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
 * Looks at the gateway of a lock file, of which nothing else is known: `<state directory>/locks/gateway.<digits>.lock`.
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
