import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

/** Accepts one connection on the port and closes it first, which leaves the server's end in `TIME_WAIT`. */
const leaveClosedConnection = (port: number): Effect.Effect<void> =>
  Effect.async((resume) => {
    const server = Net.createServer((socket) => socket.end())
    server.listen({ host: "127.0.0.1", port }, () => {
      const client = Net.connect({ host: "127.0.0.1", port })
      client.resume()
      client.once("close", () => server.close(() => resume(Effect.void)))
    })
  })

const noLists = Program.isLinux ? undefined : "needs Linux"

describe("the port of a test", () => {
  it.scopedLive.skipIf(noLists !== undefined)(
    Program.named("has no closed connection of an earlier test", noLists),
    () =>
      Effect.gen(function*() {
        const port = yield* Ports.reserve
        assert.isTrue(yield* Ports.isUnused(port))
        yield* leaveClosedConnection(port)
        assert.isTrue(yield* Ports.isFree(port))
        assert.isFalse(yield* Ports.isUnused(port))
      })
  )
})
