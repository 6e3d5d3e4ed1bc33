/**
 * The errors of `@effect/platform/Error` without their schemas. The build of the program puts this module in place of that one. An
 * absent file is such an error, and a command would load all of Schema to make it.
 *
 * The fields of an error are not validated. The library uses the original module.
 */
import type * as Original from "@effect/platform/Error"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import { hasProperty } from "effect/Predicate"

export const TypeId = Symbol.for("@effect/platform/Error")

export const isPlatformError = (cause: unknown): boolean => hasProperty(cause, TypeId)

type Fields = Readonly<Record<string, unknown>>

/** Makes the base class of other errors of platform, such as those of a socket. */
export const TypeIdError = (typeId: symbol, tag: string): new(fields: Fields) => Cause.YieldableError => {
  class Base extends Data.Error<Fields> {
    readonly _tag = tag
  }
  Object.assign(Base.prototype, { [typeId]: typeId, name: tag })
  return Base
}

const after = (description: string | undefined): string =>
  description === undefined || description === "" ? "" : `: ${description}`

export class BadArgument extends Data.TaggedError("BadArgument")<
  Pick<Original.BadArgument, "module" | "method" | "description" | "cause">
> {
  readonly [TypeId] = TypeId

  override get message(): string {
    return `${this.module}.${this.method}${after(this.description)}`
  }
}

export class SystemError extends Data.TaggedError("SystemError")<
  Pick<Original.SystemError, "reason" | "module" | "method" | "description" | "syscall" | "pathOrDescriptor" | "cause">
> {
  readonly [TypeId] = TypeId

  override get message(): string {
    const file = this.pathOrDescriptor === undefined ? "" : ` (${this.pathOrDescriptor})`
    return `${this.reason}: ${this.module}.${this.method}${file}${after(this.description)}`
  }
}
