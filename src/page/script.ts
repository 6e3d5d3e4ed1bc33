/**
 * The script of the status page, as the browser receives it. Its parts share one scope and run in this order.
 * `test/page/StatusPage.test.ts` type-checks the whole script as JavaScript, under strict rules.
 *
 * The script shows everything that the gateway sends as text: it creates elements and sets `textContent`. Times follow the
 * gateway's clock, as of its last frame. Between two frames, the browser's monotonic clock advances them.
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
