/**
 * The addresses of a simulated host: which of them exclude each other, and which a connection reaches.
 *
 * @since 0.1.0
 */
import { canonical, exclude, guardHost, isV6, isWildcard, reachableAt } from "../Address.ts"

/** The number of an address that has a name or several spellings. */
export const literal = (host: string): string => host === "localhost" ? guardHost : canonical(host) ?? host

/**
 * Measured on Linux: a wildcard and an address it covers exclude each other; two different addresses do not. Elsewhere
 * (`Address.coversGuard` says how that is known) only equal addresses do, and on macOS the two wildcards, by the lookup of
 * `in6_pcbbind` in XNU's bsd/netinet6/in6_pcb.c. For Windows' wildcards of both families no document was found, so the
 * simulated one lets them be together, as the worse case.
 */
export const excludes = (a: string, b: string, platform: string): boolean => {
  if (platform === "win32") return a === b
  if (platform === "darwin") return a === b || (isWildcard(a) && isWildcard(b))
  return exclude(a, b)
}

/** Connecting to a wildcard address means this machine (measured on Linux). */
export const reaches = (bound: string, host: string): boolean => {
  const to = reachableAt(host)
  return bound === to || bound === "::" || (bound === "0.0.0.0" && !isV6(to))
}

/**
 * The address of every simulated host in a local network (TEST-NET-2, RFC 5737).
 *
 * @since 0.1.0
 * @category constants
 */
export const lanAddress = "198.51.100.1"

/** What every simulated host has. */
export const available: ReadonlyArray<string> = ["127.0.0.1", "::1", lanAddress]

/** Whether an address is one of this machine's. */
export const isLocal = (host: string): boolean =>
  host === "0.0.0.0" || host === "::" || host === "::1" || host === lanAddress || /^127(\.\d{1,3}){3}$/.test(host)
