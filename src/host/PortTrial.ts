/**
 * Tests whether a port on which nothing listens can be bound. Such a port can be in use all the same: a connection uses it, or a
 * socket is bound to it and does not listen.
 */
import * as Effect from "effect/Effect"
import * as Dns from "node:dns"
import * as Net from "node:net"
import { reachableAt } from "../Address.ts"

/** The IP address of a host. `undefined` if the host is a name that does not resolve. */
const numeric = (host: string): Effect.Effect<string | undefined> =>
  Effect.async((resume) => {
    if (Net.isIP(host) !== 0) return resume(Effect.succeed(host))
    Dns.lookup(host, (error, address) => resume(Effect.succeed(error === null ? address : undefined)))
  })

/**
 * Whether bind(2) answers `EADDRINUSE` for an address on which nothing listens.
 *
 * This check does not listen, because a gateway that starts during the check could then not bind the port. Without listening,
 * Node binds a socket only to connect it. So the check binds a socket to the port, with `SO_REUSEADDR` as a listener does, and
 * connects the socket to itself. Then the check resets the connection, because after an orderly close the kernel would keep the
 * port in use for a minute.
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
