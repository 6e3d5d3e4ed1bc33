/**
 * Bundles an app and the library by esbuild, in each common output format. The tests check that the bundle either finds the
 * addon for kernel locks, or prints a warning that says where to put the addon.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Esbuild from "esbuild"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

const app = fileURLToPath(new URL("../fixtures/app.mjs", import.meta.url))
const dependencies = fileURLToPath(new URL("../../node_modules", import.meta.url))

const createRequire =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);"
const filename = "import { fileURLToPath as __path } from 'node:url'; const __filename = __path(import.meta.url);"

/** The esbuild options of each variant. `bundle` adds the options that all variants share. */
const variants: Readonly<Record<string, Esbuild.BuildOptions>> = {
  "cjs": { format: "cjs" },
  "cjs, minified": { format: "cjs", minify: true },
  "cjs, with import.meta.url defined": {
    format: "cjs",
    define: { "import.meta.url": "__url" },
    banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" }
  },
  "cjs, with import.meta.url defined as a path": { format: "cjs", define: { "import.meta.url": "__filename" } },
  "esm": { format: "esm", banner: { js: createRequire } },
  "esm, with __filename": { format: "esm", banner: { js: `${createRequire}${filename}` } }
}

/** Bundles the app into a folder and returns the bundle's path. */
const bundle = (options: Esbuild.BuildOptions, folder: string) =>
  Effect.promise(async () => {
    const outfile = Path.join(folder, options.format === "esm" ? "app.mjs" : "app.cjs")
    await Esbuild.build({
      entryPoints: [app],
      bundle: true,
      platform: "node",
      target: "node20",
      logLevel: "error",
      // esbuild warns that CommonJS has no `import.meta`. This test covers exactly that case, so the warning is silenced.
      logOverride: { "empty-import-meta": "silent" },
      outfile,
      ...options
    })
    return outfile
  })

const start = (
  main: string
): Effect.Effect<{ readonly lock: string | undefined; readonly stderr: string }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const { configPath, port, stateDir } = site
    const gateway = yield* Gateways.startListening(site, {
      main,
      args: [JSON.stringify({ configPath, port, stateDir })]
    })
    const { lock } = yield* Gateways.readRecord(Gateways.configLock(site))
    const { stderr, stdout } = yield* Gateways.stop(gateway, "SIGKILL")
    return { lock, stderr: stdout + stderr }
  })

describe("an app that esbuild bundles", () => {
  for (const [name, options] of Object.entries(variants)) {
    it.scopedLive(`as ${name} finds the addon beside it`, () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        yield* Effect.promise(() => Fs.symlink(dependencies, Path.join(folder, "node_modules")))
        const { lock, stderr } = yield* start(yield* bundle(options, folder))
        assert.notInclude(stderr, "no kernel lock")
        assert.strictEqual(lock, Program.enforcement)
      }))

    it.scopedLive(`as ${name} says where it looks, if there is none`, () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        const { lock, stderr } = yield* start(yield* bundle(options, folder))
        assert.strictEqual(lock, "record")
        const warning = stderr.split("\n").find((line) => line.includes("no kernel lock")) ?? stderr
        assert.match(warning, new RegExp(`cannot load fs-native-extensions from ${folder}: .*Cannot find module`))
        assert.include(warning, "install fs-native-extensions there")
      }))
  }
})
