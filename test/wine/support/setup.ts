/**
 * Makes the wine prefix before the first test file, and removes it after the last one.
 */
import { Effect, Exit, Scope } from "effect"
import type { TestProject } from "vitest/node"
import * as Prefix from "./prefix.ts"

declare module "vitest" {
  export interface ProvidedContext {
    readonly wine: Prefix.Prefix
  }
}

const setup = async (project: TestProject): Promise<() => Promise<void>> => {
  const scope = Effect.runSync(Scope.make())
  const close = () => Effect.runPromise(Scope.close(scope, Exit.void))
  const made = await Effect.runPromise(Effect.either(Scope.extend(Prefix.make, scope)))
  if (made._tag === "Left") {
    await close()
    throw made.left
  }
  project.provide("wine", made.right)
  return close
}

export default setup
