/**
 * Asks a path of an owner's address for its HTTP status, for an owner whose rule for its health names a path.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Address, probeTargets } from "../Address.ts"
import { ProbeTransport } from "../host/ProbeTransport.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"

/**
 * The status that a path answers with, at the address itself and not at the guard address. `undefined` if no answer arrives within
 * the probe timeout. The connection is closed after the answer.
 */
export const statusAt = (
  address: Address,
  path: string,
  options: HealthProbe.HealthProbeOptions = {}
): Effect.Effect<number | undefined, never, ProbeTransport> =>
  Effect.gen(function*() {
    const { get } = yield* ProbeTransport
    const [target = address] = probeTargets(address)
    return yield* get(target, path).pipe(
      Effect.map(({ status }) => status),
      Effect.timeoutTo({
        duration: Duration.decode(options.probeTimeout ?? HealthProbe.defaultTimeout),
        onSuccess: (status): number | undefined => status,
        onTimeout: () => undefined
      }),
      Effect.orElseSucceed(() => undefined)
    )
  })
