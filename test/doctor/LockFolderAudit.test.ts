import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc, Option } from "effect"
import { isProblem } from "../../src/doctor/DoctorReport.ts"
import * as LockFolderAudit from "../../src/doctor/LockFolderAudit.ts"
import * as LockFolder from "../../src/lock/LockFolder.ts"
import type { SimulatedHost } from "../../src/testing/index.ts"
import { makeHost, noModeBits } from "../fixtures/simulated.ts"
import { unless } from "../fixtures/skips.ts"

const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 27 0:30 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 0:31 / /home/me/my\\040files rw - fuse.sshfs sshfs rw
32 27 0:32 / /over rw - ext4 /dev/sdb rw
33 27 0:33 / /over rw - overlay overlay rw
`

describe("LockFolderAudit.filesystemType", () => {
  it.each([
    ["/", "ext4"],
    ["/srv/state", "ext4"],
    ["/home/me/state", "nfs4"],
    ["/homework", "ext4"],
    ["/home/me/my files/state", "fuse.sshfs"],
    ["/over/x", "overlay"]
  ])("%s is on %s", (path, type) => {
    assert.deepStrictEqual(LockFolderAudit.filesystemType(mountinfo, path), Option.some(type))
  })

  it.prop(
    "never fails, whatever is mounted",
    [fc.string(), fc.string()],
    ([text, path]) =>
      Option.match(LockFolderAudit.filesystemType(text, path), {
        onNone: () => true,
        onSome: (type) => text.includes(type)
      })
  )
})

describe("LockFolderAudit.judgeFolder", () => {
  const folder = { path: "/s/locks", type: "Directory" as const, mode: 0o700, uid: 1000 }
  const messages = (facts: Partial<LockFolderAudit.FolderFacts>, ours: number | undefined = 1000) =>
    LockFolderAudit.judgeFolder({ ...folder, ...facts }, ours, "linux").map(({ message, remedy }) =>
      `${message} | ${remedy}`
    )

  it.prop(
    "only what others can write to is refused for its mode, sticky or not",
    [fc.integer({ min: 0, max: 0o7777 })],
    ([mode]) => (messages({ mode }).length > 0) === ((mode & 0o022) !== 0)
  )

  it("another user's, for us, for root, and where there are no users", () => {
    assert.deepStrictEqual(messages({ uid: 0 }), [
      "the folder /s/locks belongs to uid 0 (mode 0700), but this process runs as uid 1000 | chown -R 1000 /s/locks"
    ])
    assert.deepStrictEqual(messages({}, 0), [
      "the folder /s/locks belongs to uid 1000 (mode 0700), but this process runs as uid 0 | chown -R 0 /s/locks"
    ])
    assert.deepStrictEqual(LockFolderAudit.judgeFolder(folder, undefined, "linux"), [])
  })

  it("no folder", () => {
    assert.deepStrictEqual(messages({ type: "File" }), [
      "/s/locks is not a folder but a File | mv /s/locks /s/locks.old"
    ])
  })
})

describe("LockFolderAudit on a host", () => {
  const options = { stateDir: "/state/default", uid: 0, elsewhere: "gateway run --state-dir <path>" }
  const locks = (host: SimulatedHost.SimulatedHost) =>
    LockFolderAudit.checkLocks(options).pipe(Effect.provide(host.layer()))
  const withFolder = Effect.gen(function*() {
    const host = yield* makeHost()
    yield* Effect.orDie(host.files.makeDirectory("/state/default/locks", { recursive: true, mode: 0o700 }))
    yield* Effect.forEach(
      ["/state", "/state/default", "/state/default/locks"],
      (path) => Effect.orDie(host.files.chmod(path, 0o700))
    )
    return host
  })

  it.effect.each(
    [
      ["works", "ok", /a second lock of one file is refused in/],
      ["absent", "warning", /no kernel locks/],
      ["refused", "warning", /does not support locks \(ENOLCK/],
      ["grants everything", "warning", /grants one lock twice/]
    ] as const
  )("kernel locks: %s; and nothing stays of the trial", ([locking, severity, message]) =>
    Effect.gen(function*() {
      const host = yield* withFolder
      yield* host.setLocking(locking)
      const [found] = yield* locks(host)
      assert.strictEqual(found?.severity, severity)
      assert.match(found?.message ?? "", message)
      assert.deepStrictEqual(yield* Effect.orDie(host.files.readDirectory("/state/default/locks")), [])
      assert.deepStrictEqual([...host.openFiles()], [])
    }))

  unless(noModeBits).effect(
    "a folder that kubelet has opened is judged as a start does, which closes it (N29, N37)",
    () =>
      Effect.gen(function*() {
        const host = yield* withFolder
        const folder = "/state/default/locks"
        const judged = Effect.map(
          LockFolderAudit.checkFolder(options).pipe(Effect.provide(host.layer())),
          ([found]) => found
        )
        const starts = Effect.gen(function*() {
          const process = yield* host.spawn(LockFolder.ensure(`${folder}/gateway.lock`), { uid: 0 })
          return Exit.isSuccess(yield* process.exit)
        })
        for (const [mode, closes] of [[0o2770, true], [0o2772, false], [0o770, false]] as const) {
          yield* Effect.orDie(host.files.chmod(folder, mode))
          const found = yield* judged
          assert.strictEqual(found?.severity, closes ? "info" : "error", mode.toString(8))
          assert.strictEqual((yield* Effect.orDie(host.files.stat(folder))).mode & 0o7777, mode)
          assert.strictEqual(yield* starts, closes)
        }
      })
  )

  it.effect("without the folder it is tried above, and nothing is made", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* Effect.orDie(host.files.makeDirectory("/state"))
      const [found] = yield* locks(host)
      assert.strictEqual(found?.message, "a second lock of one file is refused in /state")
      assert.deepStrictEqual(yield* Effect.orDie(host.files.readDirectory("/state")), [])
    }))

  it.effect("where nothing can be written, it is not tried", () =>
    Effect.gen(function*() {
      const host = yield* withFolder
      yield* host.setReadOnly(true)
      const [found] = yield* locks(host)
      assert.strictEqual(found?.severity, "info")
      assert.match(found?.message ?? "", /^locks were not tested in .*EROFS/)
    }))

  it.effect("whichever system call fails: there is a finding, and no file", () =>
    Effect.gen(function*() {
      for (let nth = 1; nth < 40; nth++) {
        const host = yield* withFolder
        let count = 0
        yield* host.setIntercept(({ name }) =>
          Effect.succeed(
            ++count === nth && name !== "unlink" && name !== "rm" && name !== "remove"
              ? Option.some("EIO")
              : Option.none()
          )
        )
        const process = yield* host.spawn(
          Effect.all([LockFolderAudit.checkFolder(options), LockFolderAudit.checkLocks(options)])
        )
        yield* host.settle
        const [folder, tried] = yield* yield* process.exit
        assert.isAbove(folder.length, 0)
        assert.isAbove(tried.length, 0)
        for (const finding of [...folder, ...tried]) {
          assert.isTrue(!isProblem(finding) || finding.remedy !== undefined)
        }
        assert.deepStrictEqual(yield* Effect.orDie(host.files.readDirectory("/state/default/locks")), [], `call ${nth}`)
      }
    }))
})
