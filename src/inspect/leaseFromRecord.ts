/**
 * Reads the lease in an owner record. Pure.
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { LeaseRecord } from "../lock/OwnerRecord.ts"
import type { Lease } from "./StatusModel.ts"

/** If another program wrote text that is not a time, the time is left out. */
const timeOf = (text: string | undefined): Option.Option<DateTime.Utc> =>
  Option.fromNullable(text).pipe(Option.flatMap(DateTime.make), Option.map(DateTime.toUtc))

/** The lease of a record, as `GatewayStatus` and the status page show it. */
export const fromRecord = ({ renewedAt, trustedUntil, ...others }: LeaseRecord): Lease => {
  const renewed = timeOf(renewedAt)
  const trusted = timeOf(trustedUntil)
  return {
    ...others,
    ...(Option.isNone(renewed) ? {} : { renewedAt: renewed.value }),
    ...(Option.isNone(trusted) ? {} : { trustedUntil: trusted.value })
  }
}
