/**
 * In these tests, one process tries to acquire a lock twice: in two worker threads, or by two loaded copies of the library. Both
 * share a pid, so the pid in the lock file does not tell them apart. The process and the files are real.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import { Worker } from "node:worker_threads"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Program from "../e2e/support/program.ts"
import * as Bundle from "../fixtures/bundle.ts"
import { run } from "../fixtures/processes.ts"

const source = new URL("../fixtures/oneProcess.ts", import.meta.url)

const contend = (way: "threads" | "copies", enforcement: "kernel" | "record") =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const file = yield* Bundle.file(source, folder)
    const stateDir = Path.join(folder, "state")
    const flags = enforcement === "record" ? ["--no-addons"] : []
    const program = yield* run(process.execPath, [...flags, file, stateDir, way])
    const said: Array<string> = []
    for (let count = 0; count < 5; count += 1) said.push(JSON.parse(yield* program.line))
    yield* program.ended
    return { said, left: yield* Gateways.namesIn(Path.join(stateDir, "locks")) }
  })

describe("two in one process", () => {
  for (const enforcement of ["kernel", "record"] as const) {
    const skipped = enforcement === "kernel" && !Program.kernelLocks ? "no kernel locks" : undefined
    for (const way of ["threads", "copies"] as const) {
      const what = way === "threads" ? "worker threads" : "copies of the library"
      it.scopedLive.skipIf(skipped !== undefined)(
        Program.named(
          `exclude each other, ${what} by the ${enforcement}, and take over once the first releases`,
          skipped
        ),
        () =>
          Effect.gen(function*() {
            const { left, said } = yield* contend(way, enforcement)
            const held = `held by the ${enforcement}`
            assert.deepStrictEqual(said, [held, "LockHeld", "released", held, "released"])
            assert.deepStrictEqual(left, [])
          })
      )
    }
  }
})

describe("when this process started", () => {
  it.live("is the same in each of its threads, however much later they start", () =>
    Effect.gen(function*() {
      const code = "require('node:worker_threads').parentPort.postMessage(performance.timeOrigin)"
      const inThread = yield* Effect.async<number>((resume) => {
        const worker = new Worker(code, { eval: true })
        worker.once("message", (origin) => resume(Effect.succeed(Number(origin))))
        return Effect.promise(() => worker.terminate())
      })
      // The thread that runs this test is older than 500 ms. If the new thread had its own time origin, the two origins would
      // differ by at least that time.
      assert.isAbove(performance.now(), 500)
      assert.strictEqual(inThread, performance.timeOrigin)
    }))
})
