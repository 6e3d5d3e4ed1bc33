/**
 * Runs a gateway under strace(1). strace records the system calls of the gateway, or tampers with one of them: at this call,
 * strace kills the gateway, makes the call fail, lets the call do nothing, or delays the call.
 *
 * A first run without tampering records the calls that matter, in their order. Then each call gets a run of its own, in which
 * strace tampers with that call. strace counts calls per name and thread, and counts only calls that pass its filter. Node's
 * thread pool has a single thread in these runs, so the n-th call of a name is the same in every run.
 */
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "../../e2e/support/gateways.ts"
import * as Program from "../../e2e/support/program.ts"

const findProblem = (): string | undefined => {
  if (!Program.isLinux) return "needs Linux"
  const { error, status, stderr } = spawnSync("strace", ["-D", "-f", "-o", "/dev/null", "true"], { encoding: "utf8" })
  if (error !== undefined) return "needs strace(1)"
  return status === 0 && stderr === "" ? undefined : `strace(1) may not trace here: ${stderr.split("\n", 1)[0]}`
}

/** Why this machine cannot trace a program. `undefined` if it can. */
export const unavailable = findProblem()

/**
 * Which calls are recorded.
 *
 * - `files`: calls on the lock files, on the files that a reclaim creates beside them, and on their folders. strace selects
 *   the calls that name one of these paths, and the calls on descriptors that are open on these paths.
 * - `sockets`: calls on TCP sockets.
 */
export type Filter = "files" | "sockets"

export interface Call {
  readonly thread: string
  readonly name: string
  /** The number of the call among the calls of this name and thread, counted from 1. */
  readonly ordinal: number
  /** The arguments and the result, as strace writes them. */
  readonly text: string
  /** `release` if the gateway had received a SIGTERM before this call, otherwise `start`. */
  readonly phase: "start" | "release"
}

/** A system call of the recorded run. Its filter, name and ordinal identify the same call in the next run. */
export interface Point {
  readonly filter: Filter
  readonly name: string
  readonly ordinal: number
  readonly phase: Call["phase"]
  readonly thread: string
  /** A readable description of the call. A later run has reached the same call if its call has the same label. */
  readonly label: string
  /** The position among all recorded calls of the run, counted from 0. */
  readonly index: number
  /**
   * Roles of files that strace does not watch when it tampers with this call. A call of another thread has the same name and
   * number, and comes first, so strace would tamper with that call too. `ordinal` and `index` count only the calls that are
   * watched.
   */
  readonly unwatched: ReadonlyArray<string>
}

export type Tamper =
  | { readonly _tag: "Kill" }
  /** The call fails. With `always`, all later calls of the same name fail as well. */
  | { readonly _tag: "Fail"; readonly errno: string; readonly always: boolean }
  /** This call and all later calls of the same name do nothing, but report success. */
  | { readonly _tag: "Pretend" }
  | { readonly _tag: "Delay"; readonly millis: number }

export const kill: Tamper = { _tag: "Kill" }

// ---------------------------------------------------------------------------
// names of files, and labels of calls
// ---------------------------------------------------------------------------

/**
 * The name that labels show for each path of the filter `files`. A longer path comes before the shorter path that it contains,
 * because a call gets the name of the first path that matches.
 */
const roles = (site: Gateways.Site): ReadonlyArray<readonly [path: string, role: string]> => [
  [Gateways.configLock(site), "config lock"],
  [Gateways.stateLock(site), "state lock"],
  [Gateways.locksFolder(site), "locks folder"],
  [site.stateDir, "state folder"]
]

/**
 * The part of a file name that is derived from the instance id of a gateway. A start that reclaims the lock of a dead owner uses
 * two names with the dead owner's part. One is the name of the claim, the file that reserves the reclaim. The other is the name to
 * which the start moves the old lock file.
 */
const nameOf = (instanceId: string): string => createHash("sha256").update(instanceId).digest("hex").slice(0, 16)

/**
 * The paths that a start will create beside the lock file of a dead owner when it reclaims the lock. strace needs the whole
 * paths to select the calls on these files.
 */
const besides = (path: string): ReadonlyArray<string> => {
  const owner = existsSync(path) ? /"instanceId":"([^"]+)"/.exec(readFileSync(path, "utf8"))?.[1] : undefined
  return owner === undefined ? [] : [`${path}.${nameOf(owner)}.reclaim`, `${path}.${nameOf(owner)}.stale`]
}

/** The fixed instance id of the traced gateway. No other gateway has this id. */
const tracedInstance = "7ace7ace-7ace-4ace-8ace-7ace7ace7ace"

/**
 * The path of the draft of a lock file. The traced gateway first writes the file under this name, and tests on it whether
 * kernel locks work.
 */
const draftOf = (path: string): string => `${path}.${nameOf(tracedInstance)}.draft`

const filesOf = (site: Gateways.Site, unwatched: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...roles(site).flatMap(([path, role]) => unwatched.includes(role) ? [] : [path]),
  ...[Gateways.configLock(site), Gateways.stateLock(site)].flatMap((path) => [draftOf(path), ...besides(path)])
]

const isOfSocket = ({ text }: Call): boolean => text.includes("<TCP:[") || text.startsWith("AF_INET")

const roleOf = (site: Gateways.Site, { text }: Call) => roles(site).find(([path]) => text.includes(path))

const labelOf = (site: Gateways.Site, call: Call): string => {
  const { name, text } = call
  const file = roleOf(site, call)
  const beside = /\.(reclaim|stale)[">]/.exec(text)?.[1]
  const suffix = beside === "stale" ? " moved aside" : beside === "reclaim" ? "'s claim" : ""
  const role = file === undefined ? isOfSocket(call) ? "port" : "something else" : `${file[1]}${suffix}`
  return `${name}${text.includes("O_CREAT") ? "(O_CREAT)" : ""} ${role}`
}

// ---------------------------------------------------------------------------
// the log of strace
// ---------------------------------------------------------------------------

const line = /^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*)|--- (SIGTERM) .*)$/

/** Parses a log of strace. Returns the calls in the order in which they began. */
export const parse = (log: string): ReadonlyArray<Call> => {
  const calls: Array<Call> = []
  const counts = new Map<string, number>()
  const pending = new Map<string, number>()
  let phase: Call["phase"] = "start"
  // The last line is left out, because strace may not have finished writing it.
  for (const row of log.split("\n").slice(0, -1)) {
    const [, thread = "", resumed, rest = "", name, text = "", sigterm] = line.exec(row) ?? []
    if (sigterm !== undefined) phase = "release"
    else if (resumed !== undefined) {
      const index = pending.get(thread) ?? -1
      const begun = calls[index]
      if (begun !== undefined) calls[index] = { ...begun, text: `${begun.text}${rest}` }
    } else if (name !== undefined) {
      const key = `${thread} ${name}`
      const ordinal = (counts.get(key) ?? 0) + 1
      counts.set(key, ordinal)
      pending.set(thread, calls.length)
      calls.push({ thread, name, ordinal, text: text.replace(/ *<unfinished \.\.\.>$/, ""), phase })
    }
  }
  return calls
}

/** Reads the calls of a log. Returns no calls if the log does not exist yet. */
export const readLog = (path: string): Effect.Effect<ReadonlyArray<Call>> =>
  Effect.map(
    Effect.orElseSucceed(Effect.tryPromise(() => Fs.readFile(path, "utf8")), () => ""),
    parse
  )

/**
 * The calls of a recorded run that a later run can tamper with. With `isByThread`, the later run leaves out the calls of other threads:
 * see `Point.unwatched`.
 */
export const pointsOf = (
  site: Gateways.Site,
  filter: Filter,
  calls: ReadonlyArray<Call>,
  isByThread = filter === "files"
): ReadonlyArray<Point> => {
  const earlier = new Map<string, Array<Call>>()
  return calls.flatMap((call, index) => {
    if (filter === "sockets" && !isOfSocket(call)) return []
    const { label, name, ordinal, phase, thread } = { ...call, label: labelOf(site, call) }
    const twins = earlier.get(`${name} ${ordinal}`) ?? []
    earlier.set(`${name} ${ordinal}`, [...twins, call])
    const unwatched = twins.flatMap((other) => {
      const role = roleOf(site, other)?.[1]
      const isApart = isByThread && other.thread !== thread
      return isApart && role !== undefined && role !== roleOf(site, call)?.[1] ? [role] : []
    })
    const skipped = unwatched.length === 0
      ? []
      : calls.slice(0, index).filter((other) => unwatched.includes(roleOf(site, other)?.[1] ?? ""))
    const skippedTwins = skipped.filter((other) => other.thread === thread && other.name === name)
    return [{
      filter,
      name,
      ordinal: ordinal - skippedTwins.length,
      phase,
      thread,
      label,
      index: index - skipped.length,
      unwatched
    }]
  })
}

const mark: Record<Tamper["_tag"], RegExp> = {
  Kill: /= \?$/,
  Fail: /\(INJECTED\)/,
  Pretend: /\(INJECTED\)/,
  Delay: /\(DELAYED\)/
}

const isEveryLater = (tamper: Tamper): boolean => tamper._tag === "Pretend" || (tamper._tag === "Fail" && tamper.always)

/** The call that strace tampered with. `undefined` if the run did not reach it. */
export const findHit = (
  site: Gateways.Site,
  point: Point,
  tamper: Tamper,
  calls: ReadonlyArray<Call>
): Call | undefined =>
  calls.find((call) =>
    call.name === point.name && call.ordinal === point.ordinal && mark[tamper._tag].test(call.text)
    && (isEveryLater(tamper) || labelOf(site, call) === point.label)
  )

// ---------------------------------------------------------------------------
// running a gateway under strace
// ---------------------------------------------------------------------------

/** The path of the log of strace for a site. One path is enough, because only one gateway at a time is traced in a site. */
export const logPath = (site: Gateways.Site): string => Path.join(site.root, "strace.log")

const injected = (tamper: Tamper): string => {
  switch (tamper._tag) {
    case "Kill":
      return "signal=SIGKILL"
    case "Fail":
      return `error=${tamper.errno}`
    case "Pretend":
      return "retval=0"
    case "Delay":
      return `delay_enter=${tamper.millis * 1000}`
  }
}

const watched = { files: "all", sockets: "%network,close" } as const satisfies Record<Filter, string>

/** Which calls strace records, and how it tampers with one of them, if at all. */
export type Tracing = readonly [
  filter: Filter,
  tampering?: {
    readonly point: Pick<Point, "name" | "ordinal"> & Partial<Pick<Point, "unwatched">>
    readonly tamper: Tamper
  }
]

/** If all later calls are tampered with, those of other threads are meant too. */
const unwatchedBy = (tampering: Tracing[1]): ReadonlyArray<string> =>
  tampering === undefined || isEveryLater(tampering.tamper) ? [] : tampering.point.unwatched ?? []

/**
 * The environment of a traced program: one thread for file calls, and an instance id that the test knows. With `POOLED_FILES`, all
 * file calls are made in that thread.
 */
export const environment = {
  POOLED_FILES: "1",
  UV_THREADPOOL_SIZE: "1",
  NODE_OPTIONS: `--require=${fileURLToPath(new URL("pinnedInstance.cjs", import.meta.url))}`,
  PINNED_INSTANCE: tracedInstance
}

/**
 * Options that start a gateway of the site under strace. strace runs as a detached grandchild (`-D`), so the pid of the
 * started process is that of the gateway itself.
 */
export const options = (
  site: Gateways.Site,
  ...[filter, tampering]: Tracing
): Pick<Gateways.StartOptions, "under" | "flags"> & { readonly env: typeof environment } => ({
  under: [
    "strace",
    "-D",
    "-f",
    "-q",
    "-yy",
    "-o",
    logPath(site),
    ...(filter === "files" ? filesOf(site, unwatchedBy(tampering)).flatMap((path) => ["-P", path]) : []),
    ...(tampering === undefined
      ? ["-e", `trace=${watched[filter]}`]
      // For a delay, strace records all calls of the filter, because the test reads from the log how far the gateway is. For a
      // kill, `--seccomp-bpf` is left out, because this option does not work together with injected signals.
      : tampering.tamper._tag === "Delay"
      ? ["-e", `trace=${watched[filter]}`]
      : ["-e", `trace=${tampering.point.name}`, ...(tampering.tamper._tag === "Kill" ? [] : ["--seccomp-bpf"])]),
    ...(tampering === undefined ? [] : [
      "-e",
      `inject=${tampering.point.name}:${injected(tampering.tamper)}:when=${tampering.point.ordinal}${
        isEveryLater(tampering.tamper) ? "+" : ""
      }`
    ]),
    "--"
  ],
  env: environment,
  // A gateway on 127.0.0.1 binds only this address. A gateway on another address also binds 127.0.0.1, as a guard against
  // gateways on other addresses. So with 127.0.0.2, the run contains the calls for both addresses.
  flags: filter === "sockets" ? ["--host", "127.0.0.2"] : []
})
