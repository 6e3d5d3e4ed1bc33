/**
 * One process of the soak test of locks and starts.
 */
import { runShard } from "../fixtures/soakShard.ts"
import { prove } from "./prove.ts"
import * as Original from "./subject.ts"

runShard((options) => prove(Original, options), 500)
