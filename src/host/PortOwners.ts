/**
 * Which process listens on a port? For the message alone: nothing is decided by it.
 *
 * On Linux from `/proc/net/tcp`, `/proc/net/tcp6` and the open files of the processes that can be seen (proc_net(5),
 * proc_pid_fd(5)); elsewhere, as far as they tell, from lsof(8) and netstat.
 *
 * @since 0.1.0
 */
import type * as Command from "@effect/platform/Command"
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { endianness } from "node:os"
import { type Address, canonical, exclude, urlHost } from "../Address.ts"
import { child, output } from "../internal/child.ts"
import { parseLsof, parseNetstat } from "./LsofNetstat.ts"
import { addressesOf, type PortListener } from "./PortListener.ts"
import * as PortTrial from "./PortTrial.ts"
import * as ProcFiles from "./ProcFiles.ts"
import { parseConnections, parseProcNet } from "./ProcNet.ts"

/** @internal */
export { parseLsof, parseNetstat } from "./LsofNetstat.ts"
/** @internal */
export { at, conflicting } from "./PortListener.ts"
export type { PortListener } from "./PortListener.ts"
/** @internal */
export { type ConnectedSocket, type ListeningSocket, parseConnections, parseProcNet } from "./ProcNet.ts"

/**
 * - `Seen`: these listen, on any address.
 * - `Unseen`: it cannot be told, for that reason.
 *
 * @since 0.1.0
 * @category models
 */
export type PortListeners =
  | { readonly _tag: "Seen"; readonly listeners: ReadonlyArray<PortListener> }
  | { readonly _tag: "Unseen"; readonly reason: string }

/**
 * What keeps an address from being bound, though nothing listens there.
 *
 * @since 0.1.0
 * @category models
 */
export interface PortBlocker {
  /** What has it, in words: a connection, a socket that does not listen. */
  readonly reason: string
  /** A process that has it open; absent where none can be seen from here. */
  readonly pid?: number
  /** The program's file name, without arguments. */
  readonly command?: string
}

/**
 * The processes that listen on a port, as far as the system shows them to this user.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Console, Effect } from "effect"
 * import { Host } from "gateway-lock"
 *
 * const program = Effect.gen(function*() {
 *   const { listeners } = yield* Host.PortOwners.PortOwners
 *   const seen = yield* listeners(18789)
 *   if (seen._tag === "Seen") yield* Console.log("listening: pids", seen.listeners.map(({ pid }) => pid))
 * }).pipe(Effect.provide(Host.PortOwners.layerLive), Effect.provide(NodeContext.layer))
 *
 * @since 0.1.0
 * @category tags
 */
export class PortOwners extends Context.Tag("gateway-lock/PortOwners")<PortOwners, {
  /**
   * Who listens on a port, on any address. Never fails, and takes a second at most. `likely` are the processes to look
   * at first: of several that share a socket, one of them is named.
   */
  readonly listeners: (port: number, likely?: ReadonlyArray<number>) => Effect.Effect<PortListeners>
  /**
   * What keeps a gateway from binding an address on which nothing listens, or its guard address; `None` where nothing does,
   * or that cannot be told. Never fails, and takes two seconds at most.
   */
  readonly blocker: (address: Address) => Effect.Effect<Option.Option<PortBlocker>>
}>() {}

const timeLimit = Duration.seconds(1)

const unseen = (reason: string): PortListeners => ({ _tag: "Unseen", reason })
const seen = (listeners: ReadonlyArray<PortListener>): PortListeners => ({ _tag: "Seen", listeners })

/** The first of the addresses that a gateway would bind, and cannot. */
const firstTaken = (address: Address): Effect.Effect<Option.Option<string>> =>
  Effect.findFirst(addressesOf(address), (host) => PortTrial.isTaken(host, address.port)).pipe(
    Effect.timeoutTo({ duration: timeLimit, onSuccess: (host) => host, onTimeout: () => Option.none<string>() })
  )

const unseenBlocker: PortBlocker = { reason: "a process that cannot be seen has bound it, and does not listen" }

// ---------------------------------------------------------------------------
// Linux: proc_net(5)
// ---------------------------------------------------------------------------

const socketOf = (target: string): string | undefined => /^socket:\[(\d+)\]$/.exec(target)?.[1]

/** Which process has each of these sockets open. */
const findOwners = (inodes: ReadonlySet<string>, likely: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const owners = new Map<string, number>()
    const look = (pid: number, files: () => ReadonlyArray<ProcFiles.OpenFile>): "enough" | "more" => {
      for (const { target } of files()) {
        const inode = socketOf(target)
        if (inode !== undefined && inodes.has(inode) && !owners.has(inode)) owners.set(inode, pid)
      }
      return owners.size === inodes.size ? "enough" : "more"
    }
    for (const pid of likely) {
      if (look(pid, () => ProcFiles.openFiles(pid)) === "enough") return owners
    }
    yield* ProcFiles.scan(look, timeLimit)
    return owners
  })

const linux: Effect.Effect<PortOwners["Type"], never, FileSystem.FileSystem> = Effect.map(
  FileSystem.FileSystem,
  (fs) => {
    const table = (path: string) =>
      Effect.option(Effect.map(fs.readFileString(path), (text) => parseProcNet(text, endianness())))
    const blockerOf = (host: string, port: number): Effect.Effect<PortBlocker> =>
      Effect.gen(function*() {
        const texts = yield* Effect.forEach(
          ["/proc/net/tcp", "/proc/net/tcp6"],
          (path) => Effect.orElseSucceed(fs.readFileString(path), () => "")
        )
        const connections = texts.flatMap((text) => parseConnections(text, endianness())).filter((socket) =>
          socket.port === port && exclude(socket.host, canonical(host) ?? host)
        )
        // That of a process first: the kernel lets go of an ended one by itself.
        const connection = connections.toSorted((a, b) => Number(a.inode === "0") - Number(b.inode === "0"))[0]
        if (connection === undefined) return unseenBlocker
        const { inode, peer } = connection
        const to = `${urlHost(peer.host)}:${peer.port}`
        if (inode === "0") return { reason: `a connection to ${to} that has ended keeps it for up to a minute` }
        const pid = (yield* findOwners(new Set([inode]), [])).get(inode)
        if (pid === undefined) return { reason: `a process that cannot be seen has a connection to ${to} from it` }
        const command = ProcFiles.commandOf(pid)
        return {
          reason: `pid ${pid}${command === undefined ? "" : ` (${command})`} has a connection to ${to} from it`,
          pid,
          ...(command === undefined ? {} : { command })
        }
      })
    return PortOwners.of({
      blocker: (address) =>
        Effect.flatMap(
          firstTaken(address),
          (host) => Option.isNone(host) ? Effect.succeedNone : Effect.asSome(blockerOf(host.value, address.port))
        ),
      listeners: (port, likely = []) =>
        Effect.gen(function*() {
          const [v4, v6] = yield* Effect.all([table("/proc/net/tcp"), table("/proc/net/tcp6")])
          // IPv6 can be switched off, and then has no table.
          if (v4._tag === "None") return unseen("/proc/net/tcp cannot be read")
          const sockets = [...v4.value, ...(v6._tag === "Some" ? v6.value : [])].filter((socket) =>
            socket.port === port
          )
          if (sockets.length === 0) return seen([])
          const owners = yield* findOwners(new Set(sockets.map(({ inode }) => inode)), likely)
          return seen(sockets.map(({ host, inode }) => {
            const pid = owners.get(inode)
            return { host, port, ...(pid === undefined ? {} : { pid }) }
          }))
        })
    })
  }
)

/**
 * From `/proc`. A process of another user, or one that `/proc` hides, is not named.
 *
 * @internal
 */
export const layerProc: Layer.Layer<PortOwners, never, FileSystem.FileSystem> = Layer.effect(PortOwners, linux)

// ---------------------------------------------------------------------------
// elsewhere: lsof(8), netstat
// ---------------------------------------------------------------------------

const byCommand = (
  command: (port: number) => Command.Command,
  name: string,
  parse: (text: string) => ReadonlyArray<PortListener>
): Layer.Layer<PortOwners, never, CommandExecutor.CommandExecutor> =>
  Layer.effect(
    PortOwners,
    Effect.map(Effect.context<CommandExecutor.CommandExecutor>(), (context) =>
      PortOwners.of({
        blocker: (address) => Effect.map(firstTaken(address), Option.as(unseenBlocker)),
        listeners: (port) =>
          output(command(port), timeLimit).pipe(
            Effect.map((text) => seen(parse(text).filter((listener) => listener.port === port))),
            Effect.orElseSucceed(() => unseen(`${name} did not tell`)),
            Effect.provide(context)
          )
      }))
  )

/**
 * From lsof(8), which names this user's processes, and root everybody's.
 *
 * @internal
 */
export const layerLsof: Layer.Layer<PortOwners, never, CommandExecutor.CommandExecutor> = byCommand(
  (port) => child("lsof", "-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-F", "ptn"),
  "lsof",
  parseLsof
)

/**
 * From `netstat -ano`.
 *
 * @internal
 */
export const layerNetstat: Layer.Layer<PortOwners, never, CommandExecutor.CommandExecutor> = byCommand(
  () => child("netstat.exe", "-ano"),
  "netstat",
  parseNetstat
)

/**
 * The one that fits the platform (`platform` as `process.platform` has it): `/proc` on Linux, `netstat` on Windows,
 * `lsof` elsewhere.
 *
 * @internal
 */
export const layer = (
  platform: string
): Layer.Layer<PortOwners, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  platform === "linux" ? layerProc : platform === "win32" ? layerNetstat : layerLsof

/**
 * That of the platform that this process runs on.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<PortOwners, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> = Layer
  .suspend(() => layer(process.platform))
