/**
 * Finds out whether the command of a systemd unit has told systemd that it is ready (`READY=1`, sd_notify(3)).
 *
 * The command sends its message to systemd itself. Node cannot receive the message in between, because it has no Unix datagram
 * sockets (nodejs/node#61933). So systemd is asked for the state of the unit. A unit with `Type=notify` is `activating` until the
 * message has arrived.
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { ServiceUnit as Unit } from "../GatewayLockError.ts"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import { output } from "../internal/child.ts"
import { showUnit } from "../internal/systemctl.ts"
import type { Verdict } from "./Supervisor.ts"
import { notifySocket } from "./SystemdNotify.ts"

/** No message of the command can be seen here, because this process is not the service of a suitable systemd unit. */
export class NotifyUnusable extends Data.TaggedError("NotifyUnusable")<{ readonly reason: string }> {
  override get message() {
    return `--ready notify cannot be used: ${this.reason}`
  }
}

/** systemd did not answer. A later start may get an answer. */
export class NotifyUnknown extends Data.TaggedError("NotifyUnknown")<{ readonly unit: Unit }> {
  override get message() {
    const { name, scope } = this.unit
    return `--ready notify got no answer: systemctl does not show the unit ${name}; see why with: systemctl ${
      scope === "user" ? "--user " : ""
    }show ${name}`
  }
}

/** How long systemctl may take to answer. */
const askTimeout = Duration.seconds(5)

const properties = ["Type", "NotifyAccess", "ActiveState"] as const

/** Parses the lines `<name>=<value>` that `systemctl show` prints. Pure. */
const parse = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=")
      return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()] as const]
    })
  )

/** The properties of a unit; `None` if systemctl does not show them, for example while D-Bus is still starting. */
const show = (unit: Unit) =>
  output(showUnit(unit, properties), askTimeout).pipe(
    Effect.map(parse),
    Effect.option,
    Effect.map(Option.filter((shown) => properties.every((property) => shown.has(property))))
  )

/** systemctl is asked several times before a start fails, because systemd does not restart a service after a refused setting. */
const patiently = Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(5))

/** The states that follow on the message. `reloading` and `refreshing` are states of a service that was ready before. */
const readyStates: ReadonlySet<string | undefined> = new Set(["active", "reloading", "refreshing"])

/** Why a unit with these properties does not show when its command is ready. `undefined` if it does. Pure. */
const faultOf = (unit: Unit, shown: ReadonlyMap<string, string>): string | undefined => {
  const type = shown.get("Type")
  const access = shown.get("NotifyAccess")
  if (type !== "notify" && type !== "notify-reload") {
    return `${unit.name} has Type=${type}; set Type=notify, or use --ready port or --ready http:/<path>`
  }
  return access === "all"
    ? undefined
    : `${unit.name} has NotifyAccess=${access}, so systemd ignores messages of the command; set NotifyAccess=all`
}

/**
 * Returns an effect that asks systemd whether the command of this process's unit is ready. Fails with `NotifyUnusable` if this
 * process is not the service of a unit with `Type=notify` and `NotifyAccess=all`, and with `NotifyUnknown` if systemd does not
 * answer.
 */
export const make = (
  pid: number,
  { kind, reason }: Verdict
): Effect.Effect<
  Effect.Effect<boolean>,
  NotifyUnusable | NotifyUnknown,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor
> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<CommandExecutor.CommandExecutor>()
    if (kind !== "systemd") {
      return yield* new NotifyUnusable({
        reason: `this process is not a systemd service (${reason}); use --ready port or --ready http:/<path>`
      })
    }
    const unit = yield* ServiceUnit.ofProcess(pid)
    if (Option.isNone(unit) || Option.isNone(yield* notifySocket)) {
      return yield* new NotifyUnusable({
        reason:
          "systemd has set no NOTIFY_SOCKET; use a unit with Type=notify and NotifyAccess=all, or use --ready port"
      })
    }
    const shown = yield* Effect.flatten(show(unit.value)).pipe(
      Effect.retry(patiently),
      Effect.mapError(() => new NotifyUnknown({ unit: unit.value }))
    )
    const fault = faultOf(unit.value, shown)
    if (fault !== undefined) return yield* new NotifyUnusable({ reason: fault })
    return show(unit.value).pipe(
      Effect.map(Option.exists((shown) => readyStates.has(shown.get("ActiveState")))),
      Effect.provide(context)
    )
  })
