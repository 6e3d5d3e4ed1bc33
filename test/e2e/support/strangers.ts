/**
 * Listeners that are not gateways.
 */
import { Effect, Schedule, type Scope } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Site } from "./gateways.ts"

export interface Stranger {
  /** Completes at the first connection. */
  readonly visited: Effect.Effect<void>
  /** Completes once this number of connections has been accepted. */
  readonly accepted: (connections: number) => Effect.Effect<void>
  /** For each connection that is closed: how long it was open, in milliseconds. */
  readonly durations: () => ReadonlyArray<number>
}

const listen = (
  site: Site,
  server: Net.Server
): Effect.Effect<{ readonly open: ReadonlySet<Net.Socket>; readonly stranger: Stranger }, never, Scope.Scope> => {
  const open = new Set<Net.Socket>()
  const durations: Array<number> = []
  const waiting = new Set<() => void>()
  let connections = 0
  server.on("connection", (socket: Net.Socket) => {
    const began = performance.now()
    connections += 1
    open.add(socket)
    socket.on("error", () => socket.destroy()).on("close", () => {
      open.delete(socket)
      durations.push(performance.now() - began)
    })
    for (const wake of waiting) wake()
  })
  const accepted = (count: number) =>
    Effect.async<void>((resume) => {
      const look = () => {
        if (connections >= count) resume(Effect.void)
      }
      waiting.add(look)
      look()
      return Effect.sync(() => waiting.delete(look))
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
  ).pipe(Effect.as({ open, stranger: { visited: accepted(1), accepted, durations: () => durations } }))
}

/** A server that sends a text on each connection at once, before any request. The text is not HTTP. */
export const babbling = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(
    listen(site, Net.createServer((socket) => socket.end("SSH-2.0-Stranger\r\n\u0000\u0001\u0002 no HTTP here\r\n"))),
    ({ stranger }) => stranger
  )

/** A web server that gives every request the same response. */
export const web = (site: Site, status: number, body: string): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(
    listen(
      site,
      Http.createServer((_, response) => response.writeHead(status, { "content-type": "application/json" }).end(body))
    ),
    ({ stranger }) => stranger
  )

/**
 * Answers a request as OpenClaw, another program with a gateway, does in its released versions (`src/gateway/server-http.ts` in its
 * sources). The answers of its health routes contain no instance id. The answer to every other path is a 404.
 */
const answerAsOpenClaw = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
  const isHealth = request.url === "/healthz" || request.url === "/health"
  response.writeHead(isHealth ? 200 : 404, {
    "content-type": `${isHealth ? "application/json" : "text/plain"}; charset=utf-8`,
    ...(isHealth ? { "cache-control": "no-store" } : {})
  })
  response.end(request.method === "HEAD" ? undefined : isHealth ? "{\"ok\":true,\"status\":\"live\"}" : "Not Found")
}

/** A server that gives a probe the same answers as the released OpenClaw gives. */
export const openClaw = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(listen(site, Http.createServer(answerAsOpenClaw)), ({ stranger }) => stranger)

/**
 * A server that behaves like the released OpenClaw while OpenClaw warms up. The server answers 503 until `goOn` runs. After that, it
 * gives the same answers as OpenClaw.
 */
export const warmingUp = (
  site: Site
): Effect.Effect<Stranger & { readonly goOn: Effect.Effect<void> }, never, Scope.Scope> => {
  let isReady = false
  const server = Http.createServer((request, response) => {
    if (isReady) answerAsOpenClaw(request, response)
    else response.writeHead(503).end()
  })
  const goOn = Effect.sync(() => {
    isReady = true
  })
  return Effect.map(listen(site, server), ({ stranger }) => ({ ...stranger, goOn }))
}

/** A listener that accepts connections and never sends a byte. */
export const stalling = (site: Site): Effect.Effect<Stranger, never, Scope.Scope> =>
  Effect.map(listen(site, Net.createServer()), ({ stranger }) => stranger)

/** A listener that begins an HTTP response and never completes it: every few milliseconds the listener sends one more byte. */
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
