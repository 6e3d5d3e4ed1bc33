/**
 * Loads the bundled program with code that V8 compiled during the build. Otherwise a refused start would spend more time
 * compiling than running.
 *
 * This module imports nothing from the project and nothing from Effect, so that all of their code comes from the bundle.
 */
import { existsSync, readFileSync } from "node:fs"
import * as Module from "node:module"
import { homedir } from "node:os"
import { join } from "node:path"
import { Script } from "node:vm"

/** The bundled file that runs first. */
const entry = "entry.cjs"

/** V8 accepts compiled code only of its own version. It does not check the processor, so the name contains it. */
const cacheSuffix = `.${process.versions.v8}-${process.arch}.cache`

/** Called for every loaded script, with the path for its compiled code. The build writes that file. */
export type OnScript = (script: Script, cachePath: string) => void

const readIfPresent = (path: string): Buffer | undefined => {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

/** The folder for this user's caches, by the convention of the platform. */
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
 * Makes Node keep compiled code for the next start. Node supports this since 22.1. Before, this function does nothing.
 *
 * Node's default folder is below the temporary folder, where other users may write. Node runs compiled code without checking
 * it, so this function names a folder of the user. `NODE_COMPILE_CACHE` and `NODE_DISABLE_COMPILE_CACHE` take precedence. If
 * the folder cannot be written, Node keeps nothing.
 */
const enableCompileCache = (): void => {
  const enable: unknown = Reflect.get(Module, "enableCompileCache")
  if (typeof enable !== "function") return
  try {
    enable(join(cacheHome(), "gateway-lock", "compiled"))
  } catch {
    // The user has no home folder, so nothing is kept.
  }
}

/** A bundled file evaluates to a function with the parameters of a CommonJS module, however it is loaded. */
type Bundled = (
  exports: object,
  require: (id: string) => unknown,
  module: { readonly exports: object },
  path: string,
  folder: string
) => void

const isBundled = (value: unknown): value is Bundled => typeof value === "function"

/**
 * Runs the program in `folder`. Without compiled code for this version of V8, Node's own loader loads the files and keeps the
 * code that it compiles.
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
