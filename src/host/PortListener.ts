/**
 * Which listeners of a port an address meets: those that a connection reaches, and those that keep it from being bound. Pure.
 *
 * @since 0.1.0
 */
import { type Address, canonical, exclude, guardHost, isV6, probeTargets } from "../Address.ts"

/**
 * One listening socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface PortListener {
  /** The address that it is bound to, as a number; `0.0.0.0` and `::` are all of this machine. */
  readonly host: string
  readonly port: number
  /** A process that has it open; absent where none can be seen from here. */
  readonly pid?: number
}

const names: Readonly<Record<string, ReadonlyArray<string>>> = { localhost: ["127.0.0.1", "::1"] }

/** The kernel prefers the exact address to a wildcard, and IPv4's own wildcard to the dual one of IPv6. */
const reachedAt = (host: string, listeners: ReadonlyArray<PortListener>): ReadonlyArray<PortListener> => {
  for (const bound of isV6(host) ? [host, "::"] : [host, "0.0.0.0", "::"]) {
    const found = listeners.filter((listener) => listener.host === bound)
    if (found.length > 0) return found
  }
  return []
}

/**
 * The listeners that keep a gateway from `address`: who answers there, and who has its guard address. All of the port's
 * where the host is a name that only a resolver knows. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const at = (address: Address, listeners: ReadonlyArray<PortListener>): ReadonlyArray<PortListener> => {
  const onPort = listeners.filter(({ port }) => port === address.port)
  const hosts = probeTargets(address).flatMap(({ host }) => names[host] ?? [canonical(host) ?? host])
  if (hosts.some((host) => canonical(host) === undefined)) return onPort
  return [...new Set(hosts.flatMap((host) => reachedAt(host, onPort)))]
}

/** What a gateway on an address binds; where a wildcard covers the guard address, asking for both does no harm. */
export const addressesOf = ({ host }: Address): ReadonlyArray<string> => host === guardHost ? [host] : [host, guardHost]

/**
 * The listeners beside which a gateway on `address` cannot be, whether they answer there or not: a wildcard address cannot be
 * bound beside a listener on any of this machine's. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const conflicting = (
  address: Address,
  listeners: ReadonlyArray<PortListener>
): ReadonlyArray<PortListener> =>
  listeners.filter(({ host, port }) =>
    port === address.port && addressesOf(address).some((mine) => exclude(canonical(mine) ?? mine, host))
  )
