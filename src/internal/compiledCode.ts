/**
 * Keeps the code that V8 compiled in a cache folder of the user, for the next start. An installed package has no compiled code of the
 * build, because V8 accepts compiled code only of its own version.
 *
 * Node's own compile cache (`module.enableCompileCache`, since 22.1) keeps what V8 compiles before a file runs. In a bundle that is
 * one function of hundreds, so it saves nothing.
 *
 * V8 runs compiled code without checking it. So this module reads a file only if it belongs to this user and no one else may write it.
 * Whatever fails here is ignored: the program then compiles its code again.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync
} from "node:fs"
import { homedir } from "node:os"
import { dirname, join } from "node:path"
import type { Script } from "node:vm"

/**
 * The end of the names of files with compiled code. V8 accepts compiled code only of its own version, so the name contains that
 * version. V8 does not check for which processor the code was compiled, so the name also contains the processor architecture.
 */
export const cacheSuffix = `.${process.versions.v8}-${process.arch}.cache`

/** How long a file is kept that is not read, in milliseconds. Each installed version of the program has its own files. */
const longestUnused = 30 * 24 * 60 * 60 * 1000

/** The folder for this user's caches, by the convention of the platform. Throws for a user without a home folder. */
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
 * The folder in which compiled code is kept. The variables are those of Node's own compile cache: one names another folder, the other
 * one turns the cache off.
 */
const cacheFolder = (): string | undefined => {
  const { NODE_COMPILE_CACHE: folder = "", NODE_DISABLE_COMPILE_CACHE: disabled = "" } = process.env
  if (disabled !== "") return undefined
  try {
    return folder === "" ? join(cacheHome(), "gateway-lock", "compiled") : join(folder, "gateway-lock")
  } catch {
    return undefined
  }
}

/**
 * The command of this run. Commands run different functions of one file, and V8 keeps those that have run, so each command has compiled
 * code of its own. `undefined`: help and the version run hardly any code of the command, so nothing is kept.
 */
const commandOf = (words: ReadonlyArray<string>): string | undefined => {
  const [first = ""] = words
  const own = words.includes("--") ? words.slice(0, words.indexOf("--")) : words
  if (own.some((word) => /^(?:-h|--help|-v|--version)$/.test(word))) return undefined
  return /^[a-z]{1,20}$/.test(first) ? first : "run"
}

/** The exit statuses after bad usage and after a defect. Such a run did not do what its command does, so nothing is kept. */
const failures: ReadonlySet<unknown> = new Set([64, 70])

const isOwn = ({ mode, uid }: Stats): boolean =>
  process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0)

/** Reads a file of this user. */
const readOwn = (path: string): Buffer | undefined => {
  try {
    const fd = openSync(path, "r")
    try {
      return isOwn(fstatSync(fd)) ? readFileSync(fd) : undefined
    } finally {
      closeSync(fd)
    }
  } catch {
    return undefined
  }
}

/**
 * Makes a folder and those above it. Not by Node's `recursive`, which never ends where the parent of a folder exists and a folder
 * cannot be made in it for that reason, as in `/proc` (`MKDirpSync` in src/node_file.cc of Node 20).
 */
const makeFolder = (path: string): void => {
  if (existsSync(path)) return
  const parent = dirname(path)
  if (parent !== path) makeFolder(parent)
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (cause) {
    // Another run may have made it.
    if (!existsSync(path)) throw cause
  }
}

/** Removes files that were not used for long before `written` was written, such as those of earlier versions of the program. */
const removeUnused = (folder: string, written: string): void => {
  const { mtimeMs: now } = statSync(written)
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const { atimeMs = now, mtimeMs = now } = statSync(path, { throwIfNoEntry: false }) ?? {}
    if (now - Math.max(atimeMs, mtimeMs) > longestUnused) rmSync(path, { recursive: true, force: true })
  }
}

const write = (script: Script, path: string): void => {
  const draft = `${path}.${process.pid}-${process.hrtime.bigint()}.draft`
  try {
    writeFileSync(draft, script.createCachedData(), { flag: "wx", mode: 0o600 })
    renameSync(draft, path)
  } catch (cause) {
    rmSync(draft, { force: true })
    throw cause
  }
}

/** The compiled code of the files that one run of the program loads. */
export interface CompiledCode {
  /** The compiled code of a file, if there is any. */
  readonly read: (name: string, file: Stats) => Buffer | undefined
  /** Called with each script that was compiled. */
  readonly loaded: (script: Script, name: string, file: Stats) => void
}

/**
 * Keeps compiled code in a cache folder of the user, for a run with the command-line arguments `words`. If this run had to compile a
 * file, it writes the code of all its files when it ends, because it has then gone another way than the run before. Returns
 * `undefined` if nothing can be kept.
 */
export const keptForUser = (words: ReadonlyArray<string>): CompiledCode | undefined => {
  const folder = cacheFolder()
  const command = commandOf(words)
  if (folder === undefined || command === undefined) return undefined
  // A file that is installed again or edited has another inode or change time, which no program can set.
  const pathOf = (name: string, { ctimeMs, dev, ino, size }: Stats) =>
    join(folder, `${command}-${name}-${dev}-${ino}-${size}-${ctimeMs}${cacheSuffix}`)
  const scripts: Array<readonly [script: Script, path: string]> = []
  let isComplete = true
  process.once("exit", (status) => {
    if (isComplete || failures.has(status)) return
    try {
      makeFolder(folder)
      for (const [script, path] of scripts) write(script, path)
      const [, written] = scripts[0] ?? []
      if (written !== undefined) removeUnused(folder, written)
    } catch {
      // The folder cannot be written.
    }
  })
  return {
    read: (name, file) => readOwn(pathOf(name, file)),
    loaded: (script, name, file) => {
      scripts.push([script, pathOf(name, file)])
      if (script.cachedDataRejected !== false) isComplete = false
    }
  }
}
