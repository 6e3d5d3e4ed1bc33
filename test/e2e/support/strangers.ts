/**
 * Listeners that are no gateways.
 */
import { Deferred, Effect, FiberId, Schedule, type Scope } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Site } from "./gateways.ts"

export interface Stranger {
  /** Completes when somebody has connected. */
  readonly visited: Effect.Effect<void>
}

const listen = (
  site: Site,
  server: Net.Server
): Effect.Effect<{ readonly open: ReadonlySet<Net.Socket>; readonly stranger: Stranger }, never, Scope.Scope> => {
  const open = new Set<Net.Socket>()
  const visited = Deferred.unsafeMake<void>(FiberId.none)
  server.on("connection", (socket: Net.Socket) => {
    open.add(socket)
    socket.on("error", () => socket.destroy()).on("close", () => open.delete(socket))
    Deferred.unsafeDone(visited, Effect.void)
  })
  return Effect.acquireRelease(
    Effect.async<void>((resume) => {
      server.once("error", (error) => resume(Effect.die(error)))
      server.listen({ host: "127.0.0.1", port: site.port, exclusive: true }, () => resume(Effect.void))
    }),
    () =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of open) socket.destroy()
      })
  ).pipe(Effect.as({ open, stranger: { visited: Deferred.await(visited) } }))
}

/** Says something at once that is not HTTP. */
export const babbling = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(
    listen(site, Net.createServer((socket) => socket.end("SSH-2.0-Stranger\r\n\u0000\u0001\u0002 no HTTP here\r\n"))),
    ({ stranger }) => stranger
  )

/** A web server: answers every request alike. */
export const web = (site: Site, status: number, body: string): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(
    listen(
      site,
      Http.createServer((_, response) => response.writeHead(status, { "content-type": "application/json" }).end(body))
    ),
    ({ stranger }) => stranger
  )

/** Accepts, and never says a word. */
export const stalling = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(listen(site, Net.createServer()), ({ stranger }) => stranger)

/** Begins an answer of HTTP, and sends one more byte of it every few milliseconds for ever. */
export const dripping = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { open, stranger } = yield* listen(
      site,
      Net.createServer((socket) =>
        socket.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n")
      )
    )
    yield* Effect.sync(() => {
      for (const socket of open) socket.write(" ")
    }).pipe(Effect.schedule(Schedule.spaced("20 millis")), Effect.forkScoped)
    return stranger
  })
