/**
 * Ports for tests that run in parallel, in several processes.
 *
 * A port that the system picked and the test closed again could be given to two tests. Here a test reserves a port as long as
 * it runs, by listening on the port's twin, some thousands higher. The system gives the twin to one test only, and takes it
 * back when the test's process ends. All ports are below the range that outgoing connections use.
 */
import { Effect, Option, Random, type Scope } from "effect"
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
 * Whether no process listens on the port of 127.0.0.1. Tested by a connection: a listener would block another process
 * meanwhile.
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

/** Reserves a port for this test until its scope closes. */
export const reserve: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function*() {
  const start = yield* Random.nextIntBetween(0, count)
  for (let step = 0; step < tries; step++) {
    const port = first + (start + step) % count
    const twin = yield* Effect.acquireRelease(listen(port + count), close)
    if (Option.isSome(twin) && (yield* isFree(port))) return port
  }
  return yield* Effect.dieMessage(`no free port among ${tries} from ${first + start}`)
})
