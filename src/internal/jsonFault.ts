/**
 * Finds the first place at which a text is not JSON (RFC 8259). `JSON.parse` is not suitable for that. Its error does not always
 * name the place, and quotes the text at that place, which may be a secret.
 */

/**
 * The place of a fault, and the syntax that JSON allows there. Lines and columns count from 1. A column is a count of characters.
 */
export interface JsonFault {
  readonly line: number
  readonly column: number
  readonly expected: string
}

class Fault {
  readonly at: number
  readonly expected: string
  constructor(at: number, expected: string) {
    this.at = at
    this.expected = expected
  }
}

const stringPart = /(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/uy
const numberPart = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const space = /[ \t\n\r]*/y

const matchAt = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0].length ?? 0
}

const skip = (text: string, at: number): number => at + matchAt(space, text, at)

/** The index after a string whose opening quote is at `at`. */
const afterString = (text: string, at: number): number => {
  const end = at + 1 + matchAt(stringPart, text, at + 1)
  if (text[end] === "\"") return end + 1
  throw new Fault(end, text[end] === "\\" ? "an escape sequence of JSON" : "the end of the string (\")")
}

/**
 * Finds the first fault. The function keeps its own stack (`open`) instead of calling itself, so that deep nesting does not
 * overflow the call stack.
 */
const findFault = (text: string): Fault | undefined => {
  const open: Array<"{" | "["> = []
  let at = skip(text, 0)
  /**
   * The syntax that is expected at `at`. `first value` also allows the end of an array, and `first name` also allows the end of
   * an object. `after` is the place after a value.
   */
  let next: "value" | "first value" | "name" | "first name" | "after" = "value"
  try {
    while (true) {
      at = skip(text, at)
      const here = text[at]
      if (next === "after") {
        const inside = open.at(-1)
        if (inside === undefined) return here === undefined ? undefined : new Fault(at, "the end of the file")
        if (here === (inside === "{" ? "}" : "]")) open.pop()
        else if (here === ",") next = inside === "{" ? "name" : "value"
        else return new Fault(at, inside === "{" ? "\",\" or \"}\"" : "\",\" or \"]\"")
        at += 1
      } else if (next === "first name" && here === "}") {
        open.pop()
        at += 1
        next = "after"
      } else if (next === "name" || next === "first name") {
        if (here !== "\"") {
          return new Fault(at, next === "name" ? "a name in double quotes" : "a name in double quotes, or \"}\"")
        }
        at = skip(text, afterString(text, at))
        if (text[at] !== ":") return new Fault(at, "\":\"")
        at += 1
        next = "value"
      } else if (next === "first value" && here === "]") {
        open.pop()
        at += 1
        next = "after"
      } else if (here === "{" || here === "[") {
        open.push(here)
        at += 1
        next = here === "{" ? "first name" : "first value"
      } else {
        if (here === "\"") {
          at = afterString(text, at)
        } else {
          const word = ["true", "false", "null"].find((word) => text.startsWith(word, at))
          const length = word?.length ?? matchAt(numberPart, text, at)
          if (length === 0) return new Fault(at, next === "value" ? "a value" : "a value, or \"]\"")
          at += length
        }
        next = "after"
      }
    }
  } catch (fault) {
    if (fault instanceof Fault) return fault
    throw fault
  }
}

/** The first place at which a text is not JSON. `undefined` if the whole text is JSON. Pure. */
export const jsonFault = (text: string): JsonFault | undefined => {
  const fault = findFault(text)
  if (fault === undefined) return undefined
  const lines = text.slice(0, fault.at).split(/\r\n|\n|\r/)
  return { line: lines.length, column: [...(lines.at(-1) ?? "")].length + 1, expected: fault.expected }
}
