/**
 * The read-only commands share this module. It inspects a gateway, even if the config file of the gateway has problems.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { layer as platform } from "../gateway/LazyPlatform.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import * as PortOwners from "../host/PortOwners.ts"
import type * as GatewayStatus from "../inspect/GatewayStatus.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"

/** The host capabilities that the read-only commands need. */
export const layer = Layer.merge(PortOwners.layerLive, OpenLockFiles.layerLive).pipe(Layer.provideMerge(platform))

/**
 * Inspects the gateway that the flags and the environment select, and returns their settings too. Fails with `SettingInvalid` if a
 * flag or an environment variable is invalid. Problems of the config file become warnings.
 */
export const inspectWithConfig = (
  flags: ReadonlyMap<string, string>,
  options: Pick<GatewayStatus.LookOptions, "listeners"> = {}
) =>
  Effect.gen(function*() {
    const { config, problems } = yield* GatewayConfig.resolveLenient(flags)
    const { configName, configPath, health, host, port, profile, stateDir } = config
    const status = yield* SystemServices.inspect({
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
    return { config, status }
  })

/** Does the same, and returns only what it has seen. */
export const inspect = (
  flags: ReadonlyMap<string, string>,
  options: Pick<GatewayStatus.LookOptions, "listeners"> = {}
) => Effect.map(inspectWithConfig(flags, options), ({ status }) => status)
