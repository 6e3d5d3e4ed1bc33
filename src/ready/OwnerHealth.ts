/**
 * Probes the health of an owner whose record has a health rule (`ready`). Such an owner does not answer at `/healthz`. A start
 * uses this probe if such an owner has the lock or the port that the start needs.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { KernelLock } from "../host/KernelLock.ts"
import type { PortOwners } from "../host/PortOwners.ts"
import type { ProbeTransport } from "../host/ProbeTransport.ts"
import type { ProcessTable } from "../host/ProcessTable.ts"
import * as LockInspection from "../lock/LockInspection.ts"
import * as OwnerRecord from "../lock/OwnerRecord.ts"
import type { Health, HealthProbeOptions } from "../probe/HealthProbe.ts"
import { listenersOf, whoseListener } from "./OwnerProcesses.ts"
import * as ReadyRule from "./ReadyRule.ts"
import { statusAt } from "./statusAt.ts"

/**
 * The services that `probe` needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | FileSystem.FileSystem
  | KernelLock
  | ProcessTable
  | PortOwners
  | ProbeTransport

/** Finds out whether one of the owner's processes, another process or none listens on the owner's port. Makes no connection. */
const listenerOf = (owner: LockInspection.Owner, path: string, rule: OwnerRecord.Ready) =>
  Effect.gen(function*() {
    if (!ReadyRule.needsListeners(rule)) return "unknown"
    const { listeners, seen } = yield* listenersOf(owner, OwnerRecord.address(owner.record), path)
    return whoseListener(seen, listeners, seen._tag === "Seen" && listeners.length === 0)
  })

/**
 * Probes once whether the given instance holds the lock file and is healthy by the rule in its record. The answer is `NoListener` if
 * that instance does not hold the lock, or has no rule.
 *
 * The rules `none`, `port` and `notify` make no connection. The rule `http` makes one, and closes it after the answer.
 *
 * @since 0.1.0
 * @category operations
 */
export const probe = (
  path: string,
  instanceId: string,
  options: HealthProbeOptions = {}
): Effect.Effect<Health, never, Requirements> =>
  Effect.gen(function*() {
    const state = yield* LockInspection.inspect(path)
    const held = state._tag === "Held" ? Option.getOrUndefined(state.owner) : undefined
    const rule = held?.record.ready
    if (held === undefined || rule === undefined || held.record.instanceId !== instanceId) {
      return { _tag: "NoListener", detail: "it does not hold the lock" }
    }
    const requested = ReadyRule.pathOf(rule)
    const [listener, status] = yield* Effect.all([
      listenerOf(held, path, rule),
      requested === undefined
        ? Effect.succeed(undefined)
        : statusAt(OwnerRecord.address(held.record), requested, options)
    ], { concurrency: "unbounded" })
    const { detail, healthy } = ReadyRule.judge({
      rule,
      phase: held.record.phase,
      listener,
      status,
      awaitsLease: OwnerRecord.awaitedLease(held.record)
    })
    return healthy ? { _tag: "Healthy", instanceId } : { _tag: "Unhealthy", instanceId, detail }
  })
