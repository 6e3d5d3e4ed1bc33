/**
 * Explains a failed start to a person: which process holds the lock or port, since when, and what to type next. The program
 * `gateway` prints this report when a start fails. An app gets the same report from `Gateway.report`.
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
import { defaultAddress, defaultProfile } from "../settings/GatewayConfig.ts"
import { type GatewayIdentity, identify } from "../settings/GatewayIdentity.ts"
import { type Fact, facts, type RunChange, type Start } from "./facts.ts"
import { toJson, toText } from "./formats.ts"
import type { Found, Occupied } from "./occupant.ts"

export type { Fact, RunChange } from "./facts.ts"

/**
 * An error and the facts that are known about it, in three forms.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorReport {
  /** For a terminal or a log: the message, and below it a line for each fact. There is no line end after the last line. */
  readonly text: string
  /** For a program that reads logs: the same content in one line of JSON, with the error itself. */
  readonly json: string
  /** The facts alone, in the order of the lines: first the holder, then the possible next steps. */
  readonly facts: ReadonlyArray<Fact>
}

/**
 * The options of the start that failed, and the commands that the report can suggest. The options of the start have the same
 * names and defaults as in `Gateway.GatewayOptions`. All options are optional.
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
  /** Default: the profile's config file. */
  readonly configPath?: string | undefined
  /** Default: the profile's state directory. */
  readonly stateDir?: string | undefined
  /**
   * The command with which the reader of the report runs the program `gateway`. That program can also inspect and stop a gateway
   * that an app runs with the library. Default `npx gateway-lock`. The shorter `gateway` is enough if the package is installed
   * globally.
   */
  readonly command?: string | undefined
  /**
   * Builds the command that starts your program with changed options: `({ port = 3000 }) => "node server.js --port " + port`.
   * Only you know this command. By default the report leaves out the facts that need this command: `run`, `runBeside` and
   * `runElsewhere`.
   */
  readonly run?: ((change: RunChange) => string) | undefined
}

/**
 * The services that a report needs from the machine. `Gateway.layerNode` and the simulated host provide them.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = GatewayList.Requirements

/**
 * Finds the process that uses the port, if the error is about a port and does not name that process. `find` loads another module,
 * so it runs only for such an error.
 */
const found = <R>(
  error: GatewayLockError,
  find: (error: Occupied) => Effect.Effect<Found, never, R>
): Effect.Effect<Found, never, R> => {
  const isOfPort = error._tag === "PortInUse" || error._tag === "OwnerHealthy" || error._tag === "OwnerUnhealthy"
  return isOfPort && error.holder === undefined ? find(error) : Effect.succeed({ error, listener: undefined })
}

/**
 * Collects what the facts of a failed start depend on. `find` looks for the process that uses the port. It is called only if the
 * error is about a port and does not name that process.
 *
 * @internal
 */
export const gather = <R>(
  error: GatewayLockError,
  of: Pick<Start, "self" | "app" | "exec">,
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
 * The identity of a gateway if the default folders are unknown, for example because the user has no home folder. A path that the
 * options do not contain is then empty, and the commands in the report leave it out.
 */
const withoutFolders = (options: ErrorReportOptions): GatewayIdentity => ({
  profile: options.profile ?? defaultProfile,
  address: { host: options.host ?? defaultAddress.host, port: options.port ?? defaultAddress.port },
  configPath: options.configPath ?? "",
  configName: options.configPath ?? "",
  stateDir: options.stateDir ?? ""
})

/**
 * Builds the report of an error on a platform that you provide, for example an in-memory platform in tests. `Gateway.report` does
 * the same on Node.
 *
 * Pass the options of the layer that failed, because the commands in the report identify the gateway by these options. If the
 * error does not name the process that uses the port, this function looks for the process, which takes a few seconds at most. It
 * finds system services only if the context has a `CommandExecutor`, as the context from `Gateway.layerNode` does.
 *
 * Changes nothing and never fails. An invalid option is a defect, `SettingInvalid`, as for `Gateway.layer`.
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
    const { address, ...self } = yield* Effect.catchTag(
      identify(options),
      "FolderUnknown",
      () => Effect.succeed(withoutFolders(options))
    )
    const { error: known, start } = yield* gather(
      error,
      {
        // The report suggests commands with this address. No command accepts port 0, so they get the default port instead. They
        // still find the lock, because a command finds it by the config file and the state directory.
        self: { ...self, host: address.host, port: address.port === 0 ? defaultAddress.port : address.port },
        app: { command: options.command ?? "npx gateway-lock", run: options.run }
      },
      (occupied) => Effect.flatMap(Effect.promise(() => import("./occupant.ts")), ({ find }) => find(occupied))
    )
    return { text: toText(known, start), json: toJson(known, start), facts: facts(known, start) }
  })
