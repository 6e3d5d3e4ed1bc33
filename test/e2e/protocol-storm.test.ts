import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import * as ProtocolStorm from "../chaos/support/protocolStorm.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Python from "./support/python.ts"
import * as Variants from "./support/variants.ts"

const reason = ProtocolStorm.unavailable ?? Python.noKernelLocks

describe("four owners in Python and four by gateway exec", () => {
  // `test/chaos/protocol.chaos.ts` runs more rounds.
  Variants.each(
    "never live two at one time, while all of them are killed",
    reason,
    (main) =>
      Effect.gen(function*() {
        const storm = yield* ProtocolStorm.run({ main, rounds: 12, atMost: "2 minutes" })
        ProtocolStorm.assertHeld(storm)
        assert.isAtLeast(storm.rounds, 12)
      }),
    [Variants.kernel],
    240_000
  )

  it.scopedLive.skipIf(reason !== undefined)(
    Program.named("are accused by their judge if one of them locks by flock(2)", reason),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Python.holdListening(site, { flags: ["--witness", Path.join(site.root, "witness")] })
        yield* ProtocolStorm.accuses(site, Gateways.configLock(site))
      })
  )
})
