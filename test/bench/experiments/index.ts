/**
 * The experiments. If an experiment already takes the samples of a new figure, add the figure as a row of that experiment.
 * Otherwise add a new experiment.
 */
import type { Experiment } from "../program.ts"
import { locking } from "./locking.ts"
import { serving } from "./serving.ts"
import { idleSockets } from "./sockets.ts"
import { crowd, loaded, refusedStart, version } from "./starts.ts"
import { takeover } from "./takeover.ts"
import { throughput } from "./throughput.ts"

/** The experiments by the name that the progress line shows. */
export const experiments: Readonly<Record<string, Experiment>> = {
  "refused starts": refusedStart,
  "what they load": loaded,
  "start, memory and stop of a server": serving,
  "takeover": takeover,
  "many starts at once": crowd,
  "lock and unlock": locking,
  "requests per second": throughput,
  "idle WebSockets": idleSockets,
  "the least that the program does": version
}
