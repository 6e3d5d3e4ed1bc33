/**
 * Finds paths that a service definition must not contain, because they change or disappear while the service is installed.
 *
 * A version manager has one folder for each version of Node, Homebrew has one folder for each release, and npx keeps programs in
 * a cache. The definition keeps the path that was valid when the service was installed. An upgrade or a clean-up may remove that
 * path, and then the service cannot start.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * A path that may disappear, with the reason and better paths.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unstable {
  readonly path: string
  /** The tool that makes the path, and why the path changes, in words: `nvm, one folder for each version of Node`. */
  readonly because: string
  /** Whether the path is the path of Node or of the program. */
  readonly of: "node" | "program"
  /** Better paths, the best first. Some of them may not exist. */
  readonly candidates: ReadonlyArray<string>
}

interface Rule {
  readonly pattern: RegExp
  readonly because: string
  /**
   * Makes the stable paths that the tool itself offers, from the match of `pattern`. These paths come before the general
   * candidates, which are `nodes` and `programs`.
   */
  readonly stays?: (match: RegExpExecArray) => ReadonlyArray<string>
}

const versions = "one folder for each version of Node"

/**
 * The folders in which a tool keeps versions, a cache or temporary files. The path of Node is `process.execPath`, in which
 * symbolic links are usually resolved already. So a Node from Homebrew is in a folder of `Cellar`, and not in `bin`.
 */
const rules: ReadonlyArray<Rule> = [
  {
    pattern: /^(.*[\\/]\.?nvm)[\\/](?:versions[\\/](?:node|io\.js)[\\/])?v\d/,
    because: `nvm, ${versions}`,
    // nvm creates this link only if NVM_SYMLINK_CURRENT=true.
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

/** The paths of Node that operating system packages and Node's own installers use. */
const nodes = (path: string): ReadonlyArray<string> =>
  /^[A-Za-z]:\\/.test(path) ? ["C:\\Program Files\\nodejs\\node.exe"] : ["/usr/bin/node", "/usr/local/bin/node"]

/** The paths of the program after `npm install --global` with a Node at one of the paths in `nodes`. */
const programs = ["/usr/local/bin/gateway", "/usr/bin/gateway"]

/**
 * Checks whether the path of Node or of the program is in a folder of a tool that `rules` lists. `None` for a stable path. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const find = (of: Unstable["of"], path: string): Option.Option<Unstable> => {
  for (const { because, pattern, stays } of rules) {
    const match = pattern.exec(path)
    if (match === null) continue
    // A stable path that ends with `/node` is for Node only. Any other stable path is for the program only, and only the rule for
    // pnpm has such a path.
    const known = stays?.(match).filter((stable) => stable.endsWith("/node") === (of === "node")) ?? []
    return Option.some({ path, because, of, candidates: [...known, ...(of === "node" ? nodes(path) : programs)] })
  }
  return Option.none()
}

/**
 * A path that may disappear, and the path to use instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Advice extends Pick<Unstable, "path" | "because" | "of"> {
  readonly prefer: string
  /** Whether the file `prefer` exists. */
  readonly exists: boolean
}

/**
 * Checks the paths of Node and of the program. For each path that may disappear, advises the first candidate that exists. If no
 * candidate exists, advises the first entry of `nodes` (for Node) or `programs` (for the program).
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
 * Describes the advice in one line.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describe = ({ because, exists, of, path, prefer }: Advice, verb = " may disappear"): string =>
  `${path}${verb} (${because}); prefer ${prefer}${
    exists ? "" : of === "node" ? ", which the system's packages install" : ", where npm install --global installs it"
  }`
