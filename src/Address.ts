/**
 * Where a gateway listens: a host and a port, how they are written, and which
 * other addresses belong to the same gateway.
 *
 * @since 0.1.0
 */
import { isIPv4, isIPv6 } from "node:net"

/**
 * A host (name or address, an IPv6 address without brackets) and a TCP port.
 *
 * @since 0.1.0
 * @category models
 */
export interface Address {
  readonly host: string
  /** 1 to 65535; 0, where one is asked for, takes a free one. */
  readonly port: number
}

/**
 * The host as it stands in a URL: an IPv6 address in brackets (RFC 3986, 3.2.2).
 *
 * @internal
 */
export const urlHost = (host: string): string => isV6(host) ? `[${host}]` : host

/**
 * `ws://<host>:<port>`, the form that every message and log line uses.
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
 * The IPv4 loopback address that every gateway holds besides its own host.
 *
 * On Linux `127.0.0.1`, `::1`, `127.0.0.2` and a LAN address do not exclude each
 * other on one port; holding this one too makes "one base port" mean one gateway.
 *
 * @internal
 */
export const guardHost = "127.0.0.1"

/**
 * The guard address of a host that has no 127.0.0.1.
 *
 * @internal
 */
export const guardHostV6 = "::1"

/**
 * Whether a text is an IPv6 address, rather than an IPv4 address or a name, which have no colon.
 *
 * @internal
 */
export const isV6 = (host: string): boolean => host.includes(":")

/**
 * One spelling for each IP address, an IPv6 address without brackets: IPv6 as RFC 5952 has it, and an IPv4-mapped address
 * (RFC 4291, 2.5.5.2) as the IPv4 address. `undefined` for anything else: names, addresses with a zone, IPv4 in any spelling but
 * four decimal numbers.
 *
 * @internal
 */
export const canonical = (host: string): string | undefined => {
  if (isIPv4(host)) return host
  // `isIPv6` accepts a zone, which a URL has no place for.
  if (!isIPv6(host) || host.includes("%")) return undefined
  const text = new URL(`http://[${host}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(text) ?? []
  if (high === undefined || low === undefined) return text
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
  return [a >> 8, a & 255, b >> 8, b & 255].join(".")
}

/**
 * Whether a host means every address of the machine: `0.0.0.0`, `::` in any spelling, or nothing.
 *
 * @internal
 */
export const isWildcard = (host: string): boolean => {
  const address = canonical(host)
  return host === "" || address === "0.0.0.0" || address === "::"
}

/**
 * The address at which a socket bound to `host` is reached from this machine: the loopback one of its family for a wildcard,
 * else `host` itself.
 *
 * @internal
 */
export const reachableAt = (host: string): string =>
  !isWildcard(host) ? host : canonical(host) === "::" ? guardHostV6 : guardHost

/**
 * Whether a socket bound to one of two addresses keeps any other socket from the other one, on the same port: bind(2) on Linux,
 * where `::` includes IPv4. Both in the spelling of `canonical`.
 *
 * @internal
 */
export const exclude = (a: string, b: string): boolean =>
  a === b || a === "::" || b === "::" || (a === "0.0.0.0" && !isV6(b)) || (b === "0.0.0.0" && !isV6(a))

/**
 * Where a specific address can be bound beside a wildcard on one port, by the same process or another of its user:
 *
 * - Windows: libuv sets neither SO_REUSEADDR nor SO_EXCLUSIVEADDRUSE (`uv__tcp_try_bind` in src/win/tcp.c), and then a wildcard
 *   can be bound beside a specific address, and a specific one beside a wildcard if access is granted (Microsoft, "Using
 *   SO_REUSEADDR and SO_EXCLUSIVEADDRUSE", and the same table in "Sharing Transport Addresses").
 * - macOS and the BSDs: libuv sets SO_REUSEADDR (`uv__tcp_bind` in src/unix/tcp.c), and then only equal addresses exclude each
 *   other (`in_pcbbind` in XNU's bsd/netinet/in_pcb.c looks without INPLOOKUP_WILDCARD).
 */
const sharesWithWildcard = new Set(["win32", "darwin", "freebsd", "openbsd", "netbsd", "dragonfly"])

/**
 * Whether binding `host` already excludes every other listener on `guardHost` on a platform, named as `process.platform`:
 * it is that address or, on Linux, a wildcard (`::` is dual-stack in Node unless asked otherwise). On Windows, macOS and the
 * BSDs a wildcard does not exclude a specific address.
 *
 * @internal
 */
export const coversGuard = (host: string, platform: string): boolean =>
  canonical(host) === guardHost || (isWildcard(host) && !sharesWithWildcard.has(platform))

/**
 * Whether a host can be reached from this machine only: `localhost`, 127.0.0.0/8
 * (RFC 1122, 3.2.1.3) or `::1` (RFC 4291, 2.5.3), in any spelling.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isLoopback = (host: string): boolean => {
  const address = canonical(host)
  return host === "localhost" || address === "::1" || (address !== undefined && address.startsWith("127."))
}

/**
 * The addresses to connect to in order to learn which process holds `address`: the address itself
 * (the loopback one of its family for a wildcard) and the guard address. On a host that has no
 * 127.0.0.1, `guardHostV6` is to be asked besides.
 *
 * @internal
 */
export const probeTargets = ({ host, port }: Address): ReadonlyArray<Address> => {
  const own = reachableAt(host)
  return canonical(own) === guardHost ? [{ host: guardHost, port }] : [{ host: own, port }, { host: guardHost, port }]
}
