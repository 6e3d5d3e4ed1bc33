/**
 * The highest fencing token that a host has seen. A host refuses to lead with a lower one: then the lease was deleted, or restored
 * from a backup.
 *
 * @internal
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash } from "node:crypto"
import * as NodePath from "node:path"
import { describePlatformError } from "../internal/describeError.ts"

/** The highest token cannot be read or written. The message names the file and the reason. */
export class HighestTokenFailed extends Data.TaggedError("HighestTokenFailed")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/**
 * Remembers the highest token. `raise` is called with ever higher tokens, and must be durable before it ends. Default: nothing is
 * remembered beyond one process.
 */
export class HighestToken extends Context.Reference<HighestToken>()("gateway-lock/HighestToken", {
  defaultValue: (): {
    readonly read: Effect.Effect<bigint, HighestTokenFailed>
    readonly raise: (token: bigint) => Effect.Effect<void, HighestTokenFailed>
  } => ({ read: Effect.succeed(0n), raise: () => Effect.void })
}) {}

/** The file with the highest token of a lease, beside a lock file. Tokens of another store or lease are not comparable. */
export const pathBeside = (lockPath: string, location: string, name: string): string =>
  NodePath.join(
    NodePath.dirname(lockPath),
    `lease.${createHash("sha256").update(`${name}\n${location}`).digest("hex").slice(0, 8)}.token`
  )

/** Any token of a bigint column fits. */
const tokenText = /^\d{1,19}\n?$/

/** Remembers the token in a file, as a decimal number. An absent file means that no token was seen. */
export const layerFile = (path: string): Layer.Layer<never, never, FileSystem.FileSystem> =>
  Layer.effect(
    HighestToken,
    Effect.map(FileSystem.FileSystem, (fs) => {
      const draft = `${path}.new`
      return {
        read: fs.readFileString(path).pipe(
          Effect.catchIf(
            (error) => error._tag === "SystemError" && error.reason === "NotFound",
            () => Effect.succeed("0")
          ),
          Effect.mapError((error) =>
            new HighestTokenFailed({ reason: `cannot read ${path}: ${describePlatformError(error)}` })
          ),
          Effect.flatMap((text) =>
            tokenText.test(text)
              ? Effect.succeed(BigInt(text.trim()))
              : new HighestTokenFailed({
                reason: `${path} has no fencing token: expected a decimal number; remove the file to lead again`
              })
          )
        ),
        // Written beside the file and renamed, so that a crash leaves the old number or the new one, and no half of either.
        raise: (token) =>
          Effect.scoped(Effect.gen(function*() {
            const file = yield* fs.open(draft, { flag: "w", mode: 0o600 })
            yield* file.writeAll(new TextEncoder().encode(`${token}\n`))
            yield* file.sync
          })).pipe(
            Effect.zipRight(fs.rename(draft, path)),
            Effect.mapError((error) =>
              new HighestTokenFailed({ reason: `cannot write ${path}: ${describePlatformError(error)}` })
            )
          )
      }
    })
  )
