import { assert, describe, it } from "@effect/vitest"
import { Either, Option, Redacted } from "effect"
import * as EtcdUrl from "../../src/leader/EtcdUrl.ts"

const parse = (url: string) => Either.getOrThrowWith(EtcdUrl.parse(url), (problem) => new Error(problem))
const problem = (url: string) => Either.match(EtcdUrl.parse(url), { onLeft: (text) => text, onRight: () => "" })

describe("the URL of etcd", () => {
  it.each([
    ["etcd+http://h1:2379,h2:2380", ["http://h1:2379", "http://h2:2380"]],
    ["etcd+https://h1", ["https://h1:2379"]],
    ["etcd+http://h1:80", ["http://h1:80"]],
    ["etcd+https://h1:443/", ["https://h1:443"]],
    ["ETCD+HTTPS://H1.Example:2379", ["https://h1.example:2379"]],
    ["etcd+http://[::1]:2379,[fe80::1],127.0.0.1", [
      "http://[::1]:2379",
      "http://[fe80::1]:2379",
      "http://127.0.0.1:2379"
    ]],
    ["etcd+http://h1:2379, h2:2379 ,h1:2379\n", ["http://h1:2379", "http://h2:2379"]]
  ])("%j has the endpoints %j", (url, endpoints) => {
    const parsed = parse(url)
    assert.deepStrictEqual(parsed.endpoints, endpoints)
    assert.isTrue(Option.isNone(parsed.credentials))
  })

  it.each([
    ["etcd+http://root:secret@h1", "root", "secret"],
    ["etcd+http://a%40b:p%3A%2F%25%2Cw%C3%A9@h1,h2", "a@b", "p:/%,wé"],
    ["etcd+http://user:p@ss:w@h1", "user", "p@ss:w"]
  ])("%j has a name and a password, and does not show them", (url, name, password) => {
    const { credentials, location } = parse(url)
    const { name: found, password: secret } = Option.getOrThrow(credentials)
    assert.strictEqual(found, name)
    assert.strictEqual(Redacted.value(secret), password)
    assert.match(location, /^etcd\+http:\/\/h1:2379/)
    assert.notInclude(location, "@")
  })

  it.each([
    "",
    "http://h1:2379",
    "etcd://h1",
    "etcd+http://",
    "etcd+http://h1,",
    "etcd+http://h1:0",
    "etcd+http://h1:70000",
    "etcd+http://h1:23x",
    "etcd+http://::1:2379",
    "etcd+http://h1/prefix",
    "etcd+http://h1?x=1",
    "etcd+http://h 1",
    "etcd+http://h1\nh2"
  ])("%j is refused in one line that says what is expected", (url) => {
    assert.match(problem(url), /^it has [^\n]*expected etcd\+http:\/\//)
  })

  it.each([
    ["etcd+http://s3cr%zzt:pw@h1", "% that is not followed"],
    ["etcd+http://s3cr3t@h1", "both a name and a password"],
    ["etcd+http://:s3cr3t@h1", "both a name and a password"],
    ["etcd+http://user:s3cr3t@h1/path", "a path"],
    ["etcd+http://user:s3cr3t@h 1", "the host"]
  ])("%j is refused without its password", (url, reason) => {
    assert.include(problem(url), reason)
    assert.notInclude(problem(url), "s3cr")
  })
})
