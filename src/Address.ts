/**
 * Where a gateway listens: a host and a port, how they are written, and which
 * other addresses belong to the same gateway.
 *
 * @since 0.1.0
 */

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
 * @since 0.1.0
 * @category formatting
 */
export const urlHost = (host: string): string => host.includes(":") ? `[${host}]` : host

/**
 * `ws://<host>:<port>`, the form that every message and log line uses.
 *
 * @example
 * import { Address } from "gateway-lock"
 *
 * Address.toUrl({ host: "::1", port: 18789 }) // ws://[::1]:18789
 * Address.isLoopback("127.0.0.2") // true
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
 * @since 0.1.0
 * @category constants
 */
export const guardHost = "127.0.0.1"

/**
 * The guard address of a host that has no 127.0.0.1.
 *
 * @since 0.1.0
 * @category constants
 */
export const guardHostV6 = "::1"

const wildcards = new Set(["0.0.0.0", "::", "0:0:0:0:0:0:0:0", ""])

/**
 * Whether a host means every address of the machine: `0.0.0.0`, `::` or nothing.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isWildcard = (host: string): boolean => wildcards.has(host)

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
 * @since 0.1.0
 * @category predicates
 */
export const coversGuard = (host: string, platform: string): boolean =>
  host === guardHost || (isWildcard(host) && !sharesWithWildcard.has(platform))

const loopbackV4 = /^127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}$/

/**
 * Whether a host can be reached from this machine only: `localhost`, 127.0.0.0/8
 * (RFC 1122, 3.2.1.3) or `::1` (RFC 4291, 2.5.3).
 *
 * @since 0.1.0
 * @category predicates
 */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "0:0:0:0:0:0:0:1" || loopbackV4.test(host)

/**
 * The addresses to connect to in order to learn who holds `address`: the address itself
 * (the loopback one of its family for a wildcard) and the guard address. On a host that has no
 * 127.0.0.1, `guardHostV6` is to be asked besides.
 *
 * @since 0.1.0
 * @category constructors
 */
export const probeTargets = (address: Address): ReadonlyArray<Address> => {
  const { host, port } = address
  if (host === "::" || host === "0:0:0:0:0:0:0:0") return [{ host: "::1", port }, { host: guardHost, port }]
  if (host === guardHost || isWildcard(host)) return [{ host: guardHost, port }]
  return [address, { host: guardHost, port }]
}
