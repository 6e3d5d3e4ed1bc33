/**
 * What does a gateway ask of the kernel, and what if one of those calls kills it, fails or takes long?
 *
 * By strace(1): first a run that is only watched, which yields the calls that matter, in their order; then one run per
 * call, in which strace tampers with it. Calls are counted by strace per name and thread, and only where they pass the
 * filter; with a single thread in Node's pool the n-th call of a name is the same one in every run.
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

/** Why nothing can be traced; `undefined` where it can. */
export const unavailable = findProblem()

/**
 * Which calls are looked at.
 *
 * - `files`: those on the lock files, what a reclaim makes of their names, and their folders; by name or descriptor.
 * - `sockets`: those on TCP sockets.
 */
export type Filter = "files" | "sockets"

export interface Call {
  readonly thread: string
  readonly name: string
  /** Counted from 1, among those of this name and thread. */
  readonly ordinal: number
  /** As strace writes it: arguments and result. */
  readonly text: string
  /** Whether a SIGTERM had come by then. */
  readonly phase: "start" | "release"
}

/** One call of a run that can be had again in the next one. */
export interface Point {
  readonly filter: Filter
  readonly name: string
  readonly ordinal: number
  readonly phase: Call["phase"]
  /** For people, and to see that it is the same one in another run. */
  readonly label: string
  /** Its place in the run, counted from 0. */
  readonly index: number
}

export type Tamper =
  | { readonly _tag: "Kill" }
  /** `always`: this call and all that follow it. */
  | { readonly _tag: "Fail"; readonly errno: string; readonly always: boolean }
  /** This call and all that follow it do nothing, and say that they did. */
  | { readonly _tag: "Pretend" }
  | { readonly _tag: "Delay"; readonly millis: number }

export const kill: Tamper = { _tag: "Kill" }

// ---------------------------------------------------------------------------
// names
// ---------------------------------------------------------------------------

/** What is called how, under `files`. Longer names first: they contain the shorter ones. */
const roles = (site: Gateways.Site): ReadonlyArray<readonly [path: string, role: string]> => [
  [Gateways.configLock(site), "config lock"],
  [Gateways.stateLock(site), "state lock"],
  [Gateways.locksFolder(site), "locks folder"],
  [site.stateDir, "state folder"]
]

/** The part of a name that a claim on an owner's file, and the file under it, have from that owner. */
const nameOf = (instanceId: string): string => createHash("sha256").update(instanceId).digest("hex").slice(0, 16)

/** What a reclaimer will make beside a lock file of a dead owner: strace selects files by their whole names. */
const besides = (path: string): ReadonlyArray<string> => {
  const owner = existsSync(path) ? /"instanceId":"([^"]+)"/.exec(readFileSync(path, "utf8"))?.[1] : undefined
  return owner === undefined ? [] : [`${path}.${nameOf(owner)}.reclaim`, `${path}.${nameOf(owner)}.stale`]
}

/** The one that is traced; no other has it. */
const tracedInstance = "7ace7ace-7ace-4ace-8ace-7ace7ace7ace"

/** Where the traced gateway makes a lock file before it has its name, or finds out whether one could be locked. */
const draftOf = (path: string): string => `${path}.${nameOf(tracedInstance)}.draft`

const filesOf = (site: Gateways.Site): ReadonlyArray<string> => [
  ...roles(site).map(([path]) => path),
  ...[Gateways.configLock(site), Gateways.stateLock(site)].flatMap((path) => [draftOf(path), ...besides(path)])
]

const isOfSocket = ({ text }: Call): boolean => text.includes("<TCP:[") || text.startsWith("AF_INET")

const labelOf = (site: Gateways.Site, call: Call): string => {
  const { name, text } = call
  const file = roles(site).find(([path]) => text.includes(path))
  const beside = /\.(reclaim|stale)[">]/.exec(text)?.[1]
  const suffix = beside === "stale" ? " moved aside" : beside === "reclaim" ? "'s claim" : ""
  const role = file === undefined ? isOfSocket(call) ? "port" : "something else" : `${file[1]}${suffix}`
  return `${name}${text.includes("O_CREAT") ? "(O_CREAT)" : ""} ${role}`
}

// ---------------------------------------------------------------------------
// the log
// ---------------------------------------------------------------------------

const line = /^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*)|--- (SIGTERM) .*)$/

/** The calls in a log, in the order in which they began. */
export const parse = (log: string): ReadonlyArray<Call> => {
  const calls: Array<Call> = []
  const counts = new Map<string, number>()
  const pending = new Map<string, number>()
  let phase: Call["phase"] = "start"
  // The last line may be half written.
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

/** A log that does not exist yet has no calls. */
export const readLog = (path: string): Effect.Effect<ReadonlyArray<Call>> =>
  Effect.map(
    Effect.orElseSucceed(Effect.tryPromise(() => Fs.readFile(path, "utf8")), () => ""),
    parse
  )

/** The calls of a watched run that can be tampered with. */
export const pointsOf = (
  site: Gateways.Site,
  filter: Filter,
  calls: ReadonlyArray<Call>
): ReadonlyArray<Point> =>
  calls.flatMap((call, index) =>
    filter === "sockets" && !isOfSocket(call) ? [] : [{
      filter,
      name: call.name,
      ordinal: call.ordinal,
      phase: call.phase,
      label: labelOf(site, call),
      index
    }]
  )

const mark: Record<Tamper["_tag"], RegExp> = {
  Kill: /= \?$/,
  Fail: /\(INJECTED\)/,
  Pretend: /\(INJECTED\)/,
  Delay: /\(DELAYED\)/
}

const isEveryLater = (tamper: Tamper): boolean => tamper._tag === "Pretend" || (tamper._tag === "Fail" && tamper.always)

/** The call that was tampered with, if the run came to it. */
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
// running
// ---------------------------------------------------------------------------

/** Where the log of a site's traced gateway goes; one at a time. */
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

/** What is traced, and what is tampered with. */
export type Tracing = readonly [
  filter: Filter,
  tampering?: { readonly point: Pick<Point, "name" | "ordinal">; readonly tamper: Tamper }
]

/**
 * How a gateway of the site is started under strace. Its pid is the gateway's own: strace runs as its detached
 * grandchild.
 */
export const options = (
  site: Gateways.Site,
  ...[filter, tampering]: Tracing
): Pick<Gateways.StartOptions, "under" | "env" | "flags"> => ({
  under: [
    "strace",
    "-D",
    "-f",
    "-q",
    "-yy",
    "-o",
    logPath(site),
    ...(filter === "files" ? filesOf(site).flatMap((path) => ["-P", path]) : []),
    ...(tampering === undefined
      ? ["-e", `trace=${watched[filter]}`]
      // Under a delay the log shows how far the run is. Signals do not work together with --seccomp-bpf.
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
  env: {
    UV_THREADPOOL_SIZE: "1",
    NODE_OPTIONS: `--require=${fileURLToPath(new URL("pinnedInstance.cjs", import.meta.url))}`,
    PINNED_INSTANCE: tracedInstance
  },
  // On an address that does not cover 127.0.0.1, two are bound.
  flags: filter === "sockets" ? ["--host", "127.0.0.2"] : []
})
