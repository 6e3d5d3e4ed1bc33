// Bundles the program that `dist/main.js` runs, and has V8 compile it. Also bundles `gateway-lock/promise`.
//
// CommonJS, because that is what V8's compiled code can be kept for; in several files, because a start that is refused
// must not load the server.
import { execFileSync } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))

rmSync(here("dist/program"), { recursive: true, force: true })

const bundle = async (options, output) => {
  const build = await rolldown({ platform: "node", external: ["fs-native-extensions"], ...options })
  await build.write(output)
  await build.close()
}

/**
 * `ws` requires these modules when it is loaded, but uses them only as a client or for compression. The program does neither, so
 * this plugin moves each `require` to the place of use, and a start does not load the modules.
 */
const askedFor = /const (https|tls|zlib) = require\('\1'\);/g
const found = new Set()
const loadedOnUse = {
  name: "loaded-on-use",
  transform: {
    filter: { id: /[\\/]node_modules[\\/]ws[\\/]lib[\\/]/ },
    handler: (code) => {
      for (const [, name] of code.matchAll(askedFor)) found.add(name)
      return code.replaceAll(askedFor, "").replaceAll(/\b(https|tls|zlib)\./g, "require('$1').")
    }
  }
}

/**
 * Effect finds out by a stack trace whether a minifier has inlined a certain function. For that trace, V8 counts the lines of the
 * whole bundle. This bundle is not minified, so the answer is known.
 */
const inlinedByMinifier = /const isNotOptimizedAway = .*new Error\(\)\.stack.* === true;/
let foundInEffect = 0
const withoutStackTrace = {
  name: "without-stack-trace",
  transform: {
    filter: { id: /[\\/]node_modules[\\/]effect[\\/]dist[\\/]esm[\\/]Utils\.js$/ },
    handler: (code) => {
      if (inlinedByMinifier.test(code)) foundInEffect += 1
      return code.replace(inlinedByMinifier, "const isNotOptimizedAway = true;")
    }
  }
}

/**
 * Leaves out the copies of Node's modules. The bundler copies each of them into an object that has the whole module as `default`,
 * which takes a getter for each export. The program never uses that `default`.
 */
const copied = /^(let (node_\w+) = require\("node:\w+"\);)\n\2 = (?:\w+\.)?__toESM\(\2, 1\);$/gm
let foundCopies = 0
const withoutCopies = {
  name: "without-copies",
  renderChunk: (code) =>
    code.replaceAll(copied, (text, loading, name) => {
      if (code.includes(`${name}.default`)) return text
      foundCopies += 1
      return loading
    })
}

/**
 * Escapes characters outside ASCII: with one of them, V8 keeps the whole file in twice the memory. `String.raw` has no escapes, so
 * the chunk with the status page stays as it is.
 */
const ascii = {
  name: "ascii",
  renderChunk: (code) =>
    code.includes("String.raw`")
      ? undefined
      : code.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
}

await bundle({ input: here("src/cli/entry.ts"), plugins: [loadedOnUse, withoutStackTrace, withoutCopies, ascii] }, {
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
  chunkFileNames: "[name]-[hash].cjs",
  // One file for all that every start needs: access to a name of another file is slower.
  codeSplitting: { groups: [{ name: "entry", tags: ["$initial"] }] }
})

if (found.size !== 3) throw new Error(`ws no longer requires https, tls and zlib in the expected way: found only ${[...found].join(", ")}`)

if (foundInEffect !== 1) throw new Error("Effect's Utils.js no longer asks for a stack trace in the expected way")
if (foundCopies === 0) throw new Error("the bundler no longer copies Node's modules in the expected way")

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
