/**
 * The addresses of a simulated host, and the rules for them. The rules say which two addresses cannot be bound on one port at the
 * same time, and which listener a connection reaches.
 *
 * @since 0.1.0
 */
import { canonical, exclude, guardHost, isV6, isWildcard, reachableAt } from "../Address.ts"

/** The canonical IP address of a host: `localhost` becomes `127.0.0.1`, and each address gets one spelling. */
export const literal = (host: string): string => host === "localhost" ? guardHost : canonical(host) ?? host

/**
 * Whether two listeners on these addresses exclude each other, that is, cannot use the same port at the same time.
 *
 * - Linux, as measured: a wildcard excludes every address that it covers. Two different addresses that are not wildcards do not
 *   exclude each other.
 * - macOS: equal addresses exclude each other, and so do the wildcards `0.0.0.0` and `::` (the lookup of `in6_pcbbind` in XNU's
 *   bsd/netinet6/in6_pcb.c).
 * - Windows: only equal addresses exclude each other. No document was found about the two wildcards. The simulation allows
 *   both at once, because that is the worse case: two servers can then have the same port.
 *
 * The comment of `sharesWithWildcard` in `src/Address.ts` names the sources for Windows and macOS.
 */
export const excludes = (a: string, b: string, platform: string): boolean => {
  if (platform === "win32") return a === b
  if (platform === "darwin") return a === b || (isWildcard(a) && isWildcard(b))
  return exclude(a, b)
}

/**
 * Whether a connection to `host` reaches a listener on `bound`. A connection to a wildcard address reaches this machine
 * (measured on Linux).
 */
export const reaches = (bound: string, host: string): boolean => {
  const to = reachableAt(host)
  return bound === to || bound === "::" || (bound === "0.0.0.0" && !isV6(to))
}

/**
 * The address that every simulated host has in its own local network. It is from TEST-NET-2, which is reserved for examples
 * (RFC 5737).
 *
 * @since 0.1.0
 * @category constants
 */
export const lanAddress = "198.51.100.1"

/** The addresses of each simulated host. */
export const available: ReadonlyArray<string> = ["127.0.0.1", "::1", lanAddress]

/** Whether a process on a simulated host can bind the address `host`: it is an address of that machine, or a wildcard. */
export const isLocal = (host: string): boolean =>
  host === "0.0.0.0" || host === "::" || host === "::1" || host === lanAddress || /^127(\.\d{1,3}){3}$/.test(host)
