import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Layer, Ref } from "effect"
import {
  layerProc,
  listenersAt,
  parseLsof,
  parseNetstat,
  parseProcNet,
  type PortListener,
  PortOwners
} from "../../src/host/PortOwners.ts"
import * as arbitraries from "../arbitraries.ts"

/** Written by a Linux on x86-64. */
const tcp =
  `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:9CEB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258049 1 0000000077caf804 100 0 0 10 0                    
   1: 0200007F:8973 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258048 1 000000004d86b89a 100 0 0 10 0                    
   2: 0100007F:6239 0100007F:8094 06 00000000:00000000 03:00000182 00000000     0        0 0 3 00000000b896e3b5                                      
   3: 0100007F:8973 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258045 1 00000000787cbfe0 100 0 0 10 0                    
`
const tcp6 =
  `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:8061 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258047 1 00000000e4ea2456 100 0 0 10 0
   1: 00000000000000000000000001000000:8973 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258046 1 0000000011ef8f05 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:8973 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 258050 1 0000000011ef8f05 100 0 0 10 0
`

describe("PortOwners.parseProcNet", () => {
  it("reads the listening sockets, and no others", () => {
    assert.deepStrictEqual(parseProcNet(tcp, "LE"), [
      { host: "0.0.0.0", port: 40171, inode: "258049" },
      { host: "127.0.0.2", port: 35187, inode: "258048" },
      { host: "127.0.0.1", port: 35187, inode: "258045" }
    ])
    assert.deepStrictEqual(parseProcNet(tcp6, "LE"), [
      { host: "::", port: 32865, inode: "258047" },
      { host: "::1", port: 35187, inode: "258046" },
      { host: "127.0.0.1", port: 35187, inode: "258050" }
    ])
  })

  it("reads addresses as the processor has them in memory", () => {
    const line =
      "   0: 7F000001:8973 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0"
    assert.deepStrictEqual(parseProcNet(line, "BE"), [{ host: "127.0.0.1", port: 35187, inode: "1" }])
  })

  it.prop("any IPv4 address and port", [fc.ipV4(), arbitraries.port], ([host, port]) => {
    const hex = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, "0")
    const local = host.split(".").toReversed().map((byte) => hex(Number(byte), 2)).join("")
    const text = `0: ${local}:${hex(port, 4)} 00000000:0000 0A 0:0 0:0 0 0 0 42 1`
    assert.deepStrictEqual(parseProcNet(text, "LE"), [{ host, port, inode: "42" }])
  })
})

describe("PortOwners, elsewhere", () => {
  it("reads lsof, with and without descriptors", () => {
    const listeners = [
      { host: "127.0.0.1", port: 35187, pid: 13836 },
      { host: "::1", port: 35187, pid: 13836 },
      { host: "::", port: 32865, pid: 13836 },
      { host: "0.0.0.0", port: 40171, pid: 99 }
    ]
    const bare = "p13836\ntIPv4\nn127.0.0.1:35187\ntIPv6\nn[::1]:35187\ntIPv6\nn*:32865\np99\ntIPv4\nn*:40171\n"
    assert.deepStrictEqual(parseLsof(bare), listeners)
    assert.deepStrictEqual(parseLsof(bare.replace(/^t/gm, "f12\nt")), listeners)
    assert.deepStrictEqual(parseLsof(""), [])
  })

  it("reads netstat in whatever language the state is", () => {
    const text = [
      "",
      "Aktive Verbindungen",
      "",
      "  Proto  Lokale Adresse         Remoteadresse          Status           PID",
      "  TCP    0.0.0.0:135            0.0.0.0:0              ABHÖREN          1032",
      "  TCP    127.0.0.1:18789        0.0.0.0:0              LISTENING        4711",
      "  TCP    127.0.0.1:18789        127.0.0.1:50123        HERGESTELLT      4711",
      "  TCP    [::1]:18789            [::]:0                 ABHÖREN          4712",
      "  TCP    [fe80::1%4]:18789      [::]:0                 ABHÖREN          4713",
      "  UDP    0.0.0.0:123            *:*                                     900"
    ].join("\r\n")
    assert.deepStrictEqual(parseNetstat(text), [
      { host: "0.0.0.0", port: 135, pid: 1032 },
      { host: "127.0.0.1", port: 18789, pid: 4711 },
      { host: "::1", port: 18789, pid: 4712 },
      { host: "fe80::1", port: 18789, pid: 4713 }
    ])
  })
})

const parsers: ReadonlyArray<readonly [name: string, text: string, parse: (text: string) => ReadonlyArray<unknown>]> = [
  ["/proc/net/tcp", tcp, (text) => parseProcNet(text, "LE")],
  ["/proc/net/tcp6", tcp6, (text) => parseProcNet(text, "LE")],
  ["lsof", "p13836\ntIPv4\nn127.0.0.1:35187\n", parseLsof],
  ["netstat", "  TCP    127.0.0.1:18789        0.0.0.0:0              LISTENING        4711\r\n", parseNetstat]
]

describe.each(parsers)("PortOwners, junk instead of %s", (_, text, parse) => {
  it.prop("finds nothing in it, and does not fail", [arbitraries.text], ([junk]) => parse(junk).length === 0)

  it.prop("of a text that is cut short or damaged, finds no more than is there", [
    fc.nat(text.length),
    fc.nat(text.length),
    arbitraries.text
  ], ([from, to, junk]) =>
    parse(text.slice(0, to)).length <= parse(text).length
    && parse(`${text.slice(0, from)}${junk.replaceAll("\n", "")}${text.slice(to)}`).length <= 2 * parse(text).length)
})

describe("PortOwners.at", () => {
  const listener = (host: string, pid: number): PortListener => ({ host, port: 18789, pid })
  const pidsAt = (host: string, listeners: ReadonlyArray<PortListener>) =>
    listenersAt({ host, port: 18789 }, listeners).map(({ pid }) => pid).toSorted()

  it("an exact address before a wildcard, and the guard address besides", () => {
    const all = [listener("0.0.0.0", 1), listener("127.0.0.1", 2), listener("::1", 3), listener("127.0.0.2", 4)]
    assert.deepStrictEqual(pidsAt("127.0.0.1", all), [2])
    assert.deepStrictEqual(pidsAt("::1", all), [2, 3])
    assert.deepStrictEqual(pidsAt("0:0:0:0:0:0:0:1", all), [2, 3])
    assert.deepStrictEqual(pidsAt("localhost", all), [2, 3])
    assert.deepStrictEqual(pidsAt("127.0.0.2", all), [2, 4])
    assert.deepStrictEqual(pidsAt("127.0.0.3", all), [1, 2])
    assert.deepStrictEqual(pidsAt("127.0.0.1", [listener("::", 5)]), [5])
    assert.deepStrictEqual(pidsAt("::1", [listener("0.0.0.0", 1)]), [1], "has the guard address")
  })

  it("all of the port where only a resolver knows the host", () => {
    assert.deepStrictEqual(pidsAt("gateway.example", [listener("10.0.0.1", 1), listener("::1", 2)]), [1, 2])
  })

  it.prop("only listeners of that port, each once", [
    arbitraries.address,
    fc.array(fc.record({ host: arbitraries.host, port: fc.constantFrom(1, 2) }))
  ], ([address, listeners]) => {
    const found = listenersAt(address, listeners)
    return found.every((listener) => listener.port === address.port) && new Set(found).size === found.length
  })
})

describe("PortOwners on Linux", () => {
  it.effect("reads the sockets of the host a few times for a hundred questions, not a hundred times", () =>
    Effect.gen(function*() {
      const readings = yield* Ref.make(0)
      const fs = FileSystem.layerNoop({
        readFileString: (path) =>
          Effect.as(
            Effect.zipRight(Ref.update(readings, (n) => n + 1), Effect.yieldNow()),
            path === "/proc/net/tcp" ? tcp : tcp6
          )
      })
      const found = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, at) => at === 99 ? 35187 : 1),
        (port) => Effect.flatMap(PortOwners, ({ listeners }) => listeners(port)),
        { concurrency: 32 }
      ).pipe(Effect.provide(Layer.provide(layerProc, fs)))
      assert.isTrue(found.every((seen, at) => seen._tag === "Seen" && seen.listeners.length === (at === 99 ? 4 : 0)))
      const count = yield* Ref.get(readings)
      assert.isBelow(count, 30, `${count} readings`)
    }))
})
