/**
 * What the commands that only look have in common: a gateway seen through settings that may be broken, and the platform.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PortOwners from "../host/PortOwners.ts"
import type * as GatewayStatus from "../inspect/GatewayStatus.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import { layer as platform } from "./platform.ts"

/** The operating system, as looking needs it. */
export const layer = PortOwners.layerLive.pipe(Layer.provideMerge(platform))

/** Fails with `SettingInvalid` for a flag or a variable; what is wrong with the config file is among the warnings. */
export const inspect = (
  flags: ReadonlyMap<string, string>,
  options: Pick<GatewayStatus.LookOptions, "listeners"> = {}
) =>
  Effect.gen(function*() {
    const { config, problems } = yield* GatewayConfig.resolveLenient(flags)
    const { configName, configPath, health, host, port, profile, stateDir } = config
    return yield* SystemServices.inspect({
      ...options,
      configName,
      configPath,
      health,
      host,
      port,
      profile,
      stateDir,
      warnings: problems.map(({ message }) => message)
    })
  })
