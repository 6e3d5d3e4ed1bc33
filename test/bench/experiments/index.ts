/**
 * The experiments of the benchmark. Each row of the results shows one figure, such as a duration. To add a figure, add a row to
 * the experiment that already takes the necessary samples. If no experiment takes them, add an experiment.
 */
import type { Experiment } from "../program.ts"
import { lease } from "./lease.ts"
import { locking } from "./locking.ts"
import { serving } from "./serving.ts"
import { idleSockets } from "./sockets.ts"
import { crowd, loaded, refusedStart, version } from "./starts.ts"
import { takeover } from "./takeover.ts"
import { throughput } from "./throughput.ts"
import { viewers } from "./viewers.ts"
import { wrapping } from "./wrapping.ts"

/** The experiments. The key is the name that the progress line shows. */
export const experiments: Readonly<Record<string, Experiment>> = {
  "refused starts": refusedStart,
  "what they load": loaded,
  "start, memory and stop of a server": serving,
  "takeover": takeover,
  "many starts at once": crowd,
  "lock and unlock": locking,
  "requests per second": throughput,
  "idle WebSockets": idleSockets,
  "open status pages": viewers,
  "lease": lease,
  "a command under the lock": wrapping,
  "the least that the program does": version
}
