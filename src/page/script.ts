/**
 * The script of the status page, as the browser receives it. Its parts share one scope and run in the order in which
 * `script` joins them.
 * `test/page/StatusPage.test.ts` type-checks the whole script as JavaScript, under strict rules.
 *
 * The script shows all data from the gateway as plain text: it creates elements and sets `textContent`. The script uses
 * the time of the gateway's clock, which each frame contains. Between two frames, it advances that time by the browser's
 * monotonic clock.
 */
import { charts } from "./script/charts.ts"
import { connection } from "./script/connection.ts"
import { elements } from "./script/elements.ts"
import { neighbours } from "./script/neighbours.ts"
import { states } from "./script/states.ts"
import { status } from "./script/status.ts"
import { times } from "./script/times.ts"

export const script = String.raw`
"use strict";
(() => {${states}${elements}${times}${charts}${neighbours}${status}${connection}})();
`
