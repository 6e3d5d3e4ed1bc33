/**
 * Requests a path at an owner's address and returns the HTTP status. Used for an owner whose health rule is `http:<path>`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Address, probeTargets } from "../Address.ts"
import { ProbeTransport } from "../host/ProbeTransport.ts"
import * as HealthProbe from "../probe/HealthProbe.ts"

/**
 * The HTTP status of the answer at a path. Only the owner's own address is asked, and not 127.0.0.1, which `probeTargets` also
 * returns. `undefined` if no answer arrives within the probe timeout. The connection is closed after the answer.
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
