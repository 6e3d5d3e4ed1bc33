/**
 * Runs each example of `gateway-lock/promise` as a user would, in a process of its own. The examples in TypeScript have `await
 * using`, and are compiled for Node 20 by esbuild and by TypeScript. The others call `release()`, and run as they are.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, type Scope } from "effect"
import { build, transform } from "esbuild"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript-api"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Ports from "../e2e/support/ports.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
import { noKernelLocks, unless } from "../fixtures/skips.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const here = fileURLToPath(new URL("promise", import.meta.url))

const byEsbuild = async (code: string): Promise<string> =>
  (await transform(code, { loader: "ts", target: "node20", format: "esm" })).code

const byTypeScript = (code: string): Promise<string> =>
  Promise.resolve(
    ts.transpileModule(code, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
    }).outputText
  )

/** Bundles an example with the package and Express, as an app is deployed. The addon for kernel locks stays outside. */
const bundle = (format: "esm" | "cjs") => async (contents: string): Promise<string> => {
  const { outputFiles: [file] } = await build({
    stdin: { contents, resolveDir: here, loader: "js" },
    bundle: true,
    write: false,
    platform: "node",
    target: "node20",
    format,
    external: ["fs-native-extensions"],
    // esbuild warns that `import.meta` is empty in CommonJS. The library does without it there.
    logLevel: "error",
    // Express is CommonJS, and calls `require` for Node's modules.
    ...(format === "esm"
      ? {
        banner: {
          js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);"
        }
      }
      : {})
  })
  return file?.text ?? ""
}

interface Example {
  readonly title: string
  readonly file: string
  readonly compile?: (code: string) => Promise<string>
}

const examples: ReadonlyArray<Example> = [
  ...["express.mjs", "fastify.mjs", "http.mjs", "commonjs.cjs"].map((file) => ({ title: file, file })),
  { title: "express.ts, compiled by esbuild", file: "express.ts", compile: byEsbuild },
  { title: "fastify.ts, compiled by TypeScript", file: "fastify.ts", compile: byTypeScript },
  { title: "http.ts, compiled by esbuild", file: "http.ts", compile: byEsbuild },
  { title: "express.mjs, as a bundle", file: "express.mjs", compile: bundle("esm") },
  { title: "commonjs.cjs, as a bundle", file: "commonjs.cjs", compile: bundle("cjs") }
]

interface Place {
  readonly folder: string
  readonly file: string
  readonly port: number
}

/** Puts an example into a folder of its own, as an app that has installed these packages. Looks at its lock more often. */
const place = (
  { compile, file }: Example,
  packages: ReadonlyArray<string> = ["express", "fastify", "fs-native-extensions"]
): Effect.Effect<Place, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const port = yield* Ports.reserve
    const path = Path.join(folder, file.replace(/\.ts$/, ".mjs"))
    yield* Effect.promise(async () => {
      const code = await Fs.readFile(Path.join(here, file), "utf8")
      assert.include(code, "profile: \"hello\"")
      const watchful = code.replace("profile: \"hello\"", "profile: \"hello\", lock: { recheckInterval: \"200ms\" }")
      await Fs.writeFile(path, compile === undefined ? watchful : await compile(watchful))
      await Fs.mkdir(Path.join(folder, "node_modules"))
      for (const name of packages) {
        await Fs.symlink(Path.join(root, "node_modules", name), Path.join(folder, "node_modules", name))
      }
      await Fs.symlink(root, Path.join(folder, "node_modules", "gateway-lock"))
    })
    return { folder, file: path, port }
  })

const environment = ({ folder, port }: Place) => ({ PATH: Program.searchPath, HOME: folder, PORT: String(port) })

const start = (place: Place) =>
  Processes.start([process.execPath, place.file], { cwd: place.folder, env: environment(place) })

const run = (place: Place) => Effect.scoped(Effect.flatMap(start(place), ({ ended }) => ended))

/** The folder of the lock files. */
const locks = ({ folder }: Place) => Path.join(folder, ".local", "state", "gateway-lock", "hello", "locks")

/** Polls, because the example says nothing once it listens: its record does. */
const isUp = (place: Place, { pid }: Processes.Running) =>
  Effect.tryPromise(async () => {
    const names = await Fs.readdir(locks(place))
    const record = JSON.parse(await Fs.readFile(Path.join(locks(place), names[0] ?? ""), "utf8"))
    if (record.phase !== "listening" || record.pid !== pid) throw new Error("not yet")
    const response = await fetch(`http://127.0.0.1:${place.port}/hello`)
    assert.strictEqual(await response.text(), "world")
  }).pipe(Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(600))), Effect.orDie)

const startUp = (place: Place) => Effect.tap(start(place), (running) => isUp(place, running))

/** Checks that a second copy is refused with the report. */
const isRefused = (place: Place, { pid }: Processes.Running) =>
  Effect.map(run(place), (ended) => {
    assert.strictEqual(ended.code, 1, ended.stderr)
    assert.match(
      ended.stderr,
      new RegExp(
        `^GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:${place.port}\\n {2}held by: +pid ${pid} `
      )
    )
    assert.match(ended.stderr, /^ {2}to stop it: +npx gateway-lock stop --profile hello/m)
  })

const isGone = (place: Place, ended: Processes.Ended) =>
  Effect.gen(function*() {
    yield* Gateways.assertClean(ended)
    assert.deepStrictEqual(yield* Gateways.namesIn(locks(place)), [])
    assert.isTrue(yield* Ports.isFree(place.port))
  })

const takeLock = (place: Place) =>
  Effect.gen(function*() {
    const name = (yield* Gateways.namesIn(locks(place))).find((name) => !name.includes("state"))
    yield* Gateways.takeLock(Path.join(locks(place), name ?? "none"))
  })

describe.concurrent("the example of gateway-lock/promise", () => {
  for (const example of examples) {
    it.scopedLive(`${example.title}: refuses its second copy, is released, and survives a killed owner`, () =>
      Effect.gen(function*() {
        const at = yield* place(example)
        const first = yield* startUp(at)
        yield* isRefused(at, first)
        yield* first.signal("SIGSTOP")
        yield* isRefused(at, first)
        yield* first.signal("SIGCONT")
        yield* isGone(at, yield* Gateways.stop(first))

        const second = yield* startUp(at)
        yield* Gateways.stop(second, "SIGKILL")
        const third = yield* startUp(at)
        assert.include(yield* third.stderr, `reclaimed gateway lock`)
        yield* isGone(at, yield* Gateways.stop(third, "SIGINT"))
      }))

    unless(noKernelLocks(Program.kernelLocks)).scopedLive(
      `${example.title}: ends with status 1 when its lock is lost`,
      () =>
        Effect.gen(function*() {
          const at = yield* place(example)
          const owner = yield* startUp(at)
          yield* takeLock(at)
          const ended = yield* owner.ended
          assert.deepStrictEqual([ended.code, ended.signal], [1, null], ended.stderr)
          assert.match(ended.stderr, /lost gateway lock at /)
          assert.isTrue(yield* Ports.isFree(at.port))
        })
    )
  }

  it.scopedLive("http.mjs, as a bundle without the addon for kernel locks: warns once, and refuses its second copy", () =>
    Effect.gen(function*() {
      const at = yield* place({ title: "http.mjs", file: "http.mjs", compile: bundle("esm") }, [])
      yield* Effect.promise(() => Fs.rm(Path.join(at.folder, "node_modules", "gateway-lock")))
      const first = yield* startUp(at)
      const second = yield* run(at)
      assert.strictEqual(second.code, 1)
      assert.match(second.stderr, /^ {2}held by: +pid \d+ \(node\)$/m)
      const warning = /^gateway-lock: no kernel lock for .*install fs-native-extensions/gm
      assert.lengthOf((yield* first.stderr).match(warning) ?? [], 1)
      yield* isGone(at, yield* Gateways.stop(first))
    }))

  it.scopedLive("job.mjs: one run works, and the next one ends at once", () =>
    Effect.gen(function*() {
      const at = yield* place({ title: "job.mjs", file: "http.mjs" })
      const job = { ...at, file: Path.join(at.folder, "job.mjs") }
      yield* Effect.promise(() => Fs.copyFile(Path.join(here, "job.mjs"), job.file))
      const ends = yield* Effect.all([run(job), run(job)], { concurrency: "unbounded" })
      const printed = ends.map(({ stdout }) => stdout).toSorted()
      assert.strictEqual(printed[0], "importing\n")
      assert.match(printed[1] ?? "", /^pid (\d+|unknown) is still at it\n$/)
      assert.deepStrictEqual(ends.map(({ code }) => code), [0, 0])
    }))
})

describe("the page of gateway-lock/promise", () => {
  it.each(["express.mjs", "express.ts", "fastify.mjs", "http.mjs", "commonjs.cjs", "job.mjs"])(
    "has %s as it is tested",
    async (file) => {
      const page = await Fs.readFile(Path.join(root, "docs/promise.md"), "utf8")
      assert.include(page, `\n${(await Fs.readFile(Path.join(here, file), "utf8")).trim()}\n\`\`\`\n`)
    }
  )
})

describe("the examples in TypeScript", () => {
  it("compile in a strict project without Effect", () => {
    const { config }: { readonly config?: object } = ts.readConfigFile(
      Path.join(here, "tsconfig.json"),
      ts.sys.readFile
    )
    const { errors, fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, here)
    assert.deepStrictEqual(errors, [])
    assert.lengthOf(fileNames, 3)
    const problems = ts.getPreEmitDiagnostics(ts.createProgram(fileNames, options))
      .filter(({ file }) =>
        file === undefined || file.fileName.includes("/test/examples/promise/") || file.fileName.includes("/dist/esm/")
      )
    assert.deepStrictEqual(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")), [])
  })
})
