import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const port = 23_999

/**
 * A command prefix for a network namespace in which every outgoing connection gets the local port `port`. So a connection to
 * that port, if it is free, connects to itself (RFC 9293, 3.5, simultaneous open). By default the kernel picks the local port
 * among 28,232 ports, so a connection to a free port connects to itself only occasionally.
 */
const onePort = [
  "unshare",
  "--net",
  "sh",
  "-c",
  `ip link set lo up && echo "${port} ${port}" > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"`,
  "sh"
]

const vite = fileURLToPath(new URL("../../node_modules/vite-node/vite-node.mjs", import.meta.url))
const fixture = fileURLToPath(new URL("../fixtures/selfConnect.ts", import.meta.url))

describe("a connection to a free port that connects to itself", () => {
  for (const host of ["127.0.0.1", "::1"]) {
    it.scopedLive.skipIf(Namespaces.noNetwork !== undefined)(
      Program.named(`finds no listener, and leaves the port to be bound: ${host}`, Namespaces.noNetwork),
      () =>
        Effect.gen(function*() {
          const running = yield* Processes.start(
            [...onePort, process.execPath, vite, fixture, host, String(port)],
            { cwd: fileURLToPath(new URL("../..", import.meta.url)), env: { PATH: Program.searchPath } }
          )
          const { stderr, stdout } = yield* running.ended
          assert.deepStrictEqual(stdout.split("\n"), [
            "connect: itself",
            "health: NoListener",
            "bind: bound",
            "port: Free",
            "bind: bound",
            "watch: nobody",
            "bind: bound",
            ""
          ], stderr)
        })
    )
  }

  it.scopedLive.skipIf(Namespaces.noNetwork !== undefined)(
    Program.named("does not keep a gateway from starting, nor a standby", Namespaces.noNetwork),
    () =>
      Effect.gen(function*() {
        const site = { ...(yield* Gateways.newSite), port }
        const gateways = [yield* Gateways.startListening(site, { under: onePort })]
        const second = yield* Effect.map(Gateways.newSite, (site) => ({ ...site, port }))
        gateways.push(yield* Gateways.startListening(second, { flags: ["--standby"], under: onePort }))
        for (const gateway of gateways) {
          const { code, stderr } = yield* Gateways.stop(gateway)
          assert.strictEqual(code, 0, stderr)
        }
      })
  )

  it.scopedLive.skipIf(Namespaces.noNetwork !== undefined)(
    Program.named("is no owner to status and health", Namespaces.noNetwork),
    () =>
      Effect.gen(function*() {
        const site = { ...(yield* Gateways.newSite), port }
        const place = ["--config", site.configPath, "--state-dir", site.stateDir, "--port", String(port)]
        yield* Effect.promise(() => Fs.writeFile(site.configPath, "{}"))
        const status = yield* Gateways.run(site, { under: onePort, args: ["status", ...place] })
        assert.include(status.stdout, "nothing listens on the port")
        assert.strictEqual(status.code, 3, status.stdout + status.stderr)
        const health = yield* Gateways.run(site, { under: onePort, args: ["health", ...place] })
        assert.notInclude(health.stdout + health.stderr, "did not answer as HTTP")
        assert.strictEqual(health.code, 1)
      })
  )
})
