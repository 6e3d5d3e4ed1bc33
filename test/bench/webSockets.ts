/**
 * Clients of one server: idle WebSockets, open status pages, and requests for `/healthz`.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Agent, get } from "node:http"
import { WebSocket } from "ws"
import { BenchFailed, bounded, host, millis } from "./processes.ts"

/** How many sockets are opened at one time. The backlog of a listener is larger, so no connection is dropped. */
const atOnce = 100

const connect = (port: number): WebSocket => new WebSocket(`ws://${host}:${port}`, { perMessageDeflate: false })

const terminate = (socket: WebSocket) => Effect.sync(() => socket.terminate())

const open = (port: number) =>
  Effect.acquireRelease(
    Effect.async<WebSocket, BenchFailed>((resume) => {
      const socket = connect(port)
      socket.once("open", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(new BenchFailed({ reason: error.message })))
    }),
    terminate
  )

const watch = (port: number) =>
  Effect.acquireRelease(
    Effect.async<WebSocket, BenchFailed>((resume) => {
      const socket = connect(port)
      socket.once("open", () => socket.send("{\"type\":\"watch\"}"))
      socket.on("message", (data) => {
        if (data.toString("utf8", 0, 16) === "{\"type\":\"status\"") resume(Effect.succeed(socket))
      })
      socket.on("error", (error) => resume(new BenchFailed({ reason: error.message })))
    }),
    terminate
  )

type Opened = Effect.Effect<ReadonlyArray<WebSocket>, BenchFailed, Scope.Scope>

/** Opens WebSockets that stay idle. They are closed with the scope. */
export const openIdle = (port: number, count: number): Opened =>
  Effect.replicateEffect(open(port), count, { concurrency: atOnce }).pipe(bounded(`${count} sockets`))

/** Opens status pages: clients that have sent `watch`. Completes once each of them has its first frame. */
export const openPages = (port: number, count: number): Opened =>
  Effect.replicateEffect(watch(port), count, { concurrency: atOnce }).pipe(bounded(`${count} status pages`))

const closedBy = (socket: WebSocket) =>
  Effect.async<number>((resume) => {
    socket.once("close", (code) => resume(Effect.succeed(code)))
  })

/** Waits until the server has closed all sockets. Fails if it closes one with another code than 1001. */
export const closedInOrder = (sockets: ReadonlyArray<WebSocket>): Effect.Effect<void, BenchFailed> =>
  Effect.flatMap(Effect.forEach(sockets, closedBy, { concurrency: "unbounded" }), (codes) => {
    const others = codes.filter((code) => code !== 1001)
    return others.length === 0
      ? Effect.void
      : new BenchFailed({ reason: `${others.length} sockets were closed with ${others[0]}` })
  })

const ask = (port: number, agent: Agent) =>
  Effect.async<void, BenchFailed>((resume) => {
    get({ port, host, path: "/healthz", agent }, (response) => {
      response.resume().once("end", () => resume(Effect.void))
    }).on("error", (error) => resume(new BenchFailed({ reason: error.message })))
  })

/** Keeps a connection, and returns an effect that asks for `/healthz` on it and returns the time in milliseconds. */
export const asker = Effect.gen(function*() {
  const clock = yield* Effect.clock
  const agent = yield* Effect.acquireRelease(
    Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 1 })),
    (agent) => Effect.sync(() => agent.destroy())
  )
  return (port: number) =>
    Effect.suspend(() => {
      const began = clock.unsafeCurrentTimeNanos()
      return Effect.map(ask(port, agent), () => millis(began, clock.unsafeCurrentTimeNanos()))
    })
})

export const percentile95 = (times: ReadonlyArray<number>): number =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.95)] ?? Number.NaN
