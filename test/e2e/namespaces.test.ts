import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

/** Checks that the error advises no signal, because the recorded pid belongs to another process in this PID namespace. */
const assertOutOfReach = (refused: Processes.Ended) => {
  const facts = Gateways.facts(refused)
  assert.strictEqual(facts["held by"], "pid 1 in another PID namespace")
  assert.notProperty(facts, "to stop it")
  assert.notInclude(refused.stderr, "kill ")
}

describe("two containers on one state directory and one network", () => {
  Variants.each(
    "a second start is refused on the same port and on another",
    Program.noNamespaces,
    (main, variant) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const inside = { main, under: Namespaces.pid }
        yield* Gateways.startListening(site, inside)
        const before = yield* Gateways.lockIdentities(site)
        const { instanceId, lock, pid } = yield* Gateways.readRecord(Gateways.configLock(site))
        assert.deepStrictEqual({ lock, pid }, { lock: variant.lock, pid: 1 })

        // The owner has pid 1, because it runs in a new PID namespace. The first start below also has pid 1, in another new PID
        // namespace. In the PID namespace of the second start, pid 1 is init. A start must not take the recorded pid 1 for its
        // own pid or for init.
        const other = yield* Gateways.onAnotherPort(site)
        for (const options of [inside, { main }]) {
          const same = yield* Gateways.run(site, options)
          Gateways.assertRefused(same, `another gateway instance is already listening on ${Gateways.url(site)}`)
          assertOutOfReach(same)
          const elsewhere = yield* Gateways.run(other, options)
          Gateways.assertRefused(elsewhere, `gateway already running (pid 1) on ${Gateways.url(site)}`)
          assert.strictEqual(Gateways.facts(elsewhere)["lock"], Gateways.configLock(site))
          assertOutOfReach(elsewhere)
        }
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
      })
  )

  Variants.each(
    "one that does not answer keeps its lock, however old its files look",
    Program.noNamespaces,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const owner = yield* Gateways.startListening(site, { main, under: Namespaces.pid })
        const gateway = yield* Namespaces.childOf(owner)
        yield* Effect.sync(() => process.kill(gateway, "SIGSTOP"))
        yield* Gateways.age(site)
        const before = yield* Gateways.lockIdentities(site)
        const other = yield* Gateways.onAnotherPort(site)
        for (const under of [Namespaces.pid, []]) {
          const refused = yield* Gateways.run(other, { flags: Gateways.hurried, main, under })
          Gateways.assertWaitedInVain(refused, 1)
          assertOutOfReach(refused)
        }
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        yield* Effect.sync(() => process.kill(gateway, "SIGCONT"))
        assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
        yield* Gateways.assertGone(site, yield* Namespaces.stopChild(owner))
      })
  )

  Variants.each("a dead one's lock is taken at once", Program.noNamespaces, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const inside = { main, under: Namespaces.pid }
      yield* Namespaces.stopChild(yield* Gateways.startListening(site, inside), "SIGKILL")
      const next = yield* Gateways.startListening(yield* Gateways.onAnotherPort(site), inside)
      const ended = yield* Namespaces.stopChild(next)
      yield* Gateways.assertGone(site, ended)
      Gateways.assertReclaimedOnce(ended, /left by pid 1 since .*: its kernel lock is free/)
      assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
    }), [Variants.kernel])

  Variants.each(
    "a dead one's lock is taken once it is stale and not before",
    Program.noNamespaces,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main, under: Namespaces.pid })
        yield* Namespaces.stopChild(owner, "SIGKILL")

        // Outside the owner's PID namespace the pid in the lock file has no meaning. So only the age of the lock file, together
        // with the free port, shows that the owner has ended.
        Gateways.assertWaitedInVain(yield* Gateways.run(site, { flags: Gateways.hurried, main }), 1)
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const next = yield* Gateways.startListening(site, { main })
        const ended = yield* Gateways.stop(next)
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, /left by pid 1 since .*: port free/)
      }),
    [Variants.recordOnly]
  )
})

describe("a container's gateway, which is pid 1", () => {
  Variants.each("ends cleanly on SIGTERM and on SIGINT", Program.noNamespaces, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const signal of ["SIGTERM", "SIGINT"] as const) {
        const gateway = yield* Gateways.startListening(site, { main, under: Namespaces.pid })
        const ended = yield* Namespaces.stopChild(gateway, signal)
        yield* Gateways.assertGone(site, ended)
        assert.strictEqual(Gateways.count(ended.stderr, /reclaimed/), 0, ended.stderr)
      }
    }))

  Variants.each(
    "starts again at once after SIGKILL, three times in a row",
    Program.noNamespaces,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        for (let restart = 0; restart < 3; restart++) {
          const gateway = yield* Gateways.startListening(site, { main, under: Namespaces.pid })
          const { pid } = yield* Gateways.readRecord(Gateways.configLock(site))
          assert.strictEqual(pid, 1)
          const { stderr } = yield* Namespaces.stopChild(gateway, "SIGKILL")
          assert.strictEqual(Gateways.count(stderr, /reclaimed gateway lock/), restart === 0 ? 0 : 1, stderr)
          assert.strictEqual(Gateways.count(stderr, /waiting/), 0, stderr)
        }
      }),
    [Variants.kernel]
  )

  Variants.each("starts again after SIGKILL", Program.noNamespaces, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.writeConfig(site, Gateways.impatient)
      const first = yield* Gateways.startListening(site, { main, under: Namespaces.pid })
      yield* Namespaces.stopChild(first, "SIGKILL")
      // Both gateways have pid 1. The kernel may give the new PID namespace the inode number of the old one. Then the lock file
      // seems to name the new start itself, so the new start takes over at once. With another inode number the new start takes
      // over when the lock file is stale (too old).
      const second = yield* Gateways.startListening(site, { main, under: Namespaces.pid })
      const ended = yield* Namespaces.stopChild(second)
      yield* Gateways.assertGone(site, ended)
      Gateways.assertReclaimedOnce(ended, /left by pid 1 since .*: (?:names this process|port free)/)
    }), [Variants.recordOnly])
})

describe("two network namespaces on one state directory", () => {
  Variants.each(
    "a free port does not help where the lock is held",
    Namespaces.noNetwork,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main, under: Namespaces.network })
        // The comparison leaves out the modification times, because the owner updates them to show that it is alive.
        const files = Effect.map(
          Gateways.lockIdentities(site),
          (identities) => identities.map(({ content, ino, path }) => ({ content, ino, path }))
        )
        const before = yield* files
        // The owner's port is free outside the owner's network namespace, and in a third network namespace.
        for (const under of [[], Namespaces.network]) {
          const refused = yield* Gateways.run(site, { flags: Gateways.hurried, main, under })
          Gateways.assertWaitedInVain(refused, owner.pid)
          assert.strictEqual(Gateways.facts(refused)["lock"], Gateways.configLock(site))
        }
        assert.deepStrictEqual(yield* files, before)
        yield* Gateways.stop(owner, "SIGKILL")
        const next = yield* Gateways.startListening(site, { main, under: Namespaces.network })
        const ended = yield* Gateways.stop(next)
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${owner.pid} since`))
      })
  )
})

describe("an owner in another network, whose processes can be seen,", () => {
  Variants.each(
    "is not called unhealthy, and nobody is told to force it",
    Namespaces.noNetwork,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main, under: Namespaces.network })
        const status = yield* Gateways.run(site, { main, flags: ["status"] })
        assert.match(status.stdout, /^gateway .*: unknown\n/)
        assert.include(status.stdout, "the owner is in another network")
        assert.notInclude(status.stdout, "--force")
        assert.strictEqual(status.code, 4, status.stdout)
        const doctor = yield* Gateways.run(site, { main, flags: ["doctor"] })
        assert.notInclude(doctor.stdout, "--force")
        assert.notInclude(doctor.stdout, "does not serve")
        // `status` finds the owner healthy if it runs in the owner's own network namespace.
        const inside = ["nsenter", "--target", String(owner.pid), "--net"]
        const there = yield* Gateways.run(site, { main, flags: ["status"], under: inside })
        assert.strictEqual(there.code, 0, there.stdout)
      })
  )

  Variants.each(
    "keeps its lock, however long a start waits for it",
    Namespaces.noNetwork,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const owner = yield* Gateways.startListening(site, { main, under: Namespaces.network })
        for (const under of [[], Namespaces.network]) {
          const refused = yield* Gateways.run(site, { flags: ["--lock-timeout", "3 seconds"], main, under })
          assert.include(
            refused.stderr,
            `GatewayLockError: gateway already running (pid ${owner.pid}); lock timeout after 3000ms\n`
          )
          assert.strictEqual(refused.code, 1)
        }
        const ended = yield* Gateways.stop(owner)
        yield* Gateways.assertGone(site, ended)
      })
  )
})

describe("a time namespace, in which the clocks since boot are shifted,", () => {
  const inside = Namespaces.time({ boottime: 100_000, monotonic: 200_000 })

  Variants.each(
    "makes no stranger of an owner outside",
    Program.noTimeNamespaces,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const owner = yield* Gateways.startListening(site, { main })
        const other = yield* Gateways.onAnotherPort(site)
        // SIGSTOP pauses the owner, so the owner answers no probe. Only the process table shows that the owner is alive.
        yield* owner.signal("SIGSTOP")
        Gateways.assertWaitedInVain(
          yield* Gateways.run(other, { flags: Gateways.hurried, main, under: inside }),
          owner.pid
        )
        yield* Gateways.stop(owner, "SIGKILL")
        const next = yield* Gateways.startListening(other, { main, under: inside })
        const ended = yield* Namespaces.stopChild(next)
        yield* Gateways.assertGone(other, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${owner.pid} since`))
        assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
      })
  )

  Variants.each(
    "makes an owner inside no stranger",
    Program.noTimeNamespaces,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const owner = yield* Gateways.startListening(site, { main, under: inside })
        const gateway = yield* Namespaces.childOf(owner)
        const { pid, startTime } = yield* Gateways.readRecord(Gateways.configLock(site))
        assert.strictEqual(pid, gateway)
        // The lock file has the start time of the gateway's process as processes outside the time namespace see it. Rounding may
        // change the start time by one clock tick.
        assert.approximately(startTime ?? 0, yield* Processes.startTimeOf(gateway), 1)
        yield* Effect.sync(() => process.kill(gateway, "SIGSTOP"))
        const other = yield* Gateways.onAnotherPort(site)
        Gateways.assertWaitedInVain(yield* Gateways.run(other, { flags: Gateways.hurried, main }), gateway)
        yield* Namespaces.stopChild(owner, "SIGKILL")
        const ended = yield* Gateways.stop(yield* Gateways.startListening(other, { main }))
        yield* Gateways.assertGone(other, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${gateway} since`))
        assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
      })
  )
})

describe("a /proc that hides other users' processes", () => {
  const hidden = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"",
    "sh",
    ...Program.asNobody
  ]

  Variants.each(
    "a living owner of whom nothing can be read keeps its lock",
    Program.noHiding,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const owner = yield* Gateways.startListening(site, { main })
        // The other user, as whom the second start runs, may read and write the lock files but cannot see the owner's process.
        const paths = [Gateways.configLock(site), Gateways.stateLock(site)]
        yield* Gateways.giveTo(Program.nobody, site.root, site.stateDir, Gateways.locksFolder(site), ...paths)
        yield* owner.signal("SIGSTOP")
        yield* Gateways.age(site)
        const before = yield* Gateways.lockIdentities(site)
        const other = yield* Gateways.onAnotherPort(site)
        const refused = yield* Gateways.run(other, { flags: Gateways.hurried, main, under: hidden })
        Gateways.assertWaitedInVain(refused, owner.pid)
        // The error does not show the owner's command, so `/proc` did hide the owner from the second start.
        assert.strictEqual(Gateways.facts(refused)["held by"], `pid ${owner.pid}, not visible from here`)
        assert.notProperty(Gateways.facts(refused), "to stop it")
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)

        // kill(2) reports ESRCH for a process that is gone, even if `/proc` hides other processes. So the next start takes over.
        yield* Gateways.stop(owner, "SIGKILL")
        const ended = yield* Gateways.stop(yield* Gateways.startListening(other, { main, under: hidden }))
        yield* Gateways.assertGone(other, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${owner.pid} since`))
        assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
      })
  )
})
