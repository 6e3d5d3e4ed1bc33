/**
 * Finds the supervisor's own command that stops an owner. A supervised owner should not be ended by a signal, because systemd
 * would restart it (`Restart=always`), and the Task Scheduler would count a failure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { serviceNames } from "../supervisor/ServiceOptions.ts"

/**
 * The command that stops the owner through its supervisor. `None` if no such command is known, as for `none` and `external`. The
 * caller can then signal the owner. Pure.
 *
 * Under systemd, `unit` comes from the owner's control group. Without `unit`, and under other supervisors, the command names the
 * service as `gateway service install` does.
 *
 * @since 0.1.0
 * @category decisions
 */
export const stopCommand = (
  supervisor: SupervisorKind,
  profile: string,
  unit: Option.Option<ServiceUnit> = Option.none()
): Option.Option<string> =>
  Option.map(
    ServiceCommands.make({
      supervisor,
      profile,
      unit: Option.getOrElse(
        unit,
        (): ServiceUnit => ({ name: serviceNames("systemd", profile).name, scope: "user" })
      )
    }),
    ({ stop }) => stop
  )
