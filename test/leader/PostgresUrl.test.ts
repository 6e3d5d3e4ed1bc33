import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import { Client } from "pg"
import { parse } from "../../src/leader/PostgresUrl.ts"

const problem = (url: string): string => Either.match(parse(url), { onLeft: (text) => text, onRight: () => "accepted" })
const location = (url: string): string =>
  Either.match(parse(url), { onLeft: (text) => text, onRight: ({ location }) => location })

describe("a PostgreSQL URL", () => {
  it.each([
    ["postgresql://a:secret@db:5433/app?sslmode=verify-full", "postgresql://db:5433/app"],
    ["postgres://db", "postgresql://db:5432"],
    ["postgresql://db.internal/", "postgresql://db.internal:5432"],
    ["postgresql://a:secret@[fe80::1]:1/app", "postgresql://[fe80::1]:1/app"],
    ["postgresql://%2Frun%2Fpostgresql/app", "postgresql:///run/postgresql:5432/app"],
    ["postgresql://a:secret@/app?host=/run/postgresql&port=6", "postgresql:///run/postgresql:6/app"],
    ["postgresql:///app", "postgresql://localhost:5432/app"],
    ["postgresql://a:s%40%2F%3Fcret@db/app", "postgresql://db:5432/app"],
    ["postgresql://db/app?password=secret&user=a", "postgresql://db:5432/app"]
  ])("%s is at %s", (url, expected) => {
    assert.strictEqual(location(url), expected)
  })

  it.each([
    ["", /expected a URL such as postgresql:/],
    ["mysql://db/app", /expected a URL such as postgresql:/],
    ["db.internal:5432", /expected a URL such as postgresql:/],
    ["/run/postgresql app", /expected a URL such as postgresql:/],
    ["host=db user=a", /expected a URL such as postgresql:/],
    ["postgresql:/db/app", /expected a URL such as postgresql:/],
    ["postgresql://a:secret@one:1,two:2/app", /several hosts: expected one/],
    ["postgresql://one,two/app", /several hosts: expected one/],
    ["postgresql:///app?host=one,two", /several hosts: expected one/],
    ["postgresql://a:sec/ret@db/app", /cannot be read: in a user or a password, write/],
    ["postgresql://a:12/secret@db/app", /cannot be read/],
    ["postgresql://a:sec#ret@db/app", /cannot be read/],
    ["postgresql://a:sec%E9ret@db/app", /cannot be read/],
    ["postgresql://a:secret@db:port/app", /cannot be read/],
    ["postgresql://a:secret@db:0/app", /its port is 0: expected 1 to 65535/],
    ["postgresql://a:secret@db:70000/app", /cannot be read|its port/],
    ["postgresql://db/app?port=abc", /its port is abc/],
    ["postgresql://db/app?sslmode=allow", /its sslmode is allow: expected disable, prefer/]
  ])("%s is refused", (url, pattern) => {
    assert.match(problem(url), pattern)
    assert.notMatch(problem(url), /secret|ret@|sec\b/)
  })

  it("with any encoded user, password and database is read as it was written", () => {
    const word = fc.string({ minLength: 1, unit: "grapheme" })
    fc.assert(fc.property(word, word, word, (user, password, database) => {
      const [a, b, c] = [user, password, database].map((part) => encodeURIComponent(part))
      const url = Either.getOrThrow(parse(`postgresql://${a}:${b}@db.internal/x${c}`))
      const client = new Client({ connectionString: url.connectionString })
      assert.deepStrictEqual([client.user, client.password, client.host], [user, password, "db.internal"])
      const replaced = Either.getOrThrow(parse(`postgresql://${a}:${b}@db.internal/x${c}`, database))
      assert.strictEqual(new Client({ connectionString: replaced.connectionString }).password, database)
    }))
  })

  it("asks for a checked certificate also by the modes that pg will weaken", () => {
    for (const mode of ["prefer", "require", "verify-ca", "verify-full"]) {
      const url = Either.getOrThrow(parse(`postgresql://db/app?a=b&sslmode=${mode}`))
      assert.strictEqual(url.connectionString, "postgresql://db/app?a=b&sslmode=verify-full")
    }
    for (const rest of ["sslmode=disable", "sslmode=no-verify", "sslmode=require&uselibpqcompat=true"]) {
      const text = `postgresql://db/app?${rest}`
      assert.strictEqual(Either.getOrThrow(parse(text)).connectionString, text)
    }
  })
})
