/**
 * The platform of a simulated process: all services that the process's program gets from the simulated host.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Platform } from "../Gateway.ts"
import { watcherGrace } from "../host/endProcess.ts"
import { HostFacts } from "../host/HostFacts.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { InstanceId } from "../host/InstanceId.ts"
import { KernelLock } from "../host/KernelLock.ts"
import { NativeFiles } from "../host/NativeFiles.ts"
import { isConfigLock, OpenLockFiles } from "../host/OpenLockFiles.ts"
import * as PlatformFolders from "../host/PlatformFolders.ts"
import { PortOwners } from "../host/PortOwners.ts"
import { ProbeTransport } from "../host/ProbeTransport.ts"
import { ProcessEnd } from "../host/ProcessEnd.ts"
import { ProcessFence } from "../host/ProcessFence.ts"
import * as ProcessTable from "../host/ProcessTable.ts"
import { SignalFailed, Signals } from "../host/Signals.ts"
import { GroupIds, UserId } from "../host/UserId.ts"
import { OwnerWatch } from "../probe/OwnerWatch.ts"
import { ServerSocket } from "../server/ServerSocket.ts"
import { CurrentProcess } from "./CurrentProcess.ts"
import type { ProcessRegister } from "./ProcessRegister.ts"
import { deliver } from "./SignalDelivery.ts"
import * as SimulatedFiles from "./SimulatedFiles.ts"
import * as SimulatedKernel from "./SimulatedKernel.ts"
import type * as SimulatedPorts from "./SimulatedPorts.ts"
import type { ProcessOptions } from "./SimulatedProcess.ts"
import type { ExecServices, SimulatedPrograms } from "./SimulatedPrograms.ts"

/**
 * The services that a program in a simulated process may require.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements =
  | Platform
  | PlatformFolders.PlatformFolders
  | OwnerWatch
  | PortOwners
  | OpenLockFiles
  | Signals
  | Path.Path

const processTable = (
  kernel: SimulatedKernel.SimulatedKernel,
  process: SimulatedKernel.KernelProcess,
  host: number
) =>
  ProcessTable.make({
    self: Effect.succeed({
      pid: process.pid,
      startTime: process.startTime,
      // Only Linux reports the boot id and the PID namespace of a process.
      ...(kernel.platform === "linux" ? { bootId: bootIdOn(host, process), pidNamespace: process.pidNamespace } : {})
    }),
    look: (pid) =>
      Effect.sync(() => {
        const seen = SimulatedKernel.findProcess(kernel, process, pid)
        // The number of a thread or of a zombie is not the pid of a living process.
        if (seen === undefined || seen.pid !== pid || seen.state !== "running") return ProcessTable.Sighting.absent
        return kernel.hidePids && process.uid !== 0 && process.uid !== seen.uid
          ? ProcessTable.Sighting.hidden
          : ProcessTable.Sighting.present(seen.startTime)
      }),
    commandName: (pid) =>
      Effect.sync(() =>
        Option.map(
          Option.fromNullable(SimulatedKernel.findProcess(kernel, process, pid)),
          ({ command }) => command
        )
      ),
    network: (pid) =>
      Effect.sync(() => {
        // Only Linux has network namespaces.
        if (kernel.platform !== "linux") return "Same"
        const seen = SimulatedKernel.findProcess(kernel, process, pid)
        const isHidden = kernel.hidePids && process.uid !== 0 && process.uid !== seen?.uid
        if (seen === undefined || isHidden) return "Unknown"
        return seen.networkNamespace === process.networkNamespace ? "Same" : "Other"
      }),
    processes: Effect.sync(() =>
      [...kernel.processes].filter((seen) =>
        seen.bootId === process.bootId && seen.pidNamespace === process.pidNamespace && seen.state === "running"
        && !(kernel.hidePids && process.uid !== 0 && process.uid !== seen.uid)
      ).map((seen) => {
        // If the parent has ended, its pid can belong to a later process by now. A parent starts before its children, so only
        // a process with a lower `serial` can be the parent.
        const parent = SimulatedKernel.findProcess(kernel, process, seen.parent)
        const isParent = parent?.state === "running" && parent.serial < seen.serial
        return { pid: seen.pid, parent: isParent ? parent.pid : 0, startTime: seen.startTime }
      })
    ),
    tolerance: 0
  })

const signals = (kernel: SimulatedKernel.SimulatedKernel, process: SimulatedKernel.KernelProcess): Signals["Type"] => ({
  // As in the live layer, one call both checks that the pid belongs to the recorded process and sends the signal. So the pid
  // cannot pass to another process between the check and the signal.
  send: (recorded, signal) => {
    const { pid } = recorded
    const gone = (reason: string) => new SignalFailed({ pid, why: "Gone", reason })
    return SimulatedKernel.systemCall(
      kernel,
      process,
      { name: "kill", target: `${pid} ${signal}` },
      (code) => new SignalFailed({ pid, why: "Failed", reason: `${code}: simulated error` }),
      () =>
        Effect.gen(function*() {
          const seen = SimulatedKernel.findProcess(kernel, process, pid)
          if (seen === undefined || seen.pid !== pid) return yield* gone("ESRCH: no such process")
          if (seen.startTime !== recorded.startTime) return yield* gone("the pid now belongs to another process")
          if (process.uid !== 0 && process.uid !== seen.uid) {
            return yield* new SignalFailed({ pid, why: "NotPermitted", reason: "it belongs to another user" })
          }
          // A signal to a zombie succeeds and has no effect.
          if (seen.state !== "running") return
          for (const member of seen.members) {
            yield* deliver(kernel, member, signal)
          }
        })
    )
  },
  ancestors: Effect.sync(() => {
    const found: Array<number> = []
    for (let pid = process.parent; pid > 0 && !found.includes(pid);) {
      found.push(pid)
      pid = SimulatedKernel.findProcess(kernel, process, pid)?.parent ?? 0
    }
    return found
  })
})

const processEnd = (
  end: ProcessRegister["end"],
  process: SimulatedKernel.KernelProcess,
  listensForSigterm: boolean
): ProcessEnd["Type"] => ({
  end: ({ drained, isWatched, within }) =>
    Effect.gen(function*() {
      process.status = 1
      const exit = end(process, "gone", "ends itself")
      yield* Effect.forkDaemon(Effect.zipRight(Effect.sleep(within), exit))
      yield* Effect.forkDaemon(Effect.gen(function*() {
        if (isWatched) yield* Effect.zipRight(drained, Effect.sleep(watcherGrace))
        if (listensForSigterm) return yield* process.onSignal.SIGTERM
        yield* drained
        yield* exit
      }))
    })
})

/** A fence that ends all programs of the process. It goes by the clock of the host, as the process itself does. */
const processFence = (
  end: ProcessRegister["endAll"],
  process: SimulatedKernel.KernelProcess
): ProcessFence["Type"] => ({
  make: Effect.gen(function*() {
    let killAt: bigint | undefined
    const disarm = Effect.sync(() => {
      killAt = undefined
    })
    yield* Effect.addFinalizer(() => disarm)
    return {
      disarm,
      killAt: (moment) =>
        Effect.gen(function*() {
          killAt = moment
          const wait = moment - (yield* Clock.currentTimeNanos)
          yield* Effect.forkDaemon(Effect.gen(function*() {
            yield* Effect.sleep(Duration.nanos(wait < 0n ? 0n : wait))
            if (killAt === moment) yield* end(process, "gone", "is killed by its fence")
          }))
        })
    }
  })
})

const openLockFiles = (kernel: SimulatedKernel.SimulatedKernel, viewer: SimulatedKernel.KernelProcess) =>
  OpenLockFiles.of({
    paths: Effect.sync(() => {
      const open = new Set(
        [...kernel.processes].filter(({ bootId, pidNamespace, uid }) =>
          bootId === viewer.bootId && pidNamespace === viewer.pidNamespace && uid === viewer.uid
        ).flatMap(({ files }) => [...files.values()].map(({ inode }) => inode))
      )
      const paths = [...kernel.paths].filter(([path, inode]) => isConfigLock(path) && open.has(inode))
      return { _tag: "Seen", paths: paths.map(([path]) => path) }
    }),
    holders: (path) =>
      Effect.sync(() => {
        const locks = kernel.locks.get(kernel.paths.get(path)?.ino ?? -1) ?? []
        return [...kernel.processes].filter(({ bootId, files, pidNamespace, uid }) =>
          bootId === viewer.bootId && pidNamespace === viewer.pidNamespace && (viewer.uid === 0 || viewer.uid === uid)
          && locks.some(({ file }) => files.get(file.fd) === file)
        ).map(({ pid }) => pid)
      })
  })

/** Paths use `/` on every simulated platform. */
const paths = Effect.provide(Path.Path, Path.layer)

/** How many hosts were made on each clock. */
const hostsOf = new WeakMap<Clock.Clock, number>()

/** The number of a new host among the hosts on one clock. */
const nextHost = (clock: Clock.Clock): number => {
  const number = (hostsOf.get(clock) ?? 0) + 1
  hostsOf.set(clock, number)
  return number
}

/** No two hosts have the same boot id, because a candidate compares it with that of a leader on another host. */
const bootIdOn = (host: number, { bootId }: SimulatedKernel.KernelProcess): string =>
  host === 1 ? bootId : `${bootId}-of-host-${host}`

/**
 * Makes the ids of the gateways of one host. Hosts on one clock never make the same id, because processes of several hosts can be
 * distinguished by nothing else, for example as holders of a lease.
 */
const makeIds = (number: number): Effect.Effect<string> => {
  const prefix = number === 1 ? "instance-" : `instance-${number}-`
  let instances = 0
  return Effect.sync(() => `${prefix}${++instances}`)
}

/** Makes a function that builds the platform of a process on one host. */
export const makePlatform = (
  kernel: SimulatedKernel.SimulatedKernel,
  ports: SimulatedPorts.SimulatedPorts,
  { end, endAll }: ProcessRegister,
  { servicesOf }: SimulatedPrograms,
  clock: Clock.Clock
): (
  process: SimulatedKernel.KernelProcess,
  options: ProcessOptions
) => Effect.Effect<Context.Context<Requirements | ExecServices>> => {
  const { platform } = kernel
  const host = nextHost(clock)
  const newId = makeIds(host)
  return (process, { listensForSigterm = true }) =>
    Effect.zipWith(
      processTable(kernel, process, host),
      paths,
      (table, paths) =>
        Context.make(FileSystem.FileSystem, SimulatedFiles.makeFileSystem(kernel, process)).pipe(
          Context.add(Path.Path, paths),
          Context.add(KernelLock, SimulatedFiles.makeKernelLock(kernel, process)),
          Context.add(ProcessTable.ProcessTable, table),
          Context.add(ProbeTransport, ports.probeTransport(process)),
          Context.add(OwnerWatch, ports.ownerWatch(process)),
          Context.add(PortOwners, ports.portOwners(process)),
          Context.add(OpenLockFiles, openLockFiles(kernel, process)),
          Context.add(ServerSocket, ports.serverSocket(process)),
          Context.add(Signals, signals(kernel, process)),
          Context.add(
            PlatformFolders.PlatformFolders,
            PlatformFolders.make({ config: "/config", state: "/state" })
          ),
          Context.add(ProcessEnd, processEnd(end, process, listensForSigterm)),
          Context.add(ProcessFence, processFence(endAll, process)),
          Context.add(HostFacts, {
            name: Effect.succeed("simulated"),
            fileSystemOf: () => Effect.succeedSome("ext4")
          }),
          Context.add(HostPlatform, platform),
          Context.add(NativeFiles, SimulatedFiles.makeNativeFiles(kernel, process)),
          Context.add(UserId, Effect.succeed(platform === "win32" ? Option.none() : Option.some(process.uid))),
          // Every simulated file has group 0.
          Context.add(GroupIds, Effect.succeed(platform === "win32" ? [] : [0])),
          Context.add(InstanceId, newId),
          Context.add(CurrentProcess, { kernel, process }),
          Context.merge(servicesOf(process))
        )
    )
}
