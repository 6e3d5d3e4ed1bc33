import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import { notLinux, unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

/**
 * Returns the record (the JSON text in a lock file) of an owner, which is the process that held the lock. The record says that
 * the owner ran on this machine, in this boot and in this PID namespace.
 */
const recordOf = (site: Gateways.Site, owner: { readonly pid: number; readonly startTime: number }) =>
  Effect.map(
    Effect.promise(async () => ({
      bootId: (await Fs.readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim(),
      pidNamespace: await Fs.readlink("/proc/self/ns/pid")
    })),
    (host) => ({
      version: 1,
      instanceId: "6f0f3ad5-1d0b-4a3c-8f2e-0123456789ab",
      ...owner,
      ...host,
      createdAt: "2026-01-01T00:00:00.000Z",
      configPath: site.configPath,
      stateDir: site.stateDir,
      host: "127.0.0.1",
      port: site.port,
      phase: "listening",
      supervisor: "none",
      lock: Program.enforcement
    })
  )

const lines = (value: unknown): string => `${JSON.stringify(value)}\n`

/** A pid that no process of this machine has, because the pid is far above the highest pid that the kernel gives. */
const nobodysPid = 2 ** 30

/** A process that is not a gateway. It lives as long as the test. */
const bystander = Processes.start(["sleep", "300"], { cwd: Os.tmpdir(), env: { PATH: Program.searchPath } })

const leave = (site: Gateways.Site, content: string | Uint8Array) =>
  Effect.promise(async () => {
    await Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 })
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      await Fs.writeFile(path, content, { mode: 0o600 })
    }
  })

/**
 * Says when a start without kernel locks takes over the lock file of an owner that is gone. Such a start treats the lock file as
 * held until other evidence, such as the process table or the file's age, shows that the file is stale.
 */
type WithoutKernelLocks = "at once" | "once old" | "never"

interface Leftover {
  readonly what: string
  readonly content: (site: Gateways.Site) => Effect.Effect<string | Uint8Array, never, Scope.Scope>
  readonly withoutKernelLocks: WithoutKernelLocks
  readonly by: RegExp | undefined
}

const unreadable = /left by an owner without a readable record/

const leftovers: ReadonlyArray<Leftover> = [
  {
    what: "of a process that is gone",
    content: (site) => Effect.map(recordOf(site, { pid: nobodysPid, startTime: 1 }), lines),
    withoutKernelLocks: "at once",
    by: /left by pid 1073741824 since 2026-01-01T00:00:00.000Z/
  },
  {
    what: "whose pid now is another process's",
    content: (site) =>
      Effect.gen(function*() {
        const { pid } = yield* bystander
        const startTime = (yield* Processes.startTimeOf(pid)) - 1000
        return lines(yield* recordOf(site, { pid, startTime }))
      }),
    withoutKernelLocks: "at once",
    by: /left by pid \d+ since/
  },
  {
    what: "whose pid now is a thread's",
    content: (site) =>
      Effect.gen(function*() {
        const tasks = yield* Gateways.namesIn("/proc/self/task")
        const thread = tasks.map(Number).find((task) => task !== process.pid)
        assert.isDefined(thread)
        return lines(yield* recordOf(site, { pid: thread ?? 0, startTime: yield* Processes.startTimeOf(process.pid) }))
      }),
    withoutKernelLocks: "at once",
    by: /left by pid \d+ since/
  },
  {
    what: "of a pid 1 that is not ours",
    content: (site) => Effect.map(recordOf(site, { pid: 1, startTime: 999_999_999 }), lines),
    withoutKernelLocks: "at once",
    by: /left by pid 1 since/
  },
  {
    what: "that names a living stranger to the tick",
    content: (site) =>
      Effect.gen(function*() {
        const { pid } = yield* bystander
        return lines(yield* recordOf(site, { pid, startTime: yield* Processes.startTimeOf(pid) }))
      }),
    withoutKernelLocks: "never",
    by: /left by pid \d+ since/
  },
  {
    what: "of another boot",
    content: (site) =>
      Effect.map(
        recordOf(site, { pid: process.pid, startTime: 1 }),
        (record) => lines({ ...record, bootId: "00000000-0000-4000-8000-000000000000" })
      ),
    withoutKernelLocks: "once old",
    by: /left by pid \d+ since/
  },
  {
    what: "with keys that nobody knows",
    content: (site) =>
      Effect.map(
        recordOf(site, { pid: nobodysPid, startTime: 1 }),
        (record) => lines({ ...record, mood: { good: true } })
      ),
    withoutKernelLocks: "at once",
    by: /left by pid 1073741824 since/
  },
  {
    what: "of a later version",
    content: (site) =>
      Effect.map(recordOf(site, { pid: nobodysPid, startTime: 1 }), (record) => lines({ ...record, version: 2 })),
    withoutKernelLocks: "once old",
    by: unreadable
  },
  {
    what: "that is empty",
    content: () => Effect.succeed(""),
    withoutKernelLocks: "once old",
    // A start with kernel locks finds that no process has locked the empty file. It concludes that another, slower start has
    // created the file a moment ago and has not locked it yet. So it logs no former owner.
    by: Program.kernelLocks ? undefined : unreadable
  },
  {
    what: "that is torn",
    content: (site) =>
      Effect.map(recordOf(site, { pid: nobodysPid, startTime: 1 }), (record) => lines(record).slice(0, 100)),
    withoutKernelLocks: "once old",
    by: unreadable
  },
  {
    what: "that is garbage",
    content: () => Effect.succeed(Uint8Array.from({ length: 4096 }, (_, index) => index * 7 % 256)),
    withoutKernelLocks: "once old",
    by: unreadable
  },
  {
    what: "of 1 MB",
    content: () => Effect.succeed("x".repeat(1024 * 1024)),
    withoutKernelLocks: "once old",
    by: unreadable
  },
  {
    what: "of 1 MB that begins with a record",
    content: (site) =>
      Effect.map(
        recordOf(site, { pid: nobodysPid, startTime: 1 }),
        (record) => lines(record) + " ".repeat(1024 * 1024)
      ),
    withoutKernelLocks: "once old",
    by: unreadable
  }
]

const assertTakenOver = (site: Gateways.Site, by: RegExp | undefined, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const gateway = yield* Gateways.within("15 seconds", Gateways.startListening(site, options))
    assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
    for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
      assert.strictEqual((yield* Gateways.readRecord(path)).pid, gateway.pid)
      assert.strictEqual(yield* Gateways.modeOf(path), "600")
    }
    const ended = yield* Gateways.stop(gateway)
    yield* Gateways.assertGone(site, ended)
    assert.strictEqual(Gateways.count(ended.stderr, /reclaimed gateway lock/), by === undefined ? 0 : 1, ended.stderr)
    if (by !== undefined) assert.match(ended.stderr, by)
    assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
  })

const assertWaitedFor = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const before = yield* Gateways.identityOf(Gateways.configLock(site))
    const { code, stderr } = yield* Gateways.run(site, { flags: ["--lock-timeout", "300 millis"] })
    assert.strictEqual(code, 1)
    assert.match(stderr, /^GatewayLockError: gateway already running(?: \(pid \d+\))?; lock timeout after 300ms$/m)
    assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
  })

describe("a lock file", () => {
  for (const { by, content, what, withoutKernelLocks } of leftovers) {
    const when = Program.kernelLocks ? "at once" : withoutKernelLocks
    const name = when === "never" ? `${what} keeps a start out` : `${what} is taken over ${when}`
    it.scopedLive.skipIf(!Program.isLinux)(
      Program.named(name, Program.isLinux ? undefined : "needs proc(5)"),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          yield* leave(site, yield* content(site))
          if (when !== "at once") yield* assertWaitedFor(site)
          if (when === "once old") yield* Gateways.age(site)
          if (when !== "never") yield* assertTakenOver(site, by)
        })
    )
  }

  unless(notLinux).scopedLive(
    "that names the starting process itself is taken over at once",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* leave(site, lines(yield* recordOf(site, { pid: nobodysPid, startTime: 1 })))
        // The shell writes its own pid into the records, and then becomes the gateway. So the records name the new gateway.
        const script = `sed -i "s/${nobodysPid}/$$/" "$1"/*.lock && chmod 600 "$1"/*.lock && shift && exec "$@"`
        yield* assertTakenOver(site, /left by pid \d+ since/, {
          under: ["sh", "-c", script, "sh", Gateways.locksFolder(site)]
        })
      })
  )
})

// ---------------------------------------------------------------------------
// files that must not be taken over
// ---------------------------------------------------------------------------

const make = (site: Gateways.Site, at: (path: string) => Promise<unknown>, path = Gateways.configLock(site)) =>
  Effect.promise(async () => {
    await Fs.mkdir(Gateways.locksFolder(site), { recursive: true, mode: 0o700 })
    await at(path)
  })

const assertUnavailable = (ended: Processes.Ended, path: string, cause: RegExp) => {
  const [message = ""] = Gateways.linesOf(ended)
  const prefix = `GatewayLockError: failed to acquire gateway lock at ${path}: `
  assert.isTrue(message.startsWith(prefix), ended.stderr)
  assert.match(message.slice(prefix.length), cause)
  assert.strictEqual(ended.code, 1)
  assert.strictEqual(ended.stdout, "")
  assert.strictEqual(Gateways.facts(ended)["lock"], path)
}

describe("a start says why it cannot use", () => {
  it.scopedLive("a lock path that is a folder", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* make(site, (path) => Fs.mkdir(path))
      assertUnavailable(
        yield* Gateways.run(site),
        Gateways.configLock(site),
        /^it is not a regular file but a directory$/
      )
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.configLock(site)), [])
    }))

  it.scopedLive("a state lock path that is a folder, and gives its own lock back", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* make(site, (path) => Fs.mkdir(path), Gateways.stateLock(site))
      assertUnavailable(
        yield* Gateways.run(site),
        Gateways.stateLock(site),
        /^it is not a regular file but a directory$/
      )
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), ["gateway.state.lock"])
    }))

  for (const target of ["precious.txt", "nothing.txt"]) {
    it.scopedLive(`a lock path that is a link to ${target}, and leaves that alone`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const precious = `${site.root}/precious.txt`
        yield* Effect.promise(() => Fs.writeFile(precious, "precious"))
        yield* make(site, (path) => Fs.symlink(`${site.root}/${target}`, path))
        const before = yield* Gateways.namesIn(site.root)
        assertUnavailable(
          yield* Gateways.run(site),
          Gateways.configLock(site),
          new RegExp(`^it is a symbolic link to ${site.root}/${target}$`)
        )
        assert.strictEqual(yield* Effect.promise(() => Fs.readFile(precious, "utf8")), "precious")
        assert.deepStrictEqual(yield* Gateways.namesIn(site.root), before)
      }))
  }

  it.scopedLive("a lock path that is a FIFO, without waiting for its other end", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* make(site, () => Promise.resolve())
      const { code } = yield* Effect.flatMap(
        Processes.start(["mkfifo", Gateways.configLock(site)], { cwd: site.root, env: { PATH: Program.searchPath } }),
        ({ ended }) => ended
      )
      assert.strictEqual(code, 0)
      const ended = yield* Gateways.within("15 seconds", Gateways.run(site))
      assertUnavailable(ended, Gateways.configLock(site), /^it is not a regular file but a fifo$/)
    }))

  it.scopedLive("a state path that is a file", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.writeFile(site.stateDir, "state"))
      assertUnavailable(yield* Gateways.run(site), Gateways.configLock(site), /^ENOTDIR: /)
      assert.strictEqual(yield* Effect.promise(() => Fs.readFile(site.stateDir, "utf8")), "state")
    }))

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a lock file that is another user's", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* make(site, (path) => Fs.writeFile(path, "root's", { mode: 0o600 }))
        yield* Gateways.giveTo(Program.nobody, site.root, site.stateDir, Gateways.locksFolder(site))
        const before = yield* Gateways.identityOf(Gateways.configLock(site))
        const ended = yield* Gateways.run(site, { under: Program.asNobody })
        assertUnavailable(ended, Gateways.configLock(site), /^EACCES: permission denied/)
        assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a state directory that it may not write to", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.giveTo(Program.nobody, site.root)
        yield* Effect.promise(() => Fs.mkdir(site.stateDir, { mode: 0o755 }))
        const ended = yield* Gateways.run(site, { under: Program.asNobody })
        assertUnavailable(ended, Gateways.configLock(site), /^EACCES: permission denied/)
        assert.deepStrictEqual(yield* Gateways.namesIn(site.stateDir), [])
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a locks folder that it may not write to", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.giveTo(Program.nobody, site.root)
        yield* make(site, (path) => Fs.chmod(Gateways.locksFolder(site), 0o755).then(() => path))
        const ended = yield* Gateways.run(site, { under: Program.asNobody })
        assertUnavailable(ended, Gateways.configLock(site), /^EACCES: permission denied/)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  const fullDisks = [
    ["without room for a byte", "size=4k", `head -c 4096 /dev/zero > "$1/filler"`],
    ["without room for a file", "nr_inodes=3", `mkdir "$1/locks"; : > "$1/filler"`]
  ] as const
  for (const [what, option, fill] of fullDisks) {
    it.scopedLive.skipIf(Program.noNamespaces !== undefined)(
      Program.named(`a disk ${what}, and leaves no half of a file`, Program.noNamespaces),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          yield* Effect.promise(() => Fs.mkdir(site.stateDir))
          // Only processes in the new mount namespace see the tmpfs. So the script, and not the test, must list the files that
          // the program has left there.
          const script = [
            `mount -t tmpfs -o ${option} tmpfs "$1"`,
            fill,
            "folder=$1; shift",
            `"$@"; status=$?`,
            `find "$folder" -name '*lock*' -type f`,
            "exit $status"
          ].join("\n")
          const ended = yield* Gateways.run(site, {
            under: ["unshare", "--mount", "sh", "-c", script, "sh", site.stateDir]
          })
          assertUnavailable(ended, Gateways.configLock(site), /^ENOSPC: no space left on device/)
        })
    )
  }
})
