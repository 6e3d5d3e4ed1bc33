/**
 * Decides from a request's head whether the gateway answers it. Pure.
 *
 * A web page can make its visitor's browser send requests to the gateway, in two ways. In DNS rebinding, the page's host name
 * resolves to the gateway's address, so the request's `Host` is the page's name and not a name of the gateway. In a request
 * across sites, from a WebSocket or a form, `Origin` differs from `Host`. The gateway refuses both, unless its settings allow that
 * `Host` or that `Origin`.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { canonical, isLoopback, urlHost } from "../Address.ts"

// ---------------------------------------------------------------------------
// names and addresses
// ---------------------------------------------------------------------------

/** A label of a host name (RFC 1123, 2.1). The underscore is allowed too, because container networks use it in names. */
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
/** A label that inet_aton(3) may read as the last number of an IPv4 address: decimal, octal or hexadecimal. */
const numeric = /^(?:\d+|0x[0-9a-f]*)$/

/**
 * The normal form of a host name or address. A name is in lower case and has no trailing dot. An IPv6 address is as in
 * RFC 5952, without brackets; an IPv4-mapped one becomes the IPv4 address.
 *
 * `None` for an address with a zone, for an IPv4 address that is not written as four decimal numbers, and for a name that is not
 * ASCII. Write such a name as punycode.
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
 * The host and port that a request names as its destination.
 *
 * @internal
 */
export interface Authority {
  /** In normal form. */
  readonly host: string
  /** `undefined` if the request names no port. */
  readonly port: number | undefined
}

/**
 * Reads `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 9110, 7.2). `None` for a text that has an empty port, port 0, user
 * information, a zone, or an IPv6 address without brackets.
 *
 * @internal
 */
export const parseAuthority = (text: string): Option.Option<Authority> => {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([1-9]\d{0,4}))?$/.exec(text)
  if (match === null) return Option.none()
  const [, v6, other, digits] = match
  const port = digits === undefined ? undefined : Number(digits)
  if (port !== undefined && port > 65535) return Option.none()
  // Brackets are for IPv6 addresses only: `[127.0.0.1]` and `[name]` are malformed.
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
 * An origin that a desktop shell or a browser extension sends: `file://`, `app://obsidian.md`, `tauri://localhost`. The part
 * after the scheme may be empty, and only the shell or extension knows what it means. It consists of the characters that RFC 3986,
 * 3.2, allows in a host and a port, but a comma is not allowed, because commas separate configured origins.
 */
const opaqueOrigin = /^[a-z][a-z0-9+.-]*:\/\/[\w.~%!$&'()*+;=:[\]-]*$/

/**
 * The normal form of an origin (RFC 6454, 6.2). A web page's origin consists of its scheme, its host and its port. The port is
 * left out if it is the scheme's default port. An origin whose scheme is not `http`, `https`, `ws` or `wss`, such as
 * `tauri://localhost`, is put in lower case and is not changed otherwise. `null` is a valid origin.
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
 * In a list of hosts, this entry allows any host. In a list of origins, it allows any origin.
 *
 * @internal
 */
export const any = "*"

/**
 * The normal form of an entry in a list of hosts. An entry is `*`, or a name or address without port. IPv6 addresses may be
 * in brackets.
 *
 * @internal
 */
export const allowedHost = (text: string): Option.Option<string> =>
  text === any ? Option.some(text) : normalHost(text.replace(/^\[(.*:.*)\]$/, "$1"))

/**
 * The normal form of an entry in a list of origins: `https://host[:port]`, `app://name`, `file://`, `null` or `*`.
 *
 * @internal
 */
export const allowedOrigin = (text: string): Option.Option<string> =>
  text === any ? Option.some(text) : normalOrigin(text)

/**
 * The hosts and origins that a listener allows. Built by `rules`.
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
 * Builds the rules of a listener from its host and from the additional hosts and origins that it allows. Entries that do not
 * parse are ignored.
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
 * The parts of a request that `judge` looks at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Head {
  readonly method: string
  /** The request target, as sent in the request line. */
  readonly target: string
  /** Header names and values, alternating, as received. */
  readonly rawHeaders: ReadonlyArray<string>
  readonly httpVersion: string
  /** The address of the gateway's end of the connection. */
  readonly localAddress: string | undefined
  /**
   * Whether the request asks for another protocol, such as WebSocket. Browsers let any page open a WebSocket to any site, so
   * `judge` checks the `Origin` of such a request although its method is GET.
   */
  readonly isUpgrade: boolean
  /** Whether the path is public: any client may read it under any `Host`. The paths of the health routes are public. */
  readonly isOpen: boolean
}

/**
 * The decision of `judge`. A refusal has the status of the answer (RFC 9110, 15.5) and the reason that the client receives.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Admitted" }
  | { readonly _tag: "Refused"; readonly status: 400 | 403 | 421; readonly reason: string }

const admitted: Verdict = { _tag: "Admitted" }
const refused = (status: 400 | 403 | 421, reason: string): Verdict => ({ _tag: "Refused", status, reason })

/** The index of the value of the first header with this name, searched from `from` on; -1 if there is none. */
const valueAt = (rawHeaders: ReadonlyArray<string>, name: string, from = 0): number => {
  // Runs for every header of every request. Comparing the lengths first rules out most names cheaply.
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

/** The methods that change nothing (RFC 9110, 9.2.1). */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"])

/**
 * Whether a host is a loopback host, or a name under `localhost` such as `app.localhost`. For these names, browsers connect to
 * loopback and never ask DNS (RFC 6761, 6.3), so a page cannot use DNS rebinding with them. `isLoopback` alone rejects names
 * under `localhost`, because it is also used for hosts that a gateway binds. For a bind, the system's resolver translates such a
 * name. That resolver may ask DNS and get any address.
 */
const isLoopbackName = (host: string): boolean => isLoopback(host) || host.endsWith(".localhost")

const isServed = (rules: Rules, host: string, localAddress: string | undefined): boolean => {
  if (rules.hosts.has(any) || rules.hosts.has(host)) return true
  const local = Option.getOrUndefined(normalHost(localAddress ?? ""))
  // A client that connects to a loopback address is on this machine, so it may use any loopback name for that address.
  return local !== undefined && (local === host || (isLoopback(local) && isLoopbackName(host)))
}

const sameSite = (origin: Origin, asked: Authority): boolean => {
  if (origin.scheme !== "http" && origin.scheme !== "https") return false
  // A `Host` without a port means the default port of the request's scheme. A proxy may have received the request with TLS, so
  // only the origin shows which scheme that is.
  const own = defaultPorts[origin.scheme]
  return origin.host === asked.host && (origin.port ?? own) === (asked.port ?? own)
}

/**
 * Decides whether a request may be answered. The decision depends on the request line, `Host` and `Origin` of the request. A
 * refusal has one of these statuses:
 *
 * - 400: `Host` is missing, repeated or malformed, or the target is neither a path nor `*` in an `OPTIONS` request. An
 *   HTTP/1.0 request for a public path (see `isOpen`) needs no `Host`.
 * - 421: `Host` is not a name or address of the gateway. The gateway accepts the host that it binds, the local address of the
 *   connection, any loopback name on a loopback connection, and the hosts in `rules`. It ignores the port in `Host`, because
 *   containers and proxies map ports. It answers a public path under any `Host`.
 * - 403: the request could change something or opens a WebSocket, and its `Origin` neither matches `Host` nor is in `rules`.
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
 * Decides as `judge` does, but for the requests of one connection. A request is admitted without parsing its headers if its `Host`
 * was admitted before on this connection, its method is safe and its target is a path. Most requests are of this kind.
 *
 * @internal
 */
export const judgePerConnection = (rules: Rules): (head: Head) => Verdict => {
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
    // A request for a public path is admitted with any `Host`, so this `Host` must not become the admitted one for other paths.
    if (verdict._tag === "Admitted" && !head.isOpen) admittedHost = host
    return verdict
  }
}
