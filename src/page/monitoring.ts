/**
 * The parts of `Monitor` that a start does not need. This module is loaded once the gateway listens.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { hostname, userInfo } from "node:os"
import * as ServiceUnit from "../host/ServiceUnit.ts"
import { forGateway, type Supervised, type Surroundings } from "./commands.ts"
import type { Place } from "./Monitor.ts"

export * as RunLog from "./RunLog.ts"

// Loaded here for the first browser, so that an upgrade that replaces the program's files meanwhile does not matter.
import "./StatusPage.ts"

/** A user without an entry in the user database has no name (getpwuid_r(3)). */
const userName = (): string | undefined => {
  try {
    return userInfo().username
  } catch {
    return undefined
  }
}

/** The names of this host and this process. */
export const place = (): Place => {
  const user = userName()
  return { hostName: hostname(), nodeVersion: process.version, ...(user === undefined ? {} : { user }) }
}

/** The commands for a gateway of this host. */
export const commandsFor = (
  { pid, ...gateway }: Omit<Supervised, "unit"> & { readonly pid: number },
  surroundings: Surroundings
) =>
  Effect.map(
    gateway.supervisor === "systemd" ? ServiceUnit.ofProcess(pid) : Effect.succeedNone,
    (unit) => forGateway({ ...gateway, unit: Option.getOrUndefined(unit) }, surroundings)
  )
