/**
 * For each read of `/proc/net/tcp`, the kernel looks through its whole table of connections: two milliseconds on a host with much
 * memory, however few connections it has. So no command reads more than it needs.
 */
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Strace from "../chaos/support/strace.ts"
import { unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"

/** Runs a command under strace(1). Returns the command's result, and what each read of a list of sockets returned, by file. */
const readsOf = (site: Gateways.Site, command: string) =>
  Effect.gen(function*() {
    const log = join(site.root, `${command}.strace`)
    const under = ["strace", "-f", "-qq", "-y", "-e", "trace=read,pread64", "-o", log]
    const ended = yield* Gateways.run(site, { flags: [command], under })
    const reads = { tcp: new Array<number>(), tcp6: new Array<number>() }
    // strace writes a call in two lines if another thread makes a call meanwhile. Only the first line names the file.
    const begun = new Map<string, string>()
    for (const line of readFileSync(log, "utf8").split("\n")) {
      const thread = line.split(" ", 1)[0] ?? ""
      const named = /^\d+ +p?read(?:64)?\(\d+<([^>]*)>/.exec(line)?.[1]
      const name = /^\/proc\/\d+\/net\/(tcp6?)$/.exec(named ?? begun.get(thread) ?? "")?.[1]
      if (named !== undefined) begun.set(thread, named)
      const bytes = / = (\d+)$/.exec(line)?.[1]
      if (bytes !== undefined && (name === "tcp" || name === "tcp6")) reads[name].push(Number(bytes))
    }
    return { ended, reads }
  })

describe("the lists of sockets of the host", () => {
  unless(Strace.unavailable).scopedLive(
    "are not read where nothing runs: a refused connection says enough",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { ended, reads } = yield* readsOf(site, "status")
        assert.include(ended.stdout, "not running")
        assert.deepStrictEqual(reads, { tcp: [], tcp6: [] })
      })
  )

  unless(Strace.unavailable).scopedLive(
    "are read to their end once, without a read that returns nothing",
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway()
        const { ended, reads } = yield* readsOf(site, "status")
        assert.include(ended.stdout, `pid ${owner.pid} (node)`)
        for (const sizes of [reads.tcp, reads.tcp6]) {
          assert.isNotEmpty(sizes)
          // A read that returns nearly a page may have more to come.
          const [first = 0, ...rest] = sizes.toReversed()
          assert.isBelow(first, 2048)
          assert.isTrue(rest.every((size) => size >= 2048), sizes.join())
        }
      })
  )
})
