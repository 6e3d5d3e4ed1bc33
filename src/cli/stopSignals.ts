/**
 * Handles the signals that ask the program to stop.
 *
 * The first signal interrupts the program (`runMain` listens for SIGTERM and SIGINT). The gateway then drains: it lets open
 * connections finish. The second signal cuts the drain short. A third signal ends the process.
 *
 * Signals within half a second count as one. Several `stop` commands can run at the same time, and each sends a signal. A later
 * `stop` sends none once the lock file says that the gateway drains, but that takes a moment. Without the half second, the second
 * signal would cut the drain short.
 *
 * Windows has no signals. libuv translates some console events (`uv__signal_control_handler` in src/win/signal.c): Ctrl+C to
 * SIGINT, Ctrl+Break to SIGBREAK, and the closing of a console to SIGHUP. libuv does not translate a logoff or a shutdown of
 * Windows, so these end the process without a signal.
 */

type StopSignal = "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGBREAK"

/** The part of `process` that emits signals. */
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
  /** Calls a function after a delay. The timer must not keep the process alive. */
  readonly later: (millis: number, call: () => void) => void
}

const sameRequestMillis = 500

/**
 * The maximum duration of a drain after a console was closed on Windows. Windows ends the process soon after: after 5
 * seconds according to Microsoft (SPI_GETHUNGAPPTIMEOUT; "HandlerRoutine callback function"), after about 10 seconds
 * according to Node ("Signal events").
 */
export const closingConsoleMillis = 3000

/** Listens for all stop signals. */
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
  // runMain listens only for SIGTERM and SIGINT, so SIGBREAK is emitted again as SIGTERM.
  const onBreak = () => source.emit("SIGTERM", "SIGBREAK")
  // SIGHUP means that the terminal or the console was closed. That also asks for an orderly shutdown.
  const onHangup = () => {
    if (platform === "win32" && !isHungUp) later(closingConsoleMillis, cutDrain)
    isHungUp = true
    source.emit("SIGTERM", "SIGHUP")
  }
  source.on("SIGINT", onSignal)
  source.on("SIGTERM", onSignal)
  source.on("SIGHUP", onHangup)
  // Platforms other than Windows never emit SIGBREAK.
  source.on("SIGBREAK", onBreak)
  return {
    /** The first stop signal, if there was one. */
    first: (): StopSignal | undefined => first,
    /** Whether the terminal or the console was closed. */
    isHungUp: (): boolean => isHungUp
  }
}
