/**
 * One consistent look at a lock, its owner and its port, and what they mean together.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { Patience, ProcessTable } from "../host/ProcessTable.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import { askPort, type LookOptions, whoseListeners } from "./askPort.ts"
import { judge } from "./judge.ts"
import type { Lock, Port } from "./StatusModel.ts"

/** One lock file to look at, and what is known of it besides. */
export interface Target extends LookOptions {
  readonly lockPath: string
  readonly stateDir: string
  readonly configPath: string | undefined
  readonly configName?: string | undefined
  readonly profile: string | undefined
  /** Where it would listen, where that is known without its record. */
  readonly address: Address | undefined
  readonly warnings: ReadonlyArray<string>
}

/** Whom a lock names: its owner, or the one that left it. */
export const ownerOf = (state: LockInspection.LockState): LockInspection.Owner | undefined =>
  state._tag === "Absent" ? undefined : Option.getOrUndefined(state.owner)

/** The state of a lock, as the answer has it. */
export const describeLock = (path: string, state: LockInspection.LockState): Lock => {
  switch (state._tag) {
    case "Absent":
      return { path, state: "absent" }
    case "Held":
      return { path, state: "held", enforcement: state.enforcement }
    case "Left":
      return { path, state: "left", age: Duration.millis(Math.round(Duration.toMillis(state.age))) }
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
export const look = (target: Target) =>
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
