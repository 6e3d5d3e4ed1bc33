/**
 * The owner in Python, which is written from `docs/protocol.md` alone, as the one that comes later: it is refused by the program, reads
 * who holds the lock, and takes over.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Fixtures from "../fixtures/processes.ts"
import * as Clients from "./support/clients.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Python from "./support/python.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

const heldBy = ({ pid }: Processes.Running) => new RegExp(`held by pid ${pid} `)

/** The lock files and their content. Their times are left out, because the owner writes them every ten seconds. */
const filesOf = (site: Gateways.Site) =>
  Effect.map(Gateways.lockIdentities(site), (files) => files.map(({ content, ino, path }) => ({ content, ino, path })))

/** Starts an owner in Python, waits until it serves, and ends it. */
const assertTakesOver = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const owner = yield* Python.holdListening(site, { flags: ["--lock-timeout", "0"] })
    assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, owner.pid)
    assert.strictEqual((yield* Gateways.readRecord(Gateways.stateLock(site))).pid, owner.pid)
    yield* owner.signal("SIGTERM")
    yield* Gateways.assertClean(yield* owner.ended)
  })

describe("a gateway, to a program in Python", () => {
  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("keeps its lock files when a program that waits for them gets SIGTERM", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { wrapper } = yield* Execs.startChild(site, [], { flags: ["--no-port"] })
        const before = Gateways.lockNames(site)
        const waiting = yield* Python.hold(site, { flags: ["--port", "0", "--ready", "none", "--lock-timeout", "50"] })
        yield* waiting.line(/^waiting, held by /)
        yield* waiting.signal("SIGTERM")
        const { code, stderr } = yield* waiting.ended
        assert.strictEqual(code, 0, stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), before)
        yield* wrapper.signal("SIGUSR1")
        yield* Gateways.assertGone(site, yield* wrapper.ended)
      })
  )

  Variants.each("is the owner, which refuses it", Python.unavailable, (main, { lock }) =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ main })
      const before = yield* filesOf(site)
      const seen = yield* Python.read(site)
      assert.deepInclude(seen, { path: Gateways.configLock(site), lock: "held", liveness: "lives", answers: true })
      assert.deepInclude(seen.owner, { pid: gateway.pid, phase: "listening", port: site.port, mode: "run" })
      yield* Python.assertRefused(site, heldBy(gateway))
      const other = yield* Gateways.onAnotherPort(site)
      yield* Python.assertRefused(other, heldBy(gateway))
      yield* Python.assertRefused(yield* Gateways.withConfig(other, "other.json"), heldBy(gateway))
      assert.deepStrictEqual(yield* filesOf(site), before, lock)
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      assert.deepInclude(yield* Python.read(site), { lock: "absent", owner: null })
      yield* assertTakesOver(site)
    }))

  Variants.each("that is killed is taken over from at once", Python.unavailable, (main) =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ main })
      yield* Gateways.stop(gateway, "SIGKILL")
      const seen = yield* Python.read(site)
      assert.deepInclude(seen, { lock: "free", liveness: "ended", answers: false })
      assert.strictEqual(seen.owner?.pid, gateway.pid)
      yield* assertTakesOver(site)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))

  Variants.each(
    "that is suspended keeps the lock until it is killed",
    Python.unavailable,
    (main) =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ main })
        yield* gateway.signal("SIGSTOP")
        assert.deepInclude(yield* Python.read(site), { lock: "held", liveness: "lives", answers: false })
        yield* Python.assertRefused(site, heldBy(gateway))
        const other = yield* Gateways.onAnotherPort(site)
        yield* Python.assertRefused(other, heldBy(gateway))
        const patient = yield* Python.hold(other, { flags: ["--lock-timeout", "50"] })
        yield* gateway.signal("SIGKILL")
        yield* patient.listening
        yield* gateway.ended
        yield* patient.signal("SIGTERM")
        yield* Gateways.assertGone(other, yield* patient.ended)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named(
      "is found after a link in its config's path has changed, and finds such an owner",
      Python.noKernelLocks
    ),
    () =>
      Effect.gen(function*() {
        const place = yield* Gateways.newSite
        const site = { ...place, configPath: Path.join(place.root, "current", "gateway.json") }
        yield* Effect.promise(async () => {
          for (const release of ["1", "2"]) {
            await Fs.mkdir(Path.join(site.root, release))
            await Fs.writeFile(Path.join(site.root, release, "gateway.json"), "{}")
          }
        })
        const lead = (release: string) =>
          Effect.promise(async () => {
            await Fs.rm(Path.join(site.root, "current"), { force: true })
            await Fs.symlink(release, Path.join(site.root, "current"))
          })
        yield* lead("1")
        const gateway = yield* Gateways.startListening(site)
        yield* lead("2")
        const seen = yield* Python.read(site)
        assert.deepInclude(seen, { lock: "held", liveness: "lives", answers: true })
        assert.strictEqual(seen.owner?.pid, gateway.pid)
        yield* Python.assertRefused(yield* Gateways.onAnotherPort(site), heldBy(gateway))
        yield* Gateways.assertClean(yield* Gateways.stop(gateway))

        const owner = yield* Python.holdListening(site)
        yield* lead("1")
        const { status } = yield* Looking.expectStatus(site, "running")
        assert.strictEqual(status.owner?.pid, owner.pid)
        const stopped = yield* Gateways.run(site, { flags: ["stop"] })
        assert.strictEqual(stopped.code, 0, stopped.stderr)
        yield* Gateways.assertGone(site, yield* owner.ended)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named(
      "restores its lock file, and a program in Python that got one of the two gives up",
      Python.noKernelLocks
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, { lock: { recheckInterval: "2 seconds" } })
        const gateway = yield* Gateways.startListening(site)
        yield* Effect.promise(() => Fs.rm(Gateways.configLock(site)))
        yield* Python.assertRefused(yield* Gateways.onAnotherPort(site), heldBy(gateway))
        yield* gateway.line(/recreated gateway lock|re-acquired gateway lock/)
        assert.strictEqual(
          yield* Clients.instanceIdOf(site),
          (yield* Gateways.readRecord(Gateways.configLock(site))).instanceId
        )
        yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
      })
  )
})

describe("what a program in Python finds in the place of a lock file", () => {
  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named(
      "may be a record of an owner without a kernel lock, which counts until that owner is gone",
      Python.unavailable
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const former = yield* Python.holdListening(site)
        yield* Gateways.stop(former, "SIGKILL")
        const record = { ...(yield* Gateways.readRecord(Gateways.configLock(site))), lock: "record" }
        const write = (change: object) =>
          Effect.promise(() => Fs.writeFile(Gateways.configLock(site), JSON.stringify({ ...record, ...change })))
        yield* write({})
        assert.deepInclude(yield* Python.read(site), { lock: "free", liveness: "ended" })
        yield* assertTakesOver(site)

        yield* Effect.promise(() => Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 }))
        const other = yield* Gateways.onAnotherPort(site)
        const beforeReboot = { bootId: "ffffffff-0000-0000-0000-000000000000" }
        yield* write(beforeReboot)
        assert.deepInclude(yield* Python.read(site), { lock: "unknown", liveness: "unknown" })
        yield* Python.assertRefused(other, heldBy(former))
        yield* Effect.promise(() => Fs.utimes(Gateways.configLock(site), 1, 1))
        yield* Effect.scoped(Effect.zipRight(Strangers.web(site, 404, ""), Python.assertRefused(other, heldBy(former))))
        yield* assertTakesOver(other)
      })
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("may be anything: it takes the file over, and the program reads its record", Python.unavailable),
    () =>
      Effect.gen(function*() {
        for (const content of ["", "null", "\0".repeat(100_000), `{"version":1,"pid":"1"}`]) {
          const site = yield* Gateways.newSite
          yield* Effect.promise(async () => {
            await Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 })
            for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) await Fs.writeFile(path, content)
          })
          assert.deepInclude(yield* Python.read(site), { lock: "free", owner: null })
          const owner = yield* Python.holdListening(site)
          assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, owner.pid)
          assert.strictEqual((yield* Gateways.run(site, { flags: ["health"] })).code, 0)
          yield* owner.signal("SIGTERM")
          yield* Gateways.assertGone(site, yield* owner.ended)
        }
      })
  )

  const places: ReadonlyArray<readonly [name: string, make: (path: string) => Promise<void>]> = [
    ["a link", (path) => Fs.symlink("../../gateway.json", path)],
    ["a link that leads nowhere", (path) => Fs.symlink("nowhere", path)],
    ["a folder", (path) => Fs.mkdir(path)],
    ["a FIFO", async (path) => assert.isTrue(Fixtures.works("mkfifo", [path]))]
  ]
  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("may be no file: it refuses to start, and neither follows nor changes it", Python.unavailable),
    () =>
      Effect.forEach(places, ([name, make]) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          yield* Effect.promise(async () => {
            await Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 })
            await make(Gateways.configLock(site))
          })
          const before = yield* Effect.promise(() => Fs.lstat(Gateways.configLock(site)))
          const { code, stderr } = yield* Effect.flatMap(Python.hold(site), ({ ended }) => ended)
          assert.strictEqual(code, 1, `${name}: ${stderr}`)
          assert.match(stderr, /^failed: [^\n]+\n$/, name)
          const after = yield* Effect.promise(() => Fs.lstat(Gateways.configLock(site)))
          assert.deepStrictEqual([after.ino, after.mode], [before.ino, before.mode], name)
          assert.strictEqual(yield* Effect.promise(() => Fs.readFile(site.configPath, "utf8")), "{}")
          assert.deepStrictEqual(yield* Gateways.namesIn(site.stateDir), ["locks"])
        }), { discard: true })
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("may be a folder that others can write to, which it refuses as the program does", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Effect.promise(async () => {
          await Fs.mkdir(Gateways.locksFolder(site), { recursive: true })
          await Fs.chmod(Gateways.locksFolder(site), 0o770)
        })
        const { code, stderr } = yield* Effect.flatMap(Python.hold(site), ({ ended }) => ended)
        assert.strictEqual(code, 1, stderr)
        assert.match(stderr, /others may write to it/)
        assert.strictEqual((yield* Gateways.run(site)).code, 1)
      })
  )
})

describe("gateway exec, to a program in Python", () => {
  Variants.each(
    "is the owner while the wrapper or its command lives",
    Python.unavailable,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { pid, wrapper } = yield* Execs.startChild(site, ["listen"], { main })
        yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
        const seen = yield* Python.read(site)
        assert.deepInclude(seen, { lock: "held", liveness: "lives" })
        assert.deepInclude(seen.owner, { pid: wrapper.pid, mode: "exec", ready: "port" })
        assert.strictEqual(seen.owner?.child?.pid, pid)
        yield* Python.assertRefused(site, heldBy(wrapper))
        yield* Python.assertRefused(yield* Gateways.onAnotherPort(site), heldBy(wrapper))

        yield* Effect.sync(() => process.kill(wrapper.pid, "SIGKILL"))
        yield* Execs.untilEnded(wrapper.pid)
        assert.deepInclude(yield* Python.read(site), { lock: "held", liveness: "lives" })
        yield* Python.assertRefused(site, /is in use/)
        yield* Python.assertRefused(yield* Gateways.onAnotherPort(site), /held by/)

        yield* Effect.sync(() => process.kill(pid, "SIGKILL"))
        yield* Execs.untilEnded(pid)
        yield* assertTakesOver(site)
      })
  )
})
