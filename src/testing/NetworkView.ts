/**
 * The network of a simulated host as one of its processes sees it. The process can probe a port, wait for the end of the
 * gateway on a port, and list the listeners.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import { type Address, coversGuard, guardHost, isLoopback, isWildcard, toUrl } from "../Address.ts"
import { PortOwners } from "../host/PortOwners.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import { NotWatchable, OwnerWatch } from "../probe/OwnerWatch.ts"
import { type Bound, get, type PortTable } from "./PortTable.ts"
import { type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

/**
 * How long Windows takes to refuse a connection to a port without a listener, on an address that is not loopback. The refusal is slow
 * because Windows sends the SYN again after each reset (Microsoft KB 175523). For loopback, libuv turns
 * this resending off (`uv__tcp_connect` in src/win/tcp.c).
 */
const windowsRefusal = Duration.seconds(2)

/** Makes the `ProbeTransport` service of a process. This service sends HTTP requests to listeners of the host. */
export const probeTransport =
  (kernel: SimulatedKernel, table: PortTable) => (process: KernelProcess): ProbeTransport.ProbeTransport["Type"] =>
    ProbeTransport.ProbeTransport.of({
      get: (address, path, connecting = MutableRef.make(false)) =>
        systemCall(
          kernel,
          process,
          { name: "connect", target: toUrl(address) },
          (code) => new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: `${code}: simulated error` }),
          () =>
            Effect.suspend(() => {
              MutableRef.set(connecting, true)
              const isSlow = kernel.platform === "win32" && !isLoopback(address.host) && !isWildcard(address.host)
              return table.find(address, process.networkNamespace).pipe(
                Effect.tapError(() => isSlow ? Effect.sleep(windowsRefusal) : Effect.void),
                Effect.tap(() => Effect.sync(() => MutableRef.set(connecting, false)))
              )
            }).pipe(Effect.flatMap((bound) => get(bound, path)))
        )
    })

/**
 * Opens a connection to a listener and waits for the listener's end, as the live layer of `OwnerWatch` does. The handshake times
 * out after one second. An interruption closes the connection.
 */
const watchBound = (bound: Bound, address: Address) =>
  Effect.acquireUseRelease(
    Effect.interruptible(Effect.timeoutFail(bound.watch, {
      duration: "1 second",
      onTimeout: () => new NotWatchable({ ...address, reason: "gave no answer within 1000ms" })
    })),
    ({ closed }) => Effect.asVoid(Deferred.await(closed)),
    ({ close }) => close
  )

/**
 * The pid of the listening process, whose serial number is `serial`, if the process `viewer` could see that pid in `/proc`.
 * A listener that belongs to no simulated process has no pid.
 */
const visiblePid = (kernel: SimulatedKernel, viewer: KernelProcess, serial: number): { readonly pid?: number } => {
  const owner = [...kernel.processes].find((process) => process.serial === serial)
  const isVisible = owner !== undefined && owner.bootId === viewer.bootId
    && owner.pidNamespace === viewer.pidNamespace
    && (viewer.uid === 0 || viewer.uid === owner.uid)
  return isVisible ? { pid: owner.pid } : {}
}

/** Makes the `PortOwners` service of a process. This service finds the processes that listen on a port. */
export const portOwners = (kernel: SimulatedKernel, table: PortTable) => (process: KernelProcess): PortOwners["Type"] =>
  PortOwners.of({
    blocker: ({ host, port }) =>
      Effect.sync(() =>
        (coversGuard(host, kernel.platform) ? [host] : [host, guardHost]).some((host) =>
            table.isConnected({ host, port }, process.networkNamespace)
          )
          ? Option.some({ reason: "a connection has it" })
          : Option.none()
      ),
    portsOf: (pids) =>
      Effect.sync(() => {
        const ports = [...table.bounds].flatMap(({ networkNamespace, port, serial }) => {
          const { pid } = visiblePid(kernel, process, serial)
          return networkNamespace === process.networkNamespace && pid !== undefined && pids.includes(pid) ? [port] : []
        })
        return [...new Set(ports)].toSorted((a, b) => a - b)
      }),
    listeners: (port) =>
      Effect.sync(() => ({
        _tag: "Seen",
        listeners: [...table.bounds].filter((bound) =>
          bound.networkNamespace === process.networkNamespace && bound.port === port
        ).map(({ host, serial }) => ({ host, port, ...visiblePid(kernel, process, serial) }))
      }))
  })

/** Makes the `OwnerWatch` service of a process. This service waits until the gateway on an address ends. */
export const ownerWatch = (kernel: SimulatedKernel, table: PortTable) => (process: KernelProcess): OwnerWatch["Type"] =>
  OwnerWatch.of({
    ended: (address) =>
      systemCall(
        kernel,
        process,
        { name: "connect", target: toUrl(address) },
        (code) => new ProbeTransport.ProbeFailed({ reason: "NoListener", detail: `${code}: simulated error` }),
        () => table.find(address, process.networkNamespace)
      ).pipe(
        Effect.flatMap((bound) => watchBound(bound, address)),
        Effect.catchTag(
          "ProbeFailed",
          ({ detail, reason }) =>
            reason === "NoListener" ? Effect.void : new NotWatchable({ ...address, reason: detail })
        )
      )
  })
