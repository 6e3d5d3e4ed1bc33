// Bundles the program that `dist/main.js` runs, and has V8 compile it. Also bundles `gateway-lock/promise`.
//
// CommonJS, because that is what V8's compiled code can be kept for; in several files, because a start that is refused
// must not load the server.
import { execFileSync } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"
import { entryPlugins, plugins } from "./plugins.mjs"

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))

rmSync(here("dist/program"), { recursive: true, force: true })

const bundle = async (options, output) => {
  const build = await rolldown({ platform: "node", external: ["fs-native-extensions", "pg-native", "pg-cloudflare"], ...options })
  await build.write(output)
  await build.close()
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

// The other files import from the program's own, so it exports more than its source does.
await bundle({ input: { program: here("src/cli/runProgram.ts") }, preserveEntrySignatures: "allow-extension", plugins }, {
  ...output,
  // One file for all that every start needs: access to a name of another file is slower.
  codeSplitting: { groups: [{ name: "program", tags: ["$initial"] }] }
})

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

// V8's cache has the functions that had run when the cache was written. So run a start to its end, then the commands that only
// look, then a command under the lock, then a refused start.
for (const scene of ["start", "status", "health", "list", "doctor", "stop", "exec", "refused"]) {
  // Its output is shown only if it fails, as part of the error.
  execFileSync(process.execPath, [here(".build/compile.mjs"), scene], { stdio: "pipe", timeout: 60_000 })
}
