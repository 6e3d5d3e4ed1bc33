/**
 * `--watch` of `gateway status` and `gateway list`: shows a report again and again. This module is loaded only for `--watch`.
 *
 * On a terminal, the report is redrawn in place. Otherwise it is printed once, and again after each change: as text below a line
 * with the time, or as one line of JSON.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import { short } from "../internal/durationText.ts"
import { decodeGiven, durationSetting } from "../settings/Setting.ts"
import * as Picture from "./Picture.ts"
import { type Event, Screen } from "./Screen.ts"
import type { OutputFailed } from "./Stdout.ts"

/** What is watched, and how it is shown. */
export interface Watched<A, E, R> {
  /** The command, for the first line. */
  readonly title: string
  readonly look: Effect.Effect<A, E, R>
  readonly toText: (seen: A, nowMillis: number) => string
  /** JSON on one line. */
  readonly toJson: (seen: A) => string
  readonly overflow: Picture.Picture["overflow"]
  /** Completes when another look is worthwhile before the interval is over. */
  readonly changed: (seen: A) => Effect.Effect<void, never, R>
}

export interface Options {
  readonly interval: Duration.Duration
  /** How the report is shown. `lines`: JSON, one line for each report. */
  readonly form: "screen" | "text" | "lines"
}

const intervalSetting = durationSetting({
  name: "interval",
  flag: "interval",
  description: "time between two looks",
  default: Duration.seconds(2),
  minimum: Duration.millis(100)
})

/** The value of `--interval`, or the default. Fails with `SettingInvalid`. */
export const intervalOf = (typed: string | undefined) =>
  typed === undefined
    ? Effect.succeed(Duration.seconds(2))
    : decodeGiven(intervalSetting, { raw: typed, source: "--interval" })

/**
 * The pause between a change and the next look. A start writes several files one after the other, and each is a change. The pause also
 * limits the looks while a file changes all the time.
 */
const settleTime = Duration.millis(100)

/** The next look follows after the interval, or soon after a change. */
const pause = <A, E, R>({ changed }: Watched<A, E, R>, seen: A, interval: Duration.Duration) =>
  Effect.raceFirst(Effect.sleep(interval), Effect.zipRight(changed(seen), Effect.sleep(settleTime)))

const timeText = (millis: number): string => `${DateTime.formatIso(DateTime.unsafeMake(millis)).slice(0, 19)}Z`

// ---------------------------------------------------------------------------
// a terminal
// ---------------------------------------------------------------------------

interface Shown<A> {
  readonly seen: A
  readonly nowMillis: number
}

const picture = <A, E, R>(watched: Watched<A, E, R>, interval: Duration.Duration, { nowMillis, seen }: Shown<A>) => ({
  header: `${watched.title}  ${timeText(nowMillis)}  every ${short(interval)}; q quits`,
  report: watched.toText(seen, nowMillis),
  overflow: watched.overflow
})

/** Looks again and again, and asks for a redraw after each look. */
const looking = <A, E, R>(
  watched: Watched<A, E, R>,
  interval: Duration.Duration,
  shown: Ref.Ref<Option.Option<Shown<A>>>,
  events: Queue.Enqueue<Event>,
  asked: Queue.Dequeue<void>
) =>
  Effect.gen(function*() {
    const seen = yield* watched.look
    yield* Ref.set(shown, Option.some({ seen, nowMillis: yield* Clock.currentTimeMillis }))
    yield* Queue.offer(events, "redraw")
    yield* Effect.raceFirst(pause(watched, seen, interval), Queue.take(asked))
  }).pipe(Effect.forever)

/** Draws until a key or a closed terminal ends it. Then prints the last report, because the alternate screen disappears. */
const onScreen = <A, E, R>(watched: Watched<A, E, R>, interval: Duration.Duration) =>
  Effect.gen(function*() {
    const screen = yield* Screen
    const shown = yield* Ref.make(Option.none<Shown<A>>())
    const asked = yield* Queue.sliding<void>(1)
    const drawing = (events: Queue.Dequeue<Event>) =>
      Effect.gen(function*() {
        while (true) {
          const event = yield* Queue.take(events)
          if (event === "quit") return
          if (event === "look") {
            yield* Queue.offer(asked, undefined)
            continue
          }
          const last = yield* Ref.get(shown)
          if (Option.isNone(last)) continue
          if (!(yield* screen.write(Picture.draw(picture(watched, interval, last.value), yield* screen.size)))) return
        }
      })
    yield* Effect.scoped(Effect.gen(function*() {
      const keys = yield* screen.open
      const events = yield* Queue.sliding<Event>(16)
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(keys), (key) => Queue.offer(events, key))))
      // Disconnected, because a look at a file system that hangs cannot be interrupted.
      yield* Effect.raceFirst(drawing(events), Effect.disconnect(looking(watched, interval, shown, events, asked)))
    })).pipe(
      Effect.ensuring(Effect.gen(function*() {
        const last = yield* Ref.get(shown)
        if (Option.isNone(last)) return
        const { nowMillis, seen } = last.value
        yield* Effect.ignore(screen.write(`${watched.toText(seen, nowMillis)}\n`))
      }))
    )
  })

// ---------------------------------------------------------------------------
// a pipe or a file
// ---------------------------------------------------------------------------

/** The keys whose values change although the gateway does not: times of the look, ages, and the renewals of a lease. */
const passing: ReadonlySet<string> = new Set(["asOf", "ageMs", "renewedAt", "trustedUntil"])

/** What of a report counts as a change. Pure. */
export const fingerprint = (json: string): string =>
  JSON.stringify(JSON.parse(json), (key, value: unknown) => passing.has(key) ? undefined : value)

/** Prints the report after each change, until the reader closes its end. */
const toReader = <A, E, R>(
  watched: Watched<A, E, R>,
  { form, interval }: Options
): Effect.Effect<void, E | OutputFailed, R | Screen> =>
  Effect.gen(function*() {
    const screen = yield* Screen
    let last = ""
    while (true) {
      const seen = yield* watched.look
      const json = watched.toJson(seen)
      const now = fingerprint(json)
      if (now !== last) {
        last = now
        const nowMillis = yield* Clock.currentTimeMillis
        const text = form === "lines" ? json : `--- ${timeText(nowMillis)}\n${watched.toText(seen, nowMillis)}`
        if (!(yield* screen.write(`${text}\n`))) return
      }
      yield* pause(watched, seen, interval)
    }
  })

/** Shows the report until a person, a signal or the reader ends it. Fails as the look does, or with `OutputFailed`. */
export const watch = <A, E, R>(watched: Watched<A, E, R>, options: Options) =>
  options.form === "screen" ? onScreen(watched, options.interval) : toReader(watched, options)
