/**
 * What every bind of a socket has in common: why it failed, and which address the socket has.
 */
import type * as Net from "node:net"
import { networkInterfaces } from "node:os"
import { type Address, canonical, isLoopback, isWildcard, toUrl } from "../../Address.ts"
import { codeOf } from "../../internal/errno.ts"
import { BindError } from "../ServerSocket.ts"

/**
 * Returns the addresses of the interfaces in this network namespace, loopback addresses first. Returns `undefined` if Node throws
 * instead of listing the interfaces.
 */
const localAddresses = (): ReadonlyArray<string> | undefined => {
  try {
    return [
      ...new Set(Object.values(networkInterfaces()).flatMap((entries = []) => entries.map(({ address }) => address)))
    ]
      .toSorted((a, b) => Number(isLoopback(b)) - Number(isLoopback(a)))
  } catch {
    return undefined
  }
}

/** The error of a failed bind(2) or listen(2). */
export const bindError = (address: Address, cause: unknown) => {
  const code = codeOf(cause)
  const available = code === "EADDRNOTAVAIL" ? localAddresses() : undefined
  return new BindError({
    ...address,
    code,
    reason: cause instanceof Error ? cause.message : String(cause),
    ...(available === undefined ? {} : { available }),
    cause
  })
}

/** The address that a listening server has bound. */
export const addressOf = (server: Net.Server, asked: Address): Address => {
  const bound = server.address()
  return typeof bound === "object" && bound !== null ? { host: bound.address, port: bound.port } : asked
}

/** Whether `bound`, the address of a socket, is the address that the name or address `host` stands for. */
const isAddressOf = (bound: string, host: string): boolean =>
  (canonical(bound) ?? bound) === (canonical(host) ?? host) || (host === "localhost" && isLoopback(bound)) ||
  (isWildcard(bound) && isWildcard(host))

/** The error for a passed socket that listens on another address than the settings name. `undefined` if the addresses agree. */
export const mismatchOf = (bound: Address, asked: Address): BindError | undefined =>
  bound.port === asked.port && isAddressOf(bound.host, asked.host) ? undefined : new BindError({
    ...asked,
    code: "EADDRMISMATCH",
    reason: `the passed socket listens on ${
      toUrl(bound)
    }; the socket unit's ListenStream= must match the gateway's host and port`
  })
