/**
 * Facts about Linux on which the design relies, tested on the kernel that runs the tests.
 */
import { FileSystem } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as KernelLock from "../../src/host/KernelLock.ts"
import { parseProcStat } from "../../src/host/ProcessTable.ts"
import * as Ports from "../e2e/support/ports.ts"
import { hasAddon } from "../fixtures/kernelLocks.ts"
import { eventually } from "../fixtures/net.ts"
import { run, works } from "../fixtures/processes.ts"
import { noKernelLocks, notLinux, unless } from "../fixtures/skips.ts"

const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "gateway-lock-linux-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const emptyFile = Effect.map(folder, (folder) => {
  const path = Path.join(folder, "lock")
  Fs.writeFileSync(path, "")
  return path
})

const locker = fileURLToPath(new URL("../fixtures/locker.cjs", import.meta.url))

unless(notLinux ?? noKernelLocks(hasAddon)).describe("a lock of an open file", () => {
  it.scopedLive("is handed to one that waits for it when its holder is killed", () =>
    Effect.gen(function*() {
      const path = yield* emptyFile
      const holder = yield* run(process.execPath, [locker, path])
      assert.strictEqual(yield* holder.line, "locked")
      const waiting = yield* run(process.execPath, [locker, path, "waiting"])
      assert.strictEqual(yield* waiting.line, "waiting")
      yield* holder.kill
      assert.strictEqual(yield* waiting.line, "locked")
    }))

  it.scopedLive("lives on in a child that was given the file, and ends with that", () =>
    Effect.gen(function*() {
      const path = yield* emptyFile
      const holder = yield* run(process.execPath, [locker, path, "given-to-child"])
      const child = Number(/^locked (\d+)$/.exec(yield* holder.line)?.[1])
      yield* Effect.addFinalizer(() => Effect.ignore(Effect.try(() => process.kill(child, "SIGKILL"))))
      yield* holder.kill

      const { fd } = yield* Effect.acquireRelease(
        Effect.sync(() => ({ fd: Fs.openSync(path, "r+") })),
        ({ fd }) => Effect.sync(() => Fs.closeSync(fd))
      )
      const lock = yield* KernelLock.KernelLock
      const descriptor = FileSystem.FileDescriptor(fd)
      assert.isFalse(yield* lock.tryLock(descriptor))
      yield* Effect.sync(() => process.kill(child, "SIGKILL"))
      yield* eventually("the lock", lock.tryLock(descriptor))
    }).pipe(Effect.provide(KernelLock.layerLive)))
})

const startTicks = (pid: number) =>
  Option.getOrThrow(parseProcStat(Fs.readFileSync(`/proc/${pid}/stat`, "utf8"))).startTicks

/**
 * Runs `cat` with the command prefix `words`, for example unshare(1), which makes new namespaces. Returns the start time of
 * process `pid` (field 22 of its `stat`) as `cat` reads it there.
 */
const startTicksSeen = (words: ReadonlyArray<string>, pid: string) =>
  Effect.gen(function*() {
    const [command = "", ...args] = [...words, "cat", `/proc/${pid}/stat`]
    const reader = yield* run(command, args)
    return Option.getOrThrow(parseProcStat(yield* reader.line)).startTicks
  })

unless(notLinux).describe("a process", () => {
  it("is not told from its threads by kill(2) or its command line, but by its thread group", () => {
    const thread = Fs.readdirSync("/proc/self/task").map(Number).find((tid) => tid !== process.pid) ?? 0
    assert.isTrue(process.kill(thread, 0))
    assert.strictEqual(
      Fs.readFileSync(`/proc/${thread}/cmdline`, "utf8"),
      Fs.readFileSync("/proc/self/cmdline", "utf8")
    )
    assert.match(Fs.readFileSync(`/proc/${thread}/status`, "utf8"), new RegExp(`^Tgid:\\s+${process.pid}$`, "m"))
  })

  const inTime = ["unshare", "--time", "--boottime", "100000", "--fork"]
  unless(works("unshare", [...inTime.slice(1), "true"]) ? undefined : "needs time namespaces").scopedLive(
    "seems to have started later by what the boot clock is shifted in a time namespace",
    () =>
      Effect.gen(function*() {
        const seen = yield* startTicksSeen(inTime, String(process.pid))
        assert.approximately(seen - startTicks(process.pid), 100_000 * 100, 1)
      })
  )

  const elsewhere = ["unshare", "--pid", "--mount-proc", "--fork"]
  unless(works("unshare", [...elsewhere.slice(1), "true"]) ? undefined : "needs root and unshare(1)").scopedLive(
    "has the same start in every PID namespace",
    () =>
      Effect.gen(function*() {
        // The script is process 1 in its PID namespace. It prints the line in `/proc/1/stat`, and keeps running. That line
        // contains the start time of the script, by the clock of the script's time namespace.
        const script = "read -r line < /proc/1/stat; echo \"$line\"; exec sleep 30"
        const [command = "", ...args] = [...elsewhere.slice(0, -1), "--kill-child", "sh", "-c", script]
        const parent = yield* run(command, args)
        const inside = Option.getOrThrow(parseProcStat(yield* parent.line)).startTicks
        const child = Fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).find((name) => {
          try {
            return Fs.readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent.pid)
          } catch {
            // The process ended after `readdirSync` had listed it.
            return false
          }
        })
        assert.strictEqual(startTicks(Number(child)), inside)
      })
  )
})

unless(notLinux ?? (works("unshare", ["--mount", "true"]) ? undefined : "needs root and unshare(1)")).describe(
  "a full disk",
  () => {
    it.scopedLive("takes a new file and refuses its first byte, so that an empty file stays", () =>
      Effect.gen(function*() {
        const path = yield* folder
        const node = `
        const file = fs.openSync(process.argv[1] + "/lock", "wx")
        try { fs.writeSync(file, "record") } catch (error) { console.log(error.code) }
        console.log(fs.statSync(process.argv[1] + "/lock").size)`
        const script = [
          "mount -t tmpfs -o size=4k tmpfs \"$1\"",
          "head -c 4096 /dev/zero > \"$1/filler\"",
          "exec \"$2\" -e \"$3\" \"$1\""
        ].join("\n")
        const program = yield* run("unshare", ["--mount", "sh", "-e", "-c", script, "sh", path, process.execPath, node])
        assert.strictEqual(yield* program.line, "ENOSPC")
        assert.strictEqual(yield* program.line, "0")
      }))
  }
)

/** Listens until the scope closes. Returns "listening", or the error code if the address cannot be bound. */
const listen = (options: Net.ListenOptions): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<{ readonly server: Net.Server; readonly answer: string }>((resume) => {
        const server = Net.createServer()
        server.once("error", (error: NodeJS.ErrnoException) =>
          resume(Effect.succeed({ server, answer: error.code ?? error.message })))
        server.listen({ exclusive: true, ...options }, () =>
          resume(Effect.succeed({ server, answer: "listening" })))
      }),
      ({ answer, server }) =>
        answer === "listening"
          ? Effect.async<void>((resume) => {
            server.close(() => resume(Effect.void))
          })
          : Effect.void
    ),
    ({ answer }) => answer
  )

unless(notLinux).describe("a port of 127.0.0.1", () => {
  const here: Net.ListenOptions = { host: "127.0.0.1" }

  it.scopedLive.each<readonly [what: string, options: Net.ListenOptions]>([
    ["itself", { host: "127.0.0.1" }],
    ["0.0.0.0", { host: "0.0.0.0" }],
    [":: for both families", { host: "::" }]
  ])("excludes %s, whoever comes first", ([, options]) =>
    Effect.gen(function*() {
      for (const [first, second] of [[here, options], [options, here]]) {
        const port = yield* Ports.reserve
        assert.strictEqual(yield* listen({ ...first, port }), "listening")
        assert.strictEqual(yield* listen({ ...second, port }), "EADDRINUSE")
      }
    }))

  const sharing: Net.ListenOptions & { readonly reusePort: boolean } = { ...here, reusePort: true }
  unless(process.version.startsWith("v20.") ? undefined : "needs Node 20").scopedLive(
    "excludes itself on Node 20 even where both would share it",
    () =>
      Effect.gen(function*() {
        const port = yield* Ports.reserve
        assert.strictEqual(yield* listen({ ...sharing, port }), "listening")
        assert.strictEqual(yield* listen({ ...sharing, port }), "EADDRINUSE")
      })
  )

  it.scopedLive.each<readonly [what: string, options: Net.ListenOptions]>([
    ["::1", { host: "::1" }],
    ["127.0.0.2", { host: "127.0.0.2" }],
    [":: for IPv6 alone", { host: "::", ipv6Only: true }]
  ])("does not exclude %s: two could listen on one port", ([, options]) =>
    Effect.gen(function*() {
      const port = yield* Ports.reserve
      assert.strictEqual(yield* listen({ host: "127.0.0.1", port }), "listening")
      assert.strictEqual(yield* listen({ ...options, port }), "listening")
    }))
})

unless(notLinux).describe("an abstract socket", () => {
  it.scopedLive("has one listener", () =>
    Effect.gen(function*() {
      const path = `\0gateway-lock-test-${process.pid}-${yield* Ports.reserve}`
      assert.strictEqual(yield* listen({ path }), "listening")
      assert.strictEqual(yield* listen({ path }), "EADDRINUSE")
    }))
})
