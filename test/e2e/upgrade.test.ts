/**
 * Tests a gateway and commands of different versions: the commands read the record of a newer or an older gateway, as after an
 * upgrade or a downgrade of the package without a restart.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"

type Json = Readonly<Record<string, unknown>>

/** Keys that no version has, of every JSON type, beside the known keys and with names that JavaScript treats specially. */
const newer = (record: Json): Json => ({
  tls: { certificates: ["a.pem"], nested: { deep: [{ null: null }] } },
  workers: [1, 2, 3],
  zone: "",
  weight: 1.5,
  secure: true,
  "__proto__x": null,
  constructor: "later",
  ...record,
  // Later than all known keys.
  zzz: "😀\u2028\u0000"
})

const laterKeys = new Set(["configName", "inheritsLock", "lease", "lock", "mode", "ready", "supervisorReason"])

/** Without the keys that came after the first records of the package. */
const older = (record: Json): Json => Object.fromEntries(Object.entries(record).filter(([key]) => !laterKeys.has(key)))

/** Rewrites the records of a running gateway in their files, as the other version would have written them. */
const rewrite = (site: Gateways.Site, change: (record: Json) => Json) =>
  Effect.promise(async () => {
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      const record: Json = JSON.parse(await Fs.readFile(path, "utf8"))
      await Fs.writeFile(path, `${JSON.stringify(change(record))}\n`)
    }
  })

describe("a gateway of another version", () => {
  for (const [which, change] of [["newer", newer], ["older", older]] as const) {
    it.scopedLive(`that is ${which} is seen, is left alone by a second start, and is stopped`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Looking.undisturbed)
        const gateway = yield* Gateways.start(site)
        yield* gateway.listening
        yield* rewrite(site, change)

        const { status } = yield* Looking.expectStatus(site, "running")
        assert.strictEqual(status.owner?.pid, gateway.pid)
        const ensured = yield* Gateways.run(site, { flags: ["run", "--ensure"] })
        assert.strictEqual(ensured.code, 0, ensured.stderr)
        const refused = yield* Gateways.run(site, { flags: ["run"] })
        assert.strictEqual(refused.code, 1)
        assert.include(refused.stderr, `held by:          pid ${gateway.pid} (node)`)
        const stopped = yield* Gateways.run(site, { flags: ["stop"] })
        assert.strictEqual(stopped.code, 0, stopped.stderr)
        yield* Gateways.assertGone(site, yield* gateway.ended)
      }))

    it.scopedLive(`that is ${which} and was killed is taken over from`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Looking.undisturbed)
        const killed = yield* Gateways.start(site)
        yield* killed.listening
        yield* rewrite(site, change)
        yield* killed.signal("SIGKILL")
        yield* killed.ended
        const next = yield* Gateways.start(site)
        yield* next.listening
        assert.include(yield* next.stderr, `left by pid ${killed.pid}`)
        assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, next.pid)
        yield* Gateways.assertGone(site, yield* Gateways.stop(next))
      }))
  }
})
