import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

const masked = (mask: string) => ["sh", "-c", `umask ${mask}; exec "$@"`, "sh"]

const makeFolder = (path: string, mode: number) =>
  Effect.promise(async () => {
    await Fs.mkdir(path, { recursive: true })
    await Fs.chmod(path, mode)
  })

/** The mode of a file in octal: the permissions and the setuid, setgid and sticky bits. */
const fullModeOf = (path: string) => Effect.promise(async () => ((await Fs.stat(path)).mode & 0o7777).toString(8))

const assertDenied = (ended: Processes.Ended, path: string) => {
  const [message = ""] = Gateways.linesOf(ended)
  assert.match(message, /: EACCES: permission denied/)
  assert.include(message, `GatewayLockError: failed to acquire gateway lock at ${path}: `)
  assert.strictEqual(ended.code, 1, ended.stderr)
}

const assertForeign = (
  site: Gateways.Site,
  ended: Processes.Ended,
  { mode, owner, us }: { readonly owner: number; readonly mode: string; readonly us: number }
) => {
  const folder = Gateways.locksFolder(site)
  Gateways.assertRefused(
    ended,
    `failed to acquire gateway lock at ${Gateways.configLock(site)}: its folder ${folder} belongs to uid ${owner} `
      + `(mode ${mode}), but this process runs as uid ${us}; run: chown -R ${us} ${folder}`
  )
}

/** Runs the command that the error message advises, and checks that it succeeds. */
const mend = ({ stderr }: Processes.Ended) =>
  Effect.gen(function*() {
    const command = /; run: (.*)$/m.exec(stderr)?.[1] ?? ""
    const { code } = yield* Effect.scoped(
      Effect.flatMap(
        Processes.start(["sh", "-c", command], { cwd: "/", env: { PATH: Program.searchPath } }),
        ({ ended }) => ended
      )
    )
    assert.strictEqual(code, 0, command)
  })

describe("under a umask of", () => {
  const noMasks = process.platform === "win32" ? "needs a umask" : undefined
  for (const mask of ["000", "002", "022", "077"]) {
    Variants.each(
      `${mask}, folders and files are for their owner's eyes only`,
      noMasks,
      (main) =>
        Effect.gen(function*() {
          const [site, gateway] = yield* Gateways.newGateway({ main, under: masked(mask) })
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
      const other = yield* Effect.flatMap(Gateways.withConfig(site, "other.json"), Gateways.onAnotherPort)
      const direct = { ...other, stateDir: real }
      Gateways.assertRefused(
        yield* Gateways.run(direct),
        `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`
      )
      assert.strictEqual(yield* Gateways.modeOf(real), "755")
      yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
    }))

  it.scopedLive("that others have opened wide is used as it is, its locks folder being ours alone", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* makeFolder(site.stateDir, 0o1777)
      yield* makeFolder(Gateways.locksFolder(site), 0o755)
      const owner = yield* Gateways.startListening(site)
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        assert.strictEqual(yield* Gateways.modeOf(path), "600", path)
      }
      yield* Gateways.assertGone(site, yield* Gateways.stop(owner))
      assert.strictEqual(yield* fullModeOf(site.stateDir), "1777")
      assert.strictEqual(yield* fullModeOf(Gateways.locksFolder(site)), "755")
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
        assertForeign(site, yield* Gateways.run(other, { under: neighbour }), {
          owner: Program.nobody,
          mode: "0700",
          us: Program.nobody - 1
        })
        // Root could use the folder, but the folder's owner could place a symbolic link there that redirects root's writes. So
        // root is refused as well.
        assertForeign(site, yield* Gateways.run(other), { owner: Program.nobody, mode: "0700", us: 0 })
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
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
        // Root starts a gateway in the user's folders, as with sudo(8). That start makes the lock folder, so root owns it. The
        // folder stays when the gateway is killed, and the user's next start is refused.
        yield* Gateways.stop(yield* Gateways.startListening(site), "SIGKILL")
        const before = yield* Gateways.lockIdentities(site)
        const refused = yield* Gateways.run(site, { under: Program.asNobody })
        assertForeign(site, refused, { owner: 0, mode: "0700", us: Program.nobody })
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        yield* mend(refused)
        const ended = yield* Gateways.stop(yield* Gateways.startListening(site, { under: Program.asNobody }))
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, /left by pid \d+ since/)
      })
  )
})

describe("a locks folder that", () => {
  for (const [who, mode] of [["anybody", 0o1777], ["a group", 0o770], ["others alone", 0o702]] as const) {
    Variants.each(
      `${who} may write in is refused, left as it is, and mended by the command`,
      undefined,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const folder = Gateways.locksFolder(site)
          yield* makeFolder(folder, mode)
          const refused = yield* Gateways.run(site, { main })
          Gateways.assertRefused(
            refused,
            `failed to acquire gateway lock at ${
              Gateways.configLock(site)
            }: other users may write in its folder ${folder} `
              + `(mode ${mode.toString(8).padStart(4, "0")}, uid ${process.getuid?.()}); run: chmod go-w ${folder}`
          )
          assert.strictEqual(yield* fullModeOf(folder), mode.toString(8))
          assert.deepStrictEqual(yield* Gateways.namesIn(folder), [])
          yield* mend(refused)
          yield* Gateways.assertGone(site, yield* Gateways.stop(yield* Gateways.startListening(site, { main })))
        })
    )
  }

  Variants.each(
    "is a link to another is refused, and nothing is made there",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const elsewhere = Path.join(site.root, "elsewhere")
        yield* makeFolder(elsewhere, 0o700)
        yield* makeFolder(site.stateDir, 0o700)
        yield* Gateways.symlink(elsewhere, Gateways.locksFolder(site))
        const refused = yield* Gateways.run(site, { main })
        const folder = Gateways.locksFolder(site)
        Gateways.assertRefused(
          refused,
          `failed to acquire gateway lock at ${Gateways.configLock(site)}: its folder ${folder} is a symbolic link to `
            + `${elsewhere}; run: rm ${folder}`
        )
        assert.deepStrictEqual(yield* Gateways.namesIn(elsewhere), [])
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("belongs to another user cannot lead root to a file of root's", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* makeFolder(Gateways.locksFolder(site), 0o700)
        yield* Gateways.giveTo(Program.nobody, site.stateDir, Gateways.locksFolder(site))
        const victim = Path.join(site.root, "victim")
        yield* Effect.promise(() => Fs.writeFile(victim, "precious"))
        yield* Gateways.symlink(victim, Gateways.configLock(site))
        assertForeign(site, yield* Gateways.run(site), { owner: Program.nobody, mode: "0700", us: 0 })
        assert.strictEqual(yield* Effect.promise(() => Fs.readFile(victim, "utf8")), "precious")
      })
  )

  Variants.each(
    "is ours has links for locks and claims: none is followed, and what they lead to stays",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* makeFolder(Gateways.locksFolder(site), 0o700)
        const victim = Path.join(site.root, "victim")
        yield* Effect.promise(() => Fs.writeFile(victim, "precious"))
        for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
          yield* Gateways.symlink(victim, path)
          const refused = yield* Gateways.run(site, { main })
          Gateways.assertRefused(
            refused,
            `failed to acquire gateway lock at ${path}: it is a symbolic link to ${victim}`
          )
          assert.strictEqual(yield* Effect.promise(() => Fs.readFile(victim, "utf8")), "precious")
          yield* Effect.promise(() => Fs.unlink(path))
        }
      })
  )
})
