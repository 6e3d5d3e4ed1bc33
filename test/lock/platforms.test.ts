/**
 * Tests lock files on a simulated host that follows the rules of macOS or of Windows.
 */
import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Option, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as GatewayList from "../../src/inspect/GatewayList.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as GatewayConfig from "../../src/settings/GatewayConfig.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { failureOf } from "../fixtures/exits.ts"
import { simulated } from "../fixtures/simulated.ts"

const stateDir = "/state/default"
const configPath = "/config/default/gateway.json"
const lockPath = LockFile.configLockPath({ stateDir, configPath })

const gateway = (options: Gateway.GatewayOptions = {}) => Gateway.launch(Gateway.layerPlatform(options))

/** Makes every system call with one of these names on a lock file fail with `errno`, for this number of milliseconds. */
const refuseFor = (host: SimulatedHost.SimulatedHost, names: ReadonlyArray<string>, errno: string, millis: number) => {
  let over = false
  return Effect.zipRight(
    host.setIntercept(({ name, target }) =>
      Effect.succeed(!over && names.includes(name) && target.includes("/locks/") ? Option.some(errno) : Option.none())
    ),
    Effect.forkDaemon(Effect.zipRight(Effect.sleep(millis), Effect.sync(() => over = true)))
  )
}

const momentary = ["EBUSY", "EPERM", "EACCES"] as const

describe("on Windows", () => {
  const windows = SimulatedHost.makeWith({ platform: "win32" })

  simulated(
    "a lock file that another one replaces is restored, though their ids are one number of JavaScript",
    () =>
      Effect.gen(function*() {
        const host = yield* windows
        const first = yield* host.spawn(gateway())
        yield* host.settle
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
        const before = yield* host.files.stat(lockPath)
        yield* host.files.remove(lockPath)
        yield* host.files.writeFile(lockPath, new TextEncoder().encode("another file"))
        assert.deepStrictEqual((yield* host.files.stat(lockPath)).ino, before.ino, "as numbers")
        assert.deepStrictEqual(host.lockHolders(lockPath), [])
        yield* TestClock.adjust("31 seconds")
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
      })
  )

  simulated.each(momentary)(
    "a start waits while the lock folder refuses with %s, within its timeout",
    (errno) =>
      Effect.gen(function*() {
        const host = yield* windows
        yield* refuseFor(host, ["open", "stat", "rename", "unlink"], errno, 3000)
        const first = yield* host.spawn(gateway())
        yield* TestClock.adjust("4 seconds")
        assert.isTrue(first.isRunning())
        assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
      })
  )

  simulated.each(momentary)("a start fails with %s when its timeout is over", (errno) =>
    Effect.gen(function*() {
      const host = yield* windows
      yield* refuseFor(host, ["open"], errno, 60_000)
      const first = yield* host.spawn(gateway())
      yield* TestClock.adjust("4 seconds")
      assert.isTrue(first.isRunning())
      yield* TestClock.adjust("2 seconds")
      const error = failureOf(yield* first.exit)
      assert.strictEqual(error?._tag, "LockUnavailable")
      assert.include(error?.message, errno)
    }))

  simulated.each(momentary)(
    "a release that is refused with %s for a moment leaves no file",
    (errno) =>
      Effect.gen(function*() {
        const host = yield* windows
        const first = yield* host.spawn(gateway())
        yield* host.settle
        yield* refuseFor(host, ["unlink", "stat"], errno, 1000)
        yield* first.interrupt
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(first.isRunning())
        assert.deepStrictEqual(yield* host.files.readDirectory(`${stateDir}/locks`), [])
      })
  )

  simulated("a check that is refused for a moment loses nothing", () =>
    Effect.gen(function*() {
      const host = yield* windows
      const first = yield* host.spawn(gateway())
      yield* host.settle
      yield* refuseFor(host, ["stat", "open"], "EPERM", 15_000)
      yield* TestClock.adjust("2 minutes")
      assert.isTrue(first.isRunning())
      assert.deepStrictEqual(host.lockHolders(lockPath), [first.pid])
    }))
})

describe("elsewhere", () => {
  simulated.each(["linux", "darwin"] as const)(
    "a missing permission is final at once on %s",
    (platform) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform })
        yield* refuseFor(host, ["open"], "EACCES", 3000)
        const first = yield* host.spawn(gateway())
        yield* host.settle
        assert.strictEqual(failureOf(yield* first.exit)?._tag, "LockUnavailable")
      })
  )
})

describe("another spelling of a path", () => {
  const insensitive = ["darwin", "win32"] as const

  simulated.each(insensitive)("is one config on %s", (platform) =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform })
      yield* host.files.makeDirectory("/Users/me", { recursive: true })
      yield* host.files.writeFile("/Users/me/Gateway.json", new TextEncoder().encode("{}"))
      const canonical = (path: string) => Effect.provide(GatewayConfig.canonicalPath(path), host.layer())
      for (const path of ["/Users/me/Gateway.json", "/users/ME/gateway.JSON", "/USERS/me/./GATEWAY.json"]) {
        assert.strictEqual(yield* canonical(path), "/Users/me/Gateway.json")
      }
      // The file and its folder `new` do not exist yet, so only the existing part of the path gets the case of the file system.
      assert.strictEqual(yield* canonical("/users/ME/new/a.json"), "/Users/me/new/a.json")
    }))

  simulated.each(insensitive)(
    "of the state folder names its profile, and lists it once, on %s",
    (platform) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform })
        // The gateway uses the path `/state`. The folder has the name `/State`, which is the same on a platform that ignores
        // case.
        yield* host.files.makeDirectory("/State/blue", { recursive: true })
        yield* host.spawn(gateway({ profile: "blue" }))
        yield* host.settle
        const looking = yield* host.spawn(Gateway.inspectPlatform({ profile: "blue" }))
        const listing = yield* host.spawn(GatewayList.list())
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* Effect.flatten(looking.exit)).owner?.profile, "blue")
        const { gateways } = yield* Effect.flatten(listing.exit)
        assert.deepStrictEqual(gateways.map(({ profile }) => profile), ["blue"])
      })
  )

  simulated("is another config on linux", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform: "linux" })
      yield* host.files.makeDirectory("/home/me", { recursive: true })
      const canonical = (path: string) => Effect.provide(GatewayConfig.canonicalPath(path), host.layer())
      assert.strictEqual(yield* canonical("/home/ME/a.json"), "/home/ME/a.json")
    }))

  simulated.each(
    insensitive.flatMap((platform) => [[platform, "there is"] as const, [platform, "is not there yet"] as const])
  )(
    "is one gateway to status and to a second start on %s, whose config %s",
    ([platform, presence]) =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform })
        yield* host.files.makeDirectory("/Users/me", { recursive: true })
        if (presence === "there is") {
          yield* host.files.writeFile("/Users/me/gateway.json", new TextEncoder().encode("{}"))
        }
        const first = yield* host.spawn(gateway({ configPath: "/Users/me/gateway.json", stateDir: "/Users/me/state" }))
        yield* host.settle
        const other = { configPath: "/users/ME/Gateway.JSON", stateDir: "/USERS/me/State" }
        const looking = yield* host.spawn(Gateway.inspectPlatform(other))
        yield* TestClock.adjust("3 seconds")
        const status = yield* Effect.flatten(looking.exit)
        assert.deepStrictEqual([status.verdict, status.owner?.pid], ["running", first.pid])
        const second = yield* host.spawn(gateway({ ...other, port: 18790, lock: { timeout: Duration.zero } }))
        yield* TestClock.adjust("3 seconds")
        const error = failureOf(yield* second.exit)
        assert.strictEqual(error?._tag, "LockHeld")
        assert.deepStrictEqual(host.ports.owners(18790), [])
        const stopping = yield* host.spawn(Gateway.stopPlatform(other))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Effect.flatten(stopping.exit))._tag, "Stopped")
        assert.isFalse(first.isRunning())
      })
  )
})
