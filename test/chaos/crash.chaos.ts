/**
 * Kills a gateway at each system call of its start or its release of the lock. The next start must succeed without manual
 * help.
 *
 * strace kills the process before the call takes effect. So the runs together leave behind every state that can exist between
 * two calls.
 */
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Program from "../e2e/support/program.ts"
import * as Sweep from "./support/sweep.ts"

describe("killed at any system call", () => {
  for (const mode of [...Sweep.modes, Sweep.blocking]) {
    const title = mode.title ?? mode.name
    for (const scene of Sweep.scenes) {
      it.scopedLive.skipIf(mode.unavailable !== undefined)(
        Program.named(`of ${scene}, the next start succeeds: ${title}`, mode.unavailable),
        () =>
          Effect.gen(function*() {
            const main = yield* mode.main
            const watched = yield* Sweep.makeStage(mode, main, scene)
            const points = [...yield* Sweep.watch(watched, "files"), ...yield* Sweep.watch(watched, "sockets")]
            const results = yield* Sweep.sweep(
              points,
              Sweep.makeStage(mode, main, scene),
              (stage, point) =>
                Sweep.result(
                  `${point.phase} ${point.label} #${point.ordinal}`,
                  Effect.zipRight(
                    Sweep.killAt(stage, point),
                    Effect.map(
                      Sweep.assertNextStartSucceeds(stage),
                      (next) => `killed during the ${point.phase}, ${next}`
                    )
                  )
                )
            )
            yield* Sweep.conclude(`crash points, ${title}, ${scene}`, results)
          })
      )
    }
  }
})
