/**
 * `gateway list`: lists the gateways of this user on this host, and those that systemd runs as system services.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { CommandLine } from "./CommandLine.ts"
import * as Inspected from "./inspected.ts"
import { find, healthOf } from "./listed.ts"
import * as ListReport from "./ListReport.ts"
import type { Style } from "./StatusReport.ts"
import { print } from "./Stdout.ts"

export const list = (
  command: Extract<CommandLine, { readonly _tag: "List" }>,
  style: Style,
  isTerminal: boolean
) =>
  Effect.gen(function*() {
    const { flags, json } = command
    if (command.watch) {
      const watched = yield* Effect.promise(() => import("./watched.ts"))
      return yield* watched.list(command, style, isTerminal)
    }
    const seen = yield* Effect.flatMap(healthOf(flags), find)
    yield* print(json ? ListReport.toJson(seen) : ListReport.toText(seen, yield* Clock.currentTimeMillis, style))
  }).pipe(Effect.provide(Inspected.layer))
