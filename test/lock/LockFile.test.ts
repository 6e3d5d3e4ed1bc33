import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import * as LockFile from "../../src/lock/LockFile.ts"
import type * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as ProcessTable from "../../src/lock/ProcessTable.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"

const pid = 7

/** A process that stays, and the record that it would write. */
const owner = (host: SimulatedHost.SimulatedHost, options: SimulatedHost.ProcessOptions = {}) =>
  Effect.gen(function*() {
    const known = yield* Deferred.make<OwnerRecord.ProcessIdentity>()
    const process = yield* host.spawn(
      ProcessTable.ProcessTable.pipe(
        Effect.flatMap((table) => Deferred.complete(known, table.self)),
        Effect.zipRight(Effect.never)
      ),
      { pid, command: "gateway", ...options }
    )
    const record: OwnerRecord.OwnerRecord = {
      version: 1,
      instanceId: "owner",
      ...yield* Deferred.await(known),
      createdAt: "2026-01-01T00:00:00.000Z",
      configPath: "/c",
      stateDir: "/s",
      host: "127.0.0.1",
      port: 18789,
      phase: "listening",
      supervisor: "none"
    }
    return { process, record }
  })

const stranger = (host: SimulatedHost.SimulatedHost) => host.spawn(Effect.never, { pid, command: "init" })

/** What another process of the host's own namespace says of it. */
const seen = (
  host: SimulatedHost.SimulatedHost,
  record: OwnerRecord.OwnerRecord,
  options: SimulatedHost.ProcessOptions = {}
) =>
  Effect.map(
    Effect.provide(LockFile.holderOf(record), host.layer(options)),
    ({ command, pid, pidMeaning }) => ({ pid, pidMeaning, ...(command === undefined ? {} : { command }) })
  )

describe("LockFile.holderOf: the recorded pid", () => {
  it.effect("is the owner's while it runs, and its command is shown", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const { process, record } = yield* owner(host)
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Alive", command: "gateway" })
      yield* process.freeze
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Alive", command: "gateway" })
    }))

  it.effect("is nobody's, and then a stranger's, after its end", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const { process, record } = yield* owner(host)
      yield* process.kill
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Gone" })
      yield* stranger(host)
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "Gone" })
    }))

  it.effect("means nothing in another PID namespace, whoever has the number here", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const { record } = yield* owner(host, { pidNamespace: "pid:[2]" })
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherPidNamespace" })
      yield* stranger(host)
      assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherPidNamespace" })
      const inside = yield* seen(host, record, { pidNamespace: "pid:[2]" })
      assert.deepStrictEqual(inside, { pid, pidMeaning: "Alive", command: "gateway" })
    }))

  it.effect("means nothing after a reboot, in whichever namespace it was given", () =>
    Effect.gen(function*() {
      for (const pidNamespace of ["pid:[1]", "pid:[2]"]) {
        const host = yield* SimulatedHost.make
        const { record } = yield* owner(host, { pidNamespace })
        yield* host.reboot
        yield* stranger(host)
        assert.deepStrictEqual(yield* seen(host, record), { pid, pidMeaning: "OtherBoot" })
      }
    }))

  it.effect("cannot be told of a process that is hidden, or whose record has nothing to compare", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const { record } = yield* owner(host)
      const { startTime: _startTime, ...unstarted } = record
      assert.deepStrictEqual(yield* seen(host, unstarted), { pid, pidMeaning: "Unknown" })
      const { bootId: _bootId, pidNamespace: _pidNamespace, ...placeless } = record
      assert.deepStrictEqual(yield* seen(host, placeless), { pid, pidMeaning: "Unknown" })
      yield* host.setHidePids(true)
      assert.deepStrictEqual(yield* seen(host, record, { uid: 1000 }), { pid, pidMeaning: "Unknown" })
    }))
})

describe("LockFile.holderOf: the unit of systemd", () => {
  const unitOf = (supervisor: string, cgroup: string, isGone = false) =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.make
      const { process, record } = yield* owner(host)
      yield* host.files.makeDirectory(`/proc/${pid}`, { recursive: true })
      yield* host.files.writeFileString(`/proc/${pid}/cgroup`, cgroup)
      if (isGone) yield* process.kill
      const holder = yield* Effect.provide(LockFile.holderOf({ ...record, supervisor }), host.layer())
      assert.strictEqual(holder.supervisor, supervisor)
      return holder.unit
    })
  const gateway = "0::/system.slice/gateway-blue.service\n"

  it.effect("is told where systemd started the owner, and it lives", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* unitOf("systemd", gateway), { name: "gateway-blue.service", scope: "system" })
      assert.isUndefined(yield* unitOf("none", gateway), "a child of a service is not the service")
      assert.isUndefined(yield* unitOf("systemd", gateway, true), "the pid may be a stranger's")
      assert.isUndefined(yield* unitOf("systemd", "0::/\n"), "a cgroup namespace shows none")
    }))
})
