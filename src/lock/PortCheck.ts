/**
 * Refuses a start without a wait: its own port is in use, or the owner of its lock serves, healthy, on another port.
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
import { holderBy, readOwner, readOwnersOf } from "./LockHolder.ts"
import * as OwnerRecord from "./OwnerRecord.ts"
import type { Snapshot } from "./Snapshot.ts"

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

/** Nothing to wait for: our port is taken, or the owner serves, healthy, somewhere else. */
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
