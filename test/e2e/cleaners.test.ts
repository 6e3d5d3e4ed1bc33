import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const noCleaner = Program.noNamespaces ?? Program.without("systemd-tmpfiles")

/**
 * Runs `systemd-tmpfiles` with a single rule: remove the files in the gateway's lock folder that were not written for ten minutes.
 *
 * No other rule is loaded, and all other folders are mounted read-only, so that a mistake cannot remove files of this machine.
 */
const clean = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const folder = Gateways.locksFolder(site)
    const rules = Path.join(site.root, "rules.conf")
    // The rule looks at the modification time only (`m:`), because a test cannot set back the time of the last status change.
    yield* Effect.promise(() => Fs.writeFile(rules, `d ${folder} 0700 - - m:10m\n`))
    const script = [
      "mount --make-rprivate /",
      "mount --bind \"$1\" \"$1\"",
      "mount -o remount,bind,ro /",
      "exec systemd-tmpfiles --clean --prefix=\"$1\" \"$2\""
    ].join("\n")
    const words = ["unshare", "--mount", "sh", "-e", "-c", script, "sh", folder, rules]
    const { code, stderr } = yield* Effect.scoped(
      Effect.flatMap(
        Processes.start(words, { cwd: site.root, env: { PATH: Program.searchPath } }),
        ({ ended }) => ended
      )
    )
    assert.strictEqual(code, 0, stderr)
  })

const lastWritten = (path: string) => Effect.promise(async () => (await Fs.stat(path)).mtimeMs)

describe("a cleaner of temporary folders", () => {
  it.scopedLive.skipIf(noCleaner !== undefined)(
    Program.named("leaves the lock files that their holder touches", noCleaner),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { configPath, port, stateDir } = site
        yield* Gateways.startListening(site, {
          main: fileURLToPath(new URL("../fixtures/app.mjs", import.meta.url)),
          args: [JSON.stringify({ configPath, port, stateDir, lock: { recheckInterval: "100 millis" } })]
        })
        const written = yield* lastWritten(Gateways.stateLock(site))
        yield* Gateways.age(site)
        const old = yield* lastWritten(Gateways.stateLock(site))
        assert.isBelow(old, written)
        // The gateway has two lock files, and updates the time of the state lock last. So once the state lock has a new time, the
        // other file has one too.
        yield* Effect.repeat(lastWritten(Gateways.stateLock(site)), {
          until: (time) => time > old,
          schedule: Schedule.spaced("20 millis").pipe(Schedule.intersect(Schedule.recurs(500)))
        })
        yield* clean(site)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      })
  )

  it.scopedLive.skipIf(noCleaner !== undefined)(
    Program.named("that takes them all the same does not let a second one onto the port", noCleaner),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        const instanceId = yield* Clients.instanceIdOf(site)
        const stranger = Path.join(Gateways.locksFolder(site), "young")
        yield* Effect.promise(() => Fs.writeFile(stranger, ""))
        yield* Gateways.age(site)
        yield* clean(site)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), ["young"])

        Gateways.assertRefused(
          yield* Gateways.run(site),
          `another gateway instance is already listening on ${Gateways.url(site)}`
        )
        assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
        assert.isTrue((yield* Gateways.namesIn(site.root)).includes("rules.conf"))
      })
  )
})
