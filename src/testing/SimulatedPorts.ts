/**
 * The services `ServerSocket`, `ProbeTransport`, `OwnerWatch` and `PortOwners`, implemented on simulated ports. The rules of the
 * simulated platform decide which addresses exclude each other on one port.
 *
 * Access control (tokens, allowed hosts and origins) is not simulated: no request is refused.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import type { PortOwners } from "../host/PortOwners.ts"
import type * as ProbeTransport from "../host/ProbeTransport.ts"
import type { OwnerWatch } from "../probe/OwnerWatch.ts"
import type { BindError, ServerSocket } from "../server/ServerSocket.ts"
import type { SimulatedWebSocket } from "./ControlConnections.ts"
import { type ForeignBehaviour, listenAsForeign, type SimulatedStranger } from "./ForeignListener.ts"
import { ownerWatch, portOwners, probeTransport } from "./NetworkView.ts"
import { defaultNetworkNamespace, get, makePortTable } from "./PortTable.ts"
import * as SimulatedHttpClient from "./SimulatedHttpClient.ts"
import type { KernelProcess, SimulatedKernel } from "./SimulatedKernel.ts"
import { serverSocket } from "./SimulatedServerSocket.ts"

export type { SimulatedWebSocket } from "./ControlConnections.ts"
export { type ForeignBehaviour, openClaw, type SimulatedStranger } from "./ForeignListener.ts"
export { defaultNetworkNamespace } from "./PortTable.ts"
export { lanAddress } from "./SimulatedAddresses.ts"

/**
 * The network of a simulated host: its listeners, and the network services of each process.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, type SimulatedPorts } from "gateway-lock/testing"
 *
 * const hung: SimulatedPorts.ForeignBehaviour = { _tag: "Stalls" }
 *
 * const test = Effect.scoped(Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   yield* host.ports.foreign({ host: "127.0.0.1", port: 18789 }, hung)
 *   const start = yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   return yield* start.exit // fails with PortInUse after one second of clock time, when the health probe times out
 * }))
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedPorts {
  /**
   * Adds a listener that is no gateway of this package. The listener is removed when the scope closes. It belongs to the process
   * `owner`, or by default to no process of the host.
   */
  readonly foreign: (
    address: Address,
    behaviour: ForeignBehaviour,
    owner?: Pick<KernelProcess, "pid" | "serial">
  ) => Effect.Effect<SimulatedStranger, BindError, Scope.Scope>
  /** Occupies an address without listening on it, as the local end of a connection does. Frees it when the scope closes. */
  readonly connection: (address: Address) => Effect.Effect<void, BindError, Scope.Scope>
  /** Sends a GET request to the listener on an address. */
  readonly get: (address: Address, path: string) => Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed>
  /**
   * A client for requests with any method, headers and body. A response arrives only after its body is complete, so a response
   * with an endless body never arrives.
   */
  readonly client: HttpClient.HttpClient
  /** Opens the control socket (the WebSocket that a gateway itself answers) of the gateway that listens on an address. */
  readonly connect: (address: Address) => Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** Removes 127.0.0.0/8 from a network, as `ip addr del 127.0.0.1/8 dev lo` does. Sockets that are bound there stay bound. */
  readonly loseLoopbackV4: (networkNamespace?: string) => Effect.Effect<void>
  /** The pids of the processes that listen on a port, on any address. A listener of `foreign` without an `owner` has pid 0. */
  readonly owners: (port: number) => ReadonlyArray<number>
  /** Closes the listeners of a process that has ended, and resets its connections. */
  readonly closeAll: (process: KernelProcess) => Effect.Effect<void>
  readonly serverSocket: (process: KernelProcess) => ServerSocket["Type"]
  readonly probeTransport: (process: KernelProcess) => ProbeTransport.ProbeTransport["Type"]
  readonly ownerWatch: (process: KernelProcess) => OwnerWatch["Type"]
  readonly portOwners: (process: KernelProcess) => PortOwners["Type"]
}

/**
 * Makes the network of a simulated kernel. At first, the network has no listeners.
 *
 * @internal
 */
export const make = (kernel: SimulatedKernel): SimulatedPorts => {
  const table = makePortTable(kernel.platform)
  return {
    foreign: listenAsForeign(table),
    connection: table.occupyByConnection,
    get: (address, path) => Effect.flatMap(table.find(address), (bound) => get(bound, path)),
    client: SimulatedHttpClient.make(table),
    connect: (address) => Effect.flatMap(table.find(address), ({ connect }) => connect),
    loseLoopbackV4: (networkNamespace = defaultNetworkNamespace) =>
      Effect.sync(() => table.loseLoopbackV4(networkNamespace)),
    owners: (port) => [...table.bounds].filter((bound) => bound.port === port).map(({ pid }) => pid),
    closeAll: (process) =>
      Effect.gen(function*() {
        for (const bound of table.bounds) {
          if (bound.serial !== process.serial) continue
          table.remove(bound)
          yield* bound.reset
        }
      }),
    serverSocket: serverSocket(kernel, table),
    probeTransport: probeTransport(kernel, table),
    ownerWatch: ownerWatch(kernel, table),
    portOwners: portOwners(kernel, table)
  }
}
