/**
 * Reads the plainest form of an HTTP answer: a status line, headers of which one is `Content-Length`, and a body of that length.
 *
 * Gateways answer a probe in this form. To load Node's HTTP client would take a refused start as long as half of its other work. An
 * answer in any other form is left to that client. Pure.
 */
import type { Buffer } from "node:buffer"

/**
 * - `Plain`: the whole answer, in the plain form.
 * - `Incomplete`: such an answer without the end of its body.
 * - `Other`: anything else, also a head without its end.
 */
export type Parsed =
  | { readonly _tag: "Plain"; readonly status: number; readonly body: string }
  | { readonly _tag: "Incomplete" }
  | { readonly _tag: "Other" }

const incomplete: Parsed = { _tag: "Incomplete" }
const other: Parsed = { _tag: "Other" }

/** A longer head is left to Node, which refuses heads that are too long (16 KiB). */
const maxHead = 8 * 1024

/** A longer body is left to Node's client. */
const maxBody = 4 * 1024

// RFC 9112, 4 and 5. Statuses without a body, and those of more than one answer (1xx), are not plain.
const statusLine = /^HTTP\/1\.1 ((?!204|205|304)[2-5]\d\d) [\t\x20-\x7e]*$/
const header = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e]*?)[\t ]*$/

/** The length of the body. `undefined` if a line is not a header, or if a header changes how the body is read. */
const lengthOf = (lines: ReadonlyArray<string>): number | undefined => {
  let length: number | undefined
  for (const line of lines) {
    const [, name, value = ""] = header.exec(line) ?? []
    if (name === undefined) return undefined
    switch (name.toLowerCase()) {
      case "content-length":
        if (length !== undefined || !/^\d{1,5}$/.test(value)) return undefined
        length = Number(value)
        break
      case "transfer-encoding":
      case "upgrade":
        return undefined
    }
  }
  return length
}

/** Reads what has arrived of an answer. */
export const parse = (bytes: Buffer): Parsed => {
  const end = bytes.indexOf("\r\n\r\n")
  if (end < 0 || end > maxHead) return other
  const [first = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n")
  const status = statusLine.exec(first)?.[1]
  const length = lengthOf(lines)
  if (status === undefined || length === undefined || length > maxBody) return other
  const body = bytes.subarray(end + 4)
  if (body.length < length) return incomplete
  return body.length > length ? other : { _tag: "Plain", status: Number(status), body: body.toString("utf8") }
}
