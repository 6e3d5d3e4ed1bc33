/**
 * Never completes. `Effect.never` would start a timer (Effect 3.22.4; `never` in internal/core.ts). That timer would keep the process
 * running in which a simulated process was killed, and everything in memory that the killed fiber refers to.
 */
import * as Effect from "effect/Effect"

export const unending: Effect.Effect<never> = Effect.async(() => {})
