/**
 * Finds the heads of the WebSocket frames in a stream of bytes (RFC 6455, 5.2). The stream can arrive in chunks of any size.
 * Payloads are skipped. Nothing is validated, because `ws` validates the same bytes. Pure.
 *
 * This module is needed, because `ws` (8.23.0; lib/receiver.js) reports only messages, pings and pongs. It does not report
 * fragments and empty continuation frames. So a count of its events would miss most of the frames that a client can send.
 */

/** The state between two chunks: the bytes of an incomplete head, and how many bytes to skip before the next head. */
export interface Position {
  readonly head: ReadonlyArray<number>
  readonly skip: number
}

/** The state before the first byte. */
export const start: Position = { head: [], skip: 0 }

/** How many bytes of extended length follow the first two bytes of a head: 0, 2 or 8. */
const extendedLength = (second: number): number => {
  const short = second & 0x7f
  return short === 126 ? 2 : short === 127 ? 8 : 0
}

/**
 * The size of masking key and payload together, in bytes. Above 2^53, the size is inexact. This does no harm, because `ws` closes
 * a socket that receives such a large frame.
 */
const bodyLength = (head: ReadonlyArray<number>): number => {
  const [, second = 0, ...extended] = head
  const payload = extended.length === 0 ? second & 0x7f : extended.reduce((length, byte) => length * 256 + byte, 0)
  return payload + ((second & 0x80) === 0 ? 0 : 4)
}

/** Reads a chunk. Returns the opcodes of the frames that begin in this chunk, in order, and the state after the chunk. */
export const advance = (
  position: Position,
  bytes: Uint8Array
): { readonly position: Position; readonly opcodes: ReadonlyArray<number> } => {
  const opcodes: Array<number> = []
  let head = [...position.head]
  let { skip } = position
  let at = 0
  while (at < bytes.length) {
    const skipped = Math.min(skip, bytes.length - at)
    skip -= skipped
    at += skipped
    const byte = bytes[at]
    if (byte === undefined) break
    at += 1
    if (head.length === 0) opcodes.push(byte & 0x0f)
    head.push(byte)
    const [, second] = head
    if (second !== undefined && head.length === 2 + extendedLength(second)) {
      skip = bodyLength(head)
      head = []
    }
  }
  return { position: { head, skip }, opcodes }
}
