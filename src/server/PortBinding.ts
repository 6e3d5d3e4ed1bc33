/**
 * Binds the port of a gateway on its host and on the guard address, a loopback address that all gateways bind. If the port is in
 * use, the error says which listener or process has it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type Address, canonical, coversGuard, guardHost, guardHostV6, isWildcard, urlHost } from "../Address.ts"
import { BindFailed, PortInUse } from "../GatewayLockError.ts"
import { HostPlatform } from "../host/HostPlatform.ts"
import { conflicting, PortOwners } from "../host/PortOwners.ts"
import { keepIf } from "../internal/keepIf.ts"
import { PortProbe } from "../probe/PortProbe.ts"
import { type Attributes, spannedDetached } from "../telemetry/spans.ts"
import * as Access from "./Access.ts"
import { limitsOf, type ListenerOptions } from "./ListenerOptions.ts"
import * as ServerSocket from "./ServerSocket.ts"

/**
 * With port 0, the kernel picks a port that is free on `host`. If that port is in use on the guard address (see `bindGuard`),
 * binding is retried with another port. This is the maximum number of these retries.
 */
const freePortTries = 16

/** The parts of a bound socket on which the exclusive binding depends. */
export type Bound = Pick<ServerSocket.BoundSocket, "address" | "alsoBind" | "lacksLoopbackV4">

/** The address to bind, or the descriptor of a socket that a supervisor has already bound to that address. */
export interface Asked extends Address {
  readonly passedSocket?: number | undefined
}

/**
 * Binds the guard address: the loopback address that all gateways bind, so that gateways with different hosts exclude each other.
 * The guard address is 127.0.0.1, or `::1` on a machine without 127.0.0.1. Nothing is bound if `host` covers the guard address:
 * then a socket on `host` alone already keeps other sockets from the guard address.
 *
 * On Linux, 0.0.0.0 covers 127.0.0.1 if the machine has that address. 0.0.0.0 never covers `::1`.
 */
const bindGuard = (
  bound: Bound,
  platform: string
): Effect.Effect<void, ServerSocket.BindError, Scope.Scope> => {
  const { address, alsoBind, lacksLoopbackV4 } = bound
  const host = canonical(address.host) ?? address.host
  const isAbsent = (error: ServerSocket.BindError) => error.code === "EADDRNOTAVAIL"
  // Every gateway binds the guard address, a loopback address. So the second gateway on a port fails. If the machine has 127.0.0.1,
  // all gateways use it as guard address, and none uses `::1`: gateways with different guard addresses would not exclude each other.
  if (!lacksLoopbackV4) return coversGuard(host, platform) ? Effect.void : alsoBind(guardHost)
  if (host === "0.0.0.0") return Effect.catchIf(alsoBind(guardHostV6), isAbsent, () => Effect.void)
  if (coversGuard(host, platform)) return Effect.void
  return Effect.catchIf(alsoBind(guardHost), isAbsent, (error) =>
    host === guardHostV6
      ? Effect.void
      : Effect.catchIf(alsoBind(guardHostV6), isAbsent, () => isWildcard(host) ? Effect.void : Effect.fail(error)))
}

/** Binds the asked address by `bind`. Also binds the guard address, the loopback address that all gateways bind (see `bindGuard`). */
const bindBoth = <A extends Bound, R>(
  asked: Asked,
  bind: Effect.Effect<A, ServerSocket.BindError, R>
): Effect.Effect<A, ServerSocket.BindError, R | Scope.Scope> =>
  Effect.gen(function*() {
    const platform = yield* HostPlatform
    const once = bind.pipe(Effect.tap((bound) => bindGuard(bound, platform)), keepIf)
    return yield* once.pipe(
      // With port 0, the kernel picks a port that is free on `host`. That port may be in use on the guard address (see `bindGuard`).
      // In that case, binding is retried, and the kernel picks another port.
      Effect.retry({ while: (error) => asked.port === 0 && error.code === "EADDRINUSE", times: freePortTries })
    )
  })

const bindResult = <A extends Bound>(exit: Exit.Exit<A, ServerSocket.BindError>): Attributes => {
  if (Exit.isSuccess(exit)) return { "server.port": exit.value.address.port, "gateway.bind.result": "bound" }
  const failure = Cause.failureOption(exit.cause)
  return { "gateway.bind.result": Option.isSome(failure) ? failure.value.code : "interrupted" }
}

/**
 * If the port is in use, a probe looks for the listener that has it. The port may be released between the failed bind and the
 * probe. Binding is then retried, at most this many times.
 */
const takenTries = 3

/**
 * The bind failed with EADDRINUSE, but nothing was found afterwards that uses the port. So binding can be retried. This error
 * does not leave this module.
 */
class FreeAgain {
  readonly _tag = "FreeAgain"
  readonly error: BindFailed
  constructor(error: BindFailed) {
    this.error = error
  }
}

/**
 * Always fails, with the reason why an address is in use. `PortInUse`: a listener has the address. `BindFailed`: a socket has the
 * address, but does not listen on it. `FreeAgain`: nothing was found that uses the address.
 */
const whyTaken = (asked: Address, error: ServerSocket.BindError) =>
  Effect.gen(function*() {
    const state = yield* Effect.flatMap(PortProbe, (ports) => ports.probe(asked))
    if (state._tag !== "Free") return yield* new PortInUse({ ...asked, listener: state.detail })
    const owners = yield* Effect.serviceOption(PortOwners)
    if (Option.isNone(owners)) {
      return yield* new PortInUse({ ...asked, listener: "a process that is not visible from here" })
    }
    const { blocker, listeners } = owners.value
    const seen = yield* listeners(asked.port)
    const [listener] = seen._tag === "Seen" ? conflicting(asked, seen.listeners) : []
    if (listener !== undefined) {
      const who = listener.pid === undefined ? "a process that is not visible from here" : `pid ${listener.pid}`
      return yield* new PortInUse({ ...asked, listener: `${who} listens on ${urlHost(listener.host)}` })
    }
    const blocked = yield* blocker(asked)
    const failed = new BindFailed({
      ...asked,
      code: error.code,
      reason: `${error.reason}; nothing listens there${
        Option.match(blocked, { onNone: () => "", onSome: ({ reason }) => `: ${reason}` })
      }`,
      cause: error
    })
    return yield* Option.isSome(blocked) ? failed : Effect.fail(new FreeAgain(failed))
  })

/**
 * Binds an address by `bind`, so that no other gateway and no other listener can have the port. Fails with `PortInUse` if another
 * listener has it, and with `BindFailed` if the operating system refuses to bind.
 *
 * After the last bind, this effect ends without waiting for the event loop. So a caller can hand the socket over to a child
 * process before Node accepts a connection on it.
 */
export const bindExclusively = <A extends Bound, R>(
  { passedSocket, ...asked }: Asked,
  bind: Effect.Effect<A, ServerSocket.BindError, R>
): Effect.Effect<A, PortInUse | BindFailed, PortProbe | R | Scope.Scope> =>
  Effect.gen(function*() {
    const ports = yield* PortProbe

    // On BSD, macOS and Windows, a wildcard address and a specific address do not exclude each other. So the bind can succeed
    // although another listener has the port, and only a probe finds that listener. On Linux, the bind itself fails. If a supervisor
    // has passed a socket, there is no probe, because that socket already listens and the probe would find it.
    if (passedSocket === undefined && (yield* HostPlatform) !== "linux") {
      const before = yield* ports.probe(asked)
      if (before._tag !== "Free") return yield* new PortInUse({ ...asked, listener: before.detail })
    }

    return yield* bindBoth(asked, bind).pipe(
      spannedDetached("gateway.bind", { "server.address": asked.host, "server.port": asked.port }, bindResult),
      Effect.catchAll((error) =>
        error.code === "EADDRINUSE"
          ? whyTaken(asked, error)
          : new BindFailed({
            ...asked,
            reason: error.reason,
            ...(error.code === "" ? {} : { code: error.code }),
            ...(error.available === undefined ? {} : { available: error.available }),
            cause: error
          })
      ),
      Effect.retry({ while: ({ _tag }) => _tag === "FreeAgain", times: takenTries }),
      Effect.catchTag("FreeAgain", ({ error }) => error)
    )
  })

/**
 * Binds the port for a server of this process. Fails with `PortInUse` if another listener has it, and with `BindFailed` if the
 * operating system refuses to bind.
 */
export const bindPort = (
  options: ListenerOptions,
  routes: ServerSocket.OwnRoutes["Type"],
  drainBegan: Effect.Effect<string>
): Effect.Effect<
  ServerSocket.BoundSocket,
  PortInUse | BindFailed,
  PortProbe | ServerSocket.ServerSocket | Scope.Scope
> =>
  Effect.flatMap(ServerSocket.ServerSocket, (sockets) => {
    const { host, passedSocket, port } = options
    return bindExclusively(
      { host, port, passedSocket },
      sockets.bind({
        address: { host, port },
        passedSocket,
        limits: limitsOf(options.limits),
        rules: Access.rules(options),
        token: options.token,
        routes,
        drainBegan
      })
    )
  })
