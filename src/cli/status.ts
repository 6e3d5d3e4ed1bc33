/**
 * `gateway status`: shows the owner of this gateway's lock and port, and whether it is healthy.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { HostPlatform } from "../host/HostPlatform.ts"
import { isLeased } from "../settings/GatewayConfig.ts"
import type { CommandLine } from "./CommandLine.ts"
import { Answered } from "./ExitStatus.ts"
import * as Inspected from "./inspected.ts"
import * as StatusReport from "./StatusReport.ts"
import { print } from "./Stdout.ts"

export const status = (
  command: Extract<CommandLine, { readonly _tag: "Status" }>,
  style: StatusReport.Style,
  isTerminal: boolean
) =>
  Effect.gen(function*() {
    const { flags, json } = command
    if (command.watch) {
      const watched = yield* Effect.promise(() => import("./watched.ts"))
      return yield* watched.status(command, style, isTerminal)
    }
    const { config, status: seen } = yield* Inspected.inspectWithConfig(flags)
    const now = yield* Clock.currentTimeMillis
    const asked = { flags, isLeased: isLeased(config.lease) }
    yield* print(json ? StatusReport.toJson(seen) : StatusReport.toText(seen, asked, now, style, yield* HostPlatform))
    return new Answered({ status: StatusReport.exitStatusOf(seen.verdict) })
  }).pipe(Effect.provide(Inspected.layer))
