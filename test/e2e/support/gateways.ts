/**
 * Starts and stops gateways as processes of their own, makes a site (the folders and the port) for each gateway, and reads the
 * lock files of a gateway.
 */
import { assert } from "@effect/vitest"
import { Duration, Effect, Schema, type Scope } from "effect"
import { createHash } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as ProgramOfTest from "../../fixtures/processes.ts"
import * as Ports from "./ports.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

/** The folders and the port of one gateway. No other test uses these folders or this port. */
export interface Site {
  readonly root: string
  readonly stateDir: string
  readonly configPath: string
  readonly port: number
}

/** A folder that is removed when the scope closes. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(async () => Fs.realpath(await Fs.mkdtemp(Path.join(Os.tmpdir(), "gateway-lock-e2e-")))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true, maxRetries: 3 }))
)

export const newSite: Effect.Effect<Site, never, Scope.Scope> = Effect.gen(function*() {
  const root = yield* temporaryFolder
  const port = yield* Ports.reserve
  const site = { root, stateDir: Path.join(root, "state"), configPath: Path.join(root, "gateway.json"), port }
  // Gateways of a site start with `--config`, which names the config file. A start is refused if that file does not exist.
  yield* writeConfig(site, {})
  return site
})

/** Reserves another port, and returns the same site with that port. */
export const onAnotherPort = (site: Site): Effect.Effect<Site, never, Scope.Scope> =>
  Effect.map(Ports.reserve, (port) => ({ ...site, port }))

export const writeConfig = (site: Site, config: unknown): Effect.Effect<void> =>
  Effect.promise(() => Fs.writeFile(site.configPath, JSON.stringify(config)))

/** Writes a config file of the given name that has no settings, and returns the same site with this config file. */
export const withConfig = (site: Site, name: string): Effect.Effect<Site> => {
  const other = { ...site, configPath: Path.join(site.root, name) }
  return Effect.as(writeConfig(other, {}), other)
}

export const symlink = (target: string, path: string): Effect.Effect<void> =>
  Effect.promise(() => Fs.symlink(target, path))

/** Makes another user the owner of these files and folders, so that a program of that user can work with them. */
export const giveTo = (user: number, ...paths: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (const path of paths) await Fs.chown(path, user, user)
  })

export const url = (site: Site, host = "127.0.0.1"): string => `ws://${host}:${site.port}`

export const locksFolder = (site: Site): string => Path.join(site.stateDir, "locks")

export const configLock = (site: Site): string =>
  Path.join(
    locksFolder(site),
    `gateway.${createHash("sha256").update(site.configPath).digest("hex").slice(0, 8)}.lock`
  )

export const stateLock = (site: Site): string => Path.join(locksFolder(site), "gateway.state.lock")

/** Error messages advise commands. In such a command, these flags select the gateway of a site. */
export const selectors = (site: Site, host = "127.0.0.1"): string =>
  [
    `--config ${site.configPath}`,
    `--state-dir ${site.stateDir}`,
    `--port ${site.port}`,
    ...(host === "127.0.0.1" ? [] : [`--host ${host}`])
  ].join(" ")

// ---------------------------------------------------------------------------
// starting
// ---------------------------------------------------------------------------

export interface StartOptions {
  /** Flags that follow the flags of the site (`--port`, `--state-dir` and `--config`). */
  readonly flags?: ReadonlyArray<string>
  /** Arguments that replace the flags of the site (`--port`, `--state-dir` and `--config`). */
  readonly args?: ReadonlyArray<string>
  readonly env?: Record<string, string>
  /** The path of the program. Default: the program under test. */
  readonly main?: string
  /** A command prefix: a program with arguments that runs the gateway as its child, or becomes the gateway by exec. */
  readonly under?: ReadonlyArray<string>
  readonly niceness?: number
  /** How long the gateway may take to listen, or to end. */
  readonly patience?: Duration.DurationInput
}

/** The command that starts a gateway, as a list of words. */
export const command = (site: Site, options: StartOptions = {}): ReadonlyArray<string> => [
  ...(options.under ?? []),
  process.execPath,
  options.main ?? Program.main,
  ...(options.args
    ?? ["--port", String(site.port), "--state-dir", site.stateDir, "--config", site.configPath]),
  ...(options.flags ?? [])
]

/** Starts a gateway, which is killed when the scope closes. */
export const start = (
  site: Site,
  options: StartOptions = {}
): Effect.Effect<Processes.Running, never, Scope.Scope> =>
  Processes.start(command(site, options), {
    cwd: site.root,
    env: { PATH: Program.searchPath, HOME: site.root, ...options.env },
    niceness: options.niceness,
    ...(options.patience === undefined ? {} : { patience: options.patience })
  })

/** Starts a gateway and waits for the log line that says that the gateway listens. */
export const startListening = (
  site: Site,
  options: StartOptions = {}
): Effect.Effect<Processes.Running, never, Scope.Scope> =>
  Effect.tap(start(site, options), ({ listening }) => listening)

/** Makes a new site, starts a gateway there, and waits until the gateway listens. */
export const newGateway = (
  options: StartOptions = {}
): Effect.Effect<readonly [site: Site, gateway: Processes.Running], never, Scope.Scope> =>
  Effect.flatMap(newSite, (site) => Effect.map(startListening(site, options), (gateway) => [site, gateway] as const))

/** Runs the program until it ends. */
export const run = (site: Site, options: StartOptions = {}): Effect.Effect<Processes.Ended> =>
  Effect.scoped(Effect.flatMap(start(site, options), ({ ended }) => ended))

/** Sends a signal to a gateway and waits until the gateway ends. */
export const stop = (gateway: Processes.Running, signal: NodeJS.Signals = "SIGTERM"): Effect.Effect<Processes.Ended> =>
  Effect.zipRight(gateway.signal(signal), gateway.ended)

// ---------------------------------------------------------------------------
// the lock files
// ---------------------------------------------------------------------------

/** The documented form of the record in a lock file, which describes the owner of the lock. */
export const LockRecord = Schema.Struct({
  version: Schema.Literal(1),
  instanceId: Schema.UUID,
  pid: Schema.Int,
  createdAt: Schema.String,
  configPath: Schema.String,
  configName: Schema.optional(Schema.String),
  stateDir: Schema.String,
  host: Schema.String,
  port: Schema.Int,
  phase: Schema.Literal("starting", "listening", "draining"),
  startTime: Schema.optional(Schema.Number),
  bootId: Schema.optional(Schema.String),
  pidNamespace: Schema.optional(Schema.String),
  supervisor: Schema.String,
  supervisorReason: Schema.optional(Schema.String),
  lock: Schema.optional(Schema.Literal("kernel", "record")),
  mode: Schema.optional(Schema.Literal("run", "exec")),
  child: Schema.optional(Schema.Struct({ pid: Schema.Int, startTime: Schema.optional(Schema.Number) })),
  ready: Schema.optional(Schema.String),
  inheritsLock: Schema.optional(Schema.Boolean)
})

const decodeRecord = Schema.decodeUnknown(Schema.parseJson(LockRecord), { onExcessProperty: "error" })

/** Reads the record of a lock file. A key that is not documented fails the test. */
export const readRecord = (path: string): Effect.Effect<typeof LockRecord.Type> =>
  Effect.orDie(Effect.flatMap(Effect.promise(() => Fs.readFile(path, "utf8")), decodeRecord))

/**
 * Returns the inode number, the modification time and the content of a file. They show whether the file was replaced, touched
 * or rewritten.
 */
export const identityOf = (path: string) =>
  Effect.promise(async () => {
    const { ino, mtimeNs } = await Fs.stat(path, { bigint: true })
    return { path, ino, mtimeNs, content: await Fs.readFile(path, "utf8") }
  })

/** The identities of both lock files of a site. A test compares them to check that no process has changed the files. */
export const lockIdentities = (site: Site) => Effect.all([identityOf(configLock(site)), identityOf(stateLock(site))])

/** Sets the modification times of both lock files back by one hour. */
export const age = (site: Site): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (const path of [configLock(site), stateLock(site)]) {
      const then = (await Fs.stat(path)).mtimeMs / 1000 - 3600
      await Fs.utimes(path, then, then)
    }
  })

/** The mode bits in octal. */
export const modeOf = (path: string): Effect.Effect<string> =>
  Effect.promise(async () => ((await Fs.stat(path)).mode & 0o777).toString(8))

/** The names in a folder, sorted; empty if the folder does not exist. */
export const namesIn = (folder: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.tryPromise(() => Fs.readdir(folder)).pipe(
    // The status page's file with the runs of a gateway outlives them. `runs.test.ts` looks at it.
    Effect.map((names) => names.filter((name) => !name.endsWith(".runs")).toSorted()),
    Effect.orElseSucceed(() => [])
  )

/** The names of both lock files of a running gateway. */
export const lockNames = (site: Site): ReadonlyArray<string> =>
  [Path.basename(configLock(site)), Path.basename(stateLock(site))].toSorted()

// ---------------------------------------------------------------------------
// checks after the end of a program
// ---------------------------------------------------------------------------

/** The number of lines of a text that match the pattern. */
export const count = (text: string, pattern: RegExp): number =>
  text.split("\n").filter((line) => pattern.test(line)).length

/**
 * The lines of stderr that are not empty. The warning `no kernel lock for` is left out if it comes from a program that has no
 * kernel locks.
 */
export const linesOf = ({ stderr }: Processes.Ended): ReadonlyArray<string> =>
  stderr.split("\n").filter((line) =>
    line !== "" && (Program.kernelLocks || !/level=WARN .*no kernel lock for /.test(line))
  )

/** Checks that a start was refused: stderr begins with exactly this message, stdout is empty, and the exit status is 1. */
export const assertRefused = (ended: Processes.Ended, message: string): void => {
  assert.strictEqual(linesOf(ended)[0], `GatewayLockError: ${message}`, ended.stderr)
  assert.strictEqual(ended.code, 1, ended.stderr)
  assert.strictEqual(ended.stdout, "")
}

/**
 * With this config a start treats an owner's record (the JSON text in the lock file) as stale after one second without an update.
 * One second is the shortest time that the setting accepts.
 */
export const impatient = { lock: { staleAfter: "1 seconds" } }

/** Arguments and variables of an owner that no output may show. */
export const secrets = { flags: ["--lock-timeout", "1234 millis"], env: { TOKEN: "hush-hush" } } satisfies StartOptions

/**
 * Checks that a text shows nothing of an owner with these `secrets`. Each part of the pattern has a letter that no hexadecimal digit
 * is: an id, a hash, a port or a time may happen to have the digits `1234`.
 */
export const assertKeepsSecrets = (text: string): void => assert.notMatch(text, /hush|1234 ?millis|lock-timeout|TOKEN/)

/** Flags of a start that waits for the lock for 400 ms only. */
export const hurried: ReadonlyArray<string> = ["--lock-timeout", "400 millis"]

/**
 * Checks that a start with the flags `hurried` waited for the lock and was then refused. A start waits if the lock's owner
 * (`pid`) lives, or may live, and does not answer.
 */
export const assertWaitedInVain = ({ code, stderr, stdout }: Processes.Ended, pid: number): void => {
  assert.strictEqual(count(stderr, /waiting up to 400ms for gateway lock /), 1, stderr)
  assert.include(stderr, `GatewayLockError: gateway already running (pid ${pid}); lock timeout after 400ms\n`)
  assert.strictEqual(code, 1, stderr)
  assert.strictEqual(stdout, "")
}

/**
 * Checks that a start took over the lock of an owner that was gone. The start must have logged exactly one line about it, and its
 * output must match `by`, the reason why the owner counted as gone.
 */
export const assertReclaimedOnce = ({ stderr }: Processes.Ended, by: RegExp): void => {
  assert.strictEqual(count(stderr, /reclaimed gateway lock/), 1, stderr)
  assert.match(stderr, by)
}

/** Returns the facts that an error prints below its message, as a map from label to value. */
export const facts = ({ stderr }: Processes.Ended): Readonly<Record<string, string>> =>
  Object.fromEntries(
    stderr.split("\n").flatMap((line) => {
      const match = /^ {2}([a-z][a-z ]*):\s+(.*)$/.exec(line)
      return match?.[1] === undefined || match[2] === undefined ? [] : [[match[1], match[2]] as const]
    })
  )

/** Checks that the program ended by itself with status 0. */
export const assertClean = ({ code, signal, stderr }: Processes.Ended): Effect.Effect<void> =>
  Effect.sync(() => assert.deepStrictEqual({ code, signal }, { code: 0, signal: null }, stderr))

/** Checks that a gateway has stopped in order: no lock files, a free port, status 0. */
export const assertGone = (site: Site, ended: Processes.Ended): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* assertClean(ended)
    assert.deepStrictEqual(yield* namesIn(locksFolder(site)), [])
    assert.isTrue(yield* Ports.isFree(site.port), `port ${site.port} is still taken`)
  })

/**
 * Runs an effect and returns its value. Fails the test if the effect takes longer than the limit.
 *
 * If the documentation promises no duration, a test passes a generous limit, because the machine may be busy. Such a limit cannot
 * prove that a gateway started without a wait for the lock. For that, a test checks stderr: a gateway that waits logs a line about
 * it.
 */
export const within = <A, E, R>(limit: Duration.DurationInput, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timed(self).pipe(
    Effect.map(([elapsed, value]) => {
      assert.isTrue(
        Duration.lessThanOrEqualTo(elapsed, limit),
        `took ${Duration.format(elapsed)}, allowed ${Duration.format(limit)}`
      )
      return value
    })
  )

/** Replaces a lock file by a file that another process has locked. Returns that process. */
export const takeLock = (path: string): Effect.Effect<ProgramOfTest.Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const other = `${path}.other`
    yield* Effect.promise(() => Fs.writeFile(other, "a stranger's\n"))
    const locker = yield* ProgramOfTest.run(process.execPath, [
      fileURLToPath(new URL("../../fixtures/locker.cjs", import.meta.url)),
      other
    ])
    assert.strictEqual(yield* locker.line, "locked")
    yield* Effect.promise(() => Fs.rename(other, path))
    return locker
  }).pipe(Effect.orDie)
