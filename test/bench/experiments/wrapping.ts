/**
 * Measures the cost of `gateway exec`, the wrapper that runs a command while it holds the lock. It measures the time for a command
 * that ends at once, and the memory of a wrapper that waits for its command.
 */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { measure } from "../measure.ts"
import { expectEnd, firstAnswer, freePort, host, millis, residentMiB, start, startNode } from "../processes.ts"
import * as Program from "../program.ts"

const execArgs = (folder: string, port: number, ...command: ReadonlyArray<string>): ReadonlyArray<string> =>
  [Program.path, "exec", "--host", host, "--port", String(port), "--ready", "none"]
    .concat("--config", join(folder, "gateway.json"), "--state-dir", join(folder, "state"), "--", ...command)

/** Starts Node with these arguments, and returns how much memory it takes while it is idle. In MiB. */
const memoryOf = (args: ReadonlyArray<string>, listening: string) =>
  Effect.gen(function*() {
    const process = yield* startNode(args)
    yield* process.said(listening)
    // After this pause, the program has released most of the memory that only its start needed.
    yield* Effect.sleep("500 millis")
    return yield* residentMiB(process)
  })

/**
 * Compares the run time of `gateway exec -- true` with three others: a gateway whose start is refused, a bare Node, and flock(1).
 * Also compares the memory of `gateway exec` while it waits for its command with the memory of an idle Node.
 */
export const wrapping: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const owned = yield* Program.temporaryFolder
    const [port, free] = [yield* freePort, yield* freePort]
    const owner = yield* startNode(Program.gatewayArgs(owned, port))
    yield* firstAnswer(owner, port)
    const subject = { name: "exec -- true", sample: Program.lifeOf(execArgs(folder, free, "true"), 0) }
    const row = { unit: "ms", read: Program.itself } as const

    const beside = yield* measure({
      runs,
      baseline: { name: "PortInUse", sample: Program.lifeOf(Program.gatewayArgs(owned, port), 1) },
      subject,
      rows: [{ ...row, name: "exec -- true, beside a refused start", compare: "difference", aim: { most: 15 } }]
    })
    const node = yield* measure({
      runs,
      baseline: { name: "node -e 0", sample: Program.lifeOf(["-e", "0"], 0) },
      subject,
      rows: [{ ...row, name: "exec -- true, beside a bare Node", compare: "ratio" }]
    })
    const flocked = Effect.gen(function*() {
      const process = yield* start("flock", ["-n", join(folder, "flock"), "true"])
      const { at } = yield* expectEnd(process, 0)
      return millis(process.startedAt, at)
    })
    const flock = yield* measure({
      runs,
      baseline: { name: "flock -n", sample: flocked },
      subject,
      rows: [{ ...row, name: "exec -- true, beside flock(1)", compare: "difference" }]
    })
    const memory = yield* measure({
      runs: Math.min(runs, 5),
      baseline: {
        name: "a Node that waits",
        sample: memoryOf(["-e", "console.log('waiting'); setInterval(() => {}, 1e6)"], "waiting")
      },
      subject: {
        name: "a wrapper that waits",
        sample: memoryOf(
          // The bench ends each wrapper by SIGKILL. Without `--die-with-wrapper`, the command would run on and keep the lock.
          execArgs(folder, free, "sh", "-c", "echo waiting; exec sleep 60").toSpliced(2, 0, "--die-with-wrapper"),
          "waiting"
        )
      },
      rows: [{
        name: "memory of a waiting wrapper",
        unit: "MiB",
        read: (mib) => mib,
        compare: "ratio",
        aim: { most: 1.3 }
      }]
    })
    return [...beside, ...node, ...flock, ...memory]
  })
