/**
 * In these tests, another program has opened a lock file without sharing it. Virus scanners, indexers and backup programs do
 * that for a moment.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Windows from "./support/windows.ts"

/**
 * Keeps a file open for a number of milliseconds. During that time no other program can open the file (`unshared`), or other
 * programs can open but not delete it (`undeleted`).
 */
const hold = (path: string, milliseconds: number, how: "unshared" | "undeleted") =>
  Effect.tap(
    Windows.start([Windows.installed.hold, path, String(milliseconds), ...(how === "undeleted" ? [how] : [])]),
    ({ line }) => line(/held/)
  )

describe("a lock file on Windows that another program has opened without sharing it", () => {
  it.scopedLive("is taken over once that program has closed it, within the lock timeout (N69)", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const pid = yield* Windows.crash(site, yield* Windows.startListening(site))
      const { config } = yield* Windows.lockPaths(site)
      yield* hold(config, 3000, "unshared")
      const next = yield* Windows.startListening(site, { flags: ["--lock-timeout", "30 seconds"] })
      assert.match(yield* next.stderr, new RegExp(`reclaimed gateway lock .*left by pid ${pid} since`))
    }))

  it.scopedLive("is refused with its path when the lock timeout is over", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      yield* Windows.crash(site, yield* Windows.startListening(site))
      const { config } = yield* Windows.lockPaths(site)
      yield* hold(config, 60_000, "unshared")
      const { code, stderr } = yield* Windows.gateway(site, { flags: ["--lock-timeout", "2 seconds"] })
      assert.strictEqual(code, 1, stderr)
      assert.include(stderr, `GatewayLockError: failed to acquire gateway lock at ${config}: `)
      const status = yield* Windows.gateway(site, { command: "status" })
      assert.strictEqual(status.code, 4, status.stdout)
      assert.notMatch(status.stdout, /gateway default: (not running|dead)/)
    }))

  it.scopedLive("is removed by a shutdown once that program has closed it (N69)", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite()
      const first = yield* Windows.startListening(site, { console: true })
      const { config } = yield* Windows.lockPaths(site)
      yield* hold(config, 1000, "undeleted")
      yield* first.interrupt
      const { code, stderr } = yield* first.ended
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(yield* Windows.lockNames(site), [], stderr)
    }))
})
