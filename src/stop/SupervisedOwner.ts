/**
 * Finds the command with which a supervisor stops an owner (a gateway that holds the lock). A signal is the wrong way to end a
 * supervised owner, because systemd would restart it (`Restart=always`), and the Task Scheduler would count a failure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { ServiceUnit, SupervisorKind } from "../GatewayLockError.ts"
import * as ServiceCommands from "../supervisor/ServiceCommands.ts"
import { serviceNames } from "../supervisor/ServiceOptions.ts"

/**
 * Returns the command that stops the owner through its supervisor. Returns `None` if no such command is known, which is the case
 * for the supervisors `none` and `external`. The caller can then signal the owner. Pure.
 *
 * `unit` is the systemd unit of the owner, which the caller finds from the owner's control group. Without `unit`, and for launchd
 * and the Task Scheduler, the command contains the name that `gateway service install` gives to the service of `profile`.
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
