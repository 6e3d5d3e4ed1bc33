/**
 * Listeners that are not one of a simulated host's processes.
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

/** A process of nobody's: who listens as a stranger. */
const strangerSerial = -1

const notHttp = (detail: string) => new ProbeTransport.ProbeFailed({ reason: "NotHttp", detail })

/** What it answers to a request; `gone` is the end of its connections. */
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

/** How many connections there were and are. */
interface Count {
  requests: number
  watches: number
  watching: number
  open: number
}

/** Counts a connection for as long as it is open. */
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

/** The handshake of a watch: a gateway accepts as many as it has slots, and nothing else accepts any. */
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

/** The control socket of a program that speaks no HTTP: it accepts, and says nothing. */
const silentSocket = (gone: Deferred.Deferred<Closed>): Bound["connect"] =>
  Effect.map(Queue.unbounded<string>(), (frames) => ({
    frames,
    closed: gone,
    send: () => Effect.void,
    close: Effect.void
  }))

/** Listens until the scope closes. */
export const listenAsStranger = (table: PortTable) =>
(
  address: Address,
  behaviour: ForeignBehaviour
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
      pid: 0,
      serial: strangerSerial,
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
