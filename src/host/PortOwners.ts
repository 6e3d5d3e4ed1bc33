/**
 * Finds the processes that listen on a port, so that messages can name these processes. No decision about a lock depends on
 * the result.
 *
 * Linux reads `/proc/net/tcp`, `/proc/net/tcp6` and the open files of the visible processes (proc_net(5), proc_pid_fd(5)).
 * Windows uses netstat, and other systems lsof(8).
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
import { shareReading } from "../internal/shareReading.ts"
import { parseLsof, parseNetstat } from "./LsofNetstat.ts"
import { addressesOf, type PortListener } from "./PortListener.ts"
import * as PortTrial from "./PortTrial.ts"
import * as ProcFiles from "./ProcFiles.ts"
import { parseConnections, parseProcNet } from "./ProcNet.ts"

/** @internal */
export { parseLsof, parseNetstat } from "./LsofNetstat.ts"
/** @internal */
export { conflicting, listenersAt } from "./PortListener.ts"
export type { PortListener } from "./PortListener.ts"
/** @internal */
export { type ConnectedSocket, type ListeningSocket, parseConnections, parseProcNet } from "./ProcNet.ts"

/**
 * The result of looking for the listeners of a port.
 *
 * - `Seen`: the listeners of the port, on any address.
 * - `Unseen`: the system did not show them, and `reason` says why.
 *
 * @since 0.1.0
 * @category models
 */
export type PortListeners =
  | { readonly _tag: "Seen"; readonly listeners: ReadonlyArray<PortListener> }
  | { readonly _tag: "Unseen"; readonly reason: string }

/**
 * The reason why an address cannot be bound although nothing listens there.
 *
 * @since 0.1.0
 * @category models
 */
export interface PortBlocker {
  /** The connection or the bound socket that blocks the address, in words. */
  readonly reason: string
  /** A process that has that socket open. Absent if this process can see none. */
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
   * The listeners of a port, on any address. Never fails, and takes a second at most.
   *
   * The processes in `likely` are examined first. If several processes share a socket, the result names a process of `likely`
   * if one of these has the socket open.
   */
  readonly listeners: (port: number, likely?: ReadonlyArray<number>) => Effect.Effect<PortListeners>
  /** The TCP ports on which these processes listen, ascending. Never fails. Empty if the system does not show them. */
  readonly portsOf: (pids: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<number>>
  /**
   * The reason why a gateway cannot bind an address although nothing listens there. Every gateway also binds 127.0.0.1 on the
   * same port, so that address is checked too. `None` if nothing blocks these addresses, or if the reason cannot be determined.
   * Never fails, and takes two seconds at most.
   */
  readonly blocker: (address: Address) => Effect.Effect<Option.Option<PortBlocker>>
}>() {}

const timeLimit = Duration.seconds(1)

const unseen = (reason: string): PortListeners => ({ _tag: "Unseen", reason })
const seen = (listeners: ReadonlyArray<PortListener>): PortListeners => ({ _tag: "Seen", listeners })

/**
 * Tests the hosts that a gateway on `address` binds, and returns the first host that cannot be bound. Returns `None` if each host
 * can be bound, or if the test takes too long.
 */
const firstTaken = (address: Address): Effect.Effect<Option.Option<string>> =>
  Effect.findFirst(addressesOf(address), (host) => PortTrial.isTaken(host, address.port)).pipe(
    Effect.timeoutTo({ duration: timeLimit, onSuccess: (host) => host, onTimeout: () => Option.none<string>() })
  )

/** The result of `blocker` if an address cannot be bound, and no visible connection explains why. */
const unseenBlocker: PortBlocker = {
  reason: "a process that is not visible from here has bound it and does not listen"
}

// ---------------------------------------------------------------------------
// Linux: proc_net(5)
// ---------------------------------------------------------------------------

const distinct = (ports: ReadonlyArray<number>): ReadonlyArray<number> => [...new Set(ports)].toSorted((a, b) => a - b)

const socketOf = (target: string): string | undefined => /^socket:\[(\d+)\]$/.exec(target)?.[1]

/** Finds, for each of these sockets, a process that has the socket open. Processes in `likely` are examined first. */
const findOwners = (inodes: ReadonlySet<string>, likely: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const owners = new Map<string, number>()
    const file = (pid: number, { target }: ProcFiles.OpenFile): "enough" | "more" => {
      const inode = socketOf(target)
      if (inode !== undefined && inodes.has(inode) && !owners.has(inode)) owners.set(inode, pid)
      return owners.size === inodes.size ? "enough" : "more"
    }
    yield* ProcFiles.scan({ pids: likely, file, limit: timeLimit })
    if (owners.size < inodes.size) yield* ProcFiles.scan({ file, limit: timeLimit })
    return owners
  })

/**
 * The listening sockets of IPv4 and of IPv6. `list` asks for each gateway, and the files have a line for each connection of the host.
 * So all gateways that are inspected at the same time share a reading.
 */
const listeningSockets = (fs: FileSystem.FileSystem) => {
  const table = (path: string) =>
    Effect.option(Effect.map(fs.readFileString(path), (text) => parseProcNet(text, endianness())))
  return shareReading(Effect.all([table("/proc/net/tcp"), table("/proc/net/tcp6")]))
}

const linux: Effect.Effect<PortOwners["Type"], never, FileSystem.FileSystem> = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) =>
    Effect.map(listeningSockets(fs), (tables) => {
      const blockerOf = (host: string, port: number): Effect.Effect<PortBlocker> =>
        Effect.gen(function*() {
          const texts = yield* Effect.forEach(
            ["/proc/net/tcp", "/proc/net/tcp6"],
            (path) => Effect.orElseSucceed(fs.readFileString(path), () => "")
          )
          const connections = texts.flatMap((text) => parseConnections(text, endianness())).filter((socket) =>
            socket.port === port && exclude(socket.host, canonical(host) ?? host)
          )
          // A connection that a process has open is reported rather than a closed connection (inode 0), because the kernel
          // removes a closed connection by itself.
          const connection = connections.toSorted((a, b) => Number(a.inode === "0") - Number(b.inode === "0"))[0]
          if (connection === undefined) return unseenBlocker
          const { inode, peer } = connection
          const to = `${urlHost(peer.host)}:${peer.port}`
          if (inode === "0") return { reason: `a closed connection to ${to} keeps it in use for up to a minute` }
          const pid = (yield* findOwners(new Set([inode]), [])).get(inode)
          if (pid === undefined) {
            return { reason: `a process that is not visible from here uses it for a connection to ${to}` }
          }
          const command = ProcFiles.commandOf(pid)
          return {
            reason: `pid ${pid}${command === undefined ? "" : ` (${command})`} uses it for a connection to ${to}`,
            pid,
            ...(command === undefined ? {} : { command })
          }
        })
      const listening = Effect.map(
        tables,
        ([v4, v6]) => [...Option.getOrElse(v4, () => []), ...Option.getOrElse(v6, () => [])]
      )
      return PortOwners.of({
        portsOf: (pids) =>
          Effect.gen(function*() {
            const sockets = yield* listening
            const inodes = new Set<string | undefined>()
            const file = (_: number, { target }: ProcFiles.OpenFile) => {
              inodes.add(socketOf(target))
              return "more" as const
            }
            yield* ProcFiles.scan({ pids, file, limit: timeLimit })
            return distinct(sockets.flatMap(({ inode, port }) => inodes.has(inode) ? [port] : []))
          }),
        blocker: (address) =>
          Effect.flatMap(
            firstTaken(address),
            (host) => Option.isNone(host) ? Effect.succeedNone : Effect.asSome(blockerOf(host.value, address.port))
          ),
        listeners: (port, likely = []) =>
          Effect.gen(function*() {
            const [v4, v6] = yield* tables
            // `v6` may be absent: /proc/net/tcp6 does not exist if IPv6 is switched off.
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
    })
)

/**
 * Provides `PortOwners` from `/proc`. A process sees the open files of another user's process only if it runs as root. Otherwise
 * the result does not name such a process.
 *
 * @internal
 */
export const layerProc: Layer.Layer<PortOwners, never, FileSystem.FileSystem> = Layer.effect(PortOwners, linux)

// ---------------------------------------------------------------------------
// Other systems: lsof(8), netstat
// ---------------------------------------------------------------------------

const byCommand = (
  command: (port: number) => Command.Command,
  all: Command.Command,
  name: string,
  parse: (text: string) => ReadonlyArray<PortListener>
): Effect.Effect<PortOwners["Type"], never, CommandExecutor.CommandExecutor> =>
  Effect.map(Effect.context<CommandExecutor.CommandExecutor>(), (context) =>
    PortOwners.of({
      blocker: (address) => Effect.map(firstTaken(address), Option.as(unseenBlocker)),
      portsOf: (pids) =>
        output(all, timeLimit).pipe(
          Effect.map((text) =>
            distinct(parse(text).flatMap(({ pid, port }) => pid !== undefined && pids.includes(pid) ? [port] : []))
          ),
          Effect.orElseSucceed(() => []),
          Effect.provide(context)
        ),
      listeners: (port) =>
        output(command(port), timeLimit).pipe(
          Effect.map((text) => seen(parse(text).filter((listener) => listener.port === port))),
          Effect.orElseSucceed(() => unseen(`${name} gave no result`)),
          Effect.provide(context)
        )
    }))

const lsof = byCommand(
  (port) => child("lsof", "-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-F", "ptn"),
  child("lsof", "-nP", "-iTCP", "-sTCP:LISTEN", "-F", "ptn"),
  "lsof",
  parseLsof
)

const netstat = byCommand(
  () => child("netstat.exe", "-ano"),
  child("netstat.exe", "-ano"),
  "netstat",
  parseNetstat
)

/**
 * Provides `PortOwners` by lsof(8). lsof names only the processes of this user, or all processes if this user is root.
 *
 * @internal
 */
export const layerLsof: Layer.Layer<PortOwners, never, CommandExecutor.CommandExecutor> = Layer.effect(PortOwners, lsof)

/**
 * Provides `PortOwners` by `netstat -ano`.
 *
 * @internal
 */
export const layerNetstat: Layer.Layer<PortOwners, never, CommandExecutor.CommandExecutor> = Layer.effect(
  PortOwners,
  netstat
)

/**
 * Makes `PortOwners` from `/proc` on Linux, `netstat` on Windows and `lsof` elsewhere. `platform` is a value of `process.platform`.
 *
 * @internal
 */
export const make = (
  platform: string
): Effect.Effect<PortOwners["Type"], never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  platform === "linux" ? linux : platform === "win32" ? netstat : lsof

/**
 * `make` as a layer.
 *
 * @internal
 */
export const layer = (
  platform: string
): Layer.Layer<PortOwners, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> =>
  Layer.effect(PortOwners, make(platform))

/**
 * Makes `PortOwners` by the means of the platform that this process runs on. A start uses it instead of `layerLive`, because to
 * build a layer would take the start a fraction of a millisecond.
 *
 * @internal
 */
export const makeLive: Effect.Effect<
  PortOwners["Type"],
  never,
  FileSystem.FileSystem | CommandExecutor.CommandExecutor
> = Effect.suspend(() => make(process.platform))

/**
 * Finds the listening processes by the means of the platform that this process runs on: `/proc`, netstat or lsof(8).
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLive: Layer.Layer<PortOwners, never, FileSystem.FileSystem | CommandExecutor.CommandExecutor> = Layer
  .effect(PortOwners, makeLive)
