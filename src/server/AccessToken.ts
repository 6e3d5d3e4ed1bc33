/**
 * The secret that a client shows, and where it shows it. Pure.
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
 * What a token may be, in words.
 *
 * @internal
 */
export const allowed = `${minLength} to ${maxLength} printable ASCII characters without spaces`

/**
 * Whether a text may be a token: printable ASCII without spaces, 32 to 1,024 characters.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isValid = (text: string): boolean =>
  text.length >= minLength && text.length <= maxLength && /^[!-~]+$/.test(text)

/**
 * A text without one line end after it, such as an editor or `echo` leaves.
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

/** As bytes, read one character each, and as text that was decoded. */
const byteOrderMark = /^(?:\u00EF\u00BB\u00BF|\uFEFF)/
const utf16 = /^(?:\u00FF\u00FE|\u00FE\u00FF|\uFFFD\uFFFD|\0[!-~]|[!-~]\0)/

/**
 * Why a text is no token: the kind of character and its place, or its length. Nothing of the text itself is shown. `None` for a
 * token.
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
 * What our own clients ask for beside the token, and the only one of both that is answered.
 *
 * @since 0.1.0
 * @category constants
 */
export const subprotocol = "gateway"

/**
 * What stands before the token, in base64url (RFC 4648, 5), in the name of a subprotocol.
 *
 * @since 0.1.0
 * @category constants
 */
export const subprotocolPrefix = "gateway-token."

/**
 * The subprotocols by which a browser, which cannot set headers, shows a token: `new WebSocket(url, subprotocols(token))`.
 * One line end after the token is ignored.
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
 * The subprotocols that a client offers (RFC 6455, 4.1), in its order.
 *
 * @internal
 */
export const offered = (header: string | undefined): ReadonlyArray<string> =>
  (header ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "")

/** RFC 9110, 11.1: the scheme in any case. */
const bearer = /^Bearer +([!-~]+)$/i

/**
 * What a request shows as its token: by `Authorization: Bearer`, which decides where it is sent, or as a subprotocol.
 *
 * `None` where it shows none, or more than one.
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
  // More than one is a guess.
  return carriers.length === 1
    ? Option.some(Buffer.from(carriers.join("").slice(subprotocolPrefix.length), "base64url").toString("latin1"))
    : Option.none()
}

const digest = (text: string): Buffer => createHash("sha256").update(text, "latin1").digest()

/**
 * Whether a request shows the token. Takes as long for any wrong one of a length: digests are compared, and those in
 * constant time.
 *
 * @internal
 */
export const matcher = (
  token: Redacted.Redacted
): (headers: Parameters<typeof shown>[0]) => boolean => {
  const expected = digest(withoutLineEnd(Redacted.value(token)))
  return (headers) => Option.exists(shown(headers), (text) => timingSafeEqual(digest(text), expected))
}
