/**
 * The experiments of the benchmark. Each row of the results shows one figure, such as a duration. To add a figure, add a row to
 * the experiment that already takes the necessary samples. If no experiment takes them, add an experiment.
 */
import type { Experiment } from "../program.ts"
import { doctor, nothingRuns, version } from "./commands.ts"
import { lease } from "./lease.ts"
import { locking } from "./locking.ts"
import { serving } from "./serving.ts"
import { idleSockets } from "./sockets.ts"
import { crowd, installed, loaded, refusedStart } from "./starts.ts"
import { takeover } from "./takeover.ts"
import { throughput } from "./throughput.ts"
import { viewers } from "./viewers.ts"
import { wrapping } from "./wrapping.ts"

export interface Entry {
  readonly measure: Experiment
  /** Whether its figures contain the start of a process, so that they depend on `NODE_EXTRA_CA_CERTS`. */
  readonly hasStarts: boolean
  /** The most runs in a run of all experiments. Without it, as many as `--runs` says. */
  readonly mostRuns?: number
  /** How long each of its comparisons may take if `--runs` is absent, in seconds. Default: 10. */
  readonly budget?: number
  /** Whether `--nodes` measures it if `--only` is absent. */
  readonly dependsOnNode?: boolean
}

/** The experiments. The key is the name that the progress line shows. */
export const experiments: Readonly<Record<string, Entry>> = {
  "refused starts": { measure: refusedStart, hasStarts: true, dependsOnNode: true },
  "refused start, installed from npm": { measure: installed, hasStarts: true, dependsOnNode: true },
  "what a refused start loads": { measure: loaded, hasStarts: false },
  "commands where nothing runs": { measure: nothingRuns, hasStarts: true, dependsOnNode: true },
  "doctor": { measure: doctor, hasStarts: true, dependsOnNode: true },
  "version": { measure: version, hasStarts: true, dependsOnNode: true },
  "start, memory and stop of a server": { measure: serving, hasStarts: true, dependsOnNode: true },
  "takeover": { measure: takeover, hasStarts: false },
  "many starts at once": { measure: crowd, hasStarts: true },
  "lock and unlock": { measure: locking, hasStarts: false },
  "requests per second": { measure: throughput, hasStarts: false, budget: 30 },
  "idle WebSockets": { measure: idleSockets, hasStarts: false },
  "open status pages": { measure: viewers, hasStarts: false },
  "lease": { measure: lease, hasStarts: false, mostRuns: 3 },
  "a command under the lock": { measure: wrapping, hasStarts: true }
}
