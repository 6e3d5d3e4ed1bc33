/**
 * A long storm of owners in Python and owners by `gateway exec` on one lock. The owners in Python are written from `docs/protocol.md`
 * alone. The judge is a lock that each owner takes itself.
 *
 * `GATEWAY_EXEC_ROUNDS` sets the number of rounds. `GATEWAY_STORM_SEED` sets the seed that decides what is killed.
 */
import { assert, describe } from "@effect/vitest"
import { Config, Console, Duration, Effect } from "effect"
import * as Variants from "../e2e/support/variants.ts"
import * as ProtocolStorm from "./support/protocolStorm.ts"

const rounds = Effect.orDie(Config.withDefault(Config.integer("GATEWAY_EXEC_ROUNDS"), 1000))

const patience = Duration.minutes(30)

describe("four owners in Python and four by gateway exec, in a storm", () => {
  Variants.each(
    "never live two at one time",
    ProtocolStorm.unavailable,
    (main, { name }) =>
      Effect.gen(function*() {
        const storm = yield* ProtocolStorm.run({ main, rounds: yield* rounds, atMost: patience })
        yield* Console.log(ProtocolStorm.describe(name, storm))
        ProtocolStorm.assertHeld(storm)
        assert.isAtLeast(storm.rounds, yield* rounds)
      }),
    Variants.all,
    Duration.toMillis(patience) + 120_000
  )
})
