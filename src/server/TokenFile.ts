/**
 * Reads the file that contains the gateway's access token.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { readSecret } from "../host/SecretFile.ts"
import { printable } from "../internal/printable.ts"
import * as AccessToken from "./AccessToken.ts"

/**
 * A token file cannot be used: it is unreadable, belongs to another user, is open to other users, or does not hold a token.
 * The error never shows the content of the file.
 *
 * @since 0.1.0
 * @category errors
 */
export class TokenFileInvalid extends Data.TaggedError("TokenFileInvalid")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return printable(`invalid token file ${JSON.stringify(this.path)}: ${this.reason}`)
  }
}

/** The size in bytes of the longest token with a line end (CR LF). */
const maxBytes = AccessToken.maxLength + 2

/**
 * Reads a token from a file. One trailing line end is ignored, and symbolic links are followed.
 *
 * The file must belong to the user of this process or to root. If it belongs to this user, no other user may access it. If it
 * belongs to root, its group may read it. Windows has no mode bits, so permissions are not checked there.
 *
 * Fails with `TokenFileInvalid`.
 *
 * @example
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Gateway, Server } from "gateway-lock"
 *
 * const Main = Layer.unwrapEffect(
 *   Effect.map(Server.TokenFile.read("/run/secrets/gateway-token"), (token) => Gateway.layer({ host: "0.0.0.0", token }))
 * ).pipe(Layer.provide(NodeContext.layer))
 *
 * @since 0.1.0
 * @category reading
 */
export const read = (
  path: string
): Effect.Effect<Redacted.Redacted, TokenFileInvalid, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const refuse = (reason: string) => new TokenFileInvalid({ path, reason })
    const content = yield* Effect.mapError(readSecret(path, maxBytes), ({ reason }) => refuse(reason))
    const token = AccessToken.withoutLineEnd(content.text)
    const wrongText = AccessToken.fault(token)
    if (Option.isSome(wrongText)) {
      return yield* refuse(
        `expected ${AccessToken.allowed}; ${
          content.isCut && wrongText.value.startsWith("it has") ? `it has ${content.bytes} bytes` : wrongText.value
        }`
      )
    }
    return Redacted.make(token)
  })
