import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Command from "@effect/platform/Command"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"

const soak = (...options: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const child = yield* Command.start(
      Command.make(
        process.execPath,
        "node_modules/vite-node/vite-node.mjs",
        "test/simulation/soak.ts",
        "--",
        ...options
      )
    )
    const text = (stream: typeof child.stdout) => Stream.mkString(Stream.decodeText(stream))
    const [stdout, stderr] = yield* Effect.all([text(child.stdout), text(child.stderr)], { concurrency: "unbounded" })
    return { stdout, stderr, status: yield* child.exitCode }
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

describe("npm run test:soak", () => {
  it.live("plays as many schedules as it was asked for, and says so", () =>
    Effect.gen(function*() {
      const { status, stderr, stdout } = yield* soak("--runs", "6", "--seed", "3")
      assert.strictEqual(stderr, "")
      assert.match(
        stdout,
        /^6 schedules on \d+ cores, 6 of each seed from 3 to 3\n6 of 6 after .+\nno violation in 6 schedules, seeds 3 to 3, .+\n$/
      )
      assert.strictEqual(Number(status), 0)
    }))

  it.live("ends after a schedule in which a wrapper was killed while its command stopped (B35)", () =>
    Effect.gen(function*() {
      const { status, stderr, stdout } = yield* soak("--runs", "10", "--seed", "6")
      assert.strictEqual(stderr, "")
      assert.match(stdout, /\nno violation in 10 schedules, seeds 6 to 6, .+\n$/)
      assert.strictEqual(Number(status), 0)
    }))

  it.live("plays elections with --lease", () =>
    Effect.gen(function*() {
      const { status, stderr, stdout } = yield* soak("--lease", "--runs", "4", "--seed", "3")
      assert.strictEqual(stderr, "")
      assert.match(stdout, /\nno violation in 4 schedules, seeds 3 to 3, .+\n$/)
      assert.strictEqual(Number(status), 0)
    }))

  it.live("refuses what is no number", () =>
    Effect.gen(function*() {
      const { status, stderr } = yield* soak("--runs", "many")
      assert.include(stderr, "--runs many: not a number from 1 to 999999999")
      assert.strictEqual(Number(status), 1)
    }))
})
