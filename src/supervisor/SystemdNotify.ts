/**
 * Tells systemd how far we are (sd_notify(3)), through the `systemd-notify` program: Node has no Unix datagrams.
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
import { Supervisor } from "./Supervisor.ts"

/**
 * The way to systemd. A message takes as long as systemd takes to read it, five seconds at most.
 *
 * @since 0.1.0
 * @category tags
 */
export class SystemdNotify extends Context.Tag("gateway-lock/SystemdNotify")<SystemdNotify, {
  /**
   * Sends assignments such as `READY=1`, and tells whether systemd has them. Never fails: the first of several failures in a
   * row is a warning, as is each for another reason. Without systemd there is nothing to send, and that is no failure.
   */
  readonly notify: (...assignments: ReadonlyArray<string>) => Effect.Effect<boolean>
  /** How often systemd must hear `WATCHDOG=1`, where it wants to. */
  readonly watchdog: Option.Option<Duration.Duration>
}>() {}

/** systemd-notify waits for systemd to have read the message (its barrier), which under load takes a moment. */
const timeout = Duration.seconds(5)

/**
 * `WATCHDOG_USEC` counts for us if `WATCHDOG_PID` is unset or our pid (sd_watchdog_enabled(3)). Pure.
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
 * The assignment that asks systemd for more time, from now, before it takes a start or stop for hung: `EXTEND_TIMEOUT_USEC`
 * in microseconds (sd_notify(3)). Pure.
 *
 * @internal
 */
export const extendTimeout = (duration: Duration.Duration): string =>
  `EXTEND_TIMEOUT_USEC=${Math.round(Duration.toMillis(duration) * 1000)}`

/**
 * The socket that systemd reads messages from, where there is one.
 *
 * @internal
 */
export const notifySocket = variable("NOTIFY_SOCKET")

/**
 * Notifies systemd through the `NOTIFY_SOCKET` of this process, if its supervisor is systemd; otherwise nobody. Every
 * descendant of a service inherits that variable, and a message from one of them would tell systemd that the whole service
 * is ready or stops. `pid` is our own, for `WATCHDOG_PID`.
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
    /** Why the last message was not sent; `None` after one that was. */
    const trouble = yield* Ref.make(Option.none<string>())
    const failed = (reason: string) =>
      Effect.flatMap(
        Ref.getAndSet(trouble, Option.some(reason)),
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
              ? Effect.as(Ref.set(trouble, Option.none()), true)
              : failed(`systemd-notify exited with status ${status}`)
          ),
          Effect.catchAll((error) =>
            failed(
              error._tag === "TimeoutException"
                ? `systemd-notify did not end within ${Duration.format(timeout)}`
                : `systemd-notify: ${describePlatformError(error)}`
            )
          ),
          Effect.provide(context)
        ),
      watchdog: watchdogInterval(yield* variable("WATCHDOG_USEC"), yield* variable("WATCHDOG_PID"), pid)
    })
  })

/** A feed may take so long at least, however short the interval is. */
const shortestFeed = Duration.seconds(1)

/**
 * Feeds a watchdog for ever: at half of the interval (sd_watchdog_enabled(3)), and after a feed that failed, four times as
 * often. A feed that fails by a defect or does not end is one that failed: were it the last one, systemd would end a healthy
 * gateway.
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
 * `make`, as a layer.
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
