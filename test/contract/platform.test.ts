/**
 * Runs the same tests on the simulated host and on the services for a real machine, so that both behave in the same way.
 */
import { FileSystem, HttpRouter, HttpServerResponse } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Deferred,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Queue,
  type Scope,
  Stream,
  TestClock
} from "effect"
import type { Address } from "../../src/Address.ts"
import * as Gateway from "../../src/Gateway.ts"
import { KernelLock, layerLive as kernelLockLayer } from "../../src/host/KernelLock.ts"
import * as NativeFiles from "../../src/host/NativeFiles.ts"
import * as OpenLockFiles from "../../src/host/OpenLockFiles.ts"
import * as PortOwners from "../../src/host/PortOwners.ts"
import { ProcessTable } from "../../src/host/ProcessTable.ts"
import * as Signals from "../../src/host/Signals.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as OwnerWatch from "../../src/probe/OwnerWatch.ts"
import * as Access from "../../src/server/Access.ts"
import { limitsOf } from "../../src/server/ListenerOptions.ts"
import { type OwnRoutes, ServerSocket } from "../../src/server/ServerSocket.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import type * as SimulatedKernel from "../../src/testing/SimulatedKernel.ts"
import { webSocket } from "../fixtures/net.ts"

/** A client of the control socket, the gateway's WebSocket at `/`. It has read the first frame already. */
interface ControlClient {
  readonly next: Effect.Effect<string>
  readonly send: (text: string) => Effect.Effect<void>
  readonly closed: Effect.Effect<{ readonly code: number; readonly reason: string }>
}

/** Connects the test to a listener, over the real or the simulated network. */
class Clients extends Context.Tag("test/Clients")<Clients, {
  readonly control: (address: Address) => Effect.Effect<ControlClient, never, Scope.Scope>
}>() {}
import { UserId } from "../../src/host/UserId.ts"
import { isLinux, noKernelLocks, notLinux, unless } from "../fixtures/skips.ts"

/** A platform under test: its services, and how a test lets time pass on this platform. */
interface Subject {
  /** The operating system whose rules apply. */
  readonly system: string
  readonly platform: Layer.Layer<SimulatedHost.Requirements | Clients>
  /** Makes an empty folder, and returns its path. */
  readonly folder: Effect.Effect<string, never, FileSystem.FileSystem | Scope.Scope>
  readonly advance: (duration: Duration.DurationInput) => Effect.Effect<void>
  readonly run: <E>(
    name: string,
    test: (subject: Subject) => Effect.Effect<void, E, SimulatedHost.Requirements | Clients | Scope.Scope>,
    options?: { readonly needsAddon: boolean }
  ) => void
}

const needsAddon = { needsAddon: true }

/**
 * Whether the addon for kernel locks works. Without the addon, only the record in the lock file shows which process owns the
 * lock. The tests that do not need the addon also run without it.
 */
const hasAddon = await Effect.flatMap(KernelLock, (lock) => lock.supported).pipe(
  Effect.isSuccess,
  Effect.provide(kernelLockLayer),
  Effect.runPromise
)

const simulatedOn = (system: SimulatedKernel.SimulatedPlatform): Subject => {
  const subject: Subject = {
    system,
    platform: Layer.unwrapEffect(Effect.map(SimulatedHost.makeWith({ platform: system }), (host) =>
      Layer.merge(
        host.layer(),
        Layer.succeed(Clients, {
          control: (address) =>
            Effect.gen(function*() {
              const { closed, frames, send } = yield* Effect.orDie(host.ports.connect(address))
              yield* Queue.take(frames)
              return { next: Queue.take(frames), send, closed: Deferred.await(closed) }
            })
        })
      ))),
    folder: Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* Effect.orDie(fs.makeDirectory("/folder", { recursive: true }))
      return "/folder"
    }),
    // Forked fibers must begin to wait before the test clock advances. A wait that begins later would not end.
    advance: (duration) => Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 1000), TestClock.adjust(duration)),
    run: (name, test) => it.scoped(name, () => Effect.provide(test(subject), subject.platform))
  }
  return subject
}

const live: Subject = {
  system: process.platform,
  platform: Layer.mergeAll(
    Gateway.layerNode,
    OwnerWatch.layerLive,
    OpenLockFiles.layerLive,
    Layer.merge(PortOwners.layerLive, Signals.layerLive).pipe(Layer.provide(NodeContext.layer)),
    Layer.succeed(Clients, {
      control: (address) =>
        Effect.gen(function*() {
          const { closed, next, send } = yield* webSocket(address)
          yield* next
          return { next: Effect.orDie(next), send, closed: Effect.orDie(closed) }
        }).pipe(Effect.orDie)
    })
  ),
  folder: Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.orDie(fs.makeTempDirectoryScoped())),
  advance: (duration) => Effect.sleep(duration),
  run: (name, test, options) =>
    options?.needsAddon === true && !hasAddon
      ? unless(noKernelLocks(hasAddon)).test(name, () => {})
      : it.scopedLive(name, () => Effect.provide(test(live), live.platform))
}

const reasonOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) =>
      cause._tag === "Fail" ? "reason" in cause.error ? String(cause.error.reason) : cause.error._tag : cause._tag
  })

const text = (value: string) => new TextEncoder().encode(value)

const routes: OwnRoutes["Type"] = {
  owns: (path) => path === "/healthz",
  app: HttpServerResponse.json({ ok: true, status: "live", instanceId: "contract" }).pipe(Effect.orDie),
  control: {
    path: Option.some("/"),
    hello: Effect.succeed("hello"),
    answer: () => ({ send: [] }),
    watch: () => Effect.never,
    farewell: (reason) => reason
  }
}
const limits = limitsOf({ connections: 100, requestTimeout: "5 seconds" })
const rules = Access.rules({ host: "127.0.0.1" })
const common = { limits, rules, routes, drainBegan: Effect.never }
const bind = (host: string, port: number) =>
  Effect.flatMap(ServerSocket, (sockets) => sockets.bind({ ...common, address: { host, port } }))

const probe = (address: { readonly host: string; readonly port: number }) =>
  Effect.flatMap(HealthProbe.make({ probeTimeout: "500 millis" }), (health) => health.probe(address))

const simulated = simulatedOn("linux")
const everywhere = {
  simulated,
  "simulated macOS": simulatedOn("darwin"),
  "simulated Windows": simulatedOn("win32"),
  live
}

for (const [name, subject] of Object.entries(everywhere)) {
  describe(`the file system, ${name}`, () => {
    subject.run("creates exclusively, once", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const path = `${yield* subject.folder}/a`
        yield* Effect.scoped(fs.open(path, { flag: "wx+", mode: 0o600 }))
        assert.strictEqual(reasonOf(yield* Effect.exit(Effect.scoped(fs.open(path, { flag: "wx+" })))), "AlreadyExists")
        // On Windows, the mode that libuv reports tells only whether the file is read-only.
        assert.strictEqual(
          Number((yield* fs.stat(path)).mode) & 0o777,
          subject.system === "win32" ? 0o666 : 0o600
        )
      }))

    subject.run("opens for update only what exists, and not a folder", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        assert.strictEqual(
          reasonOf(yield* Effect.exit(Effect.scoped(fs.open(`${folder}/none`, { flag: "r+" })))),
          "NotFound"
        )
        assert.strictEqual(
          reasonOf(yield* Effect.exit(Effect.scoped(fs.open(`${folder}/none/x`, { flag: "wx+" })))),
          "NotFound"
        )
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(fs.open(folder, { flag: "r+" })))))
      }))

    subject.run("keeps an open file apart from the name it was opened by", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const path = `${yield* subject.folder}/a`
        const file = yield* fs.open(path, { flag: "wx+" })
        const identify = yield* NativeFiles.identify
        const idOfOpen = Effect.flatMap(file.stat, (info) => identify(info, file.fd))
        const idAtPath = Effect.flatMap(fs.stat(path), (info) => identify(info, path))
        const id = yield* idOfOpen
        assert.strictEqual(yield* idAtPath, id)
        yield* file.writeAll(text("old"))
        yield* fs.remove(path)
        yield* fs.writeFile(path, text("new"))
        assert.notStrictEqual(yield* idAtPath, id)
        assert.strictEqual(yield* idOfOpen, id)
        yield* file.seek(FileSystem.Size(0), "start")
        assert.deepStrictEqual(
          Option.map(yield* file.readAlloc(10), (bytes) => new TextDecoder().decode(bytes)),
          Option.some("old")
        )
        assert.strictEqual(yield* fs.readFileString(path), "new")
      }))

    subject.run("overwrites in place and cuts", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const path = `${yield* subject.folder}/a`
        yield* fs.writeFile(path, text("something long"))
        const file = yield* fs.open(path, { flag: "r+" })
        yield* file.writeAll(text("short"))
        assert.strictEqual(yield* fs.readFileString(path), "shorthing long")
        yield* file.truncate(FileSystem.Size(5))
        yield* file.sync
        assert.strictEqual(yield* fs.readFileString(path), "short")
      }))

    subject.run(
      "renames over a name, links only to a free one, and tells links from files",
      () =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const folder = yield* subject.folder
          yield* fs.writeFile(`${folder}/a`, text("a"))
          yield* fs.writeFile(`${folder}/b`, text("b"))
          const { ino } = yield* fs.stat(`${folder}/a`)
          assert.strictEqual(reasonOf(yield* Effect.exit(fs.link(`${folder}/a`, `${folder}/b`))), "AlreadyExists")
          yield* fs.rename(`${folder}/a`, `${folder}/b`)
          assert.deepStrictEqual((yield* fs.stat(`${folder}/b`)).ino, ino)
          assert.strictEqual(reasonOf(yield* Effect.exit(fs.rename(`${folder}/a`, `${folder}/c`))), "NotFound")
          yield* fs.link(`${folder}/b`, `${folder}/c`)
          assert.deepStrictEqual((yield* fs.stat(`${folder}/c`)).ino, ino)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(fs.readLink(`${folder}/c`))))
          yield* fs.symlink(`${folder}/c`, `${folder}/d`)
          assert.strictEqual(yield* fs.readLink(`${folder}/d`), `${folder}/c`)
          assert.strictEqual(yield* fs.realPath(`${folder}/d`), yield* fs.realPath(`${folder}/c`))
          assert.deepStrictEqual((yield* fs.readDirectory(folder)).toSorted(), ["b", "c", "d"])
        })
    )

    subject.run("gives what is made to its maker, with the mode that was asked for", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        yield* fs.makeDirectory(`${folder}/a`, { mode: 0o700 })
        const { mode, type, uid } = yield* fs.stat(`${folder}/a`)
        if (subject.system === "win32") assert.deepStrictEqual([type, mode & 0o7777], ["Directory", 0o666])
        else {
          assert.deepStrictEqual(uid, yield* Effect.flatten(UserId))
          assert.deepStrictEqual([type, mode & 0o7777], ["Directory", 0o700])
        }
        assert.isTrue(Exit.isFailure(yield* Effect.exit(fs.readLink(`${folder}/a`))))
      }))

    subject.run("knows whether there is something under a name, and reads a part of it", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        yield* fs.writeFile(`${folder}/a`, text("something long"))
        assert.deepStrictEqual(
          yield* Effect.all([fs.exists(`${folder}/a`), fs.exists(folder), fs.exists(`${folder}/none`)]),
          [true, true, false]
        )
        yield* fs.access(`${folder}/a`, { readable: true, writable: true })
        assert.strictEqual(reasonOf(yield* Effect.exit(fs.access(`${folder}/none/x`))), "NotFound")
        assert.strictEqual(
          yield* Stream.mkString(Stream.decodeText(fs.stream(`${folder}/a`, { offset: 4, bytesToRead: 5 }))),
          "thing"
        )
      }))

    subject.run(
      "makes temporary folders, each of its own, and removes them with all that is in them",
      () =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const made = yield* Effect.scoped(Effect.gen(function*() {
            const folders = yield* Effect.all([
              fs.makeTempDirectoryScoped({ prefix: "a-" }),
              fs.makeTempDirectoryScoped()
            ])
            assert.strictEqual(new Set(folders).size, 2)
            for (const folder of folders) yield* fs.writeFile(`${folder}/a`, text("a"))
            return folders
          }))
          assert.deepStrictEqual(yield* Effect.forEach(made, (folder) => fs.exists(folder)), [false, false])
          const none = yield* Effect.exit(fs.makeTempDirectory({ directory: `${yield* subject.folder}/none` }))
          assert.strictEqual(reasonOf(none), "NotFound")
        })
    )

    subject.run("touches", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const path = `${yield* subject.folder}/a`
        yield* fs.writeFile(path, text("a"))
        yield* fs.utimes(path, 1000, 2000)
        assert.strictEqual(Option.getOrThrow((yield* fs.stat(path)).mtime).getTime(), 2_000_000)
      }))
  })

  describe(`the kernel lock, ${name}`, () => {
    subject.run("is refused to a second open file, and free once the first is closed", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const lock = yield* KernelLock
        const path = `${yield* subject.folder}/a`
        yield* fs.writeFile(path, text(""))
        yield* Effect.scoped(Effect.gen(function*() {
          const first = yield* fs.open(path, { flag: "r+" })
          const second = yield* fs.open(path, { flag: "r+" })
          assert.isTrue(yield* lock.tryLock(first.fd))
          // On Windows, `LockFileEx` refuses a second exclusive lock even to the process that holds the first one.
          assert.strictEqual(yield* lock.tryLock(first.fd), subject.system !== "win32", "again, by its holder")
          assert.isFalse(yield* lock.tryLock(second.fd))
        }))
        const third = yield* fs.open(path, { flag: "r+" })
        assert.isTrue(yield* lock.tryLock(third.fd))
      }), needsAddon)

    subject.run("is seen by who only reads, who keeps nobody out", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const lock = yield* KernelLock
        const path = `${yield* subject.folder}/a`
        yield* fs.writeFile(path, text(""))
        const reader = yield* fs.open(path, { flag: "r" })
        assert.isFalse(yield* lock.isLocked(reader.fd))
        yield* Effect.scoped(Effect.gen(function*() {
          const holder = yield* fs.open(path, { flag: "r+" })
          assert.isTrue(yield* lock.tryLock(holder.fd), "after the question")
          assert.isTrue(yield* lock.isLocked(reader.fd))
        }))
        assert.isFalse(yield* lock.isLocked(reader.fd))
      }), needsAddon)

    subject.run("keeps nobody from the record", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const lock = yield* KernelLock
        const path = `${yield* subject.folder}/a`
        const holder = yield* fs.open(path, { flag: "wx+" })
        assert.isTrue(yield* lock.tryLock(holder.fd))
        yield* holder.writeAll(text("record"))
        assert.strictEqual(yield* fs.readFileString(path), "record")
        const reader = yield* fs.open(path, { flag: "r" })
        assert.isTrue(Option.isSome(yield* reader.readAlloc(10)))
      }), needsAddon)

    subject.run("belongs to the file, not to its name", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const lock = yield* KernelLock
        const path = `${yield* subject.folder}/a`
        const old = yield* fs.open(path, { flag: "wx+" })
        assert.isTrue(yield* lock.tryLock(old.fd))
        yield* fs.remove(path)
        const young = yield* fs.open(path, { flag: "wx+" })
        assert.isTrue(yield* lock.tryLock(young.fd))
      }), needsAddon)
  })
}

for (const [name, subject] of Object.entries({ simulated, live })) {
  describe(`sockets and probes, ${name}`, () => {
    subject.run("show nobody, then a gateway, then nobody", () =>
      Effect.gen(function*() {
        const { port } = yield* Effect.scoped(Effect.gen(function*() {
          const { address } = yield* bind("127.0.0.1", 0)
          assert.isAbove(address.port, 0)
          assert.deepStrictEqual(yield* probe(address), { _tag: "Healthy", instanceId: "contract" })
          return address
        }))
        assert.strictEqual((yield* probe({ host: "127.0.0.1", port }))._tag, "NoListener")
      }))

    subject.run("exclude the same address and a wildcard over it, and nothing else", () =>
      Effect.gen(function*() {
        const { address: { port } } = yield* bind("127.0.0.1", 0)
        const codeOf = (host: string) =>
          Effect.map(Effect.exit(Effect.scoped(bind(host, port))), (exit) =>
            Exit.match(exit, {
              onSuccess: () => "bound",
              onFailure: (cause) => cause._tag === "Fail" ? cause.error.code : cause._tag
            }))
        assert.strictEqual(yield* codeOf("127.0.0.1"), "EADDRINUSE")
        assert.strictEqual(yield* codeOf("0.0.0.0"), "EADDRINUSE")
        assert.strictEqual(yield* codeOf("127.0.0.2"), "bound")
        assert.strictEqual(yield* codeOf("192.0.2.1"), "EADDRNOTAVAIL")
      }))

    subject.run("accept on a second host as well, and give both up", () =>
      Effect.gen(function*() {
        const { port } = yield* Effect.scoped(Effect.gen(function*() {
          const bound = yield* bind("127.0.0.2", 0)
          yield* bound.alsoBind("127.0.0.1")
          assert.strictEqual((yield* probe({ host: "127.0.0.1", port: bound.address.port }))._tag, "Healthy")
          assert.strictEqual(
            reasonOf(yield* Effect.exit(Effect.scoped(bind("127.0.0.1", bound.address.port)))).includes("EADDRINUSE"),
            true
          )
          return bound.address
        }))
        assert.strictEqual((yield* probe({ host: "127.0.0.1", port }))._tag, "NoListener")
        assert.strictEqual((yield* probe({ host: "127.0.0.2", port }))._tag, "NoListener")
      }))

    subject.run(
      "serve an app besides their own routes, and refuse once they stop accepting",
      () =>
        Effect.gen(function*() {
          const bound = yield* bind("127.0.0.1", 0)
          const health = yield* HealthProbe.make()
          yield* bound.server.serve(HttpRouter.empty.pipe(
            HttpRouter.get("/healthz", HttpServerResponse.text("never reached"))
          ))
          assert.strictEqual((yield* health.probe(bound.address))._tag, "Healthy")
          yield* bound.stopAccepting
          assert.strictEqual((yield* health.probe(bound.address))._tag, "NoListener")
          yield* bound.idle
          assert.strictEqual(yield* bound.connections, 0)
        })
    )

    subject.run(
      "show those who watch a shutdown to its end, and wait for the others alone",
      () =>
        Effect.gen(function*() {
          const left = yield* Deferred.make<void>()
          const watching: OwnRoutes["Type"] = {
            ...routes,
            control: {
              ...routes.control,
              answer: () => ({ send: [], watch: true }),
              watch: ({ connections, pending, push }) =>
                Effect.all([connections, pending]).pipe(
                  Effect.flatMap(([all, others]) => push(`${all} open, ${others} of them waited for`)),
                  Effect.zipRight(Effect.never),
                  Effect.onInterrupt(() => Deferred.succeed(left, undefined))
                )
            }
          }
          const bound = yield* Effect.flatMap(
            ServerSocket,
            (sockets) => sockets.bind({ ...common, address: { host: "127.0.0.1", port: 0 }, routes: watching })
          )
          const { control } = yield* Clients
          const [viewer, other] = [yield* control(bound.address), yield* control(bound.address)]
          yield* viewer.send("watch")
          assert.strictEqual(yield* viewer.next, "2 open, 1 of them waited for")

          yield* bound.stopAccepting
          yield* bound.closeControlSockets("bye", 1001, "going")
          assert.strictEqual(yield* other.next, "bye")
          assert.deepStrictEqual(yield* other.closed, { code: 1001, reason: "going" })
          yield* bound.idle
          assert.strictEqual(yield* bound.pending, 0)
          yield* bound.destroyConnections
          assert.strictEqual(yield* bound.connections, 1)

          yield* bound.dismissViewers("the end", 1001, "gone")
          assert.strictEqual(yield* viewer.next, "the end")
          assert.deepStrictEqual(yield* viewer.closed, { code: 1001, reason: "gone" })
          assert.strictEqual(yield* bound.connections, 0)
          yield* Deferred.await(left)
        })
    )

    subject.run("stall until the deadline, and not beyond it", () =>
      Effect.gen(function*() {
        const never = { ...routes, app: Effect.never }
        const bound = yield* Effect.flatMap(ServerSocket, (sockets) =>
          sockets.bind({ ...common, address: { host: "127.0.0.1", port: 0 }, routes: never }))
        const asked = yield* Effect.fork(probe(bound.address))
        yield* subject.advance("500 millis")
        assert.strictEqual((yield* Fiber.join(asked))._tag, "Stalled")
        yield* bound.destroyConnections
      }))
  })

  describe(`who has what open, ${name}`, () => {
    /**
     * Runs a test on the simulated host and on Linux only. On other platforms, the query for open files and ports needs
     * programs that a machine may lack.
     */
    const look: Subject["run"] = name === "simulated" || isLinux
      ? subject.run
      : (name) => unless(notLinux).test(name, () => {})

    look(
      "names the process and the address of every listener of a port, and nobody once they are gone",
      () =>
        Effect.gen(function*() {
          const owners = yield* PortOwners.PortOwners
          const { pid } = yield* Effect.flatMap(ProcessTable, ({ self }) => self)
          const port = yield* Effect.scoped(Effect.gen(function*() {
            const { address, alsoBind } = yield* bind("127.0.0.2", 0)
            yield* alsoBind("127.0.0.1")
            const seen = yield* owners.listeners(address.port)
            assert.deepStrictEqual(
              seen._tag === "Seen" ? seen.listeners.toSorted((a, b) => a.host.localeCompare(b.host)) : seen,
              ["127.0.0.1", "127.0.0.2"].map((host) => ({ host, port: address.port, pid }))
            )
            assert.deepStrictEqual(yield* owners.listeners(address.port, [pid]), seen)
            return address.port
          }))
          assert.deepStrictEqual(yield* owners.listeners(port), { _tag: "Seen", listeners: [] })
        })
    )

    look(
      "names the lock files that are open, by the name they have, until they are closed or removed",
      () =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const folder = yield* Effect.flatMap(subject.folder, (folder) => fs.realPath(folder))
          const { paths } = yield* OpenLockFiles.OpenLockFiles
          const mine = Effect.map(
            paths,
            (open) => open._tag === "Seen" ? open.paths.filter((path) => path.startsWith(folder)) : open
          )
          const path = `${folder}/locks/gateway.0123abcd.lock`
          yield* fs.makeDirectory(`${folder}/locks`)
          yield* fs.writeFile(`${folder}/locks/gateway.state.lock`, text(""))
          yield* Effect.scoped(Effect.gen(function*() {
            yield* fs.open(path, { flag: "wx+" })
            yield* fs.open(path, { flag: "r" })
            yield* fs.open(`${folder}/locks/gateway.state.lock`, { flag: "r" })
            assert.deepStrictEqual(yield* mine, [path])
          }))
          assert.deepStrictEqual(yield* mine, [])
          yield* fs.open(path, { flag: "r+" })
          yield* fs.remove(path)
          assert.deepStrictEqual(yield* mine, [])
        })
    )
  })

  describe(`signals, ${name}`, () => {
    const self = Effect.flatMap(ProcessTable, (table) => table.self)

    subject.run("are sent to nobody who is not the recorded process", () =>
      Effect.gen(function*() {
        const signals = yield* Signals.Signals
        const { pid, startTime, ...identity } = yield* self
        // The pid of this process with another start time stands for an earlier process that had the same pid. If the signal
        // were sent nevertheless, it would end this test.
        const before = { ...identity, pid, startTime: (startTime ?? 0) + 1000 }
        assert.strictEqual((yield* Effect.flip(signals.send(before, "SIGTERM"))).why, "Gone")
        // No process has this pid, because it is above the highest pid that Linux assigns (proc_sys_kernel(5), pid_max).
        const nobody = { ...identity, pid: 2 ** 22 + 1, startTime: startTime ?? 0 }
        assert.strictEqual((yield* Effect.flip(signals.send(nobody, "SIGKILL"))).why, "Gone")
      }))

    subject.run("know who must not get one: no ancestor is the process itself", () =>
      Effect.gen(function*() {
        const { pid } = yield* self
        const ancestors = yield* Effect.flatMap(Signals.Signals, (signals) => signals.ancestors)
        assert.notInclude(ancestors, pid)
        assert.strictEqual(new Set(ancestors).size, ancestors.length)
        assert.strictEqual(ancestors.length > 0, name === "live")
      }))
  })

  describe(`the lock file, ${name}`, () => {
    const lockOptions = (
      stateDir: string,
      lock: LockFile.LockOptions = {},
      options: Partial<LockFile.LockFileOptions> = {}
    ): LockFile.LockFileOptions => ({
      stateDir,
      configPath: "/config.json",
      lock: { timeout: "300 millis", pollInterval: "50 millis", ...lock },
      ...options
    })
    const build = (options: LockFile.LockFileOptions) =>
      Effect.map(Layer.build(LockFile.layerWithProbes(options)), (context) => Context.get(context, LockFile.LockFile))

    subject.run("is held until its scope closes, and leaves nothing", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* build(lockOptions(folder))
          const record = Option.getOrThrow(yield* LockFile.readOwner(lock.path))
          assert.strictEqual(record.instanceId, lock.instanceId)
          assert.strictEqual(record.phase, "starting")
          assert.strictEqual(record.lock, lock.enforcement)
          yield* lock.update({ phase: "listening", port: 4711 })
          const updated = Option.getOrThrow(yield* LockFile.readOwner(lock.path))
          assert.deepStrictEqual([updated.phase, updated.port], ["listening", 4711])
        }))
        assert.deepStrictEqual(yield* fs.readDirectory(`${folder}/locks`), [])
      }))

    subject.run("is refused to a second one after the timeout, by the owner's pid", () =>
      Effect.gen(function*() {
        const folder = yield* subject.folder
        const first = yield* build(lockOptions(folder))
        const { pid } = yield* first.record
        const second = yield* Effect.fork(Effect.flip(build(lockOptions(folder))))
        yield* subject.advance("300 millis")
        const error = yield* Fiber.join(second)
        assert.strictEqual(error.message, `gateway already running (pid ${pid}); lock timeout after 300ms`)
        assert.strictEqual(Option.getOrThrow(yield* LockFile.readOwner(first.path)).instanceId, first.instanceId)
      }))

    subject.run("passes to a waiting one when its owner lets go", () =>
      Effect.gen(function*() {
        const folder = yield* subject.folder
        const release = yield* Deferred.make<void>()
        const held = yield* Deferred.make<void>()
        const first = yield* Effect.fork(Effect.scoped(
          Effect.zipRight(
            build(lockOptions(folder)),
            Effect.zipRight(Deferred.succeed(held, undefined), Deferred.await(release))
          )
        ))
        yield* Deferred.await(held)
        const second = yield* Effect.fork(build(lockOptions(folder, { timeout: "5 seconds" })))
        yield* subject.advance("60 millis")
        assert.isTrue(Option.isNone(yield* Fiber.poll(second)))
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(first)
        yield* subject.advance("200 millis")
        yield* Fiber.join(second)
      }))

    subject.run("stops waiting at once when interrupted", () =>
      Effect.gen(function*() {
        const folder = yield* subject.folder
        const first = yield* build(lockOptions(folder))
        const second = yield* Effect.fork(Effect.scoped(build(lockOptions(folder, { timeout: "1 hour" }))))
        yield* subject.advance("60 millis")
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(second)))
        assert.strictEqual(Option.getOrThrow(yield* LockFile.readOwner(first.path)).instanceId, first.instanceId)
      }))

    subject.run("is taken from what a dead owner left, garbage included", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        const options = lockOptions(folder, { staleAfter: "1 second", timeout: "5 seconds" })
        const path = LockFile.configLockPath(options)
        yield* fs.makeDirectory(`${folder}/locks`, { recursive: true })
        yield* fs.writeFile(path, text("{\"version\":1,\"instanceId\":\"tor"))
        yield* fs.utimes(path, 0, 0)
        const waiting = yield* Effect.fork(build(options))
        yield* subject.advance("2 seconds")
        const lock = yield* Fiber.join(waiting)
        assert.isTrue(
          Option.isSome(
            Option.filter(yield* LockFile.readOwner(path), (record) => record.instanceId === lock.instanceId)
          )
        )
      }))

    /** Advances time until the condition holds, up to a limit. */
    const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
      Effect.zipRight(subject.advance("50 millis"), condition).pipe(
        Effect.repeat({ until: (holds) => holds, times: 200 }),
        Effect.map((holds) => assert.isTrue(holds))
      )
    const ownerAt = (path: string) =>
      Effect.map(LockFile.readOwner(path), (record) => Option.getOrUndefined(record)?.instanceId)
    const watchful = { recheckInterval: "100 millis", staleAfter: "300 millis" } as const

    for (const loss of ["file", "folder"] as const) {
      subject.run(
        `is made again when its ${loss} is removed, and leaves nothing then either`,
        () =>
          Effect.gen(function*() {
            const fs = yield* FileSystem.FileSystem
            const folder = yield* subject.folder
            yield* Effect.scoped(Effect.gen(function*() {
              const options = lockOptions(folder, watchful)
              const lock = yield* build(options)
              const paths = [lock.path, LockFile.stateLockPath(options)]
              yield* lock.update({ phase: "listening", port: 4711 })
              for (const path of paths) {
                // The removal of the folder fails if the holder creates a file there at that moment. So it is retried.
                yield* Effect.retry(
                  fs.remove(loss === "file" ? path : `${folder}/locks`, { recursive: true }),
                  { times: 20 }
                )
                yield* until(Effect.map(
                  Effect.forEach(paths, ownerAt),
                  (owners) => owners.every((owner) => owner === lock.instanceId)
                ))
                const record = Option.getOrThrow(yield* LockFile.readOwner(path))
                assert.deepStrictEqual([record.phase, record.port, record.lock], ["listening", 4711, lock.enforcement])
                assert.strictEqual(Number((yield* fs.stat(path)).mode) & 0o777, 0o600)
                assert.strictEqual(Number((yield* fs.stat(`${folder}/locks`)).mode) & 0o777, 0o700)
              }
              const second = yield* Effect.fork(Effect.flip(build(lockOptions(folder))))
              yield* subject.advance("300 millis")
              assert.strictEqual((yield* Fiber.join(second))._tag, "LockHeld")
            }))
            assert.deepStrictEqual(yield* fs.readDirectory(`${folder}/locks`), [])
          })
      )
    }

    subject.run("is taken again when a copy of it is in its place", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* build(lockOptions(folder, watchful))
          yield* fs.writeFile(`${folder}/copy`, yield* fs.readFile(lock.path))
          yield* fs.rename(`${folder}/copy`, lock.path)
          const { ino } = yield* fs.stat(lock.path)
          // The holder checks its lock file at intervals. Once it has found the copy, it writes its updates there.
          yield* until(Effect.gen(function*() {
            yield* lock.update({ phase: "draining" })
            return Option.exists(yield* LockFile.readOwner(lock.path), ({ phase }) => phase === "draining")
          }))
          assert.strictEqual(yield* ownerAt(lock.path), lock.instanceId)
          assert.deepStrictEqual((yield* fs.stat(lock.path)).ino, ino)
        }))
        assert.deepStrictEqual(yield* fs.readDirectory(`${folder}/locks`), [])
      }))

    subject.run("is lost to another that serves under it, whose file stays", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        const second = yield* build(lockOptions(`${folder}/other`))
        yield* second.update({ phase: "listening" })
        yield* Effect.scoped(Effect.gen(function*() {
          const first = yield* build(lockOptions(folder, watchful))
          const lost = yield* Effect.fork(Effect.flip(first.lost))
          yield* fs.rename(second.path, first.path)
          yield* until(Effect.map(Fiber.poll(lost), Option.isSome))
          assert.match(
            (yield* Fiber.join(lost)).message,
            /^lost gateway lock at .*: the file was replaced and another process \(pid \d+\) holds it now$/
          )
        }))
        const left = LockFile.configLockPath(lockOptions(folder))
        assert.strictEqual(yield* ownerAt(left), second.instanceId)
        assert.deepStrictEqual(yield* fs.readDirectory(`${folder}/locks`), [left.slice(`${folder}/locks/`.length)])
      }))

    subject.run("refuses a folder, a link and an unwritable place with the reason", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* subject.folder
        const options = lockOptions(folder)
        const path = LockFile.configLockPath(options)
        yield* fs.makeDirectory(path, { recursive: true })
        assert.strictEqual(
          (yield* Effect.flip(build(options))).message,
          `failed to acquire gateway lock at ${path}: it is not a regular file but a directory`
        )
        yield* fs.remove(path, { recursive: true })
        yield* fs.symlink("/elsewhere", path)
        assert.strictEqual(
          (yield* Effect.flip(build(options))).message,
          `failed to acquire gateway lock at ${path}: it is a symbolic link to /elsewhere`
        )
        yield* fs.writeFile(`${folder}/file`, text(""))
        const below = lockOptions(`${folder}/file`)
        assert.match(
          (yield* Effect.flip(build(below))).message,
          /^failed to acquire gateway lock at .*\/file\/locks\/gateway\.[0-9a-f]{8}\.lock: (ENOTDIR|EEXIST): /
        )
      }))

    subject.run("does not wait where its own port is taken", () =>
      Effect.gen(function*() {
        const folder = yield* subject.folder
        const { address } = yield* bind("127.0.0.1", 0)
        const error = yield* Effect.flip(build(lockOptions(folder, {}, { address })))
        assert.strictEqual(
          error.message,
          `another gateway instance is already listening on ws://127.0.0.1:${address.port}`
        )
      }))
  })
}
