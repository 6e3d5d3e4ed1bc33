/**
 * Runs the commands that only read the state of a gateway (`status`, `health`, `list`), as text and as JSON, and checks that they
 * change nothing.
 */
import { assert } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { GatewayList } from "../../../src/inspect/GatewayList.ts"
import { GatewayStatus, type Verdict } from "../../../src/inspect/GatewayStatus.ts"
import * as Gateways from "./gateways.ts"

const decodeStatus = Schema.decodeUnknownSync(Schema.parseJson(GatewayStatus), { onExcessProperty: "error" })
const decodeList = Schema.decodeUnknownSync(Schema.parseJson(GatewayList), { onExcessProperty: "error" })

const isRuns = (name: string) => name.endsWith(".runs")

/** Lists everything below a folder, each entry with its inode number, mode, size and times. These values show any change. */
const below = async (folder: string): Promise<ReadonlyArray<object>> => {
  const names = (await Fs.readdir(folder, { withFileTypes: true })).filter(({ name }) => !isRuns(name))
  const found = await Promise.all(names.map(async (entry) => {
    const path = Path.join(folder, entry.name)
    const { ctimeNs, ino, mode, mtimeNs, size } = await Fs.lstat(path, { bigint: true })
    const self = { path, ino, mode, mtimeNs, ctimeNs, size }
    return entry.isDirectory() ? [self, ...await below(path)] : [self]
  }))
  return found.flat()
}

/** The logs of runs below a folder. An owner makes its log a second after it listens. */
const runsBelow = async (folder: string): Promise<ReadonlyArray<string>> =>
  (await Fs.readdir(folder, { recursive: true })).filter(isRuns).toSorted()

/** Runs an effect, and checks that it has changed no file or folder in the folder of this gateway. */
export const unchanged = <A, E, R>(site: Gateways.Site, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const look = Effect.promise(async () => ({ runs: await runsBelow(site.root), files: await below(site.root) }))
    const before = yield* look
    const seen = yield* self
    const after = yield* look
    // A log that was made meanwhile has changed the times of its folder. The commands are then looked at a second time.
    if (after.runs.length !== before.runs.length) return yield* unchanged(site, self)
    assert.deepStrictEqual(after, before)
    return seen
  })

/**
 * With this config an owner of a lock checks its lock files only once an hour. Each check touches the files, and a test that
 * compares the files before and after a command would see that as a change.
 */
export const undisturbed = { lock: { recheckInterval: "1 hour" } }

const codes: Readonly<Record<Verdict, number>> = {
  running: 0,
  standby: 4,
  dead: 1,
  "not-running": 3,
  starting: 4,
  draining: 4,
  unhealthy: 4,
  "foreign-listener": 4,
  unknown: 4
}

/** The answers in both output forms. */
export interface Seen {
  readonly status: GatewayStatus
  readonly text: string
  /** The rows of the text that `status` prints, as a map from label to value. */
  readonly rows: Readonly<Record<string, string>>
  /** The text that `health` wrote to stderr. */
  readonly health: string
}

export interface LookOptions extends Gateways.StartOptions {
  /** Whether the owner itself changes its files meanwhile: with a lease, it writes what it sees of the store. Default `false`. */
  readonly writes?: boolean
}

/** Runs `status`, `status --json` and `health`. Each command must give this verdict in time, and change nothing. */
export const expectStatus = (
  site: Gateways.Site,
  verdict: Verdict,
  { writes = false, ...options }: LookOptions = {}
): Effect.Effect<Seen> =>
  Effect.gen(function*() {
    const ask = (...words: ReadonlyArray<string>) =>
      Gateways.run(site, { ...options, flags: [...(options.flags ?? []), ...words] })
    // Each command sends at most two probes, which time out after a second. The rest of the limit is for a busy machine.
    const asked = Gateways.within(
      "20 seconds",
      Effect.all([ask("status"), ask("status", "--json"), ask("health")], { concurrency: "unbounded" })
    )
    const [text, json, health] = yield* (writes ? asked : unchanged(site, asked))
    for (const { code, stderr } of [text, json]) {
      assert.strictEqual(code, codes[verdict], `${text.stdout}\n${stderr}`)
      assert.strictEqual(stderr, "")
    }
    const status = decodeStatus(json.stdout)
    assert.strictEqual(status.verdict, verdict, json.stdout)
    const [first = "", ...lines] = text.stdout.trimEnd().split("\n")
    assert.isTrue(first.endsWith(`: ${verdict.replace("-", " ")}`), first)
    const rows = lines.map((line) => {
      const match = /^ {2}([a-z][a-z ]*): +(.*)$/.exec(line)
      assert.isNotNull(match, line)
      return [match?.[1] ?? "", match?.[2] ?? ""] as const
    })
    // The values of all rows begin in the same column.
    assert.strictEqual(new Set(lines.map((line) => /^ {2}[a-z ]+: +/.exec(line)?.[0].length)).size, 1, text.stdout)
    assert.strictEqual(health.stdout, "")
    if (verdict === "running" || verdict === "standby") assert.deepStrictEqual([health.code, health.stderr], [0, ""])
    else {
      assert.strictEqual(health.code, 1)
      assert.match(health.stderr, /^gateway: [^\n]+\n$/)
    }
    return { status, text: text.stdout, rows: Object.fromEntries(rows), health: health.stderr }
  })

/** Runs `list` in both output forms. */
export const list = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const ask = (...words: ReadonlyArray<string>) => Gateways.run(site, { ...options, args: ["list", ...words] })
    const [text, json] = yield* Effect.all([ask(), ask("--json")], { concurrency: "unbounded" })
    for (const { code, stderr } of [text, json]) assert.deepStrictEqual([code, stderr], [0, ""])
    return { list: decodeList(json.stdout), lines: text.stdout.trimEnd().split("\n") }
  })
