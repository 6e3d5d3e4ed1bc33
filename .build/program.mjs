// Bundles the program that `dist/main.js` runs, and has V8 compile it.
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
 * `ws` asks for these as it is loaded, and needs them as a client or where it compresses: the program does neither, and would
 * load them at each start.
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

/** One character that is not ASCII makes V8 keep a whole file in twice the memory. Raw text, of the page, stays as it is. */
const ascii = {
  name: "ascii",
  renderChunk: (code) =>
    code.includes("String.raw`")
      ? undefined
      : code.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
}

await bundle({ input: here("src/cli/entry.ts"), plugins: [loadedOnUse, ascii] }, {
  dir: here("dist/program"),
  format: "cjs",
  // import() would need a loader that compiled code has not.
  dynamicImportInCjs: false,
  // Names and lines stay readable in the trace of a defect; compiled code takes as long to load either way.
  minify: false,
  comments: false,
  // A function of what Node's loader gives a module, whichever way it is loaded: `programLoader` calls it.
  banner: "(typeof module === 'object' ? module : {}).exports = function(exports, require, module, __filename, __dirname) {",
  footer: "}",
  entryFileNames: "[name].cjs",
  chunkFileNames: "[name]-[hash].cjs",
  // All that each start needs in one file: a name is found sooner in its own file than in another.
  codeSplitting: { groups: [{ name: "entry", tags: ["$initial"] }] }
})

if (found.size !== 3) throw new Error(`ws asks otherwise for what is loaded on use: found ${[...found].join(", ")}`)

// CommonJS too: Node's loader for modules takes some milliseconds of each start. The library beside it is not.
await bundle({ input: here("src/main.ts") }, { file: here("dist/main.js"), format: "cjs", minify: false })
writeFileSync(here("dist/package.json"), JSON.stringify({ type: "commonjs" }))
writeFileSync(here("dist/esm/package.json"), JSON.stringify({ type: "module" }))

// Compiled code covers what has run by the time it is taken: first a start, to the end, then the commands that only look,
// then a start that is refused.
for (const scene of ["start", "status", "health", "list", "doctor", "stop", "refused"]) {
  // What it says is nobody's business, unless it fails: then it is part of the error.
  execFileSync(process.execPath, [here(".build/compile.mjs"), scene], { stdio: "pipe", timeout: 60_000 })
}
