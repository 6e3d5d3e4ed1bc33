import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Shims from "./support/shims.ts"
import * as Variants from "./support/variants.ts"

const assertUnavailable = (ended: Processes.Ended, site: Gateways.Site, cause: string) => {
  const message = `failed to acquire gateway lock at ${Gateways.configLock(site)}: ${cause}`
  assert.include(ended.stderr, `GatewayLockError: ${message}`)
  assert.strictEqual(Gateways.facts(ended)["lock"], Gateways.configLock(site))
  assert.strictEqual(ended.code, 1, ended.stderr)
  assert.strictEqual(ended.stdout, "")
}

/** Mounts a tmpfs for this test at the state directory, in a new mount namespace. Returns access to that namespace. */
const disk = (site: Gateways.Site, options: string) =>
  Effect.zipRight(
    Effect.promise(() => Fs.mkdir(site.stateDir)),
    Namespaces.mounts(`mount -t tmpfs -o "$1" tmpfs "$2"`, options, site.stateDir)
  )

/** The names in the lock folder, which is on the tmpfs that `disk` has mounted. */
const locksOn = (mounts: Namespaces.Mounts, site: Gateways.Site) =>
  Gateways.namesIn(mounts.seen(Gateways.locksFolder(site)))

const faults = [
  {
    what: "a full disk",
    options: "size=8k",
    // The filler takes all free space, so that not one byte can be written.
    break: "mkdir \"$1/locks\"; cat /dev/zero > \"$1/filler\" 2>/dev/null || :",
    mend: "rm \"$1/filler\"",
    cause: "ENOSPC: no space left on device"
  },
  {
    what: "a disk without a free inode",
    // The root, the lock folder and the three fillers take all five inodes, so a start finds none for a lock file. Without the
    // fillers a start has enough: two for its lock files, and one for a hard link, which a tmpfs counts as an inode.
    options: "nr_inodes=5",
    break: "mkdir \"$1/locks\"; for n in 1 2 3; do : > \"$1/filler.$n\"; done",
    mend: "rm \"$1\"/filler.*",
    cause: "ENOSPC: no space left on device"
  },
  {
    what: "a disk that can only be read",
    options: "size=1m",
    break: "mkdir \"$1/locks\"; mount -o remount,ro \"$1\"",
    mend: "mount -o remount,rw \"$1\"",
    cause: "EROFS: read-only file system"
  }
] as const

describe("a state directory on", () => {
  for (const fault of faults) {
    Variants.each(
      `${fault.what} is refused, and used as soon as it can be`,
      Program.noNamespaces,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const mounts = yield* disk(site, fault.options)
          const there = { main, under: mounts.under }
          yield* mounts.sh(fault.break, site.stateDir)
          assertUnavailable(yield* Gateways.run(site, there), site, fault.cause)
          assert.deepStrictEqual(yield* locksOn(mounts, site), [])

          yield* mounts.sh(fault.mend, site.stateDir)
          const gateway = yield* Gateways.startListening(site, there)
          assert.deepStrictEqual(yield* locksOn(mounts, site), Gateways.lockNames(site))
          const { stderr } = yield* Gateways.stop(gateway)
          assert.strictEqual(Gateways.count(stderr, /reclaimed|waiting/), 0, stderr)
          assert.deepStrictEqual(yield* locksOn(mounts, site), [])
        })
    )
  }

  Variants.each(
    "a disk that fills up under a gateway keeps it running, and ending",
    Program.noNamespaces,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const mounts = yield* disk(site, "size=64k")
        const there = { main, under: mounts.under }
        const gateway = yield* Gateways.startListening(site, there)
        yield* mounts.sh("cat /dev/zero > \"$1/filler\" 2>/dev/null || :", site.stateDir)
        const refused = yield* Gateways.run(yield* Gateways.onAnotherPort(site), there)
        Gateways.assertRefused(refused, `gateway already running (pid ${gateway.pid}) on ${Gateways.url(site)}`)
        yield* Gateways.assertClean(yield* Gateways.stop(gateway))
        assert.deepStrictEqual(yield* locksOn(mounts, site), [])
      })
  )
})

const noLimits = Program.isLinux ? Program.without("prlimit") : "needs Linux"

describe("a limit on the size of files", () => {
  for (const bytes of [0, 100]) {
    Variants.each(
      `of ${bytes} bytes is refused, and leaves no half of a record`,
      noLimits,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const ended = yield* Gateways.run(site, { main, under: ["prlimit", `--fsize=${bytes}`] })
          assertUnavailable(ended, site, "EFBIG: file too large")
          assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
          const { stderr } = yield* Gateways.stop(yield* Gateways.startListening(site, { main }))
          assert.strictEqual(Gateways.count(stderr, /reclaimed|waiting/), 0, stderr)
        })
    )
  }
})

describe("a file system", () => {
  const liars = [
    ["without locks", "errno = ENOLCK; return -1;", /no kernel lock for .*ENOLCK/],
    ["that grants every lock", "return 0;", /no kernel lock for .*the file system granted the same lock twice/]
  ] as const
  for (const [what, statement, warning] of liars) {
    Variants.each(
      `${what} is found out before serving: the record alone keeps others out`,
      Shims.noShims,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const env = yield* Shims.lockAnswers(statement)
          const owner = yield* Gateways.startListening(site, { main, env })
          assert.strictEqual(Gateways.count(yield* owner.stderr, warning), 1, yield* owner.stderr)
          for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
            assert.strictEqual((yield* Gateways.readRecord(path)).lock, "record")
          }
          const other = yield* Gateways.onAnotherPort(site)
          const before = yield* Gateways.lockIdentities(site)
          // The owner lives, so a start on another port must be refused: without kernel locks (`env`), and with them (`{}`).
          for (const environment of [env, {}]) {
            Gateways.assertRefused(
              yield* Gateways.run(other, { main, env: environment }),
              `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`
            )
          }
          assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
          yield* Gateways.stop(owner, "SIGKILL")
          const ended = yield* Gateways.stop(yield* Gateways.startListening(other, { main, env }))
          yield* Gateways.assertGone(other, ended)
          Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${owner.pid} since .*: owner gone`))
        }),
      [Variants.kernel]
    )
  }
})
