/**
 * Clients of a gateway: plain HTTP, a WebSocket, and bytes on a TCP connection.
 */
import { Cause, Deferred, Duration, Effect, FiberId, Queue, Schema, type Scope } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"
import { WebSocket } from "ws"
import type { Site } from "./gateways.ts"

const host = "127.0.0.1"
const patience = Duration.seconds(10)

/** The subprotocol in which a browser sends its token, because a browser cannot set headers on a WebSocket. */
export const tokenCarrier = (token: string): string => `gateway-token.${Buffer.from(token).toString("base64url")}`

const patiently = <A, E>(self: Effect.Effect<A, E>, what: string): Effect.Effect<A> =>
  Effect.orDie(Effect.timeoutFailCause(self, {
    duration: patience,
    onTimeout: () => Cause.die(new Error(`${what}: nothing for ${Duration.format(patience)}`))
  }))

// ---------------------------------------------------------------------------
// HTTP
// ---------------------------------------------------------------------------

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
}

/** Sends one request on a new connection. */
export const request = (site: Site, path: string, method = "GET"): Effect.Effect<Answer> =>
  patiently(
    Effect.async<Answer, Error>((resume) => {
      const sent = Http.request({ host, port: site.port, path, method, agent: false }, (response) => {
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("error", (error) => resume(Effect.fail(error)))
        response.on("end", () =>
          resume(Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString()
          })))
      })
      sent.on("error", (error) => resume(Effect.fail(error)))
      sent.end()
      return Effect.sync(() => sent.destroy())
    }),
    `${method} ${path}`
  )

const decodeHealth = Schema.decodeUnknown(Schema.parseJson(Schema.Struct({ instanceId: Schema.String })))

/** The id of the instance that answers `/healthz`. */
export const instanceIdOf = (site: Site): Effect.Effect<string> =>
  request(site, "/healthz").pipe(
    Effect.flatMap(({ body }) => decodeHealth(body)),
    Effect.map(({ instanceId }) => instanceId),
    Effect.orDie
  )

// ---------------------------------------------------------------------------
// WebSocket
// ---------------------------------------------------------------------------

export interface Closed {
  readonly code: number
  readonly reason: string
}

export interface Control {
  readonly send: (data: string | Uint8Array) => Effect.Effect<void>
  /** The next frame, parsed as JSON. */
  readonly next: Effect.Effect<unknown>
  readonly closed: Effect.Effect<Closed>
}

const parse = (text: string): unknown => JSON.parse(text)

/** Opens a WebSocket at `/`, and returns when the WebSocket is open. */
export const control = (site: Site): Effect.Effect<Control, never, Scope.Scope> =>
  Effect.gen(function*() {
    const frames = yield* Queue.unbounded<unknown>()
    const closed = Deferred.unsafeMake<Closed>(FiberId.none)
    const opened = Deferred.unsafeMake<void, Error>(FiberId.none)
    const ws = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const ws = new WebSocket(`ws://${host}:${site.port}/`)
        ws.on("open", () => Deferred.unsafeDone(opened, Effect.void))
        ws.on("error", (error) => Deferred.unsafeDone(opened, Effect.fail(error)))
        ws.on("message", (data, isBinary) => {
          Queue.unsafeOffer(frames, isBinary ? data : parse(data.toString()))
        })
        ws.on(
          "close",
          (code, reason) => Deferred.unsafeDone(closed, Effect.succeed({ code, reason: reason.toString() }))
        )
        return ws
      }),
      (ws) => Effect.sync(() => ws.terminate())
    )
    yield* patiently(Deferred.await(opened), "a WebSocket to open")
    return {
      send: (data) => Effect.sync(() => ws.send(data)),
      next: patiently(Queue.take(frames), "a frame"),
      closed: patiently(Deferred.await(closed), "a WebSocket to close")
    }
  })

const decodeHello = Schema.decodeUnknown(
  Schema.Struct({
    type: Schema.Literal("hello"),
    instanceId: Schema.String,
    version: Schema.String,
    uptimeMs: Schema.Int
  }),
  { onExcessProperty: "error" }
)

/** Returns the first frame of a new WebSocket. */
export const hello = (site: Site) =>
  Effect.scoped(Effect.flatMap(control(site), ({ next }) => Effect.orDie(Effect.flatMap(next, decodeHello))))

/** Opens a WebSocket and reads its first frame. */
export const greeted = (site: Site): Effect.Effect<Control, never, Scope.Scope> =>
  Effect.tap(control(site), ({ next }) => Effect.orDie(Effect.flatMap(next, decodeHello)))

// ---------------------------------------------------------------------------
// TCP
// ---------------------------------------------------------------------------

export interface Connection {
  readonly send: (text: string) => Effect.Effect<void>
  /** Completes when the text that the gateway has sent matches the pattern, and returns all text so far. */
  readonly received: (pattern: RegExp) => Effect.Effect<string>
  /** Completes when the gateway has closed or reset the connection. */
  readonly closed: Effect.Effect<void>
  readonly isOpen: Effect.Effect<boolean>
}

export const connect = (site: Site): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.gen(function*() {
    let text = ""
    const readers = new Set<() => void>()
    const closed = Deferred.unsafeMake<void>(FiberId.none)
    const opened = Deferred.unsafeMake<void, Error>(FiberId.none)
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const socket = Net.connect({ host, port: site.port })
        socket.setEncoding("utf8")
        socket.on("connect", () => Deferred.unsafeDone(opened, Effect.void))
        socket.on("error", (error) => Deferred.unsafeDone(opened, Effect.fail(error)))
        socket.on("close", () => Deferred.unsafeDone(closed, Effect.void))
        socket.on("data", (chunk: string) => {
          text += chunk
          for (const reader of readers) reader()
        })
        return socket
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    yield* patiently(Deferred.await(opened), "a connection")
    return {
      send: (text) => Effect.sync(() => socket.write(text)),
      received: (pattern) =>
        patiently(
          Effect.async<string>((resume) => {
            const look = () => {
              if (pattern.test(text)) resume(Effect.succeed(text))
            }
            readers.add(look)
            look()
            return Effect.sync(() => readers.delete(look))
          }),
          `bytes like ${pattern}`
        ),
      closed: patiently(Deferred.await(closed), "a connection to close"),
      isOpen: Effect.map(Deferred.isDone(closed), (done) => !done)
    }
  })
