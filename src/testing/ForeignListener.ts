/**
 * Adds listeners to a simulated host. A test chooses how such a listener answers. By default, it belongs to no process of the
 * host.
 *
 * @since 0.1.0
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import * as ProbeTransport from "../host/ProbeTransport.ts"
import type { BindError } from "../server/ServerSocket.ts"
import type { Closed } from "./ControlConnections.ts"
import { type Bound, defaultNetworkNamespace, pathOf, type PortTable } from "./PortTable.ts"
import { literal } from "./SimulatedAddresses.ts"
import type { KernelProcess } from "./SimulatedKernel.ts"

/**
 * The behaviour of a listener that no simulated program serves: how the listener handles a request.
 *
 * - `Answers`: gives the same answer to every request.
 * - `Routes`: answers the listed paths, and answers 404 to every other path.
 * - `Garbage`: answers with bytes that are not HTTP.
 * - `Stalls`: accepts the connection and never answers.
 * - `Gateway`: answers every request as a gateway with the given `instanceId` answers `/healthz`. Accepts at most `watcherSlots`
 *   watchers, which are clients that hold a connection open in order to notice the gateway's end.
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
    /** If `true`, `/healthz` answers 200 and `live`; otherwise 503 and `starting`. */
    readonly healthy: boolean
    /**
     * How many watchers the listener accepts at the same time. A watcher holds a connection open to notice the gateway's
     * end.
     */
    readonly watcherSlots: number
  }

const openClawHealth = { status: 200, body: "{\"ok\":true,\"status\":\"live\"}" }

/**
 * Answers as the gateway of the program OpenClaw does in its released versions: healthy, without an `instanceId`.
 *
 * @since 0.1.0
 * @category constants
 */
export const openClaw: ForeignBehaviour = {
  _tag: "Routes",
  answers: { "/healthz": openClawHealth, "/health": openClawHealth }
}

/**
 * Counts the connections to a listener that no simulated program serves, for assertions in tests.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedStranger {
  /** The number of HTTP requests so far. */
  readonly requests: () => number
  /** How many connections clients have opened in order to notice the listener's end. Refused connections count too. */
  readonly watches: () => number
  /** The number of connections that are open now. */
  readonly open: () => number
}

/** The `serial` (the number of a process) of a listener that belongs to no process. No process has this number. */
const foreignSerial = -1

const notHttp = (detail: string) => new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail })

/**
 * The answer of a listener with this behaviour to a request for a path. `gone` completes when the listener's connections end.
 */
const answerOf =
  (behaviour: ForeignBehaviour, gone: Deferred.Deferred<Closed>) =>
  (path: string): Effect.Effect<ProbeTransport.Answer, ProbeTransport.ProbeFailed> => {
    switch (behaviour._tag) {
      case "Answers":
        return Effect.succeed(behaviour)
      case "Routes":
        return Effect.succeed(behaviour.answers[path] ?? { status: 404, body: "Not Found" })
      case "Garbage":
        return notHttp("Parse Error: Expected HTTP/")
      case "Stalls":
        return Effect.zipRight(Deferred.await(gone), notHttp("socket hang up"))
      case "Gateway": {
        const { healthy, instanceId } = behaviour
        return Effect.succeed({
          status: healthy ? 200 : 503,
          body: JSON.stringify({ ok: healthy, status: healthy ? "live" : "starting", instanceId })
        })
      }
    }
  }

/**
 * Counts of the connections to one listener. `requests` and `watches` include connections that are closed. `watching` and `open`
 * count only connections that are open now.
 */
interface Count {
  requests: number
  watches: number
  watching: number
  open: number
}

/** Counts one more connection in `what`, and in `open` while `self` runs. */
const counted = <A, E>(count: Count, what: "requests" | "watches", self: Effect.Effect<A, E>) =>
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

/**
 * The WebSocket handshake of a client that wants to notice the listener's end. Only a listener with the behaviour `Gateway`
 * accepts the handshake, and only while it has a free slot for a watcher.
 */
const handshakeOf = (
  behaviour: ForeignBehaviour,
  count: Count,
  gone: Deferred.Deferred<Closed>
): Bound["watch"] =>
  Effect.suspend(() => {
    if (behaviour._tag !== "Gateway") {
      return Effect.flatMap(answerOf(behaviour, gone)("/"), ({ status }) => notHttp(`answered HTTP ${status}`))
    }
    if (count.watching >= behaviour.watcherSlots) return notHttp("answered HTTP 503")
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

/** The client's end of a connection to a program that does not speak HTTP. The program accepts the connection and sends nothing. */
const silentSocket = (gone: Deferred.Deferred<Closed>): Bound["connect"] =>
  Effect.map(Queue.unbounded<string>(), (frames) => ({
    frames,
    closed: gone,
    send: () => Effect.void,
    close: Effect.void
  }))

/**
 * Adds a listener until the scope closes. The listener belongs to the process `owner`, and is also removed when that process ends.
 * Without `owner`, the listener belongs to no process of the host.
 */
export const listenAsForeign = (table: PortTable) =>
(
  address: Address,
  behaviour: ForeignBehaviour,
  owner: Pick<KernelProcess, "pid" | "serial"> = { pid: 0, serial: foreignSerial }
): Effect.Effect<SimulatedStranger, BindError, Scope.Scope> =>
  Effect.gen(function*() {
    const gone = yield* Deferred.make<Closed>()
    const reset = Effect.asVoid(Deferred.succeed(gone, { code: 1006, reason: "" }))
    const count: Count = { requests: 0, watches: 0, watching: 0, open: 0 }
    const answer = answerOf(behaviour, gone)
    if (behaviour._tag === "Garbage") yield* reset
    const bound: Bound = {
      ...address,
      host: literal(address.host),
      pid: owner.pid,
      serial: owner.serial,
      networkNamespace: defaultNetworkNamespace,
      reset,
      watch: counted(count, "watches", handshakeOf(behaviour, count, gone)),
      connect: behaviour._tag === "Answers" || behaviour._tag === "Routes" || behaviour._tag === "Gateway"
        ? notHttp("no WebSocket here")
        : silentSocket(gone),
      request: (request) =>
        Effect.map(
          counted(count, "requests", answer(pathOf(request))),
          ({ body, status }) => HttpServerResponse.text(body, { status })
        )
    }
    yield* Effect.acquireRelease(
      table.add(bound),
      () => Effect.zipRight(Effect.sync(() => table.remove(bound)), reset)
    )
    return { requests: () => count.requests, watches: () => count.watches, open: () => count.open }
  })
