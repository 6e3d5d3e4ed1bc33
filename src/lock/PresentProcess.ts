/**
 * Finds the process that is the owner of a lock at present. A wrapper (`gateway exec`) starts a command and holds the lock for
 * it. If the wrapper was killed and the command still runs, the command is the owner.
 */
import * as Effect from "effect/Effect"
import type { Liveness, ProcessIdentity } from "../host/ProcessIdentity.ts"
import { ProcessTable } from "../host/ProcessTable.ts"
import type { OwnerRecord } from "./OwnerRecord.ts"

/** The process that is now the owner of a lock: the process in the owner record or, if that was a wrapper and has ended, its command. */
export interface PresentProcess {
  /** The identity by which the process can be found and signalled. */
  readonly process: ProcessIdentity
  /** Whether the process is the command that a wrapper started. The wrapper has ended then. */
  readonly isChild: boolean
  /** Whether `process` lives. */
  readonly liveness: Liveness
  /** Whether the owner lives. An owner with a wrapper lives while the wrapper or its command lives. */
  readonly owner: Liveness
}

/** The identity of the command that a wrapper started (`child`). It has the boot and the PID namespace of its wrapper. */
export const childOf = (record: OwnerRecord): ProcessIdentity | undefined =>
  record.child === undefined
    ? undefined
    : {
      ...record.child,
      ...(record.bootId === undefined ? {} : { bootId: record.bootId }),
      ...(record.pidNamespace === undefined ? {} : { pidNamespace: record.pidNamespace })
    }

/**
 * Whether the child is the present owner: the wrapper has ended, and the child has not. Pure.
 *
 * If it is unknown whether the child lives, the child counts as the owner, because the wrapper has certainly ended.
 */
export const isChildOwner = (wrapper: Liveness, child: Liveness): boolean => wrapper === "Gone" && child !== "Gone"

/** Whether an owner lives that consists of a wrapper and its child. It lives while one of the two lives. Pure. */
export const either = (wrapper: Liveness, child: Liveness): Liveness => {
  if (wrapper === "Alive" || child === "Alive") return "Alive"
  return wrapper === "Unknown" || child === "Unknown" ? "Unknown" : "Gone"
}

/** Finds the process that is the owner now: the process in the record or, after the end of a wrapper, its child. */
export const presentProcess = (
  record: OwnerRecord
): Effect.Effect<PresentProcess, never, ProcessTable> =>
  Effect.gen(function*() {
    const table = yield* ProcessTable
    const wrapper = yield* table.liveness(record)
    const child = childOf(record)
    if (child === undefined) return { process: record, isChild: false, liveness: wrapper, owner: wrapper }
    const liveness = yield* table.liveness(child)
    const owner = either(wrapper, liveness)
    return isChildOwner(wrapper, liveness)
      ? { process: child, isChild: true, liveness, owner }
      : { process: record, isChild: false, liveness: wrapper, owner }
  })

/** Whether the owner that a record names lives: the recorded process, or the command that this process started. */
export const ownerLiveness = (record: OwnerRecord): Effect.Effect<Liveness, never, ProcessTable> =>
  Effect.map(presentProcess(record), ({ owner }) => owner)
