/**
 * Loads the bundled program with code that V8 compiled during the build. Without that code, a start that fails because a gateway
 * already runs would spend more time compiling than running.
 *
 * This module imports nothing from the project and nothing from Effect, so that all code of the project and of Effect comes from
 * the bundle.
 */
import { isAscii } from "node:buffer"
import { existsSync, readFileSync } from "node:fs"
import * as Module from "node:module"
import { homedir } from "node:os"
import { join } from "node:path"
import { Script } from "node:vm"

/** The bundled file that runs first. */
const entry = "entry.cjs"

/**
 * The end of the names of files with compiled code. V8 accepts compiled code only of its own version, so the name contains that
 * version. V8 does not check for which processor the code was compiled, so the name also contains the processor architecture.
 */
const cacheSuffix = `.${process.versions.v8}-${process.arch}.cache`

/** Called for every loaded script, with the path for its compiled code. The build then writes the compiled code to that path. */
export type OnScript = (script: Script, cachePath: string) => void

const readIfPresent = (path: string): Buffer | undefined => {
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

/**
 * Reads a script. With an encoding, Node reads a file 8 KiB at a time and validates each character. The build keeps almost every
 * file of the program in ASCII, which needs neither.
 */
const readScript = (path: string): string => {
  const bytes = readFileSync(path)
  return bytes.toString(isAscii(bytes) ? "latin1" : "utf8")
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
 * Makes Node keep compiled code for the next start. Node supports this since version 22.1. With an older version of Node, this
 * function does nothing.
 *
 * Node's default folder for this code is below the temporary folder, where other users may write. Node runs compiled code without
 * checking it, so another user could put foreign code there and this program would run it. Therefore this function names a folder
 * of this user. `NODE_COMPILE_CACHE` and `NODE_DISABLE_COMPILE_CACHE` take precedence. If the folder cannot be written, Node
 * keeps nothing.
 */
const enableCompileCache = (): void => {
  const enable: unknown = Reflect.get(Module, "enableCompileCache")
  if (typeof enable !== "function") return
  try {
    enable(join(cacheHome(), "gateway-lock", "compiled"))
  } catch {
    // The user has no home folder, so Node keeps no compiled code.
  }
}

/**
 * The result of running a bundled file: a function with the parameters of Node's wrapper of a CommonJS module. The build makes each
 * file so that `Script.runInThisContext` and `require` both return this function.
 */
type Bundled = (
  exports: object,
  require: (id: string) => unknown,
  module: { readonly exports: object },
  path: string,
  folder: string
) => void

const isBundled = (value: unknown): value is Bundled => typeof value === "function"

/**
 * Runs the bundled program whose files are in `folder`. If the folder has compiled code for this version of V8, that code is used.
 * Otherwise Node's own loader loads the files. It stores the compiled code in a cache, for the next start.
 *
 * With `onScript`, each file is compiled here and passed to `onScript`, even if the folder has no compiled code yet.
 */
export const loadProgram = (folder: string, onScript?: OnScript): void => {
  const require = Module.createRequire(join(folder, entry))
  const isCompiled = onScript !== undefined || existsSync(join(folder, `${entry}${cacheSuffix}`))
  if (!isCompiled) enableCompileCache()

  const bundled = (name: string, path: string): unknown => {
    if (!isCompiled) return require(`./${name}`)
    const cachePath = `${path}${cacheSuffix}`
    const cachedData = readIfPresent(cachePath)
    const source = readScript(path)
    const script = new Script(source, { filename: path, ...(cachedData === undefined ? {} : { cachedData }) })
    const value: unknown = script.runInThisContext()
    onScript?.(script, cachePath)
    return value
  }

  const loaded = new Map<string, { exports: object }>()
  const load = (name: string): unknown => {
    const before = loaded.get(name)
    if (before !== undefined) return before.exports
    // V8 keeps the properties of an object without a prototype in a hash table. An object with a prototype would get a new layout for
    // each of the hundreds of exports, with a copy of the layouts before it.
    const module = { exports: { __proto__: null } }
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
