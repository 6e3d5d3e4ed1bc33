/**
 * Turns the errors of the library into errors without types of Effect, each with its report.
 */
import * as Schema from "effect/Schema"
import * as Errors from "../GatewayLockError.ts"
import type * as Public from "./types.ts"

/** The errors that `acquire` and a held lock raise. The program binds the port itself, so `BindFailed` is not among them. */
const raised = [
  Errors.PortInUse,
  Errors.LockHeld,
  Errors.LockUnavailable,
  Errors.LockLost,
  Errors.OwnerHealthy,
  Errors.OwnerUnhealthy
] as const

export type Raised = InstanceType<typeof raised[number]>

const encode = Schema.encodeSync(Schema.Union(
  Errors.schemas.PortInUse,
  Errors.schemas.LockHeld,
  Errors.schemas.LockUnavailable,
  Errors.schemas.LockLost,
  Errors.schemas.OwnerHealthy,
  Errors.schemas.OwnerUnhealthy
))

/** The fields of an error as JSON has them. Its cause becomes the cause of the new error. */
const fieldsOf = (error: Raised) => {
  const { cause: _, ...fields } = { cause: undefined, ...encode(error) }
  return fields
}

/** The lines of a stack that name the callers, each after a line end. */
const framesOf = (stack: string | undefined): string => {
  const at = stack?.search(/^ {4}at /m) ?? -1
  return stack === undefined || at < 0 ? "" : `\n${stack.slice(at)}`
}

/** Defines a property that `console.log` and `JSON.stringify` leave out. */
const hidden = (value: string) => ({ value, configurable: true, writable: true, enumerable: false })

class GatewayLockError extends Error {
  declare readonly name: "GatewayLockError"
  declare readonly report: string

  constructor(error: Raised, report: string, stack: string | undefined) {
    super(error.message, "cause" in error && error.cause !== undefined ? { cause: error.cause } : {})
    Object.defineProperties(this, {
      report: hidden(report),
      // Node prints the stack of an error that no code has caught. So the person at the terminal sees the report.
      stack: hidden(`${report}${framesOf(stack)}`)
    })
  }
}
Object.defineProperty(GatewayLockError.prototype, "name", hidden("GatewayLockError"))

/** Makes the error that the program gets. `stack` is the stack of the call of `acquire`. */
export const plain = (error: Raised, report: string, stack: string | undefined): Public.GatewayLockError =>
  Object.assign(new GatewayLockError(error, report, stack), fieldsOf(error))

const tags: Readonly<Record<Public.GatewayLockError["_tag"], true>> = {
  PortInUse: true,
  LockHeld: true,
  LockUnavailable: true,
  LockLost: true,
  OwnerHealthy: true,
  OwnerUnhealthy: true
}

/**
 * Whether a value is one of these errors. Looks at the fields and not at the class, because a program can contain two copies of this
 * library. For example, one copy is in a bundle, or a module was replaced while the program runs.
 */
export const isGatewayLockError = (value: unknown): value is Public.GatewayLockError =>
  typeof value === "object" && value !== null
  && "_tag" in value && typeof value._tag === "string" && Object.hasOwn(tags, value._tag)
  && "report" in value && typeof value.report === "string"

/** Whether a failure of an effect is one that the program gets as an error with a report. */
export const isRaised = (failure: unknown): failure is Raised => raised.some((error) => failure instanceof error)
