/**
 * Ports for tests that run in parallel, in several processes.
 *
 * The system cannot be asked for a free port: once the test has closed it, the system could give it to another test. So each test
 * picks a port from 20,000 to 25,999, and reserves it by listening on its twin (the port plus 6,000). The port itself stays free
 * for the gateway under test. Only one test can listen on a twin, and the system frees the twin when the test's process ends.
 *
 * All ports and twins are below the range that the system uses for outgoing connections.
 */
import { Effect, Option, Random, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"

const first = 20_000
const count = 6_000
const tries = 500

const listen = (port: number): Effect.Effect<Option.Option<Net.Server>> =>
  Effect.async((resume) => {
    const server = Net.createServer((socket) => socket.destroy())
    server.once("error", () => resume(Effect.succeedNone))
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resume(Effect.succeedSome(server)))
  })

const close = Option.match({
  onNone: () => Effect.void,
  onSome: (server: Net.Server) =>
    Effect.async<void>((resume) => {
      server.close(() => resume(Effect.void))
    })
})

/**
 * Whether no process listens on this port of 127.0.0.1. This function connects to the port to find out. If it bound the port
 * instead, another process that binds the port at the same time would fail.
 */
export const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const socket = Net.connect({ host: "127.0.0.1", port })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.once("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code === "ECONNREFUSED")))
    return Effect.sync(() => socket.destroy())
  })

/** The kernel's lists of TCP sockets, or nothing where there are none. */
const socketLists: Effect.Effect<string> = Effect.map(
  Effect.forEach(
    ["/proc/net/tcp", "/proc/net/tcp6"],
    (path) => Effect.promise(() => Fs.readFile(path, "utf8").catch(() => ""))
  ),
  (lists) => lists.join("\n")
)

/**
 * Whether no socket of an earlier test has this port, not even a closed one. The kernel keeps a closed connection for a minute
 * (`TIME_WAIT`). Until then a program that binds the port without `SO_REUSEADDR` fails.
 */
export const isUnused = (port: number): Effect.Effect<boolean> =>
  Effect.map(socketLists, (text) => !text.includes(`:${port.toString(16).toUpperCase()} `))

/** Reserves a port until the scope closes. */
export const reserve: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function*() {
  const start = yield* Random.nextIntBetween(0, count)
  for (let step = 0; step < tries; step++) {
    const port = first + (start + step) % count
    const twin = yield* Effect.acquireRelease(listen(port + count), close)
    if (Option.isSome(twin) && (yield* isFree(port)) && (yield* isUnused(port))) return port
  }
  return yield* Effect.dieMessage(`no free port among ${tries} from ${first + start}`)
})
