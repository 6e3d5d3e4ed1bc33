/**
 * Parses the text of `/proc/net/tcp` and `/proc/net/tcp6`, the lists of TCP sockets on Linux (proc_net(5)). Pure: the caller
 * reads the files.
 *
 * @since 0.1.0
 */
import { type Address, canonical } from "../Address.ts"

/**
 * A listening socket of `/proc/net/tcp` or `/proc/net/tcp6`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListeningSocket {
  readonly host: string
  readonly port: number
  /** The inode of the socket. A link in `/proc/<pid>/fd` names the socket by this inode: `socket:[<inode>]`. */
  readonly inode: string
}

/** The state of a listening socket, `TCP_LISTEN`. */
const listening = "0A"

/** The bytes of an address. The kernel prints an address as 32-bit words, each in the byte order of the processor (`order`). */
const addressBytes = (hex: string, order: "LE" | "BE"): ReadonlyArray<number> =>
  (hex.match(/.{8}/g) ?? []).flatMap((word) => {
    const bytes = (word.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16))
    return order === "LE" ? bytes.toReversed() : bytes
  })

const hostOf = (hex: string, order: "LE" | "BE"): string | undefined => {
  const bytes = addressBytes(hex, order)
  if (bytes.length === 4) return bytes.join(".")
  const words = bytes.flatMap((byte, index) => {
    const next = bytes[index + 1]
    return index % 2 === 0 && next !== undefined ? [(byte * 256 + next).toString(16)] : []
  })
  return canonical(words.join(":"))
}

const endOf = (text: string, order: "LE" | "BE"): Address | undefined => {
  const match = /^((?:[0-9A-F]{8}){1}|(?:[0-9A-F]{8}){4}):([0-9A-F]{4})$/.exec(text)
  const host = match?.[1] === undefined ? undefined : hostOf(match[1], order)
  return host === undefined ? undefined : { host, port: Number.parseInt(match?.[2] ?? "", 16) }
}

const parseSockets = (lines: ReadonlyArray<string>, order: "LE" | "BE") =>
  lines.flatMap((line) => {
    const [, local = "", remote = "", state = "", , , , , , inode = ""] = line.trim().split(/\s+/)
    const [end, peer] = [endOf(local, order), endOf(remote, order)]
    return end === undefined || peer === undefined || !/^\d+$/.test(inode) ? [] : [{ ...end, peer, state, inode }]
  })

/**
 * Reads the listening sockets from the text of `/proc/net/tcp` or `/proc/net/tcp6`. `order` is the byte order of the processor.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseProcNet = (text: string, order: "LE" | "BE"): ReadonlyArray<ListeningSocket> =>
  // A host can have thousands of connections, so their lines are not parsed.
  parseSockets(text.split("\n").filter((line) => line.includes(` ${listening} `)), order)
    .filter(({ state }) => state === listening)
    .map(({ host, inode, port }) => ({ host, port, inode }))

/**
 * The local end of a connection in `/proc/net/tcp` or `/proc/net/tcp6`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectedSocket extends ListeningSocket {
  /** The remote end. */
  readonly peer: Address
}

/**
 * Reads the connections from the text of `/proc/net/tcp` or `/proc/net/tcp6`. The result includes recently closed connections,
 * because the kernel lists them for a while, with the inode `0`. `order` is the byte order of the processor.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseConnections = (text: string, order: "LE" | "BE"): ReadonlyArray<ConnectedSocket> =>
  parseSockets(text.split("\n"), order).filter(({ state }) => state !== listening)
    .map(({ host, inode, peer, port }) => ({ host, port, inode, peer }))
