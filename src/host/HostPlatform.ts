/**
 * The operating system that this process runs on.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * The operating system, a value of `process.platform` such as `linux`, `darwin` or `win32`. This value decides which rules of
 * the operating system a gateway follows, and which commands its messages advise.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway, Host } from "gateway-lock"
 *
 * // In a test: advice as on Windows.
 * const status = Effect.provideService(Gateway.inspect({ port: 18789 }), Host.HostPlatform.HostPlatform, "win32")
 *
 * @since 0.1.0
 * @category references
 */
export class HostPlatform extends Context.Reference<HostPlatform>()("gateway-lock/HostPlatform", {
  defaultValue: (): NodeJS.Platform => process.platform
}) {}
