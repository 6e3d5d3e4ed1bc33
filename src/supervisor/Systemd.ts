/**
 * The interface between a service and systemd: the socket that systemd passes to the service, and the notifications that the
 * service sends (`READY=1`, `STOPPING=1`, `WATCHDOG=1`).
 *
 * @example
 * import { Effect } from "effect"
 * import { Systemd } from "gateway-lock"
 *
 * // An app tells systemd that it migrates its data. The migration must end within TimeoutStartSec of the app's unit.
 * const migrating = Effect.flatMap(Systemd.SystemdNotify.SystemdNotify, ({ notify }) =>
 *   notify("STATUS=migrating the data"))
 *
 * @since 0.1.0
 */
export * as SocketActivation from "./SocketActivation.ts"
export * as SystemdNotify from "./SystemdNotify.ts"
