/**
 * Acquires the lock, and says what happens when it is lost. The module `promise` runs these effects.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { layer as platform } from "../gateway/LazyPlatform.ts"
import * as OpenLockFiles from "../host/OpenLockFiles.ts"
import * as PortOwners from "../host/PortOwners.ts"
import { ProcessEnd } from "../host/ProcessEnd.ts"
import { atMost } from "../internal/atMost.ts"
import { keepIf } from "../internal/keepIf.ts"
import { keepInterruption } from "../internal/keepInterruption.ts"
import * as LockFile from "../lock/LockFile.ts"
import { ensurePortFree } from "../lock/PortCheck.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"
import * as ErrorReport from "../report/ErrorReport.ts"
import { defaultAddress } from "../settings/GatewayConfig.ts"
import { identify } from "../settings/GatewayIdentity.ts"
import * as Recovery from "../supervisor/Recovery.ts"
import * as Supervisor from "../supervisor/Supervisor.ts"
import type { Raised } from "./errors.ts"
import type { Checked } from "./options.ts"

/** The services of the machine that `acquire` and its report need. */
export const layer = Layer.merge(PortOwners.layerLive, OpenLockFiles.layerLive).pipe(Layer.provideMerge(platform))

/** The process ends this much later than `drainTimeout` at the latest, as for `Gateway.layer`. */
const endGrace = Duration.seconds(10)

/** A lost lock must be reported at once, so its report may not wait for a file system that hangs. */
const reportTimeout = Duration.seconds(1)

/** The text that `gateway run` prints for an error, with commands for this program's lock. */
export const report = (checked: Checked, error: Raised) =>
  Effect.map(
    ErrorReport.make(error, {
      port: checked.port ?? 0,
      host: checked.host,
      profile: checked.profile,
      configPath: checked.configPath,
      stateDir: checked.stateDir
    }),
    ({ text }) => text
  )

/** Makes one attempt, and releases what it has acquired if it fails. */
const attempt = (options: LockFile.LockWithProbesOptions) =>
  keepIf(Effect.gen(function*() {
    const context = yield* Layer.build(LockFile.layerWithProbes(options))
    // Another program may have bound the port while this one waited for the lock.
    yield* Effect.provide(ensurePortFree(options), context)
    return Context.get(context, LockFile.LockFile)
  }))

/** How long one attempt waits for the lock. A standby and a supervised start wait between their attempts. */
const timeoutOf = ({ health, lock, standby }: Checked, { kind }: Supervisor.Verdict): Duration.Duration => {
  const timeout = lock.timeout ?? LockFile.defaults.lock.timeout
  if (standby) return Duration.zero
  return kind === "none" ? timeout : Duration.min(timeout, health.timeout ?? Recovery.defaults.health.timeout)
}

/** Acquires the lock. The scope releases it. */
export const acquire = (checked: Checked, facts: Supervisor.ProcessFacts) =>
  Effect.gen(function*() {
    yield* keepInterruption
    const { health, host = defaultAddress.host, lock, port, standby } = checked
    const { configName, configPath, stateDir } = yield* identify({ ...checked, host })
    const verdict = yield* Supervisor.make(checked.supervisor, facts)
    const options: LockFile.LockWithProbesOptions = {
      stateDir,
      configPath,
      configName,
      address: port === undefined ? undefined : { host, port },
      lock: { ...lock, timeout: timeoutOf(checked, verdict) },
      health,
      supervisor: verdict.kind,
      supervisorReason: verdict.reason,
      ready: checked.ready
    }
    const recover = standby ? Recovery.standby : Recovery.recover
    const held = yield* recover(attempt(options), {
      supervisor: verdict.kind,
      address: { host, port: port ?? defaultAddress.port },
      health,
      onWaiting: ({ status }) => Effect.logInfo(status)
    })
    // By this rule the holder is healthy from the start, and nothing tells when it is.
    if (checked.ready === "none") yield* held.update({ phase: "listening" })
    return held
  }).pipe(Effect.provideServiceEffect(HealthProbe.HealthProbe, HealthProbe.make(checked.health)))

/** What a lost lock needs from the caller. */
export interface OnLost {
  /** Tells the program. Must not throw. */
  readonly tell: (error: Raised, report: string) => void
  /** Completes when the program has released the lock. */
  readonly released: Deferred.Deferred<void>
}

/**
 * Waits until the lock is lost. Then tells the program, ends the process if `onLost` says so, and releases what is left of the
 * lock when the program has released it, or after `drainTimeout`.
 */
export const awaitLoss = (checked: Checked, lock: LockFile.LockFile["Type"], { released, tell }: OnLost) =>
  Effect.gen(function*() {
    const { error, isWatched, release } = yield* lock.whenLost
    // Interruptible, because the loser of a race in an uninterruptible region would be awaited.
    const drained = Effect.interruptible(
      Effect.raceFirst(Deferred.await(released), Effect.sleep(checked.drainTimeout))
    )
    // The program may release the lock as soon as it is told. That interrupts this fiber, and must not keep the process alive.
    yield* Effect.uninterruptible(Effect.gen(function*() {
      const text = yield* atMost(reportTimeout)(report(checked, error))
      yield* Effect.sync(() => tell(error, Option.getOrElse(text, () => `GatewayLockError: ${error.message}`)))
      if (checked.onLost === "close") return
      const { end } = yield* ProcessEnd
      yield* end({ isWatched, drained, within: Duration.sum(checked.drainTimeout, endGrace) })
    }))
    yield* Effect.zipRight(drained, release)
  })
