/**
 * Who may ask? Decided from a request's head, before anybody reads more of it. Pure.
 *
 * A web page can make its reader's browser ask any address, this one too: by a name of its own that it lets mean our
 * address (DNS rebinding), or by a WebSocket or form across sites. Names that are not ours, and origins that are not what
 * was asked, tell such requests from others.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { canonical, isLoopback, urlHost } from "../Address.ts"

// ---------------------------------------------------------------------------
// names and addresses
// ---------------------------------------------------------------------------

/** RFC 1123, 2.1, and the underscore, which container networks give to names. */
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
/** What could be read as an IPv4 address in another spelling: decimal, octal, hexadecimal, shortened (inet_aton(3)). */
const numeric = /^(?:\d+|0x[0-9a-f]*)$/

/**
 * The normal form of a host name or address, an IPv6 address without brackets: names in lower case without the root's
 * dot, IPv6 as RFC 5952 has it, an IPv4-mapped address as the IPv4 one. `None` for what is neither: zones, IPv4 in any
 * spelling but four decimal numbers, names that are not ASCII (write them as punycode).
 *
 * @internal
 */
export const normalHost = (text: string): Option.Option<string> => {
  const lower = text.toLowerCase()
  const address = canonical(lower)
  if (address !== undefined) return Option.some(address)
  const name = lower.endsWith(".") ? lower.slice(0, -1) : lower
  const labels = name.split(".")
  const last = labels[labels.length - 1] ?? ""
  return name.length <= 253 && labels.every((part) => label.test(part)) && !numeric.test(last)
    ? Option.some(name)
    : Option.none()
}

/**
 * Where a request was sent, by its own word.
 *
 * @internal
 */
export interface Authority {
  /** In normal form. */
  readonly host: string
  /** Absent where none was written. */
  readonly port: number | undefined
}

/**
 * Reads `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 9110, 7.2). An empty port, port 0, user information, a zone and
 * an IPv6 address without brackets are refused.
 *
 * @internal
 */
export const parseAuthority = (text: string): Option.Option<Authority> => {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([1-9]\d{0,4}))?$/.exec(text)
  if (match === null) return Option.none()
  const [, v6, other, digits] = match
  const port = digits === undefined ? undefined : Number(digits)
  if (port !== undefined && port > 65535) return Option.none()
  // What is in brackets must be IPv6, and only that.
  if (v6 !== undefined && !v6.includes(":")) return Option.none()
  return Option.map(normalHost(v6 ?? other ?? ""), (host) => ({ host, port }))
}

const defaultPorts: Readonly<Record<string, number>> = { http: 80, https: 443, ws: 80, wss: 443 }

const isWeb = (scheme: string): boolean => Object.hasOwn(defaultPorts, scheme)

interface Origin extends Authority {
  readonly scheme: string
}

const parseOrigin = (text: string): Option.Option<Origin> => {
  const [scheme = "", authority, ...more] = text.split("://")
  return authority === undefined || more.length > 0 || !isWeb(scheme.toLowerCase())
    ? Option.none()
    : Option.map(parseAuthority(authority), (parsed) => ({ ...parsed, scheme: scheme.toLowerCase() }))
}

const originText = ({ host, port, scheme }: Origin): string =>
  `${scheme}://${urlHost(host)}${port === undefined || port === defaultPorts[scheme] ? "" : `:${port}`}`

/**
 * An origin that a shell or an extension sends: `file://`, `app://obsidian.md`, `tauri://localhost`. What follows the
 * scheme means something to the shell only, and may be empty (RFC 3986, 3.2.2, without user information and commas).
 */
const opaqueOrigin = /^[a-z][a-z0-9+.-]*:\/\/[\w.~%!$&'()*+;=:[\]-]*$/

/**
 * The normal form of an origin (RFC 6454, 6.2). Of a web page: scheme, host, and the port if it is not the scheme's own. Of
 * any other scheme, such as `file://` or `tauri://localhost`: in lower case, as it was written. `null` is one.
 *
 * @internal
 */
export const normalOrigin = (text: string): Option.Option<string> =>
  text === "null" ? Option.some(text) : Option.orElse(
    Option.map(parseOrigin(text), originText),
    () =>
      Option.filter(
        Option.some(text.toLowerCase()),
        (lower) => opaqueOrigin.test(lower) && !isWeb(lower.slice(0, lower.indexOf(":")))
      )
  )

// ---------------------------------------------------------------------------
// rules
// ---------------------------------------------------------------------------

/**
 * `*` in a list of hosts or origins: any.
 *
 * @internal
 */
export const any = "*"

/**
 * An entry of a list of hosts, in normal form: a name or address without port, IPv6 with or without brackets, or `*`.
 *
 * @internal
 */
export const allowedHost = (text: string): Option.Option<string> =>
  text === any ? Option.some(text) : normalHost(text.replace(/^\[(.*:.*)\]$/, "$1"))

/**
 * An entry of a list of origins, in normal form: `https://host[:port]`, `app://name`, `file://`, `null` or `*`.
 *
 * @internal
 */
export const allowedOrigin = (text: string): Option.Option<string> =>
  text === any ? Option.some(text) : normalOrigin(text)

/**
 * Which names and origins are allowed, as `rules` makes them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rules {
  /** In normal form. */
  readonly hosts: ReadonlySet<string>
  /** In normal form. */
  readonly origins: ReadonlySet<string>
}

/**
 * The rules of a listener on a host, with what is allowed besides. An entry that is none allows nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rules = (options: {
  readonly host: string
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  readonly allowedOrigins?: ReadonlyArray<string> | undefined
}): Rules => ({
  hosts: new Set([options.host, ...options.allowedHosts ?? []].flatMap((host) => Option.toArray(allowedHost(host)))),
  origins: new Set((options.allowedOrigins ?? []).flatMap((origin) => Option.toArray(allowedOrigin(origin))))
})

/**
 * What is judged of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Head {
  readonly method: string
  /** As it stands in the request line. */
  readonly target: string
  /** Names and values in turns, as they came. */
  readonly rawHeaders: ReadonlyArray<string>
  readonly httpVersion: string
  /** Our end of its connection. */
  readonly localAddress: string | undefined
  /** Whether it asks for another protocol: what a page may do across sites without asking. */
  readonly isUpgrade: boolean
  /** Whether anybody may have the answer, under whatever name: health. */
  readonly isOpen: boolean
}

/**
 * `Refused` has the status of the answer (RFC 9110, 15.5), and the reason that the client is told.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Admitted" }
  | { readonly _tag: "Refused"; readonly status: 400 | 403 | 421; readonly reason: string }

const admitted: Verdict = { _tag: "Admitted" }
const refused = (status: 400 | 403 | 421, reason: string): Verdict => ({ _tag: "Refused", status, reason })

/** Where the value of the first header of this name stands, from an index on; -1 where there is none. */
const valueAt = (rawHeaders: ReadonlyArray<string>, name: string, from = 0): number => {
  // Of every header of every request: most are told apart by their length.
  for (let index = from; index + 1 < rawHeaders.length; index += 2) {
    const header = rawHeaders[index] ?? ""
    if (header.length === name.length && header.toLowerCase() === name) return index + 1
  }
  return -1
}

const valuesOf = (rawHeaders: ReadonlyArray<string>, name: string): ReadonlyArray<string> => {
  const values: Array<string> = []
  for (let at = valueAt(rawHeaders, name); at !== -1; at = valueAt(rawHeaders, name, at + 1)) {
    values.push(rawHeaders[at] ?? "")
  }
  return values
}

/** RFC 9110, 9.2.1. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"])

/**
 * RFC 6761, 6.3: browsers connect to loopback for every name under `localhost` and never ask DNS, so that no page can let one
 * mean another address. Not in `isLoopback`, which is about hosts to bind: there a resolver may ask DNS.
 */
const isLoopbackName = (host: string): boolean => isLoopback(host) || host.endsWith(".localhost")

const isServed = (rules: Rules, host: string, localAddress: string | undefined): boolean => {
  if (rules.hosts.has(any) || rules.hosts.has(host)) return true
  const local = Option.getOrUndefined(normalHost(localAddress ?? ""))
  // A client of a loopback address is on this machine, and may call it by any loopback name.
  return local !== undefined && (local === host || (isLoopback(local) && isLoopbackName(host)))
}

const sameSite = (origin: Origin, asked: Authority): boolean => {
  if (origin.scheme !== "http" && origin.scheme !== "https") return false
  // A `Host` without a port is on its scheme's own, and behind a proxy that scheme is the origin's.
  const own = defaultPorts[origin.scheme]
  return origin.host === asked.host && (origin.port ?? own) === (asked.port ?? own)
}

/**
 * Whether a request may be answered, by its request line, `Host` and `Origin`:
 *
 * - 400: the target is not a path (`*` for `OPTIONS`), or `Host` is missing, repeated, or no host. Without `Host`, an
 *   HTTP/1.0 client may ask what is open.
 * - 421: `Host` is none of ours: not the host that was asked to be bound, nor the connection's own address, nor a loopback
 *   one on a loopback connection, nor allowed besides. Its port is not looked at: ports are mapped. What is open may be
 *   asked under any name.
 * - 403: it could change something, or opens a socket, and its `Origin` is neither `Host`'s nor allowed besides.
 *
 * @example
 * import { Server } from "gateway-lock"
 *
 * const rules = Server.Access.rules({ host: "127.0.0.1", allowedHosts: ["app.example"] })
 * const verdict = Server.Access.judge({
 *   method: "GET",
 *   target: "/hello",
 *   rawHeaders: ["Host", "rebound.example:18789"],
 *   httpVersion: "1.1",
 *   localAddress: "127.0.0.1",
 *   isUpgrade: false,
 *   isOpen: false
 * }, rules) // { _tag: "Refused", status: 421, … }
 *
 * @since 0.1.0
 * @category decisions
 */
export const judge: {
  (rules: Rules): (head: Head) => Verdict
  (head: Head, rules: Rules): Verdict
} = dual(2, (head: Head, rules: Rules): Verdict => {
  if (!head.target.startsWith("/") && !(head.target === "*" && head.method === "OPTIONS")) {
    return refused(400, "the request target must be a path")
  }
  const isOpen = head.isOpen && !head.isUpgrade
  const hosts = valuesOf(head.rawHeaders, "host")
  const [first] = hosts
  if (first === undefined && head.httpVersion === "1.0" && isOpen) return admitted
  if (first === undefined || hosts.length > 1) return refused(400, "a request must have exactly one Host")
  const asked = Option.getOrUndefined(parseAuthority(first))
  if (asked === undefined) return refused(400, "Host must be a name or an address, with or without a port")
  if (!isOpen && !isServed(rules, asked.host, head.localAddress)) {
    return refused(421, `${asked.host} is not served here; to allow it, see GATEWAY_ALLOWED_HOSTS`)
  }
  if (safeMethods.has(head.method) && !head.isUpgrade) return admitted
  const origins = valuesOf(head.rawHeaders, "origin")
  if (origins.length === 0 || rules.origins.has(any)) return admitted
  const [sent = ""] = origins
  const origin = parseOrigin(sent)
  const isAllowed = origins.length === 1 && (
    Option.exists(origin, (origin) => sameSite(origin, asked))
    || Option.exists(normalOrigin(sent), (origin) => rules.origins.has(origin))
  )
  return isAllowed
    ? admitted
    : refused(403, "the request is from a page of another origin; to allow it, see GATEWAY_ALLOWED_ORIGINS")
})

/**
 * `judge`, for the requests of one connection: the next one most likely has the `Host` that was admitted before, and is not
 * looked at as closely then.
 *
 * @internal
 */
export const judging = (rules: Rules): (head: Head) => Verdict => {
  let admittedHost: string | undefined
  return (head) => {
    const at = valueAt(head.rawHeaders, "host")
    const isOnly = at !== -1 && valueAt(head.rawHeaders, "host", at + 1) === -1
    const host = isOnly ? head.rawHeaders[at] : undefined
    if (
      host !== undefined && host === admittedHost && !head.isUpgrade && safeMethods.has(head.method)
      && head.target.startsWith("/")
    ) return admitted
    const verdict = judge(head, rules)
    // What is open is answered under any name.
    if (verdict._tag === "Admitted" && !head.isOpen) admittedHost = host
    return verdict
  }
}
