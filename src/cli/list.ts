/**
 * `gateway list`: lists the gateways of this user on this host, and those that systemd runs as system services.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as GatewayList from "../inspect/GatewayList.ts"
import * as SystemServices from "../inspect/SystemServices.ts"
import * as GatewayConfig from "../settings/GatewayConfig.ts"
import type { CommandLine } from "./CommandLine.ts"
import * as Inspected from "./inspected.ts"
import * as ListReport from "./ListReport.ts"
import { notice } from "./Notice.ts"
import type { Style } from "./StatusReport.ts"
import { print } from "./Stdout.ts"

export const list = ({ flags, json }: Extract<CommandLine, { readonly _tag: "List" }>, style: Style) =>
  Effect.gen(function*() {
    const health = yield* GatewayConfig.resolveLenient(flags).pipe(
      Effect.tap(({ problems }) => Effect.forEach(problems, ({ message }) => notice(message), { discard: true })),
      Effect.map(({ config }) => config.health),
      // The command does not fail here, because the list itself reports which folders it could not search.
      Effect.catchTag("FolderUnknown", () => Effect.succeed(undefined))
    )
    const ours = yield* GatewayList.list({ health })
    const seen = yield* SystemServices.addTo(ours, { health })
    yield* print(json ? ListReport.toJson(seen) : ListReport.toText(seen, yield* Clock.currentTimeMillis, style))
  }).pipe(Effect.provide(Inspected.layer))
