import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./support/gateways.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

const masked = (mask: string) => ["sh", "-c", `umask ${mask}; exec "$@"`, "sh"]

const makeFolder = (path: string, mode: number) =>
  Effect.promise(async () => {
    await Fs.mkdir(path, { recursive: true })
    await Fs.chmod(path, mode)
  })

/** With the sticky bit. */
const fullModeOf = (path: string) => Effect.promise(async () => ((await Fs.stat(path)).mode & 0o7777).toString(8))

const assertDenied = (ended: Processes.Ended, path: string) => {
  const [message = ""] = Gateways.linesOf(ended)
  assert.match(message, /: EACCES: permission denied/)
  assert.include(message, `GatewayLockError: failed to acquire gateway lock at ${path}: `)
  assert.strictEqual(ended.code, 1, ended.stderr)
}

describe("under a umask of", () => {
  const noMasks = process.platform === "win32" ? "needs a umask" : undefined
  for (const mask of ["000", "002", "022", "077"]) {
    Variants.each(
      `${mask}, folders and files are for their owner's eyes only`,
      noMasks,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const gateway = yield* Gateways.startListening(site, { main, under: masked(mask) })
          for (const folder of [site.stateDir, Gateways.locksFolder(site)]) {
            assert.strictEqual(yield* Gateways.modeOf(folder), "700", folder)
          }
          for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
            assert.strictEqual(yield* Gateways.modeOf(path), "600", path)
          }
          yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
        }),
      mask === "000" ? Variants.all : [Variants.kernel]
    )
  }

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("777, a user who thereby locks himself out is told so", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.giveTo(Program.nobody, site.root)
        const under = [...Program.asNobody, ...masked("777")]
        assertDenied(yield* Gateways.run(site, { under }), Gateways.configLock(site))
      })
  )
})

describe("a state directory", () => {
  it.scopedLive("that is a link to another is that other one", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const real = Path.join(site.root, "real")
      yield* makeFolder(real, 0o755)
      yield* Gateways.symlink(real, site.stateDir)
      const owner = yield* Gateways.startListening(site)
      const direct = { ...(yield* Gateways.onAnotherPort(site)), stateDir: real, configPath: `${site.root}/other.json` }
      Gateways.assertRefused(
        yield* Gateways.run(direct),
        `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`
      )
      assert.strictEqual(yield* Gateways.modeOf(real), "755")
      yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
    }))

  it.scopedLive("and a locks folder that others have opened wide are used as they are", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const folder of [site.stateDir, Gateways.locksFolder(site)]) yield* makeFolder(folder, 0o1777)
      const owner = yield* Gateways.startListening(site)
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        assert.strictEqual(yield* Gateways.modeOf(path), "600", path)
      }
      yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
      for (const folder of [site.stateDir, Gateways.locksFolder(site)]) {
        assert.strictEqual(yield* fullModeOf(folder), "1777", folder)
      }
    }))

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("like /tmp belongs to the user who came first, and the next is told so", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* makeFolder(site.root, 0o755)
        yield* makeFolder(site.stateDir, 0o1777)
        const first = yield* Gateways.startListening(site, { under: Program.asNobody })
        assert.strictEqual(yield* Gateways.modeOf(Gateways.locksFolder(site)), "700")
        const other = yield* Gateways.onAnotherPort(site)
        const before = yield* Gateways.lockIdentities(site)
        const neighbour = Program.as(Program.nobody - 1)
        assertDenied(yield* Gateways.run(other, { under: neighbour }), Gateways.configLock(site))
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)

        // Root may look in, and is kept out by the lock.
        Gateways.assertRefused(
          yield* Gateways.run(other),
          `gateway already running (pid ${first.pid}) on ${Gateways.url(site)}`
        )
        yield* Gateways.assertGone(site, yield* Gateways.stop(first))
        assert.strictEqual(yield* fullModeOf(site.stateDir), "1777")
        assert.deepStrictEqual((yield* Effect.promise(() => Fs.stat(Gateways.locksFolder(site)))).uid, Program.nobody)
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("in which root has crashed is no riddle to its user", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.giveTo(Program.nobody, site.root)
        yield* makeFolder(site.stateDir, 0o755)
        yield* Gateways.giveTo(Program.nobody, site.stateDir)
        // As with sudo(8): the folders of a user, a start by root.
        yield* Gateways.stop(yield* Gateways.startListening(site), "SIGKILL")
        const before = yield* Gateways.lockIdentities(site)
        assertDenied(yield* Gateways.run(site, { under: Program.asNobody }), Gateways.configLock(site))
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        yield* Gateways.giveTo(
          Program.nobody,
          Gateways.locksFolder(site),
          Gateways.configLock(site),
          Gateways.stateLock(site)
        )
        const ended = yield* Gateways.stop(yield* Gateways.startListening(site, { under: Program.asNobody }))
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, /left by pid \d+ since/)
      })
  )
})
