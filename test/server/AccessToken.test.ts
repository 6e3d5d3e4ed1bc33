import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option, Redacted } from "effect"
import * as AccessToken from "../../src/server/AccessToken.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const printable = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code))
const token = fc.string({ unit: printable, minLength: 32, maxLength: 100 })

describe("a token", () => {
  it.prop("is 32 to 1,024 printable characters of ASCII without spaces", [
    fc.string({ unit: arbitraries.character }),
    token
  ], ([
    text,
    token
  ]) => {
    assert.isTrue(AccessToken.isValid(token))
    assert.strictEqual(AccessToken.isValid(text), /^[\x21-\x7e]{32,1024}$/.test(text))
    assert.isFalse(AccessToken.isValid(token.slice(0, 31)))
    assert.isFalse(AccessToken.isValid(`${token.slice(1)} ${token}`))
    assert.isFalse(AccessToken.isValid(`${token}\n`))
    assert.isFalse(AccessToken.isValid("x".repeat(1025)))
  })

  it.prop(
    "has no fault, or one in few words that show nothing of it",
    [fc.string({ unit: arbitraries.character }), token, fc.nat()],
    ([
      text,
      token,
      at
    ]) => {
      assert.isTrue(Option.isNone(AccessToken.fault(token)))
      const cut = at % token.length
      for (const wrong of [text, `${token.slice(0, cut)} ${token.slice(cut)}`, token.slice(0, 31)]) {
        const fault = Option.getOrUndefined(AccessToken.fault(wrong))
        assert.strictEqual(fault === undefined, AccessToken.isValid(wrong))
        assert.match(
          fault ?? "it is empty",
          /^(?:character \d+ is (?:a space|a tab|a NUL|a line end \((?:LF|CR)\)|a control character|not ASCII)|it has \d+|it is empty|it is UTF-16; save it as ASCII|it begins with a byte order mark \(UTF-8\); save it without one)$/
        )
      }
      assert.deepStrictEqual(
        AccessToken.fault(`${token.slice(0, cut)} ${token.slice(cut)}`),
        Option.some(`character ${cut + 1} is a space`)
      )
    }
  )

  it.prop("may have one line end after it, where a program or a client has it from a file or a variable", [token], ([
    token
  ]) => {
    for (const end of ["\n", "\r\n"]) {
      const withEnd = Redacted.make(`${token}${end}`)
      assert.isTrue(AccessToken.matcher(withEnd)({ authorization: `Bearer ${token}` }))
      assert.deepStrictEqual(AccessToken.subprotocols(withEnd), AccessToken.subprotocols(Redacted.make(token)))
    }
  })

  it.prop("is known by Authorization in any case, or by a subprotocol", [token, token], ([token, other]) => {
    fc.pre(token !== other)
    const matches = AccessToken.matcher(Redacted.make(token))
    const protocols = (token: string) => AccessToken.subprotocols(Redacted.make(token)).join(", ")
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      assert.isTrue(matches({ authorization: `${scheme} ${token}` }))
      assert.isFalse(matches({ authorization: `${scheme} ${other}` }))
    }
    assert.isTrue(matches({ "sec-websocket-protocol": protocols(token) }))
    assert.isFalse(matches({ "sec-websocket-protocol": protocols(other) }))
    // The name of a subprotocol must not contain separators such as `/`, `=` or `"` (RFC 6455, 4.1). So both names have only
    // letters, digits, `.`, `_` and `-`.
    assert.match(protocols(token), /^gateway, gateway-token\.[A-Za-z0-9_-]+$/)
  })

  it.prop("is not known by a part of it, by more than it, or by another scheme", [token, fc.nat({ max: 200 })], ([
    token,
    at
  ]) => {
    const matches = AccessToken.matcher(Redacted.make(token))
    const cut = token.slice(0, at % token.length)
    for (
      const authorization of [`Bearer ${cut}`, `Bearer ${token}x`, `Bearer ${token} x`, token, `Basic ${token}`, ""]
    ) {
      assert.isFalse(matches({ authorization }), authorization)
    }
    assert.isFalse(matches({}))
    assert.isFalse(matches({ cookie: token, "x-token": token }))
  })

  it.prop("shown wrongly in one way is not looked for in the other, and two of them are none", [token], ([token]) => {
    const matches = AccessToken.matcher(Redacted.make(token))
    const [name, carrier] = AccessToken.subprotocols(Redacted.make(token))
    assert.isFalse(matches({ authorization: "Bearer wrong", "sec-websocket-protocol": `${name}, ${carrier}` }))
    assert.isFalse(matches({ "sec-websocket-protocol": `${carrier}, ${carrier}` }))
    assert.isFalse(matches({ authorization: [`Bearer ${token}`] }))
  })

  it.prop("is looked for in anything", [
    fc.string({ unit: arbitraries.character }),
    fc.string({ unit: arbitraries.character })
  ], ([a, b]) => {
    assert.isTrue(Option.isOption(AccessToken.shown({ authorization: a })))
    assert.isTrue(Option.isOption(AccessToken.shown({ "sec-websocket-protocol": `gateway-token.${b}` })))
  })
})
