/**
 * Can a port be bound on which nothing listens? Not while a connection has it, or a socket that is bound and does not listen.
 */
import * as Effect from "effect/Effect"
import * as Dns from "node:dns"
import * as Net from "node:net"
import { reachableAt } from "../Address.ts"

const numeric = (host: string): Effect.Effect<string | undefined> =>
  Effect.async((resume) => {
    if (Net.isIP(host) !== 0) return resume(Effect.succeed(host))
    Dns.lookup(host, (error, address) => resume(Effect.succeed(error === null ? address : undefined)))
  })

/**
 * Whether bind(2) answers `EADDRINUSE` for an address on which nothing listens.
 *
 * Asked as a listener would ask, and without listening, so that it keeps nobody out: a socket is bound, with `SO_REUSEADDR` as
 * a listener's, and connects to itself. The connection is reset, because after an orderly end the kernel keeps the port.
 */
export const isTaken = (host: string, port: number): Effect.Effect<boolean> =>
  Effect.flatMap(
    numeric(host),
    (localAddress) =>
      localAddress === undefined ? Effect.succeed(false) : Effect.async<boolean>((resume) => {
        const socket = Net.connect({ host: reachableAt(localAddress), port, localAddress, localPort: port })
        socket.once(
          "error",
          (error: NodeJS.ErrnoException) =>
            resume(Effect.succeed(error.code === "EADDRINUSE" && error.syscall === "bind"))
        )
        socket.once("connect", () => {
          socket.resetAndDestroy()
          resume(Effect.succeed(false))
        })
        return Effect.sync(() => {
          if (socket.connecting) socket.destroy()
        })
      })
  )
