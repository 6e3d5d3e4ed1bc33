/**
 * Shows a long wait in one line on stderr, if stderr is a terminal. The line appears after a second, is updated in place at most once a
 * second, and is removed at the end of the wait. Log lines remove it before they are written.
 *
 * While a command of `gateway exec` runs, the terminal belongs to that command, and nothing may be written over its output. A wait then
 * gets whole lines: one after a second, and one every ten seconds.
 */
import * as Clock from "effect/Clock"
import type * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import { formatDuration } from "../internal/formatDuration.ts"
import { printable } from "../internal/printable.ts"
import { type Wait, WaitDisplay } from "../internal/WaitDisplay.ts"
import { cutToWidth } from "./DisplayWidth.ts"

/** The last line of a terminal. */
export interface Line {
  readonly write: (text: string) => void
  readonly columns: () => number | undefined
}

/** Stderr of this process. */
const stderr: Line = {
  write: (text) => {
    process.stderr.write(text)
  },
  columns: () => process.stderr.columns
}

const updateInterval = Duration.seconds(1)

/** How many updates pass between two whole lines. */
const updatesPerLine = 10

/** Formats a time in whole seconds. */
const inSeconds = (duration: Duration.Duration): string =>
  formatDuration(Duration.seconds(Math.round(Duration.toSeconds(duration))))

/** The line for a wait. Pure. */
export const lineOf = (
  text: string,
  { isCuttable, limit }: Pick<Wait, "limit" | "isCuttable">,
  elapsed: Duration.Duration
): string =>
  `gateway: ${printable(text)} (${inSeconds(elapsed)}${limit === undefined ? "" : ` of ${inSeconds(limit)}`}${
    isCuttable === true ? "; Ctrl-C again ends the wait" : ""
  })`

/** A painter of one line. Only the wait that began last is painted. */
const makePainter = (line: Line) => {
  let isPainted = false
  const waits: Array<Wait> = []
  const clear = (): void => {
    if (!isPainted) return
    isPainted = false
    line.write("\r\u001b[K")
  }
  return {
    clear,
    /** The cursor stays in the last column at most, so that the text does not move to the next line. */
    paint: (wait: Wait, text: string): void => {
      if (waits.at(-1) !== wait) return
      if (wait.isShared === true) return line.write(`${text}\r\n`)
      isPainted = true
      line.write(`\r${cutToWidth(text, (line.columns() ?? 80) - 1)}\u001b[K`)
    },
    begin: (wait: Wait): void => {
      waits.push(wait)
    },
    end: (wait: Wait): void => {
      waits.splice(waits.lastIndexOf(wait), 1)
      clear()
    }
  }
}

type Painter = ReturnType<typeof makePainter>

const painting = (painter: Painter, wait: Wait) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeNanos
    const updates = yield* Ref.make(0)
    yield* Effect.gen(function*() {
      const update = yield* Ref.getAndUpdate(updates, (count) => count + 1)
      if (wait.isShared === true && update % updatesPerLine !== 0) return
      const text = yield* wait.text
      const elapsed = Duration.nanos((yield* Clock.currentTimeNanos) - began)
      yield* Effect.sync(() => text === "" ? painter.clear() : painter.paint(wait, lineOf(text, wait, elapsed)))
    }).pipe(Effect.schedule(Schedule.spaced(updateInterval)))
  })

/** The wait is painted by a daemon fiber, because a drain waits in a finalizer, whose child fibers an interruption would end. */
const display =
  (painter: Painter) => (given: Wait) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    // Each wait has its own identity, even if two callers share the description.
    const wait = { ...given }
    return Effect.acquireUseRelease(
      Effect.zipRight(
        Effect.sync(() => painter.begin(wait)),
        Effect.forkDaemon(Effect.interruptible(painting(painter, wait)))
      ),
      () => self,
      (fiber) => Effect.zipRight(Fiber.interrupt(fiber), Effect.sync(() => painter.end(wait)))
    )
  }

/** A console whose lines never follow the painted line on the same row. */
const clearing = (console: Console.Console, clear: () => void): Console.Console => {
  const { unsafe } = console
  const after = <Args extends ReadonlyArray<unknown>, A>(write: (...args: Args) => A) => (...args: Args): A => {
    clear()
    return write(...args)
  }
  return {
    ...console,
    error: (...args) => Effect.suspend(() => after(console.error)(...args)),
    log: (...args) => Effect.suspend(() => after(console.log)(...args)),
    unsafe: {
      ...unsafe,
      error: after(unsafe.error),
      log: after(unsafe.log),
      group: after(unsafe.group),
      groupCollapsed: after(unsafe.groupCollapsed)
    }
  }
}

/** Runs the program, and shows its waits on a terminal. */
export const onTerminal = <A, E, R>(self: Effect.Effect<A, E, R>, line: Line = stderr): Effect.Effect<A, E, R> =>
  Effect.flatMap(Effect.console, (console) => {
    const painter = makePainter(line)
    return self.pipe(
      Effect.provideService(WaitDisplay, display(painter)),
      Effect.withConsole(clearing(console, painter.clear))
    )
  })
