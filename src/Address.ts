/**
 * A host and a port that a gateway listens on. The functions format an address, compare addresses, and name the other
 * addresses that belong to the same gateway.
 *
 * @since 0.1.0
 */
import { isIPv4, isIPv6 } from "node:net"

/**
 * A host and a TCP port. The host is a name or an IP address. An IPv6 address has no brackets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Address {
  readonly host: string
  /** 1 to 65535. Where a port is requested, 0 selects a free one. */
  readonly port: number
}

/**
 * A host as written in a URL: an IPv6 address gets brackets (RFC 3986, 3.2.2).
 *
 * @internal
 */
export const urlHost = (host: string): string => isV6(host) ? `[${host}]` : host

/**
 * Formats an address as `ws://<host>:<port>`, the form that every message and log line uses.
 *
 * @example
 * import { Server } from "gateway-lock"
 *
 * Server.Address.toUrl({ host: "::1", port: 18789 }) // ws://[::1]:18789
 * Server.Address.isLoopback("127.0.0.2") // true
 *
 * @since 0.1.0
 * @category formatting
 */
export const toUrl = (address: Address): string => `ws://${urlHost(address.host)}:${address.port}`

/**
 * The IPv4 loopback address that every gateway binds in addition to its own host.
 *
 * On Linux, sockets on `127.0.0.1`, `::1`, `127.0.0.2` and a LAN address can use the same port without a conflict. Because
 * every gateway also binds `127.0.0.1`, two gateways of one machine cannot have the same base port (the port in their settings).
 *
 * @internal
 */
export const guardHost = "127.0.0.1"

/**
 * The address that a gateway binds instead of `guardHost`, on a machine that has no 127.0.0.1.
 *
 * @internal
 */
export const guardHostV6 = "::1"

/**
 * Whether a host is an IPv6 address. IPv4 addresses and names contain no colon.
 *
 * @internal
 */
export const isV6 = (host: string): boolean => host.includes(":")

/**
 * The canonical spelling of an IP address. Two spellings of one address give the same string.
 *
 * - IPv6: the form of RFC 5952, without brackets.
 * - IPv4-mapped IPv6 (RFC 4291, 2.5.5.2): the IPv4 address.
 * - IPv4: four decimal numbers.
 *
 * Returns `undefined` for anything else: names, addresses with a zone, and other spellings of IPv4.
 *
 * @internal
 */
export const canonical = (host: string): string | undefined => {
  if (isIPv4(host)) return host
  // `isIPv6` accepts a zone (`%eth0`), but the `URL` constructor below throws on one.
  if (!isIPv6(host) || host.includes("%")) return undefined
  const text = new URL(`http://[${host}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(text) ?? []
  if (high === undefined || low === undefined) return text
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
  return [a >> 8, a & 255, b >> 8, b & 255].join(".")
}

/**
 * Whether a host stands for every address of the machine: `0.0.0.0`, `::` in any spelling, or an empty string.
 *
 * @internal
 */
export const isWildcard = (host: string): boolean => {
  const address = canonical(host)
  return host === "" || address === "0.0.0.0" || address === "::"
}

/**
 * The address at which this machine reaches a socket that is bound to `host`. For a wildcard this is the loopback address of
 * the same family, otherwise `host` itself.
 *
 * @internal
 */
export const reachableAt = (host: string): string =>
  !isWildcard(host) ? host : canonical(host) === "::" ? guardHostV6 : guardHost

/**
 * Whether a socket bound to one address prevents another socket from binding the other address on the same port. Follows
 * bind(2) on Linux, where `::` includes IPv4. Both arguments must be in the form that `canonical` returns.
 *
 * @internal
 */
export const exclude = (a: string, b: string): boolean =>
  a === b || a === "::" || b === "::" || (a === "0.0.0.0" && !isV6(b)) || (b === "0.0.0.0" && !isV6(a))

/**
 * Platforms on which a wildcard and a specific address can be bound on one port at the same time. The two sockets may belong
 * to one process, or to two processes of the same user.
 *
 * - Windows: libuv sets neither SO_REUSEADDR nor SO_EXCLUSIVEADDRUSE (`uv__tcp_try_bind` in src/win/tcp.c). Windows then
 *   allows a wildcard beside a specific address. It allows a specific address beside a wildcard only after an access check.
 *   Microsoft shows both cases in a table, in "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE" and in "Sharing Transport
 *   Addresses".
 * - macOS and the BSDs: libuv sets SO_REUSEADDR (`uv__tcp_bind` in src/unix/tcp.c). With this option only equal addresses
 *   exclude each other, because `in_pcbbind` in XNU's bsd/netinet/in_pcb.c does its lookup without INPLOOKUP_WILDCARD.
 */
const sharesWithWildcard = new Set(["win32", "darwin", "freebsd", "openbsd", "netbsd", "dragonfly"])

/**
 * Whether a gateway that binds only `host` already prevents every other socket from listening on 127.0.0.1 (`guardHost`).
 * `platform` is a value of `process.platform`.
 *
 * The result is `true` for 127.0.0.1 itself. On Linux it is also `true` for a wildcard, including `::`, because
 * Node makes `::` dual-stack by default. On Windows, macOS and the BSDs a wildcard does not exclude a specific address.
 *
 * @internal
 */
export const coversGuard = (host: string, platform: string): boolean =>
  canonical(host) === guardHost || (isWildcard(host) && !sharesWithWildcard.has(platform))

/**
 * Whether only this machine can reach a host: `localhost`, 127.0.0.0/8 (RFC 1122, 3.2.1.3) or `::1` (RFC 4291, 2.5.3), in
 * any spelling.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isLoopback = (host: string): boolean => {
  const address = canonical(host)
  return host === "localhost" || address === "::1" || (address !== undefined && address.startsWith("127."))
}

/**
 * The addresses to probe to find the process that holds `address`: the address itself and 127.0.0.1 (`guardHost`), which every
 * gateway binds too. A wildcard is probed at the loopback address of its family. On a machine without 127.0.0.1, the caller must
 * also probe ::1 (`guardHostV6`), which a gateway binds instead.
 *
 * @internal
 */
export const probeTargets = ({ host, port }: Address): ReadonlyArray<Address> => {
  const own = reachableAt(host)
  return canonical(own) === guardHost ? [{ host: guardHost, port }] : [{ host: own, port }, { host: guardHost, port }]
}
