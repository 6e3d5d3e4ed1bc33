import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { setImmediate } from "node:timers"
import { exit } from "../../src/host/endProcess.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import { notPosix, unless } from "../fixtures/skips.ts"

/** Completes in the next turn of the event loop. */
const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

describe("exit", () => {
  it.live("ends in the next turn if it is called by the callback of the last file request", () =>
    Effect.gen(function*() {
      let status: number | undefined
      yield* Effect.async<void>((resume) => {
        Fs.stat(".", () => {
          exit(78, (given) => {
            status = given
          })
          resume(Effect.void)
        })
      })
      yield* turn
      yield* turn
      assert.strictEqual(status, 78)
    }))

  unless(notPosix).scopedLive("waits for a file request that has not ended", () =>
    Effect.gen(function*() {
      const pipe = Path.join(yield* Gateways.temporaryFolder, "pipe")
      execFileSync("mkfifo", [pipe])
      const events: Array<string> = []
      // The open of a FIFO for reading ends when the FIFO is opened for writing.
      const opened = Effect.async<number>((resume) => {
        Fs.open(pipe, "r", (_, descriptor) => {
          events.push("request ended")
          resume(Effect.succeed(descriptor))
        })
      })
      const ended = Effect.async<void>((resume) => {
        exit(0, (status) => {
          events.push(`exit ${status}`)
          resume(Effect.void)
        })
      })
      const reader = yield* Effect.fork(opened)
      const end = yield* Effect.fork(ended)
      yield* Effect.replicateEffect(turn, 3)
      Fs.closeSync(Fs.openSync(pipe, "w"))
      yield* end
      Fs.closeSync(yield* reader)
      assert.deepStrictEqual(events, ["request ended", "exit 0"])
    }))
})
