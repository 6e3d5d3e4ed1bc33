/**
 * The URL of a PostgreSQL server: checks, and an address without credentials for messages. Pure.
 *
 * `pg` reads the URL itself. Without these checks, it answers a wrong URL by a stack trace, or uses another server than the URL
 * seems to name: a `/` in a password ends the host.
 *
 * @internal
 */
import * as Either from "effect/Either"

export interface PostgresUrl {
  /** The URL as `pg` reads it. */
  readonly connectionString: string
  /** The address without user, password and options. */
  readonly location: string
}

const sslModes = ["disable", "prefer", "require", "verify-ca", "verify-full", "no-verify"]

const escapes = "in a user or a password, write / ? # @ : % and spaces as %2F %3F %23 %40 %3A %25 and %20"

/** `pg` accepts a user before an empty host, which is no valid URL. */
const withHost = (text: string): string => text.replace("@/", "@socket/")

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

interface Parts {
  readonly url: URL
  readonly host: string
  readonly port: string
}

const partsOf = (text: string): Parts | undefined => {
  const full = withHost(text)
  if (!URL.canParse(full)) return undefined
  const url = new URL(full)
  const named = full === text ? decoded(url.hostname) ?? "" : ""
  const { searchParams } = url
  return {
    url,
    host: (searchParams.get("host") ?? named).replace(/^\[(.*)\]$/, "$1"),
    port: searchParams.get("port") ?? url.port
  }
}

const problemOf = (text: string): string | undefined => {
  const scheme = /^[^:/?#]*:(?=\/\/)/.exec(text)?.[0] ?? ""
  if (scheme !== "postgresql:" && scheme !== "postgres:") {
    return "expected a URL such as postgresql://user:password@host:5432/database"
  }
  // The rest of such a password may look like a path or a port, so nothing of the URL is quoted.
  const parts = partsOf(text)
  if (/^[^@]*\/\/[^/@]*,/.test(text) || /\/\/[^/]*@[^/]*,/.test(text) || parts?.host.includes(",") === true) {
    return "it names several hosts: expected one, such as a virtual address, a name or a pooler that leads to the primary"
  }
  if (parts === undefined) return `it cannot be read: ${escapes}`
  const { port, url } = parts
  const isDecodable = [url.username, url.password, url.hostname, url.pathname].every((part) =>
    decoded(part) !== undefined
  )
  if (url.hash !== "" || url.pathname.includes("@") || !isDecodable) return `it cannot be read: ${escapes}`
  if (port !== "" && !(/^\d+$/.test(port) && Number(port) > 0 && Number(port) < 65_536)) {
    return `its port is ${port}: expected 1 to 65535`
  }
  const sslMode = url.searchParams.get("sslmode")
  return sslMode === null || sslModes.includes(sslMode)
    ? undefined
    : `its sslmode is ${sslMode}: expected ${sslModes.join(", ")}`
}

const locationOf = ({ host, port, url }: Parts): string => {
  const at = host.startsWith("/") ? host : host.includes(":") ? `[${host}]` : host === "" ? "localhost" : host
  return `postgresql://${at}:${port === "" ? "5432" : port}${url.pathname === "/" ? "" : url.pathname}`
}

/** Adds a parameter, which `pg` prefers to the same part of the URL. */
const withParameter = (text: string, name: string, value: string): string =>
  `${text}${text.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(value)}`

/**
 * `pg` 8 treats these modes as `verify-full`, with a warning, and announces that version 9 will not check the certificate. A lease
 * must not become less safe by an update.
 */
const withVerification = (text: string, { searchParams }: URL): string =>
  searchParams.get("uselibpqcompat") === "true"
    ? text
    : text.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=&|$)/, "$1verify-full")

/**
 * Checks a URL. Left: what is wrong, and what is expected, without any credentials.
 *
 * `password` replaces the password of the URL.
 */
export const parse = (text: string, password?: string): Either.Either<PostgresUrl, string> => {
  const problem = problemOf(text)
  const parts = partsOf(text)
  if (problem !== undefined || parts === undefined) return Either.left(problem ?? "it cannot be read")
  const verified = withVerification(text, parts.url)
  // `pg` 8.23 looks up the name "[::1]", with its brackets.
  const host = /^\[.*\]$/.test(parts.url.hostname) && !parts.url.searchParams.has("host")
    ? withParameter(verified, "host", parts.host)
    : verified
  return Either.right({
    connectionString: password === undefined ? host : withParameter(host, "password", password),
    location: locationOf(parts)
  })
}
