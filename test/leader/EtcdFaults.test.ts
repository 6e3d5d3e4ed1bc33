/**
 * Faults of a real etcd with one member. `test/hosts` has those of a cluster.
 */
import { FetchHttpClient } from "@effect/platform"
import { assert, describe } from "@effect/vitest"
import { Context, Duration, Effect, Either, Fiber, Layer, Option, Schedule } from "effect"
import * as EtcdLeaseStore from "../../src/leader/EtcdLeaseStore.ts"
import { type Grant, LeaseStore, type StoreError } from "../../src/leader/LeaseStore.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { eventually, within } from "../fixtures/net.ts"
import { unless } from "../fixtures/skips.ts"
import { acquire, claimOf } from "./leaseStoreContract.ts"

const test = unless(Etcd.noEtcd)
const { base64 } = Etcd

const connect = (url: string, options: Partial<EtcdLeaseStore.EtcdOptions> = {}) =>
  Effect.map(
    Layer.build(
      Layer.provide(EtcdLeaseStore.layerEtcd({ url, attemptTimeout: "20 seconds", ...options }), FetchHttpClient.layer)
    ),
    Context.get(LeaseStore)
  )

const diagnose = (url: string) =>
  Effect.provide(
    Effect.map(EtcdLeaseStore.diagnose({ url, attemptTimeout: "20 seconds" }), (findings) =>
      findings.map(({ message, severity }) => `${severity} ${message}`)),
    FetchHttpClient.layer
  )

const outcome = <A>(effect: Effect.Effect<A, StoreError>) =>
  Effect.map(
    Effect.either(effect),
    Either.match({
      onLeft: ({ _tag, message }) => `${_tag} ${message}`,
      onRight: () => "succeeded"
    })
  )

/** The session key of a grant, with the etcd lease to which it is bound. */
const sessionOf = (etcd: Etcd.Etcd, { holderId, name }: Grant) =>
  Effect.map(
    etcd.post("kv/range", { key: base64(`gateway-lock/${name}/session/${holderId}`) }),
    ({ kvs }) => Array.isArray(kvs) ? kvs[0] : undefined
  )

const all = { key: base64("gateway-lock/"), range_end: base64("gateway-lock0") }

describe("a lease in etcd", () => {
  test.scopedLive("is lost at once when its etcd lease is revoked by hand, and candidates wait on", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const [leader, candidate] = [yield* connect(etcd.url), yield* connect(etcd.url)]
      const grant = yield* acquire(leader, claimOf("a"))
      assert.strictEqual(yield* leader.renew(grant), "Renewed")
      const before = yield* candidate.look("a")
      const hints = yield* Effect.all([Effect.fork(leader.changed("a")), Effect.fork(candidate.changed("a"))])
      const session = yield* sessionOf(etcd, grant)
      assert.strictEqual(session.create_revision, `${grant.fencingToken}`)
      yield* etcd.post("lease/revoke", { ID: session.lease })
      yield* within("the hints")(Fiber.joinAll(hints))
      assert.strictEqual(yield* leader.renew(grant), "Lost")
      // Nothing that a candidate compares has changed, so its wait neither ends nor begins again.
      assert.deepStrictEqual(yield* candidate.look("a"), before)
      const next = yield* acquire(candidate, claimOf("a"))
      assert.isTrue(grant.fencingToken < next.fencingToken)
    }))

  test.scopedLive("is not free when etcd has removed its session after a crash", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const store = yield* connect(etcd.url)
      const grant = yield* acquire(store, claimOf("a", { ttl: Duration.seconds(1) }))
      const before = yield* store.look("a")
      yield* eventually(
        "the end of the etcd lease",
        Effect.map(sessionOf(etcd, grant), (session) => session === undefined)
      )
      assert.deepStrictEqual(yield* store.look("a"), before)
      assert.strictEqual(yield* store.renew(grant), "Lost")
      yield* store.release(grant)
      assert.isTrue(Option.isNone(Option.getOrThrow(yield* store.look("a")).holderId))
    }))

  test.scopedLive("is lost when its keys are removed by hand, and the next tokens are higher", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const store = yield* connect(etcd.url)
      const grant = yield* acquire(store, claimOf("a"))
      yield* store.look("a")
      const hint = yield* Effect.fork(store.changed("a"))
      yield* etcd.post("kv/deleterange", all)
      yield* within("the hint")(Fiber.join(hint))
      assert.strictEqual(yield* store.renew(grant), "Lost")
      assert.isTrue(Option.isNone(yield* store.look("a")))
      const next = yield* acquire(store, claimOf("a"))
      assert.isTrue(grant.fencingToken < next.fencingToken)
    }))

  test.scopedLive("hints at a change that compaction has removed from the history", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const store = yield* connect(etcd.url)
      const grant = yield* acquire(store, claimOf("a"))
      yield* store.look("a")
      yield* (yield* connect(etcd.url)).release(grant)
      const { header } = yield* etcd.post("kv/put", { key: base64("other"), value: "" })
      const { revision } = Object(header)
      yield* etcd.post("kv/compaction", { revision, physical: true })
      yield* within("the hint")(store.changed("a"))
      assert.isTrue(Option.isNone(Option.getOrThrow(yield* store.look("a")).holderId))
      // The next watch begins after the compaction, and shows the next change.
      const hint = yield* Effect.fork(store.changed("a"))
      yield* Effect.flatMap(connect(etcd.url), (other) => acquire(other, claimOf("a")))
      yield* within("the next hint")(Fiber.join(hint))
    }))

  test.scopedLive("outlives a restart of etcd", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const [member] = etcd.members
      const store = yield* connect(etcd.url)
      const grant = yield* acquire(store, claimOf("a"))
      yield* store.look("a")
      const hint = yield* Effect.fork(store.changed("a"))
      yield* member?.kill ?? Effect.void
      assert.match(yield* outcome(store.renew(grant)), /^StoreFailed 127\.0\.0\.1:\d+: .*ECONNREFUSED/)
      yield* member?.start ?? Effect.void
      const renewed = yield* Effect.retry(store.renew(grant), { schedule: Schedule.spaced("20 millis"), times: 200 })
      assert.strictEqual(renewed, "Renewed")
      yield* store.release(grant)
      yield* within("the hint of a watch that was opened again")(Fiber.join(hint))
    }))

  test.scopedLive("is not renewed while the database is full, and is again after that", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start({ flags: ["--quota-backend-bytes", `${2 * 1024 * 1024}`] })
      const store = yield* connect(etcd.url)
      const grant = yield* acquire(store, claimOf("a"))
      const value = base64("x".repeat(500_000))
      yield* Effect.ignore(Effect.forever(etcd.post("kv/put", { key: base64("filler"), value })))
      assert.match(yield* outcome(store.renew(grant)), /^StoreFailed .*database space exceeded: compact/)
      assert.isTrue(Option.isSome(yield* store.look("a")))
      const full = yield* diagnose(etcd.url)
      assert.isTrue(full.some((line) => line.startsWith("error etcd has raised the alarm NOSPACE")), full.join("\n"))
      const { header } = yield* etcd.post("kv/range", { key: base64("filler") })
      const { member_id, revision } = Object(header)
      yield* etcd.post("kv/compaction", { revision, physical: true })
      yield* etcd.post("maintenance/defragment", {})
      yield* etcd.post("maintenance/alarm", { action: "DEACTIVATE", memberID: member_id, alarm: "NOSPACE" })
      assert.strictEqual(yield* store.renew(grant), "Renewed")
    }))

  test.scopedLive("is kept by a server that listens on IPv6 only", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start({ address: "::1" })
      assert.include(etcd.url, "[::1]")
      const store = yield* connect(etcd.url)
      assert.strictEqual(yield* store.renew(yield* acquire(store, claimOf("a"))), "Renewed")
    }))

  test.scopedLive("names NODE_EXTRA_CA_CERTS for a certificate of an unknown CA, and http for a port with TLS", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start({ isSecure: true })
      assert.match(
        yield* outcome((yield* connect(etcd.url)).look("a")),
        /^StoreFailed .*: set NODE_EXTRA_CA_CERTS to the file of its CA/
      )
      const plain = yield* outcome((yield* connect(etcd.url.replace("https", "http"))).look("a"))
      assert.match(plain, /^StoreFailed /)
    }))
})

/** A server with authentication: `root`, `gateway` with the rights on the keys, and `reader` without the right to write. */
const secured = (flags: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const etcd = yield* Etcd.start({ flags: ["--bcrypt-cost", "4", ...flags] })
    const grantTo = (name: string, permType: string, range = all) =>
      Effect.gen(function*() {
        yield* etcd.post("auth/role/add", { name })
        yield* etcd.post("auth/role/grant", { name, perm: { permType, ...range } })
        yield* etcd.post("auth/user/add", { name, password: "p@ss:/1" })
        yield* etcd.post("auth/user/grant", { user: name, role: name })
      })
    yield* etcd.post("auth/user/add", { name: "root", password: "r" })
    yield* etcd.post("auth/role/add", { name: "root" })
    yield* etcd.post("auth/user/grant", { user: "root", role: "root" })
    yield* grantTo("gateway", "READWRITE")
    yield* grantTo("reader", "READ")
    yield* etcd.post("auth/enable", {})
    const as = (user: string) => etcd.url.replace("//", `//${user}@`)
    return { etcd, as, gateway: as("gateway:p%40ss%3A%2F1"), reader: as("reader:p%40ss%3A%2F1") }
  })

describe("a lease in an etcd with authentication", () => {
  test.scopedLive("needs the right to read and write its keys, and no other", () =>
    Effect.gen(function*() {
      const { as, etcd, gateway, reader } = yield* secured()
      const store = yield* connect(gateway)
      const grant = yield* acquire(store, claimOf("a"))
      assert.strictEqual(yield* store.renew(grant), "Renewed")
      assert.isTrue(yield* store.requestResign("a", grant.fencingToken))
      assert.strictEqual(yield* store.renew(grant), "Resign")
      const hint = yield* Effect.fork(store.changed("a"))
      yield* store.release(grant)
      yield* within("the hint")(Fiber.join(hint))
      const refusals: ReadonlyArray<readonly [string, RegExp]> = [
        [etcd.url, /^StoreRefused .*user name is empty.*needs name:password@/],
        [as("gateway:wrong"), /^StoreRefused .*authentication failed/],
        [as("nobody:p"), /^StoreRefused .*authentication failed/],
        [as("root:wrong"), /^StoreRefused .*authentication failed/]
      ]
      for (const [url, expected] of refusals) assert.match(yield* outcome((yield* connect(url)).look("a")), expected)
      const other = yield* connect(reader)
      assert.isTrue(Option.isSome(yield* other.look("a")))
      assert.match(
        yield* outcome(other.create(claimOf("b"))),
        /^StoreRefused .*permission denied: run etcdctl role add .* readwrite gateway-lock\/ --prefix; etcdctl user grant-role reader gateway-lock$/
      )
      const foreign = yield* connect(gateway, { prefix: "elsewhere/" })
      assert.match(yield* outcome(foreign.look("a")), /^StoreRefused .*permission denied/)
    }))

  test.scopedLive("is renewed and watched after its token has expired", () =>
    Effect.gen(function*() {
      const { gateway } = yield* secured(["--auth-token-ttl", "1"])
      const [store, other] = [yield* connect(gateway), yield* connect(gateway)]
      const grant = yield* acquire(store, claimOf("a"))
      yield* other.look("a")
      // etcd removes expired tokens every second.
      yield* Effect.sleep("2500 millis")
      assert.strictEqual(yield* store.renew(grant), "Renewed")
      const hint = yield* Effect.fork(other.changed("a"))
      yield* store.release(grant)
      yield* within("the hint")(Fiber.join(hint))
    }))

  test.scopedLive("is renewed after etcd has restarted, which forgets all tokens, and after a change of the users", () =>
    Effect.gen(function*() {
      const { as, etcd, gateway } = yield* secured()
      const store = yield* connect(gateway)
      const grant = yield* acquire(store, claimOf("a"))
      const root = yield* connect(as("root:r"))
      yield* root.look("a")
      const { token } = yield* etcd.post("auth/authenticate", { name: "root", password: "r" })
      yield* etcd.post("auth/user/add", { name: "more", password: "p" }, String(token))
      assert.strictEqual(yield* store.renew(grant), "Renewed")
      for (const { kill, start } of etcd.members) yield* Effect.zipRight(kill, start)
      const renewed = yield* Effect.retry(store.renew(grant), {
        schedule: Schedule.spaced("20 millis"),
        times: 200,
        while: ({ _tag }) => _tag === "StoreFailed"
      })
      assert.strictEqual(renewed, "Renewed")
    }))

  test.scopedLive("refuses a password where authentication is off", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start()
      const store = yield* connect(etcd.url.replace("//", "//u:p@"))
      assert.match(
        yield* outcome(store.look("a")),
        /^StoreRefused .*authentication is not enabled: remove name:password@/
      )
    }))

  test.scopedLive("has a diagnosis for each way in which it cannot be kept", () =>
    Effect.gen(function*() {
      const { as, etcd, gateway, reader } = yield* secured()
      const healthy = yield* diagnose(gateway)
      assert.match(
        healthy.join("\n"),
        /^(ok|warning) etcd member \S+ runs version 3\.\S+.*\nok etcd\+http:\/\/\S+ can keep leases below/
      )
      assert.deepStrictEqual(yield* diagnose(as("root:r")), healthy)
      for (const url of [reader, as("gateway:wrong"), etcd.url]) {
        const findings = yield* diagnose(url)
        assert.isTrue(
          findings.some((line) => /^error etcd\+http:\/\/\S+ cannot keep a lease: /.test(line)),
          findings.join("\n")
        )
      }
      const { token } = yield* etcd.post("auth/authenticate", { name: "root", password: "r" })
      assert.isUndefined((yield* etcd.post("kv/range", all, String(token)))["kvs"])
      yield* etcd.members[0]?.kill ?? Effect.void
      const down = yield* diagnose(gateway)
      assert.match(down.join("\n"), /^warning etcd member \S+ cannot be used: .*ECONNREFUSED.*\nerror .*ECONNREFUSED/)
      assert.isTrue(Option.isNone(yield* Effect.option(diagnose("etcd+http://"))))
    }))
})
