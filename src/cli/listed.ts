/**
 * Finds all gateways for `gateway list`.
 */
import * as Effect from "effect/Effect"
import * as GatewayList from "../inspect/GatewayList.ts"
import type { LookOptions } from "../inspect/GatewayStatus.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import { notice } from "./Notice.ts"

/** How long a health probe may take, from the settings. Prints the problems of the config file on stderr. */
export const healthOf = (flags: ReadonlyMap<string, string>) =>
  GatewayConfig.resolveLenient(flags).pipe(
    Effect.tap(({ problems }) => Effect.forEach(problems, ({ message }) => notice(message), { discard: true })),
    Effect.map(({ config }) => config.health),
    // The command does not fail here, because the list itself reports which folders it could not search.
    Effect.catchTag("FolderUnknown", () => Effect.succeed(undefined))
  )

/** The gateways of this user on this host, and those that systemd runs as system services. */
export const find = (health: LookOptions["health"]) =>
  Effect.flatMap(GatewayList.list({ health }), (ours) => SystemServices.addTo(ours, { health }))
