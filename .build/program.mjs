// Bundles the program that `dist/main.js` runs, and has V8 compile it. Also bundles `gateway-lock/promise`.
//
// CommonJS, because that is what V8's compiled code can be kept for; in several files, because a start that is refused
// must not load the server.
import { execFileSync } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"
import { relative } from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"
import { entryPlugins, onUse, plugins } from "./plugins.mjs"

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))

rmSync(here("dist/program"), { recursive: true, force: true })

const base = {
  platform: "node",
  external: ["fs-native-extensions", "pg-native", "pg-cloudflare"],
  // The plugins take exports out of dependencies. A use of one of them must not become `undefined` in a gateway.
  onLog: (level, log, print) => {
    if (log.code === "IMPORT_IS_UNDEFINED") throw new Error(log.message)
    print(level, log)
  }
}

const bundle = async (options, output) => {
  const build = await rolldown({ ...base, ...options })
  const { output: files } = await build.write(output)
  await build.close()
  return files
}

const output = {
  dir: here("dist/program"),
  format: "cjs",
  // Code from V8's cache has no loader for import().
  dynamicImportInCjs: false,
  // The stack trace of a defect keeps its names and lines. Minified code does not load faster from V8's cache.
  minify: false,
  comments: false,
  // `programLoader` calls this function with the arguments that Node's own loader gives a CommonJS module.
  banner: "(typeof module === 'object' ? module : {}).exports = function(exports, require, module, __filename, __dirname) {",
  footer: "}",
  entryFileNames: "[name].cjs",
  chunkFileNames: "[name]-[hash].cjs"
}

const program = { input: { program: here("src/cli/runProgram.ts") }, preserveEntrySignatures: "allow-extension" }

// One file for all that every start needs: access to a name of another file is slower.
const everyStart = { name: "program", tags: ["$initial"], priority: 1 }

// The files that the entry loads on use, each with its modules alone: their dependencies may be needed by every start.
const groupsOnUse = Object.entries(onUse).map(([name, test]) => ({ name, test, priority: 2, includeDependenciesRecursively: false }))

/** The parts of the program that only a lease needs. */
const leaseParts = /^\.\/(?:lead|execLead|leader|LeaseAudit|GivenLease)\.ts$/

/**
 * Finds the file of each module in a program that cannot use a lease. The parts of a lease share many modules with the server and
 * with `exec`. Rolldown puts each set of modules that is shared in another way into a file of its own, and a start without a lease
 * would load all of these files.
 */
const filesWithoutLease = async () => {
  const isExternal = { name: "without-lease", resolveId: { filter: { id: leaseParts }, handler: (id) => ({ id, external: true }) } }
  const build = await rolldown({ ...base, ...program, plugins: [isExternal, ...plugins] })
  const { output: files } = await build.generate({ ...output, codeSplitting: { groups: [...groupsOnUse, everyStart] } })
  await build.close()
  return new Map(files.flatMap((file) => (file.moduleIds ?? []).map((id) => [id, file.name])))
}

// The other files import from the program's own, so it exports more than its source does.
const toOwnFile = { name: "client-in-a-file", resolveId: { filter: { id: /^pg$/ }, handler: () => ({ id: "./pg.cjs", external: true }) } }
const fileOf = await filesWithoutLease()
// `service` shares it, and is not in a hurry.
fileOf.set(here("src/cli/execFlags.ts"), "exec")
const files = await bundle({ ...program, plugins: [toOwnFile, ...plugins] }, {
  ...output,
  codeSplitting: {
    groups: [...groupsOnUse, everyStart, { name: (id) => fileOf.get(id) ?? null, debugName: "without lease", includeDependenciesRecursively: false }]
  }
})

// `test/package/leaseParts.test.ts` compares the modules in the files that a start loads. A module without code is left out.
const modulesOf = ({ modules = {} }) =>
  Object.entries(modules).flatMap(([id, { renderedLength }]) => renderedLength > 0 ? [relative(here(""), id).replaceAll("\\", "/")] : [])
writeFileSync(
  here("dist/program/modules.json"),
  `${JSON.stringify(Object.fromEntries(files.map((file) => [file.name, modulesOf(file)])), null, 1)}\n`
)

// The client of PostgreSQL uses nothing of the program. In the bundle of the program, it would have Rolldown put its own functions
// into one more file that each start loads.
await bundle({ input: { pg: fileURLToPath(import.meta.resolve("pg")) } }, { ...output, exports: "named", codeSplitting: false })

await bundle({ input: { entry: here("src/cli/entry.ts") }, plugins: entryPlugins }, output)

// CommonJS, because Node's loader for ES modules takes some milliseconds of each start. The library in dist/esm has ES modules.
await bundle({ input: here("src/main.ts") }, { file: here("dist/main.js"), format: "cjs", minify: false })
writeFileSync(here("dist/package.json"), JSON.stringify({ type: "commonjs" }))
writeFileSync(here("dist/esm/package.json"), JSON.stringify({ type: "module" }))

// `gateway-lock/promise` is for programs without Effect. Its bundle has the parts of Effect that it uses. It loads in a sixth of the
// processor time that its files and all of Effect's take, and does not depend on how a package manager installs peers.
rmSync(here("dist/promise"), { recursive: true, force: true })
await bundle({ input: here("src/promise.ts") }, {
  dir: here("dist/promise"),
  format: "esm",
  minify: false,
  comments: false,
  entryFileNames: "index.mjs",
  chunkFileNames: "[name]-[hash].mjs"
})

// V8's cache has the functions that had run when the cache was written. So run a start with each lease store and one without to
// their ends, then the commands that only look, one of them with JSON, then a command under the lock, then a refused start.
for (const scene of ["postgres", "etcd", "start", "json", "status", "health", "list", "doctor", "stop", "exec", "refused"]) {
  // Its output is shown only if it fails, as part of the error.
  execFileSync(process.execPath, [here(".build/compile.mjs"), scene], { stdio: "pipe", timeout: 60_000 })
}
