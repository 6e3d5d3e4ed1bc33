/**
 * The TCP sockets of Linux, from `/proc/net/tcp` and `/proc/net/tcp6` (proc_net(5)). Pure.
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
  /** What `/proc/<pid>/fd` names it by: `socket:[<inode>]`. */
  readonly inode: string
}

/** The state of a listening socket, `TCP_LISTEN`. */
const listening = "0A"

/** The bytes of an address: 32-bit words, each as this processor has it in memory. */
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

const parseSockets = (text: string, order: "LE" | "BE") =>
  text.split("\n").flatMap((line) => {
    const [, local = "", remote = "", state = "", , , , , , inode = ""] = line.trim().split(/\s+/)
    const [end, peer] = [endOf(local, order), endOf(remote, order)]
    return end === undefined || peer === undefined || !/^\d+$/.test(inode) ? [] : [{ ...end, peer, state, inode }]
  })

/**
 * The listening sockets of `/proc/net/tcp` or `/proc/net/tcp6`. Lines that are no such thing are passed over.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseProcNet = (text: string, order: "LE" | "BE"): ReadonlyArray<ListeningSocket> =>
  parseSockets(text, order).filter(({ state }) => state === listening)
    .map(({ host, inode, port }) => ({ host, port, inode }))

/**
 * One end of a connection, of `/proc/net/tcp` or `/proc/net/tcp6`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectedSocket extends ListeningSocket {
  /** The other end. */
  readonly peer: Address
}

/**
 * The connections of `/proc/net/tcp` or `/proc/net/tcp6`, those included that have ended and that the kernel keeps a while:
 * their inode is `0`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseConnections = (text: string, order: "LE" | "BE"): ReadonlyArray<ConnectedSocket> =>
  parseSockets(text, order).filter(({ state }) => state !== listening)
    .map(({ host, inode, peer, port }) => ({ host, port, inode, peer }))
