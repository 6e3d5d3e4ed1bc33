/**
 * Loads the bundled program with the code that V8 compiled for it when it was built: a start that is refused spends more
 * time compiling than running otherwise.
 *
 * Bundled files only, so this module imports nothing of the project and nothing of Effect.
 */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { Script } from "node:vm"

/** The entry among the bundled files. */
const entry = "entry.cjs"

/** V8 accepts code only from its own version; the processor is not part of its check. */
const cacheSuffix = `.${process.versions.v8}-${process.arch}.cache`

/** Told of every script that was loaded, and where its compiled code belongs. */
export type OnScript = (script: Script, cachePath: string) => void

const readIfPresent = (path: string): Buffer | undefined => {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

/**
 * Runs the program in `folder`. Without compiled code for this V8, by Node's own loader.
 */
export const loadProgram = (folder: string, onScript?: OnScript): void => {
  const require = createRequire(join(folder, entry))
  if (onScript === undefined && readIfPresent(join(folder, `${entry}${cacheSuffix}`)) === undefined) {
    require(`./${entry}`)
    return
  }
  const loaded = new Map<string, { exports: unknown }>()
  const load = (name: string): unknown => {
    const before = loaded.get(name)
    if (before !== undefined) return before.exports
    const path = join(folder, name)
    const cachePath = `${path}${cacheSuffix}`
    const cachedData = readIfPresent(cachePath)
    // What the CommonJS loader wraps a module in.
    const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, "utf8")}\n})`
    const script = new Script(source, { filename: path, ...(cachedData === undefined ? {} : { cachedData }) })
    const module = { exports: {} }
    loaded.set(name, module)
    const run: unknown = script.runInThisContext()
    if (typeof run === "function") {
      run(module.exports, (id: string) => id.startsWith("./") ? load(id.slice(2)) : require(id), module, path, folder)
    }
    onScript?.(script, cachePath)
    return module.exports
  }
  load(entry)
}
