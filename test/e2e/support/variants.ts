/**
 * Runs a test on both variants of the program: the program under test, which has kernel locks, and a copy without kernel locks.
 * The copy keeps other starts out by the owner's record in the lock file alone.
 */
import { it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./gateways.ts"
import * as Program from "./program.ts"

/** Makes a copy of the program without the addon, so that the copy has no kernel locks. Returns the path of the copy. */
export const bareProgram: Effect.Effect<string, never, Scope.Scope> = Effect.flatMap(
  Gateways.temporaryFolder,
  (folder) =>
    Effect.promise(async () => {
      const dist = Path.dirname(Program.main)
      // The program does not use the library in `esm`, which consists of hundreds of files.
      await Fs.cp(dist, Path.join(folder, "dist"), {
        recursive: true,
        filter: (path) => path !== Path.join(dist, "esm")
      })
      await Fs.writeFile(Path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
      // A test may run the copy as another user, so that user must be able to read the folder.
      await Fs.chmod(folder, 0o755)
      return Path.join(folder, "dist", Path.basename(Program.main))
    })
)

export interface Variant {
  /** The text that is appended to the name of a test of this variant. */
  readonly name: string
  readonly lock: "kernel" | "record"
  readonly main: Effect.Effect<string, never, Scope.Scope>
  /** Why this variant cannot be tested; `undefined` if it can be tested. */
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

/** Makes one test for each variant. A test that this machine or this program cannot run is skipped with the reason. */
export const each = (
  name: string,
  reason: string | undefined,
  test: (main: string, variant: Variant) => Effect.Effect<void, never, Scope.Scope>,
  variants: ReadonlyArray<Variant> = all,
  timeout?: number
): void => {
  for (const variant of variants) {
    const skipped = reason ?? variant.skipped
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`${name}, ${variant.name}`, skipped),
      () => Effect.flatMap(variant.main, (main) => test(main, variant)),
      timeout
    )
  }
}
