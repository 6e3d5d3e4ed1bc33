/**
 * `ServerSocket` over simulated ports: what a gateway of the simulated host binds and serves.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Address, toUrl } from "../Address.ts"
import type { Answer } from "../host/ProbeTransport.ts"
import { type BindError, type BindOptions, type BoundSocket, ServerSocket } from "../server/ServerSocket.ts"
import * as ControlConnections from "./ControlConnections.ts"
import { bindError, type Bound, type PortTable } from "./PortTable.ts"
import { literal } from "./SimulatedAddresses.ts"
import { closeCall, type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

const answerWith = (app: HttpApp.Default<unknown>, path: string): Effect.Effect<Answer> =>
  app.pipe(
    Effect.provideService(
      HttpServerRequest.HttpServerRequest,
      HttpServerRequest.fromWeb(new Request(`http://simulated${path}`))
    ),
    Effect.scoped,
    Effect.flatMap((response) =>
      Effect.map(
        // Bytes need no web stream, and so no turn of the event loop that a TestClock would not know of.
        response.body._tag === "Uint8Array"
          ? Effect.succeed(new TextDecoder().decode(response.body.body))
          : Effect.promise(() => HttpServerResponse.toWeb(response).text()),
        (body) => ({ status: response.status, body })
      )
    ),
    // What an app's own failure looks like from outside.
    Effect.catchAll(() => Effect.succeed({ status: 500, body: "" }))
  )

/** The server of an address: the app that was mounted last answers. */
const serverOf = ({ host, port }: Address, apps: Array<HttpApp.Default<unknown>>): HttpServer.HttpServer =>
  HttpServer.make({
    address: { _tag: "TcpAddress", hostname: host, port },
    serve: (app) =>
      Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        // The request's own scope and request win over what the server was built with.
        const provided = Effect.mapInputContext(
          app,
          (request: Context.Context<HttpServerRequest.HttpServerRequest>) => Context.merge(context, request)
        )
        yield* Effect.acquireRelease(
          Effect.sync(() => apps.push(provided)),
          () => Effect.sync(() => apps.splice(apps.indexOf(provided), 1))
        )
      })
  })

/** Binds for a process: one address at first, and others beside it when it is asked to. */
const bind =
  (kernel: SimulatedKernel, table: PortTable, process: KernelProcess) =>
  (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
    Effect.gen(function*() {
      const { address: asked, routes } = options
      const host = literal(asked.host)
      const { networkNamespace, pid, serial } = process
      const address = { host, port: asked.port === 0 ? table.freePort(host, networkNamespace) : asked.port }
      const apps: Array<HttpApp.Default<unknown>> = []
      const mine: Array<Bound> = []
      const connections = yield* ControlConnections.make(process, routes.control)

      const serveOne = (path: string) =>
        connections.answered(
          Effect.suspend(() => answerWith(routes.owns(path) ? routes.app : apps.at(-1) ?? routes.app, path))
        )

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
          get: serveOne,
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
        closeControlSockets: (frame, code, reason) => connections.takeLeave("others", frame, code, reason),
        dismissViewers: (frame, code, reason) => connections.takeLeave("viewers", frame, code, reason),
        connections: connections.count,
        pending: connections.pending,
        idle: connections.idle,
        destroyConnections: connections.reset("others")
      }
    })

/** The sockets of one process. */
export const serverSocket =
  (kernel: SimulatedKernel, table: PortTable) => (process: KernelProcess): ServerSocket["Type"] =>
    ServerSocket.of({ bind: bind(kernel, table, process) })
