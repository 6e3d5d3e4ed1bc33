/**
 * Checks a descriptor that a supervisor passed. A gateway serves only on a TCP socket that listens. It refuses any other
 * descriptor, and the error says what that descriptor is.
 *
 * Node alone does not detect every wrong descriptor (`createServerHandle` in lib/net.js). It serves HTTP on a Unix socket, whose
 * address is `null`. If a TCP socket does not listen, Node makes it listen; if that socket has no port, the kernel picks one. For
 * every other descriptor, Node fails with `EINVAL`, which does not say what the descriptor is. If the parent process passed
 * nothing, the descriptor's number may belong to a file that Node opened for itself. On Linux, `/proc` tells what a descriptor is.
 */
import * as Fs from "node:fs"
import { type Address, urlHost } from "../../Address.ts"

/** Why a descriptor cannot be served. */
export interface Fault {
  /** The errno name that fits the reason. */
  readonly code: "EBADF" | "ENOTSOCK" | "EPROTOTYPE"
  readonly reason: string
}

/** The tables in `/proc/net` that list the sockets of a network namespace by inode. */
export interface SocketTables {
  /** `/proc/net/tcp` and `/proc/net/tcp6`. */
  readonly tcp: string
  /** `/proc/net/udp` and `/proc/net/udp6`. */
  readonly udp: string
  /** `/proc/net/unix`. */
  readonly unix: string
}

const words = (line: string): ReadonlyArray<string> => line.trim().split(/\s+/)

/** Finds the line of a table that has the inode in the given column, and returns the fields of that line. */
const lineWith = (table: string, column: number, inode: string): ReadonlyArray<string> | undefined => {
  for (const line of table.split("\n")) {
    // A table can have a hundred thousand lines, so only lines that contain the inode are split.
    if (!line.includes(inode)) continue
    const found = words(line)
    if (found[column] === inode) return found
  }
  return undefined
}

/** The state `TCP_LISTEN` in `/proc/net/tcp`. */
const listening = "0A"

const unixTypes: Readonly<Record<string, string>> = {
  "0001": "stream",
  "0002": "datagram",
  "0005": "sequential-packet"
}

/**
 * What a descriptor is:
 *
 * - `Listening`: a TCP socket that listens.
 * - `Other`: something else, described by `what`.
 * - `Unlisted`: no table lists it. This can be a TCP socket that is neither bound nor connected. It can also be a socket of
 *   another network namespace; systemd passes such a socket to a service that has `PrivateNetwork=`.
 */
export type Kind =
  | { readonly _tag: "Listening" }
  | { readonly _tag: "Other"; readonly what: string }
  | { readonly _tag: "Unlisted" }

/** Looks up in the tables what kind of socket has the given inode. Pure. */
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

/**
 * The target of the descriptor's link in `/proc/self/fd`: `socket:[<inode>]`, or a path. `undefined` on a machine without
 * `/proc`.
 */
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

/** The result of `inspect`. */
export interface Seen {
  /** Why the descriptor cannot be served; `undefined` if no reason was found. */
  readonly fault: Fault | undefined
  /** Whether no table lists the socket. Such a socket is looked up again after the gateway listens on it (`startedToListen`). */
  readonly isUnlisted: boolean
}

/** Inspects a descriptor that was passed for `address`, before the gateway listens on it. Changes nothing. */
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

/**
 * Makes the fault for a socket on which Node cannot listen, because Node does not know the family of the socket. `inspect` finds
 * no fault in such a socket.
 */
export const notListenable = (fd: number, address: Address, reason: string): Fault =>
  fault("EPROTOTYPE", fd, `a socket that cannot be listened on (${reason})`, address)

/**
 * Looks up a socket again after the gateway has begun to listen on it. Before, no table listed the socket. If a table lists it now
 * as a listening TCP socket, the socket did not listen when it was passed. That is a fault. A socket of another network namespace
 * is in no table even now, so the result is `undefined`.
 */
export const startedToListen = (fd: number, address: Address): Fault | undefined =>
  look(fd)._tag === "Listening" ? fault("EPROTOTYPE", fd, "a TCP socket that did not listen", address) : undefined

/** Makes the fault for a socket on which Node listens, but which has no address and port. */
export const notTcp = (fd: number, address: Address): Fault => fault("EPROTOTYPE", fd, "not a TCP socket", address)
