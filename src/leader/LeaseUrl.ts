/**
 * The URL of a lease store: which URLs are allowed, and how a message shows one. Pure.
 *
 * The modules of the engines read the URL. This module first refuses a URL whose password is not encoded, because a message of an
 * engine could quote a part of it.
 *
 * @internal
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as EtcdUrl from "./EtcdUrl.ts"
import { allowedUrl } from "./LeaseFacts.ts"
import * as PostgresUrl from "./PostgresUrl.ts"

/** The engines in which a lease can be. */
export type Engine = "postgresql" | "etcd"

/** What can be told of a URL without its credentials. */
interface Parts {
  readonly engine: Engine
  /** The URL without user, password and query. */
  readonly location: string
}

/** The format of a URL, as text for errors and help. */
export const allowed = allowedUrl

const maxLength = 4096

const postgresql = /^postgres(?:ql)?:\/\//
const etcd = /^etcd\+https?:\/\/(?:[^@/?#]*@)?[^@/?#]+\/?$/

/** A fault, as a text that shows nothing of the URL, because a part of it may be the password. */
type Fault = string

const encoded = "percent-encode @, /, ?, # and % in the user and the password"

const isUrl = (text: string): boolean => URL.canParse(text)

/** The parts of a URL for PostgreSQL. Any `@` outside of the user information is a password that is not encoded. */
const partsOfPostgresql = (text: string): Parts | Fault => {
  const authority = text.replace(postgresql, "").split(/[/?#]/)[0] ?? ""
  if (authority.slice(authority.lastIndexOf("@") + 1).includes(",")) {
    return "it has several hosts; name one: a virtual address, a name or a pooler"
  }
  // A user before an empty host is not a valid URL, but PostgreSQL's programs accept it.
  const full = text.replace("@/", "@socket/")
  if (!isUrl(full)) return `it is not a URL; ${encoded}`
  const { hash, host, pathname, search } = new URL(full)
  if (hash !== "" || `${pathname}${search}`.includes("@") || authority.indexOf("@") !== authority.lastIndexOf("@")) {
    return `a character is not encoded; ${encoded}`
  }
  if ((host === "" || full !== text) && !search.includes("host=")) return "it has no host"
  return Either.match(PostgresUrl.parse(text), {
    onLeft: (fault): Parts | Fault => fault,
    onRight: ({ location }) => ({ engine: "postgresql", location })
  })
}

const partsOfEtcd = (text: string): Parts | Fault => {
  if (!etcd.test(text)) return `it is not a list of hosts; ${encoded}`
  return Either.match(EtcdUrl.parse(text), {
    onLeft: (fault): Parts | Fault => fault,
    onRight: ({ location }) => ({ engine: "etcd", location })
  })
}

const partsOf = (text: string): Parts | Fault => {
  if (text === "") return "it is empty"
  if (text.length > maxLength) return `it has ${text.length} characters; at most ${maxLength} are allowed`
  if (!/^[!-~]+$/.test(text)) return "it has a space, a line end or a character that is not ASCII"
  if (postgresql.test(text)) return partsOfPostgresql(text)
  return text.startsWith("etcd+http://") || text.startsWith("etcd+https://")
    ? partsOfEtcd(text)
    : "it begins with another scheme"
}

/** Removes one trailing line end, because an editor or `echo` may have appended it. */
export const withoutLineEnd = (text: string): string => text.replace(/\r?\n$/, "")

/** Explains why a text is not a valid URL, and shows nothing of it. `None` for a valid URL. */
export const fault = (text: string): Option.Option<string> => {
  const parts = partsOf(text)
  return typeof parts === "string" ? Option.some(parts) : Option.none()
}

export const isValid = (text: string): boolean => Option.isNone(fault(text))

/** The engine and the address without credentials. `None` for a text that is not valid. */
export const parse = (text: string): Option.Option<Parts> => {
  const parts = partsOf(text)
  return typeof parts === "string" ? Option.none() : Option.some(parts)
}

/** The longest text of a file with a URL, with a line end (CR LF). */
export const maxFileBytes = maxLength + 2
