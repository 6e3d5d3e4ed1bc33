/**
 * Binds listening sockets that a child process inherits. This process never accepts a connection on them.
 *
 * Node accepts connections on every socket that it listens on, at the next turn of its event loop. A connection that this process
 * accepted would be lost to the child. So the child must be started, and the scope of the sockets must be closed, in the turn in
 * which the last of them was bound. Effects that do not wait for the event loop (files, timers, the network) stay in that turn.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Address } from "../../Address.ts"
import { hasLoopbackV4 } from "../../host/ProbeTransport.ts"
import type { Bound } from "../PortBinding.ts"
import { BindError } from "../ServerSocket.ts"
import { addressOf, bindError, mismatchOf } from "./binding.ts"
import * as PassedSocket from "./PassedSocket.ts"

/** Listening sockets for a child process. Closing their scope closes the descriptors of this process at once. */
export interface InheritableSocket extends Bound {
  /** The descriptors of the sockets: first that of the host, then that of each address that was bound besides. */
  readonly descriptors: Effect.Effect<ReadonlyArray<number>, BindError>
}

/** The address to bind, or a socket that a supervisor has passed for that address. */
export interface InheritableSocketOptions {
  readonly address: Address
  readonly passedSocket?: number | undefined
}

/** Binds sockets that a child process inherits. */
export class InheritableSockets extends Context.Tag("gateway-lock/InheritableSockets")<InheritableSockets, {
  /** Binds the address exclusively (no address sharing of any kind), and listens on it. Fails with `BindError`. */
  readonly bind: (options: InheritableSocketOptions) => Effect.Effect<InheritableSocket, BindError, Scope.Scope>
}>() {}

/**
 * The descriptor of a listening server. Node has no public interface for it. Node itself reads `_handle` when it shares a server
 * with a child process (`getHandleWrapType` in lib/internal/child_process.js).
 */
const descriptorOf = (server: Net.Server): number | undefined => {
  const handle: unknown = "_handle" in server ? server._handle : undefined
  const fd: unknown = typeof handle === "object" && handle !== null && "fd" in handle ? handle.fd : undefined
  return typeof fd === "number" && fd >= 0 ? fd : undefined
}

const listen = (asked: Address, options: Net.ListenOptions): Effect.Effect<Net.Server, BindError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Net.Server, BindError>((resume) => {
      const server = Net.createServer((socket) => socket.destroy())
      server.once("error", (cause) => resume(Effect.fail(bindError(asked, cause))))
      // This process closes the server at once, so a later error of the server has no meaning.
      server.listen(options, () => {
        server.removeAllListeners("error").on("error", () => {})
        resume(Effect.succeed(server))
      })
    }),
    // `close` closes the descriptor before it returns. There is nothing to wait for, because no connection was accepted.
    (server) => Effect.sync(() => server.close())
  )

/** Takes over the descriptor of a socket that a supervisor has bound. */
const listenOnPassed = (asked: Address, fd: number): Effect.Effect<Net.Server, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const refuse = (fault: PassedSocket.Fault) => new BindError({ ...asked, ...fault })
    const seen = PassedSocket.inspect(fd, asked)
    if (seen.fault !== undefined) return yield* refuse(seen.fault)
    const options: Net.ListenOptions & { readonly fd: number } = { fd }
    const server = yield* Effect.mapError(
      listen(asked, options),
      (error) => error.code === "EINVAL" ? refuse(PassedSocket.notListenable(fd, asked, error.reason)) : error
    )
    if (server.address() === null) return yield* refuse(PassedSocket.notTcp(fd, asked))
    const late = seen.isUnlisted ? PassedSocket.startedToListen(fd, asked) : undefined
    if (late !== undefined) return yield* refuse(late)
    const mismatch = mismatchOf(addressOf(server, asked), asked)
    return mismatch === undefined ? server : yield* mismatch
  })

const bind = (
  { address: asked, passedSocket }: InheritableSocketOptions
): Effect.Effect<InheritableSocket, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* passedSocket === undefined
      ? listen(asked, { ...asked, exclusive: true })
      : listenOnPassed(asked, passedSocket)
    const servers = [server]
    const address = addressOf(server, asked)
    return {
      address,
      lacksLoopbackV4: !hasLoopbackV4(),
      alsoBind: (host) =>
        Effect.map(
          listen({ host, port: address.port }, { host, port: address.port, exclusive: true }),
          (other) => void servers.push(other)
        ),
      descriptors: Effect.suspend(() => {
        const descriptors = servers.flatMap((one) => descriptorOf(one) ?? [])
        return descriptors.length === servers.length
          ? Effect.succeed(descriptors)
          : new BindError({
            ...asked,
            code: "",
            reason: "this version of Node does not tell the descriptor of a socket"
          })
      })
    }
  })

/** Binds sockets of the operating system, exclusively (without `SO_REUSEPORT`). */
export const live: InheritableSockets["Type"] = InheritableSockets.of({ bind })
