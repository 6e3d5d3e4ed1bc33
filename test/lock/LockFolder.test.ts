import { FileSystem } from "@effect/platform"
import { SystemError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc, Option } from "effect"
import * as LockFolderAudit from "../../src/doctor/LockFolderAudit.ts"
import { UserId } from "../../src/host/UserId.ts"
import * as Claim from "../../src/lock/Claim.ts"
import * as LockAttempt from "../../src/lock/LockAttempt.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as LockFolder from "../../src/lock/LockFolder.ts"
import * as LockInspection from "../../src/lock/LockInspection.ts"
import * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { ownedBy } from "../fixtures/records.ts"
import "../arbitraries.ts"
import { callsOf, makeHost, noModeBits, platform, shownMode } from "../fixtures/simulated.ts"
import { unless } from "../fixtures/skips.ts"

const folder = "/state/locks"
const path = `${folder}/gateway.lock`
const victim = "/victim"

const ensure = (host: SimulatedHost.SimulatedHost, options?: SimulatedHost.ProcessOptions) =>
  Effect.gen(function*() {
    const process = yield* host.spawn(LockFolder.ensure(path), options)
    return Exit.match(yield* process.exit, {
      onSuccess: () => "used",
      onFailure: (cause) => cause._tag === "Fail" ? cause.error.reason : cause._tag
    })
  })

describe("the folder of the locks", () => {
  it.effect("is made where it is missing, for us alone", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      assert.strictEqual(yield* ensure(host, { umask: 0 }), "used")
      for (const made of ["/state", folder]) {
        assert.strictEqual((yield* host.files.stat(made)).mode & 0o7777, shownMode(0o700))
      }
      assert.strictEqual(yield* ensure(host), "used")
    }))

  unless(noModeBits).effect(
    "that is another's is refused, even to root, and told of with its owner, mode and remedy",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        yield* host.files.makeDirectory("/state")
        yield* host.files.chmod("/state", 0o777)
        assert.strictEqual(yield* ensure(host, { uid: 1000 }), "used")
        for (const uid of [0, 1001]) {
          assert.strictEqual(
            yield* ensure(host, { uid }),
            `its folder ${folder} belongs to uid 1000 (mode 0700), but this process runs as uid ${uid}; run: chown -R ${uid} ${folder}`
          )
        }
      })
  )

  it.effect.each(
    [
      ["as Windows has it, without a uid", Option.none<number>()],
      ["that names a uid", Option.some(7)]
    ] as const
  )("on Windows is used, whatever its mode bits are, by a process %s", ([, uid]) =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform: "win32" })
      const start = LockFolder.ensure(path).pipe(
        Effect.provideService(UserId, Effect.succeed(uid)),
        Effect.provide(host.layer())
      )
      yield* start
      assert.strictEqual(
        (yield* Effect.provide(FileSystem.FileSystem, host.layer()).pipe(
          Effect.flatMap((fs) => fs.stat(folder))
        )).mode & 0o777,
        0o666
      )
      yield* start
    }))

  it.effect("that is a link is refused, whatever it leads to", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.files.makeDirectory("/state")
      yield* host.files.makeDirectory("/elsewhere", { mode: 0o700 })
      yield* host.files.symlink("/elsewhere", folder)
      assert.strictEqual(
        yield* ensure(host),
        `its folder ${folder} is a symbolic link to /elsewhere; run: ${
          platform === "win32" ? "cmd /c rmdir" : "rm"
        } ${folder}`
      )
    }))

  it.prop("is ours and ours alone to write, or there is a fault", [
    fc.integer({ min: 0, max: 0o7777 }),
    fc.nat({ max: 3 }),
    fc.nat({ max: 3 })
  ], ([mode, uid, owner]) => {
    const fault = LockFolder.fault("/a b/it's", uid, { uid: owner, mode }, "its folder", "linux")
    assert.strictEqual(Option.isNone(fault), owner === uid && (mode & 0o022) === 0)
    if (Option.isSome(fault)) {
      assert.include(fault.value.what, `uid ${owner}`)
      assert.include(fault.value.what, mode.toString(8).padStart(4, "0"))
      assert.include(
        fault.value.remedy,
        owner === uid ? "chmod go-w '/a b/it'\\''s'" : `chown -R ${uid} '/a b/it'\\''s'`
      )
    }
  })
})

const claim = Claim.claimPath(path, {
  record: Option.some(ownedBy("left")),
  enforcement: "record",
  fileId: "",
  age: LockFile.defaults.lock.staleAfter
})

/**
 * Puts a symbolic link to the victim in the place of a lock file, right before the n-th system call of a process. The victim is
 * a file that no start may change.
 */
const linkedBefore = (n: number, subject: string, locking: "works" | "absent", wanted = path) =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    yield* host.setLocking(locking)
    yield* host.files.makeDirectory(folder, { recursive: true, mode: 0o700 })
    yield* host.files.writeFile(victim, OwnerRecord.encode(ownedBy("victim")))
    const before = yield* host.files.readFile(victim)
    const left = { ...ownedBy("left"), ...(locking === "absent" ? { lock: "record" as const } : {}) }
    if (subject !== "fresh") yield* host.files.writeFile(path, OwnerRecord.encode(left))
    const { ino } = subject === "fresh" ? { ino: Option.none<number>() } : yield* host.files.stat(path)
    let calls = 0
    yield* host.setIntercept(({ target }) =>
      Effect.gen(function*() {
        calls += 1
        if (calls === n && target !== "") {
          yield* Effect.ignore(host.files.remove(wanted))
          yield* Effect.ignore(host.files.symlink(victim, wanted))
        }
        return Option.none()
      })
    )
    const reclaim = subject === "fresh" || locking === "works" ? Option.none() : Option.some({
      record: Option.some(left),
      enforcement: "record" as const,
      fileId: `1:${Option.getOrElse(ino, () => 0)}`,
      age: 0
    })
    const attempt = LockAttempt.attempt({
      path,
      record: (lock) => ({ ...ownedBy("us"), lock }),
      reclaim: Option.map(reclaim, (judged) => ({ ...judged, age: LockFile.defaults.lock.staleAfter })),
      isAbandoned: () => Effect.succeed(true)
    })
    const process = yield* host.spawn(attempt)
    const exit = yield* process.exit
    assert.deepStrictEqual(
      yield* host.files.readFile(victim),
      before,
      `link before call ${n} of ${subject}, ${locking}`
    )
    return { calls, exit }
  })

describe("a path whose root does not exist (N66)", () => {
  /** A file system for a drive or a share that does not exist: every call fails with `NotFound`. */
  const nowhere = Effect.gen(function*() {
    const made: Array<string> = []
    const notFound = (method: string, path: string) =>
      new SystemError({
        module: "FileSystem",
        method,
        reason: "NotFound",
        pathOrDescriptor: path,
        description: `ENOENT: no such file or directory, ${method} '${path}'`
      })
    const fs = FileSystem.layerNoop({
      makeDirectory: (path) =>
        Effect.suspend(() => {
          made.push(path)
          if (made.length > 20) return Effect.dieMessage(`asked ${made.length} times for a folder`)
          return notFound("mkdir", path)
        }),
      stat: (path) => notFound("stat", path),
      readLink: (path) => notFound("readlink", path)
    })
    return { made, fs }
  })

  it.effect("is refused by name, and each folder on the way is asked for once", () =>
    Effect.gen(function*() {
      const { fs, made } = yield* nowhere
      const exit = yield* Effect.exit(Effect.provide(LockFolder.ensure("/x/state/locks/gateway.lock"), fs))
      assert.deepStrictEqual(
        Exit.mapError(exit, ({ message }) => message),
        Exit.fail(
          "failed to acquire gateway lock at /x/state/locks/gateway.lock: "
            + "its folder cannot be made: / does not exist (no such drive or share)"
        )
      )
      assert.deepStrictEqual(made, ["/x/state/locks", "/x/state", "/x", "/"])
    }))

  it.effect("is an error of doctor's, which names it too", () =>
    Effect.gen(function*() {
      const { fs } = yield* nowhere
      const options = { stateDir: "/x/state", uid: undefined, elsewhere: "gateway run --state-dir <path>" }
      assert.deepStrictEqual(yield* Effect.provide(LockFolderAudit.checkFolder(options), fs), [{
        check: "lock-folder",
        severity: "error",
        message: "/x/state/locks cannot be made: / does not exist (no such drive or share)",
        remedy: "gateway run --state-dir <path>"
      }])
    }))
})

describe("a link that is put in the place of a lock file", () => {
  for (const locking of ["works", "absent"] as const) {
    for (const subject of ["fresh", "left"]) {
      it.effect(`is not written through, whenever it comes (${subject}, kernel lock ${locking})`, () =>
        Effect.gen(function*() {
          const { calls } = yield* linkedBefore(-1, subject, locking)
          // An attempt that ends early would make fewer calls, and the loop below would not reach all steps. A whole attempt
          // makes at least 8 calls on a simulated Windows, and at least 9 on other platforms.
          assert.isAbove(calls, platform === "win32" ? 7 : 8)
          for (const n of callsOf(calls)) {
            yield* linkedBefore(n, subject, locking)
            yield* linkedBefore(n, subject, locking, claim)
          }
        }))
    }
  }

  it.effect("tells readers nothing", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.files.makeDirectory(folder, { recursive: true })
      yield* host.files.writeFile(victim, OwnerRecord.encode(ownedBy("victim")))
      assert.isTrue(Option.isSome(yield* LockFile.readOwner(victim).pipe(Effect.provide(host.layer()))))
      yield* host.files.symlink(victim, path)
      assert.deepStrictEqual(yield* LockFile.readOwner(path).pipe(Effect.provide(host.layer())), Option.none())
      assert.deepStrictEqual(yield* LockInspection.inspect(path).pipe(Effect.provide(host.layer())), {
        _tag: "Unknown",
        owner: Option.none(),
        reason: `it is a symbolic link to ${victim}`
      })
    }))
})
