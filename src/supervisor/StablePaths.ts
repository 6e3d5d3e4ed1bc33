/**
 * Paths that a service definition should not have: they go away or change while the service stays.
 *
 * A version manager has one folder for each version of Node, npx one for each run, Homebrew one for each release. The
 * definition keeps the path as it was when it was written, and after an upgrade or a clean-up the service cannot start.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * What is wrong with a path.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unstable {
  readonly path: string
  /** What makes the path, and when it goes: `nvm, one folder for each version of Node`. */
  readonly because: string
  /** Whether the path is that of Node, or that of the program. */
  readonly of: "node" | "program"
  /** Paths to prefer, best first. Not all of them exist. */
  readonly candidates: ReadonlyArray<string>
}

interface Rule {
  readonly pattern: RegExp
  readonly because: string
  /** What stays, worked out from the match; before the general candidates. */
  readonly stays?: (match: RegExpExecArray) => ReadonlyArray<string>
}

const versions = "one folder for each version of Node"

/**
 * Where each tool keeps its versions. `process.execPath` is the real path, so links that a shell's `PATH` names (fnm's
 * multishells, Homebrew's `bin`) are resolved before they get here.
 */
const rules: ReadonlyArray<Rule> = [
  {
    pattern: /^(.*[\\/]\.?nvm)[\\/](?:versions[\\/](?:node|io\.js)[\\/])?v\d/,
    because: `nvm, ${versions}`,
    // With NVM_SYMLINK_CURRENT=true.
    stays: ([, root = ""]) => [`${root}/current/bin/node`]
  },
  {
    pattern: /^(.*[\\/]\.?fnm)[\\/]node-versions[\\/]/,
    because: `fnm, ${versions}`,
    stays: ([, root = ""]) => [`${root}/aliases/default/bin/node`]
  },
  { pattern: /[\\/]fnm_multishells[\\/]/, because: "fnm, one folder for each shell" },
  { pattern: /[\\/]\.?volta[\\/]/i, because: `Volta, ${versions}` },
  {
    pattern: /^(.*[\\/]mise[\\/]installs[\\/]node)[\\/]\d/,
    because: `mise, ${versions}`,
    stays: ([, root = ""]) => [`${root}/lts/bin/node`, `${root}/latest/bin/node`]
  },
  { pattern: /[\\/]\.?asdf[\\/]/, because: `asdf, ${versions}` },
  { pattern: /[\\/]\.?(?:nodenv|nodebrew)[\\/]/, because: `nodenv, ${versions}` },
  { pattern: /[\\/]n[\\/]versions[\\/]node[\\/]/, because: `n, ${versions}` },
  {
    pattern: /^(.*)[\\/]Cellar[\\/](node(?:@\d+)?)[\\/]/,
    because: "Homebrew, one folder for each release",
    stays: ([, root = "", formula = ""]) => [`${root}/opt/${formula}/bin/node`]
  },
  {
    pattern: /^\/nix\/store\//,
    because: "Nix, one folder for each build, until its garbage is collected",
    stays: () => ["/run/current-system/sw/bin/node", "/nix/var/nix/profiles/default/bin/node"]
  },
  {
    pattern: /^(\/snap\/[^/]+)\/x?\d+\//,
    because: "snap, one folder for each revision",
    stays: ([, root = ""]) => [`${root}/current/bin/node`]
  },
  { pattern: /[\\/]_npx[\\/]/, because: "npx, a cache" },
  { pattern: /[\\/]pnpm[\\/]dlx(?:-|[\\/])/, because: "pnpm dlx, a cache" },
  { pattern: /[\\/]bunx-\d+-/, because: "bunx, a cache" },
  {
    pattern: /^(.*[\\/]node_modules)[\\/]\.pnpm[\\/][^\\/]+[\\/]node_modules[\\/](.*)$/,
    because: "pnpm, one folder for each version of a package",
    stays: ([, root = "", rest = ""]) => [`${root}/${rest}`]
  },
  { pattern: /^(?:\/private)?\/(?:tmp|var\/tmp|var\/folders|dev\/shm)\//, because: "a folder for temporary files" },
  { pattern: /[\\/]AppData[\\/]Local[\\/]Temp[\\/]/i, because: "a folder for temporary files" }
]

/** Where packages of an operating system and Node's own installers put it. */
const nodes = (path: string): ReadonlyArray<string> =>
  /^[A-Za-z]:\\/.test(path) ? ["C:\\Program Files\\nodejs\\node.exe"] : ["/usr/bin/node", "/usr/local/bin/node"]

/** Where `npm install --global` of such a Node puts the program. */
const programs = ["/usr/local/bin/gateway", "/usr/bin/gateway"]

/**
 * What is wrong with the path of Node or of the program; `None` for one that stays. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const find = (of: Unstable["of"], path: string): Option.Option<Unstable> => {
  for (const { because, pattern, stays } of rules) {
    const match = pattern.exec(path)
    if (match === null) continue
    // The rules know where Node stays; of a program's path they know it only for the package managers.
    const known = stays?.(match).filter((stable) => stable.endsWith("/node") === (of === "node")) ?? []
    return Option.some({ path, because, of, candidates: [...known, ...(of === "node" ? nodes(path) : programs)] })
  }
  return Option.none()
}

/**
 * A path that does not stay, and the one to prefer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Advice extends Pick<Unstable, "path" | "because" | "of"> {
  readonly prefer: string
  /** Whether there is such a file. */
  readonly exists: boolean
}

/**
 * Looks at both paths, and for the first candidate that exists; where none does, the first is named all the same.
 *
 * @since 0.1.0
 * @category reading
 */
export const advise = (
  paths: { readonly execPath: string; readonly scriptPath: string }
): Effect.Effect<ReadonlyArray<Advice>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const found = [find("node", paths.execPath), find("program", paths.scriptPath)].flatMap(Option.toArray)
    return yield* Effect.forEach(found, ({ because, candidates, of, path }) =>
      Effect.gen(function*() {
        const there = yield* Effect.filter(
          candidates,
          (candidate) => Effect.orElseSucceed(fs.exists(candidate), () => false)
        )
        const [general = path] = of === "node" ? nodes(path) : programs
        return { path, because, of, prefer: there[0] ?? general, exists: there.length > 0 }
      }))
  })

/**
 * The advice in one line.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describe = ({ because, exists, of, path, prefer }: Advice, verb = " does not stay"): string =>
  `${path}${verb} (${because}); prefer ${prefer}${
    exists ? "" : of === "node" ? ", a Node of the system's packages" : ", as npm install --global puts it"
  }`
