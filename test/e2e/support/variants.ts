/**
 * The program with kernel locks, and a copy of it without: what a failure must not do to either.
 */
import { it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Program from "./program.ts"

/** A copy of the program beside which there is no addon: kernel locks cannot be had. */
export const bareProgram: Effect.Effect<string, never, Scope.Scope> = Effect.flatMap(
  Gateways.temporaryFolder,
  (folder) =>
    Effect.promise(async () => {
      const dist = Path.dirname(Program.main)
      await Fs.cp(dist, Path.join(folder, "dist"), { recursive: true })
      await Fs.writeFile(Path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
      // Another user may be the one who runs it.
      await Fs.chmod(folder, 0o755)
      return Path.join(folder, "dist", Path.basename(Program.main))
    })
)

export interface Variant {
  /** Ends a test's name. */
  readonly name: string
  readonly lock: "kernel" | "record"
  readonly main: Effect.Effect<string, never, Scope.Scope>
  /** Why it cannot be tested; `undefined` where it can. */
  readonly skipped: string | undefined
}

export const kernel: Variant = {
  name: "by the kernel's lock",
  lock: "kernel",
  main: Effect.succeed(Program.main),
  skipped: Program.kernelLocks ? undefined : "the program under test has no kernel locks"
}

export const recordOnly: Variant = {
  name: "by the record alone",
  lock: "record",
  main: bareProgram,
  skipped: undefined
}

export const all: ReadonlyArray<Variant> = [kernel, recordOnly]

/** One test for each variant, skipped with the reason where this machine or this program cannot do it. */
export const each = (
  name: string,
  reason: string | undefined,
  test: (main: string, variant: Variant) => Effect.Effect<void, never, Scope.Scope>,
  variants: ReadonlyArray<Variant> = all
): void => {
  for (const variant of variants) {
    const skipped = reason ?? variant.skipped
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`${name}, ${variant.name}`, skipped),
      () => Effect.flatMap(variant.main, (main) => test(main, variant))
    )
  }
}
