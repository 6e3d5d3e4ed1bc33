/**
 * Implements `ServerSocket` with `node:http` and `ws`.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import * as Net from "node:net"
import type { Address } from "../../Address.ts"
import { hasLoopbackV4 } from "../../host/ProbeTransport.ts"
import { BindError, type BindOptions, type BoundSocket, ServerSocket } from "../ServerSocket.ts"
import { addressOf, bindError, mismatchOf } from "./binding.ts"
import * as ConnectionTable from "./ConnectionTable.ts"
import * as ControlSockets from "./ControlSockets.ts"
import * as InterceptingServer from "./InterceptingServer.ts"
import * as PassedSocket from "./PassedSocket.ts"
import * as ServedApps from "./ServedApps.ts"

/**
 * Runs for each server before it listens. The rehearsal of a takeover replaces `listen` of its server, so that no port is opened.
 *
 * @internal
 */
export class BeforeListening extends Context.Reference<BeforeListening>()("gateway-lock/BeforeListening", {
  defaultValue: (): (server: Http.Server) => void => () => {}
}) {}

// ---------------------------------------------------------------------------
// listening
// ---------------------------------------------------------------------------

/** A listening server: its address, and the `HttpServer` that `NodeHttpServer` has made for it. */
interface Listening {
  readonly address: Address
  readonly inner: HttpServer.HttpServer
}

const listenOnAddress = (
  server: Http.Server,
  asked: Address
): Effect.Effect<Listening, BindError, Scope.Scope> =>
  // This effect is uninterruptible. After an interruption between listen() and the event "listening", `NodeHttpServer` would not
  // close the server (0.108.2; `make` in internal/httpServer.ts), and the server would stay open permanently.
  NodeHttpServer.make(() => server, { ...asked, exclusive: true }).pipe(
    Effect.mapError((error) => bindError(asked, error.cause)),
    Effect.uninterruptible,
    Effect.map((inner) => ({ address: addressOf(server, asked), inner }))
  )

/** Listens on the descriptor of a socket that a supervisor has bound. */
const listenOnPassed = (
  server: Http.Server,
  asked: Address,
  fd: number
): Effect.Effect<Listening, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const refuse = (fault: PassedSocket.Fault) => new BindError({ ...asked, ...fault })
    const seen = PassedSocket.inspect(fd, asked)
    if (seen.fault !== undefined) return yield* refuse(seen.fault)
    const listenOn: Net.ListenOptions & { readonly fd: number } = { fd }
    // This effect is uninterruptible, because an interruption between listen() and the event "listening" would leave the server
    // open permanently.
    const inner = yield* NodeHttpServer.make(() => server, listenOn).pipe(
      Effect.mapError((error) => {
        const failed = bindError(asked, error.cause)
        return failed.code === "EINVAL" ? refuse(PassedSocket.notListenable(fd, asked, failed.reason)) : failed
      }),
      Effect.catchAllDefect((defect) =>
        // `NodeHttpServer` (0.108.2; `make` in internal/httpServer.ts) reads the port of the server's address. If the passed
        // socket is a Unix socket, that address is `null`, so the read throws.
        server.listening && server.address() === null
          ? Effect.fail(refuse(PassedSocket.notTcp(fd, asked)))
          : Effect.die(defect)
      ),
      Effect.uninterruptible
    )
    const late = seen.isUnlisted ? PassedSocket.startedToListen(fd, asked) : undefined
    if (late !== undefined) return yield* refuse(late)
    const address = addressOf(server, asked)
    const mismatch = mismatchOf(address, asked)
    return mismatch === undefined ? { address, inner } : yield* mismatch
  })

/**
 * Logs the errors of a running server from now on, and returns the "error" listener. Without that listener, an error such as
 * EMFILE on accept would end the process.
 */
const logErrors = (server: Http.Server): Effect.Effect<(error: Error) => void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const errors = yield* Queue.unbounded<Error>()
    const log = (error: Error) => {
      Queue.unsafeOffer(errors, error)
    }
    server.on("error", log)
    yield* Queue.take(errors).pipe(
      Effect.flatMap((error) => Effect.logError(`gateway listener: ${error.message}`)),
      Effect.forever,
      Effect.interruptible,
      Effect.forkScoped
    )
    return log
  })

/** Makes a server that already listens accept connections on one more address. */
const listenFor = (
  server: Http.Server,
  address: Address,
  onError: (error: Error) => void
): Effect.Effect<Net.Server, BindError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Net.Server, BindError>((resume) => {
      const other = Net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        server.emit("connection", socket)
      })
      other.maxConnections = server.maxConnections
      other.once("error", (cause) => resume(bindError(address, cause)))
      other.listen({ ...address, exclusive: true }, () => {
        other.removeAllListeners("error").on("error", onError)
        resume(Effect.succeed(other))
      })
    }),
    (other) =>
      Effect.async<void>((resume) => {
        other.close(() => resume(Effect.void))
      })
  )

// ---------------------------------------------------------------------------
// the bound socket
// ---------------------------------------------------------------------------

const bind = (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const { address: asked, limits, passedSocket, rules } = options
    const run = yield* FiberSet.makeRuntime<never>()
    const server = InterceptingServer.make(limits)
    const beforeListening = yield* BeforeListening
    beforeListening(server)
    const table = yield* ConnectionTable.make(server, rules, run)
    const apps: Array<ServedApps.ServedApp> = []
    const controlSockets = yield* ControlSockets.make(options, table, () => apps.length > 0, run)
    yield* InterceptingServer.intercept(server, { options, table, controlSockets, apps, run })

    const { address, inner } = yield* passedSocket === undefined
      ? listenOnAddress(server, asked)
      : listenOnPassed(server, asked, passedSocket)
    const onError = yield* logErrors(server)
    const others: Array<Net.Server> = []

    const destroyConnections = Effect.sync(() => {
      controlSockets.terminate()
      table.destroyPending()
    })
    const destroyAll = Effect.zipRight(destroyConnections, Effect.sync(controlSockets.terminateViewers))
    // Finalizers run in reverse order, so this one runs before those above, which close the server. It cuts all connections,
    // because the close of a server waits until its connections have ended.
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(
        destroyAll,
        // Only `close` of `Http.Server` stops the timer that checks for slow requests. `stopAccepting` below calls `close` of
        // `Net.Server`, which does not stop that timer.
        Effect.sync(() => server.close(() => {}))
      )
    )

    return {
      address,
      server: ServedApps.serverOf(apps, server, inner, options.drainBegan),
      lacksLoopbackV4: !hasLoopbackV4(),
      alsoBind: (host) =>
        listenFor(server, { host, port: address.port }, onError).pipe(
          Effect.tap((other) => {
            others.push(other)
            return Effect.addFinalizer(() => destroyAll)
          }),
          Effect.asVoid
        ),
      stopAccepting: table.stopAccepting(() => {
        for (const other of others) other.close()
        // This calls `close` of `Net.Server`. The `close` of `Http.Server` would also cut responses that are still being sent
        // (`httpServerPreClose` in lib/_http_server.js).
        if (server.listening) Net.Server.prototype.close.call(server)
      }),
      closeControlSockets: (frame, code, reason) => Effect.sync(() => controlSockets.close(frame, code, reason)),
      dismissViewers: controlSockets.dismissViewers,
      connections: table.connections,
      requests: table.requests,
      pending: table.pending,
      idle: table.idle,
      destroyConnections
    }
  })

/**
 * Binds sockets of the operating system, exclusively (without `SO_REUSEPORT`). `Gateway.layerNode` includes this layer.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { Gateway, Host, Server } from "gateway-lock"
 *
 * // Uses the real machine, but no kernel locks. So it shows how an app behaves on a disk that does not support them.
 * const Machine = Layer.mergeAll(
 *   Host.KernelLock.layerAbsent("tried without"),
 *   Host.ProcessTable.layerLive,
 *   Host.ProbeTransport.layerLive,
 *   Server.NodeServerSocket.layer,
 *   Host.PlatformFolders.layerLive
 * ).pipe(Layer.provideMerge(NodeContext.layer))
 *
 * const Main = Gateway.layerPlatform({ port: 18789 }).pipe(Layer.provide(Machine))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ServerSocket> = Layer.succeed(ServerSocket, ServerSocket.of({ bind }))
