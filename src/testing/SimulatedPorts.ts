/**
 * `ServerSocket` and `ProbeTransport` over simulated ports, with Linux's rules about which addresses exclude each other.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Address } from "../port/Address.ts"
import * as ProbeTransport from "../port/ProbeTransport.ts"
import { BindError, type BindOptions, type BoundSocket, ServerSocket } from "../port/ServerSocket.ts"
import { type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

/**
 * What a listener that is no gateway of ours does with a request.
 *
 * @since 0.1.0
 * @category models
 */
export type ForeignBehaviour =
  | { readonly _tag: "Answers"; readonly status: number; readonly body: string }
  | { readonly _tag: "Garbage" }
  | { readonly _tag: "Stalls" }

/**
 * A WebSocket client of a simulated gateway's control socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedWebSocket {
  readonly frames: Queue.Dequeue<string>
  readonly closed: Deferred.Deferred<{ readonly code: number; readonly reason: string }>
}

interface Bound {
  readonly host: string
  readonly port: number
  readonly pid: number
  readonly get: (path: string) => Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed>
  readonly connect: Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SimulatedPorts {
  /** Listens as somebody else, until the scope closes. */
  readonly foreign: (address: Address, behaviour: ForeignBehaviour) => Effect.Effect<void, BindError, Scope.Scope>
  /** Asks a listener, as any client would. */
  readonly get: (address: Address, path: string) => Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed>
  /** Opens a control socket. */
  readonly connect: (address: Address) => Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** Which processes listen on a port, on any address. */
  readonly owners: (port: number) => ReadonlyArray<number>
  /** Takes from a process that ended what it listened on. */
  readonly closeAll: (pid: number) => void
  readonly serverSocket: (process: KernelProcess) => ServerSocket["Type"]
  readonly probeTransport: (process: KernelProcess) => ProbeTransport.ProbeTransport["Type"]
}

const localAddresses: Record<string, string> = { localhost: "127.0.0.1", "0:0:0:0:0:0:0:1": "::1" }
const literal = (host: string): string => localAddresses[host] ?? host

const isV6 = (host: string): boolean => host.includes(":")

/** Measured on Linux: a wildcard and an address it covers exclude each other; two different addresses do not. */
const excludes = (a: string, b: string): boolean =>
  a === b || a === "::" || b === "::" || (a === "0.0.0.0" && !isV6(b)) || (b === "0.0.0.0" && !isV6(a))

const reaches = (bound: string, host: string): boolean =>
  bound === host || bound === "::" || (bound === "0.0.0.0" && !isV6(host))

const isLocal = (host: string): boolean =>
  host === "0.0.0.0" || host === "::" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)

const firstEphemeralPort = 32768

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (kernel: SimulatedKernel): SimulatedPorts => {
  const bounds = new Set<Bound>()
  let nextPort = firstEphemeralPort

  const bindError = (address: Address) => (code: string) =>
    new BindError({ ...address, code, reason: `listen ${code}: simulated, ${address.host}:${address.port}` })

  const fault = (address: Address): string | undefined => {
    const host = literal(address.host)
    if (!isLocal(host)) return "EADDRNOTAVAIL"
    return [...bounds].some((bound) => bound.port === address.port && excludes(bound.host, host))
      ? "EADDRINUSE"
      : undefined
  }

  const freePort = (host: string): number => {
    do nextPort += 1
    while (fault({ host, port: nextPort }) !== undefined)
    return nextPort
  }

  const find = (address: Address): Effect.Effect<Bound, ProbeTransport.ProbeFailed> =>
    Effect.suspend(() => {
      const host = literal(address.host)
      for (const bound of bounds) {
        if (bound.port === address.port && reaches(bound.host, host)) return Effect.succeed(bound)
      }
      return new ProbeTransport.ProbeFailed({
        reason: "NoListener",
        detail: `connect ECONNREFUSED ${address.host}:${address.port}`
      })
    })

  const get = (address: Address, path: string) => Effect.flatMap(find(address), (bound) => bound.get(path))

  const occupy = (bound: Bound): Effect.Effect<void, BindError, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        const code = fault(bound)
        if (code !== undefined) return bindError(bound)(code)
        bounds.add(bound)
        return Effect.void
      }),
      () => Effect.sync(() => bounds.delete(bound))
    )

  const noSocket = new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "no WebSocket here" })

  const foreign = (address: Address, behaviour: ForeignBehaviour) =>
    occupy({
      ...address,
      host: literal(address.host),
      pid: 0,
      connect: noSocket,
      get: () => {
        switch (behaviour._tag) {
          case "Answers":
            return Effect.succeed(behaviour)
          case "Garbage":
            return new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "Parse Error: Expected HTTP/" })
          case "Stalls":
            return Effect.never
        }
      }
    })

  const answerWith = (app: HttpApp.Default<unknown>, path: string): Effect.Effect<ProbeTransport.Answer> =>
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

  const bind = (process: KernelProcess) => (options: BindOptions): Effect.Effect<BoundSocket, BindError, Scope.Scope> =>
    Effect.gen(function*() {
      const { address: asked, routes } = options
      const host = literal(asked.host)
      const address = { host, port: asked.port === 0 ? freePort(host) : asked.port }
      const apps: Array<HttpApp.Default<unknown>> = []
      const mine: Array<Bound> = []
      const sockets = new Set<{
        readonly frames: Queue.Queue<string>
        readonly closed: Deferred.Deferred<{ readonly code: number; readonly reason: string }>
      }>()
      const inFlight = new Set<Deferred.Deferred<void>>()
      const idle = yield* Deferred.make<void>()
      let stopped = false
      const finishIfIdle = () => {
        if (stopped && inFlight.size + sockets.size === 0) Deferred.unsafeDone(idle, Effect.void)
      }

      const serveOne = (path: string) =>
        Effect.gen(function*() {
          // A stopped process accepts (the kernel does) and does not answer.
          yield* process.gate.await
          if (process.state !== "running") return yield* Effect.never
          const cut = yield* Deferred.make<void>()
          inFlight.add(cut)
          const app = routes.owns(path) ? routes.app : apps.at(-1) ?? routes.app
          return yield* Effect.raceFirst(
            answerWith(app, path),
            Effect.zipRight(
              Deferred.await(cut),
              new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "socket hang up" })
            )
          ).pipe(Effect.ensuring(Effect.sync(() => {
            inFlight.delete(cut)
            finishIfIdle()
          })))
        })

      const connect = Effect.gen(function*() {
        const socket = {
          frames: yield* Queue.unbounded<string>(),
          closed: yield* Deferred.make<{ code: number; reason: string }>()
        }
        sockets.add(socket)
        yield* Queue.offer(socket.frames, yield* routes.control.hello)
        return socket
      })

      const occupyHost = (host: string) => {
        const bound: Bound = { host, port: address.port, pid: process.pid, get: serveOne, connect }
        return Effect.map(occupy(bound), () => {
          mine.push(bound)
        })
      }
      yield* systemCall(
        kernel,
        process,
        { name: "bind", target: `${host}:${address.port}` },
        bindError(address),
        () => Effect.void
      )
      yield* occupyHost(host)

      const closeSocket = (
        socket: { readonly closed: Deferred.Deferred<{ code: number; reason: string }> },
        code: number,
        reason: string
      ) => Deferred.succeed(socket.closed, { code, reason })

      return {
        address,
        server: HttpServer.make({
          address: { _tag: "TcpAddress", hostname: host, port: address.port },
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
        }),
        alsoBind: (other) =>
          systemCall(
            kernel,
            process,
            { name: "bind", target: `${other}:${address.port}` },
            bindError({ ...address, host: other }),
            () => Effect.void
          ).pipe(Effect.zipRight(occupyHost(literal(other)))),
        stopAccepting: Effect.sync(() => {
          stopped = true
          for (const bound of mine) bounds.delete(bound)
          finishIfIdle()
        }),
        closeControlSockets: (frame, code, reason) =>
          Effect.gen(function*() {
            for (const socket of sockets) {
              yield* Queue.offer(socket.frames, frame)
              yield* closeSocket(socket, code, reason)
              sockets.delete(socket)
            }
            finishIfIdle()
          }),
        connections: Effect.sync(() => inFlight.size + sockets.size),
        idle: Deferred.await(idle),
        destroyConnections: Effect.gen(function*() {
          for (const cut of inFlight) yield* Deferred.succeed(cut, undefined)
          for (const socket of sockets) yield* closeSocket(socket, 1006, "")
          sockets.clear()
        })
      }
    })

  return {
    foreign,
    get,
    connect: (address) => Effect.flatMap(find(address), ({ connect }) => connect),
    owners: (port) => [...bounds].filter((bound) => bound.port === port).map(({ pid }) => pid),
    closeAll: (pid) => {
      for (const bound of bounds) if (bound.pid === pid) bounds.delete(bound)
    },
    serverSocket: (process) => ServerSocket.of({ bind: bind(process) }),
    probeTransport: (process) =>
      ProbeTransport.ProbeTransport.of({
        get: (address, path) =>
          systemCall(
            kernel,
            process,
            { name: "connect", target: `${address.host}:${address.port}` },
            (code) => new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: `${code}: simulated error` }),
            () => get(address, path)
          )
      })
  }
}
