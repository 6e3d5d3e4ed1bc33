/**
 * The terminal or the pipe to which `--watch` writes.
 *
 * On a terminal, the pictures are drawn on the alternate screen: a picture that fills the window would otherwise overwrite the lines
 * above it, and a change of the window's width would wrap old pictures into the scroll-back. The caller prints the last picture
 * again after the screen is closed, so that it is not lost.
 */
// This adapter writes to the process's own streams, and some of its listeners run outside of fibers.
// @effect-diagnostics globalTimers:off
// @effect-diagnostics globalTimersInEffect:off
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Timers from "node:timers"
import { failed, type OutputFailed } from "./Stdout.ts"
import { writeText } from "./writeText.ts"

/** What a person at the terminal asks for. `redraw`: the window has another size, or lost its content. */
export type Event = "quit" | "look" | "redraw"

export interface Size {
  readonly columns: number
  readonly rows: number
}

/**
 * Where reports are written.
 */
export class Screen extends Context.Tag("gateway-lock/cli/Screen")<Screen, {
  /** Writes a text as it is. `false`: the reader has closed its end, so nothing more can be shown. */
  readonly write: (text: string) => Effect.Effect<boolean, OutputFailed>
  /**
   * Takes over the terminal until the scope closes: the alternate screen, no cursor, and keys without Enter. Also gives the
   * terminal back while this process is suspended.
   */
  readonly open: Effect.Effect<Queue.Dequeue<Event>, never, Scope.Scope>
  readonly size: Effect.Effect<Size>
  /** The processor time of this process so far, in milliseconds. */
  readonly processorMillis: Effect.Effect<number>
}>() {}

/**
 * DEC private modes: 1049 is the alternate screen, 25 the cursor, and 7 the automatic wrap. Without the wrap, a line whose width
 * the terminal computes in another way does not move the lines below it.
 */
const enterSequence = "\u001b[?1049h\u001b[?25l\u001b[?7l"
const leaveSequence = "\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l"

/** The size if the terminal reports none, as some serial lines and terminals of containers do. */
const unknownSize: Size = { columns: 80, rows: 24 }

const controlC = "\u0003"
const controlD = "\u0004"
const controlL = "\u000c"
const controlZ = "\u001a"
const controlBackslash = "\u001c"

/** The sequences of keys such as the arrows, after an escape. Their letters are not typed letters. */
const keySequences = /\p{Cc}(?:\[[\d;?]*[ -/]*[@-~]|O.)/gu

/** What typed keys ask for. */
const eventsOf = (typed: string): ReadonlyArray<Event | "suspend"> =>
  Array.from(typed.replace(keySequences, "")).flatMap((key): ReadonlyArray<Event | "suspend"> => {
    switch (key) {
      case "q":
      case "Q":
      case controlC:
      case controlD:
      case controlBackslash:
        return ["quit"]
      case " ":
      case "r":
      case "\r":
      case "\n":
        return ["look"]
      case controlL:
        return ["redraw"]
      case controlZ:
        return ["suspend"]
      default:
        return []
    }
  })

/** How long to wait for a suspension that does not happen, because no shell could resume this process (an orphaned group). */
const suspensionMillis = 200

/**
 * Takes over the terminal of this process, and returns a function that gives it back.
 */
const attach = (offer: (event: Event) => void): () => void => {
  const { stdin, stdout } = process
  const setRaw = (isRaw: boolean): void => {
    if (stdin.isTTY !== true) return
    try {
      stdin.setRawMode(isRaw)
    } catch {
      // The terminal was closed. SIGHUP ends this process.
    }
  }
  let isEntered = false
  const enter = (): void => {
    isEntered = true
    // libuv skips a mode that it has set before, although the shell may have changed it while this process was suspended.
    setRaw(false)
    setRaw(true)
    stdout.write(enterSequence)
  }
  const leave = (): void => {
    if (!isEntered) return
    isEntered = false
    stdout.write(leaveSequence)
    setRaw(false)
  }
  const suspendBy = (suspend: () => void): void => {
    leave()
    process.off("SIGTSTP", onStop)
    suspend()
    // Runs after the process was resumed, or if it was not suspended at all.
    Timers.setTimeout(resume, suspensionMillis)
  }
  const resume = (): void => {
    if (isOver) return
    process.off("SIGTSTP", onStop)
    process.on("SIGTSTP", onStop)
    enter()
    // Node reads the size of the window only after SIGWINCH, which a process in the background does not receive.
    process.emit("SIGWINCH", "SIGWINCH")
    offer("redraw")
  }
  // Without a listener, the signal has its default action: it suspends the process.
  const onStop = () => suspendBy(() => process.kill(process.pid, "SIGTSTP"))
  const onKeys = (data: Buffer | string): void => {
    for (const event of eventsOf(String(data))) {
      // In this mode, the kernel does not turn Ctrl-Z into a signal for every process of the foreground job.
      if (event === "suspend") suspendBy(() => process.kill(0, "SIGTSTP"))
      else offer(event)
    }
  }
  // The terminal was closed. SIGHUP says the same, but can come later than the end of the input.
  const onEnd = () => process.emit("SIGHUP", "SIGHUP")
  const onResize = () => offer("redraw")
  let isOver = false
  if (stdin.isTTY === true) stdin.on("data", onKeys).on("end", onEnd).on("error", onEnd)
  stdout.on("resize", onResize)
  process.on("SIGTSTP", onStop)
  process.on("SIGCONT", resume)
  process.on("exit", leave)
  enter()
  return () => {
    isOver = true
    process.off("SIGTSTP", onStop)
    process.off("SIGCONT", resume)
    process.off("exit", leave)
    stdout.off("resize", onResize)
    if (stdin.isTTY === true) stdin.off("data", onKeys).off("end", onEnd).pause()
    leave()
  }
}

/** The stdout, stdin and terminal of this process. */
export const live: Screen["Type"] = {
  write: (text) =>
    Effect.async((resume) =>
      writeText(text, (error, isGone) => resume(error === undefined ? Effect.succeed(!isGone) : failed(error)))
    ),
  open: Effect.gen(function*() {
    const events = yield* Queue.sliding<Event>(16)
    yield* Effect.acquireRelease(
      Effect.sync(() => attach((event) => Queue.unsafeOffer(events, event))),
      (detach) => Effect.sync(detach)
    )
    return events
  }),
  size: Effect.sync(() => {
    const { columns, rows } = process.stdout
    return columns > 0 && rows > 0 ? { columns, rows } : unknownSize
  }),
  processorMillis: Effect.sync(() => {
    const { system, user } = process.cpuUsage()
    return (system + user) / 1000
  })
}
