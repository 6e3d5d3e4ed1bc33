/**
 * What ends an owner that a supervisor started: the supervisor's own command. Ended behind its back, it is started again
 * (`Restart=always`), or taken for a failure (the Task Scheduler).
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { serviceNames } from "../supervisor/ServiceOptions.ts"

/**
 * The command that ends the owner by its supervisor; `None` where it has none that is known (`none`, `external`): then a
 * signal is right. Pure.
 *
 * Under systemd the unit is told from the owner's control group; without one, and under the others, it is called as
 * `gateway service install` calls it.
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
