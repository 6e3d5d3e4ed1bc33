/**
 * The lock for programs that do not use Effect: `acquire` returns a promise of the held lock.
 *
 * Your own server binds the port. `acquire` takes the lock files, checks that nothing listens on the port, and keeps the lock until
 * `release`, or until the process ends in whatever way.
 *
 * @example
 * import { createServer } from "node:http"
 * import { acquire } from "gateway-lock/promise"
 *
 * const lock = await acquire({ port: 3000, profile: "notes" })
 * const server = createServer((request, response) => response.end("hello"))
 * server.listen({ port: lock.port, host: lock.host, signal: lock.signal }, () => void lock.listening())
 * server.on("close", () => void lock.release())
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { LockFile } from "./lock/LockFile.ts"
import * as Errors from "./promise/errors.ts"
import * as Holding from "./promise/holding.ts"
import * as Logging from "./promise/logging.ts"
import * as Options from "./promise/options.ts"
import type { AcquireOptions, GatewayLockError, Lock } from "./promise/types.ts"
import * as UnrefClock from "./promise/UnrefClock.ts"

export type {
  AcquireOptions,
  ErrorBase,
  GatewayLockError,
  HealthOptions,
  Holder,
  Lock,
  LockHeld,
  LockLost,
  LockOptions,
  LockUnavailable,
  Logger,
  OwnerHealthy,
  OwnerUnhealthy,
  PortInUse,
  ReadyRule,
  SettingInvalid,
  SupervisorKind,
  Time
} from "./promise/types.ts"

/** What belongs to one call of `acquire`. */
interface Session {
  readonly checked: Options.Checked
  readonly scope: Scope.CloseableScope
  readonly runtime: ManagedRuntime.ManagedRuntime<Layer.Layer.Success<typeof Holding.layer>, never>
  readonly alive: UnrefClock.UnrefClock["alive"]
  /** The stack of the call. */
  readonly stack: string | undefined
}

const open = (checked: Options.Checked, stack: string | undefined): Session => {
  const { alive, clock } = UnrefClock.make()
  return {
    checked,
    stack,
    alive,
    scope: Effect.runSync(Scope.make()),
    runtime: ManagedRuntime.make(
      Layer.mergeAll(Holding.layer, Logging.layer(checked.logger), Layer.setClock(clock))
    )
  }
}

/** Releases everything that the call has acquired. */
const close = async ({ alive, runtime, scope }: Session): Promise<void> =>
  alive(async () => {
    await runtime.runPromise(Scope.close(scope, Exit.void))
    await runtime.dispose()
  })

/** The port for the record. Throws if it is not the port that the lock guards. */
const portOf = ({ checked: { port } }: Session, told: unknown): number | undefined => {
  const refuse = (allowed: string) => Options.refuse("port", told, allowed, "listening")
  if (port === 0) {
    if (typeof told === "number" && Number.isInteger(told) && told > 0 && told < 65536) return told
    throw refuse("the port on which the server listens, because port was 0")
  }
  if (told === undefined || told === port) return port
  throw refuse(port === undefined ? "nothing, because port was false" : `${port}, the port of the lock`)
}

const handleOf = (session: Session, held: LockFile["Type"]): Lock => {
  const { alive, checked, runtime, scope, stack } = session
  const controller = new AbortController()
  const released = Deferred.unsafeMake<void>(FiberId.none)
  const record = runtime.runSync(held.record)
  let port = record.port
  let releasing: Promise<void> | undefined

  const release = (): Promise<void> =>
    releasing ??= close(session).then(() => Deferred.unsafeDone(released, Effect.void))

  const listening = async (told?: number): Promise<void> => {
    const own = portOf(session, told)
    controller.signal.throwIfAborted()
    if (releasing !== undefined) throw new Error("listening was called after the lock was released")
    port = own ?? 0
    const change = own === undefined ? {} : { port: own }
    await alive(() => runtime.runPromise(held.update({ phase: "listening", ...change })))
  }

  runtime.runSync(Effect.forkIn(
    Effect.interruptible(Holding.awaitLoss(checked, held, {
      released,
      tell: (error, report) => controller.abort(Errors.plain(error, report, stack))
    })),
    scope
  ))

  const lock = {
    get port() {
      return port
    },
    host: record.host,
    path: held.path,
    instanceId: held.instanceId,
    signal: controller.signal,
    listening,
    release,
    [Symbol.asyncDispose]: release
  }
  // Node before 20.4 has no `Symbol.asyncDispose`. There, code that esbuild compiles uses this symbol.
  if (typeof Symbol.asyncDispose !== "symbol") {
    Object.defineProperty(lock, Symbol.for("Symbol.asyncDispose"), { value: release })
  }
  return lock
}

/** Makes what `acquire` rejects with. */
const reasonOf = async <E>(session: Session, cause: Cause.Cause<E>): Promise<unknown> => {
  const { alive, checked, runtime, stack } = session
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (failure !== undefined && Errors.isRaised(failure)) {
    const report = await alive(() => runtime.runPromise(Holding.report(checked, failure)))
    return Errors.plain(failure, report, stack)
  }
  return Cause.isInterruptedOnly(cause) && checked.signal?.aborted === true
    ? checked.signal.reason
    : Cause.squash(cause)
}

/**
 * Acquires the lock of a program, and resolves to the held lock.
 *
 * Rejects with:
 *
 * - `PortInUse` at once, if the port already has a listener.
 * - `LockHeld` if another process holds the lock: at once if it serves another port, otherwise after `lock.timeout`.
 * - `LockUnavailable` if the lock files cannot be used.
 * - `OwnerHealthy` or `OwnerUnhealthy` if a supervisor has started this program and an owner already runs.
 * - `SettingInvalid` if an option is not allowed, and the reason of `signal` if it is aborted.
 *
 * The function adds no listener for signals, and none for the end of the process. If the process ends without a release, the kernel
 * frees the lock, and the next start takes over at once.
 *
 * A held lock does not keep the process alive. A handle that is dropped stays held until the process ends.
 *
 * @example
 * import { acquire, isGatewayLockError } from "gateway-lock/promise"
 *
 * try {
 *   await using lock = await acquire({ port: false, profile: "importer", lock: { timeout: 0 } })
 *   console.log(`importing under ${lock.path}`)
 * } catch (error) {
 *   if (!isGatewayLockError(error)) throw error
 *   console.error(error.report)
 *   process.exitCode = 1
 * }
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = async (options: AcquireOptions): Promise<Lock> => {
  const site: { readonly stack?: string } = {}
  Error.captureStackTrace(site, acquire)
  const checked = Effect.runSync(Effect.either(Options.check(options)))
  if (Either.isLeft(checked)) throw checked.left
  const { signal } = checked.right
  signal?.throwIfAborted()

  const session = open(checked.right, site.stack)
  const { alive, runtime, scope } = session
  const facts = { platform: process.platform, pid: process.pid, parentPid: process.ppid }
  const acquiring = Scope.extend(Holding.acquire(checked.right, facts), scope)
  const exit = await alive(() => runtime.runPromiseExit(acquiring, signal === undefined ? {} : { signal }))
  if (Exit.isSuccess(exit)) return handleOf(session, exit.value)
  try {
    throw await reasonOf(session, exit.cause)
  } finally {
    await close(session)
  }
}

/**
 * Whether a value is an error of this family, whose field `report` is for the person at the terminal.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isGatewayLockError = (value: unknown): value is GatewayLockError => Errors.isGatewayLockError(value)
