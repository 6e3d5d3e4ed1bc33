/**
 * What is a descriptor that a supervisor passed? A gateway serves on a TCP socket that listens. Anything else is refused,
 * with words for what it is.
 *
 * Node does not tell. It serves HTTP on a Unix socket, whose address then is `null`, it makes a TCP socket listen that does
 * not (on a port that the kernel picks, where it has none), and it answers `EINVAL` for everything else. Where the parent
 * passed nothing, the number belongs to a file that Node opened for itself. On Linux, `/proc` has the answers.
 */
import * as Fs from "node:fs"
import { type Address, urlHost } from "../../Address.ts"

/** Why a descriptor cannot be served. */
export interface Fault {
  /** The errno name that fits: `EBADF`, `ENOTSOCK` or `EPROTOTYPE`. */
  readonly code: "EBADF" | "ENOTSOCK" | "EPROTOTYPE"
  readonly reason: string
}

/** The tables of a network namespace that name a socket by its inode. */
export interface SocketTables {
  /** `/proc/net/tcp` and `/proc/net/tcp6`. */
  readonly tcp: string
  /** `/proc/net/udp` and `/proc/net/udp6`. */
  readonly udp: string
  /** `/proc/net/unix`. */
  readonly unix: string
}

const words = (line: string): ReadonlyArray<string> => line.trim().split(/\s+/)

/** The line of a table that has the inode in that column. */
const lineWith = (table: string, column: number, inode: string): ReadonlyArray<string> | undefined => {
  for (const line of table.split("\n")) {
    // Splitting each of a hundred thousand lines would take long.
    if (!line.includes(inode)) continue
    const found = words(line)
    if (found[column] === inode) return found
  }
  return undefined
}

/** The state of a listening socket in `/proc/net/tcp`, `TCP_LISTEN`. */
const listening = "0A"

const unixTypes: Readonly<Record<string, string>> = {
  "0001": "stream",
  "0002": "datagram",
  "0005": "sequential-packet"
}

/**
 * - `Listening`: a TCP socket that listens.
 * - `Other`: something else, in words.
 * - `Unlisted`: no table has it. A TCP socket that is neither bound nor connected is in none, nor is a socket of another
 *   network namespace, which systemd passes to a service that has `PrivateNetwork=`.
 */
export type Kind =
  | { readonly _tag: "Listening" }
  | { readonly _tag: "Other"; readonly what: string }
  | { readonly _tag: "Unlisted" }

/** What the tables say of the socket with that inode. Pure. */
export const kindOf = (inode: string, tables: SocketTables): Kind => {
  const tcp = lineWith(tables.tcp, 9, inode)
  if (tcp !== undefined) {
    return tcp[3] === listening
      ? { _tag: "Listening" }
      : { _tag: "Other", what: "a TCP connection, as passed by a socket unit with Accept=yes" }
  }
  if (lineWith(tables.udp, 9, inode) !== undefined) return { _tag: "Other", what: "a UDP socket" }
  const unix = lineWith(tables.unix, 6, inode)
  if (unix === undefined) return { _tag: "Unlisted" }
  const type = unixTypes[unix[4] ?? ""]
  const path = unix.slice(7).join(" ")
  return {
    _tag: "Other",
    what: `a Unix${type === undefined ? "" : ` ${type}`} socket${path === "" ? "" : ` (${path})`}`
  }
}

const reading = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

const table = (...names: ReadonlyArray<string>): string =>
  names.map((name) => reading(() => Fs.readFileSync(`/proc/self/net/${name}`, "utf8")) ?? "").join("\n")

/** What `/proc/self/fd` says, where there is one: `socket:[<inode>]`, or a path. */
const linkOf = (fd: number): string | undefined => reading(() => Fs.readlinkSync(`/proc/self/fd/${fd}`))

const look = (fd: number): Kind => {
  const inode = /^socket:\[(\d+)\]$/.exec(linkOf(fd) ?? "")?.[1]
  return inode === undefined
    ? { _tag: "Unlisted" }
    : kindOf(inode, { tcp: table("tcp", "tcp6"), udp: table("udp", "udp6"), unix: table("unix") })
}

const needed = (address: Address): string =>
  `a listening TCP socket is needed, as passed by a socket unit with ListenStream=${
    urlHost(address.host)
  }:${address.port}`

const fault = (code: Fault["code"], fd: number, what: string, address: Address): Fault => ({
  code,
  reason: `descriptor ${fd} is ${what}; ${needed(address)}`
})

/** What a descriptor was found to be before it was listened on. */
export interface Seen {
  /** Set where it cannot be served. */
  readonly fault: Fault | undefined
  /** Whether it did not listen, as far as can be told: asked again once it does. */
  readonly isUnlisted: boolean
}

/** Looks at a descriptor that was passed for `address`, and changes nothing. */
export const inspect = (fd: number, address: Address): Seen => {
  const refused = (code: Fault["code"], what: string): Seen => ({
    fault: fault(code, fd, what, address),
    isUnlisted: false
  })
  if (!Number.isInteger(fd) || fd < 0) return refused("EBADF", "not a valid descriptor number")
  const stat = reading(() => Fs.fstatSync(fd))
  if (stat === undefined) return refused("EBADF", "not open")
  if (!stat.isSocket()) {
    const link = linkOf(fd)
    return refused("ENOTSOCK", `not a socket${link === undefined ? "" : ` (${link})`}`)
  }
  const kind = look(fd)
  return kind._tag === "Other"
    ? refused("EPROTOTYPE", kind.what)
    : { fault: undefined, isUnlisted: kind._tag === "Unlisted" }
}

/** A socket that Node could not listen on, though nothing was seen against it: of a family that it does not know. */
export const notListenable = (fd: number, address: Address, reason: string): Fault =>
  fault("EPROTOTYPE", fd, `a socket that cannot be listened on (${reason})`, address)

/** A socket that was in no table, and is listening in one since it was listened on: it did not listen when it was passed. */
export const startedToListen = (fd: number, address: Address): Fault | undefined =>
  look(fd)._tag === "Listening" ? fault("EPROTOTYPE", fd, "a TCP socket that did not listen", address) : undefined

/** A socket that Node listens on, and that has no address and port. */
export const notTcp = (fd: number, address: Address): Fault => fault("EPROTOTYPE", fd, "not a TCP socket", address)
