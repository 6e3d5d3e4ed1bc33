/**
 * Starts the built program for the experiments. Each experiment uses its own temporary folders.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Bundle from "../fixtures/bundle.ts"
import type { Measured } from "./measure.ts"
import { BenchFailed, bounded, expectEnd, host, millis, startNode } from "./processes.ts"

export type Experiment = (
  runs: number
) => Effect.Effect<ReadonlyArray<Measured>, BenchFailed, FileSystem.FileSystem | Scope.Scope>

export const path = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

export const gatewayArgs = (folder: string, port: number): ReadonlyArray<string> =>
  [path, "run", "--host", host, "--port", String(port)]
    .concat("--config", join(folder, "gateway.json"), "--state-dir", join(folder, "state"))

/**
 * Installs a server of the folder `servers` into `folder` and returns the path of the installed program. The program takes its
 * ports and a folder as arguments, and prints `listening` when it listens.
 */
export const server = (name: string, folder: string): Effect.Effect<string> =>
  Bundle.installed(new URL(`servers/${name}.ts`, import.meta.url), folder)

const failed = (error: { readonly message: string }) => new BenchFailed({ reason: error.message })

export const temporaryFolder = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) =>
    Effect.tap(
      fs.makeTempDirectoryScoped({ prefix: "gateway-lock-bench-" }),
      // The config file that `gatewayArgs` names must exist.
      (folder) => fs.writeFileString(join(folder, "gateway.json"), "{}")
    )
).pipe(Effect.mapError(failed), bounded("a temporary folder"))

export const writeFile = (path: string, text: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.writeFileString(path, text)).pipe(
    Effect.mapError(failed),
    bounded(`writing ${path}`)
  )

export const readFile = (path: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path)).pipe(
    Effect.mapError(failed),
    bounded(`reading ${path}`)
  )

/** Measures the time from the start of a Node process to its end, in milliseconds. Fails if its exit status is not `status`. */
export const lifeOf = (args: ReadonlyArray<string>, status: number, output?: string) =>
  Effect.gen(function*() {
    const process = yield* startNode(args)
    const { at } = yield* expectEnd(process, status, output)
    return millis(process.startedAt, at)
  })

export const itself = (sample: number) => sample
