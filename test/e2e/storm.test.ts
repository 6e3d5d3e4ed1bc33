import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Gateways from "./support/gateways.ts"
import * as Storm from "./support/storm.ts"

describe("20 simultaneous starts", () => {
  it.scopedLive("have exactly one winner, named by every loser, in each of 50 rounds", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (let number = 1; number <= 50; number++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const winner = yield* Storm.round(site, 20)
          // The next round finds what a crash left, or a place swept clean.
          yield* Gateways.stop(winner, number % 2 === 0 ? "SIGKILL" : "SIGTERM")
        }))
      }
    }), 600_000)
})
