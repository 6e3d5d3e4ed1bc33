/**
 * A listening socket that systemd passed to us (sd_listen_fds(3)): a restart then refuses no connection, since the socket
 * stays open between two processes.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { variable } from "../internal/environment.ts"

/** The first passed descriptor, `SD_LISTEN_FDS_START`. */
const firstPassed = 3

/**
 * More sockets than a gateway can serve were passed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ActivationInvalid extends Data.TaggedError("ActivationInvalid")<{
  readonly count: string
}> {
  override get message() {
    return `invalid LISTEN_FDS ${JSON.stringify(this.count)}: expected 1, one ListenStream= in the socket unit`
  }
}

/**
 * The descriptor of the passed socket; `None` where none was passed, or where the variables are another process's.
 *
 * From `LISTEN_FDS` and `LISTEN_PID`, which counts only where it is `pid`: 3, `SD_LISTEN_FDS_START`. Fails with
 * `ActivationInvalid` where more than one was passed.
 *
 * @example
 * import { Effect, Layer, Option } from "effect"
 * import { Gateway, Systemd } from "gateway-lock"
 *
 * const Server = Layer.unwrapEffect(Effect.map(
 *   Systemd.SocketActivation.passedSocket(process.pid),
 *   (passed) => Gateway.layer({ port: 18789, passedSocket: Option.getOrUndefined(passed) })
 * ))
 *
 * @since 0.1.0
 * @category constructors
 */
export const passedSocket = (pid: number): Effect.Effect<Option.Option<number>, ActivationInvalid> =>
  Effect.gen(function*() {
    const forPid = yield* variable("LISTEN_PID")
    const count = yield* variable("LISTEN_FDS")
    if (Option.isNone(count) || !Option.contains(forPid, String(pid)) || count.value === "0") return Option.none()
    if (count.value !== "1") return yield* new ActivationInvalid({ count: count.value })
    return Option.some(firstPassed)
  })
