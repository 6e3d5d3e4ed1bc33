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
import { lasting } from "./lasting.ts"
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
  /** The time between two looks, if it was given. By default it depends on what a look costs. */
  readonly interval: Duration.Duration | undefined
  /** How the report is shown. `lines`: JSON, one line for each report. */
  readonly form: "screen" | "text" | "lines"
}

const shortestPause = Duration.seconds(2)

/** The value of `--interval`, if it was given. Fails with `SettingInvalid`. */
export const intervalOf = (typed: string | undefined) =>
  typed === undefined ? Effect.succeed(undefined) : decodeGiven(
    durationSetting({
      name: "interval",
      flag: "interval",
      description: "time between two looks",
      default: shortestPause,
      minimum: Duration.millis(100)
    }),
    { raw: typed, source: "--interval" }
  )

// ---------------------------------------------------------------------------
// pace
// ---------------------------------------------------------------------------

/**
 * A look at many processes on a slow machine costs much. By default, the pause between two looks is so long that the looks take less
 * than one percent of a processor, within these bounds.
 */
const longestPause = Duration.seconds(10)
const pausePerCost = 150

/** The first looks cost more than all later ones, because their code is new to the machine. */
const looksUntilWarm = 3

/** Runs a look, and tells how long to wait after it. */
const pacing = (interval: Duration.Duration | undefined) =>
  Effect.map(
    Ref.make({ looks: 0, leastMillis: Number.POSITIVE_INFINITY }),
    (state) => <A, E, R>(look: Effect.Effect<A, E, R>) =>
      Effect.gen(function*() {
        const { processorMillis } = yield* Screen
        const before = yield* processorMillis
        const seen = yield* look
        const cost = (yield* processorMillis) - before
        const { leastMillis, looks } = yield* Ref.updateAndGet(state, ({ leastMillis, looks }) => ({
          looks: looks + 1,
          leastMillis: Math.min(leastMillis, cost)
        }))
        const byCost = Duration.seconds(looks < looksUntilWarm ? 0 : Math.ceil(leastMillis * pausePerCost / 1000))
        return { seen, wait: interval ?? Duration.clamp(byCost, { minimum: shortestPause, maximum: longestPause }) }
      })
  )

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
  /** The time until the next look. */
  readonly wait: Duration.Duration
  readonly nowMillis: number
}

const picture = <A, E, R>(watched: Watched<A, E, R>, { nowMillis, seen, wait }: Shown<A>) => ({
  header: `${watched.title}  ${timeText(nowMillis)}  every ${short(wait)}; q quits`,
  report: watched.toText(seen, nowMillis),
  overflow: watched.overflow
})

/** Looks again and again, and asks for a redraw after each look. */
const looking = <A, E, R>(
  watched: Watched<A, E, R>,
  interval: Duration.Duration | undefined,
  shown: Ref.Ref<Option.Option<Shown<A>>>,
  events: Queue.Enqueue<Event>,
  asked: Queue.Dequeue<void>
) =>
  Effect.flatMap(pacing(interval), (paced) =>
    Effect.gen(function*() {
      const { seen, wait } = yield* paced(watched.look)
      yield* Ref.set(shown, Option.some({ seen, wait, nowMillis: yield* Clock.currentTimeMillis }))
      yield* Queue.offer(events, "redraw")
      yield* Effect.raceFirst(pause(watched, seen, wait), Queue.take(asked))
    }).pipe(Effect.forever))

/** Draws until a key or a closed terminal ends it. Then prints the last report, because the alternate screen disappears. */
const onScreen = <A, E, R>(watched: Watched<A, E, R>, interval: Duration.Duration | undefined) =>
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
          if (!(yield* screen.write(Picture.draw(picture(watched, last.value), yield* screen.size)))) return
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

/** Prints the report after each change, until the reader closes its end. */
const toReader = <A, E, R>(
  watched: Watched<A, E, R>,
  { form, interval }: Options
): Effect.Effect<void, E | OutputFailed, R | Screen> =>
  Effect.gen(function*() {
    const screen = yield* Screen
    const paced = yield* pacing(interval)
    let last = ""
    while (true) {
      const { seen, wait } = yield* paced(watched.look)
      const json = watched.toJson(seen)
      const now = lasting(json)
      if (now !== last) {
        last = now
        const nowMillis = yield* Clock.currentTimeMillis
        const text = form === "lines" ? json : `--- ${timeText(nowMillis)}\n${watched.toText(seen, nowMillis)}`
        if (!(yield* screen.write(`${text}\n`))) return
      }
      yield* pause(watched, seen, wait)
    }
  })

/** Shows the report until a person, a signal or the reader ends it. Fails as the look does, or with `OutputFailed`. */
export const watch = <A, E, R>(watched: Watched<A, E, R>, options: Options) =>
  options.form === "screen" ? onScreen(watched, options.interval) : toReader(watched, options)
