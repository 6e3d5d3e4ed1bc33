/**
 * What a person needs who cannot start a gateway: who holds its lock or port, since when, and what to type next. The program
 * prints this when a start fails, and an app prints the same with `Gateway.report`.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { GatewayLockError } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { PlatformFolders } from "../host/PlatformFolders.ts"
import type * as GatewayList from "../inspect/GatewayList.ts"
import { defaultAddress } from "../settings/GatewayConfig.ts"
import { identified } from "../settings/GatewayIdentity.ts"
import { type Fact, facts, type RunChange, type Start, toJson, toText } from "./facts.ts"
import type { Found, Occupied } from "./occupant.ts"

export type { Fact, RunChange } from "./facts.ts"

/**
 * An error with what is known about it, in three forms.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorReport {
  /** For a terminal or a log: the message, and under it a line for each fact. No line end at the end. */
  readonly text: string
  /** For a log reader: the same in one line of JSON, with the error itself. */
  readonly json: string
  /** The facts alone, in the order of the lines: who holds it, then what can be done. */
  readonly facts: ReadonlyArray<Fact>
}

/**
 * Which start failed, with the names and defaults of `Gateway.GatewayOptions`, and which commands fit the program that started.
 * All optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorReportOptions {
  /** Default 18789. */
  readonly port?: number | undefined
  /** Default `127.0.0.1`. */
  readonly host?: string | undefined
  /** Default `default`. */
  readonly profile?: string | undefined
  /** Default: the profile's. */
  readonly configPath?: string | undefined
  /** Default: the profile's. */
  readonly stateDir?: string | undefined
  /**
   * How the reader calls the program `gateway`, which looks at a gateway of the library and stops it as it does with its own. Default
   * `npx gateway-lock`; where the package is installed for the whole machine, `gateway` is shorter.
   */
  readonly command?: string | undefined
  /**
   * The command that starts your program, with a change: `({ port = 3000 }) => "node server.js --port " + port`. By default the report
   * has no such command, since only you know it: the facts `run`, `runBeside` and `runElsewhere` are left out.
   */
  readonly run?: ((change: RunChange) => string) | undefined
}

/**
 * What a report needs from the machine; `Gateway.layerNode` and the simulated host give it.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = GatewayList.Requirements

/** Who has the port, where the error does not say. Most refusals say it, and load nothing more. */
const found = <R>(
  error: GatewayLockError,
  find: (error: Occupied) => Effect.Effect<Found, never, R>
): Effect.Effect<Found, never, R> => {
  const isOfPort = error._tag === "PortInUse" || error._tag === "OwnerHealthy" || error._tag === "OwnerUnhealthy"
  return isOfPort && error.holder === undefined ? find(error) : Effect.succeed({ error, listener: undefined })
}

/**
 * Gathers what the facts of a failed start depend on. `find` looks for who has a port; it is called only where the error does
 * not say.
 *
 * @internal
 */
export const gather = <R>(
  error: GatewayLockError,
  of: Pick<Start, "self" | "app">,
  find: (error: Occupied) => Effect.Effect<Found, never, R>
): Effect.Effect<
  { readonly error: GatewayLockError; readonly start: Start },
  never,
  FileSystem.FileSystem | PlatformFolders | R
> =>
  Effect.gen(function*() {
    const folders = yield* PlatformFolders
    const fs = yield* FileSystem.FileSystem
    const { error: known, listener } = yield* found(error, find)
    const holder = "holder" in known ? known.holder : undefined
    const configs = new Set([of.self.configName, holder?.configName, holder?.configPath].flatMap((path) => path ?? []))
    const absent = yield* Effect.filter(
      configs,
      (path) => Effect.map(Effect.orElseSucceed(fs.exists(path), () => true), (is) => !is)
    )
    return {
      error: known,
      start: {
        ...of,
        ...(listener === undefined ? {} : { listener }),
        folders: {
          configPath: (profile) => Option.getOrUndefined(Either.getRight(folders.configPath(profile))),
          stateDir: (profile) => Option.getOrUndefined(Either.getRight(folders.stateDir(profile)))
        },
        absent: new Set(absent),
        platform: yield* HostPlatform,
        nowMillis: yield* Clock.currentTimeMillis
      }
    }
  })

/**
 * The report of an error, on a platform of your own: in memory, in tests. `Gateway.report` is the same on Node.
 *
 * Give it the options of the layer that failed: commands name the gateway by them. Where the error does not name the process
 * that has the port, it is looked for, which takes a few seconds at most. A service of the system is found only where the context
 * has a `CommandExecutor`, as that of `Gateway.layerNode` does.
 *
 * Changes nothing and never fails. A wrong option is a defect, `SettingInvalid`, as for `Gateway.layer`.
 *
 * @example
 * import { Console, Effect } from "effect"
 * import { ErrorReport, Gateway, GatewayLockError } from "gateway-lock"
 *
 * const options = { profile: "notes", port: 3000 }
 *
 * const printed = (error: GatewayLockError.GatewayLockError) =>
 *   ErrorReport.make(error, {
 *     ...options,
 *     command: "gateway",
 *     run: ({ port = options.port }) => `node server.js --port ${port}`
 *   }).pipe(Effect.flatMap(({ text }) => Console.error(text)))
 *
 * const program = Gateway.launch(Gateway.layerPlatform(options)).pipe(Effect.tapError(printed))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  error: GatewayLockError,
  options: ErrorReportOptions = {}
): Effect.Effect<ErrorReport, never, Requirements> =>
  Effect.gen(function*() {
    const { address, ...self } = yield* identified(options)
    const { error: known, start } = yield* gather(
      error,
      {
        // No command takes port 0, and a lock is found without a port.
        self: { ...self, host: address.host, port: address.port === 0 ? defaultAddress.port : address.port },
        app: { command: options.command ?? "npx gateway-lock", run: options.run }
      },
      (occupied) => Effect.flatMap(Effect.promise(() => import("./occupant.ts")), ({ find }) => find(occupied))
    )
    return { text: toText(known, start), json: toJson(known, start), facts: facts(known, start) }
  })
