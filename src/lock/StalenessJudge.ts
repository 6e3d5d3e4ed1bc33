/**
 * Gathers the evidence about the owner of a lock that no kernel lock enforces. `Staleness` then decides whether that
 * lock may be taken.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { ProcessTable } from "../host/ProcessTable.ts"
import { PortProbe } from "../probe/PortProbe.ts"
import * as OwnerRecord from "./OwnerRecord.ts"
import { presentProcess } from "./PresentProcess.ts"
import type { Snapshot } from "./Snapshot.ts"
import * as Staleness from "./Staleness.ts"

/**
 * Judges lock files and claims for one start, while the start waits for one lock file. A claim is a file by which a start
 * reserves the right to move a dead owner's lock file.
 */
export interface StalenessJudge {
  /**
   * Whether a lock in record-only mode (no kernel lock) may be taken from its owner. Not used for a held kernel lock,
   * because the owner of a held kernel lock is alive.
   */
  readonly judge: (snapshot: Snapshot) => Effect.Effect<Staleness.Verdict>
  /**
   * Whether the author of a claim (the process that made the claim file) is dead. The author does not listen yet, so its
   * port shows nothing. The process table decides. If the process table does not know, the age of the claim decides.
   */
  readonly isAbandoned: (claim: Snapshot) => Effect.Effect<boolean>
}

/** Makes a judge. From one judgement to the next, the judge remembers when it first saw that an owner is silent. */
export const make = (
  staleAfter: Duration.Duration
): Effect.Effect<StalenessJudge, never, ProcessTable | PortProbe> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const ports = yield* PortProbe

    /**
     * The owner that is silent, and the time on the monotonic clock at which it was first seen silent. An owner is silent
     * if it is alive and its record has phase `listening`, but its port is free.
     */
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

    const judge = (snapshot: Snapshot) =>
      Effect.gen(function*() {
        const { record } = snapshot
        const port = Option.isSome(record) ? yield* ports.probe(OwnerRecord.address(record.value)) : undefined
        const present = Option.isSome(record) ? yield* presentProcess(record.value) : undefined
        const owner = present?.owner ?? "Unknown"
        const sameNetwork = present?.liveness === "Alive" && (yield* table.network(present.process.pid)) === "Same"
        // The probe also reports `Free` for an address that is unreachable from here, although the owner may listen
        // there. So if the owner is alive, a port at an unreachable address counts as in use.
        const portInUse = port?._tag === "Free"
          ? owner === "Alive" && port.unreachable === true
          : port !== undefined
        return Staleness.decide({
          record,
          // A wrapper (`gateway exec`) holds the lock for the command that it started. If the wrapper is dead and its command
          // runs, the command owns the lock. So the record is no leftover, even if this process now has the wrapper's pid.
          namesThisProcess: Option.isSome(record) && present?.isChild !== true &&
            (yield* table.isLeftover(record.value)),
          owner,
          portInUse,
          sameNetwork,
          age: snapshot.age,
          silentFor: yield* silentFor(
            record,
            sameNetwork && !portInUse && Option.exists(record, Staleness.shouldListen)
          ),
          staleAfter
        })
      }).pipe(Effect.provideService(ProcessTable, table))

    const isAbandoned = ({ age, record }: Snapshot) =>
      Effect.gen(function*() {
        if (Option.isSome(record)) {
          if (yield* table.isLeftover(record.value)) return true
          const owner = yield* table.liveness(record.value)
          if (owner !== "Unknown") return owner === "Gone"
        }
        return Duration.greaterThan(age, staleAfter)
      })

    return { judge, isAbandoned }
  })
