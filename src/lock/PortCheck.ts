/**
 * Makes a start fail at once if it is useless to wait for the lock. That is the case if the start's own port is in use, or if the
 * owner of the lock already serves on another address.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../Address.ts"
import { type Holder, LockHeld, PortInUse } from "../GatewayLockError.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { lookAt } from "../probe/AddressProbe.ts"
import { HealthProbe } from "../probe/HealthProbe.ts"
import { PortProbe, type PortState } from "../probe/PortProbe.ts"
import type { LockFileOptions } from "./LockFileOptions.ts"
import { holderBy, holderOf, readOwner, readOwnersOf } from "./LockHolder.ts"
import * as OwnerRecord from "./OwnerRecord.ts"
import type { Snapshot } from "./Snapshot.ts"

const addressToAsk = (options: LockFileOptions): Address | undefined =>
  options.isPassedSocket === true ? undefined : options.address

const sameAddress = (a: Address, b: Address) => a.host === b.host && a.port === b.port

/** Whether a holder is alive, serves on the port `on`, and has a health rule (`ready`) that is used instead of `/healthz`. */
const isReady = ({ phase, pidMeaning, port, ready }: Holder, on: number): boolean =>
  ready !== undefined && phase === "listening" && pidMeaning === "Alive" && port === on

/**
 * Makes the `PortInUse` error of a start whose own port already has a listener. The error names the holder of the lock only in
 * these cases:
 *
 * - The listener answers with the holder's instance id.
 * - The listener does not answer in time, and the holder's record has the same port.
 * - The holder's record has a health rule (`ready`), and the holder is alive and serves on the same port. Such a holder is a
 *   wrapper of another program, and the answers of that program have no instance id.
 */
const portInUse = (
  address: Address,
  state: Exclude<PortState, { readonly _tag: "Free" }>,
  holder: Option.Option<Holder>
): PortInUse => {
  const listener = state.detail
  const shown = Option.filter(holder, (holder) =>
    isReady(holder, address.port)
    || (state._tag === "Gateway"
      ? state.instanceId !== undefined && holder.instanceId === state.instanceId
      : state._tag === "Stalled" && holder.port === address.port))
  return new PortInUse({
    ...address,
    listener,
    ...(Option.isSome(shown) ? { holder: shown.value } : {})
  })
}

/**
 * Fails with `PortInUse` if the start's own port is in use. The error names the owner of the lock if that owner seems to be the
 * listener (`portInUse`).
 *
 * A start makes this check first, because the check is cheaper than acquiring the lock, and changes nothing.
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

/**
 * Fails if it is useless to wait for the lock. There are three such cases:
 *
 * - The start's own port is in use.
 * - The owner of the lock is healthy on another address.
 * - The owner serves a port, and its record has a health rule (`ready`, used instead of `/healthz`).
 */
export const failIfServing = (
  path: string,
  options: LockFileOptions,
  snapshot: Snapshot
): Effect.Effect<
  void,
  PortInUse | LockHeld,
  FileSystem.FileSystem | HealthProbe | PortProbe | ProcessTable.ProcessTable
> =>
  Effect.gen(function*() {
    const { record } = snapshot
    const address = addressToAsk(options)
    if (address !== undefined) {
      const state = yield* Effect.flatMap(PortProbe, (probe) => probe.probe(address))
      if (state._tag !== "Free") {
        // If the instance that answers is not the recorded one, read the record again. The lock may have passed to the
        // answering instance between the snapshot and the probe.
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
    if (record.value.ready !== undefined) {
      // An owner with port 0 is a command that serves no port and may end at any time. So the start waits for its end, as
      // flock(1) does. An owner with another port is a server, which does not end by itself. So the start fails.
      if (serving.port === 0) return
      const holder = yield* holderOf(record.value)
      // If only the record enforces the lock, the owner may be dead. The start then does not fail, because it can take over.
      if (snapshot.enforcement === "record" && holder.pidMeaning !== "Alive") return
      return yield* new LockHeld({ path, timeout: Duration.zero, holder, serving })
    }
    if (address !== undefined && sameAddress(address, serving)) return
    const { instanceId } = record.value
    const looks = yield* Effect.flatMap(HealthProbe, (health) => lookAt(health, serving))
    if (looks.some(({ answer }) => answer._tag === "Healthy" && answer.instanceId === instanceId)) {
      return yield* new LockHeld({
        path,
        timeout: Duration.zero,
        holder: yield* holderBy(record.value, instanceId),
        serving
      })
    }
  })
