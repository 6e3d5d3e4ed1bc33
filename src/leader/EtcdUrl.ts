/**
 * Reads the URL of an etcd cluster: `etcd+http://host:2379,host:2379` or `etcd+https://name:password@host`. Pure.
 *
 * `URL` cannot parse several hosts, so the hosts are split first, and each becomes a URL of its own.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { printable } from "../internal/printable.ts"

/** A name and a password for etcd. */
export interface Credentials {
  readonly name: string
  readonly password: Redacted.Redacted
}

/** A cluster of etcd. */
export interface EtcdUrl {
  /** The client URLs of its members, without a slash at the end. At least one. */
  readonly endpoints: ReadonlyArray<string>
  readonly credentials: Option.Option<Credentials>
  /** The URL without credentials, for messages. */
  readonly location: string
}

const form = "expected etcd+http://[name:password@]host:port[,host:port] or etcd+https://…"

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const credentialsOf = (text: string): Either.Either<Option.Option<Credentials>, string> => {
  if (text === "") return Either.right(Option.none())
  const at = text.indexOf(":")
  const name = decode(at < 0 ? text : text.slice(0, at))
  const password = decode(at < 0 ? "" : text.slice(at + 1))
  if (name === undefined || password === undefined) {
    return Either.left("its name or password has a % that is not followed by two hexadecimal digits: write % as %25")
  }
  return name === "" || password === ""
    ? Either.left("it needs both a name and a password: expected name:password@ before the first host")
    : Either.right(Option.some({ name, password: Redacted.make(password) }))
}

/** The client URL of one member. The port of etcd is 2379, also where a URL without a port means 80 or 443. */
const endpointOf = (scheme: string, host: string): string | undefined => {
  const [, name = "", port = "2379"] = /^(\[[0-9a-f:.]+\]|[^\s:/?#@\\[\]]+)(?::(\d{1,5}))?$/i.exec(host) ?? []
  if (name === "" || Number(port) < 1 || !URL.canParse(`${scheme}://${name}:${port}`)) return undefined
  return `${scheme}://${new URL(`${scheme}://${name}`).hostname}:${port}`
}

/** Reads a URL. Left: what is wrong, in one line without the credentials. */
export const parse = (url: string): Either.Either<EtcdUrl, string> =>
  Either.gen(function*() {
    const [, scheme = "", rest = ""] = /^etcd\+(https?):\/\/(.*)$/is.exec(url.trim()) ?? []
    if (scheme === "") return yield* Either.left(`it has another scheme: ${form}`)
    // The last @, because a password that is not encoded may have another one.
    const at = rest.lastIndexOf("@")
    const credentials = yield* credentialsOf(at < 0 ? "" : rest.slice(0, at))
    const hosts = rest.slice(at + 1).replace(/\/$/, "")
    if (/[/?#]/.test(hosts)) return yield* Either.left(`it has a path, query or fragment: ${form}`)
    const endpoints: Array<string> = []
    for (const host of hosts.split(",")) {
      const endpoint = endpointOf(scheme.toLowerCase(), host.trim())
      if (endpoint === undefined) return yield* Either.left(`it has the host "${printable(host)}": ${form}`)
      if (!endpoints.includes(endpoint)) endpoints.push(endpoint)
    }
    const shown = endpoints.map((endpoint) => endpoint.replace(/^https?:\/\//, ""))
    return { endpoints, credentials, location: `etcd+${scheme.toLowerCase()}://${shown.join(",")}` }
  })
