/**
 * `npm run test:chaos` interferes with every system call of a start, one by one. This file interferes with a few of these calls
 * only. In each case the start is killed at the call, the call fails, or the call reports success without effect.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type * as Strace from "../chaos/support/strace.ts"
import * as Sweep from "../chaos/support/sweep.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const [kernel, recordOnly] = Sweep.modes

/**
 * The system calls at which this test kills a start, each with how many calls of that name on that file come before it. A start
 * first tests kernel locks on a draft, a file beside the lock file, whose calls have the label of the lock file. The first kill comes
 * before the lock file is locked, the second before its record is written, and the third before the record of the state lock is complete. The last
 * kill leaves the draft behind.
 */
const deadly = [
  ["fcntl config lock", 2],
  ["pwrite64 config lock", 1],
  ["ftruncate state lock", 0],
  ["unlink config lock", 0]
] as const

describe("a gateway with kernel locks", () => {
  it.scopedLive.skipIf(kernel.unavailable !== undefined)(
    Program.named("killed at a system call is succeeded at once", kernel.unavailable),
    () =>
      Effect.gen(function*() {
        const stage = yield* Sweep.makeStage(kernel, yield* kernel.main, "a first start")
        const points = yield* Sweep.watch(stage, "files")
        for (const [label, before] of deadly) {
          const point = points.filter((point) => point.label === label)[before]
          if (point === undefined) return yield* Effect.dieMessage(`no ${label} among ${points.length} calls`)
          yield* stage.reset
          yield* Sweep.killAt(stage, point)
          assert.strictEqual(yield* Sweep.assertNextStartSucceeds(stage), "next start at once", label)
        }
      })
  )

  const lies: ReadonlyArray<readonly [name: string, tamper: Strace.Tamper]> = [
    ...["ENOLCK", "EOPNOTSUPP", "EINVAL", "ENOSYS"].map((errno) =>
      [`answers ${errno}`, { _tag: "Fail", errno, always: true }] as const
    ),
    ["grants every lock", { _tag: "Pretend" }]
  ]
  for (const [name, tamper] of lies) {
    it.scopedLive.skipIf(kernel.unavailable !== undefined)(
      Program.named(`on a file system that ${name} sees it, and is kept by its record`, kernel.unavailable),
      () =>
        Effect.gen(function*() {
          const stage = yield* Sweep.makeStage(kernel, yield* kernel.main, "a first start")
          const { main, site } = stage
          const gateway = yield* Sweep.startTraced(stage, "files", { point: { name: "fcntl", ordinal: 1 }, tamper })
          yield* gateway.listening
          yield* Sweep.assertOwns(site, gateway)
          for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
            assert.strictEqual((yield* Gateways.readRecord(path)).lock, "record")
          }
          // The owner holds no kernel lock on these files. The second start could get one, because nothing tampers with its system
          // calls. It must still treat the files as held.
          const other = yield* Gateways.run(yield* Gateways.onAnotherPort(site), { main })
          Gateways.assertRefused(other, `gateway already running (pid ${gateway.pid}) on ${Gateways.url(site)}`)

          const ended = yield* Gateways.stop(gateway)
          yield* Gateways.assertGone(site, ended)
          assert.strictEqual(Gateways.count(ended.stderr, /level=WARN .*no kernel lock for /), 1, ended.stderr)
        })
    )
  }
})

for (const mode of [kernel, recordOnly]) {
  it.scopedLive.skipIf(mode.unavailable !== undefined)(
    Program.named(`a file system on which nothing can be written is told of, ${mode.name}`, mode.unavailable),
    () =>
      Effect.gen(function*() {
        const stage = yield* Sweep.makeStage(mode, yield* mode.main, "a first start")
        const point = { name: "mkdir", ordinal: 1 }
        const tamper: Strace.Tamper = { _tag: "Fail", errno: "EROFS", always: true }
        const { ended } = yield* Sweep.runTraced(stage, () => Effect.void, "files", { point, tamper })
        Gateways.assertRefused(
          ended,
          `failed to acquire gateway lock at ${Gateways.configLock(stage.site)}: EROFS: read-only file system, mkdir '${
            Gateways.locksFolder(stage.site)
          }'`
        )
      })
  )
}
