/**
 * The status page's script, as the browser gets it. Its parts share one scope and run in this order.
 * `test/page/StatusPage.test.ts` checks the whole as JavaScript under strict types.
 *
 * Everything that the gateway sends is shown as text: the script makes elements, and sets `textContent`. Times are those of the
 * gateway's clock, by its last frame; between two frames, the browser's monotonic clock moves them on.
 */
import { connection } from "./script/connection.ts"
import { elements } from "./script/elements.ts"
import { states } from "./script/states.ts"
import { status } from "./script/status.ts"
import { times } from "./script/times.ts"

export const script = String.raw`
"use strict";
(() => {${states}${elements}${times}${status}${connection}})();
`
