/**
 * Reads the file that contains the gateway's access token.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { HostPlatform } from "../host/HostPlatform.ts"
import { UserId } from "../host/UserId.ts"
import { adviceFor } from "../internal/advice.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { hasModeBits, octal } from "../internal/permissions.ts"
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

const fault = (path: string, uid: number, info: FileSystem.File.Info, platform: string): string | undefined => {
  if (!hasModeBits(platform)) return undefined
  const advice = adviceFor(platform)
  const owner = Option.getOrElse(info.uid, () => uid)
  if (owner !== uid && owner !== 0) {
    return `it belongs to uid ${owner}, but this process runs as uid ${uid}; run: ${advice.ownFile(path, uid)}`
  }
  // If the file belongs to root, its group may read it, because Kubernetes and systemd pass secrets to a service in this way.
  const forbidden = owner === uid ? 0o077 : 0o027
  return (info.mode & forbidden) === 0
    ? undefined
    : `other users may read or change it (mode ${octal(info.mode)}); run: ${
      advice.setMode(path, owner === uid ? "600" : "640")
    }`
}

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
    const fs = yield* FileSystem.FileSystem
    // The type is checked before the file is opened, because opening a FIFO would wait for a writer.
    const before = yield* fs.stat(path)
    if (before.type !== "File") return yield* refuse(`it is not a regular file but a ${before.type.toLowerCase()}`)
    const file = yield* fs.open(path, { flag: "r" })
    const info = yield* file.stat
    const uid = yield* Effect.flatten(UserId)
    const wrong = Option.isSome(uid) ? fault(path, uid.value, info, yield* HostPlatform) : undefined
    if (wrong !== undefined) return yield* refuse(wrong)
    // This reads one byte more than the limit. Without that byte, the beginning of a file that is too long could be mistaken for
    // a token.
    const content = yield* file.readAlloc(maxBytes + 1)
    const token = AccessToken.withoutLineEnd(
      Option.match(content, { onNone: () => "", onSome: (bytes) => Buffer.from(bytes).toString("latin1") })
    )
    const wrongText = AccessToken.fault(token)
    if (Option.isSome(wrongText)) {
      return yield* refuse(
        `expected ${AccessToken.allowed}; ${
          info.size > FileSystem.Size(maxBytes) && wrongText.value.startsWith("it has")
            ? `it has ${info.size} bytes`
            : wrongText.value
        }`
      )
    }
    return Redacted.make(token)
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      SystemError: (error) => new TokenFileInvalid({ path, reason: describePlatformError(error) }),
      BadArgument: (error) => new TokenFileInvalid({ path, reason: describePlatformError(error) })
    })
  )
