import { BadArgument, SystemError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { constants } from "node:os"
import { codeOf, errnoOf, nameErrno } from "../../src/internal/errno.ts"

const thrownBy = (use: () => unknown): unknown => {
  try {
    return use()
  } catch (cause) {
    return cause
  }
}

const systemError = (description?: string) =>
  new SystemError({
    module: "FileSystem",
    method: "open",
    reason: "Unknown",
    pathOrDescriptor: "/tmp/a",
    ...(description === undefined ? {} : { description })
  })

describe("errno names", () => {
  it("codeOf reads the code of what Node throws, and \"\" for everything else", () => {
    assert.strictEqual(codeOf(thrownBy(() => readFileSync("/nothing/there"))), "ENOENT")
    assert.strictEqual(codeOf(thrownBy(() => process.kill(-1.5, 0))), "ERR_INVALID_ARG_TYPE")
    for (const none of [new Error("no code"), { code: 2 }, "ENOENT", null, undefined]) {
      assert.strictEqual(codeOf(none), "")
    }
  })

  it("a number that libuv has no name for gets the system's name", () => {
    const number = constants.errno.EDQUOT
    assert.strictEqual(codeOf({ code: `Unknown system error -${number}` }), "EDQUOT")
    assert.strictEqual(nameErrno(`Unknown system error -${number}: x`), "EDQUOT: x")
    assert.strictEqual(nameErrno("Unknown system error -99999"), "Unknown system error -99999")
  })

  it("errnoOf reads the name with which a description begins, and nothing further on in it", () => {
    assert.strictEqual(errnoOf(systemError("ENOTDIR: not a directory, open '/tmp/a/b'")), "ENOTDIR")
    const number = constants.errno.EDQUOT
    assert.strictEqual(errnoOf(systemError(`Unknown system error -${number}: write`)), "EDQUOT")
    assert.strictEqual(errnoOf(systemError("cannot open '/srv/ENOTDIR: x'")), "")
    assert.strictEqual(errnoOf(systemError()), "")
    assert.strictEqual(errnoOf(new BadArgument({ module: "FileSystem", method: "open" })), "")
  })
})
