import { FileSystem, HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, FastCheck as fc, Fiber, Layer, Logger, Option, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import { layerAbsent } from "../../src/host/KernelLock.ts"
import * as Claim from "../../src/lock/Claim.ts"
import { maxFailures } from "../../src/lock/HeldLock.ts"
import * as LockAttempt from "../../src/lock/LockAttempt.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { numRuns } from "../arbitraries.ts"
import { failureOf } from "../fixtures/exits.ts"
import { eventually } from "../fixtures/net.ts"
import { openFiles } from "../fixtures/openFiles.ts"
import { ownedBy } from "../fixtures/records.ts"
import {
  callsOf,
  makeHost as newHost,
  onRealHost,
  recordAt,
  replace,
  shownMode,
  simulated
} from "../fixtures/simulated.ts"
import { notLinux, unless } from "../fixtures/skips.ts"

const address = { host: "127.0.0.1", port: 18789 }
const folder = "/state/default/locks"
const paths = {
  config: LockFile.configLockPath({ stateDir: "/state/default", configPath: "/config/default/gateway.json" }),
  state: LockFile.stateLockPath({ stateDir: "/state/default" })
} as const
const names = ["config", "state"] as const
const modes = ["kernel", "record"] as const
const lockings = { kernel: "works", record: "absent" } as const
const everyLock = modes.flatMap((mode) => names.map((name) => ({ mode, name, path: paths[name] })))

type Host = SimulatedHost.SimulatedHost
type Mode = typeof modes[number]

const text = (content: string) => new TextEncoder().encode(content)

const App = HttpRouter.empty.pipe(HttpRouter.get("/hello", HttpServerResponse.text("world")), HttpServer.serve())

/** Starts a gateway; returns its process, its log lines and the number of its open files. */
const start = (host: Host, options: Gateway.GatewayOptions = {}, app: typeof App = App) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    let open = 0
    const logger = Logger.make(({ message }) => {
      lines.push(Array.isArray(message) ? message.join(" ") : String(message))
    })
    const process = yield* host.spawn(
      Effect.flatMap(FileSystem.FileSystem, (fs) =>
        Gateway.launch(app.pipe(Layer.provideMerge(Gateway.layerPlatform(options)))).pipe(
          Effect.provideService(FileSystem.FileSystem, {
            ...fs,
            open: (path, options) =>
              Effect.tap(fs.open(path, options), () =>
                Effect.acquireRelease(
                  Effect.sync(() =>
                    open += 1
                  ),
                  () => Effect.sync(() => open -= 1)
                ))
          }),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        ))
    )
    yield* host.settle
    return { ...process, lines, openFiles: () => open }
  })
type Started = Effect.Effect.Success<ReturnType<typeof start>>

/**
 * Makes a host and starts a gateway there. The gateway holds two locks: the lock of its config file and the lock of its state
 * directory. Both lock files name the gateway by its `instanceId`.
 */
const holder = (mode: Mode, options?: Gateway.GatewayOptions, app?: typeof App) =>
  Effect.gen(function*() {
    const host = yield* newHost()
    yield* host.setLocking(lockings[mode])
    const started = yield* start(host, options, app)
    const { instanceId } = Option.getOrThrow(yield* recordAt(host, paths.config))
    return { host, gateway: { ...started, instanceId } }
  })
type Holder = Effect.Effect.Success<ReturnType<typeof holder>>["gateway"]

const pass = (host: Host, duration: string & Parameters<typeof TestClock.adjust>[0]) =>
  Effect.zipRight(host.settle, Effect.zipRight(TestClock.adjust(duration), host.settle))

/**
 * Advances time until the holder has rechecked its lock files. A record that is not written again is stale after 30 seconds.
 * A holder rechecks its files three times in that period, so every 10 seconds, whether or not it has a kernel lock.
 */
const recheck = (host: Host) => pass(host, "10 seconds")

const ownerAt = (host: Host, path: string) =>
  Effect.map(recordAt(host, path), (record) => Option.getOrUndefined(record)?.instanceId)
const inodeAt = (host: Host, path: string) =>
  Effect.map(
    Effect.option(host.files.stat(path)),
    (info) => Option.getOrUndefined(Option.flatMap(info, ({ ino }) => ino))
  )
const namesIn = (host: Host) => Effect.orElseSucceed(host.files.readDirectory(folder), (): ReadonlyArray<string> => [])

/** Replaces a file by a new one with this content. */
const replaceBy = (host: Host, path: string, content: Uint8Array) =>
  Effect.zipRight(host.files.writeFile("/other", content), replace(host, "/other", path))

/** The error of the gateway, if it has failed. */
const failureSoFar = (gateway: Started) =>
  Effect.map(gateway.poll, (exit) => Option.getOrUndefined(Option.map(exit, failureOf)))

/** Checks that the gateway serves, and that the two lock files are its own. */
const assertHolding = (host: Host, gateway: Holder, mode: Mode) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(host.ports.owners(address.port), [gateway.pid])
    assert.strictEqual((yield* host.ports.get(address, "/healthz")).status, 200)
    for (const path of Object.values(paths)) {
      const record = Option.getOrThrow(yield* recordAt(host, path))
      const { lock, phase, pid, port } = record
      assert.deepStrictEqual({ instanceId: record.instanceId, lock, phase, pid, port }, {
        instanceId: gateway.instanceId,
        lock: mode,
        phase: "listening",
        pid: gateway.pid,
        port: address.port
      })
      if (mode === "kernel") assert.deepStrictEqual(host.lockHolders(path), [gateway.pid])
    }
    assert.strictEqual(gateway.openFiles(), 2)
  })

/** The reason that a holder gives for the loss of its lock, if the process of `squatter` (below) has acquired that lock. */
const takenBySquatter = "the file was replaced and another process (pid 4711) holds it now"

const assertLost = (host: Host, gateway: Started, path: string, reason: string) =>
  Effect.gen(function*() {
    const error = yield* failureSoFar(gateway)
    assert.strictEqual(error?._tag, "LockLost")
    assert.strictEqual(error?.message, `lost gateway lock at ${path}: ${reason}`)
    // The error names the new holder if the reason names a process.
    const [, taker] = /\(pid (\d+)\)/.exec(reason) ?? []
    const holder = error?._tag === "LockLost" ? error.holder : undefined
    assert.strictEqual(holder?.pid, taker === undefined ? undefined : Number(taker))
    if (holder !== undefined) assert.isDefined(holder.pidMeaning)
    assert.deepStrictEqual(host.ports.owners(address.port), [])
    assert.strictEqual(gateway.openFiles(), 0)
  })

const assertCleanEnd = (host: Host, gateway: Started) =>
  Effect.gen(function*() {
    yield* gateway.terminate
    assert.deepStrictEqual(yield* namesIn(host), [])
    assert.deepStrictEqual(host.ports.owners(address.port), [])
    assert.strictEqual(gateway.openFiles(), 0)
  })

const told = (gateway: Started, line: string) => gateway.lines.filter((said) => said.includes(line)).length

/** Starts a process that acquires one lock file, and then holds it without doing anything else. */
const squatter = (host: Host, path: string, phase: OwnerRecord.Phase, instanceId = "squatter") =>
  Effect.gen(function*() {
    const process = yield* host.spawn(Effect.flatMap(
      LockAttempt.attempt({
        path,
        reclaim: Option.none(),
        record: (lock) => ({ ...ownedBy(instanceId), port: 1, phase, lock })
      }),
      ({ _tag }) => _tag === "Mine" ? Effect.never : Effect.dieMessage("it is held")
    ))
    yield* host.settle
    assert.isTrue(Option.isNone(yield* process.poll))
    return process
  })

/** Counts the system calls of one process from now on, and runs `act` at each. */
const atCall = (host: Host, pid: number, act: (call: number) => Effect.Effect<Option.Option<string>>) =>
  Effect.suspend(() => {
    let calls = 0
    return Effect.as(
      host.setIntercept((call) => call.pid === pid ? Effect.suspend(() => act(calls += 1)) : Effect.succeedNone),
      () => calls
    )
  })

/** Runs `act` when a process makes its system call number `at`, counted from now. Returns a function that gives the count so far. */
const onceAtCall = (host: Host, pid: number, at: number, act: Effect.Effect<unknown>) =>
  atCall(host, pid, (call) => call === at ? Effect.as(act, Option.none()) : Effect.succeedNone)

/** How many system calls a holder makes from the loss of its lock file until it has its lock back. */
const callsToRegain = (mode: Mode) =>
  Effect.gen(function*() {
    const { gateway, host } = yield* holder(mode)
    yield* host.files.remove(paths.config)
    const calls = yield* atCall(host, gateway.pid, () => Effect.succeedNone)
    yield* recheck(host)
    const count = calls()
    assert.isAbove(count, 10)
    return count
  })

describe("a holder that nobody disturbs", () => {
  simulated.each(modes)(
    "writes to its files three times within what makes a record stale, by %s",
    (mode) =>
      Effect.gen(function*() {
        const { host } = yield* holder(mode)
        for (let third = 1; third <= 6; third += 1) {
          yield* pass(host, "10 seconds")
          for (const path of Object.values(paths)) {
            const { mtime } = yield* host.files.stat(path)
            assert.strictEqual(Option.getOrThrow(mtime).getTime(), third * 10_000)
          }
        }
      })
  )

  simulated("does so as often as it is told to, where that is more often", () =>
    Effect.gen(function*() {
      const { host } = yield* holder("kernel", { lock: { recheckInterval: "3 seconds" } })
      yield* pass(host, "10 seconds")
      const { mtime } = yield* host.files.stat(paths.config)
      assert.strictEqual(Option.getOrThrow(mtime).getTime(), 9000)
    }))
})

describe("a holder whose file was removed", () => {
  simulated.each(everyLock)(
    "makes it again, by $mode, for the $name",
    ({ mode, name, path }) =>
      Effect.gen(function*() {
        const { gateway, host } = yield* holder(mode)
        assert.strictEqual(gateway.openFiles(), 2)
        const other = paths[name === "config" ? "state" : "config"]
        const untouched = yield* inodeAt(host, other)
        yield* host.files.remove(path)
        yield* recheck(host)
        yield* assertHolding(host, gateway, mode)
        assert.strictEqual(yield* inodeAt(host, other), untouched)
        assert.strictEqual((yield* host.files.stat(path)).mode & 0o777, shownMode(0o600))
        assert.strictEqual(told(gateway, `recreated gateway lock ${path}: the file was removed`), 1)
        assert.strictEqual(gateway.lines.filter((line) => line.includes("recreated")).length, 1)
        assert.strictEqual(told(gateway, "reclaimed"), 0)
        // The test removes the file a second time, because the holder must recheck the restored file too.
        yield* host.files.remove(path)
        yield* recheck(host)
        yield* assertHolding(host, gateway, mode)
        yield* assertCleanEnd(host, gateway)
      })
  )

  simulated.each(modes)("makes the folder and both files again, by %s", (mode) =>
    Effect.gen(function*() {
      for (const gone of [folder, "/state"]) {
        const { gateway, host } = yield* holder(mode)
        yield* host.files.remove(gone, { recursive: true })
        yield* recheck(host)
        yield* assertHolding(host, gateway, mode)
        assert.strictEqual((yield* host.files.stat(folder)).mode & 0o777, shownMode(0o700))
        yield* assertCleanEnd(host, gateway)
      }
    }))

  simulated.each(modes)(
    "has one of that name, whenever the old one is moved back, by %s",
    (mode) =>
      Effect.gen(function*() {
        const calls = yield* callsToRegain(mode)
        for (const at of callsOf(calls)) {
          const { gateway, host } = yield* holder(mode)
          yield* host.files.rename(paths.config, "/aside")
          yield* onceAtCall(host, gateway.pid, at, replace(host, "/aside", paths.config))
          yield* recheck(host)
          // If the test moves the old file back after the holder has made a new one, the old file replaces the new one. The
          // second recheck finds that.
          yield* recheck(host)
          yield* assertHolding(host, gateway, mode)
          yield* assertCleanEnd(host, gateway)
        }
      })
  )

  simulated.each(modes)(
    "leaves nothing behind when it is told to end, at whichever system call, by %s",
    (mode) =>
      Effect.gen(function*() {
        const calls = yield* callsToRegain(mode)
        for (const at of callsOf(calls)) {
          const { gateway, host } = yield* holder(mode)
          yield* host.files.remove(paths.config)
          const reached = yield* Deferred.make<void>()
          yield* onceAtCall(host, gateway.pid, at, Deferred.succeed(reached, undefined))
          yield* Effect.fork(recheck(host))
          yield* Deferred.await(reached)
          yield* assertCleanEnd(host, gateway)
        }
      })
  )

  simulated.each(modes)(
    "is succeeded by the next one, whichever system call was its last, by %s",
    (mode) =>
      Effect.gen(function*() {
        const calls = yield* callsToRegain(mode)
        for (const last of callsOf(calls)) {
          const { gateway, host } = yield* holder(mode)
          yield* host.files.remove(paths.config)
          yield* atCall(
            host,
            gateway.pid,
            (call) => call >= last ? Effect.as(gateway.kill, Option.none()) : Effect.succeedNone
          )
          yield* recheck(host)
          yield* gateway.kill
          // Without a kernel lock, a lock file that contains no record blocks other starts until the file is old enough to be
          // stale.
          yield* TestClock.adjust(mode === "record" ? "31 seconds" : "0 seconds")
          const next = yield* start(host)
          assert.deepStrictEqual(host.ports.owners(address.port), [next.pid], `killed at call ${last}`)
          yield* assertCleanEnd(host, next)
        }
      })
  )

  simulated.each(modes)(
    "serves on and has it again later, whichever system call fails, by %s",
    (mode) =>
      Effect.gen(function*() {
        const calls = yield* callsToRegain(mode)
        for (const [turn, errno] of ["EIO", "ENOSPC", "EACCES"].entries()) {
          for (const at of callsOf(calls, turn)) {
            const { gateway, host } = yield* holder(mode)
            yield* host.files.remove(paths.config)
            yield* atCall(host, gateway.pid, (call) => Effect.succeed(call === at ? Option.some(errno) : Option.none()))
            yield* recheck(host)
            yield* recheck(host)
            yield* assertHolding(host, gateway, mode)
            yield* assertCleanEnd(host, gateway)
          }
        }
      })
  )

  simulated(
    "serves on while the disk is full, says so each time, and has it again once there is room",
    () =>
      Effect.gen(function*() {
        const { gateway, host } = yield* holder("kernel")
        yield* host.setCapacity(0)
        yield* host.files.remove(paths.config)
        for (let looks = 1; looks < maxFailures; looks += 1) {
          yield* recheck(host)
          assert.strictEqual(
            told(gateway, `the file was removed: could not re-acquire gateway lock ${paths.config} yet: ENOSPC: `),
            looks
          )
          assert.strictEqual((yield* host.ports.get(address, "/healthz")).status, 200)
        }
        yield* host.setCapacity(Number.POSITIVE_INFINITY)
        yield* recheck(host)
        yield* assertHolding(host, gateway, "kernel")
        // The recheck above succeeded, so the holder counts its failures from zero again.
        yield* host.setCapacity(0)
        yield* host.files.remove(paths.config)
        for (let looks = 1; looks < maxFailures; looks += 1) yield* recheck(host)
        assert.isTrue(Option.isNone(yield* gateway.poll))
        yield* recheck(host)
        yield* assertLost(
          host,
          gateway,
          paths.config,
          `the file was removed and could not be re-acquired: ENOSPC: no space left on device, write '${
            Claim.draftPath(paths.config, ownedBy(gateway.instanceId))
          }'`
        )
      })
  )

  simulated.each<readonly [what: string, put: (host: Host) => Effect.Effect<void, unknown>, reason: string]>([
    [
      "a folder",
      (host) => host.files.makeDirectory(paths.config),
      "the file was replaced and could not be re-acquired: it is not a regular file but a directory"
    ],
    [
      "a link",
      (host) => host.files.symlink("/elsewhere", paths.config),
      "the file was removed and could not be re-acquired: it is a symbolic link to /elsewhere"
    ]
  ])(
    "does not hit what is in its place, when it is %s, and gives up after a time",
    ([, put, reason]) =>
      Effect.gen(function*() {
        const { gateway, host } = yield* holder("kernel")
        yield* host.files.remove(paths.config)
        yield* put(host)
        for (let looks = 1; looks < maxFailures; looks += 1) yield* recheck(host)
        assert.isTrue(Option.isNone(yield* gateway.poll))
        yield* recheck(host)
        yield* assertLost(host, gateway, paths.config, reason)
        assert.deepStrictEqual(yield* namesIn(host), [paths.config.slice(folder.length + 1)])
      })
  )
})

describe("a holder whose file was replaced", () => {
  simulated.each(names)("takes what nobody holds, with a kernel lock, for the %s", (name) =>
    Effect.gen(function*() {
      const path = paths[name]
      const { gateway, host } = yield* holder("kernel")
      const own = yield* host.files.readFile(path)
      const old = OwnerRecord.encode({ ...Option.getOrThrow(OwnerRecord.parse(own)), instanceId: "old", pid: 7 })
      for (const [index, content] of [own, old, text(""), text("somebody else's")].entries()) {
        yield* replaceBy(host, path, content)
        const inode = yield* inodeAt(host, path)
        yield* recheck(host)
        yield* assertHolding(host, gateway, "kernel")
        assert.strictEqual(yield* inodeAt(host, path), inode)
        // The log says `recreated` if the new file is empty, and `re-acquired` otherwise. The test counts both messages.
        const ways = [
          `re-acquired gateway lock ${path}: the file was replaced`,
          `recreated gateway lock ${path}: the file was replaced`
        ]
        assert.strictEqual(ways.reduce((sum, way) => sum + told(gateway, way), 0), index + 1)
      }
      assert.strictEqual(told(gateway, "reclaimed"), 0)
      yield* assertCleanEnd(host, gateway)
    }))

  simulated.each(names)(
    "adopts a copy of its own record without a kernel lock, for the %s",
    (name) =>
      Effect.gen(function*() {
        const path = paths[name]
        const { gateway, host } = yield* holder("record")
        yield* replaceBy(host, path, yield* host.files.readFile(path))
        const inode = yield* inodeAt(host, path)
        yield* recheck(host)
        yield* assertHolding(host, gateway, "record")
        assert.strictEqual(yield* inodeAt(host, path), inode)
        assert.strictEqual(told(gateway, `re-acquired gateway lock ${path}: the file was replaced`), 1)
        yield* assertCleanEnd(host, gateway)
      })
  )

  simulated.each(names)(
    "adopts a copy that records no kernel lock, where there is one by now, for the %s",
    (name) =>
      Effect.gen(function*() {
        const path = paths[name]
        const { gateway, host } = yield* holder("record")
        yield* host.setLocking("works")
        yield* replaceBy(host, path, yield* host.files.readFile(path))
        yield* recheck(host)
        assert.deepStrictEqual(host.lockHolders(path), [gateway.pid])
        const record = Option.getOrThrow(yield* recordAt(host, path))
        assert.deepStrictEqual([record.instanceId, record.lock], [gateway.instanceId, "kernel"])
        yield* assertCleanEnd(host, gateway)
      })
  )

  simulated("says so when there is no kernel lock to be had for the new file", () =>
    Effect.gen(function*() {
      const { gateway, host } = yield* holder("kernel")
      yield* host.setLocking("refused")
      yield* host.files.remove(folder, { recursive: true })
      yield* recheck(host)
      yield* assertHolding(host, gateway, "record")
      for (const path of Object.values(paths)) assert.strictEqual(told(gateway, `no kernel lock for ${path} (`), 1)
      yield* assertCleanEnd(host, gateway)
    }))

  simulated.each(names)("gives up at once for one that serves, for the %s", (name) =>
    Effect.gen(function*() {
      for (const mode of modes) {
        const path = paths[name]
        const { gateway, host } = yield* holder(mode)
        yield* host.files.remove(path)
        yield* squatter(host, path, "listening")
        const inode = yield* inodeAt(host, path)
        yield* recheck(host)
        yield* assertLost(host, gateway, path, takenBySquatter)
        assert.deepStrictEqual(yield* namesIn(host), [path.slice(folder.length + 1)])
        assert.strictEqual(yield* inodeAt(host, path), inode)
      }
    }))

  simulated.each(everyLock)(
    "waits for one that may let go, and has it again, by $mode, for the $name",
    ({ mode, path }) =>
      Effect.gen(function*() {
        const { gateway, host } = yield* holder(mode, { lock: { pollInterval: "100 millis" } })
        yield* host.files.remove(path)
        const other = yield* squatter(host, path, "starting")
        yield* recheck(host)
        yield* pass(host, "4 seconds")
        assert.strictEqual(yield* ownerAt(host, path), "squatter")
        assert.isTrue(Option.isNone(yield* gateway.poll))
        yield* other.terminate
        yield* pass(host, "100 millis")
        yield* assertHolding(host, gateway, mode)
        yield* assertCleanEnd(host, gateway)
      })
  )

  simulated.each(everyLock)(
    "gives up for one that stays, not before, by $mode, for the $name",
    ({ mode, path }) =>
      Effect.gen(function*() {
        // The holder waits as long as `lock.timeout` for the other process to release the lock, but at least 5 seconds, the
        // default. Here the timeout is 0, so the holder waits 5 seconds.
        const { gateway, host } = yield* holder(mode, { lock: { timeout: "0 millis", pollInterval: "100 millis" } })
        yield* host.files.remove(path)
        yield* squatter(host, path, "starting")
        yield* recheck(host)
        yield* pass(host, "4800 millis")
        assert.isTrue(Option.isNone(yield* gateway.poll))
        assert.strictEqual((yield* host.ports.get(address, "/healthz")).status, 200)
        yield* pass(host, "400 millis")
        yield* assertLost(host, gateway, path, takenBySquatter)
        assert.strictEqual(yield* ownerAt(host, path), "squatter")
        assert.deepStrictEqual(yield* namesIn(host), [path.slice(folder.length + 1)])
      })
  )

  simulated.each(modes)(
    "does not touch another's file, whenever that comes into its place, by %s",
    (mode) =>
      Effect.gen(function*() {
        for (const at of callsOf(100)) {
          const { gateway, host } = yield* holder(mode)
          yield* squatter(host, "/other", "listening")
          const before = yield* host.files.stat("/other")
          const content = yield* host.files.readFile("/other")
          const calls = yield* onceAtCall(host, gateway.pid, at, replace(host, "/other", paths.config))
          yield* recheck(host)
          if (calls() < at) {
            assert.isAbove(at, 4)
            yield* gateway.terminate
            break
          }
          yield* recheck(host)
          assert.strictEqual((yield* failureSoFar(gateway))?._tag, "LockLost", `at ${at}`)
          assert.deepStrictEqual(yield* host.files.stat(paths.config), before, `at ${at}`)
          assert.deepStrictEqual(yield* host.files.readFile(paths.config), content)
        }
      })
  )

  simulated(
    "gives up for one that locked a copy of its own record, and does not name itself",
    () =>
      Effect.gen(function*() {
        const { gateway, host } = yield* holder("kernel")
        yield* host.files.remove(paths.config)
        yield* squatter(host, paths.config, "listening", gateway.instanceId)
        yield* recheck(host)
        yield* pass(host, "5 seconds")
        yield* assertLost(host, gateway, paths.config, "the file was replaced and another process holds it now")
        assert.strictEqual(yield* ownerAt(host, paths.config), gateway.instanceId)
      })
  )

  simulated(
    "gives up without a kernel lock for anything that is not a copy of its own, and leaves it",
    () =>
      Effect.gen(function*() {
        for (const content of ["", "somebody else's"]) {
          const { gateway, host } = yield* holder("record")
          yield* replaceBy(host, paths.config, text(content))
          yield* recheck(host)
          yield* pass(host, "5 seconds")
          yield* assertLost(host, gateway, paths.config, "the file was replaced and its record names no owner now")
          assert.deepStrictEqual(yield* host.files.readFile(paths.config), text(content))
        }
      })
  )

  simulated("respects, with a kernel lock, a holder that has none", () =>
    Effect.gen(function*() {
      const { gateway, host } = yield* holder("kernel")
      yield* host.files.remove(paths.config)
      yield* host.setLocking("absent")
      yield* squatter(host, paths.config, "listening")
      yield* host.setLocking("works")
      yield* recheck(host)
      yield* assertLost(host, gateway, paths.config, takenBySquatter)
      assert.strictEqual(yield* ownerAt(host, paths.config), "squatter")
    }))
})

describe("a holder whose file was overwritten in place", () => {
  simulated("puts its record back under its kernel lock", () =>
    Effect.gen(function*() {
      const { gateway, host } = yield* holder("kernel")
      const inode = yield* inodeAt(host, paths.config)
      for (const content of ["", "somebody else's"]) {
        yield* host.files.writeFile(paths.config, text(content))
        yield* recheck(host)
        yield* assertHolding(host, gateway, "kernel")
        assert.strictEqual(yield* inodeAt(host, paths.config), inode)
      }
      assert.strictEqual(told(gateway, `rewrote the record of gateway lock ${paths.config}: it was overwritten`), 2)
      yield* recheck(host)
      assert.strictEqual(told(gateway, "rewrote"), 2)
      yield* assertCleanEnd(host, gateway)
    }))

  simulated("has lost it, where the record was all that it had", () =>
    Effect.gen(function*() {
      const { gateway, host } = yield* holder("record")
      const record = Option.getOrThrow(yield* recordAt(host, paths.config))
      const other = OwnerRecord.encode({ ...record, instanceId: "other", pid: 4711 })
      yield* host.files.writeFile(paths.config, other)
      yield* recheck(host)
      yield* assertLost(
        host,
        gateway,
        paths.config,
        "the file was overwritten and another process (pid 4711) holds it now"
      )
    }))
})

describe("what a gateway says of itself", () => {
  /**
   * Starts a gateway with an open request to `/slow`. If the gateway is told to end, it first drains: it waits until that
   * request is answered. `end` lets the app answer the request, and waits until the gateway has ended.
   */
  const draining = (mode: Mode) =>
    Effect.gen(function*() {
      const done = yield* Deferred.make<void>()
      const { gateway, host } = yield* holder(
        mode,
        { drainTimeout: "1 hour" },
        HttpRouter.empty.pipe(
          HttpRouter.get("/slow", Effect.as(Deferred.await(done), HttpServerResponse.text("finished"))),
          HttpServer.serve()
        )
      )
      const slow = yield* Effect.fork(host.ports.get(address, "/slow"))
      yield* host.settle
      const end = Effect.gen(function*() {
        yield* Deferred.succeed(done, undefined)
        assert.strictEqual((yield* Fiber.join(slow)).body, "finished")
        yield* gateway.exit
        assert.deepStrictEqual(yield* namesIn(host), [])
        assert.strictEqual(gateway.openFiles(), 0)
      })
      return { gateway, end, host }
    })
  const phaseAt = (host: Host, path: string) =>
    Effect.map(recordAt(host, path), (record) => Option.getOrUndefined(record)?.phase)

  simulated.each(modes)("goes to the file that it has by then, by %s", (mode) =>
    Effect.gen(function*() {
      const { end, gateway, host } = yield* draining(mode)
      yield* host.files.remove(folder, { recursive: true })
      yield* recheck(host)
      yield* gateway.interrupt
      yield* host.settle
      for (const path of Object.values(paths)) assert.strictEqual(yield* phaseAt(host, path), "draining")
      // A lock file that is lost during the drain is restored with the phase "draining".
      yield* host.files.remove(folder, { recursive: true })
      yield* recheck(host)
      for (const path of Object.values(paths)) assert.strictEqual(yield* phaseAt(host, path), "draining")
      yield* end
    }))

  simulated.each(modes)(
    "is not overtaken by the file's being made again, at whichever system call, by %s",
    (mode) =>
      Effect.gen(function*() {
        const calls = yield* callsToRegain(mode)
        for (const at of callsOf(calls)) {
          const { end, gateway, host } = yield* draining(mode)
          yield* host.files.remove(paths.config)
          yield* onceAtCall(host, gateway.pid, at, gateway.interrupt)
          yield* recheck(host)
          for (const path of Object.values(paths)) {
            assert.strictEqual(yield* phaseAt(host, path), "draining", `at ${at}`)
          }
          yield* end
        }
      })
  )
})

describe("a lock that is lost while others start", () => {
  const losses = ["removed", "replaced by another's", "replaced by a copy", "folder gone"] as const
  const lose = (host: Host, loss: typeof losses[number], path: string) =>
    Effect.gen(function*() {
      const copy = yield* host.files.readFile(path)
      if (loss === "removed") yield* host.files.remove(path)
      else if (loss === "folder gone") yield* host.files.remove(folder, { recursive: true })
      else yield* replaceBy(host, path, loss === "replaced by a copy" ? copy : text("somebody else's"))
    })

  simulated.prop(
    "has one holder or none, who serves; and nobody removes what is another's",
    {
      mode: fc.constantFrom(...modes),
      name: fc.constantFrom(...names),
      loss: fc.constantFrom(...losses),
      /**
       * When the other gateways start. 0 means before the holder rechecks its lock files. A higher number n means at the n-th
       * system call that the holder makes after it has lost its lock file.
       */
      at: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
      starters: fc.array(fc.constantFrom(address.port, address.port + 1), { maxLength: 3 }),
      delays: fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 20 })
    },
    ({ at, delays, loss, mode, name, starters }) =>
      Effect.gen(function*() {
        // The gateways poll once a second instead of more often, because each step of the simulated clock costs real time.
        const patient = { lock: { pollInterval: "1 second" } } as const
        const { gateway: first, host } = yield* holder(mode, patient)
        const others: Array<{ readonly port: number; readonly gateway: Started }> = []
        const begin = Effect.forEach(starters, (port) =>
          Effect.map(Effect.forkDaemon(start(host, { ...patient, port })), (fiber) => ({ port, fiber })))
        const arrived = yield* Deferred.make<Effect.Effect.Success<typeof begin>>()

        yield* lose(host, loss, paths[name])
        let [step, calls, most] = [0, 0, 0]
        const arrive = Effect.flatMap(begin, (begun) =>
          Deferred.succeed(arrived, begun))
        yield* host.setIntercept(({ pid }) =>
          Effect.gen(function*() {
            step += 1
            // The holder may make this call in an uninterruptible region, and a fiber that is forked there would be
            // uninterruptible too. The test must be able to end the new gateways, so `arrive` is made interruptible.
            if (pid === first.pid && (calls += 1) === at) yield* Effect.forkDaemon(Effect.interruptible(arrive))
            yield* Effect.repeatN(Effect.yieldNow(), delays[step % delays.length] ?? 0)
            most = Math.max(
              most,
              host.ports.owners(address.port).length,
              ...Object.values(paths).map((path) => host.lockHolders(path).length)
            )
            return Option.none()
          })
        )
        if (at === 0) yield* arrive
        yield* Effect.repeatN(host.settle, 3)
        // These 90 seconds are enough for the first gateway to recheck its lock files, to wait until another gateway may release
        // a lock, and to recheck again.
        for (let looks = 1; looks <= 3; looks += 1) {
          yield* TestClock.adjust("30 seconds")
          yield* Effect.repeatN(host.settle, 3)
        }
        // If the holder made fewer than `at` calls, the other gateways have not started yet. They start now.
        if (calls < at) yield* arrive
        for (const { fiber, port } of yield* Deferred.await(arrived)) {
          others.push({ port, gateway: yield* Fiber.join(fiber) })
        }
        yield* TestClock.adjust("6 seconds")
        yield* Effect.repeatN(host.settle, 3)
        yield* host.setIntercept(() => Effect.succeedNone)

        assert.strictEqual(most, 1, "listeners of the port, holders of a lock")
        const all = [{ port: address.port, gateway: first }, ...others]
        const running = yield* Effect.filter(all, ({ gateway }) => Effect.map(gateway.poll, Option.isNone))
        assert.isAtMost(running.length, 1)
        for (const { gateway, port } of running) {
          assert.deepStrictEqual(host.ports.owners(port), [gateway.pid])
          for (const path of Object.values(paths)) {
            assert.strictEqual(Option.getOrThrow(yield* recordAt(host, path)).pid, gateway.pid)
            if (mode === "kernel") assert.deepStrictEqual(host.lockHolders(path), [gateway.pid])
          }
        }
        for (const { gateway } of all) {
          const ended = yield* gateway.poll
          if (Option.isNone(ended)) continue
          const tags = gateway === first ? ["LockLost"] : ["PortInUse", "LockHeld"]
          assert.include(tags, failureOf(ended.value)?._tag)
          assert.strictEqual(gateway.openFiles(), 0)
        }
        const survived = running.some(({ gateway }) => gateway === first)
        if (survived) yield* assertHolding(host, first, mode)
        // With a kernel lock, the first gateway may end only if another gateway has acquired the lock and runs in its place.
        if (mode === "kernel") assert.isTrue(survived || running.length === 1)
        for (const { gateway } of running) yield* assertCleanEnd(host, gateway)
      }),
    { fastCheck: { numRuns: Math.min(numRuns, 15) } }
  )
})

unless(notLinux ?? onRealHost).describe("on this machine", () => {
  const layers = { kernel: Gateway.layerNode, record: Layer.merge(Gateway.layerNode, layerAbsent("not here")) }

  it.scopedLive.each(modes)(
    "a holder has one file open for each lock, however often it lost them, by %s",
    (mode) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const stateDir = yield* Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "held-lock-" }), fs.realPath)
        const { path } = yield* Effect.scoped(Effect.gen(function*() {
          const gateway = Context.get(
            yield* Layer.build(Gateway.layerPlatform({
              port: 0,
              stateDir,
              configPath: `${stateDir}/gateway.json`,
              lock: { recheckInterval: "20 millis" }
            })),
            Gateway.Gateway
          )
          const path = gateway.lockPath
          const others = LockFile.stateLockPath({ stateDir })
          for (let losses = 1; losses <= 5; losses += 1) {
            for (const path of [gateway.lockPath, others]) {
              yield* fs.remove(path)
              yield* eventually(
                "the lock file",
                Effect.map(
                  LockFile.readOwner(path),
                  Option.exists(({ instanceId }) => instanceId === gateway.instanceId)
                )
              )
            }
            // The old file is closed a moment after the new one is opened.
            yield* eventually("two open files", Effect.map(openFiles(stateDir), ({ length }) => length === 2))
            assert.deepStrictEqual((yield* openFiles(stateDir)).toSorted(), [path, others].toSorted())
          }
          return { path }
        }))
        assert.deepStrictEqual(yield* openFiles(stateDir), [])
        assert.deepStrictEqual(yield* fs.readDirectory(path.slice(0, path.lastIndexOf("/"))), [])
      }).pipe(Effect.provide(layers[mode]))
  )
})
