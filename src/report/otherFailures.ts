/**
 * Formats failures that are not a `GatewayLockError` as JSON. Pure.
 */
import { jsonLine } from "./jsonLine.ts"

/** Formats a failure, such as wrong usage of the command line, as one line of JSON with the fields of the error. */
export const otherToJson = (error: { readonly message: string }, nowMillis: number): string => {
  const { cause: _cause, name: _name, stack: _stack, ...fields } = Object.fromEntries(Object.entries(error))
  const help = "help" in error && typeof error.help === "string" ? { next: { help: error.help } } : {}
  return jsonLine(nowMillis, "ERROR", error.message, {
    name: "_tag" in error ? error._tag : "Error",
    error: fields,
    ...help
  })
}

/** Formats a bug (a defect) as one line of JSON with the whole cause. */
export const defectToJson = (cause: string, nowMillis: number): string =>
  jsonLine(nowMillis, "FATAL", cause.split("\n", 1)[0] ?? "", { name: "Defect", cause })
