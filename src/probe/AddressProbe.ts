/**
 * Asks every address that a gateway holds: its own, and the guard address.
 */
import * as Effect from "effect/Effect"
import { type Address, guardHost, guardHostV6, probeTargets } from "../Address.ts"
import type { Health, HealthProbe } from "./HealthProbe.ts"

/** What was found on one of the addresses. */
export interface Look {
  readonly target: Address
  readonly answer: Health
}

const isUnreachable = ({ answer }: Look): boolean => answer._tag === "NoListener" && answer.unreachable === true

/**
 * Asks all the addresses at the same time, and then, where 127.0.0.1 cannot be reached, the guard address that a host without
 * it has.
 */
export const lookAt = (health: HealthProbe["Type"], address: Address): Effect.Effect<ReadonlyArray<Look>> =>
  Effect.gen(function*() {
    const ask = (target: Address) => Effect.map(health.probe(target), (answer): Look => ({ target, answer }))
    const looks = yield* Effect.forEach(probeTargets(address), ask, { concurrency: "unbounded" })
    const lacksGuard = looks.some((look) => look.target.host === guardHost && isUnreachable(look))
    return lacksGuard && looks.every(({ target }) => target.host !== guardHostV6)
      ? [...looks, yield* ask({ host: guardHostV6, port: address.port })]
      : looks
  })

/** Whether none of the addresses could be reached, so that a listener there would not be seen. */
export const nothingReached = (looks: ReadonlyArray<Look>): boolean => looks.every(isUnreachable)
