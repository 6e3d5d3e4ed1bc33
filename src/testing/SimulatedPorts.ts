/**
 * `ServerSocket`, `ProbeTransport` and `OwnerWatch` over simulated ports, with the rules of the host's platform about
 * which addresses exclude each other. Requests here have no headers: who may ask (`Access`, a token) is not simulated.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import {
  type Address,
  canonical,
  coversGuard,
  exclude,
  guardHost,
  isLoopback,
  isV6,
  isWildcard,
  reachableAt,
  toUrl
} from "../Address.ts"
import { PortOwners } from "../host/PortOwners.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import { NotWatchable, OwnerWatch } from "../probe/OwnerWatch.ts"
import { BindError, type BindOptions, type BoundSocket, ServerSocket } from "../server/ServerSocket.ts"
import { closeCall, type KernelProcess, type SimulatedKernel, systemCall } from "./SimulatedKernel.ts"

/**
 * What a listener that is not one of the host's processes does with a request.
 *
 * - `Answers`: the same to every request.
 * - `Routes`: by path, and 404 to every other path.
 * - `Garbage`: something that is not HTTP.
 * - `Stalls`: accepts and answers nothing.
 * - `Gateway`: answers `/healthz` as a gateway with that `instanceId`, and accepts as many watchers as it has slots.
 *
 * @since 0.1.0
 * @category models
 */
export type ForeignBehaviour =
  | { readonly _tag: "Answers"; readonly status: number; readonly body: string }
  | {
    readonly _tag: "Routes"
    readonly answers: Readonly<Record<string, { readonly status: number; readonly body: string }>>
  }
  | { readonly _tag: "Garbage" }
  | { readonly _tag: "Stalls" }
  | {
    readonly _tag: "Gateway"
    readonly instanceId: string
    /** `/healthz` answers 200 and `live`, or 503 and `starting`. */
    readonly healthy: boolean
    /** How many watchers it accepts at one time. */
    readonly watcherSlots: number
  }

const openClawHealth = { status: 200, body: "{\"ok\":true,\"status\":\"live\"}" }

/**
 * The released OpenClaw's answers: healthy, without an `instanceId`.
 *
 * @since 0.1.0
 * @category constants
 */
export const openClaw: ForeignBehaviour = {
  _tag: "Routes",
  answers: { "/healthz": openClawHealth, "/health": openClawHealth }
}

/**
 * A listener that is not one of the host's processes, as the test sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedStranger {
  /** How many HTTP requests it got so far. */
  readonly requests: () => number
  /** How many watch connections were opened to it so far, refused ones included. */
  readonly watches: () => number
  /** How many connections to it are open now. */
  readonly open: () => number
}

/**
 * A WebSocket client of a simulated gateway's control socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedWebSocket {
  /** What it was sent, oldest first. */
  readonly frames: Queue.Dequeue<string>
  /** Sends a text frame. */
  readonly send: (text: string) => Effect.Effect<void>
  /** Goes away. */
  readonly close: Effect.Effect<void>
  /** Why it was closed, once it was. */
  readonly closed: Deferred.Deferred<{ readonly code: number; readonly reason: string }>
}

interface Closed {
  readonly code: number
  readonly reason: string
}

/** The gateway's end of a control socket. */
interface ServerEnd {
  readonly frames: Queue.Queue<string>
  readonly closed: Deferred.Deferred<Closed>
  watches: boolean
  /** Tells it, while it watches. */
  watcher: Fiber.Fiber<never> | undefined
}

interface Bound {
  readonly host: string
  readonly port: number
  readonly pid: number
  readonly serial: number
  readonly networkNamespace: string
  /** Ends every connection without a word, as the kernel does for a process that ended. */
  readonly reset: Effect.Effect<void>
  readonly get: (path: string) => Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed>
  readonly connect: Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** The handshake of a watch. */
  readonly watch: Effect.Effect<Pick<SimulatedWebSocket, "close" | "closed">, ProbeTransport.ProbeFailed>
}

/**
 * The network of the host: what listens where, and the platform parts of each process.
 *
 * @example
 * import { Effect } from "effect"
 * import { Gateway } from "gateway-lock"
 * import { SimulatedHost, type SimulatedPorts } from "gateway-lock/testing"
 *
 * const hung: SimulatedPorts.ForeignBehaviour = { _tag: "Stalls" }
 *
 * const test = Effect.scoped(Effect.gen(function*() {
 *   const host = yield* SimulatedHost.make
 *   yield* host.ports.foreign({ host: "127.0.0.1", port: 18789 }, hung)
 *   const start = yield* host.spawn(Gateway.launch(Gateway.layerPlatform()))
 *   return yield* start.exit // PortInUse, once the clock has been adjusted by the probe's second
 * }))
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedPorts {
  /** Listens outside the host's processes, until the scope closes. */
  readonly foreign: (
    address: Address,
    behaviour: ForeignBehaviour
  ) => Effect.Effect<SimulatedStranger, BindError, Scope.Scope>
  /** Has an address without listening on it, as the near end of a connection does, until the scope closes. */
  readonly connection: (address: Address) => Effect.Effect<void, BindError, Scope.Scope>
  /** Asks a listener, as any client would. */
  readonly get: (address: Address, path: string) => Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed>
  /** Opens a control socket. */
  readonly connect: (address: Address) => Effect.Effect<SimulatedWebSocket, ProbeTransport.ProbeFailed>
  /** Takes 127.0.0.0/8 from a network, as `ip addr del 127.0.0.1/8 dev lo` does. What is bound there stays bound. */
  readonly loseLoopbackV4: (networkNamespace?: string) => Effect.Effect<void>
  /** Which processes listen on a port, on any address. */
  readonly owners: (port: number) => ReadonlyArray<number>
  /** Takes from a process that ended what it listened on, and resets its connections. */
  readonly closeAll: (process: KernelProcess) => Effect.Effect<void>
  readonly serverSocket: (process: KernelProcess) => ServerSocket["Type"]
  readonly probeTransport: (process: KernelProcess) => ProbeTransport.ProbeTransport["Type"]
  readonly ownerWatch: (process: KernelProcess) => OwnerWatch["Type"]
  readonly portOwners: (process: KernelProcess) => PortOwners["Type"]
}

const literal = (host: string): string => host === "localhost" ? guardHost : canonical(host) ?? host

/**
 * Measured on Linux: a wildcard and an address it covers exclude each other; two different addresses do not. Elsewhere
 * (`Address.coversGuard` says how that is known) only equal addresses do, and on macOS the two wildcards, by the lookup of
 * `in6_pcbbind` in XNU's bsd/netinet6/in6_pcb.c. For Windows' wildcards of both families no document was found, so the
 * simulated one lets them be together, as the worse case.
 */
const excludes = (a: string, b: string, platform: string): boolean => {
  if (platform === "win32") return a === b
  if (platform === "darwin") return a === b || (isWildcard(a) && isWildcard(b))
  return exclude(a, b)
}

/** Connecting to a wildcard address means this machine (measured on Linux). */
const reaches = (bound: string, host: string): boolean => {
  const to = reachableAt(host)
  return bound === to || bound === "::" || (bound === "0.0.0.0" && !isV6(to))
}

/**
 * The address of every simulated host in a local network (TEST-NET-2, RFC 5737).
 *
 * @since 0.1.0
 * @category constants
 */
export const lanAddress = "198.51.100.1"

/** What every simulated host has. */
const available: ReadonlyArray<string> = ["127.0.0.1", "::1", lanAddress]

/**
 * How long Windows takes to refuse a connection to a free port of an address that is not loopback: it sends the SYN again after
 * each reset (Microsoft KB 175523). For loopback libuv switches that off (`uv__tcp_connect` in src/win/tcp.c).
 */
const windowsRefusal = Duration.seconds(2)

const isLocal = (host: string): boolean =>
  host === "0.0.0.0" || host === "::" || host === "::1" || host === lanAddress || /^127(\.\d{1,3}){3}$/.test(host)

const firstEphemeralPort = 32768

/**
 * Where processes are unless told otherwise, and where the test itself asks.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultNetworkNamespace = "net:[1]"

/** A process of nobody's: who listens as a stranger. */
const strangerSerial = -1

/**
 * The network of a kernel, on which nobody listens yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (kernel: SimulatedKernel): SimulatedPorts => {
  const bounds = new Set<Bound>()
  const connections = new Set<Address>()
  const withoutLoopbackV4 = new Set<string>()
  let nextPort = firstEphemeralPort

  const bindError = (address: Address) => (code: string) =>
    new BindError({
      ...address,
      code,
      reason: `listen ${code}: simulated, ${address.host}:${address.port}`,
      ...(code === "EADDRNOTAVAIL" ? { available } : {})
    })

  const lacksLoopbackV4 = (networkNamespace: string): boolean => withoutLoopbackV4.has(networkNamespace)
  const isMissing = (host: string, networkNamespace: string): boolean =>
    !isLocal(host) || (host.startsWith("127.") && lacksLoopbackV4(networkNamespace))

  const fault = (address: Address, networkNamespace: string): string | undefined => {
    const host = literal(address.host)
    if (isMissing(host, networkNamespace)) return "EADDRNOTAVAIL"
    return isConnected({ host, port: address.port }, networkNamespace) ||
        [...bounds].some((bound) =>
          bound.networkNamespace === networkNamespace && bound.port === address.port &&
          excludes(bound.host, host, kernel.platform)
        )
      ? "EADDRINUSE"
      : undefined
  }

  /** All of them are in the network in which the test asks. */
  const isConnected = ({ host, port }: Address, networkNamespace: string): boolean =>
    networkNamespace === defaultNetworkNamespace
    && [...connections].some((connection) =>
      connection.port === port && excludes(connection.host, literal(host), kernel.platform)
    )

  const freePort = (host: string, networkNamespace: string): number => {
    do nextPort += 1
    while (fault({ host, port: nextPort }, networkNamespace) !== undefined)
    return nextPort
  }

  const find = (
    address: Address,
    networkNamespace = defaultNetworkNamespace
  ): Effect.Effect<Bound, ProbeTransport.ProbeFailed> =>
    Effect.suspend(() => {
      const host = literal(address.host)
      const noListener = (code: string, unreachable: { readonly unreachable?: boolean } = {}) =>
        new ProbeTransport.ProbeFailed({
          reason: "NoListener",
          detail: `connect ${code} ${address.host}:${address.port}`,
          ...unreachable
        })
      if (isMissing(host === "0.0.0.0" ? "127.0.0.1" : host, networkNamespace)) {
        return noListener("ENETUNREACH", { unreachable: true })
      }
      const reached = [...bounds].filter((bound) =>
        bound.networkNamespace === networkNamespace && bound.port === address.port && reaches(bound.host, host)
      )
      // The exact address goes before a wildcard.
      const bound = reached.find((bound) => !isWildcard(bound.host)) ?? reached[0]
      return bound === undefined ? noListener("ECONNREFUSED") : Effect.succeed(bound)
    })

  const get = (address: Address, path: string) => Effect.flatMap(find(address), (bound) => bound.get(path))

  const add = (bound: Bound): Effect.Effect<void, BindError> =>
    Effect.suspend(() => {
      const code = fault(bound, bound.networkNamespace)
      if (code !== undefined) return bindError(bound)(code)
      bounds.add(bound)
      return Effect.void
    })

  const noSocket = new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "no WebSocket here" })

  const foreign = (address: Address, behaviour: ForeignBehaviour) =>
    Effect.gen(function*() {
      const gone = yield* Deferred.make<Closed>()
      const reset = Effect.asVoid(Deferred.succeed(gone, { code: 1006, reason: "" }))
      const count = { requests: 0, watches: 0, watching: 0, open: 0 }
      const hangUp = new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "socket hang up" })
      const answer = (path: string): Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed> => {
        switch (behaviour._tag) {
          case "Answers":
            return Effect.succeed(behaviour)
          case "Routes":
            return Effect.succeed(behaviour.answers[path] ?? { status: 404, body: "Not Found" })
          case "Garbage":
            return new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "Parse Error: Expected HTTP/" })
          case "Stalls":
            return Effect.zipRight(Deferred.await(gone), hangUp)
          case "Gateway": {
            const { healthy, instanceId } = behaviour
            return Effect.succeed({
              status: healthy ? 200 : 503,
              body: JSON.stringify({ ok: healthy, status: healthy ? "live" : "starting", instanceId })
            })
          }
        }
      }
      /** Counts a connection for as long as it is open. */
      const counted = <A, E>(what: "requests" | "watches", self: Effect.Effect<A, E>) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            count[what] += 1
            count.open += 1
          }),
          () => self,
          () =>
            Effect.sync(() => {
              count.open -= 1
            })
        )
      const refused = (status: number) =>
        new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: `answered HTTP ${status}` })
      const handshake = Effect.suspend(() => {
        if (behaviour._tag !== "Gateway") {
          return Effect.flatMap(answer("/"), ({ status }) => refused(status))
        }
        if (count.watching >= behaviour.watcherSlots) return refused(503)
        count.watching += 1
        count.open += 1
        return Effect.succeed({
          closed: gone,
          close: Effect.sync(() => {
            count.watching -= 1
            count.open -= 1
          })
        })
      })
      if (behaviour._tag === "Garbage") yield* reset
      const bound: Bound = {
        ...address,
        host: literal(address.host),
        pid: 0,
        serial: strangerSerial,
        networkNamespace: defaultNetworkNamespace,
        reset,
        watch: counted("watches", handshake),
        connect: behaviour._tag === "Answers" || behaviour._tag === "Routes" || behaviour._tag === "Gateway"
          ? noSocket
          : Effect.map(Queue.unbounded<string>(), (frames) => ({
            frames,
            closed: gone,
            send: () => Effect.void,
            close: Effect.void
          })),
        get: (path) => counted("requests", answer(path))
      }
      yield* Effect.acquireRelease(add(bound), () => Effect.zipRight(Effect.sync(() => bounds.delete(bound)), reset))
      return { requests: () => count.requests, watches: () => count.watches, open: () => count.open }
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
      const { networkNamespace } = process
      const address = { host, port: asked.port === 0 ? freePort(host, networkNamespace) : asked.port }
      const apps: Array<HttpApp.Default<unknown>> = []
      const mine: Array<Bound> = []
      const sockets = new Set<ServerEnd>()
      // As this process, whichever one sends the frame that begins it.
      const run = yield* FiberSet.makeRuntime<never>()
      const inFlight = new Set<Deferred.Deferred<void>>()
      const idle = yield* Deferred.make<void>()
      let stopped = false
      const watching = () => [...sockets].filter(({ watches }) => watches)
      const countPending = () => inFlight.size + sockets.size - watching().length
      const finishIfIdle = () => {
        if (stopped && countPending() === 0) Deferred.unsafeDone(idle, Effect.void)
      }
      const connections = Effect.sync(() => inFlight.size + sockets.size)
      const pending = Effect.sync(countPending)

      /** A stopped process accepts (the kernel does) and does not answer. */
      const answered = <A>(answer: Effect.Effect<A>): Effect.Effect<A, ProbeTransport.ProbeFailed> =>
        Effect.gen(function*() {
          const cut = yield* Deferred.make<void>()
          inFlight.add(cut)
          return yield* Effect.raceFirst(
            Effect.zipRight(process.gate.await, answer),
            Effect.zipRight(
              Deferred.await(cut),
              new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: "socket hang up" })
            )
          ).pipe(Effect.ensuring(Effect.sync(() => {
            inFlight.delete(cut)
            finishIfIdle()
          })))
        })

      const serveOne = (path: string) =>
        answered(
          Effect.suspend(() => answerWith(routes.owns(path) ? routes.app : apps.at(-1) ?? routes.app, path))
        )

      const offer = (socket: ServerEnd, frame: string) =>
        Effect.suspend(() => sockets.has(socket) ? Queue.offer(socket.frames, frame) : Effect.void)

      const closeSocket = (socket: ServerEnd, code: number, reason: string) =>
        Effect.gen(function*() {
          sockets.delete(socket)
          yield* Deferred.succeed(socket.closed, { code, reason })
          if (socket.watcher !== undefined) yield* Fiber.interruptFork(socket.watcher)
          finishIfIdle()
        })

      const takeLeave = (leaving: ReadonlyArray<ServerEnd>, frame: string, code: number, reason: string) =>
        Effect.forEach(leaving, (socket) => Effect.zipRight(offer(socket, frame), closeSocket(socket, code, reason)), {
          discard: true
        })

      const receive = (socket: ServerEnd, text: string) =>
        Effect.gen(function*() {
          yield* process.gate.await
          if (!sockets.has(socket)) return
          const reply = routes.control.answer({ _tag: "Text", text })
          for (const frame of reply.send) yield* offer(socket, frame)
          if (reply.watch === true && !socket.watches) {
            socket.watches = true
            socket.watcher = run(routes.control.watch({ push: (frame) => offer(socket, frame), connections, pending }))
          }
          if (reply.close !== undefined) yield* closeSocket(socket, reply.close.code, reply.close.reason)
        })

      const connect = Effect.gen(function*() {
        const frames = yield* Queue.unbounded<string>()
        const closed = yield* Deferred.make<Closed>()
        const socket: ServerEnd = { frames, closed, watches: false, watcher: undefined }
        sockets.add(socket)
        yield* offer(socket, yield* routes.control.hello)
        return {
          frames,
          closed,
          // Its process may be stopped; who sends does not wait for it.
          send: (text: string) => Effect.asVoid(Effect.sync(() => run(receive(socket, text)))),
          close: closeSocket(socket, 1005, "")
        }
      })

      const reset = (which: Iterable<ServerEnd>) =>
        Effect.gen(function*() {
          for (const cut of inFlight) yield* Deferred.succeed(cut, undefined)
          for (const socket of which) {
            sockets.delete(socket)
            yield* Deferred.succeed(socket.closed, { code: 1006, reason: "" })
          }
        })

      const unbind = (bound: Bound) =>
        Effect.suspend(() =>
          bounds.has(bound) ? closeCall(kernel, process, toUrl(bound), () => bounds.delete(bound)) : Effect.void
        )

      const occupy = (host: string) => {
        const { pid, serial } = process
        const bound: Bound = {
          host,
          port: address.port,
          pid,
          serial,
          networkNamespace,
          reset: Effect.suspend(() => reset([...sockets])),
          get: serveOne,
          connect,
          watch: answered(connect)
        }
        return Effect.acquireRelease(
          systemCall(
            kernel,
            process,
            { name: "bind", target: toUrl(bound) },
            bindError({ ...address, host }),
            () => add(bound)
          ),
          () => unbind(bound)
        ).pipe(Effect.map(() => {
          mine.push(bound)
        }))
      }
      yield* occupy(host)

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
        lacksLoopbackV4: lacksLoopbackV4(networkNamespace),
        alsoBind: (other) => occupy(literal(other)),
        stopAccepting: Effect.gen(function*() {
          for (const bound of mine) yield* unbind(bound)
          stopped = true
          finishIfIdle()
        }),
        closeControlSockets: (frame, code, reason) =>
          Effect.suspend(() => takeLeave([...sockets].filter(({ watches }) => !watches), frame, code, reason)),
        dismissViewers: (frame, code, reason) => Effect.suspend(() => takeLeave(watching(), frame, code, reason)),
        connections,
        pending,
        idle: Deferred.await(idle),
        destroyConnections: Effect.suspend(() => reset([...sockets].filter(({ watches }) => !watches)))
      }
    })

  /** As the live one: the handshake has a second, and the connection is closed at an interruption. */
  const watchBound = (bound: Bound, address: Address) =>
    Effect.acquireUseRelease(
      Effect.interruptible(Effect.timeoutFail(bound.watch, {
        duration: "1 second",
        onTimeout: () => new NotWatchable({ ...address, reason: "gave no answer within 1000ms" })
      })),
      ({ closed }) => Effect.asVoid(Deferred.await(closed)),
      ({ close }) => close
    )

  /** A stranger's pid, and one that the process could not see in its `/proc`, is nobody's. */
  const visiblePid = (viewer: KernelProcess, serial: number): { readonly pid?: number } => {
    const owner = [...kernel.processes].find((process) => process.serial === serial)
    const isVisible = owner !== undefined && owner.bootId === viewer.bootId
      && owner.pidNamespace === viewer.pidNamespace
      && (viewer.uid === 0 || viewer.uid === owner.uid)
    return isVisible ? { pid: owner.pid } : {}
  }

  return {
    foreign,
    get,
    connect: (address) => Effect.flatMap(find(address), ({ connect }) => connect),
    connection: ({ host, port }) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.suspend(() => {
          const mine: Address = { host: literal(host), port }
          const code = fault(mine, defaultNetworkNamespace)
          if (code !== undefined) return bindError(mine)(code)
          connections.add(mine)
          return Effect.succeed(mine)
        }),
        (mine) => Effect.sync(() => connections.delete(mine))
      )),
    loseLoopbackV4: (networkNamespace = defaultNetworkNamespace) =>
      Effect.sync(() => {
        withoutLoopbackV4.add(networkNamespace)
      }),
    owners: (port) => [...bounds].filter((bound) => bound.port === port).map(({ pid }) => pid),
    closeAll: (process) =>
      Effect.gen(function*() {
        for (const bound of bounds) {
          if (bound.serial !== process.serial) continue
          bounds.delete(bound)
          yield* bound.reset
        }
      }),
    serverSocket: (process) => ServerSocket.of({ bind: bind(process) }),
    probeTransport: (process) =>
      ProbeTransport.ProbeTransport.of({
        get: (address, path, connecting = MutableRef.make(false)) =>
          systemCall(
            kernel,
            process,
            { name: "connect", target: toUrl(address) },
            (code) => new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail: `${code}: simulated error` }),
            () =>
              Effect.suspend(() => {
                MutableRef.set(connecting, true)
                const isSlow = kernel.platform === "win32" && !isLoopback(address.host) && !isWildcard(address.host)
                return find(address, process.networkNamespace).pipe(
                  Effect.tapError(() => isSlow ? Effect.sleep(windowsRefusal) : Effect.void),
                  Effect.tap(() => Effect.sync(() => MutableRef.set(connecting, false)))
                )
              }).pipe(Effect.flatMap((bound) => bound.get(path)))
          )
      }),
    portOwners: (process) =>
      PortOwners.of({
        blocker: ({ host, port }) =>
          Effect.sync(() =>
            (coversGuard(host, kernel.platform) ? [host] : [host, guardHost]).some((host) =>
                isConnected({ host, port }, process.networkNamespace)
              )
              ? Option.some({ reason: "a connection has it" })
              : Option.none()
          ),
        listeners: (port) =>
          Effect.sync(() => ({
            _tag: "Seen",
            listeners: [...bounds].filter((bound) =>
              bound.networkNamespace === process.networkNamespace && bound.port === port
            ).map(({ host, serial }) => ({ host, port, ...visiblePid(process, serial) }))
          }))
      }),
    ownerWatch: (process) =>
      OwnerWatch.of({
        ended: (address) =>
          systemCall(
            kernel,
            process,
            { name: "connect", target: toUrl(address) },
            (code) => new ProbeTransport.ProbeFailed({ reason: "NoListener", detail: `${code}: simulated error` }),
            () => find(address, process.networkNamespace)
          ).pipe(
            Effect.flatMap((bound) => watchBound(bound, address)),
            Effect.catchTag(
              "ProbeFailed",
              ({ detail, reason }) =>
                reason === "NoListener" ? Effect.void : new NotWatchable({ ...address, reason: detail })
            )
          )
      })
  }
}
