/**
 * Finds the listening socket that systemd passed to this process (sd_listen_fds(3)). systemd keeps the socket open while it
 * restarts the service, so no connection is refused during a restart.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { variable } from "../internal/environment.ts"

/** The number of the first descriptor that systemd passes, `SD_LISTEN_FDS_START`. */
const firstPassed = 3

/**
 * The value of `LISTEN_FDS` is neither 0 nor 1. A gateway cannot serve several sockets that systemd passes.
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
 * Returns the descriptor of the passed socket: 3, `SD_LISTEN_FDS_START`. `None` if no socket was passed.
 *
 * Reads `LISTEN_FDS` and `LISTEN_PID`. If `LISTEN_PID` is not `pid`, these variables belong to another process, so the result is
 * `None`. Fails with `ActivationInvalid` if `LISTEN_FDS` is neither 0 nor 1.
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
