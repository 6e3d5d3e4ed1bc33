/**
 * The leadership of `gateway exec`. This module is loaded only if a lease is configured.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { toUrl } from "../Address.ts"
import * as Lead from "../exec/Lead.ts"
import { LeaseUnavailable } from "../GatewayLockError.ts"
import * as CommandWatchdog from "../host/CommandWatchdog.ts"
import { HostFacts } from "../host/HostFacts.ts"
import * as SelfFence from "../host/SelfFence.ts"
import { shown } from "../internal/WaitDisplay.ts"
import * as HighestToken from "../leader/HighestToken.ts"
import * as HolderText from "../leader/HolderText.ts"
import * as LeaseInRecord from "../leader/LeaseInRecord.ts"
import { LeaseStore } from "../leader/LeaseStore.ts"
import { openLeaseStore } from "../leader/openLeaseStore.ts"
import type * as LockFile from "../lock/LockFile.ts"
import type { GatewayConfig } from "../settings/GatewayConfig.ts"
import type { SystemdNotify } from "../supervisor/SystemdNotify.ts"
import type { AwaitLead } from "./exec.ts"

export interface Options {
  readonly config: GatewayConfig
  /** The URL of the lease store. */
  readonly url: Redacted.Redacted
  readonly systemd: SystemdNotify["Type"]
  readonly hasPort: boolean
  /** Whether the watchdog writes its line to stderr as JSON. */
  readonly isJson: boolean
}

/**
 * Describes this process to the next candidates. Its locks prove nothing about its command, whose children may live on without them. So
 * a restart on the same host waits as on any other host (`mode: "exec"`).
 */
const holderOf = ({ config, hasPort }: Options, lock: LockFile.LockFile["Type"]) =>
  Effect.gen(function*() {
    const facts = yield* HostFacts
    const { bootId, pid } = yield* lock.record
    return HolderText.make(
      {
        instanceId: lock.instanceId,
        hostname: yield* facts.name,
        pid,
        ...(hasPort ? { url: toUrl(config) } : {})
      },
      {
        bootId,
        locks: lock.acquiredFiles,
        fileSystem: Option.getOrElse(yield* facts.fileSystemOf(lock.path), () => "unknown"),
        enforcement: lock.enforcement,
        mode: "exec"
      }
    )
  })

/** Makes the effect that waits to lead. */
export const make = (options: Options): Effect.Effect<AwaitLead, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => (lock) =>
    Effect.gen(function*() {
      const { config: { lease }, isJson, systemd, url } = options
      const store = yield* Effect.mapError(
        Layer.build(openLeaseStore(url, lease)),
        (error) => new LeaseUnavailable({ lease: lease.name, store: "its URL", reason: error.message, cause: error })
      )
      const { location } = Context.get(store, LeaseStore)
      yield* Effect.logInfo(`waiting to lead ${lease.name} at ${location}`)
      yield* systemd.notify(`STATUS=waiting to lead ${lease.name} at ${location}`)
      return yield* Effect.gen(function*() {
        const { onChange, saysLeader } = yield* LeaseInRecord.make(lock, { name: lease.name, store: location })
        const lead = yield* Lead.make({ lease, holder: yield* holderOf(options, lock), onChange }).pipe(
          shown({ text: Effect.succeed(`waiting to lead ${lease.name} at ${location}`) })
        )
        return yield* Effect.as(saysLeader, lead)
      }).pipe(
        Effect.provide(HighestToken.layerFile(HighestToken.pathBeside(lock.path, location, lease.name))),
        Effect.provide(SelfFence.layer),
        Effect.provide(store),
        Effect.provideServiceEffect(CommandWatchdog.CommandWatchdog, CommandWatchdog.live(isJson))
      )
    }).pipe(Effect.provideService(FileSystem.FileSystem, fs)))
