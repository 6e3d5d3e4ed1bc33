/**
 * Inspects the lock, the owner and the port of a gateway, and derives the verdict on the gateway.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { Patience, ProcessTable } from "../host/ProcessTable.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import { askPort, healthWithoutPort, listenerIdentity, type LookOptions } from "./askPort.ts"
import { judge } from "./judge.ts"
import type { Lock, Port } from "./StatusModel.ts"

/** A lock file to inspect, and what is already known of its gateway. */
export interface Target extends LookOptions {
  readonly lockPath: string
  readonly stateDir: string
  readonly configPath: string | undefined
  readonly configName?: string | undefined
  readonly profile: string | undefined
  /** The address in the settings. `undefined` if only the lock file is known; then the address comes from its owner record. */
  readonly address: Address | undefined
  readonly warnings: ReadonlyArray<string>
}

/** The owner that the lock file names: the present owner, or a former owner that left the file. */
export const ownerOf = (state: LockInspection.LockState): LockInspection.Owner | undefined =>
  state._tag === "Absent" ? undefined : Option.getOrUndefined(state.owner)

/** The state of a lock, in the form that `GatewayStatus` shows. */
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

/**
 * The source of the address to probe: the present owner's record, or the settings, which the next start would use. A former owner
 * that left its lock file no longer serves, so the address in its record does not count.
 */
const addressOf = (target: Target, state: LockInspection.LockState): Option.Option<Port["from"]> => {
  const owner = ownerOf(state)
  if (isPresent(state) && owner !== undefined && owner.record.port > 0) return Option.some("owner")
  // An owner whose record has the port 0 and a rule for its health (`ready`) was started without an address. So the port in the
  // settings says nothing about this owner.
  if (state._tag === "Held" && owner?.record.ready !== undefined) return Option.none()
  return target.address === undefined || target.address.port === 0 ? Option.none() : Option.some("settings")
}

/** Inspects the port and the owner once, for a lock that has just been inspected. */
const lookOnce = (target: Target, state: LockInspection.LockState) =>
  Effect.gen(function*() {
    const owner = ownerOf(state)
    const from = Option.getOrUndefined(addressOf(target, state))
    const address = from === "owner" ? owner?.record : target.address
    const ready = state._tag === "Held" ? owner?.record.ready : undefined
    const who = { lockPath: target.lockPath, owner, ready }
    const asked = from === undefined || address === undefined
      ? undefined
      : yield* askPort({ host: address.host, port: address.port }, from, who, target)
    const health = asked === undefined ? healthWithoutPort(who) : asked.health
    const table = yield* ProcessTable
    // If `pidMeaning` is not `Alive`, the pid may belong to an unrelated process. The network of an unrelated process says
    // nothing about the owner.
    const network = owner?.holder.pidMeaning === "Alive" ? yield* table.network(owner.process.pid) : "Unknown"
    const { reason, verdict } = judge({
      lock: describeLock(target.lockPath, state).state,
      lockReason: state._tag === "Unknown" ? state.reason : undefined,
      owner: owner === undefined
        ? undefined
        : {
          phase: owner.record.phase,
          pidMeaning: owner.holder.pidMeaning,
          network,
          ready: ready === undefined ? undefined : health,
          lease: owner.record.lease
        },
      port: asked?.port.state ?? "unasked",
      unreachable: asked?.unreachable ?? false,
      healthy: health?.healthy ?? false,
      identity: health?.identity ?? "unknown",
      listener: asked === undefined ? "unknown" : listenerIdentity(asked.port, owner, network),
      detail: asked?.detail ?? ""
    })
    return { state, owner, asked, health, reason, verdict }
  })

const pidMeaningOf = (state: LockInspection.LockState) => ownerOf(state)?.holder.pidMeaning

const isSameMoment = (a: LockInspection.LockState, b: LockInspection.LockState): boolean => {
  const [one, other] = [ownerOf(a)?.record, ownerOf(b)?.record]
  return a._tag === b._tag && one?.instanceId === other?.instanceId && one?.phase === other?.phase
    && one?.lease?.state === other?.lease?.state
}

/**
 * Inspects the lock, then the port, then the lock again. If the owner or its phase changed in between, the lock and the port were
 * not seen in the same state. In that case the port and the owner are inspected once more. If the owner answers and the meaning
 * of its pid is known (`pidMeaning`), the lock is not inspected again.
 */
export const look = (target: Target) =>
  Effect.gen(function*() {
    // With a `Patience` of zero, this call starts slow queries about the owner's process, but does not wait for them. The
    // answers arrive while the port is probed.
    const before = yield* LockInspection.inspect(target.lockPath).pipe(
      Effect.provideService(Patience, Duration.zero)
    )
    const seen = yield* lookOnce(target, before)
    const isHealthy = seen.verdict === "running" || seen.verdict === "standby"
    if (isHealthy && seen.owner?.holder.pidMeaning !== "Unknown") return seen
    const after = yield* LockInspection.inspect(target.lockPath)
    if (!isSameMoment(seen.state, after)) return yield* lookOnce(target, after)
    if (pidMeaningOf(seen.state) === pidMeaningOf(after)) return seen
    // A healthy owner answers itself. So the verdict stays the same if only `pidMeaning` has changed.
    return isHealthy
      ? { ...seen, state: after, owner: ownerOf(after) }
      : yield* lookOnce(target, after)
  })
