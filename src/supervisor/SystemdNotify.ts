/**
 * Reports the state of this process to systemd (sd_notify(3)). Node has no Unix datagram sockets (nodejs/node#61933), so the
 * `systemd-notify` program sends each message.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import { child, exitStatus } from "../internal/child.ts"
import { describeDefect, describePlatformError } from "../internal/describeError.ts"
import { variable } from "../internal/environment.ts"
import { formatDuration } from "../internal/formatDuration.ts"
import { Supervisor } from "./Supervisor.ts"

/**
 * Sends notifications to systemd. A call ends when systemd has read the message, and after five seconds at the latest.
 *
 * @since 0.1.0
 * @category tags
 */
export class SystemdNotify extends Context.Tag("gateway-lock/SystemdNotify")<SystemdNotify, {
  /**
   * Sends assignments such as `READY=1`, and returns whether systemd has read them. Without systemd, sends nothing and returns
   * `true`.
   *
   * Never fails. A message that cannot be sent is logged as a warning, unless the previous message failed for the same reason.
   */
  readonly notify: (...assignments: ReadonlyArray<string>) => Effect.Effect<boolean>
  /** The interval within which systemd expects `WATCHDOG=1`. `None` if the unit has no watchdog. */
  readonly watchdog: Option.Option<Duration.Duration>
}>() {}

/**
 * How long the `systemd-notify` program may take to send one message. The program waits until systemd has read the message (a
 * barrier, sd_notify_barrier(3)), and high load can make this wait longer.
 */
const timeout = Duration.seconds(5)

/**
 * The watchdog interval from the environment variable `WATCHDOG_USEC`. This variable applies to this process only if
 * `WATCHDOG_PID` is unset or is the pid of this process (sd_watchdog_enabled(3)). Pure.
 *
 * @internal
 */
export const watchdogInterval = (
  usec: Option.Option<string>,
  forPid: Option.Option<string>,
  pid: number
): Option.Option<Duration.Duration> =>
  usec.pipe(
    Option.filter((value) => /^[1-9]\d{0,15}$/.test(value)),
    Option.filter(() => Option.isNone(forPid) || forPid.value === String(pid)),
    Option.map((value) => Duration.micros(BigInt(value)))
  )

/**
 * The assignment that gives a start or a stop more time, counted from now, before systemd considers that start or stop hung. The
 * assignment sets `EXTEND_TIMEOUT_USEC` in microseconds (sd_notify(3)). Pure.
 *
 * @internal
 */
export const extendTimeout = (duration: Duration.Duration): string =>
  `EXTEND_TIMEOUT_USEC=${Math.round(Duration.toMillis(duration) * 1000)}`

/**
 * Reads, from the environment, the path of the socket on which systemd receives notifications.
 *
 * @internal
 */
export const notifySocket = variable("NOTIFY_SOCKET")

/**
 * Makes a notifier for the `NOTIFY_SOCKET` of this process. The notifier sends messages only if the service `Supervisor` says
 * that systemd is the supervisor of this process.
 *
 * Every descendant of a service inherits `NOTIFY_SOCKET`. A message from a descendant would wrongly tell systemd that the whole
 * service is ready or stopping. `pid` is the pid of this process, which is compared with `WATCHDOG_PID`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  pid: number
): Effect.Effect<SystemdNotify["Type"], never, CommandExecutor.CommandExecutor | Supervisor> =>
  Effect.gen(function*() {
    const { kind } = yield* Supervisor
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    const socket = yield* notifySocket
    if (kind !== "systemd" || Option.isNone(socket)) return silent
    /** Why the last message was not sent. `None` after a message that was sent. */
    const lastFailure = yield* Ref.make(Option.none<string>())
    const failed = (reason: string) =>
      Effect.flatMap(
        Ref.getAndSet(lastFailure, Option.some(reason)),
        (before) =>
          Option.contains(before, reason)
            ? Effect.succeed(false)
            : Effect.as(Effect.logWarning(`cannot notify systemd: ${reason}`), false)
      )
    return SystemdNotify.of({
      notify: (...assignments) =>
        child("systemd-notify", ...assignments).pipe(
          Command.env({ NOTIFY_SOCKET: socket.value }),
          (command) => exitStatus(command, timeout),
          Effect.flatMap((status) =>
            status === 0
              ? Effect.as(Ref.set(lastFailure, Option.none()), true)
              : failed(`systemd-notify exited with status ${status}`)
          ),
          Effect.catchAll((error) =>
            failed(
              error._tag === "TimeoutException"
                ? `systemd-notify did not end within ${formatDuration(timeout)}`
                : `systemd-notify: ${describePlatformError(error)}`
            )
          ),
          Effect.provide(context)
        ),
      watchdog: watchdogInterval(yield* variable("WATCHDOG_USEC"), yield* variable("WATCHDOG_PID"), pid)
    })
  })

/**
 * The shortest timeout of one feed (one notification `WATCHDOG=1`). It applies if a quarter of the watchdog interval is shorter
 * than this timeout.
 */
const shortestFeed = Duration.seconds(1)

/**
 * Feeds systemd's watchdog without end: runs `feed`, which sends `WATCHDOG=1`, and repeats it after half of the interval
 * (sd_watchdog_enabled(3)). After a failed feed, the next feed follows after an eighth of the interval.
 *
 * A feed that dies with a defect or times out counts as failed, and the next feed follows. If the feeds ended instead, systemd
 * would end a healthy gateway.
 *
 * @internal
 */
export const keepFed = (
  interval: Duration.Duration,
  feed: Effect.Effect<boolean>
): Effect.Effect<never> =>
  feed.pipe(
    Effect.catchAllDefect((defect) =>
      Effect.as(Effect.logWarning(`cannot feed the watchdog: ${describeDefect(defect)}`), false)
    ),
    Effect.timeoutTo({
      duration: Duration.max(Duration.times(interval, 0.25), shortestFeed),
      onSuccess: Effect.succeed,
      onTimeout: () => Effect.as(Effect.logWarning("feeding the watchdog took too long"), false)
    }),
    Effect.flatten,
    Effect.flatMap((isFed) => Effect.sleep(Duration.times(interval, isFed ? 0.5 : 0.125))),
    Effect.forever
  )

const silent: SystemdNotify["Type"] = { notify: () => Effect.succeed(true), watchdog: Option.none() }

/**
 * Provides the notifier that `make` returns.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Gateway, Host, Supervisor, Systemd } from "gateway-lock"
 *
 * const facts = { platform: process.platform, pid: process.pid, parentPid: process.ppid }
 *
 * // For a unit with Type=notify.
 * const Ready = Layer.effectDiscard(Effect.gen(function*() {
 *   const { url } = yield* Gateway.Gateway
 *   const { notify } = yield* Systemd.SystemdNotify.SystemdNotify
 *   yield* notify("READY=1", `STATUS=listening on ${url}`)
 * })).pipe(
 *   Layer.provide(Systemd.SystemdNotify.layer(process.pid)),
 *   Layer.provide(Supervisor.layer("auto", facts)),
 *   Layer.provide(Host.ProcessTable.layerLive),
 *   Layer.provide(NodeContext.layer)
 * )
 *
 * const Main = Ready.pipe(Layer.provideMerge(Gateway.layer({ port: 18789 })))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  pid: number
): Layer.Layer<SystemdNotify, never, CommandExecutor.CommandExecutor | Supervisor> =>
  Layer.effect(SystemdNotify, make(pid))
