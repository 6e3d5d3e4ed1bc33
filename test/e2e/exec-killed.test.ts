/**
 * `npm run test:chaos` kills the wrapper at every system call of its start, and kills wrappers and commands in a long storm. This
 * file does the same at a few system calls, and for a few rounds. The judge is a lock that each command takes itself.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import * as Judge from "../chaos/support/execJudge.ts"
import * as ExecStorm from "../chaos/support/execStorm.ts"
import * as ExecSweep from "../chaos/support/execSweep.ts"
import * as Sweep from "../chaos/support/sweep.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

const [kernel, recordOnly] = Sweep.modes

const withoutCommand = "left a record without the command: the next start runs at once"

/**
 * The system calls at which a wrapper is killed, each with how many calls of the same label come before it, and with what the killed
 * wrapper leaves.
 */
const deadly: ReadonlyArray<
  readonly [mode: Sweep.Mode, calls: ReadonlyArray<readonly [label: string, before: number, left: string | RegExp]>]
> = [
  [kernel, [
    ["ftruncate state lock", 0, withoutCommand],
    ["clone something else", 0, withoutCommand],
    // The third write of the record adds the pid of the command, which runs by then.
    ["pwrite64 config lock", 2, "left a record without the command, and the command, which keeps the lock"],
    ["pwrite64 state lock", 1, "left a record with the command, and the command, which keeps the lock"]
  ]],
  [recordOnly, [
    ["link state lock", 0, withoutCommand],
    ["clone something else", 0, withoutCommand],
    ["pwrite64 config lock", 1, withoutCommand],
    // A shell waits to become the command, and ends with the wrapper. The record names the shell, which may live a moment longer.
    ["pwrite64 state lock", 1, /^left a record with the command: the next start runs /],
    // The wrapper has just told the shell to become the command.
    ["shutdown something else", 0, "left a record with the command, and the command, which keeps the lock"]
  ]]
]

describe("gateway exec, killed at a system call of its start", () => {
  for (const [mode, calls] of deadly) {
    const skipped = ExecSweep.unavailable(mode)
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`runs no two commands, and none without the lock: ${mode.name}`, skipped),
      () =>
        Effect.gen(function*() {
          const stage = yield* Sweep.makeStage(mode, yield* mode.main, "a first start")
          const points = yield* ExecSweep.record(stage)
          for (const [label, before, left] of calls) {
            const point = points.filter((point) => point.label === label)[before]
            if (point === undefined) return yield* Effect.dieMessage(`no ${label} among ${points.length} calls`)
            yield* stage.reset
            const outcome = yield* ExecSweep.killAt(stage, point)
            assert.isTrue(outcome.hit, label)
            if (typeof left === "string") assert.strictEqual(outcome.left, left, label)
            else assert.match(outcome.left, left, label)
          }
        })
    )
  }
})

describe("gateway exec, killed while its child has not yet executed the command", () => {
  for (
    const [mode, left] of [
      [kernel, "left a record without the command, and the command, which keeps the lock"],
      [recordOnly, withoutCommand]
    ] as const
  ) {
    const skipped = ExecSweep.unavailable(mode)
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`runs no two commands, and none without the lock: ${mode.name}`, skipped),
      () =>
        Effect.gen(function*() {
          const stage = yield* Sweep.makeStage(mode, yield* mode.main, "a first start")
          assert.strictEqual(yield* ExecSweep.killBeforeExec(stage), left)
        })
    )
  }
})

describe("gateway exec, in a few rounds of a storm of killed wrappers and commands", () => {
  const few = { contenders: 3, rounds: 6, atMost: Duration.seconds(50) }

  Variants.each("runs no two commands at one time", Judge.unavailable, (main) =>
    Effect.gen(function*() {
      const storm = yield* ExecStorm.run({ ...few, main })
      ExecStorm.assertHeld(storm)
      assert.isAtLeast(storm.rounds, few.rounds, ExecStorm.describe("a few rounds", storm))
    }))
})
