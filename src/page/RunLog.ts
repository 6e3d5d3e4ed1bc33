/**
 * The runs of a gateway: when each start began to listen, and how it ended. They are kept in a file beside the lock file, so that
 * the status page shows them after a restart.
 *
 * The file has one JSON object a line. A line is appended by one write, and the file is replaced by a shorter one when it has grown.
 * Lines that are torn, or that another program wrote, are ignored. Nothing depends on this file: if it cannot be read or written,
 * the gateway works as without it.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { describePlatformError, isNotFound } from "../internal/describeError.ts"
import { decode, encode, type RunEvent } from "./RunEvent.ts"
import type { Run } from "./StatusFrame.ts"

/** A longer file is shortened, in bytes. */
const maxBytes = 32 * 1024

/** A file that is longer still is not read: this module does not write such a file. */
const readableBytes = 1024 * 1024

/** How many events a shortened file keeps. */
const keptEvents = 64

/** How many runs the status page gets. */
const shownRuns = 30

/** The events in the text of the file, oldest first. Pure. */
export const parse = (text: string): ReadonlyArray<RunEvent> =>
  text.split("\n").flatMap((line) => line.length > 4096 ? [] : Option.toArray(decode(line)))

type Mutable = { -readonly [Key in keyof Run]: Run[Key] }

const between = (from: DateTime.Utc, at: DateTime.Utc, to: DateTime.Utc): DateTime.Utc =>
  DateTime.max(from, DateTime.min(at, to))

/**
 * The runs that these events tell of, oldest first. Pure.
 *
 * A run without an end has crashed, unless it is the present one: it is the only one that can still run, because a later one had to
 * acquire the same lock.
 */
export const runsOf = (events: ReadonlyArray<RunEvent>, instanceId: string): ReadonlyArray<Run> => {
  const runs: Array<{ readonly instanceId: string; readonly run: Mutable }> = []
  for (const event of events) {
    const { at } = event
    if (event.kind === "started") {
      const before = runs.at(-1)?.run
      if (before?.ending === "crashed" && event.seen !== undefined) {
        before.endedAt = between(before.startedAt, event.seen, at)
      }
      const run: Mutable = {
        startedAt: at,
        ending: event.instanceId === instanceId ? "running" : "crashed",
        ...(event.pid === undefined ? {} : { pid: event.pid }),
        ...(event.tookOver === true ? { tookOver: true } : {})
      }
      runs.push({ instanceId: event.instanceId, run })
      continue
    }
    const run = runs.findLast((run) => run.instanceId === event.instanceId)?.run
    if (run === undefined) continue
    if (event.kind === "leading") run.ledAt = at
    else {
      run.ending = "stopped"
      run.endedAt = at
      if (event.reason !== undefined) run.reason = event.reason
    }
  }
  return runs.slice(-shownRuns).map(({ run }) => run)
}

/**
 * The log of the runs of one gateway. No effect fails.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunLog {
  /** Notes that this run listens. */
  readonly started: (facts: Pick<RunEvent, "pid" | "tookOver">) => Effect.Effect<void>
  /** Notes what else happens to this run. */
  readonly note: (event: Pick<RunEvent, "kind" | "reason">) => Effect.Effect<void>
  /** Shows a later run how long this one lived. */
  readonly touch: Effect.Effect<void>
  readonly runs: Effect.Effect<ReadonlyArray<Run>>
}

/** The path of the file beside a lock file. */
export const pathBeside = (lockPath: string): string => lockPath.replace(/\.lock$/, "") + ".runs"

/** Writes a failure to the log, and goes on without a result. */
const quietly = (path: string) => <A>(self: Effect.Effect<A, PlatformError>): Effect.Effect<Option.Option<A>> =>
  Effect.asSome(self).pipe(
    Effect.catchAll((error) =>
      Effect.as(Effect.logDebug(`the runs in ${path}: ${describePlatformError(error)}`), Option.none())
    )
  )

const writeTo = (fs: FileSystem.FileSystem, path: string, flag: "a" | "w", text: string) =>
  Effect.scoped(
    Effect.flatMap(fs.open(path, { flag, mode: 0o600 }), (file) => file.writeAll(new TextEncoder().encode(text)))
  )

/** The file with the events of all runs. No effect fails. */
const fileAt = (fs: FileSystem.FileSystem, path: string) => {
  const attempt = quietly(path)
  /** `None` if there is no file that can be used. */
  const look = attempt(
    fs.stat(path).pipe(
      Effect.map(Option.some),
      Effect.catchIf(isNotFound, () => Effect.succeedNone)
    )
  ).pipe(Effect.map(Option.flatten))

  const read = Effect.gen(function*() {
    const seen = yield* look
    if (Option.isNone(seen)) return []
    if (seen.value.type !== "File" || Number(seen.value.size) > readableBytes) {
      yield* Effect.logDebug(`the runs in ${path} are not read: ${seen.value.type}, ${seen.value.size} bytes`)
      return []
    }
    return Option.match(yield* attempt(fs.readFileString(path)), { onNone: () => [], onSome: parse })
  })

  const append = (event: RunEvent, isAfterTear: boolean) =>
    writeTo(fs, path, "a", `${isAfterTear ? "\n" : ""}${encode(event)}\n`)

  /** Written beside the file and renamed, so that a crash leaves the old file or the new one. */
  const replace = (events: ReadonlyArray<RunEvent>) =>
    Effect.zipRight(
      writeTo(fs, `${path}.new`, "w", events.map((event) => `${encode(event)}\n`).join("")),
      fs.rename(`${path}.new`, path)
    )

  return {
    look,
    read,
    append: (event: RunEvent) => attempt(append(event, false)),
    /** Appends the first event of a run to a file of this size. A file that has become too long keeps its last events. */
    begin: (event: RunEvent, size: number) =>
      attempt(
        size <= maxBytes
          ? append(event, size > 0)
          : Effect.flatMap(read, (events) => replace([...events.slice(-keptEvents), event]))
      ),
    touch: Effect.flatMap(
      Clock.currentTimeMillis,
      (now) => attempt(fs.utimes(path, now / 1000, now / 1000))
    )
  }
}

/** Makes the log of this run. */
export const make = (
  lockPath: string,
  instanceId: string
): Effect.Effect<RunLog, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => {
    const file = fileAt(fs, pathBeside(lockPath))
    // What happened to this run is known even if the file cannot be written.
    const own: Array<RunEvent> = []
    let isUsable = false
    return {
      started: (facts) =>
        Effect.gen(function*() {
          const seen = yield* file.look
          const mtime = Option.flatMap(seen, ({ mtime }) => mtime).pipe(Option.flatMap(DateTime.make))
          const event: RunEvent = {
            at: yield* DateTime.now,
            kind: "started",
            instanceId,
            ...facts,
            ...(Option.isSome(mtime) ? { seen: DateTime.toUtc(mtime.value) } : {})
          }
          own.push(event)
          // Another kind of file, such as a FIFO, could block the write.
          isUsable = Option.isNone(seen) || seen.value.type === "File"
          if (!isUsable) return
          yield* file.begin(event, Option.match(seen, { onNone: () => 0, onSome: ({ size }) => Number(size) }))
        }).pipe(Effect.uninterruptible),
      note: (change) =>
        Effect.gen(function*() {
          // Before its start is noted, a run has no place in the file.
          if (own.length === 0) return
          const event: RunEvent = { at: yield* DateTime.now, instanceId, ...change }
          own.push(event)
          if (isUsable) yield* file.append(event)
        }).pipe(Effect.uninterruptible),
      touch: Effect.suspend(() => isUsable ? file.touch : Effect.void),
      runs: Effect.map(file.read, (events) =>
        runsOf([...events.filter((event) => event.instanceId !== instanceId), ...own], instanceId))
    }
  })
