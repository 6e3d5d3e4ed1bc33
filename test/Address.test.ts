import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import {
  canonical,
  coversGuard,
  guardHost,
  isLoopback,
  isWildcard,
  probeTargets,
  toUrl,
  urlHost
} from "../src/Address.ts"
import * as arbitraries from "./arbitraries.ts"

describe("Address", () => {
  it.each<readonly [host: string, url: string]>([
    ["127.0.0.1", "ws://127.0.0.1:18789"],
    ["localhost", "ws://localhost:18789"],
    ["::1", "ws://[::1]:18789"],
    ["::ffff:127.0.0.1", "ws://[::ffff:127.0.0.1]:18789"]
  ])("%s is written %s", (host, url) => {
    assert.strictEqual(toUrl({ host, port: 18789 }), url)
  })

  it.prop("what is written can be read as a URL again", [
    fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant("localhost")),
    arbitraries.port
  ], ([host, port]) => {
    const url = new URL(toUrl({ host, port }))
    // `URL` drops port 80, because 80 is the default port of ws://.
    return url.port === (port === 80 ? "" : String(port)) && url.host.startsWith("[") === host.includes(":")
  })

  it.prop(
    "only an IPv6 address gets brackets",
    [arbitraries.host],
    ([host]) => urlHost(host) === (host.includes(":") ? `[${host}]` : host)
  )

  it.each<readonly [host: string, targets: ReadonlyArray<string>]>([
    ["127.0.0.1", ["127.0.0.1"]],
    ["0.0.0.0", ["127.0.0.1"]],
    ["", ["127.0.0.1"]],
    ["::1", ["::1", "127.0.0.1"]],
    ["::", ["::1", "127.0.0.1"]],
    ["0:0:0:0:0:0:0:0", ["::1", "127.0.0.1"]],
    ["::0", ["::1", "127.0.0.1"]],
    ["::ffff:0.0.0.0", ["127.0.0.1"]],
    ["::ffff:127.0.0.1", ["127.0.0.1"]],
    ["127.0.0.2", ["127.0.0.2", "127.0.0.1"]],
    ["localhost", ["localhost", "127.0.0.1"]],
    ["192.0.2.1", ["192.0.2.1", "127.0.0.1"]]
  ])("who holds %j is learnt from %j", (host, targets) => {
    assert.deepStrictEqual(probeTargets({ host, port: 9 }), targets.map((host) => ({ host, port: 9 })))
  })

  it.prop("the guard address is always among those asked, no wildcard ever, and none twice", [arbitraries.address], ([
    address
  ]) => {
    const targets = probeTargets(address)
    return targets.some(({ host }) => host === guardHost)
      && targets.every(({ host, port }) => !isWildcard(host) && port === address.port)
      && new Set(targets.map(toUrl)).size === targets.length
  })

  it.each<readonly [text: string, address: string | undefined]>([
    ["127.0.0.1", "127.0.0.1"],
    ["::FFFF:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::1.2.3.4", "::102:304"],
    ["fe80::1%eth0", undefined],
    ["[::1]", undefined],
    ["1.2.3", undefined],
    ["0x7f.0.0.1", undefined],
    ["localhost", undefined],
    ["", undefined]
  ])("%j in its one spelling is %j", (text, address) => {
    assert.strictEqual(canonical(text), address)
  })

  it.prop("every IP address has one spelling, which is its own", [fc.oneof(fc.ipV4(), fc.ipV6())], ([text]) => {
    const address = canonical(text)
    return address !== undefined && canonical(address) === address && canonical(text.toUpperCase()) === address
  })

  it.each<readonly [host: string, loopback: boolean, wildcard: boolean, covers: boolean]>([
    ["127.0.0.1", true, false, true],
    ["127.0.0.2", true, false, false],
    ["127.255.255.255", true, false, false],
    ["127.0.0.256", false, false, false],
    ["127.0.0", false, false, false],
    ["127.0.0.1.example", false, false, false],
    ["128.0.0.1", false, false, false],
    ["::1", true, false, false],
    ["0:0:0:0:0:0:0:1", true, false, false],
    ["::2", false, false, false],
    ["::0", false, true, true],
    ["0::", false, true, true],
    ["0000::1", true, false, false],
    ["::ffff:127.0.0.1", true, false, true],
    ["::ffff:127.0.0.2", true, false, false],
    ["::ffff:7f00:1", true, false, true],
    ["::ffff:0:0", false, true, true],
    ["::1%lo", false, false, false],
    ["127.0.0.01", false, false, false],
    ["localhost", true, false, false],
    ["0.0.0.0", false, true, true],
    ["::", false, true, true],
    ["", false, true, true],
    ["192.168.0.1", false, false, false]
  ])("%j: loopback %s, wildcard %s, covers the guard %s", (host, loopback, wildcard, covers) => {
    assert.strictEqual(isLoopback(host), loopback)
    assert.strictEqual(isWildcard(host), wildcard)
    assert.strictEqual(coversGuard(host, "linux"), covers)
    // Every gateway binds 127.0.0.1, the guard address, to keep other gateways off the port. On these platforms, another
    // process can bind 127.0.0.1 although a wildcard is bound, so a wildcard does not cover the guard address.
    for (const platform of ["darwin", "win32", "freebsd"]) {
      assert.strictEqual(coversGuard(host, platform), covers && !wildcard, platform)
    }
  })

  it.prop(
    "127.0.0.0/8 and nothing else of IPv4 is loopback",
    [fc.ipV4()],
    ([host]) => isLoopback(host) === host.startsWith("127.")
  )
})
