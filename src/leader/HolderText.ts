/**
 * What the holder of a lease says about itself: which gateway it is, and the place of its locks (`DeathProof.ts`). Readers ignore
 * unknown keys, and a description that does not parse proves nothing. Pure.
 *
 * @internal
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { optional } from "../internal/optional.ts"
import type { HolderPlace } from "./DeathProof.ts"
import type { LeaseHolder } from "./LeaseStore.ts"

const placeFields = {
  bootId: optional(Schema.NonEmptyString),
  locks: Schema.Array(Schema.Struct({ device: Schema.String, inode: Schema.String })),
  fileSystem: Schema.String,
  enforcement: Schema.Literal("kernel", "record"),
  mode: Schema.Literal("run", "exec")
}

const Place = Schema.Struct(placeFields)

const Gateway = Schema.Struct({
  instanceId: optional(Schema.String),
  hostname: optional(Schema.String),
  pid: optional(Schema.Number),
  url: optional(Schema.String)
})

/** Which gateway holds a lease. Unknown facts are absent. */
export interface HolderGateway extends Schema.Schema.Type<typeof Gateway> {}

/** Makes the description of a holder. */
export const make = (gateway: HolderGateway, place: HolderPlace): LeaseHolder => ({ ...gateway, ...place })

const decodePlace = Schema.decodeUnknownOption(Place)
const decodeGateway = Schema.decodeUnknownOption(Gateway)

/** The place of the holder's locks. `None` if the description has none. */
export const placeOf = (holder: LeaseHolder): Option.Option<HolderPlace> => decodePlace(holder)

/** Which gateway the holder is, as far as it says so. */
export const gatewayOf = (holder: LeaseHolder): HolderGateway => Option.getOrElse(decodeGateway(holder), () => ({}))
