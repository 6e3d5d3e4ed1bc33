/**
 * Finds the listeners of a port that matter to an address: those that a connection to the address reaches, and those that
 * prevent binding it. Pure.
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
  /** The IP address that the socket is bound to. `0.0.0.0` and `::` mean all addresses of this machine. */
  readonly host: string
  readonly port: number
  /** The pid of a process that has the socket open. Absent if this process can see no such process. */
  readonly pid?: number
}

/** Host names whose addresses are known without a resolver. */
const names: Readonly<Record<string, ReadonlyArray<string>>> = { localhost: ["127.0.0.1", "::1"] }

/**
 * The listeners that a connection to `host` reaches. The kernel prefers a socket on the exact address to a socket on a
 * wildcard address. For IPv4 it prefers a socket on `0.0.0.0` to a socket on the dual-stack `::`.
 */
const reachedAt = (host: string, listeners: ReadonlyArray<PortListener>): ReadonlyArray<PortListener> => {
  for (const bound of isV6(host) ? [host, "::"] : [host, "0.0.0.0", "::"]) {
    const found = listeners.filter((listener) => listener.host === bound)
    if (found.length > 0) return found
  }
  return []
}

/**
 * The listeners that a start finds when it probes `address`: those that answer at `address`, and those that answer at 127.0.0.1 on
 * the same port. Every gateway also binds 127.0.0.1. If only a resolver can translate the host's name to an address, all listeners
 * of the port are returned. Pure.
 *
 * @since 0.1.0
 * @category decisions
 */
export const listenersAt = (address: Address, listeners: ReadonlyArray<PortListener>): ReadonlyArray<PortListener> => {
  const onPort = listeners.filter(({ port }) => port === address.port)
  const hosts = probeTargets(address).flatMap(({ host }) => names[host] ?? [canonical(host) ?? host])
  if (hosts.some((host) => canonical(host) === undefined)) return onPort
  return [...new Set(hosts.flatMap((host) => reachedAt(host, onPort)))]
}

/**
 * The hosts that a gateway on an address binds: its own host and 127.0.0.1. If its own host is a wildcard that covers 127.0.0.1,
 * the gateway binds only the wildcard. 127.0.0.1 is listed all the same, because a conflict with it is also one with the wildcard.
 */
export const addressesOf = ({ host }: Address): ReadonlyArray<string> => host === guardHost ? [host] : [host, guardHost]

/**
 * The listeners that prevent a gateway from binding `address`, even if they do not answer there. For example, a wildcard
 * address cannot be bound while a listener has any address of this machine on the same port. Pure.
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
