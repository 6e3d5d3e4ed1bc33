/**
 * The keys of a lease in etcd, and the transactions on them. Pure.
 *
 *     <prefix><name>/beat            how often the present grant was renewed: the version of this key
 *     <prefix><name>/grant           the time and the holder's own JSON. Its mod_revision is the fencing token
 *     <prefix><name>/holder          the id of the attempt that acquired the lease, or null once it is released
 *     <prefix><name>/resign          the token of the leader that was asked to hand over
 *     <prefix><name>/session/<id>    bound to the etcd lease of a grant. Its create_revision is the same token
 *
 * All but `session` stay. `beat` sorts first, so that one watch shows all changes except renewals.
 */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { KeyValue } from "./EtcdAnswer.ts"
import type { KeyRange } from "./EtcdWatch.ts"
import * as FencingToken from "./FencingToken.ts"
import type { Claim, Grant, Sighting } from "./LeaseStore.ts"

/** The longest name of a lease, in bytes as it is written in a key. A transaction has each key several times. */
const longestName = 4096

export const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64")

/** The part of a key that a lease's name is. Left: why it cannot be one. */
export const segmentOf = (name: string): Either.Either<string, string> =>
  Either.try({
    try: () => encodeURIComponent(name),
    catch: () => "the name of the lease has half of a surrogate pair: expected Unicode text"
  }).pipe(
    Either.filterOrLeft(
      ({ length }) => length <= longestName,
      ({ length }) => `the name of the lease takes ${length} bytes in a key: expected at most ${longestName}`
    )
  )

/** The keys of one lease. */
export interface LeaseKeys {
  readonly base: string
  readonly beat: string
  readonly grant: string
  readonly holder: string
  readonly resign: string
  readonly session: (holderId: string) => string
  /** All keys but sessions. */
  readonly state: KeyRange
  /** All keys but the one that each renewal changes. */
  readonly watched: KeyRange
}

export const keysOf = (base: string): LeaseKeys => ({
  base,
  beat: base64(`${base}beat`),
  grant: base64(`${base}grant`),
  holder: base64(`${base}holder`),
  resign: base64(`${base}resign`),
  session: (holderId) => base64(`${base}session/${encodeURIComponent(holderId)}`),
  state: { key: base64(`${base}beat`), range_end: base64(`${base}session/`) },
  // "0" follows "/".
  watched: { key: base64(`${base}grant`), range_end: base64(`${base}session0`) }
})

const GrantValue = Schema.parseJson(Schema.Struct({
  ttlMs: Schema.Number.pipe(Schema.positive()),
  holder: Schema.declare((value): value is Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null && !Array.isArray(value)
  )
}))
const decodeGrant = Schema.decodeEither(GrantValue)
const decodeHolder = Schema.decodeEither(Schema.parseJson(Schema.NullOr(Schema.String)))

const grantValue = ({ holder, ttl }: Claim): string => base64(JSON.stringify({ ttlMs: Duration.toMillis(ttl), holder }))
const holderValue = (holderId: string | null): string => base64(JSON.stringify(holderId))

/** The lease that these keys show, `None` if there is none. Left: the key that has no valid value. */
export const sightingOf = (
  base: string,
  kvs: ReadonlyArray<KeyValue>
): Either.Either<Option.Option<Sighting>, string> =>
  Either.gen(function*() {
    const find = (name: string) => kvs.find(({ key }) => key === `${base}${name}`)
    const [grant, holder] = [find("grant"), find("holder")]
    if (grant === undefined) return Option.none()
    const { holder: described, ttlMs } = yield* Either.mapLeft(decodeGrant(grant.value), () => "grant")
    const holderId = yield* Either.mapLeft(decodeHolder(holder?.value ?? ""), () => "holder")
    const fencingToken = grant.mod_revision
    return Option.some({
      holderId: Option.fromNullable(holderId),
      fencingToken,
      renewals: find("beat")?.version ?? 0n,
      ttl: Duration.millis(ttlMs),
      epoch: FencingToken.epochOf(fencingToken),
      holder: described
    })
  })

const put = (key: string, value: string, lease = 0n) => ({ request_put: { key, value, lease: `${lease}` } })
const remove = (key: string) => ({ request_delete_range: { key } })
const read = (key: string) => ({ request_range: { key } })

const isModifiedAt = (key: string, revision: bigint) => ({
  key,
  target: "MOD",
  result: "EQUAL",
  mod_revision: `${revision}`
})
const isCreatedAt = (key: string, revision: bigint) => ({
  key,
  target: "CREATE",
  result: "EQUAL",
  create_revision: `${revision}`
})
const isVersion = (key: string, version: bigint) => ({ key, target: "VERSION", result: "EQUAL", version: `${version}` })
const isHolder = (key: string, holderId: string | null, result: "EQUAL" | "NOT_EQUAL" = "EQUAL") => ({
  key,
  target: "VALUE",
  result,
  value: holderValue(holderId)
})

/** What a new grant, or a new lease, begins with. */
const begin = (keys: LeaseKeys, claim: Claim) => [
  put(keys.grant, grantValue(claim)),
  put(keys.holder, holderValue(claim.holderId)),
  remove(keys.beat),
  remove(keys.resign)
]

export const create = (keys: LeaseKeys, claim: Claim) => ({
  compare: [isCreatedAt(keys.grant, 0n)],
  success: begin(keys, claim)
})

/** The last answer of both branches has the session of the claim. Its own session shows a claim that it was granted before. */
export const acquire = (keys: LeaseKeys, seen: Sighting, claim: Claim, lease: bigint) => {
  const former = Option.getOrNull(seen.holderId)
  const session = keys.session(claim.holderId)
  return {
    compare: [
      isModifiedAt(keys.grant, seen.fencingToken),
      isHolder(keys.holder, former),
      isVersion(keys.beat, seen.renewals),
      isCreatedAt(session, 0n)
    ],
    success: [
      ...begin(keys, claim),
      ...(former === null || former === claim.holderId ? [] : [remove(keys.session(former))]),
      put(session, "", lease),
      read(session)
    ],
    failure: [read(session)]
  }
}

const isHeld = (keys: LeaseKeys, { fencingToken, holderId }: Grant) => [
  isModifiedAt(keys.grant, fencingToken),
  isCreatedAt(keys.session(holderId), fencingToken)
]

/** The answers have the request to resign, and the session with its etcd lease. */
export const renew = (keys: LeaseKeys, grant: Grant) => ({
  compare: isHeld(keys, grant),
  success: [put(keys.beat, ""), read(keys.resign), read(keys.session(grant.holderId))]
})

/** Does not compare the session, because etcd may have removed it already. */
export const release = (keys: LeaseKeys, { fencingToken, holderId }: Grant) => ({
  compare: [isModifiedAt(keys.grant, fencingToken), isHolder(keys.holder, holderId)],
  success: [put(keys.holder, holderValue(null)), remove(keys.session(holderId))]
})

export const requestResign = (keys: LeaseKeys, fencingToken: bigint) => ({
  compare: [isModifiedAt(keys.grant, fencingToken), isHolder(keys.holder, null, "NOT_EQUAL")],
  success: [put(keys.resign, base64(`${fencingToken}`))]
})

/** Needs every right that a store needs, and changes nothing: no key was created before the first revision. */
export const rightsProbe = (keys: LeaseKeys) => ({
  compare: [{ key: keys.grant, target: "CREATE", result: "LESS", create_revision: "0" }],
  success: [put(keys.grant, ""), remove(keys.session("probe")), { request_range: keys.state }],
  failure: []
})
