import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

const unprivilegedStart = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

/** The highest port that needs a privilege. If every port of this machine is unprivileged, the tests are skipped. */
const privilegedPort = Fs.existsSync(unprivilegedStart) ? Number(Fs.readFileSync(unprivilegedStart, "utf8")) - 1 : 1023

const noPrivilegedPort = Program.noOtherUser ?? (privilegedPort < 1 ? "every port is unprivileged here" : undefined)

describe("a port that cannot be bound", () => {
  it.scopedLive.skipIf(noPrivilegedPort !== undefined)(
    Program.named(
      "because it needs a privilege is refused with the system's words, and no lock stays",
      noPrivilegedPort
    ),
    () =>
      Effect.gen(function*() {
        const site = { ...(yield* Gateways.newSite), port: privilegedPort }
        assert.isTrue(yield* Ports.isFree(privilegedPort))
        yield* Gateways.giveTo(Program.nobody, site.root)

        const ended = yield* Gateways.run(site, { under: Program.asNobody })
        const cause = `listen EACCES: permission denied 127.0.0.1:${privilegedPort}`
        Gateways.assertRefused(ended, `failed to bind gateway socket on ${Gateways.url(site)}: ${cause}`)
        const there = `--config ${site.configPath} --state-dir ${site.stateDir} --port`
        assert.deepStrictEqual(Gateways.facts(ended), {
          address: Gateways.url(site),
          "to use another": `gateway run ${there} ${privilegedPort < 1024 ? privilegedPort + 8000 : 18789}`,
          "to allow this one":
            `sudo sysctl net.ipv4.ip_unprivileged_port_start=${privilegedPort}, or CAP_NET_BIND_SERVICE for its service`,
          "to check it": `gateway doctor ${there} ${privilegedPort}`,
          more: "https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#bindfailed"
        })
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
      })
  )

  it.scopedLive.skipIf(Program.noNamespaces !== undefined)(
    Program.named(
      "because its address is not there is refused with the system's words, and no lock stays",
      Program.noNamespaces
    ),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // In a new network namespace the loopback interface is down: `::1` does not exist, but 127.0.0.1 can be bound.
        const ended = yield* Gateways.run(site, { flags: ["--host", "::1"], under: ["unshare", "--net"] })
        const cause = `listen EADDRNOTAVAIL: address not available ::1:${site.port}`
        Gateways.assertRefused(ended, `failed to bind gateway socket on ${Gateways.url(site, "[::1]")}: ${cause}`)
        const { "addresses here": addresses, ...facts } = Gateways.facts(ended)
        // The list of interfaces leaves out interfaces that are down. Loopback is the only interface here and is down, so the
        // list is empty.
        assert.strictEqual(addresses, "none")
        assert.deepStrictEqual(facts, {
          address: Gateways.url(site, "[::1]"),
          "to use another": `gateway run ${Gateways.selectors(site)} --host 127.0.0.1`,
          "to check it": `gateway doctor ${Gateways.selectors(site, "::1")}`,
          more: "https://github.com/gateway-lock/gateway-lock/blob/main/docs/errors.md#bindfailed"
        })
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        yield* Gateways.startListening(site)
      })
  )
})
