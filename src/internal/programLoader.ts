/**
 * Loads the bundled program with the code that V8 compiled for it when it was built: a start that is refused spends more
 * time compiling than running otherwise.
 *
 * Bundled files only, so this module imports nothing of the project and nothing of Effect.
 */
import { existsSync, readFileSync } from "node:fs"
import * as Module from "node:module"
import { homedir } from "node:os"
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

/** Where this user's caches are, by platform convention. */
const cacheHome = (): string => {
  switch (process.platform) {
    case "win32": {
      const { LOCALAPPDATA: folder = join(homedir(), "AppData", "Local") } = process.env
      return folder
    }
    case "darwin":
      return join(homedir(), "Library", "Caches")
    default: {
      const { XDG_CACHE_HOME: folder = "" } = process.env
      return folder.startsWith("/") ? folder : join(homedir(), ".cache")
    }
  }
}

/**
 * Has Node keep what V8 compiles, for the next start (since 22.1; nothing before). Not in Node's default folder: that one is
 * under the temporary folder, where others may write, and compiled code is run as it is found. `NODE_COMPILE_CACHE` and
 * `NODE_DISABLE_COMPILE_CACHE` go before. Where the folder cannot be written, nothing is kept.
 */
const enableCompileCache = (): void => {
  const enable: unknown = Reflect.get(Module, "enableCompileCache")
  if (typeof enable !== "function") return
  try {
    enable(join(cacheHome(), "gateway-lock", "compiled"))
  } catch {
    // A user without a home folder.
  }
}

/** What a bundled file is: a function of what a CommonJS module is given, for either way of loading it. */
type Bundled = (
  exports: object,
  require: (id: string) => unknown,
  module: { readonly exports: object },
  path: string,
  folder: string
) => void

const isBundled = (value: unknown): value is Bundled => typeof value === "function"

/**
 * Runs the program in `folder`. Without compiled code for this V8, its files are found by Node's own loader, which keeps what
 * it compiles.
 */
export const loadProgram = (folder: string, onScript?: OnScript): void => {
  const require = Module.createRequire(join(folder, entry))
  const isCompiled = onScript !== undefined || existsSync(join(folder, `${entry}${cacheSuffix}`))
  if (!isCompiled) enableCompileCache()

  const bundled = (name: string, path: string): unknown => {
    if (!isCompiled) return require(`./${name}`)
    const cachePath = `${path}${cacheSuffix}`
    const cachedData = readIfPresent(cachePath)
    const source = readFileSync(path, "utf8")
    const script = new Script(source, { filename: path, ...(cachedData === undefined ? {} : { cachedData }) })
    const value: unknown = script.runInThisContext()
    onScript?.(script, cachePath)
    return value
  }

  const loaded = new Map<string, { exports: object }>()
  const load = (name: string): unknown => {
    const before = loaded.get(name)
    if (before !== undefined) return before.exports
    const module = { exports: {} }
    loaded.set(name, module)
    const path = join(folder, name)
    if (!existsSync(path)) throw new TypeError(`${path} is not a file of this program; install it again`)
    const run = bundled(name, path)
    if (!isBundled(run)) throw new TypeError(`${path} is not a file of this program; install it again`)
    run(module.exports, (id) => id.startsWith("./") ? load(id.slice(2)) : require(id), module, path, folder)
    return module.exports
  }
  load(entry)
}
