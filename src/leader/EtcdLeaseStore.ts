/**
 * Leases in etcd 3.4 or later, through the JSON gateway of its members.
 *
 * A lease is a few keys that stay, and one *session* key that is bound to an etcd lease. All keys of a lease are below
 * `gateway-lock/<name>/`. The fencing token is the revision of the grant: the `create_revision` of the session key.
 *
 * **Who may lead.** Each renewal writes a key, in a transaction that compares the grant. A candidate waits until it has seen the lease
 * unchanged for its duration T, by its own clock, as with every other store. Its transaction then compares everything that it saw. So
 * the condition is the usual one: `renewDeadline + stopTimeout + 300 ms` is at most 99 % of T. The leader counts from the
 * sending of a renewal, and the candidate from the receipt of a look that shows it.
 *
 * **What the etcd lease is for.** etcd removes the session key when the leader is gone for T, or when somebody revokes the etcd lease.
 * A leader whose session key is gone stops at its next renewal, which the watch of that key starts at once. A candidate does
 * not take the missing key for a proof that the leader has ended, for three reasons:
 *
 * - etcd may remove the key too early. Servers before 3.4.38, 3.5.23 and 3.6.5 can do so, for example after their disk was slow
 *   (etcd-io/etcd#15247), and anybody with the right can revoke an etcd lease.
 * - etcd may remove it late. It counts whole seconds from the receipt of the last keepalive, and each change of etcd's leader begins the
 *   count again. So a candidate that waited for the removal would wait longer than T.
 * - A leader needs `stopTimeout` to stop after it has noticed.
 *
 * So a key that is removed early costs a leader its leadership, but never makes two leaders. A key that is removed late costs nothing.
 *
 * **Gotchas**
 *
 * - etcd grants whole seconds, and may grant more than was asked for. That changes nothing, and a shorter lease is refused.
 * - Each renewal is a revision of etcd: 28,800 a day with the defaults, which take 2 MB unless etcd compacts them.
 * - A snapshot that is restored moves revisions back, so tokens repeat. Then only the highest token that each host remembers protects.
 * - `etcd grpc-proxy` has no JSON gateway. `--enable-grpc-gateway=false` turns off the one of a member.
 * - Certificates of clients are not supported: the gateway passes no name of a certificate on to etcd.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { shellWord } from "../internal/shellWord.ts"
import * as EtcdAnswer from "./EtcdAnswer.ts"
import * as EtcdDiagnosis from "./EtcdDiagnosis.ts"
import * as EtcdGateway from "./EtcdGateway.ts"
import * as EtcdLease from "./EtcdLease.ts"
import * as EtcdUrl from "./EtcdUrl.ts"
import * as EtcdWatch from "./EtcdWatch.ts"
import * as FencingToken from "./FencingToken.ts"
import { type Grant, LeaseStore, type Renewal, type StoreError, StoreFailed, StoreRefused } from "./LeaseStore.ts"
import { defaults } from "./LeaseTimes.ts"

export type { EtcdFinding } from "./EtcdDiagnosis.ts"

/**
 * Options of `layerEtcd` and `diagnose`.
 *
 * @since 0.1.0
 * @category models
 */
export interface EtcdOptions {
  /**
   * `etcd+http://` or `etcd+https://`, then `name:password@` if authentication is on, then the members of the cluster, such as
   * `etcd+https://gateway:secret@a.example:2379,b.example:2379`. Name and password are percent-encoded. Default port 2379. A CA of
   * your own is set by the environment variable `NODE_EXTRA_CA_CERTS` of Node.
   */
  readonly url: string | Redacted.Redacted
  /** What all keys begin with. Default `gateway-lock/`. */
  readonly prefix?: string | undefined
  /**
   * The `attemptTimeout` of the leases. One member may take 45 % of it before the next one is asked, so that two can be asked. Default 2
   * seconds.
   */
  readonly attemptTimeout?: Duration.DurationInput | undefined
}

/**
 * Checks a URL without sending anything. Left: what is wrong, in one line without the credentials. Right: the URL without
 * credentials.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkUrl = (url: string): Either.Either<string, string> =>
  Either.map(EtcdUrl.parse(url), ({ location }) => location)

interface Client {
  readonly gateway: EtcdGateway.EtcdGateway
  readonly prefix: string
  readonly watches: Map<string, EtcdWatch.EtcdWatch>
  readonly scope: Scope.Scope
}

const keysOf = ({ prefix }: Client, name: string): Effect.Effect<EtcdLease.LeaseKeys, StoreRefused> =>
  Either.match(EtcdLease.segmentOf(name), {
    onLeft: (reason) => Effect.fail(new StoreRefused({ reason })),
    onRight: (segment) => Effect.succeed(EtcdLease.keysOf(`${prefix}${segment}/`))
  })

const watchOf = (client: Client, { base, watched }: EtcdLease.LeaseKeys): Effect.Effect<EtcdWatch.EtcdWatch> =>
  Effect.suspend(() => {
    const known = client.watches.get(base)
    return known !== undefined
      ? Effect.succeed(known)
      : Effect.tap(
        EtcdWatch.make(client.gateway, watched, client.scope),
        (watch) => Effect.sync(() => client.watches.set(base, watch))
      )
  })

const txn = ({ gateway }: Client, body: unknown) => gateway.call("kv/txn", body, EtcdAnswer.Txn)

const look = (client: Client, name: string) =>
  Effect.gen(function*() {
    const keys = yield* keysOf(client, name)
    const watch = yield* watchOf(client, keys)
    yield* watch.beforeLook
    const { header, kvs } = yield* client.gateway.call("kv/range", keys.state, EtcdAnswer.Range)
    watch.seen(header.revision)
    return yield* Effect.mapError(
      EtcdLease.sightingOf(keys.base, kvs),
      (key) =>
        new StoreRefused({
          reason:
            `the key ${keys.base}${key} has no valid value: stop the leader, and remove all keys below ${keys.base}`
        })
    )
  })

/** Asks for an etcd lease that lasts at least as long. etcd has whole seconds, and may grant more. */
const grantLease = ({ gateway }: Client, ttl: Duration.Duration): Effect.Effect<bigint, StoreError> =>
  Effect.gen(function*() {
    const asked = BigInt(Math.max(1, Math.ceil(Duration.toSeconds(ttl))))
    const { ID, TTL, error } = yield* gateway.call("lease/grant", { TTL: `${asked}` }, EtcdAnswer.LeaseGrant)
    if (error !== "" || ID === 0n) {
      return yield* new StoreFailed({ reason: `etcd granted no lease${error === "" ? "" : `: ${error}`}` })
    }
    return TTL < asked
      ? yield* new StoreRefused({ reason: `etcd granted a lease of ${TTL} s: expected at least ${asked} s` })
      : ID
  })

const acquire = (client: Client): LeaseStore["Type"]["acquire"] => (seen, claim) =>
  Effect.gen(function*() {
    const keys = yield* keysOf(client, claim.name)
    if (seen.epoch !== FencingToken.epochOf(seen.fencingToken)) return Option.none()
    const lease = yield* grantLease(client, claim.ttl)
    const watch = yield* watchOf(client, keys)
    const { header, responses } = yield* txn(client, EtcdLease.acquire(keys, seen, claim, lease))
    // Otherwise the own grant would be a hint.
    watch.seen(header.revision)
    // If the answer to this very transaction was lost, and it was sent again, then it was granted before.
    const session = responses.at(-1)?.response_range.kvs[0]
    return Option.map(Option.fromNullable(session), ({ create_revision }) => ({
      name: claim.name,
      holderId: claim.holderId,
      fencingToken: create_revision
    }))
  })

const renew = (client: Client, grant: Grant): Effect.Effect<Renewal, StoreError> =>
  Effect.gen(function*() {
    const keys = yield* keysOf(client, grant.name)
    const watch = yield* watchOf(client, keys)
    yield* watch.beforeLook
    const { header, responses, succeeded } = yield* txn(client, EtcdLease.renew(keys, grant))
    watch.seen(header.revision)
    if (!succeeded) return "Lost"
    const [, resign, session] = responses.map(({ response_range }) => response_range.kvs[0])
    const body = { ID: `${session?.lease ?? 0n}` }
    const { result } = yield* client.gateway.call("lease/keepalive", body, EtcdAnswer.LeaseKeepAlive)
    if (result.TTL <= 0n) return "Lost"
    return resign?.value === `${grant.fencingToken}` ? "Resign" : "Renewed"
  })

const defaultPrefix = "gateway-lock/"

/** The share of an attempt that one member gets. */
const share = 0.45

/** The commands with which the root user of etcd gives the rights to the user of the URL. */
const grantCommands = ({ credentials }: EtcdUrl.EtcdUrl, prefix: string): string => {
  const user = Option.match(credentials, { onNone: () => "<user>", onSome: ({ name }) => shellWord(name) })
  return [
    "etcdctl role add gateway-lock",
    `etcdctl role grant-permission gateway-lock readwrite ${shellWord(prefix)} --prefix`,
    `etcdctl user grant-role ${user} gateway-lock`
  ].join("; ")
}

const prepare = ({ attemptTimeout = defaults.attemptTimeout, prefix = defaultPrefix, url }: EtcdOptions) =>
  Effect.gen(function*() {
    const parsed = yield* Effect.mapError(
      EtcdUrl.parse(Redacted.isRedacted(url) ? Redacted.value(url) : url),
      (problem) => new StoreRefused({ reason: `the URL of etcd is not valid: ${problem}` })
    )
    const advice = grantCommands(parsed, prefix)
    return { parsed, gateway: yield* EtcdGateway.make(parsed, Duration.times(attemptTimeout, share), advice) }
  })

const make = (options: EtcdOptions) =>
  Effect.gen(function*() {
    const { gateway } = yield* prepare(options)
    const { prefix = defaultPrefix } = options
    const client: Client = { gateway, prefix, watches: new Map(), scope: yield* Effect.scope }
    const changing = (name: string, body: (keys: EtcdLease.LeaseKeys) => unknown) =>
      Effect.flatMap(keysOf(client, name), (keys) => txn(client, body(keys)))
    return LeaseStore.of({
      location: gateway.location,
      look: (name) => look(client, name),
      create: (claim) => Effect.asVoid(changing(claim.name, (keys) => EtcdLease.create(keys, claim))),
      acquire: acquire(client),
      renew: (grant) => renew(client, grant),
      release: (grant) => Effect.asVoid(changing(grant.name, (keys) => EtcdLease.release(keys, grant))),
      requestResign: (name, token) =>
        Effect.map(changing(name, (keys) => EtcdLease.requestResign(keys, token)), ({ succeeded }) => succeeded),
      changed: (name) =>
        Effect.matchEffect(Effect.flatMap(keysOf(client, name), (keys) => watchOf(client, keys)), {
          onFailure: () => Effect.never,
          onSuccess: ({ changed }) => changed
        })
    })
  })

/**
 * A store in an etcd cluster. Sends nothing before it is used. Any HTTP client that streams answers will do.
 *
 * Fails with `StoreRefused` if the URL is not valid. Its operations fail with `StoreRefused` if a right is missing, if name or
 * password are wrong, missing or not expected, or if the server is no etcd of 3.4 or later. They fail with `StoreFailed` if no member
 * answers in time, or if the cluster has no leader or no space.
 *
 * @example
 * import { FetchHttpClient } from "@effect/platform"
 * import { Config, Effect, Layer } from "effect"
 * import { Leadership } from "gateway-lock"
 * import * as EtcdLeaseStore from "gateway-lock/EtcdLeaseStore"
 *
 * const Store = Layer.unwrapEffect(
 *   Effect.map(Config.redacted("LEASE_URL"), (url) => EtcdLeaseStore.layerEtcd({ url }))
 * ).pipe(Layer.provide(FetchHttpClient.layer))
 *
 * // Its build waits until this process leads.
 * const Leader = Leadership.layer({ lease: { name: "reports" } }).pipe(Layer.provide(Store))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEtcd = (options: EtcdOptions): Layer.Layer<LeaseStore, StoreRefused, HttpClient.HttpClient> =>
  Layer.scoped(LeaseStore, make(options))

/**
 * Checks whether a cluster can keep leases, and changes nothing in it. Says of each member whether it answers, its version with what is
 * known to be wrong in it, whether it knows a leader of the cluster, and the size of its database. Says of the cluster whether name,
 * password and rights are sufficient, and which alarms it has raised.
 *
 * Takes at most as long as one member may take, and as long for each of three questions to each member. Fails with `StoreRefused` if the
 * URL is not valid.
 *
 * @since 0.1.0
 * @category checks
 */
export const diagnose = (
  options: EtcdOptions
): Effect.Effect<ReadonlyArray<EtcdDiagnosis.EtcdFinding>, StoreRefused, HttpClient.HttpClient> =>
  Effect.flatMap(
    prepare(options),
    ({ gateway, parsed }) =>
      EtcdDiagnosis.diagnose(gateway, parsed, EtcdLease.keysOf(`${options.prefix ?? defaultPrefix}doctor/`))
  )
