/**
 * Implements the service `ServerSocket` on simulated ports. The service makes the listener of a gateway on a simulated host.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Address, toUrl } from "../Address.ts"
import { ProbeFailed } from "../host/ProbeTransport.ts"
import { type BindError, type BindOptions, type BoundSocket, ServerSocket } from "../server/ServerSocket.ts"
import * as ControlConnections from "./ControlConnections.ts"
import { type Answered, bindError, type Bound, pathOf, type PortTable } from "./PortTable.ts"
import { literal } from "./SimulatedAddresses.ts"
import { closeCall, type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

/**
 * Replaces a streamed body of a response by its complete content. The fiber of the request reads the stream. Otherwise a web
 * `Response` would read it over turns of the event loop, and a `TestClock` does not wait for such turns.
 */
const withWholeBody = (response: HttpServerResponse.HttpServerResponse): Answered => {
  const { body } = response
  if (body._tag !== "Stream") return Effect.succeed(response)
  return Stream.runCollect(body.stream).pipe(
    Effect.mapError((cause) => new ProbeFailed({ reason: "NotHttp", detail: `the body broke off: ${String(cause)}` })),
    Effect.map((chunks) =>
      HttpServerResponse.setBody(response, HttpBody.uint8Array(concat(Chunk.toReadonlyArray(chunks)), body.contentType))
    )
  )
}

const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Answers a request to a route that the gateway itself serves, such as `/healthz`. */
const answerOfGateway = (app: HttpApp.Default<unknown>, request: Request): Answered =>
  app.pipe(
    Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
    Effect.scoped,
    Effect.catchAll(() => Effect.succeed(HttpServerResponse.empty({ status: 500 }))),
    Effect.flatMap(withWholeBody)
  )

/** An app that is served, with the middleware around it. */
interface Mounted {
  readonly app: HttpApp.Default<unknown>
  readonly middleware: HttpMiddleware.HttpMiddleware | undefined
}

/**
 * Answers a request with an app, as `NodeHttpServer` does: a failure becomes a response, and registered pre-response handlers
 * change the response. If the process ends while the app runs, the app's fiber never completes. Because of
 * `Effect.disconnect`, an interruption of the request does not wait for that fiber.
 */
const answerOfApp = ({ app, middleware }: Mounted, request: Request): Answered =>
  Effect.gen(function*() {
    const answer = yield* Deferred.make<HttpServerResponse.HttpServerResponse, ProbeFailed>()
    yield* HttpApp.toHandled(
      Effect.interruptible(app),
      (_, response) => Effect.intoDeferred(Effect.interruptible(withWholeBody(response)), answer),
      middleware
    ).pipe(
      Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
      // `toHandled` has already turned a failure into a response, so `Effect.exit` can drop the cause of the failure.
      Effect.exit
    )
    return yield* Deferred.await(answer)
  }).pipe(Effect.disconnect)

/** The HTTP server of an address. If several apps are mounted, the last one answers. */
const serverOf = ({ host, port }: Address, apps: Array<Mounted>): HttpServer.HttpServer =>
  HttpServer.make({
    address: { _tag: "TcpAddress", hostname: host, port },
    serve: (app, middleware) =>
      Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        // The context of a request contains the request's scope and its `HttpServerRequest`. If `context` has one of these
        // services too, the service of the request is used.
        const provided = Effect.mapInputContext(
          app,
          (request: Context.Context<HttpServerRequest.HttpServerRequest>) => Context.merge(context, request)
        )
        const mounted: Mounted = { app: provided, middleware }
        yield* Effect.acquireRelease(
          Effect.sync(() => apps.push(mounted)),
          () => Effect.sync(() => apps.splice(apps.indexOf(mounted), 1))
        )
      })
  })

/** Binds a listener for a process. The listener has one address at first, and `alsoBind` adds other addresses. */
const bind =
  (kernel: SimulatedKernel, table: PortTable, process: KernelProcess) =>
  (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
    Effect.gen(function*() {
      const { address: asked, routes } = options
      const host = literal(asked.host)
      const { networkNamespace, pid, serial } = process
      const address = { host, port: asked.port === 0 ? table.freePort(host, networkNamespace) : asked.port }
      const apps: Array<Mounted> = []
      const mine: Array<Bound> = []
      const connections = yield* ControlConnections.make(process, routes.control)

      let requests = 0
      const serveOne = (request: Request) =>
        connections.answered(Effect.suspend(() => {
          requests += 1
          const app = routes.owns(pathOf(request)) ? undefined : apps.at(-1)
          return app === undefined ? answerOfGateway(routes.app, request) : answerOfApp(app, request)
        }))

      const unbind = (bound: Bound) =>
        Effect.suspend(() =>
          table.bounds.has(bound) ? closeCall(kernel, process, toUrl(bound), () => table.remove(bound)) : Effect.void
        )

      const occupy = (host: string) => {
        const bound: Bound = {
          host,
          port: address.port,
          pid,
          serial,
          networkNamespace,
          reset: connections.reset("all"),
          request: serveOne,
          connect: connections.connect,
          watch: connections.answered(connections.connect)
        }
        return Effect.acquireRelease(
          systemCall(
            kernel,
            process,
            { name: "bind", target: toUrl(bound) },
            bindError({ ...address, host }),
            () => table.add(bound)
          ),
          () => unbind(bound)
        ).pipe(Effect.map(() => {
          mine.push(bound)
        }))
      }
      yield* occupy(host)

      return {
        address,
        server: serverOf(address, apps),
        lacksLoopbackV4: table.lacksLoopbackV4(networkNamespace),
        alsoBind: (other) => occupy(literal(other)),
        stopAccepting: Effect.gen(function*() {
          for (const bound of mine) yield* unbind(bound)
          connections.stop()
        }),
        closeControlSockets: (frame, code, reason) => connections.closeSockets("others", frame, code, reason),
        dismissViewers: (frame, code, reason) => connections.closeSockets("viewers", frame, code, reason),
        connections: connections.count,
        requests: Effect.sync(() => requests),
        pending: connections.pending,
        idle: connections.idle,
        destroyConnections: connections.reset("others")
      }
    })

/** Makes the service `ServerSocket` for one process. The service binds the listener of a gateway. */
export const serverSocket =
  (kernel: SimulatedKernel, table: PortTable) => (process: KernelProcess): ServerSocket["Type"] =>
    ServerSocket.of({ bind: bind(kernel, table, process) })
