/**
 * Measures one lock and unlock within one process, without a port. This project's lock writes, syncs and removes two files, and
 * each file contains a record of the owner. The other locks in the comparison do less work.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Contenders from "../../chaos/support/contenders.ts"
import { measure } from "../measure.ts"
import { BenchFailed, millis } from "../processes.ts"
import * as Program from "../program.ts"

const perSample = 20

/** The average time of one lock and unlock, in milliseconds. */
const lockAndUnlock = (contender: "kernel" | "record" | "os-lock" | "proper-lockfile") =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const acquire = yield* Contenders.make(contender, { folder, pollInterval: Duration.millis(50), step: Effect.void })
    const once = Effect.mapError(Effect.scoped(acquire), ({ reason }) => new BenchFailed({ reason }))
    // The first lock loads modules and creates folders, so it is not measured.
    yield* once
    const clock = yield* Effect.clock
    const began = clock.unsafeCurrentTimeNanos()
    yield* Effect.replicateEffect(once, perSample)
    return millis(began, clock.unsafeCurrentTimeNanos()) / perSample
    // The log is off, because this project's lock logs a warning each time that it is acquired without a kernel lock.
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None))

const figures = [
  ["proper-lockfile", "proper-lockfile", "kernel", "kernel", { most: 3 }],
  ["fs-native-extensions", "os-lock", "kernel", "kernel", { most: 20 }],
  ["proper-lockfile", "proper-lockfile", "record", "record only", undefined]
] as const

export const locking: Program.Experiment = (runs) =>
  Effect.map(
    Effect.forEach(figures, ([name, baseline, subject, mode, aim]) =>
      measure({
        runs,
        baseline: { name, sample: lockAndUnlock(baseline) },
        subject: { name: `LockFile, ${mode}`, sample: lockAndUnlock(subject) },
        rows: [{
          name: `lock and unlock: ${mode}`,
          unit: "ms",
          read: Program.itself,
          compare: "ratio",
          ...(aim === undefined ? {} : { aim })
        }]
      })),
    (rows) => rows.flat()
  )
