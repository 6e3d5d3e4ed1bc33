import * as Effect from "effect/Effect"
import type { Options } from "./options.ts"
import type { Results } from "./report.ts"
export const all = (_: Options): Effect.Effect<Results> => Effect.succeed({ values: {}, text: "" })
