/**
 * The reports that `--watch` repeats. This module is loaded only for `--watch`.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { HostPlatform } from "../host/HostPlatform.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import type { GatewayList } from "../inspect/GatewayList.ts"
import type { GatewayStatus } from "../inspect/GatewayStatus.ts"
import { variable } from "../internal/environment.ts"
import { lockFolder } from "../lock/LockPaths.ts"
import { isLeased } from "../settings/LeaseSettings.ts"
import * as Changes from "./Changes.ts"
import * as Inspected from "./inspected.ts"
import { find, healthOf } from "./listed.ts"
import * as ListReport from "./ListReport.ts"
import type { Reported } from "./parsedCommands.ts"
import * as Screen from "./Screen.ts"
import * as StatusReport from "./StatusReport.ts"
import { intervalOf, type Options, watch } from "./watch.ts"

type Asked = Pick<Reported, "flags" | "json" | "interval">

/** How this process shows the report. A terminal that is `dumb` cannot move its cursor. */
const formFor = (json: boolean, isTerminal: boolean): Effect.Effect<Options["form"]> =>
  json
    ? Effect.succeed("lines")
    : Effect.map(variable("TERM"), (term) => isTerminal && Option.getOrUndefined(term) !== "dumb" ? "screen" : "text")

const optionsOf = ({ interval, json }: Asked, isTerminal: boolean) =>
  Effect.all({ interval: intervalOf(interval), form: formFor(json, isTerminal) })

/** JSON on one line instead of several. */
const onOneLine = (json: string): string => JSON.stringify(JSON.parse(json))

/** The pid of an owner that runs on this host. */
const pidOf = ({ lock, owner }: GatewayStatus): ReadonlyArray<number> =>
  lock.state === "held" && owner?.pid !== undefined && owner.pidMeaning === "Alive" ? [owner.pid] : []

/** `gateway status --watch`. */
export const status = (asked: Asked, style: StatusReport.Style, isTerminal: boolean) =>
  Effect.gen(function*() {
    const options = yield* optionsOf(asked, isTerminal)
    const changes = yield* Changes.make
    const platform = yield* HostPlatform
    yield* watch({
      title: "gateway status",
      look: Inspected.inspectWithConfig(asked.flags),
      toText: ({ config, status }, now) =>
        StatusReport.toText(status, { flags: asked.flags, isLeased: isLeased(config.lease) }, now, style, platform),
      toJson: ({ status }) => onOneLine(StatusReport.toJson(status)),
      overflow: "wrap",
      changed: ({ status }) => changes({ folders: [lockFolder(status)], pids: pidOf(status) })
    }, options)
  }).pipe(Effect.scoped, Effect.provideService(Screen.Screen, Screen.live))

/** The folders in which gateways of this user appear and change. */
const foldersOf = ({ gateways }: GatewayList) =>
  Effect.map(PlatformFolders, ({ stateRoot }) => [
    ...(Either.isRight(stateRoot) ? [stateRoot.right] : []),
    ...gateways.map(lockFolder)
  ])

/** `gateway list --watch`. */
export const list = (asked: Asked, style: StatusReport.Style, isTerminal: boolean) =>
  Effect.gen(function*() {
    const options = yield* optionsOf(asked, isTerminal)
    const changes = yield* Changes.make
    const health = yield* healthOf(asked.flags)
    yield* watch({
      title: "gateway list",
      look: find(health),
      toText: (seen, now) => ListReport.toText(seen, now, style),
      toJson: (seen) => onOneLine(ListReport.toJson(seen)),
      overflow: "cut",
      changed: (seen) =>
        Effect.flatMap(foldersOf(seen), (folders) => changes({ folders, pids: seen.gateways.flatMap(pidOf) }))
    }, options)
  }).pipe(Effect.scoped, Effect.provideService(Screen.Screen, Screen.live))
