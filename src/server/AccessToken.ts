/**
 * The access token: which texts are valid, and how a request carries it. Pure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash, timingSafeEqual } from "node:crypto"

/**
 * The shortest token, in characters.
 *
 * @since 0.1.0
 * @category constants
 */
export const minLength = 32

/**
 * The longest token, in characters.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLength = 1024

/**
 * The format of a token, as text for errors and help.
 *
 * @internal
 */
export const allowed = `${minLength} to ${maxLength} printable ASCII characters without spaces`

/**
 * Whether a text is a valid token: 32 to 1,024 printable ASCII characters without spaces.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isValid = (text: string): boolean =>
  text.length >= minLength && text.length <= maxLength && /^[!-~]+$/.test(text)

/**
 * Removes one trailing line end, because an editor or `echo` may have appended it.
 *
 * @internal
 */
export const withoutLineEnd = (text: string): string => text.replace(/\r?\n$/, "")

const names: Readonly<Record<string, string>> = {
  "\0": "a NUL",
  "\t": "a tab",
  "\n": "a line end (LF)",
  "\r": "a line end (CR)",
  " ": "a space"
}

const nameOf = (character: string): string =>
  names[character] ?? (/\p{Cc}/u.test(character) && character < "\u0080" ? "a control character" : "not ASCII")

/** The byte order mark of UTF-8. Text read as Latin-1 has it as three characters, and text read as UTF-8 has it as U+FEFF. */
const byteOrderMark = /^(?:\u00EF\u00BB\u00BF|\uFEFF)/
/**
 * Text in UTF-16 that was read in another encoding. It begins with a byte order mark, which is two characters if the text was
 * read as Latin-1, and two U+FFFD if it was read as UTF-8. Without such a mark, one of its first two characters is a NUL.
 */
const utf16 = /^(?:\u00FF\u00FE|\u00FE\u00FF|\uFFFD\uFFFD|\0[!-~]|[!-~]\0)/

/**
 * Explains why a text is not a valid token: names the first wrong character by kind and position, or gives the length if the
 * length is wrong. The explanation contains nothing of the text itself, which may be a secret. `None` for a valid token.
 *
 * @internal
 */
export const fault = (text: string): Option.Option<string> => {
  if (isValid(text)) return Option.none()
  if (text === "") return Option.some("it is empty")
  if (utf16.test(text)) return Option.some("it is UTF-16; save it as ASCII")
  if (byteOrderMark.test(text)) {
    return Option.some("it begins with a byte order mark (UTF-8); save it without one")
  }
  const characters = [...text]
  const at = characters.findIndex((character) => !/^[!-~]$/.test(character))
  return Option.some(
    at === -1 ? `it has ${characters.length}` : `character ${at + 1} is ${nameOf(characters[at] ?? "")}`
  )
}

/**
 * The WebSocket subprotocol that a client offers in addition to the subprotocol that carries the token. The gateway's answer
 * names the subprotocol that the gateway selects. The gateway selects `gateway`, so that the answer does not repeat the token.
 *
 * @since 0.1.0
 * @category constants
 */
export const subprotocol = "gateway"

/**
 * The prefix of a WebSocket subprotocol that carries the token. The token follows in base64url (RFC 4648, 5).
 *
 * @since 0.1.0
 * @category constants
 */
export const subprotocolPrefix = "gateway-token."

/**
 * Encodes a token as subprotocols: `new WebSocket(url, subprotocols(token))`. Browsers need this, because they cannot set the
 * headers of a WebSocket request. One trailing line end of the token is ignored.
 *
 * @example
 * import { Socket } from "@effect/platform"
 * import { Config, Effect } from "effect"
 * import { Server } from "gateway-lock"
 *
 * const socket = Effect.flatMap(Config.redacted("GATEWAY_TOKEN"), (token) =>
 *   Socket.makeWebSocket("ws://127.0.0.1:18789", { protocols: [...Server.AccessToken.subprotocols(token)] }))
 *
 * @since 0.1.0
 * @category encoding
 */
export const subprotocols = (token: Redacted.Redacted): readonly [string, string] => [
  subprotocol,
  `${subprotocolPrefix}${Buffer.from(withoutLineEnd(Redacted.value(token))).toString("base64url")}`
]

/**
 * Reads the subprotocols that a client offers (RFC 6455, 4.1), in the client's order.
 *
 * @internal
 */
export const offered = (header: string | undefined): ReadonlyArray<string> =>
  (header ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "")

/** The value of an `Authorization` header with a token. The name of the scheme is case-insensitive (RFC 9110, 11.1). */
const bearer = /^Bearer +([!-~]+)$/i

/**
 * Reads the token of a request from `Authorization: Bearer` or, only if that header is absent, from a subprotocol.
 *
 * `None` if the request carries no token, or carries several as subprotocols.
 *
 * @internal
 */
export const shown = (
  headers: { readonly [name: string]: string | ReadonlyArray<string> | undefined }
): Option.Option<string> => {
  const { authorization, "sec-websocket-protocol": protocols } = headers
  if (authorization !== undefined) {
    return Option.fromNullable(typeof authorization === "string" ? bearer.exec(authorization)?.[1] : undefined)
  }
  const carriers = offered(typeof protocols === "string" ? protocols : undefined)
    .filter((name) => name.startsWith(subprotocolPrefix))
  // With several tokens, the gateway would have to guess which one counts, so it accepts none of them.
  return carriers.length === 1
    ? Option.some(Buffer.from(carriers.join("").slice(subprotocolPrefix.length), "base64url").toString("latin1"))
    : Option.none()
}

const digest = (text: string): Buffer => createHash("sha256").update(text, "latin1").digest()

/**
 * Makes a function that tells whether a request carries the token. The function compares SHA-256 digests in constant time. Its
 * duration depends on the length of the text that a request carries, but not on how many characters of that text are right.
 *
 * @internal
 */
export const matcher = (
  token: Redacted.Redacted
): (headers: Parameters<typeof shown>[0]) => boolean => {
  const expected = digest(withoutLineEnd(Redacted.value(token)))
  return (headers) => Option.exists(shown(headers), (text) => timingSafeEqual(digest(text), expected))
}
