import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, Option, TestClock } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import { unending } from "../../src/internal/unending.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as PortProbe from "../../src/probe/PortProbe.ts"
import * as KillAll from "../../src/stop/KillAll.ts"
import * as StopOwner from "../../src/stop/StopOwner.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { callsOf, makeHost, noModeBits, noNamespaces, simulated } from "../fixtures/simulated.ts"
import * as Wrapper from "../fixtures/wrapper.ts"

const address = { host: "127.0.0.1", port: 18789 }
const place = { stateDir: "/state/default", configPath: "/config/default/gateway.json" }
const path = LockFile.configLockPath(place)

const gateway = (options: Gateway.GatewayOptions = {}) => Gateway.launch(Gateway.layerPlatform(options))

const stop = (options: Partial<StopOwner.StopOptions> = {}) =>
  StopOwner.stop({ path, address, profile: "default", timeout: "15 seconds", ...options }).pipe(
    Effect.provide(PortProbe.layer.pipe(Layer.provide(HealthProbe.layer())))
  )

/** Advances time in small steps, so that work that begins in one step continues in the next. */
const pass = (host: SimulatedHost.SimulatedHost, duration: Duration.DurationInput) =>
  Effect.zipRight(TestClock.adjust("50 millis"), host.settle).pipe(
    Effect.repeatN(Math.ceil(Duration.toMillis(duration) / 50) - 1)
  )

/** Advances time until the process has ended, but by 30 seconds at most. */
const toItsEnd = <A, E>(host: SimulatedHost.SimulatedHost, process: SimulatedHost.SimulatedProcess<A, E>) =>
  Effect.zipRight(pass(host, "50 millis"), process.poll).pipe(
    Effect.repeat({ until: Option.isSome, times: 600 }),
    Effect.map(Option.getOrThrow)
  )

/** Runs `stop` in a new process until that process ends. */
const stopped = (
  host: SimulatedHost.SimulatedHost,
  options: Partial<StopOwner.StopOptions> = {},
  as: SimulatedHost.ProcessOptions = {}
) =>
  Effect.gen(function*() {
    const process = yield* host.spawn(stop(options), as)
    yield* host.settle
    const exit = yield* toItsEnd(host, process)
    return Exit.isSuccess(exit)
      ? { outcome: exit.value, error: undefined }
      : { outcome: undefined, error: exit.cause._tag === "Fail" ? exit.cause.error : yield* Effect.die(exit.cause) }
  })

/** The signals that processes got, each with the serial number of the process. Serial numbers are never reused. */
const signalled = (host: SimulatedHost.SimulatedHost) =>
  host.trace().flatMap(({ name, serial }) =>
    name.startsWith("gets SIG") ? [[Option.getOrThrow(serial), name.slice("gets ".length)] as const] : []
  )

const listening = Effect.gen(function*() {
  const host = yield* makeHost()
  const owner = yield* host.spawn(gateway())
  yield* host.settle
  assert.deepStrictEqual(host.ports.owners(18789), [owner.pid])
  return { host, owner }
})

/** The program of a process that acquires the lock and never listens. */
const warming = Layer.build(LockFile.layerWithProbes({ ...place, address })).pipe(Effect.zipRight(Effect.never))

const rewrite = (host: SimulatedHost.SimulatedHost, change: Partial<OwnerRecord.OwnerRecord>) =>
  Effect.gen(function*() {
    const record = Option.getOrThrow(OwnerRecord.parse(yield* host.files.readFile(path)))
    yield* host.files.writeFile(path, OwnerRecord.encode({ ...record, ...change }))
  }).pipe(Effect.orDie)

describe("StopOwner.stop", () => {
  simulated("ends one that listens, and returns when lock and port are free", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      const { outcome } = yield* stopped(host)
      assert.deepInclude(outcome, { _tag: "Stopped", killed: false, successor: Option.none() })
      assert.deepStrictEqual(signalled(host), [[owner.serial, "SIGTERM"]])
      assert.isFalse(owner.isRunning())
      assert.deepStrictEqual(host.ports.owners(18789), [])
      assert.deepStrictEqual(yield* Effect.orDie(host.files.readDirectory("/state/default/locks")), [])
    }))

  simulated("ends one without kernel locks as well", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setLocking("absent")
      const owner = yield* host.spawn(gateway())
      yield* host.settle
      const { outcome } = yield* stopped(host)
      assert.strictEqual(outcome?._tag, "Stopped")
      assert.deepStrictEqual(signalled(host), [[owner.serial, "SIGTERM"]])
    }))

  simulated("ends one that still starts", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const owner = yield* host.spawn(warming)
      yield* host.settle
      const { outcome } = yield* stopped(host)
      assert.strictEqual(outcome?._tag, "Stopped")
      assert.deepStrictEqual(signalled(host), [[owner.serial, "SIGTERM"]])
    }))

  simulated("does not signal one that drains already, and waits for it", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* rewrite(host, { phase: "draining" })
      const process = yield* host.spawn(stop())
      yield* host.settle
      yield* pass(host, "2 seconds")
      assert.isTrue(Option.isNone(yield* process.poll))
      yield* owner.terminate
      yield* pass(host, "1 second")
      assert.strictEqual((yield* process.exit)._tag, "Success")
      assert.deepStrictEqual(signalled(host), [])
    }))

  simulated(
    "was not running: no file, one that a dead owner left, and one that is nobody's",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        assert.deepInclude((yield* stopped(host)).outcome, { _tag: "NotRunning", left: Option.none() })
        const owner = yield* host.spawn(gateway())
        yield* host.settle
        yield* owner.kill
        const before = yield* Effect.orDie(host.files.readFile(path))
        // Another process gets the pid of the dead owner.
        yield* host.spawn(Effect.never, { pid: owner.pid })
        const { outcome } = yield* stopped(host)
        assert.strictEqual(outcome?._tag, "NotRunning")
        assert.strictEqual(
          outcome?._tag === "NotRunning" ? Option.getOrThrow(outcome.left).pid : undefined,
          owner.pid
        )
        assert.deepStrictEqual(yield* Effect.orDie(host.files.readFile(path)), before)
        yield* Effect.orDie(host.files.writeFile(path, new TextEncoder().encode("torn")))
        assert.deepInclude((yield* stopped(host)).outcome, { _tag: "NotRunning", left: Option.none() })
        assert.deepStrictEqual(signalled(host), [])
      })
  )

  simulated("one that is suspended ends by force alone, and when it is continued", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* owner.freeze
      const brief = { timeout: "1 second" } as const
      const { error } = yield* stopped(host, brief)
      assert.deepInclude(error, { _tag: "OwnerNotEnded", pid: owner.pid, timeout: Duration.seconds(1), killed: false })
      assert.match(error?.message ?? "", /to end it at once: gateway stop --force$/)
      assert.isTrue(owner.isRunning())
      yield* owner.resume
      yield* pass(host, "1 second")
      assert.isFalse(owner.isRunning())

      const other = yield* host.spawn(gateway())
      yield* host.settle
      yield* other.freeze
      const { outcome } = yield* stopped(host, { ...brief, force: true })
      assert.deepInclude(outcome, { _tag: "Stopped", killed: true })
      assert.deepStrictEqual(signalled(host).slice(1), [[other.serial, "SIGTERM"], [other.serial, "SIGKILL"]])
      // The killed owner did not release its lock. So its lock file stays until the next gateway takes the file over.
      assert.isTrue(Option.isSome(yield* Effect.option(host.files.stat(path))))
      assert.strictEqual((yield* stopped(host)).outcome?._tag, "NotRunning")
    }))

  for (const force of [false, true]) {
    simulated(
      `one that ends while the stop${force ? " by force" : ""} is suspended itself, past its timeout`,
      () =>
        Effect.gen(function*() {
          const { host, owner } = yield* listening
          yield* owner.freeze
          const stopping = yield* host.spawn(stop({ timeout: "2 seconds", force }))
          yield* host.settle
          yield* pass(host, "1 second")
          yield* stopping.freeze
          yield* owner.resume
          yield* pass(host, "5 seconds")
          assert.isFalse(owner.isRunning())
          yield* stopping.resume
          const exit = yield* toItsEnd(host, stopping)
          assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "Stopped", killed: false })
        })
    )
  }

  simulated("gives up in time if the file system stops answering meanwhile", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* owner.freeze
      const stopping = yield* host.spawn(stop({ timeout: "2 seconds" }))
      yield* host.settle
      yield* pass(host, "1 second")
      yield* host.setIntercept(({ serial }) => serial === stopping.serial ? unending : Effect.succeedNone)
      yield* pass(host, "10 seconds")
      const ended = Option.getOrThrow(yield* stopping.poll)
      assert.strictEqual(
        Exit.isFailure(ended) && ended.cause._tag === "Fail" && ended.cause.error._tag,
        "OwnerNotEnded"
      )
    }))

  simulated("kills nobody before the time is up", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* owner.freeze
      yield* host.spawn(stop({ force: true, timeout: "2 seconds" }))
      yield* host.settle
      yield* pass(host, "1900 millis")
      assert.isTrue(owner.isRunning())
      yield* pass(host, "300 millis")
      assert.isFalse(owner.isRunning())
    }))

  simulated("never signals an ancestor, nor itself", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      const shell = yield* host.spawn(Effect.never, { parent: owner.pid })
      const below = yield* stopped(host, { force: true }, { parent: shell.pid })
      assert.deepInclude(below.error, { _tag: "OwnerUnverified", pid: owner.pid })
      assert.match(below.error?.message ?? "", /this command runs under it/)

      const itself = yield* host.spawn(Effect.zipRight(warming.pipe(Effect.race(Effect.sleep("1 second"))), stop()))
      yield* owner.terminate
      yield* pass(host, "1 second")
      assert.deepStrictEqual(signalled(host), [])
      yield* itself.kill

      const self = yield* host.spawn(Effect.scoped(Effect.zipRight(
        Layer.build(LockFile.layerWithProbes({ ...place, address })),
        Effect.flip(stop({ force: true }))
      )))
      yield* pass(host, "1 second")
      const exit = yield* self.exit
      assert.isTrue(Exit.isSuccess(exit) && exit.value.message.includes("it is this process itself"))
      assert.deepStrictEqual(signalled(host), [])
    }))

  simulated.unless(noNamespaces)(
    "refuses an owner in another PID namespace, whose number is a stranger's here",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.spawn(Effect.never, { pid: 1, command: "init" })
        yield* host.spawn(gateway(), { pid: 1, pidNamespace: "pid:[4026532999]" })
        yield* host.settle
        const { error } = yield* stopped(host, { force: true })
        assert.match(error?.message ?? "", /another PID namespace.*lsns 4026532999$/)
        assert.deepStrictEqual(signalled(host), [])
      })
  )

  /** Lets other users read the lock files. */
  const openToAll = (host: SimulatedHost.SimulatedHost) =>
    Effect.gen(function*() {
      for (const folder of ["/state", "/state/default", "/state/default/locks"]) yield* host.files.chmod(folder, 0o755)
      yield* host.files.chmod(path, 0o644)
    }).pipe(Effect.orDie)

  simulated.unless(noNamespaces)(
    "refuses an owner of another boot, and one that is hidden",
    () =>
      Effect.gen(function*() {
        const { host, owner } = yield* listening
        yield* rewrite(host, { bootId: "another" })
        assert.match((yield* stopped(host)).error?.message ?? "", /on another machine, or ran before a reboot/)
        yield* rewrite(host, { bootId: "boot-1" })
        yield* host.setHidePids(true)
        yield* openToAll(host)
        assert.match(
          (yield* stopped(host, {}, { uid: 1000 })).error?.message ?? "",
          /the state of that process is unknown here; run this command as its own user, or as root: sudo gateway stop$/
        )
        assert.deepStrictEqual(signalled(host), [])
        assert.isTrue(owner.isRunning())
      })
  )

  simulated.unless(noModeBits)("refuses an owner that is another user's", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* openToAll(host)
      assert.match(
        (yield* stopped(host, {}, { uid: 1000 })).error?.message ?? "",
        /it belongs to another user; run this command as its own user/
      )
      assert.deepStrictEqual(signalled(host), [])
      assert.isTrue(owner.isRunning())
    }))

  simulated(
    "refuses an owner of whom nothing is written",
    () =>
      Effect.gen(function*() {
        const { host, owner } = yield* listening
        yield* Effect.orDie(host.files.writeFile(path, new TextEncoder().encode("{\"torn")))
        assert.match((yield* stopped(host)).error?.message ?? "", /is held, but its record names no owner/)
        assert.deepStrictEqual(signalled(host), [])
        assert.isTrue(owner.isRunning())
      })
  )

  simulated(
    "refuses where the lock is held and its record names a dead process, whoever has the number now",
    () =>
      Effect.gen(function*() {
        const { host } = yield* listening
        const dead = yield* host.spawn(Effect.void)
        yield* host.settle
        yield* rewrite(host, { pid: dead.pid })
        assert.match(
          (yield* stopped(host)).error?.message ?? "",
          /is held, but pid \d+ in its record is no longer running/
        )
        yield* host.spawn(Effect.never, { pid: dead.pid })
        assert.strictEqual((yield* stopped(host, { force: true })).error?._tag, "OwnerUnverified")
        assert.deepStrictEqual(signalled(host), [])
      })
  )

  simulated.each(["systemd", "launchd", "schtasks"] as const)(
    "leaves one under %s to it, but for force",
    (supervisor) =>
      Effect.gen(function*() {
        const { host, owner } = yield* listening
        yield* rewrite(host, { supervisor })
        const { error } = yield* stopped(host)
        assert.deepInclude(error, { _tag: "OwnerSupervised", supervisor })
        assert.deepStrictEqual(signalled(host), [])
        assert.strictEqual((yield* stopped(host, { force: true, supervised: "refuse" })).error?._tag, "OwnerSupervised")
        assert.strictEqual((yield* stopped(host, { force: true })).outcome?._tag, "Stopped")
        assert.deepStrictEqual(signalled(host), [[owner.serial, "SIGTERM"]])
      })
  )

  simulated("ends one under an external supervisor, which has no command that we know", () =>
    Effect.gen(function*() {
      const { host } = yield* listening
      yield* rewrite(host, { supervisor: "external" })
      assert.strictEqual((yield* stopped(host)).outcome?._tag, "Stopped")
    }))

  simulated(
    "is not fooled by a successor that takes the lock at once, and says who it is",
    () =>
      Effect.gen(function*() {
        const { host, owner } = yield* listening
        // The successor is a second gateway. It begins when the owner releases its locks, and polls so often that it acquires the
        // lock before `stop` sees the lock free.
        const begin = yield* Effect.cached(
          host.spawn(gateway({ port: 18790, lock: { timeout: "1 minute", pollInterval: "1 millis" } }))
        )
        yield* host.setIntercept(({ name, serial }) =>
          Effect.as(Effect.when(begin, () => serial === owner.serial && name === "unlink"), Option.none())
        )
        const { outcome } = yield* stopped(host)
        const successor = yield* begin
        assert.strictEqual(outcome?._tag, "Stopped")
        assert.deepStrictEqual(signalled(host), [[owner.serial, "SIGTERM"]])
        assert.isTrue(successor.isRunning())
        if (outcome?._tag === "Stopped" && Option.isSome(outcome.successor)) {
          assert.strictEqual(outcome.successor.value.pid, successor.pid)
        }
      })
  )

  simulated(
    "whichever system call is its last: a stranger with its number is never signalled",
    () =>
      Effect.gen(function*() {
        /**
         * Runs `stop`. Right before its system call number `fateful`, the owner dies and another process gets the owner's pid.
         */
        const play = (locking: "works" | "absent", fateful: number) =>
          Effect.gen(function*() {
            const host = yield* makeHost()
            yield* host.setLocking(locking)
            const owner = yield* host.spawn(gateway())
            yield* host.settle
            const stopper = yield* host.spawn(Effect.exit(stop({ force: true, timeout: "1 second" })))
            const calls: Array<string> = []
            yield* host.setIntercept((call) =>
              Effect.gen(function*() {
                if (call.serial === stopper.serial && calls.push(call.name) === fateful) {
                  yield* owner.kill
                  yield* host.spawn(Effect.never, { pid: owner.pid, command: "stranger" })
                }
                return Option.none<string>()
              })
            )
            yield* toItsEnd(host, stopper)
            return { calls, owner, signalled: signalled(host) }
          })
        for (const locking of ["works", "absent"] as const) {
          const unharmed = yield* play(locking, 0)
          const kill = unharmed.calls.indexOf("kill") + 1
          assert.isAbove(kill, 5)
          assert.deepStrictEqual(unharmed.signalled, [[unharmed.owner.serial, "SIGTERM"]])
          for (const fateful of callsOf(kill)) {
            const { signalled } = yield* play(locking, fateful)
            assert.deepStrictEqual(signalled, [], `at call ${fateful} of ${kill}, locks: ${locking}`)
          }
        }
      })
  )

  simulated("tells what is waited for, every so often", () =>
    Effect.gen(function*() {
      const { host, owner } = yield* listening
      yield* owner.freeze
      const told: Array<string> = []
      const onWaiting = ({ elapsed, for: what }: StopOwner.Waiting) =>
        Effect.sync(() => {
          told.push(`${Math.round(Duration.toMillis(elapsed))} ${what}`)
        })
      yield* stopped(host, { onWaiting, timeout: "1 second", progressInterval: "300 millis" })
      assert.deepStrictEqual(told, [
        "300 it is still listening",
        "600 it is still listening",
        "900 it is still listening"
      ])
    }))
})

describe("StopOwner.isPortClosed", () => {
  const gatewayOf = (instanceId: string): PortProbe.PortState => ({
    _tag: "Gateway",
    instanceId,
    healthy: true,
    detail: "a healthy gateway"
  })

  const unnamed: PortProbe.PortState = { _tag: "Gateway", healthy: true, detail: "a healthy gateway" }

  it.each<[string, PortProbe.PortState, boolean, boolean]>([
    ["nobody listens", { _tag: "Free" }, false, true],
    ["itself", gatewayOf("a"), false, false],
    ["another gateway", gatewayOf("b"), false, true],
    ["a gateway that names no instance, while the owner lives", unnamed, false, false],
    ["a gateway that names no instance, once the owner is gone", unnamed, true, true],
    ["a stranger, while it lives", { _tag: "Foreign", detail: "" }, false, false],
    ["a stranger, once it is gone", { _tag: "Foreign", detail: "" }, true, true],
    ["one that does not answer, even then", { _tag: "Stalled", detail: "" }, true, false]
  ])("%s", (_, state, gone, closed) => {
    assert.strictEqual(StopOwner.isPortClosed(state, "a", gone), closed)
  })
})

describe("StopOwner.stop, of a wrapper and its command", () => {
  simulated(
    "SIGTERM goes to the wrapper, which relays it, and the stop ends when the lock is free",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const { command, wrapper } = yield* Wrapper.start(host, { ready: "port" })
        const { outcome } = yield* stopped(host)
        assert.deepInclude(outcome, { _tag: "Stopped", killed: false, pid: wrapper.pid })
        assert.deepStrictEqual(signalled(host), [[wrapper.serial, "SIGTERM"], [command.serial, "SIGTERM"]])
        assert.deepStrictEqual(host.lockHolders(path), [])
      })
  )

  simulated.each(["works", "absent"] as const)(
    "without its wrapper the command gets SIGTERM; locks: %s",
    (locking) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.setLocking(locking)
        const { command, wrapper } = yield* Wrapper.start(host, { ready: "port", phase: "draining" })
        yield* wrapper.kill
        const { outcome } = yield* stopped(host)
        assert.deepInclude(outcome, { _tag: "Stopped", killed: false, pid: command.pid })
        assert.deepStrictEqual(signalled(host), [[command.serial, "SIGTERM"]])
        assert.isFalse(command.isRunning())
      })
  )

  simulated("with force, the tree of the command is killed first, and then the wrapper", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, grandchild, wrapper } = yield* Wrapper.start(host, { ready: "port", listener: "grandchild" })
      yield* wrapper.freeze
      const { outcome } = yield* stopped(host, { force: true, timeout: "1 second" })
      assert.deepInclude(outcome, { _tag: "Stopped", killed: true, pid: wrapper.pid })
      assert.deepStrictEqual(signalled(host), [
        [wrapper.serial, "SIGTERM"],
        [command.serial, "SIGSTOP"],
        [grandchild?.serial ?? 0, "SIGSTOP"],
        [command.serial, "SIGKILL"],
        [grandchild?.serial ?? 0, "SIGKILL"],
        [wrapper.serial, "SIGKILL"]
      ])
      assert.deepStrictEqual(host.lockHolders(path), [])
    }))

  simulated("with force and without its wrapper, the tree of the command is killed", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, grandchild, wrapper } = yield* Wrapper.start(host, { ready: "port", listener: "grandchild" })
      yield* wrapper.kill
      yield* command.freeze
      const { outcome } = yield* stopped(host, { force: true, timeout: "1 second" })
      assert.deepInclude(outcome, { _tag: "Stopped", killed: true, pid: command.pid })
      assert.deepStrictEqual(signalled(host), [
        [command.serial, "SIGTERM"],
        [command.serial, "SIGSTOP"],
        [grandchild?.serial ?? 0, "SIGSTOP"],
        [command.serial, "SIGKILL"],
        [grandchild?.serial ?? 0, "SIGKILL"]
      ])
    }))

  simulated("a process that has got the child's pid is not signalled", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const { command, wrapper } = yield* Wrapper.start(host, { ready: "none", listener: "none" })
      yield* command.kill
      const stranger = yield* host.spawn(Effect.never, { pid: command.pid })
      assert.strictEqual(stranger.pid, command.pid)
      yield* wrapper.freeze
      yield* stopped(host, { force: true, timeout: "1 second" })
      assert.isTrue(stranger.isRunning())
      assert.isFalse(wrapper.isRunning())
    }))

  simulated("a stranger on the port does not keep the stop waiting", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* Wrapper.start(host, { ready: "none", listener: "stranger", behaviour: { _tag: "Stalls" } })
      const { outcome } = yield* stopped(host)
      assert.deepInclude(outcome, { _tag: "Stopped", killed: false })
    }))
})

describe("StopOwner.stop, of a lock that a descendant of a dead command has inherited", () => {
  const inherited = Effect.gen(function*() {
    const host = yield* makeHost()
    const { command, grandchild, wrapper } = yield* Wrapper.start(host, { ready: "none", listener: "grandchild" })
    if (grandchild === undefined) return yield* Effect.dieMessage("there is no grandchild")
    return { host, wrapper, command, grandchild }
  })

  simulated("SIGTERM goes to that descendant, which is named", () =>
    Effect.gen(function*() {
      const { command, grandchild, host, wrapper } = yield* inherited
      yield* wrapper.kill
      yield* command.kill
      const { outcome } = yield* stopped(host)
      assert.deepInclude(outcome, {
        _tag: "Stopped",
        killed: false,
        pid: grandchild.pid,
        inheritors: [`pid ${grandchild.pid} (worker)`]
      })
      assert.deepStrictEqual(signalled(host), [[grandchild.serial, "SIGTERM"]])
      assert.deepStrictEqual(host.lockHolders(path), [])
    }))

  simulated(
    "after SIGTERM to the command, the descendant that keeps the lock gets SIGTERM too",
    () =>
      Effect.gen(function*() {
        const { command, grandchild, host, wrapper } = yield* inherited
        yield* wrapper.kill
        const { outcome } = yield* stopped(host)
        assert.deepInclude(outcome, { _tag: "Stopped", killed: false, pid: command.pid })
        assert.deepStrictEqual(signalled(host), [[command.serial, "SIGTERM"], [grandchild.serial, "SIGTERM"]])
      })
  )

  simulated(
    "if it ignores SIGTERM, the stop fails and names it, and with force it is killed",
    () =>
      Effect.gen(function*() {
        const { command, grandchild, host, wrapper } = yield* inherited
        yield* wrapper.kill
        yield* command.kill
        yield* grandchild.freeze
        const { error } = yield* stopped(host, { timeout: "1 second" })
        assert.deepInclude(error, { _tag: "OwnerNotEnded", pid: grandchild.pid, killed: false })
        assert.include(error?.message, `its lock is still held by pid ${grandchild.pid} (worker), which inherited it`)
        assert.match(error?.message ?? "", /to end it at once: gateway stop --force$/)
        const { outcome } = yield* stopped(host, { timeout: "1 second", force: true })
        assert.deepInclude(outcome, { _tag: "Stopped", killed: true, pid: grandchild.pid })
        assert.isFalse(grandchild.isRunning())
        assert.deepStrictEqual(host.lockHolders(path), [])
      })
  )

  simulated("a stop that runs under the descendant is refused", () =>
    Effect.gen(function*() {
      const { command, grandchild, host, wrapper } = yield* inherited
      yield* wrapper.kill
      yield* command.kill
      const { error } = yield* stopped(host, {}, { parent: grandchild.pid })
      assert.deepInclude(error, { _tag: "OwnerUnverified" })
      assert.include(error?.message, "this command runs under a process that holds the lock, and would end with it")
      assert.deepStrictEqual(signalled(host), [])
    }))

  simulated("a process that only has the lock file open is not signalled", () =>
    Effect.gen(function*() {
      const { command, grandchild, host, wrapper } = yield* inherited
      const reader = yield* host.spawn(
        Effect.scoped(Effect.zipRight(
          Effect.flatMap(FileSystem.FileSystem, (fs) => fs.open(path, { flag: "r" })),
          Effect.never
        ))
      )
      yield* host.settle
      yield* wrapper.kill
      yield* command.kill
      yield* grandchild.freeze
      yield* stopped(host, { force: true, timeout: "1 second" })
      assert.isTrue(reader.isRunning())
      assert.isFalse(grandchild.isRunning())
    }))
})

describe("killAll", () => {
  /** A parent that forks one child after each search, as long as it is neither suspended nor killed. */
  const forking = (children: number) =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const parent = yield* host.spawn(Effect.never)
      const family: Array<SimulatedHost.SimulatedProcess<never, never>> = [parent]
      const isActive = (serial: number) =>
        !host.trace().some((entry) => Option.contains(entry.serial, serial) && /^gets SIG(STOP|KILL)$/.test(entry.name))
      const fork = Effect.gen(function*() {
        const last = family.at(-1)
        if (last === undefined || family.length > children || !isActive(last.serial)) return
        family.push(yield* host.spawn(Effect.never, { parent: last.pid }))
      })
      return { host, parent, family, fork }
    })

  simulated("kills a process that is forked between the search and the signal", () =>
    Effect.gen(function*() {
      const { family, fork, host, parent } = yield* forking(5)
      const killer = yield* host.spawn(Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        const root = yield* table.identify(parent.pid)
        return yield* KillAll.killAll((found) => Effect.tap(KillAll.familyOf([root, ...found]), () => fork))
      }))
      yield* host.settle
      yield* toItsEnd(host, killer)
      assert.strictEqual(family.length, 6)
      assert.deepStrictEqual(family.filter((process) => process.isRunning()), [])
    }))

  simulated("kills nobody if there is nobody", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const killer = yield* host.spawn(KillAll.killAll(() => Effect.succeed([])))
      yield* host.settle
      assert.deepStrictEqual(yield* killer.exit, Exit.succeed([]))
      assert.deepStrictEqual(signalled(host), [])
    }))
})
