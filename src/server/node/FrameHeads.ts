/**
 * The heads of the WebSocket frames in a stream of bytes (RFC 6455, 5.2), in whatever chunks they arrive. Payloads are
 * skipped, and nothing is checked: a WebSocket library does that. Pure.
 *
 * ws reports messages, pings and pongs. It does not report fragments and empty continuation frames, so that a count of its
 * events misses most of what a client can send.
 */

/** Between two chunks of a stream: the bytes of a head that is not complete, and how many bytes to skip before the next head. */
export interface Position {
  readonly head: ReadonlyArray<number>
  readonly skip: number
}

/** Before the first byte. */
export const start: Position = { head: [], skip: 0 }

/** Bytes of the length that follow a head's first two (0, 2 or 8). */
const extendedLength = (second: number): number => {
  const short = second & 0x7f
  return short === 126 ? 2 : short === 127 ? 8 : 0
}

/** Masking key and payload, in bytes. Lengths above 2^53 lose precision: ws closes such a socket. */
const bodyLength = (head: ReadonlyArray<number>): number => {
  const [, second = 0, ...extended] = head
  const payload = extended.length === 0 ? second & 0x7f : extended.reduce((length, byte) => length * 256 + byte, 0)
  return payload + ((second & 0x80) === 0 ? 0 : 4)
}

/** The opcodes of the frames whose first byte is among these bytes, in order, and where the stream is after them. */
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
