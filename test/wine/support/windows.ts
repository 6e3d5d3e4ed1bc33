/**
 * Runs gateways as Windows programs under wine: makes a site (folders and a port) for a gateway, starts the gateway, and reads
 * the files that it leaves.
 *
 * The fields of a `Gateways.Site` are Windows paths here. So the helpers of other tests that search messages for these paths work
 * unchanged. `onDisk` converts such a path to a path on this machine.
 */
import { assert } from "@effect/vitest"
import { Deferred, Duration, Effect, FiberId, type Scope } from "effect"
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { inject } from "vitest"
import * as Gateways from "../../e2e/support/gateways.ts"
import * as Ports from "../../e2e/support/ports.ts"
import * as Processes from "../../e2e/support/processes.ts"
import { installed } from "./prefix.ts"

const prefix = inject("wine")

export { installed } from "./prefix.ts"

// ---------------------------------------------------------------------------
// sites
// ---------------------------------------------------------------------------

/** Converts a Windows path of `C:\` to the path of the same file on this machine. */
export const onDisk = (path: string): string => {
  assert.match(path, /^[cC]:\\/)
  return Path.join(prefix.drive, ...path.slice(3).split("\\"))
}

/** Makes the folders of a site and reserves a port that no other test has. `name` is part of the paths. */
export const newSite = (name = "site"): Effect.Effect<Gateways.Site, never, Scope.Scope> =>
  Effect.gen(function*() {
    const root = `C:\\${name}-${randomUUID().slice(0, 8)}`
    yield* Effect.acquireRelease(
      Effect.promise(() => Fs.mkdir(onDisk(root))),
      () => Effect.promise(() => Fs.rm(onDisk(root), { recursive: true, force: true, maxRetries: 3 }))
    )
    const port = yield* Ports.reserve
    const site = { root, stateDir: `${root}\\state`, configPath: `${root}\\gateway.json`, port }
    yield* write(site.configPath, "{}")
    return site
  })

export const write = (path: string, text: string): Effect.Effect<void> =>
  Effect.promise(() => Fs.writeFile(onDisk(path), text))

/** The text of a file; empty if it does not exist. */
export const read = (path: string): Effect.Effect<string> =>
  Effect.orElseSucceed(Effect.tryPromise(() => Fs.readFile(onDisk(path), "utf8")), () => "")

/** The names in the lock folder. */
export const lockNames = (site: Gateways.Site): Effect.Effect<ReadonlyArray<string>> =>
  Gateways.namesIn(onDisk(`${site.stateDir}\\locks`))

const stateLockName = "gateway.state.lock"

/** The paths of the two lock files of a running gateway: one for its config, and one for its state directory. */
export const lockPaths = (site: Gateways.Site): Effect.Effect<{ readonly config: string; readonly state: string }> =>
  Effect.map(lockNames(site), (names) => {
    const [config, ...others] = names.filter((name) => name !== stateLockName)
    assert.match(config ?? "", /^gateway\.[0-9a-f]{8}\.lock$/, names.join(" "))
    assert.deepStrictEqual(others, [])
    assert.include(names, stateLockName)
    return { config: `${site.stateDir}\\locks\\${config}`, state: `${site.stateDir}\\locks\\${stateLockName}` }
  })

/** The owner record of a running gateway. Both lock files must contain the same record. */
export const record = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const { config, state } = yield* lockPaths(site)
    const found = yield* Gateways.readRecord(onDisk(config))
    assert.deepStrictEqual(yield* Gateways.readRecord(onDisk(state)), found)
    return found
  })

// ---------------------------------------------------------------------------
// programs
// ---------------------------------------------------------------------------

/** The longest time that a test waits for a line of a program or for its end. The time is long enough for a busy machine. */
const patience = Duration.seconds(60)

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly patience?: Duration.DurationInput
  /** Runs the program in a console, so that the test can press Ctrl+C there. */
  readonly console?: boolean
}

export interface Running extends Processes.Running {
  /** Presses Ctrl+C in the console. */
  readonly interrupt: Effect.Effect<void>
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`

/**
 * Starts a Windows program and ends it when the scope closes. The `pid` in the result is the pid on this machine, which
 * differs from the pid that Windows programs see.
 *
 * The standard streams of the program are files, because Node for Windows does not work with a pipe of this machine.
 */
export const start = (
  words: ReadonlyArray<string>,
  options: StartOptions = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => Fs.mkdtemp(Path.join(prefix.drive, "..", "streams-"))),
      (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
    )
    const { running } = yield* Effect.acquireRelease(
      Effect.sync(() => launch(words, folder, options)),
      ({ child, running }) =>
        Effect.zipRight(
          Effect.sync(() => Processes.isOver(child) || child.kill("SIGKILL")),
          Effect.ignoreLogged(Effect.sandbox(running.ended))
        )
    )
    return running
  })

const launch = (words: ReadonlyArray<string>, folder: string, options: StartOptions) => {
  const paths = { stdout: Path.join(folder, "stdout"), stderr: Path.join(folder, "stderr") }
  const files = { stdout: FsSync.openSync(paths.stdout, "w"), stderr: FsSync.openSync(paths.stderr, "w") }
  const settings = { cwd: onDisk(options.cwd ?? "C:\\"), env: { ...prefix.env, ...options.env } }
  // script(1) gives the program a terminal as its standard input. wine turns a terminal into a Windows console.
  const child = options.console === true
    ? spawn("script", [
      "--quiet",
      "--return",
      "--command",
      `exec ${[prefix.wine, ...words].map(quoted).join(" ")} >${quoted(paths.stdout)} 2>${quoted(paths.stderr)}`,
      "/dev/null"
    ], { ...settings, stdio: ["pipe", "ignore", "ignore"] })
    : spawn(prefix.wine, [...words], { ...settings, stdio: ["ignore", files.stdout, files.stderr] })
  FsSync.closeSync(files.stdout)
  FsSync.closeSync(files.stderr)

  const over = Deferred.unsafeMake<Processes.Ended>(FiberId.none)
  const readers = new Set<() => void>()
  const wake = () => {
    for (const reader of readers) reader()
  }
  const stderr = () => FsSync.readFileSync(paths.stderr, "utf8")
  const watcher = FsSync.watch(paths.stderr, wake)
  const finish = (code: number | null, signal: string | null) => {
    watcher.close()
    const stdout = FsSync.readFileSync(paths.stdout, "utf8")
    Deferred.unsafeDone(over, Effect.succeed({ code, signal, stdout, stderr: stderr() }))
    wake()
  }
  child.on("exit", finish)
  child.on("error", ({ message }) => finish(null, message))

  const patiently = Processes.within({ words, stderr, patience: options.patience ?? patience })
  const line = (pattern: RegExp) =>
    patiently(`wrote no line ${pattern}`, Processes.lineOf({ stderr, readers, over, words }, pattern))

  const running: Running = {
    pid: child.pid ?? 0,
    stderr: Effect.sync(stderr),
    line,
    listening: Effect.asVoid(line(/gateway listening on /)),
    ended: patiently("did not end", Deferred.await(over)),
    signal: (signal) =>
      Effect.sync(() => {
        if (!Processes.isOver(child)) child.kill(signal)
      }),
    interrupt: Effect.sync(() => {
      child.stdin?.write("\u0003")
    })
  }
  return { child, running }
}

/** Runs a Windows program to its end. */
export const run = (words: ReadonlyArray<string>, options: StartOptions = {}): Effect.Effect<Processes.Ended> =>
  Effect.scoped(Effect.flatMap(start(words, options), ({ ended }) => ended))

/** Ends the process with this Windows pid at once, as a crash does. */
export const terminate = (pid: number): Effect.Effect<void> =>
  Effect.map(run([installed.end, String(pid)]), ({ code }) => assert.strictEqual(code, 0, `TerminateProcess of ${pid}`))

// ---------------------------------------------------------------------------
// gateways
// ---------------------------------------------------------------------------

export interface GatewayOptions extends StartOptions {
  /** The subcommand of the program `gateway`. Default: `run`. */
  readonly command?: string
  /** Flags in addition to those for the port and the folders of the site. */
  readonly flags?: ReadonlyArray<string>
  /** Flags in place of those for the port and the folders of the site. */
  readonly args?: ReadonlyArray<string>
  readonly main?: string
}

/** The flags by which a command gets the port and folders of a site. */
export const flagsOf = ({ configPath, port, stateDir }: Gateways.Site): ReadonlyArray<string> => [
  "--port",
  String(port),
  "--state-dir",
  stateDir,
  "--config",
  configPath
]

const wordsOf = (site: Gateways.Site, options: GatewayOptions) => [
  installed.node,
  options.main ?? installed.main,
  options.command ?? "run",
  ...(options.args ?? flagsOf(site)),
  ...(options.flags ?? [])
]

/**
 * Starts a gateway. Its working directory is the root folder of the site, because the program that replaces PowerShell in these
 * tests reads its settings from there.
 */
export const startGateway = (
  site: Gateways.Site,
  options: GatewayOptions = {}
): Effect.Effect<Running, never, Scope.Scope> => start(wordsOf(site, options), { cwd: site.root, ...options })

/** Starts a gateway and waits for the line that says that it listens. */
export const startListening = (
  site: Gateways.Site,
  options: GatewayOptions = {}
): Effect.Effect<Running, never, Scope.Scope> => Effect.tap(startGateway(site, options), ({ listening }) => listening)

/**
 * Runs one command of the program `gateway` for a site, and waits until that command has ended by itself. The default command is
 * `run`.
 */
export const gateway = (site: Gateways.Site, options: GatewayOptions = {}): Effect.Effect<Processes.Ended> =>
  run(wordsOf(site, options), { cwd: site.root, ...options })

/** Ends a running gateway at once, as a crash does, and waits until it has ended. Returns the Windows pid that it had. */
export const crash = (site: Gateways.Site, gateway: Processes.Running) =>
  Effect.gen(function*() {
    const { pid } = yield* record(site)
    yield* terminate(pid)
    yield* gateway.ended
    return pid
  })
