/**
 * Runs the owner that is written in Python from `docs/protocol.md` alone (`test/fixtures/python`).
 */
import { assert } from "@effect/vitest"
import { Effect, Schema, type Scope } from "effect"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Fixtures from "../../fixtures/processes.ts"
import * as Gateways from "./gateways.ts"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

const hasPython = Fixtures.works("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"])

/** Why this machine cannot run the owner in Python; `undefined` if it can. */
export const unavailable = Program.isLinux && hasPython ? undefined : "needs Linux and python3 (3.10)"

/** The same for a test that also needs kernel locks in the program under test. */
export const noKernelLocks = unavailable
  ?? (Program.kernelLocks ? undefined : "the program under test has no kernel locks")

/** The folder of the modules in Python. */
export const folder = fileURLToPath(new URL("../../fixtures/python", import.meta.url))

const owner = Path.join(folder, "gateway_owner.py")

/** The status with which the owner in Python ends if another process has the lock or the port. */
export const refused = 75

/** Flags of an owner that waits for the lock for 400 ms only. */
export const hurried: ReadonlyArray<string> = ["--lock-timeout", "0.4"]

export interface Options {
  readonly flags?: ReadonlyArray<string>
  readonly env?: Record<string, string>
  readonly patience?: Gateways.StartOptions["patience"]
}

/** Runs a program in Python at a site. */
export const script = (site: Gateways.Site, words: ReadonlyArray<string>, { env, patience }: Options = {}) =>
  Processes.start(["python3", ...words], {
    cwd: site.root,
    env: { PATH: Program.searchPath, HOME: site.root, ...env },
    ...(patience === undefined ? {} : { patience })
  })

const start = (
  site: Gateways.Site,
  command: "hold" | "read",
  options: Options
): Effect.Effect<Processes.Running, never, Scope.Scope> =>
  script(site, [
    owner,
    command,
    "--config",
    site.configPath,
    "--state-dir",
    site.stateDir,
    "--port",
    String(site.port),
    // Each check writes the files. Tests that compare the files before and after a command would see that as a change.
    "--recheck",
    "3600",
    ...(options.flags ?? [])
  ], options)

/** Starts an owner. */
export const hold = (site: Gateways.Site, options: Options = {}) => start(site, "hold", options)

/** Starts an owner and waits until it holds the lock and serves. */
export const holdListening = (site: Gateways.Site, options: Options = {}) =>
  Effect.tap(hold(site, options), ({ listening }) => listening)

/** Makes a new site with an owner in Python. */
export const newOwner = (options: Options = {}) =>
  Effect.flatMap(
    Gateways.newSite,
    (site) => Effect.map(holdListening(site, options), (owner) => [site, owner] as const)
  )

/** Starts an owner that is to be refused, and checks that it says who holds the lock. */
export const assertRefused = (site: Gateways.Site, by: RegExp, flags: ReadonlyArray<string> = hurried) =>
  Effect.scoped(Effect.gen(function*() {
    const { ended } = yield* hold(site, { flags })
    const { code, stderr, stdout } = yield* ended
    assert.deepStrictEqual({ code, stdout }, { code: refused, stdout: "" }, stderr)
    assert.match(stderr, /^refused: /m)
    assert.match(stderr, by)
  }))

const Seen = Schema.parseJson(Schema.Struct({
  path: Schema.String,
  lock: Schema.Literal("held", "free", "absent", "unknown"),
  owner: Schema.NullOr(Schema.Struct({
    pid: Schema.Int,
    phase: Schema.String,
    port: Schema.Int,
    mode: Schema.optional(Schema.String),
    ready: Schema.optional(Schema.String),
    child: Schema.optional(Schema.Struct({ pid: Schema.Int }))
  })),
  liveness: Schema.Literal("lives", "ended", "unknown"),
  answers: Schema.Boolean
}))

/** What the reader in Python finds out about a site. */
export const read = (site: Gateways.Site): Effect.Effect<typeof Seen.Type> =>
  Effect.scoped(Effect.gen(function*() {
    const { ended } = yield* start(site, "read", {})
    const { code, stderr, stdout } = yield* ended
    assert.strictEqual(code, 0, stderr)
    return yield* Effect.orDie(Schema.decode(Seen)(stdout))
  }))

const Paths = Schema.parseJson(
  Schema.Struct({ configLock: Schema.String, stateLock: Schema.String, configPath: Schema.String })
)

/** The paths of the lock files, as the program in Python computes them from these flags. */
export const paths = (site: Gateways.Site, flags: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const { ended } = yield* script(site, [owner, "paths", ...flags], { env })
    const { code, stderr, stdout } = yield* ended
    assert.strictEqual(code, 0, stderr)
    return yield* Effect.orDie(Schema.decode(Paths)(stdout))
  }))
