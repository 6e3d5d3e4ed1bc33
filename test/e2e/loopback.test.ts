import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

/** A command prefix that runs a program in a new network namespace, after a script has changed the namespace's interfaces. */
const network = (script: string): ReadonlyArray<string> => [
  "unshare",
  "--net",
  "sh",
  "-c",
  `ip link set lo up && ${script} && exec "$@"`,
  "sh"
]

/** A network with `::1` and without 127.0.0.1. */
const onlyV6 = network("ip addr del 127.0.0.1/8 dev lo")

/** A network with `::1` and without 127.0.0.1, and with an additional address that other hosts could reach. */
const onlyV6AndLan = network("ip addr del 127.0.0.1/8 dev lo && ip addr add 10.9.9.9/32 dev lo")

/** A network whose loopback interface is down: 127.0.0.1 can be bound, but a connection to it hangs. */
const down = network("ip link set lo down")

const inside = (gateway: Processes.Running): ReadonlyArray<string> => [
  "nsenter",
  "--target",
  String(gateway.pid),
  "--net"
]

const each = (name: string, test: () => Effect.Effect<void, never, Scope.Scope>) =>
  it.scopedLive.skipIf(Namespaces.noNetwork !== undefined)(Program.named(name, Namespaces.noNetwork), test)

const v6 = ["--host", "::1"]
const lan = ["--host", "10.9.9.9"]
const everywhere = ["--host", "0.0.0.0"]
const env = { GATEWAY_TOKEN: "0123456789abcdef0123456789abcdef" }

describe("on a host without 127.0.0.1", () => {
  each("a gateway on ::1 serves, is found by every command, and keeps a second one out", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ under: onlyV6, flags: v6 })
      const under = inside(gateway)
      for (const command of ["status", "health", "doctor"]) {
        const { code, stderr, stdout } = yield* Gateways.run(site, { under, flags: [command, ...v6] })
        assert.strictEqual(code, 0, `${command}: ${stdout}${stderr}`)
      }
      const second = yield* Gateways.run(site, { under, flags: v6 })
      Gateways.assertRefused(
        second,
        `another gateway instance is already listening on ${Gateways.url(site, "[::1]")}`
      )
      const standby = yield* Gateways.start(site, { under, flags: ["--standby", ...v6] })
      yield* standby.line(/standing by/)
      const stopped = yield* Gateways.run(site, { under, flags: ["stop", ...v6] })
      assert.strictEqual(stopped.code, 0, stopped.stderr)
      yield* Gateways.assertClean(yield* gateway.ended)
      yield* standby.listening
    }))

  each("the default host is refused, and what is advised serves", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const refused = yield* Gateways.run(site, { under: onlyV6 })
      Gateways.assertRefused(
        refused,
        `failed to bind gateway socket on ${Gateways.url(site)}: `
          + `listen EADDRNOTAVAIL: address not available 127.0.0.1:${site.port}`
      )
      const advice = Gateways.facts(refused)["to use another"] ?? ""
      assert.strictEqual(advice, `gateway run ${Gateways.selectors(site)} --host ::1`)
      const gateway = yield* Gateways.startListening(site, {
        under: onlyV6,
        args: advice.split(" ").slice(1)
      })
      yield* Gateways.assertClean(yield* Gateways.stop(gateway))
    }))

  for (
    const [name, first, second] of [
      ["::1 and another", v6, lan],
      ["another and ::1", lan, v6],
      ["all of IPv4 and ::1", everywhere, v6],
      ["::1 and all of IPv4", v6, everywhere]
    ] as const
  ) {
    each(`one port is one gateway's, whatever their addresses: ${name}`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const other = { ...(yield* Gateways.newSite), port: site.port }
        const gateway = yield* Gateways.startListening(site, { under: onlyV6AndLan, flags: first, env })
        const refused = yield* Gateways.run(other, { under: inside(gateway), flags: second, env })
        Gateways.assertRefused(
          refused,
          `another gateway instance is already listening on ${Gateways.url(other, second === v6 ? "[::1]" : second[1])}`
        )
        const { code, stdout } = yield* Gateways.run(site, {
          under: inside(gateway),
          flags: ["status", ...first],
          env
        })
        assert.strictEqual(code, 0, stdout)
        yield* Gateways.assertClean(yield* Gateways.stop(gateway))
      }))
  }
})

describe("where the loopback interface is down", () => {
  each(
    "a gateway starts, and is not called unhealthy for an address that nothing reaches",
    () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ under: down })
        const { code, stdout } = yield* Gateways.run(site, { under: inside(gateway), flags: ["status"] })
        assert.match(stdout, /^gateway .*: unknown\n/)
        assert.include(stdout, "cannot be reached")
        assert.notInclude(stdout, "--force")
        assert.strictEqual(code, 4, stdout)
        yield* Gateways.assertClean(yield* Gateways.stop(gateway))
      })
  )

  Variants.each(
    "an owner keeps its lock, though nobody reaches its port, however long a start waits",
    Namespaces.noNetwork,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, Gateways.impatient)
        const gateway = yield* Gateways.startListening(site, { main, under: down })
        const refused = yield* Gateways.run(site, {
          main,
          under: inside(gateway),
          flags: ["--lock-timeout", "3 seconds"]
        })
        assert.include(refused.stderr, `GatewayLockError: gateway already running (pid ${gateway.pid})`)
        assert.strictEqual(refused.code, 1)
        yield* Gateways.assertClean(yield* Gateways.stop(gateway))
      })
  )
})
