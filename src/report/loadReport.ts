import * as Effect from "effect/Effect"

/**
 * Loads what a report in JSON needs. A process that stays calls this before it has something to report, because an upgrade may have
 * removed the program's files by then.
 */
export const loadReport = Effect.promise(() => import("../GatewayLockError.ts"))
