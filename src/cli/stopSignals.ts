/**
 * Which signals ask the program to stop, and how soon.
 *
 * The first one interrupts the program (`runMain` listens for SIGTERM and SIGINT), the second cuts the drain short, a third
 * ends the process. Signals that come together are one: several commands that stop a gateway at one time cannot know of each
 * other before its record says so.
 *
 * Windows has no signals. libuv makes some of console events (`uv__signal_control_handler` in src/win/signal.c): SIGINT of
 * Ctrl+C, SIGBREAK of Ctrl+Break, SIGHUP of a console that closes. It makes none of a logoff or a shutdown, and Windows ends
 * the processes then, without a word to them.
 */

type StopSignal = "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGBREAK"

/** The part of a process that sends signals. */
export interface SignalSource {
  readonly on: (event: StopSignal, listener: (signal: StopSignal) => void) => unknown
  readonly off: (event: StopSignal, listener: (signal: StopSignal) => void) => unknown
  readonly emit: (event: "SIGTERM", signal: StopSignal) => unknown
}

export interface StopSignalOptions {
  readonly source: SignalSource
  /** As `process.platform`. */
  readonly platform: string
  readonly cutDrain: () => void
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number
  /** Calls later; keeps no process alive. */
  readonly later: (millis: number, call: () => void) => void
}

const sameRequestMillis = 500

/**
 * How long a drain may take after a console was closed on Windows, which ends the process 5 seconds (SPI_GETHUNGAPPTIMEOUT,
 * Microsoft, "HandlerRoutine callback function") to about 10 seconds (Node, "Signal events") later, whatever it does.
 */
export const closingConsoleMillis = 3000

/** Listens for all of them. */
export const listen = ({ cutDrain, later, now, platform, source }: StopSignalOptions) => {
  let signals = 0
  let first: StopSignal | undefined
  let lastAt = Number.NEGATIVE_INFINITY
  let isHungUp = false
  const onSignal = (signal: StopSignal) => {
    const at = now()
    if (at - lastAt < sameRequestMillis) return
    lastAt = at
    signals += 1
    first ??= signal
    if (signals === 2) {
      cutDrain()
      source.off("SIGINT", onSignal)
      source.off("SIGTERM", onSignal)
      source.off("SIGHUP", onHangup)
      source.off("SIGBREAK", onBreak)
    }
  }
  // runMain listens for SIGTERM and SIGINT alone.
  const onBreak = () => source.emit("SIGTERM", "SIGBREAK")
  // A terminal or a console that closes asks for an orderly shutdown as well.
  const onHangup = () => {
    if (platform === "win32" && !isHungUp) later(closingConsoleMillis, cutDrain)
    isHungUp = true
    source.emit("SIGTERM", "SIGHUP")
  }
  source.on("SIGINT", onSignal)
  source.on("SIGTERM", onSignal)
  source.on("SIGHUP", onHangup)
  // Elsewhere it is an event that nothing emits.
  source.on("SIGBREAK", onBreak)
  return {
    /** What asked first. */
    first: (): StopSignal | undefined => first,
    /** Whether the terminal has gone. */
    isHungUp: (): boolean => isHungUp
  }
}
