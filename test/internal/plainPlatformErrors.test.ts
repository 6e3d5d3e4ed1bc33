/** The program's errors of files must not differ from those of the library in anything that a caller or a reader sees. */
import * as Original from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, FastCheck as fc, Predicate } from "effect"
import * as Plain from "../../src/internal/plainPlatformErrors.ts"

const { constantFrom, option, record, string } = fc
const text = option(string(), { nil: undefined })
const modules = Original.Module.literals
const reasons = Original.SystemErrorReason.literals
const cause = new Error("the cause")

const systemError = record({
  module: constantFrom(...modules),
  reason: constantFrom(...reasons),
  method: string(),
  description: text,
  syscall: text,
  pathOrDescriptor: option(fc.oneof(string(), fc.nat()), { nil: undefined }),
  cause: constantFrom(undefined, cause, "a text")
})
const badArgument = record({
  module: constantFrom(...modules),
  method: string(),
  description: text,
  cause: constantFrom(undefined, cause)
})

const seen = (error: Original.PlatformError | Plain.BadArgument | Plain.SystemError) => ({
  tag: error._tag,
  name: error.name,
  message: error.message,
  text: String(error),
  cause: error.cause,
  json: JSON.parse(JSON.stringify(error)),
  keys: Object.keys(error).toSorted(),
  isError: error instanceof Error,
  isPlatformError: Original.isPlatformError(error) && Plain.isPlatformError(error),
  marker: Predicate.hasProperty(error, Original.TypeId) && error[Original.TypeId],
  pretty: Cause.pretty(Cause.fail(error)).split("\n", 1)
})

describe("the program's errors of platform", () => {
  it.prop("SystemError is as the original", [systemError], ([fields]) => {
    assert.deepStrictEqual(seen(new Plain.SystemError(fields)), seen(new Original.SystemError(fields)))
    assert.isTrue(Equal.equals(new Plain.SystemError(fields), new Plain.SystemError(fields)))
  })

  it.prop("BadArgument is as the original", [badArgument], ([fields]) => {
    assert.deepStrictEqual(seen(new Plain.BadArgument(fields)), seen(new Original.BadArgument(fields)))
  })

  it.prop(
    "an error of another module of platform is as the original",
    [string(), string(), text],
    ([tag, message, note]) => {
      const typeId = Symbol.for("test/errors")
      class Theirs extends Original.TypeIdError(typeId, tag)<{ readonly note: typeof note }> {
        override get message(): string {
          return message
        }
      }
      class Ours extends Plain.TypeIdError(typeId, tag) {
        override get message(): string {
          return message
        }
      }
      const [theirs, ours] = [new Theirs({ note }), new Ours({ note })].map((error) => ({
        tag: Predicate.hasProperty(error, "_tag") && error._tag,
        name: error.name,
        text: String(error),
        json: JSON.parse(JSON.stringify(error)),
        keys: Object.keys(error).toSorted(),
        marker: Predicate.hasProperty(error, typeId) && error[typeId] === typeId,
        isError: error instanceof Error,
        isPlatformError: Original.isPlatformError(error) || Plain.isPlatformError(error),
        pretty: Cause.pretty(Cause.fail(error)).split("\n", 1),
        isYielded: Effect.runSync(Effect.flip(error)) === error
      }))
      assert.deepStrictEqual(ours, theirs)
    }
  )

  it.effect("are caught by their tags, and can be yielded", () =>
    Effect.gen(function*() {
      const failing = Effect.gen(function*() {
        return yield* new Plain.SystemError({ module: "FileSystem", method: "stat", reason: "NotFound" })
      })
      assert.strictEqual(
        yield* Effect.catchTag(failing, "SystemError", ({ reason }) => Effect.succeed(reason)),
        "NotFound"
      )
    }))
})
