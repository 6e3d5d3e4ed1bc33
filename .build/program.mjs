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

await bundle({ input: here("src/cli/entry.ts") }, {
  dir: here("dist/program"),
  format: "cjs",
  // import() would need a loader that compiled code has not.
  dynamicImportInCjs: false,
  // Names and lines stay readable in the trace of a defect; compiled code takes as long to load either way.
  minify: false,
  comments: false,
  entryFileNames: "[name].cjs",
  chunkFileNames: "[name]-[hash].cjs"
})

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
