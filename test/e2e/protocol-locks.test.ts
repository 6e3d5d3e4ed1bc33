/**
 * The facts in `docs/protocol.md`, measured: which calls exclude a gateway's lock, what drops a lock, and the names of lock files.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Fixtures from "../fixtures/processes.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Python from "./support/python.ts"

/**
 * Locks the file `argv[1]` in the way `argv[2]`, and prints `granted` or `denied`. With a third argument, it then does what that
 * says, prints `ready`, and sleeps.
 */
const locker = `
import fcntl, os, struct, sys, time
BYTE = 0x400000000000
def ofd(start, length):
    return lambda fd: fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
def lockf(start, length):
    return lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
ways = {
    "F_OFD_SETLK of the byte": ofd(BYTE, 1),
    "F_OFD_SETLK of the file": ofd(0, 0),
    "F_OFD_SETLK of byte 0": ofd(0, 1),
    "lockf of the byte": lockf(BYTE, 1),
    "lockf of the file": lockf(0, 0),
    "lockf of byte 0": lockf(0, 1),
    "flock": lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
}
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
try:
    ways[sys.argv[2]](fd)
    print("granted", file=sys.stderr, flush=True)
except OSError:
    print("denied", file=sys.stderr, flush=True)
if len(sys.argv) > 3:
    if sys.argv[3] == "close another":
        os.close(os.open(sys.argv[1], os.O_RDONLY))
    if sys.argv[3] == "fork" and os.fork() > 0:
        os._exit(0)
    print("child", os.getpid(), file=sys.stderr, flush=True)
    time.sleep(300)
`

/** Whether each call excludes a gateway, and is excluded by it, as the page says. */
const excludes: Readonly<Record<string, boolean>> = {
  "F_OFD_SETLK of the byte": true,
  "F_OFD_SETLK of the file": true,
  "F_OFD_SETLK of byte 0": false,
  "lockf of the byte": true,
  "lockf of the file": true,
  "lockf of byte 0": false,
  flock: false
}

const lock = (site: Gateways.Site, way: string, ...then: ReadonlyArray<string>) =>
  Python.script(site, ["-c", locker, Gateways.configLock(site), way, ...then])

const makeFolder = (site: Gateways.Site) =>
  Effect.promise(() => Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 }))

/** A site with a lock file that no process holds. */
const newLockFile = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  yield* makeFolder(site)
  yield* Effect.promise(() => Fs.writeFile(Gateways.configLock(site), "", { mode: 0o600 }))
  return site
})

/** Whether a start of the program, which needs no port, finds the lock taken. */
const isRefused = (site: Gateways.Site) =>
  Effect.map(
    Execs.run(site, ["true"], { flags: ["--no-port", "--lock-timeout", "0s"] }),
    ({ code, stderr }) => {
      assert.include([0, 75], code, stderr)
      return code === 75
    }
  )

const noFlock = Python.noKernelLocks ?? Program.without("flock")

describe("a lock that another program takes on a lock file", () => {
  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named("is denied while a gateway has it, or is not, as the page says", Python.noKernelLocks),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        for (const [way, excluded] of Object.entries(excludes)) {
          const { stderr } = yield* Effect.flatMap(lock(site, way), ({ ended }) => ended)
          assert.strictEqual(stderr, excluded ? "denied\n" : "granted\n", way)
        }
      })
  )

  for (const [way, excluded] of Object.entries(excludes)) {
    it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
      Program.named(
        `${way}: ${excluded ? "keeps a gateway out" : "does not keep a gateway out"}`,
        Python.noKernelLocks
      ),
      () =>
        Effect.gen(function*() {
          const site = yield* newLockFile
          const holder = yield* lock(site, way, "stay")
          yield* holder.line(/^child /)
          assert.include(yield* holder.stderr, "granted")
          assert.strictEqual(yield* isRefused(site), excluded)
        })
    )
  }

  it.scopedLive.skipIf(noFlock !== undefined)(
    Program.named("by flock(1) neither excludes a gateway nor is excluded by it", noFlock),
    () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway()
        assert.isTrue(Fixtures.works("flock", ["--nonblock", Gateways.configLock(site), "true"]))
        yield* Gateways.stop(gateway)
        const empty = yield* newLockFile
        const under = ["flock", "--nonblock", Gateways.configLock(empty)]
        const run = yield* Gateways.run(empty, { under, args: Execs.args(empty, ["true"], ["--no-port"]) })
        assert.strictEqual(run.code, 0, run.stderr)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named(
      "is gone with lockf, but not with F_OFD_SETLK, when another descriptor is closed",
      Python.noKernelLocks
    ),
    () =>
      Effect.gen(function*() {
        for (const [way, refused] of [["lockf of the byte", false], ["F_OFD_SETLK of the byte", true]] as const) {
          const site = yield* newLockFile
          const holder = yield* lock(site, way, "close another")
          yield* holder.line(/^child /)
          assert.strictEqual(yield* isRefused(site), refused, way)
        }
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named("stays with a forked child after its owner's end", Python.noKernelLocks),
    () =>
      Effect.gen(function*() {
        const site = yield* newLockFile
        const parent = yield* lock(site, "F_OFD_SETLK of the byte", "fork")
        const child = yield* Execs.pidOf(parent)
        yield* Execs.untilEnded(parent.pid)
        assert.isTrue(yield* isRefused(site))
        yield* Effect.sync(() => process.kill(child, "SIGKILL"))
        yield* parent.ended
        assert.isFalse(yield* isRefused(site))
      })
  )
})

/**
 * Makes one attempt to lock the file `argv[2]` by the module in the folder `argv[1]`. Something happens to the path at the moment at which
 * the attempt opens it for the second time. Prints the result of the attempt, and whether the path can be locked afterwards.
 */
const interrupted = `
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import gateway_lock
path, happens, opens, real = sys.argv[2], sys.argv[3], 0, os.open
def patched(name, *rest, **named):
    global opens
    opens += name == path
    if name == path and opens == 2:
        os.rename(path, path + ".aside")
        if happens == "replaced":
            os.close(real(path, os.O_CREAT | os.O_RDWR, 0o600))
    return real(name, *rest, **named)
os.open = patched
record = {"instanceId": "a", "lock": "kernel"}
print(gateway_lock.attempt(path, record))
os.open = real
print(type(gateway_lock.attempt(path, record)).__name__)
`

describe("an attempt whose file is moved while it tests that the file system can lock", () => {
  for (const happens of ["removed", "replaced"]) {
    it.scopedLive.skipIf(Python.unavailable !== undefined)(
      Program.named(
        `starts over if the path is ${happens}, and does not take that for a lock that all get`,
        Python.unavailable
      ),
      () =>
        Effect.gen(function*() {
          const site = yield* newLockFile
          const words = ["-c", interrupted, Python.folder, Gateways.configLock(site), happens]
          const { stderr, stdout } = yield* Effect.flatMap(Python.script(site, words), ({ ended }) => ended)
          assert.strictEqual(stdout, "None\nHeld\n", stderr)
        })
    )
  }
})

/** The path of the config's lock file, as the program names it. */
const lockPathOf = (site: Gateways.Site, flags: ReadonlyArray<string>, env: Record<string, string>) =>
  Effect.map(Gateways.run(site, { args: ["status", "--json", ...flags], env }), ({ stderr, stdout }) => {
    const status: unknown = JSON.parse(stdout)
    if (typeof status !== "object" || status === null || !("lock" in status)) return assert.fail(stderr)
    const { lock } = status
    return typeof lock === "object" && lock !== null && "path" in lock ? lock.path : assert.fail(stdout)
  })

describe("the name of the lock file", () => {
  const cases: ReadonlyArray<readonly [name: string, flags: ReadonlyArray<string>, env?: Record<string, string>]> = [
    ["a file", ["--config", "gateway.json"]],
    ["a file that does not exist", ["--config", "absent/in/absent.json"]],
    ["dots and slashes", ["--config", ".//releases/../releases/42///gateway.json/"]],
    ["a link in the path", ["--config", "current/gateway.json"]],
    ["a link, and a file that does not exist", ["--config", "current/absent.json"]],
    ["two dots behind a link", ["--config", "current/../gateway.json"]],
    ["a link that leads nowhere", ["--config", "nowhere"]],
    ["a file behind a link that leads nowhere", ["--config", "nowhere/gateway.json"]],
    ["a link to itself", ["--config", "loop/gateway.json"]],
    ["a file as a folder", ["--config", "gateway.json/gateway.json"]],
    ["spaces and letters of other alphabets", ["--config", "Kön igs/гейт 網關.json"]],
    ["a decomposed accent", ["--config", "Ko\u0308nigs.json"]],
    ["the root twice", ["--config", "//etc//gateway.json"]],
    ["a folder", ["--config", "releases"]],
    ["a device, as if none was given", ["--config", "/dev/null"]],
    ["none", []],
    ["none, with a profile", ["--profile", "blue"]],
    ["none, with XDG variables", [], { XDG_CONFIG_HOME: "/nonexistent/config", XDG_STATE_HOME: "/nonexistent/state" }],
    ["none, with relative XDG variables", [], { XDG_CONFIG_HOME: "config", XDG_STATE_HOME: "" }],
    ["none, with a relative HOME", [], { HOME: "home" }],
    ["a state directory behind a link", ["--config", "gateway.json", "--state-dir", "current/state"]]
  ]

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("is the same to Python and to the program", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Effect.promise(async () => {
          await Fs.mkdir(Path.join(site.root, "releases", "42"), { recursive: true })
          await Fs.writeFile(Path.join(site.root, "releases", "42", "gateway.json"), "{}")
          await Fs.mkdir(Path.join(site.root, "Kön igs"))
          await Fs.symlink("releases/42", Path.join(site.root, "current"))
          await Fs.symlink("absent/place", Path.join(site.root, "nowhere"))
          await Fs.symlink("loop", Path.join(site.root, "loop"))
        })
        yield* Effect.forEach(cases, ([name, flags, env = {}]) =>
          Effect.gen(function*() {
            const { configLock } = yield* Python.paths(site, flags, env)
            assert.strictEqual(configLock, yield* lockPathOf(site, flags, env), name)
          }), { concurrency: 4, discard: true })
      })
  )

  it.effect("is the one of the page's examples", () =>
    Effect.gen(function*() {
      const page = yield* Effect.promise(() => Fs.readFile(new URL("../../docs/protocol.md", import.meta.url), "utf8"))
      const rows = [...page.matchAll(/^\| .* \| (`\/[^`]+`|the same) \| `(gateway\.[0-9a-f]{8}\.lock)` \|$/gm)]
      assert.isAtLeast(rows.length, 7)
      for (const [row = "", shown = "", name] of rows) {
        const config = shown === "the same" ? /`(\/[^`]+)`/.exec(row)?.[1] ?? "" : shown.slice(1, -1)
        assert.strictEqual(
          Path.basename(Gateways.configLock({ root: "", stateDir: "", port: 1, configPath: config })),
          name
        )
      }
    }))
})
