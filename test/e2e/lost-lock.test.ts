import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

/** With this config a gateway checks its lock files every 200 milliseconds, so that a test need not wait long. */
const watchful = { lock: { recheckInterval: "200 millis" } }

const startWatchful = (site: Gateways.Site) =>
  Effect.gen(function*() {
    yield* Gateways.writeConfig(site, watchful)
    const gateway = yield* Gateways.startListening(site)
    return { gateway, instanceId: yield* Clients.instanceIdOf(site) }
  })

/** Waits until a condition holds. It polls, because no event reports the change of a lock file to the test. */
const until = (what: string, condition: () => Promise<boolean>) =>
  Effect.promise(condition).pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error(`waited in vain: ${what}`) }),
    Effect.orDie
  )

const exists = (path: string) => Fs.stat(path).then(() => true, () => false)

/** Checks that both lock files name this gateway, and that `/healthz` still answers with the same instance. */
const assertServing = (
  site: Gateways.Site,
  { gateway, instanceId }: Effect.Effect.Success<ReturnType<typeof startWatchful>>
) =>
  Effect.gen(function*() {
    assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
    assert.strictEqual(yield* Clients.instanceIdOf(site), instanceId)
    assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      const record = yield* Gateways.readRecord(path)
      assert.deepStrictEqual(
        { instanceId: record.instanceId, pid: record.pid, phase: record.phase, port: record.port, lock: record.lock },
        { instanceId, pid: gateway.pid, phase: "listening", port: site.port, lock: Program.enforcement }
      )
      assert.strictEqual(yield* Gateways.modeOf(path), "600")
    }
  })

const recreated = (path: string) => new RegExp(`level=WARN .*recreated gateway lock ${path}: the file was removed`)

describe("a running gateway", () => {
  for (const [name, lockOf] of [["config", Gateways.configLock], ["state", Gateways.stateLock]] as const) {
    it.scopedLive(`makes its ${name} lock again when it is deleted, and keeps others out with it`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const running = yield* startWatchful(site)
        const path = lockOf(site)
        yield* Effect.promise(() => Fs.rm(path))
        yield* running.gateway.line(recreated(path))
        yield* assertServing(site, running)

        const other = yield* Gateways.onAnotherPort(site)
        Gateways.assertRefused(
          yield* Gateways.run(other),
          `gateway already running (pid ${running.gateway.pid}) on ${Gateways.url(site)}`
        )
        yield* assertServing(site, running)
        const ended = yield* Gateways.stop(running.gateway)
        yield* Gateways.assertGone(site, ended)
        assert.strictEqual(Gateways.count(ended.stderr, /recreated gateway lock/), 1, ended.stderr)
        assert.strictEqual(Gateways.count(ended.stderr, /reclaimed gateway lock/), 0, ended.stderr)
      }))
  }

  it.scopedLive("makes its whole locks folder again", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const running = yield* startWatchful(site)
      // A rename removes the folder with both lock files in one step. If the test removed the files one by one, the gateway could
      // restore a file between two removals.
      yield* Effect.promise(async () => {
        await Fs.rename(Gateways.locksFolder(site), `${site.root}/gone`)
        await Fs.rm(`${site.root}/gone`, { recursive: true })
      })
      yield* running.gateway.line(recreated(Gateways.configLock(site)))
      yield* running.gateway.line(recreated(Gateways.stateLock(site)))
      yield* assertServing(site, running)
      assert.strictEqual(yield* Gateways.modeOf(Gateways.locksFolder(site)), "700")
      yield* Gateways.assertGone(site, yield* Gateways.stop(running.gateway))
    }))

  it.scopedLive("takes a copy of its lock that was moved over it", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const running = yield* startWatchful(site)
      const path = Gateways.configLock(site)
      const copy = `${site.root}/copy`
      yield* Effect.promise(async () => {
        await Fs.copyFile(path, copy)
        await Fs.rename(copy, path)
      })
      const { ino } = yield* Gateways.identityOf(path)
      yield* running.gateway.line(/level=WARN .*re-acquired gateway lock .*: the file was replaced/)
      yield* assertServing(site, running)
      assert.strictEqual((yield* Gateways.identityOf(path)).ino, ino)
      yield* Gateways.assertGone(site, yield* Gateways.stop(running.gateway))
    }))

  const skipped = Program.kernelLocks ? undefined : "the program under test has no kernel locks"
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("ends when another process holds the lock that is in the place of its own", skipped),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { gateway } = yield* startWatchful(site)
        const path = Gateways.configLock(site)
        yield* Gateways.takeLock(path)
        const stranger = yield* Gateways.identityOf(path)

        const ended = yield* gateway.ended
        assert.strictEqual(
          ended.stderr.split("\n").find((line) => line.startsWith("GatewayLockError: ")),
          `GatewayLockError: lost gateway lock at ${path}: the file was replaced and another process holds it now`,
          ended.stderr
        )
        assert.strictEqual(ended.code, 1, ended.stderr)
        assert.isTrue(yield* Ports.isFree(site.port))
        // The gateway had two lock files. It must not touch the file at `path`, which now belongs to another process, and must
        // remove its other lock file.
        assert.deepStrictEqual(yield* Gateways.identityOf(path), stranger)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [Path.basename(path)])
      })
  )

  it.scopedLive("keeps its lock files young, for cleaners of temporary folders", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const running = yield* startWatchful(site)
      for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
        const before = yield* Gateways.identityOf(path)
        const { mtimeMs } = yield* Effect.promise(() => Fs.stat(path))
        const dayAgo = mtimeMs / 1000 - 86_400
        yield* Effect.promise(() => Fs.utimes(path, dayAgo, dayAgo))
        yield* until(`a touch of ${path}`, () => Fs.stat(path).then((now) => now.mtimeMs >= mtimeMs))
        const after = yield* Gateways.identityOf(path)
        assert.deepStrictEqual([after.ino, after.content], [before.ino, before.content])
      }
      yield* assertServing(site, running)
      const ended = yield* Gateways.stop(running.gateway)
      yield* Gateways.assertGone(site, ended)
      assert.deepStrictEqual(Gateways.linesOf(ended).filter((line) => line.includes("level=WARN")), [], ended.stderr)
    }))

  it.scopedLive("serves on while its lock cannot be made again, and makes it as soon as it can", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const running = yield* startWatchful(site)
      const folder = Gateways.locksFolder(site)
      // The test pauses the owner by SIGSTOP. Otherwise the owner could create the folder again after the rename and before the
      // write.
      yield* running.gateway.signal("SIGSTOP")
      yield* Effect.promise(async () => {
        await Fs.rename(folder, `${site.root}/aside`)
        await Fs.writeFile(folder, "not a folder")
      })
      yield* running.gateway.signal("SIGCONT")
      yield* running.gateway.line(/level=WARN .*(could not re-check|could not re-acquire)/)
      assert.strictEqual(yield* Clients.instanceIdOf(site), running.instanceId)
      yield* Effect.promise(() => Fs.rm(folder))
      yield* until(
        "the lock files",
        async () => await exists(Gateways.configLock(site)) && await exists(Gateways.stateLock(site))
      )
      yield* running.gateway.line(recreated(Gateways.configLock(site)))
      yield* running.gateway.line(recreated(Gateways.stateLock(site)))
      yield* assertServing(site, running)
      yield* Gateways.assertGone(site, yield* Gateways.stop(running.gateway))
    }))
})
