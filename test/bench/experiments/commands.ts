/**
 * Measures commands where no gateway runs. A user waits for them, and scripts and probes run them often.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { measure } from "../measure.ts"
import { Environment, expectEnd, freePort, host, startNode } from "../processes.ts"
import * as Program from "../program.ts"

const nodeAlone = { name: "node -e 0", sample: Program.lifeOf(["-e", "0"], 0) }

const compared = (runs: number, name: string, sample: ReturnType<typeof Program.lifeOf>, most: number) =>
  measure({
    runs,
    baseline: nodeAlone,
    subject: { name, sample },
    rows: [{ name, unit: "ms", read: Program.itself, compare: "ratio", aim: { most } }]
  })

const settings = Effect.gen(function*() {
  const folder = yield* Program.temporaryFolder
  const port = yield* freePort
  return ["--config", join(folder, "gateway.json"), "--state-dir", join(folder, "state")]
    .concat("--host", host, "--port", String(port))
})

/** The exit status of each command where no gateway runs. */
const statuses = { status: 3, health: 1, stop: 0 } as const

export const nothingRuns: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const flags = yield* settings
    const named = yield* Effect.forEach(
      Object.entries(statuses),
      ([command, status]) =>
        compared(runs, `${command}, nothing runs`, Program.lifeOf([Program.path, command, ...flags], status), 2.5)
    )
    // `list` takes no settings. It reads the state folders of the profiles and the open files of all processes of the user.
    const environment = { ...yield* Environment, XDG_STATE_HOME: yield* Program.temporaryFolder }
    const words = [Program.path, "list"]
    const listed = Effect.provideService(Program.lifeOf(words, 0), Environment, environment)
    const { output } = yield* Effect.scoped(Effect.flatMap(startNode(words), (process) => expectEnd(process, 0)))
    if (!output.startsWith("this user has no gateway")) {
      yield* Console.error(`list: gateways of this user run:\n${output}`)
    }
    return [...named.flat(), ...yield* compared(runs, "list, nothing runs", listed, 2.5)]
  })

export const doctor: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const words = [Program.path, "doctor", ...yield* settings]
    // Its exit status says whether this machine gives a reason for advice.
    const { by } = yield* Effect.scoped(Effect.flatMap(startNode(words), ({ ended }) => ended))
    return yield* compared(runs, "doctor, nothing runs", Program.lifeOf(words, by === 1 ? 1 : 0), 3.5)
  })

export const version: Program.Experiment = (runs) =>
  compared(runs, "--version", Program.lifeOf([Program.path, "--version"], 0, "gateway "), 1.6)
