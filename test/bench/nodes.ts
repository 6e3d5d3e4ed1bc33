/**
 * Measures by other versions of Node. npm has each of them as a package. A copy of this checkout is built by that Node, because the
 * build keeps what V8 of that version compiled, and then the benchmark of the copy runs by it.
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { join } from "node:path"
import { arch, platform } from "node:process"
import { fileURLToPath } from "node:url"
import { Measured } from "./measure.ts"
import type { Options } from "./options.ts"
import { BenchFailed } from "./processes.ts"
import { byNode, legend, type Results } from "./report.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** What a build reads, and the benchmark. */
const copied = ["src", "test", ".build", "package.json", "package-lock.json", "tsconfig.json", "tsconfig.build.json"]

const failed = (error: { readonly message: string }) => new BenchFailed({ reason: error.message })

/** Runs a program to its end, and returns what it wrote to stdout. Its stderr is the progress. */
const output = (command: Command.Command, what: string) =>
  Effect.gen(function*() {
    const child = yield* Command.start(Command.stderr(command, "inherit"))
    const text = yield* Stream.mkString(Stream.decodeText(child.stdout))
    const status = yield* child.exitCode
    return status === 0 ? text : yield* new BenchFailed({ reason: `${what}: exit status ${status}` })
  }).pipe(Effect.scoped, Effect.mapError(failed))

const Inner = Schema.parseJson(Schema.Struct({
  node: Schema.String,
  seconds: Schema.Number,
  rows: Schema.Array(Schema.Struct({ ...Measured.fields, certificates: Schema.NullOr(Measured) }))
}))

/** Installs a version of Node into a folder, and returns the path of its program. */
const install = (folder: string, major: string) =>
  Effect.gen(function*() {
    const name = `node-${platform}-${arch}`
    const words = ["install", "--silent", "--no-save", "--prefix", folder, `${name}@${major}`]
    yield* output(Command.workingDirectory(Command.make("npm", ...words), folder), `npm ${words.join(" ")}`)
    return join(folder, "node_modules", name, "bin", platform === "win32" ? "node.exe" : "node")
  })

const checkout = (folder: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    yield* fs.makeDirectory(folder)
    yield* Effect.forEach(copied, (name) => fs.copy(join(root, name), join(folder, name)), { discard: true })
    yield* fs.symlink(join(root, "node_modules"), join(folder, "node_modules"))
  }).pipe(Effect.mapError(failed))

const one = (options: Options, place: string) => (major: string) =>
  Effect.gen(function*() {
    const folder = join(place, `node${major}`)
    const [tools, copy] = [join(folder, "tools"), join(folder, "checkout")]
    const fs = yield* FileSystem.FileSystem
    yield* Effect.mapError(fs.makeDirectory(tools, { recursive: true }), failed)
    yield* Console.error(`building by Node ${major}`)
    const node = yield* install(tools, major)
    yield* checkout(copy)
    const inCopy = (...words: ReadonlyArray<string>) => Command.workingDirectory(Command.make(node, ...words), copy)
    yield* output(inCopy(".build/build.mjs"), `the build by Node ${major}`)
    const runs = options.hasRuns ? ["--runs", String(options.runs)] : []
    const words = options.chosen.flatMap(([name]) => ["--only", name])
    const text = yield* output(
      inCopy(
        "node_modules/vite-node/vite-node.mjs",
        "test/bench/main.ts",
        "--json",
        ...runs,
        ...words
      ),
      `the benchmark by Node ${major}`
    )
    const { node: version, rows, seconds } = yield* Effect.mapError(Schema.decode(Inner)(text), failed)
    return { node: version, seconds, figures: rows }
  })

/** Measures the chosen experiments by each version of Node. */
export const all = (
  options: Options
): Effect.Effect<
  Results,
  BenchFailed,
  CommandExecutor.CommandExecutor | FileSystem.FileSystem | Scope.Scope
> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const place = yield* Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "gateway-lock-bench-" }), failed)
    const nodes = yield* Effect.forEach(options.nodes, one(options, place))
    return {
      values: { runs: options.runs, nodes },
      text: [byNode(options.format, nodes), ...(options.format === "text" ? ["", legend] : [])].join("\n")
    }
  })
