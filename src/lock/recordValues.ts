/**
 * Reads and writes the values of a record that are not plain JSON.
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { SupervisorKind } from "../GatewayLockError.ts"
import { supervisorKinds } from "../internal/lockErrors.ts"

/** If another program wrote text that is not a time, the time is `None`, and the rest of the record is still used. */
export const readTime = (text: string): Option.Option<DateTime.Utc> => Option.map(DateTime.make(text), DateTime.toUtc)

export const writeTime = (time: Option.Option<DateTime.Utc>): string =>
  Option.isNone(time) ? "" : DateTime.formatIso(time.value)

/** A later version may write a kind of supervisor that this version does not know. That kind is read as `external`. */
export const readSupervisor = (name: string): SupervisorKind =>
  supervisorKinds.find((kind) => kind === name) ?? "external"
