import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc, Option } from "effect"
import * as Net from "node:net"
import * as Access from "../../src/server/Access.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const label = fc.stringMatching(/^[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?$/)
const name = fc.tuple(fc.array(label, { maxLength: 3 }), fc.stringMatching(/^[a-z][a-z-]{0,8}[a-z]$/)).map(
  ([labels, last]) => [...labels, last].join(".")
)
const host = fc.oneof(name, fc.ipV4(), fc.ipV6())
const bracketed = (host: string) => host.includes(":") ? `[${host}]` : host
const port = fc.integer({ min: 1, max: 65535 })

/** The host that a browser puts into the Host header for this URL, as Node's URL parser computes it. */
const hostOfUrl = (authority: string): string | undefined => {
  try {
    return new URL(`http://${authority}/`).hostname
  } catch {
    return undefined
  }
}

const headers = (fields: Readonly<Record<string, string | ReadonlyArray<string>>>): ReadonlyArray<string> =>
  Object.entries(fields).flatMap(([name, values]) => [values].flat().flatMap((value) => [name, value]))

const head = (change: Partial<Access.Head> = {}, fields: Parameters<typeof headers>[0] = { Host: "127.0.0.1" }) => ({
  method: "GET",
  target: "/",
  httpVersion: "1.1",
  localAddress: "127.0.0.1",
  isUpgrade: false,
  isOpen: false,
  rawHeaders: headers(fields),
  ...change
})

const loopback = Access.rules({ host: "127.0.0.1" })
const statusOf = (rules: Access.Rules, head: Access.Head): number => {
  const verdict = Access.judge(head, rules)
  return verdict._tag === "Admitted" ? 200 : verdict.status
}

describe("a host name or address", () => {
  it.each([
    ["LocalHost", "localhost"],
    ["localhost.", "localhost"],
    ["My_Service", "my_service"],
    ["xn--gteway-bua.example", "xn--gteway-bua.example"],
    ["127.0.0.1", "127.0.0.1"],
    ["::", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["::ffff:7f00:1", "127.0.0.1"],
    ["1.2.3.4.example", "1.2.3.4.example"]
  ])("%s is %s", (text, normal) => {
    assert.deepStrictEqual(Access.normalHost(text), Option.some(normal))
  })

  it.each([
    "",
    ".",
    "a..b",
    ".a",
    "a..",
    "-a",
    "a-",
    "a b",
    "a\t",
    "a\n",
    "a/b",
    "a@b",
    "a?b",
    "a#b",
    "a%41",
    "a\\b",
    "*",
    "gäteway",
    "a".repeat(64),
    Array.from({ length: 128 }, () => "a").join("."),
    // Other spellings of IPv4 addresses, and texts that resemble one. inet_aton(3) would read the first nine of them.
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "0177.0.0.1",
    "127.0.0.0x1",
    "127.0.0.256",
    "127.0.0.1.",
    "1.2.3.4.5",
    "a.0x",
    // IPv6 addresses with a zone.
    "fe80::1%eth0",
    "fe80::1%25eth0",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8:9",
    "12345::",
    "g::1",
    "::1.2.3",
    "::1.2.3.4.5",
    "1.2.3.4::",
    "::127.0.0.01"
  ])("%j is none", (text) => {
    assert.deepStrictEqual(Access.normalHost(text), Option.none())
  })

  it.prop("has one normal form, whatever the case", [host, fc.boolean()], ([host, upper]) => {
    const normal = Option.getOrThrow(Access.normalHost(host))
    assert.deepStrictEqual(Access.normalHost(normal), Option.some(normal))
    assert.deepStrictEqual(Access.normalHost(upper ? host.toUpperCase() : host), Option.some(normal))
  })

  it.prop("in normal form is the address that a URL has, but for the IPv4-mapped ones", [fc.ipV6()], ([address]) => {
    const normal = Option.getOrThrow(Access.normalHost(address))
    const url = hostOfUrl(`[${address}]`)
    return url === `[${normal}]` || (url?.startsWith("[::ffff:") === true && Net.isIPv4(normal))
  })

  it.prop("is never anything that a URL reads as another host", [fc.oneof(
    fc.string({ unit: arbitraries.character, maxLength: 20 }),
    fc.stringMatching(/^[0-9a-fx.:]{1,20}$/),
    fc.stringMatching(/^[a-z0-9._%@:/[\]-]{1,20}$/)
  )], ([text]) => {
    const normal = Option.getOrUndefined(Access.normalHost(text))
    if (normal === undefined) return
    const url = hostOfUrl(bracketed(text))
    // The URL parser rejects some names that contain a label with the prefix `xn--`. For such a name there is no URL to compare.
    if (url === undefined) return
    assert.include([`[${normal}]`, normal, `${normal}.`], url.startsWith("[::ffff:") ? bracketed(normal) : url)
  })
})

describe("Host", () => {
  it.prop("is a host, and perhaps a port", [host, fc.option(port, { nil: undefined })], ([host, port]) => {
    const text = `${bracketed(host)}${port === undefined ? "" : `:${port}`}`
    assert.deepStrictEqual(
      Access.parseAuthority(text),
      Option.map(Access.normalHost(host), (host) => ({ host, port }))
    )
  })

  it.each([
    "",
    ":80",
    "localhost:",
    "localhost:0",
    "localhost:00080",
    "localhost:65536",
    "localhost:80:80",
    "localhost:80a",
    "localhost: 80",
    "localhost:-1",
    "user@localhost",
    "user:secret@localhost",
    "::1",
    "[::1",
    "::1]",
    "[[::1]]",
    "[::1]x",
    "[127.0.0.1]",
    "[localhost]",
    "[]",
    "[fe80::1%eth0]:80",
    "localhost,localhost",
    "localhost/",
    "http://localhost"
  ])("%j is none", (text) => {
    assert.deepStrictEqual(Access.parseAuthority(text), Option.none())
  })

  it.prop("of any bytes never throws, and what is read reads the same again", [
    fc.oneof(fc.string({ unit: arbitraries.character }), fc.stringMatching(/^[a-z0-9.:[\]%@]{0,30}$/))
  ], ([text]) => {
    const parsed = Access.parseAuthority(text)
    if (Option.isNone(parsed)) return
    const { host, port } = parsed.value
    const again = `${bracketed(host)}${port === undefined ? "" : `:${port}`}`
    assert.deepStrictEqual(Access.parseAuthority(again), parsed)
  })
})

describe("an origin", () => {
  it.each([
    ["http://Localhost:80", "http://localhost"],
    ["https://app.example:443", "https://app.example"],
    ["https://app.example:8443", "https://app.example:8443"],
    ["http://[0::1]:18789", "http://[::1]:18789"],
    ["chrome-extension://abcdef", "chrome-extension://abcdef"],
    ["null", "null"],
    // These are origins that app shells send: Electron (webpack/webpack-dev-server#3821), an Electron app's own protocol
    // (openclaw/openclaw#35035), Capacitor and Tauri (openclaw/openclaw#44371), Tauri on Windows, VS Code's web views, browser
    // extensions.
    ["file://", "file://"],
    ["app://obsidian.md", "app://obsidian.md"],
    ["app://localhost", "app://localhost"],
    ["app://-", "app://-"],
    ["capacitor://localhost", "capacitor://localhost"],
    ["ionic://localhost", "ionic://localhost"],
    ["tauri://localhost", "tauri://localhost"],
    ["http://tauri.localhost", "http://tauri.localhost"],
    ["chrome-extension://cjpalhdlnbpafiamejdnhcphjbkeiagm", "chrome-extension://cjpalhdlnbpafiamejdnhcphjbkeiagm"],
    ["moz-extension://2C127FA4-62C7-7E4F-90E5-472B45EECFDC", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"],
    [
      "vscode-webview://1pd2s5r67g7d5hq7rbbdjlbpsdmh4edbjvnb3lgt0hldv62lmdku",
      "vscode-webview://1pd2s5r67g7d5hq7rbbdjlbpsdmh4edbjvnb3lgt0hldv62lmdku"
    ],
    ["vscode-file://vscode-app", "vscode-file://vscode-app"],
    ["App://A:80", "app://a:80"],
    ["constructor://a", "constructor://a"]
  ])("%s is %s", (text, normal) => {
    assert.deepStrictEqual(Access.normalOrigin(text), Option.some(normal))
  })

  it.each([
    "",
    "NULL",
    "localhost",
    "http://",
    "http://a/",
    "http://a b",
    "http://a@b",
    "//a",
    "http:a",
    "1a://b",
    "file:",
    "file:///",
    "file:///home/a.html",
    "app://a/",
    "app://a,b",
    "app://a b",
    "app://a@b",
    "://",
    "https://",
    "ws://",
    "app://a\n"
  ])(
    "%j is none",
    (text) => {
      assert.deepStrictEqual(Access.normalOrigin(text), Option.none())
    }
  )
})

describe("a request", () => {
  it.each<readonly [status: number, host: string | ReadonlyArray<string>, local: string]>([
    [200, "127.0.0.1", "127.0.0.1"],
    [200, "127.0.0.1:18789", "127.0.0.1"],
    [200, "127.0.0.1:9", "127.0.0.1"],
    [200, "LOCALHOST.:9", "127.0.0.1"],
    [200, "[::1]:18789", "::1"],
    [200, "localhost", "::ffff:127.0.0.1"],
    [200, "gateway.localhost:18789", "127.0.0.1"],
    [200, "GATEWAY.LocalHost.:18789", "127.0.0.2"],
    [200, "a.b.localhost", "::1"],
    [200, "gateway.localhost", "::ffff:127.0.0.1"],
    [200, "127.8.9.10", "127.0.0.1"],
    [200, "[::1]", "127.0.0.1"],
    [421, "gateway.localhost", "10.0.0.7"],
    [421, "127.8.9.10", "10.0.0.7"],
    [421, "[::1]", "10.0.0.7"],
    [421, "notlocalhost", "127.0.0.1"],
    [421, "localhost.example", "127.0.0.1"],
    [421, "gateway.localhost.evil.example", "127.0.0.1"],
    [400, ".localhost", "127.0.0.1"],
    [400, "a..localhost", "127.0.0.1"],
    [200, "10.0.0.7:8080", "10.0.0.7"],
    [200, "[fd00::7]", "fd00:0::7"],
    [421, "localhost", "10.0.0.7"],
    [421, "127.0.0.2", "10.0.0.7"],
    [421, "10.0.0.8", "10.0.0.7"],
    [421, "evil.example", "127.0.0.1"],
    [421, "localhost.evil.example", "127.0.0.1"],
    [421, "127.0.0.1.evil.example", "127.0.0.1"],
    [421, "0.0.0.0", "127.0.0.1"],
    [400, "2130706433", "127.0.0.1"],
    [400, "user@127.0.0.1", "127.0.0.1"],
    [400, ["127.0.0.1", "127.0.0.1"], "127.0.0.1"],
    [400, ["127.0.0.1", "evil.example"], "127.0.0.1"],
    [400, [], "127.0.0.1"],
    [400, "", "127.0.0.1"]
  ])("gets %s for Host %j on a connection to %s", (status, host, localAddress) => {
    assert.strictEqual(statusOf(loopback, head({ localAddress }, { hOsT: host })), status)
  })

  it("may name the host that was asked for, and what is allowed besides", () => {
    const rules = Access.rules({ host: "Gateway.Example", allowedHosts: ["[FD00::1]", "other.example.", "bad host"] })
    const statuses = ["gateway.example", "fd00::1", "other.example", "third.example"].map((host) =>
      statusOf(rules, head({ localAddress: "10.0.0.1" }, { Host: bracketed(host) }))
    )
    assert.deepStrictEqual(statuses, [200, 200, 200, 421])
    const any = Access.rules({ host: "127.0.0.1", allowedHosts: ["*"] })
    assert.strictEqual(statusOf(any, head({}, { Host: "evil.example" })), 200)
    assert.strictEqual(statusOf(any, head({}, { Host: "evil example" })), 400)
  })

  it.prop("by a name that is not ours is refused whatever else it has", [
    name,
    fc.constantFrom("GET", "POST", "OPTIONS"),
    fc.boolean(),
    fc.option(port, { nil: undefined })
  ], ([name, method, isUpgrade, port]) => {
    fc.pre(name !== "localhost")
    const Host = port === undefined ? name : `${name}:${port}`
    const fields = { Host, Origin: `http://${Host}`, "X-Forwarded-Host": "127.0.0.1", Forwarded: "host=127.0.0.1" }
    assert.strictEqual(statusOf(loopback, head({ method, isUpgrade }, fields)), 421)
  })

  it.each(["http://127.0.0.1/", "//user@host", "", "x", "*", "127.0.0.1:80"])("for %j", (target) => {
    assert.strictEqual(statusOf(loopback, head({ target })), target.startsWith("/") ? 200 : 400)
  })

  it("for * is one of OPTIONS", () => {
    assert.strictEqual(statusOf(loopback, head({ target: "*", method: "OPTIONS" })), 200)
  })

  it("for what is open may come under any name, or from HTTP/1.0 without one, but not to open a socket", () => {
    const open = { isOpen: true }
    assert.strictEqual(statusOf(loopback, head(open, { Host: "balancer.example:8080" })), 200)
    assert.strictEqual(statusOf(loopback, head({ ...open, httpVersion: "1.0" }, {})), 200)
    assert.strictEqual(statusOf(loopback, head({ httpVersion: "1.0" }, {})), 400)
    assert.strictEqual(statusOf(loopback, head(open, {})), 400)
    assert.strictEqual(statusOf(loopback, head(open, { Host: "a b" })), 400)
    assert.strictEqual(statusOf(loopback, head({ ...open, isUpgrade: true }, { Host: "balancer.example" })), 421)
  })

  const changing = [{ method: "POST" }, { method: "DELETE" }, { isUpgrade: true }, { method: "post" }]
  it.each<readonly [status: number, host: string, origin: string | ReadonlyArray<string>]>([
    [200, "127.0.0.1:18789", []],
    [200, "127.0.0.1:18789", "http://127.0.0.1:18789"],
    [200, "[::1]:18789", "http://[0:0::1]:18789"],
    [200, "127.0.0.1", "http://127.0.0.1"],
    [200, "127.0.0.1", "https://127.0.0.1"],
    [200, "127.0.0.1:443", "https://127.0.0.1"],
    [200, "gateway.localhost:18789", "http://gateway.localhost:18789"],
    [200, "gateway.localhost.:18789", "http://GATEWAY.localhost:18789"],
    [403, "gateway.localhost:18789", "http://other.localhost:18789"],
    [403, "gateway.localhost:18789", "http://localhost:18789"],
    [403, "127.0.0.1:18789", "http://127.0.0.1:18790"],
    [403, "127.0.0.1:18789", "http://localhost:18789"],
    [403, "127.0.0.1:18789", "http://127.0.0.1"],
    [403, "127.0.0.1:80", "https://127.0.0.1"],
    [403, "127.0.0.1:18789", "https://evil.example"],
    [403, "127.0.0.1:18789", "http://127.0.0.1:18789.evil.example"],
    [403, "127.0.0.1:18789", "http://127.0.0.1:18789/"],
    [403, "127.0.0.1:18789", "ws://127.0.0.1:18789"],
    [403, "127.0.0.1:18789", "null"],
    [403, "127.0.0.1:18789", ""],
    [403, "127.0.0.1:18789", "garbage"],
    [403, "127.0.0.1:18789", ["http://127.0.0.1:18789", "http://127.0.0.1:18789"]]
  ])("that could change something gets %s for Host %s and Origin %j", (status, Host, Origin) => {
    for (const change of changing) {
      const local = { localAddress: Host.startsWith("[") ? "::1" : "127.0.0.1" }
      assert.strictEqual(statusOf(loopback, head({ ...local, ...change }, { Host, Origin })), status)
    }
    for (const method of ["GET", "HEAD", "OPTIONS"]) {
      assert.strictEqual(statusOf(loopback, head({ method }, { Host: "127.0.0.1", Origin })), 200)
    }
  })

  it.each(["file://", "app://obsidian.md", "capacitor://localhost", "tauri://localhost", "vscode-webview://1pd2s5"])(
    "may come from %s where that is allowed, and from no other origin",
    (origin) => {
      const rules = Access.rules({ host: "127.0.0.1", allowedOrigins: [origin] })
      const of = (Origin: string) => statusOf(rules, head({ isUpgrade: true }, { Host: "127.0.0.1", Origin }))
      assert.strictEqual(of(origin), 200)
      for (const other of ["null", "file:///", `${origin}x`, "app://", "https://localhost", "tauri://evil", ""]) {
        assert.strictEqual(of(other), 403, other)
      }
      assert.strictEqual(statusOf(loopback, head({ isUpgrade: true }, { Host: "127.0.0.1", Origin: origin })), 403)
    }
  )

  it("may come from an origin that is allowed besides", () => {
    const rules = Access.rules({ host: "127.0.0.1", allowedOrigins: ["https://App.example:443", "null"] })
    const of = (Origin: string) => statusOf(rules, head({ isUpgrade: true }, { Host: "127.0.0.1", Origin }))
    assert.deepStrictEqual(["https://app.example", "null", "http://app.example"].map(of), [200, 200, 403])
    const any = Access.rules({ host: "127.0.0.1", allowedOrigins: ["*"] })
    assert.strictEqual(statusOf(any, head({ method: "PUT" }, { Host: "127.0.0.1", Origin: "x y" })), 200)
  })

  const sent = fc.record({
    rawHeaders: fc.array(
      fc.constantFrom(
        ["Host", "127.0.0.1"],
        ["host", "localhost:18789"],
        ["Host", "rebound.example"],
        ["Host", ""],
        ["Origin", "http://127.0.0.1"],
        ["Origin", "https://elsewhere.example"]
      ),
      { minLength: 1, maxLength: 3 }
    ).map((fields) => fields.flat()),
    method: fc.constantFrom("GET", "HEAD", "POST", "OPTIONS"),
    target: fc.constantFrom("/", "*", "http://127.0.0.1/"),
    httpVersion: fc.constantFrom("1.0", "1.1"),
    isUpgrade: fc.boolean(),
    isOpen: fc.boolean()
  })
  it.prop("is judged alike, whatever came before it on its connection", [
    fc.array(sent, { minLength: 2, maxLength: 12 }),
    fc.constantFrom("127.0.0.1", "192.0.2.1", undefined)
  ], ([requests, localAddress]) => {
    const judge = Access.judgePerConnection(loopback)
    for (const request of requests) {
      const one = { ...request, localAddress }
      assert.deepStrictEqual(judge(one), Access.judge(one, loopback))
    }
  }, { fastCheck: { numRuns: 1000 } })

  it.prop("is judged in one line, whatever was sent", [
    fc.array(fc.string({ unit: arbitraries.character, maxLength: 20 }), { maxLength: 8 }),
    fc.string({ unit: arbitraries.character }),
    fc.string(),
    fc.boolean(),
    fc.boolean()
  ], ([rawHeaders, target, method, isUpgrade, isOpen]) => {
    const verdict = Access.judge(head({ rawHeaders, target, method, isUpgrade, isOpen }), loopback)
    return verdict._tag === "Admitted" || /^[ -~]+$/.test(verdict.reason)
  })
})
