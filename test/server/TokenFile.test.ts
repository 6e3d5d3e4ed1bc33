import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Option, Redacted } from "effect"
import { UserId } from "../../src/host/UserId.ts"
import * as AccessToken from "../../src/server/AccessToken.ts"
import * as TokenFile from "../../src/server/TokenFile.ts"
import * as SimulatedHost from "../../src/testing/SimulatedHost.ts"
import "../arbitraries.ts"
import * as arbitraries from "../arbitraries.ts"
import { makeHost, noModeBits } from "../fixtures/simulated.ts"
import { unless } from "../fixtures/skips.ts"

const path = "/token"
const token = "0123456789abcdef0123456789ABCDEF"

/**
 * The uid of the user who owns the token file and reads it, unless a test says otherwise. On a platform without mode bits, such as
 * Windows, this is root's uid, 0. There, the `chmod` below does not let another user write a file into root's folder.
 */
const us = noModeBits === undefined ? 1000 : 0

/** Writes a token file with this owner and mode, and returns the result of reading it as the user `uid`. */
const read = (content: string, { mode = 0o600, owner = us, uid = us } = {}) =>
  Effect.gen(function*() {
    const host = yield* makeHost()
    yield* host.files.chmod("/", 0o777)
    const write = Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFile(path, Buffer.from(content, "latin1"))
      yield* fs.chmod(path, mode)
    })
    yield* Effect.provide(write, host.layer({ uid: owner }))
    return yield* TokenFile.read(path).pipe(
      Effect.match({ onSuccess: Redacted.value, onFailure: ({ message }) => message }),
      Effect.provide(host.layer({ uid }))
    )
  })

const invalid = (reason: string) => `invalid token file "${path}": ${reason}`

describe("a token file", () => {
  it.effect.each(
    [
      ["as Windows has it, without a uid", Option.none<number>()],
      ["that names a uid", Option.some(7)]
    ] as const
  )("on Windows is read, whatever its mode bits are, by a process %s", ([, uid]) =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform: "win32" })
      yield* host.files.writeFile(path, Buffer.from(token))
      const found = yield* TokenFile.read(path).pipe(
        Effect.provideService(UserId, Effect.succeed(uid)),
        Effect.provide(host.layer())
      )
      assert.strictEqual(Redacted.value(found), token)
    }))

  it.effect("has the token, and perhaps one line's end", () =>
    Effect.gen(function*() {
      for (const end of ["", "\n", "\r\n"]) assert.strictEqual(yield* read(`${token}${end}`), token)
      for (
        const [end, kind] of [
          ["\n\n", "a line end (LF)"],
          [" ", "a space"],
          [" \n", "a space"],
          ["\0", "a NUL"],
          ["\n\r\n", "a line end (LF)"],
          ["\r", "a line end (CR)"],
          ["\t\r\n", "a tab"],
          ["\u001b", "a control character"],
          ["\u00c3\u00a9", "not ASCII"]
        ] as const
      ) {
        assert.strictEqual(
          yield* read(`${token}${end}`),
          invalid(`expected ${AccessToken.allowed}; character 33 is ${kind}`),
          JSON.stringify(end)
        )
      }
      assert.strictEqual(yield* read("x".repeat(1024)), "x".repeat(1024))
      for (
        const [content, why] of [
          ["x".repeat(1025), "it has 1025"],
          ["x".repeat(5000), "it has 5000 bytes"],
          ["x".repeat(31), "it has 31"],
          ["", "it is empty"],
          ["\n", "it is empty"],
          [`\u00ef\u00bb\u00bf${token}`, "it begins with a byte order mark (UTF-8); save it without one"]
        ] as const
      ) {
        assert.strictEqual(yield* read(content), invalid(`expected ${AccessToken.allowed}; ${why}`))
      }
      const little = Buffer.from(`${token}\r\n`, "utf16le")
      const big = Buffer.from(little).swap16()
      for (const [mark, bytes] of [["\u00ff\u00fe", little], ["\u00fe\u00ff", big], ["", little], ["", big]] as const) {
        assert.strictEqual(
          yield* read(`${mark}${bytes.toString("latin1")}`),
          invalid(`expected ${AccessToken.allowed}; it is UTF-16; save it as ASCII`)
        )
      }
    }))

  unless(noModeBits).effect("is for our eyes, or root's for its group's", () =>
    Effect.gen(function*() {
      for (const mode of [0o400, 0o600, 0o700]) assert.strictEqual(yield* read(token, { mode }), token)
      for (const mode of [0o640, 0o604, 0o620, 0o602, 0o610, 0o601]) {
        assert.strictEqual(
          yield* read(token, { mode }),
          invalid(`other users may read or change it (mode 0${mode.toString(8)}); run: chmod 600 ${path}`)
        )
      }
      assert.strictEqual(
        yield* read(token, { owner: 0, mode: 0o644 }),
        invalid(`other users may read or change it (mode 0644); run: chmod 640 ${path}`)
      )
      assert.strictEqual(
        yield* read(token, { owner: 1001, mode: 0o644 }),
        invalid(`it belongs to uid 1001, but this process runs as uid 1000; run: chown 1000 ${path}`)
      )
      assert.strictEqual(
        yield* read(token, { owner: 1000, uid: 0 }),
        invalid(`it belongs to uid 1000, but this process runs as uid 0; run: chown 0 ${path}`)
      )
      assert.match(yield* read(token, { mode: 0o200 }), /EACCES/)
    }))

  it.effect.prop(
    "of any content is a token or one line that does not show it",
    [
      fc.oneof(
        fc.string({ unit: arbitraries.character, minLength: 12, maxLength: 80 }),
        fc.constant(`${token} ${token}`)
      )
    ],
    ([content]) =>
      Effect.map(
        read(content),
        (result) =>
          AccessToken.isValid(result) || (/^invalid token file [^\n]+$/.test(result) && !result.includes(content))
      )
  )
})
