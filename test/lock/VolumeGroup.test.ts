import { FileSystem } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc, Option } from "effect"
import * as LockFolder from "../../src/lock/LockFolder.ts"
import * as VolumeGroup from "../../src/lock/VolumeGroup.ts"
import type * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import { makeHost, noModeBits } from "../fixtures/simulated.ts"
import { unless } from "../fixtures/skips.ts"

const folder = "/state/locks"
const lock = `${folder}/gateway.lock`

const ensure = (host: SimulatedHost.SimulatedHost, uid: number) =>
  Effect.gen(function*() {
    const process = yield* host.spawn(LockFolder.ensure(lock), { uid })
    return Exit.match(yield* process.exit, {
      onSuccess: () => "used",
      onFailure: (cause) => cause._tag === "Fail" ? cause.error.reason : cause._tag
    })
  })

/** A host with a lock folder that belongs to root and contains a lock file. Other users cannot enter the folder. */
const closed = Effect.gen(function*() {
  const host = yield* makeHost()
  yield* host.files.makeDirectory("/state")
  assert.strictEqual(yield* ensure(host, 0), "used")
  yield* host.files.writeFileString(lock, "{}")
  return host
})

/** A host with a lock folder that belongs to user 1000 and contains a lock file of this user. */
const opened = Effect.gen(function*() {
  const host = yield* makeHost()
  yield* host.files.makeDirectory("/state")
  yield* host.files.chmod("/state", 0o777)
  assert.strictEqual(yield* ensure(host, 1000), "used")
  const made = yield* host.spawn(
    Effect.orDie(Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFileString(lock, "{}"))),
    { uid: 1000 }
  )
  yield* made.exit
  return host
})

const open = (host: SimulatedHost.SimulatedHost, mode = 0o2770) =>
  Effect.gen(function*() {
    yield* host.files.chmod(folder, mode)
    yield* host.files.chmod(lock, 0o660)
  })

const modeOf = (host: SimulatedHost.SimulatedHost, path: string) =>
  Effect.map(host.files.stat(path), ({ mode }) => (mode & 0o7777).toString(8))

unless(noModeBits).describe("a lock folder that kubelet has opened to the volume's group (N29)", () => {
  it.effect("is closed, and its files with it", () =>
    Effect.gen(function*() {
      const host = yield* closed
      yield* open(host)
      assert.strictEqual(yield* ensure(host, 0), "used")
      assert.strictEqual(yield* modeOf(host, folder), "700")
      assert.strictEqual(yield* modeOf(host, lock), "600")
      assert.strictEqual(yield* host.files.readFileString(lock), "{}")
    }))

  const refused = "other users may write in its folder /state/locks"

  it.effect("is refused and left as it is where others may write too, or where it is not as kubelet leaves it", () =>
    Effect.gen(function*() {
      const host = yield* closed
      for (const mode of [0o2772, 0o2777, 0o3777, 0o770, 0o1770, 0o702]) {
        yield* open(host, mode)
        assert.include(yield* ensure(host, 0), refused)
        assert.strictEqual(yield* modeOf(host, folder), mode.toString(8))
        assert.strictEqual(yield* modeOf(host, lock), "660")
      }
    }))

  const misuses: ReadonlyArray<
    readonly [what: string, put: (host: SimulatedHost.SimulatedHost) => Effect.Effect<unknown, unknown>]
  > = [
    ["a link", (host) => host.files.symlink("/victim", `${folder}/gateway.state.lock`)],
    ["a folder", (host) => host.files.makeDirectory(`${folder}/gateway.state.lock`)],
    ["a second name of a file that is elsewhere", (host) =>
      Effect.zipRight(
        host.files.writeFileString("/victim", "mine"),
        host.files.link("/victim", `${folder}/gateway.state.lock`)
      )]
  ]

  for (const [what, put] of misuses) {
    it.effect(`is refused and left as it is with ${what} in it`, () =>
      Effect.gen(function*() {
        const host = yield* closed
        yield* open(host)
        yield* put(host)
        assert.include(yield* ensure(host, 0), refused)
        assert.strictEqual(yield* modeOf(host, folder), "2770")
        assert.strictEqual(yield* modeOf(host, lock), "660")
      }))
  }

  it.effect("is refused and left as it is with another user's file in it", () =>
    Effect.gen(function*() {
      const host = yield* opened
      yield* open(host)
      assert.strictEqual(yield* ensure(host, 1000), "used")
      yield* open(host)
      const before = yield* modeOf(host, folder)
      // The test writes this lock file as root, so it belongs to another user than the folder, which belongs to user 1000.
      yield* host.files.writeFileString(`${folder}/gateway.state.lock`, "{}")
      assert.include(yield* ensure(host, 1000), refused)
      assert.strictEqual(yield* modeOf(host, folder), before)
    }))

  it.prop("is one of ours, of a group of ours, with the setgid bit, and closed to all others", [
    fc.nat({ max: 0o7777 }),
    fc.nat({ max: 2 }),
    fc.nat({ max: 2 }),
    fc.array(fc.nat({ max: 2 }), { maxLength: 2 })
  ], ([mode, uid, gid, groups]) => {
    const isOpened = VolumeGroup.isOpened({ mode, uid: Option.some(uid), gid: Option.some(gid) }, 1, groups)
    assert.strictEqual(isOpened, (mode & 0o2022) === 0o2020 && uid === 1 && groups.includes(gid))
  })
})
