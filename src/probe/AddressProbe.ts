/**
 * Probes every address that a gateway binds: the address that it serves, and the guard address 127.0.0.1. Every gateway
 * binds the guard address in addition, so that two gateways on one host cannot use the same port.
 */
import * as Effect from "effect/Effect"
import { type Address, guardHost, guardHostV6, probeTargets } from "../Address.ts"
import type { Health, HealthProbe } from "./HealthProbe.ts"

/** The answer of one address. */
export interface Look {
  readonly target: Address
  readonly answer: Health
}

const isUnreachable = ({ answer }: Look): boolean => answer._tag === "NoListener" && answer.unreachable === true

/**
 * Probes, at the same time, all addresses that a gateway for `address` binds. Every gateway also binds 127.0.0.1, or `::1` on a
 * host that has no 127.0.0.1. So `::1` is probed as well if 127.0.0.1 is unreachable.
 */
export const lookAt = (health: HealthProbe["Type"], address: Address): Effect.Effect<ReadonlyArray<Look>> =>
  Effect.gen(function*() {
    const ask = (target: Address) => Effect.map(health.probe(target), (answer): Look => ({ target, answer }))
    const targets = probeTargets(address)
    const [first] = targets
    // Mostly there is one target. It needs no fiber of its own.
    const looks = first !== undefined && targets.length === 1
      ? [yield* ask(first)]
      : yield* Effect.forEach(targets, ask, { concurrency: "unbounded" })
    const lacksGuard = looks.some((look) => look.target.host === guardHost && isUnreachable(look))
    return lacksGuard && looks.every(({ target }) => target.host !== guardHostV6)
      ? [...looks, yield* ask({ host: guardHostV6, port: address.port })]
      : looks
  })

/** Whether all the addresses were unreachable. If so, a listener may be there, but the probe cannot see it. */
export const nothingReached = (looks: ReadonlyArray<Look>): boolean => looks.every(isUnreachable)
