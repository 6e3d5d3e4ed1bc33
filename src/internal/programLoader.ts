/**
 * Loads the bundled program with code that V8 compiled before. Without that code, a start that fails because a gateway already runs
 * would spend more time compiling than running.
 *
 * This module imports nothing from Effect, and from the project only what keeps compiled code, so that all other code comes from the
 * bundle.
 */
import { isAscii } from "node:buffer"
import { existsSync, readFileSync, statSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { Script } from "node:vm"
import { cacheSuffix, type CompiledCode, keptForUser } from "./compiledCode.ts"

/** The bundled file that runs first. */
const entry = "entry.cjs"

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

/** The compiled code of the build, which is beside each file. */
const ofBuild = (folder: string, onScript: OnScript | undefined): CompiledCode => {
  const pathOf = (name: string) => join(folder, `${name}${cacheSuffix}`)
  return {
    read: (name) => readIfPresent(pathOf(name)),
    loaded: (script, name) => onScript?.(script, pathOf(name))
  }
}

/**
 * The result of running a bundled file: a function with the parameters of Node's wrapper of a CommonJS module. The build makes each
 * file so that `Script.runInThisContext` returns this function.
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
 * Otherwise compiled code is kept in a cache folder of the user, for the next start.
 *
 * With `onScript`, each file is passed to `onScript`, even if the folder has no compiled code yet.
 */
export const loadProgram = (folder: string, onScript?: OnScript): void => {
  const require = createRequire(join(folder, entry))
  const isBuilt = onScript !== undefined || existsSync(join(folder, `${entry}${cacheSuffix}`))
  const code = isBuilt ? ofBuild(folder, onScript) : keptForUser(process.argv.slice(2))

  const bundled = (name: string, path: string): unknown => {
    const file = statSync(path, { throwIfNoEntry: false })
    if (file === undefined) return undefined
    const cachedData = code?.read(name, file)
    const script = new Script(readScript(path), { filename: path, ...(cachedData === undefined ? {} : { cachedData }) })
    const value: unknown = script.runInThisContext()
    code?.loaded(script, name, file)
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
    const run = bundled(name, path)
    if (!isBundled(run)) throw new TypeError(`${path} is not a file of this program; install it again`)
    run(module.exports, (id) => id.startsWith("./") ? load(id.slice(2)) : require(id), module, path, folder)
    return module.exports
  }
  load(entry)
}
