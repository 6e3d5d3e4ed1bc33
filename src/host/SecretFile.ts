/**
 * Reads a file that contains a secret, and refuses it if other users may read or change it. The errors never show the content.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { adviceFor } from "../internal/advice.ts"
import { describePlatformError } from "../internal/describeError.ts"
import { hasModeBits, octal } from "../internal/permissions.ts"
import { HostPlatform } from "./HostPlatform.ts"
import { UserId } from "./UserId.ts"

/** Why a file cannot be used as a secret. */
class SecretUnusable extends Data.TaggedError("SecretUnusable")<{ readonly reason: string }> {}

/** The content of a file with a secret, one character for each byte. */
interface SecretText {
  readonly text: string
  /** The size of the file. */
  readonly bytes: FileSystem.Size
  /** Whether the file is longer than the text may be, so that `text` is only its beginning. */
  readonly isCut: boolean
}

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
 * Reads at most `maxBytes` and one further byte, by which the caller notices a file that is too long. Symbolic links are followed.
 *
 * The file must belong to the user of this process or to root. If it belongs to this user, no other user may access it. If it
 * belongs to root, its group may read it. Windows has no mode bits, so permissions are not checked there.
 */
export const readSecret = (
  path: string,
  maxBytes: number
): Effect.Effect<SecretText, SecretUnusable, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const refuse = (reason: string) => new SecretUnusable({ reason })
    const fs = yield* FileSystem.FileSystem
    // The type is checked before the file is opened, because opening a FIFO would wait for a writer.
    const before = yield* fs.stat(path)
    if (before.type !== "File") return yield* refuse(`it is not a regular file but a ${before.type.toLowerCase()}`)
    const file = yield* fs.open(path, { flag: "r" })
    const info = yield* file.stat
    const uid = yield* Effect.flatten(UserId)
    const wrong = Option.isSome(uid) ? fault(path, uid.value, info, yield* HostPlatform) : undefined
    if (wrong !== undefined) return yield* refuse(wrong)
    const content = yield* file.readAlloc(maxBytes + 1)
    return {
      text: Option.match(content, { onNone: () => "", onSome: (bytes) => Buffer.from(bytes).toString("latin1") }),
      bytes: info.size,
      isCut: info.size > FileSystem.Size(maxBytes)
    }
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      SystemError: (error) => new SecretUnusable({ reason: describePlatformError(error) }),
      BadArgument: (error) => new SecretUnusable({ reason: describePlatformError(error) })
    })
  )
