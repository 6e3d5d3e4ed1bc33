/**
 * Mutants of the store in etcd: versions of the sources with one mistake each. `test/simulation/mutants.ts` explains how they are
 * loaded.
 */
import type { Mutant } from "../../simulation/mutants.ts"

const lease = "src/leader/EtcdLease.ts"
const store = "src/leader/EtcdLeaseStore.ts"
const watch = "src/leader/EtcdWatch.ts"

const one = (file: string, from: string, to: string): Pick<Mutant, "changes"> => ({ changes: [{ file, from, to }] })

/** The name of a check in `etcdMutants.hosts.ts`, by the mistakes that it finds. */
export const etcdMutants = {
  comparesEachField: [
    {
      name: "etcd: no grant in the compare of a candidate",
      ...one(lease, "      isModifiedAt(keys.grant, seen.fencingToken),\n", "")
    },
    {
      name: "etcd: no holder in the compare of a candidate",
      ...one(lease, "      isHolder(keys.holder, former),\n", "")
    },
    {
      name: "etcd: no renewals in the compare of a candidate",
      ...one(lease, "      isVersion(keys.beat, seen.renewals),\n", "")
    },
    {
      name: "etcd: a sighting of another epoch is accepted",
      ...one(store, "    if (seen.epoch !== FencingToken.epochOf(seen.fencingToken)) return Option.none()\n", "")
    },
    {
      name: "etcd: a release by any token",
      ...one(
        lease,
        "compare: [isModifiedAt(keys.grant, fencingToken), isHolder(keys.holder, holderId)]",
        "compare: [isHolder(keys.holder, holderId)]"
      )
    },
    {
      name: "etcd: a release by any holder",
      ...one(
        lease,
        "compare: [isModifiedAt(keys.grant, fencingToken), isHolder(keys.holder, holderId)]",
        "compare: [isModifiedAt(keys.grant, fencingToken)]"
      )
    }
  ],
  likeSimulated: [
    {
      name: "etcd: a second creator begins the lease anew",
      ...one(lease, "compare: [isCreatedAt(keys.grant, 0n)]", "compare: []")
    },
    {
      name: "etcd: the count of renewals outlives a grant",
      ...one(lease, "  remove(keys.beat),\n", "")
    },
    {
      name: "etcd: a request to hand over outlives a grant, and is for every grant",
      changes: [
        { file: lease, from: ",\n  remove(keys.resign)\n", to: "\n" },
        { file: store, from: "resign?.value === `${grant.fencingToken}`", to: "resign !== undefined" }
      ]
    },
    {
      name: "etcd: a request to a lease that is released",
      ...one(lease, `, isHolder(keys.holder, null, "NOT_EQUAL")`, "")
    },
    {
      name: "etcd: a request for any token",
      ...one(
        lease,
        `compare: [isModifiedAt(keys.grant, fencingToken), isHolder(keys.holder, null, "NOT_EQUAL")]`,
        `compare: [isHolder(keys.holder, null, "NOT_EQUAL")]`
      )
    },
    {
      name: "etcd: a released lease keeps its holder",
      ...one(lease, "put(keys.holder, holderValue(null)), ", "")
    }
  ],
  stopsWithoutSession: [
    {
      name: "etcd: a renewal without the session",
      changes: [
        { file: lease, from: ",\n  isCreatedAt(keys.session(holderId), fencingToken)\n", to: "\n" },
        { file: store, from: `    if (result.TTL <= 0n) return "Lost"\n`, to: "" }
      ]
    },
    {
      name: "etcd: a missing session is taken for a release",
      ...one(
        lease,
        "    const holderId = yield* Either.mapLeft(decodeHolder(holder?.value ?? \"\"), () => \"holder\")",
        "    const holderId = kvs.length < 4 ? null : yield* Either.mapLeft(decodeHolder(holder?.value ?? \"\"), () => \"holder\")"
      )
    },
    {
      name: "etcd: a release that needs the session",
      ...one(
        lease,
        "isHolder(keys.holder, holderId)],",
        "isHolder(keys.holder, holderId), isCreatedAt(keys.session(holderId), fencingToken)],"
      )
    },
    {
      name: "etcd: the watch does not show sessions",
      ...one(lease, "range_end: base64(`${base}session0`) }", "range_end: base64(`${base}session/`) }")
    }
  ],
  stopsWithoutGrant: [
    {
      name: "etcd: a renewal without the grant",
      ...one(lease, "  isModifiedAt(keys.grant, fencingToken),\n  isCreatedAt(", "  isCreatedAt(")
    }
  ],
  keepsSession: [
    {
      name: "etcd: no keepalive of the etcd lease",
      ...one(
        store,
        `lease/keepalive", body, EtcdAnswer.LeaseKeepAlive)`,
        `lease/keepalive", { ID: "1" }, EtcdAnswer.LeaseKeepAlive).pipe(
      Effect.orElseSucceed(() => ({ result: { TTL: 1n } })),
      Effect.map(() => ({ result: { TTL: 1n } }))
    )`
      )
    },
    {
      name: "etcd: a grant without an etcd lease",
      changes: [
        { file: lease, from: `put(session, "", lease)`, to: `put(session, "", lease - lease)` },
        { file: store, from: `    if (result.TTL <= 0n) return "Lost"\n`, to: "" }
      ]
    },
    {
      name: "etcd: an etcd lease that is shorter than the lease",
      ...one(
        store,
        "Math.max(1, Math.ceil(Duration.toSeconds(ttl)))",
        "Math.max(1, Math.floor(Duration.toSeconds(ttl)))"
      )
    }
  ],
  grantsOnce: [
    {
      name: "etcd: a transaction that is sent again is refused",
      ...one(lease, "    failure: [read(session)]\n", "    failure: []\n")
    },
    {
      name: "etcd: the session of the former holder stays",
      ...one(
        lease,
        "      ...(former === null || former === claim.holderId ? [] : [remove(keys.session(former))]),\n",
        ""
      )
    }
  ],
  hintsAtChanges: [
    {
      name: "etcd: each renewal is a hint",
      ...one(lease, "watched: { key: base64(`${base}grant`)", "watched: { key: base64(`${base}beat`)")
    },
    {
      name: "etcd: no event is a hint",
      ...one(
        watch,
        "if (kv.mod_revision > state.event) state.event = kv.mod_revision",
        "if (kv.mod_revision < 0n) state.event = kv.mod_revision"
      )
    }
  ]
} as const satisfies Readonly<Record<string, ReadonlyArray<Pick<Mutant, "name" | "changes">>>>
