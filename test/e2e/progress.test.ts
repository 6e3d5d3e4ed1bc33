import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Terminals from "./support/terminal.ts"

const size: Terminals.Size = { columns: 120, rows: 30 }
const skip = Terminals.unavailable

const startOn = (site: Gateways.Site, flags: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Terminals.start(Gateways.command(site, { flags }), {
    ...size,
    cwd: site.root,
    env: { PATH: Program.searchPath, HOME: site.root, TERM: "xterm-256color", NO_COLOR: "1", ...env }
  })

/** Opens a connection that stays busy with an unfinished request, so that a drain waits for it. */
const busyConnection = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => {
        socket.write("POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx")
        resume(Effect.succeed(socket))
      })
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Checks that the last row with text is no progress line, and that no row has both progress and other text. */
const assertNoneLeft = (rows: ReadonlyArray<string>) => {
  assert.notMatch(rows.join("\n"), /waiting for pid|draining, \d|\(\d+s of/)
}

describe("a long wait on a terminal", () => {
  it.scopedLive.skipIf(skip !== undefined)(
    Program.named(
      "of a drain shows the open connections, the time and how to cut it, and gives way to log lines",
      skip
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const terminal = yield* startOn(site, ["--drain-timeout", "1h"])
        yield* terminal.shows(/gateway listening on/)
        yield* busyConnection(site.port)
        yield* terminal.type("\u0003")
        yield* terminal.shows(/^gateway: draining, 1 connection open \(1s of 1h; Ctrl-C again ends the wait\)$/m)
        yield* terminal.shows(/^gateway: draining, 1 connection open \(2s of 1h; /m)
        yield* terminal.type("\u0003")
        assert.strictEqual(yield* terminal.ended, 0)
        const rows = yield* terminal.screen
        assert.match(rows.join("\n"), /cutting 1 connection that did not end in time$/m)
        assert.match(rows.join("\n"), /^\[.*released/m)
        assert.lengthOf(rows.filter((row) => row.includes("draining, 1")), 0, rows.join("\n"))
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("of a stop shows what it waits for, and is gone when the answer comes", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const gateway = yield* Gateways.startListening(site, { flags: ["--drain-timeout", "1h"] })
        const busy = yield* busyConnection(site.port)
        const terminal = yield* startOn(site, ["stop", "--timeout", "30s"])
        yield* terminal.shows(
          new RegExp(`^gateway: waiting for pid ${gateway.pid} to end: .* \\(\\d+s of 30s\\)$`, "m")
        )
        busy.destroy()
        assert.strictEqual(yield* terminal.ended, 0)
        const rows = yield* terminal.screen
        assert.strictEqual(
          rows.filter((row) => row !== "").join("\n"),
          `stopped gateway on ${Gateways.url(site)} (pid ${gateway.pid})`
        )
        assertNoneLeft(rows)
      })
  )

  for (
    const [name, flags] of [["run", ["run", "--standby"]], ["exec", [
      "exec",
      "--standby",
      "--",
      "echo",
      "begun"
    ]]] as const
  ) {
    it.scopedLive.skipIf(skip !== undefined)(
      Program.named(`of ${name} --standby shows the owner, and ends with the takeover`, skip),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const owner = yield* Gateways.startListening(site)
          const terminal = yield* startOn(site, flags)
          yield* terminal.shows(new RegExp(`^gateway: standing by: pid ${owner.pid} .* \\(\\d+s\\)$`, "m"))
          yield* Gateways.stop(owner)
          const rows = yield* terminal.shows(name === "run" ? /gateway listening on/ : /^begun$/m)
          assert.notMatch(rows.join("\n"), /\(\d+s\)/)
        })
    )
  }

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("of exec for its command gets whole lines, which leave the output of the command alone", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const command = "trap 'echo asked; sleep 2; exit 3' INT; printf 'no newline'; while :; do sleep 0.2; done"
        const terminal = yield* startOn(site, ["exec", "--ready", "port", "--", "sh", "-c", command])
        yield* terminal.shows(/waiting for "sh" to be ready: it does not listen on port \d+ \(1s of 1m\)/)
        yield* terminal.type("\u0003")
        yield* terminal.shows(/^gateway: waiting for "sh" \(pid \d+\) to end \(1s\)$/m)
        assert.strictEqual(yield* terminal.ended, 3)
        const output = yield* terminal.output
        assert.notInclude(output, "\r\u001b[K")
        assert.match(output, /no newline/)
        assert.lengthOf(output.match(/to be ready/g) ?? [], 1)
      })
  )

  it.scopedLive.skipIf(skip !== undefined)(
    Program.named("is nowhere with JSON logs or on a dumb terminal", skip),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const gateway = yield* Gateways.startListening(site, { flags: ["--drain-timeout", "1h"] })
        const busy = yield* busyConnection(site.port)
        const json = yield* startOn(site, ["stop", "--timeout", "1500ms"], { GATEWAY_LOG_FORMAT: "json" })
        const dumb = yield* startOn(site, ["stop", "--timeout", "1500ms"], { TERM: "dumb" })
        for (const terminal of [json, dumb]) {
          assert.strictEqual(yield* terminal.ended, 1)
          assert.notMatch(yield* terminal.output, /waiting for pid/)
          assert.notInclude(yield* terminal.output, "\u001b")
        }
        busy.destroy()
        yield* gateway.ended
      })
  )
})
