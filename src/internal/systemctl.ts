/**
 * Commands of systemctl(1) that more than one module runs.
 */
import type * as Command from "@effect/platform/Command"
import type { ServiceUnit } from "../GatewayLockError.ts"
import { child } from "./child.ts"

/** Makes the command that prints these properties of a unit as lines `<name>=<value>`. */
export const showUnit = ({ name, scope }: ServiceUnit, properties: ReadonlyArray<string>): Command.Command =>
  child(
    "systemctl",
    ...(scope === "user" ? ["--user"] : []),
    "show",
    ...properties.map((property) => `--property=${property}`),
    name
  )
