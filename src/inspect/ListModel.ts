/**
 * The schema of the answer to `gateway list`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { GatewayStatus } from "./StatusModel.ts"

/**
 * The result of `gateway list`: all gateways that were found, and the places that could not be searched.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayList extends Schema.Struct.Type<typeof fields> {}

/**
 * `GatewayList` as JSON. Times are ISO 8601, in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface GatewayListEncoded extends Schema.Struct.Encoded<typeof fields> {}

const fields = {
  /** The version of this format. It changes if the meaning of a field changes. */
  version: Schema.Literal(1),
  /** When the last gateway was inspected. */
  asOf: Schema.DateTimeUtc,
  /** Sorted by the paths of their state directories. */
  gateways: Schema.Array(GatewayStatus),
  /** The places where gateways could not be searched for, each with the reason; one line each. */
  notCovered: Schema.Array(Schema.String)
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const GatewayList: Schema.Schema<GatewayList, GatewayListEncoded> = Schema.Struct(fields)
