/**
 * Faults of an etcd cluster and of leaders that are processes. The judge compares what the processes did by the clock that they share,
 * and does not ask etcd.
 */
import { assert, describe } from "@effect/vitest"
import { Data, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as LeaseTimes from "../../src/leader/LeaseTimes.ts"
import * as Etcd from "../fixtures/etcd.ts"
import { unless } from "../fixtures/skips.ts"
import * as Journal from "./support/journal.ts"

const test = unless(Etcd.noEtcd)

const times = {
  duration: 5000,
  renewInterval: 500,
  attemptTimeout: 1000,
  renewDeadline: 3200,
  stopTimeout: 1000
}
const takeoverBound = times.duration + times.renewInterval + times.attemptTimeout

interface Entry {
  readonly what: "waits" | "acts" | "lost"
  readonly token: string
  readonly at: number
}

class NeverHappened extends Data.TaggedError("NeverHappened")<{ readonly message: string }> {}

/** Waits for at most 30 seconds. */
const until = (what: string, condition: () => boolean): Effect.Effect<void, NeverHappened> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.sleep("5 millis")).pipe(
    Effect.repeat({ until: condition }),
    Effect.asVoid,
    Effect.timeoutFail({ duration: "30 seconds", onTimeout: () => new NeverHappened({ message: what }) })
  )

const now = () => Number(process.hrtime.bigint()) / 1e6

/** Starts a process that leads when it can. It is killed at the end of the test. */
const host = (etcd: Etcd.Etcd, env: NodeJS.ProcessEnv = {}) =>
  Effect.gen(function*() {
    const entries: Array<Entry> = []
    const program = fileURLToPath(new URL("../fixtures/etcdLeader.mjs", import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [program, etcd.url, JSON.stringify(times)], {
          env,
          stdio: ["ignore", "pipe", "ignore"]
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let rest = ""
    child.stdout.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split("\n")
      rest = lines.pop() ?? ""
      entries.push(...lines.filter((line) => line.startsWith("{")).map((line): Entry => JSON.parse(line)))
    })
    const acts = () => entries.filter(({ what }) => what === "acts")
    yield* until("a process runs", () => entries.length > 0)
    return {
      acts,
      last: () => acts().at(-1)?.at ?? 0,
      first: () => acts()[0]?.at ?? Number.POSITIVE_INFINITY,
      isActing: () => now() - (acts().at(-1)?.at ?? 0) < 300,
      isOver: () => child.exitCode !== null || child.signalCode !== null,
      signal: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal))
    }
  })

type Host = Effect.Effect.Success<ReturnType<typeof host>>

/** A cluster with a process that leads and one that waits. */
const start = Effect.gen(function*() {
  const etcd = yield* Etcd.start({ members: 3 })
  const leader = yield* host(etcd)
  yield* until("the first leads", leader.isActing)
  const candidate = yield* host(etcd)
  // It has looked at the lease before the fault.
  yield* Effect.sleep(2 * times.renewInterval)
  return { etcd, leader, candidate }
})

/** I1 and I3: the times in which the hosts acted do not overlap, and later times have higher tokens. */
const judge = (hosts: ReadonlyArray<Host>): void => {
  const terms = hosts.filter((one) => one.acts().length > 0)
    .map((one) => ({ from: one.first(), to: one.last(), token: BigInt(one.acts()[0]?.token ?? 0) }))
    .toSorted((one, other) => one.from - other.from)
  for (const [at, term] of terms.entries()) {
    const next = terms[at + 1]
    if (next === undefined) continue
    assert.isBelow(term.to, next.from, "two leaders acted at one time")
    assert.isTrue(term.token < next.token, "the tokens did not grow")
  }
}

const note = (what: string, millis: number) => Journal.note(`etcd, one process a host: ${what}`, millis)

const statusOf = (member: Etcd.Member) =>
  Effect.map(
    Etcd.postTo(member.host, "maintenance/status", {}),
    ({ header, leader }) => ({ id: Object(header).member_id, leader })
  )

/** The member that leads the cluster. */
const etcdLeader = (etcd: Etcd.Etcd) =>
  Effect.flatMap(Effect.forEach(etcd.members, statusOf), (statuses) => {
    const at = statuses.findIndex(({ id, leader }) => id === leader)
    const member = etcd.members[at]
    return member === undefined
      ? Effect.fail(new NeverHappened({ message: "etcd has a leader" }))
      : Effect.succeed(member)
  })

/** The leader keeps its lease over a fault of etcd. */
const keepsLeading = (title: string, fault: (etcd: Etcd.Etcd) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  test.scopedLive(title, () =>
    Effect.gen(function*() {
      const { candidate, etcd, leader } = yield* start
      yield* fault(etcd)
      yield* Effect.sleep(times.duration + 2000)
      assert.isTrue(leader.isActing(), "the leader acts no more")
      assert.lengthOf(candidate.acts(), 0)
    }))

describe("two hosts with a lease in an etcd cluster", () => {
  assert.deepStrictEqual(LeaseTimes.fromOptions(times)._tag, "Right")

  test.scopedLive("hand over at once when the leader ends", () =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* start
      yield* leader.signal("SIGTERM")
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
      yield* note("takeover after a release", candidate.first() - leader.last())
      assert.isBelow(candidate.first() - leader.last(), times.renewInterval)
    }))

  test.scopedLive("take over in time when the leader is killed", () =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* start
      yield* leader.signal("SIGKILL")
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
      yield* note("takeover after a crash", candidate.first() - leader.last())
      assert.isAtMost(candidate.first() - leader.last(), takeoverBound)
    }))

  test.scopedLive("take over in time when the leader and the leader of etcd are killed", () =>
    Effect.gen(function*() {
      const { candidate, etcd, leader } = yield* start
      const member = yield* etcdLeader(etcd)
      yield* Effect.zipRight(leader.signal("SIGKILL"), member.kill)
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
      yield* note("takeover after a crash, with a new leader of etcd", candidate.first() - leader.last())
      // etcd lets its own lease last longer after that, but nobody waits for it.
      assert.isAtMost(candidate.first() - leader.last(), takeoverBound)
    }))

  keepsLeading(
    "have no change when the leader of etcd is killed",
    (etcd) => Effect.flatMap(etcdLeader(etcd), ({ kill }) => kill)
  )

  keepsLeading(
    "have no change when the leader of etcd is stopped",
    (etcd) => Effect.flatMap(etcdLeader(etcd), ({ signal }) => signal("SIGSTOP"))
  )

  keepsLeading(
    "have no change when the first member is stopped",
    ({ members }) => members[0]?.signal("SIGSTOP") ?? Effect.void
  )

  keepsLeading(
    "have no change when the members restart one after another",
    ({ members }) =>
      Effect.forEach(
        members,
        ({ kill, start }) => kill.pipe(Effect.zipRight(start), Effect.zipRight(Effect.sleep("2 seconds")))
      )
  )

  test.scopedLive("stop in time without a quorum, and lead again with one", () =>
    Effect.gen(function*() {
      const { candidate, etcd, leader } = yield* start
      const [, ...others] = etcd.members
      const fault = now()
      yield* Effect.forEach(others, ({ kill }) => kill)
      yield* until("the leader has ended", leader.isOver)
      yield* note("stopped without a quorum", leader.last() - fault)
      assert.isAtMost(leader.last() - fault, times.renewDeadline + 300)
      yield* Effect.sleep(times.duration)
      assert.lengthOf(candidate.acts(), 0)
      yield* Effect.forEach(others, ({ start }) => start, { concurrency: "unbounded" })
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
    }))

  test.scopedLive("have one leader after a pause of the leader that was longer than its lease", () =>
    Effect.gen(function*() {
      const { candidate, leader } = yield* start
      yield* leader.signal("SIGSTOP")
      yield* until("the other leads", candidate.isActing)
      yield* leader.signal("SIGCONT")
      yield* until("the former leader has ended", leader.isOver)
      judge([leader, candidate])
      assert.isTrue(candidate.isActing())
    }))

  test.scopedLive("have one leader when the etcd lease is revoked by hand: it stops at once, and then releases the lease", () =>
    Effect.gen(function*() {
      const { candidate, etcd, leader } = yield* start
      const range = {
        key: Etcd.base64("gateway-lock/hosts/session/"),
        range_end: Etcd.base64("gateway-lock/hosts/session0")
      }
      const { kvs } = yield* etcd.post("kv/range", range)
      const fault = now()
      yield* etcd.post("lease/revoke", { ID: Object(Array.isArray(kvs) ? kvs[0] : undefined).lease })
      yield* until("the leader has ended", leader.isOver)
      yield* note("stopped after a revocation", leader.last() - fault)
      assert.isBelow(leader.last() - fault, times.renewInterval)
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
      yield* note("takeover after a revocation", candidate.first() - leader.last())
    }))

  test.scopedLive("reach etcd by TLS with the CA of NODE_EXTRA_CA_CERTS", () =>
    Effect.gen(function*() {
      const etcd = yield* Etcd.start({ isSecure: true })
      const leader = yield* host(etcd, { NODE_EXTRA_CA_CERTS: etcd.members[0]?.certificate })
      yield* until("it leads", leader.isActing)
      const candidate = yield* host(etcd, { NODE_EXTRA_CA_CERTS: etcd.members[0]?.certificate })
      yield* Effect.sleep(2 * times.renewInterval)
      yield* leader.signal("SIGTERM")
      yield* until("the other leads", candidate.isActing)
      judge([leader, candidate])
    }))
})
