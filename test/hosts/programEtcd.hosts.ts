/**
 * The built program on two hosts, with a real etcd cluster of three members on another one.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { randomUUID } from "node:crypto"
import * as Etcd from "../fixtures/etcd.ts"
import { unless } from "../fixtures/skips.ts"
import * as Journal from "./support/journal.ts"
import * as Network from "./support/network.ts"
import * as Programs from "./support/programs.ts"
import { goesOn, keepsLeading, sharedHosts, skipped } from "./support/scene.ts"

const { describe, scopedLive } = unless(skipped ?? Etcd.noEtcd)
const { patient, short } = Programs

const getHosts = sharedHosts()

const scene = (times: Programs.Times) =>
  Effect.gen(function*() {
    const hosts = yield* getHosts
    const etcd = yield* Etcd.start({ members: 3, address: Network.storeAddress })
    const lease: Programs.Lease = { name: randomUUID(), url: etcd.url, times }
    return { etcd, hosts, lease, ...(yield* Programs.pair(hosts, lease)) }
  })

/** Whether a member leads the cluster. */
const leads = (member: Etcd.Member) =>
  Effect.map(
    Etcd.postTo(member.host, "maintenance/status", {}),
    ({ header, leader }) => Object(header).member_id === leader
  )

const etcdLeader = (etcd: Etcd.Etcd) =>
  Effect.flatMap(
    Effect.filter(etcd.members, leads),
    ([member]) => member === undefined ? Effect.dieMessage("etcd has no leader") : Effect.succeed(member)
  )

describe("gateway exec on two hosts with an etcd cluster", () => {
  scopedLive("its wrapper is killed, and the other host takes over in time", () =>
    Effect.gen(function*() {
      const { journal, leader, next, term } = yield* scene(short)
      const killed = Journal.now()
      yield* leader.signal("SIGKILL")
      const successor = yield* next
      yield* goesOn(journal, successor)
      journal.judge()
      assert.isAtMost(successor.first - killed, Programs.takeoverBound(short))
      yield* Journal.note("etcd: the watchdog killed the command after", term.last - killed)
      yield* Journal.note("etcd: takeover after a crash", successor.first - killed)
    }))

  scopedLive("the link of the leader is down, and it stops before the other host leads", () =>
    Effect.gen(function*() {
      const { hosts: [one], journal, leader, next, term } = yield* scene(short)
      yield* Effect.acquireRelease(one.cutLink, () => one.mend)
      const cut = Journal.now()
      const successor = yield* next
      assert.strictEqual((yield* leader.ended).code, 125)
      yield* one.mend
      yield* goesOn(journal, successor)
      journal.judge()
      assert.isAtMost(term.last - cut, Programs.stopBound(short))
      assert.isAtMost(successor.first - cut, Programs.takeoverBound(short))
    }))

  scopedLive("the member that leads the cluster is stopped, and the leader goes on", () =>
    Effect.gen(function*() {
      const { etcd, journal } = yield* scene(patient)
      const member = yield* etcdLeader(etcd)
      yield* Effect.acquireRelease(member.signal("SIGSTOP"), () => member.signal("SIGCONT"))
      yield* Effect.sleep(patient.duration + 1000)
      yield* keepsLeading(journal)
    }))

  scopedLive(
    "the lease is revoked by hand, and the leader stops within its time to stop",
    () =>
      Effect.gen(function*() {
        const { etcd, journal, leader, lease, next, term } = yield* scene(short)
        const { kvs } = yield* etcd.post("kv/range", {
          key: Etcd.base64(`gateway-lock/${lease.name}/`),
          range_end: Etcd.base64(`gateway-lock/${lease.name}0`)
        })
        const ids = (Array.isArray(kvs) ? kvs : []).map((kv) => Object(kv).lease).filter((id) => id !== undefined)
        assert.isAtLeast(ids.length, 1)
        const revoked = Journal.now()
        yield* Effect.forEach(new Set(ids), (ID) => etcd.post("lease/revoke", { ID }))
        const { code, stderr } = yield* leader.ended
        assert.strictEqual(code, 125, stderr)
        const successor = yield* next
        yield* goesOn(journal, successor)
        assert.isTrue(successor.token > term.token)
        // One round trip, and the time to stop: the command ignores SIGTERM.
        assert.isAtMost(term.last - revoked, short.stopTimeout + 500)
        yield* Journal.note("etcd: a stubborn command was killed after a revocation in", term.last - revoked)
        yield* Journal.note("etcd: the other host led after a revocation in", successor.first - revoked)
      })
  )
})
