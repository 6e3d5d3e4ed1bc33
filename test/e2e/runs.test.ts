/**
 * The runs of a gateway, which outlive it in a file beside its lock file.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as RunLog from "../../src/page/RunLog.ts"
import { StatusFrame } from "../../src/page/StatusFrame.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"

const isStatus = Schema.is(Schema.Struct({ type: Schema.Literal("status") }))
const decode = Schema.decodeUnknown(StatusFrame)

/** The first frame in which this gateway shows a present run. */
const frameOf = (site: Gateways.Site) =>
  Effect.scoped(Effect.gen(function*() {
    const viewer = yield* Clients.greeted(site)
    yield* viewer.send("{\"type\":\"watch\"}")
    for (;;) {
      const message = yield* viewer.next
      if (!isStatus(message)) continue
      const frame = yield* decode(message)
      if (frame.runs?.at(-1)?.ending === "running") return frame
    }
  }))

const runsFile = (site: Gateways.Site) => RunLog.pathBeside(Gateways.configLock(site))

describe("the runs of a gateway", () => {
  it.scopedLive("show a stop, a crash and a takeover after restarts", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const first = yield* Gateways.startListening(site)
      const alone = yield* frameOf(site)
      assert.deepStrictEqual(alone.runs?.map(({ ending, pid }) => [ending, pid]), [["running", first.pid]])
      yield* Gateways.assertGone(site, yield* Gateways.stop(first))
      const second = yield* Gateways.startListening(site)
      yield* frameOf(site)
      yield* Gateways.stop(second, "SIGKILL")
      const third = yield* Gateways.startListening(site)
      const { runs = [] } = yield* frameOf(site)
      assert.deepStrictEqual(runs.map(({ ending, pid, reason, tookOver }) => ({ ending, pid, reason, tookOver })), [
        { ending: "stopped", pid: first.pid, reason: "stopped", tookOver: undefined },
        { ending: "crashed", pid: second.pid, reason: undefined, tookOver: undefined },
        { ending: "running", pid: third.pid, reason: undefined, tookOver: true }
      ])
      assert.strictEqual(yield* Gateways.modeOf(runsFile(site)), "600")
      yield* Gateways.assertGone(site, yield* Gateways.stop(third))
    }))

  it.scopedLive.each(["a folder", "a FIFO without a reader", "foreign text", "a link that leads nowhere"])(
    "do not disturb a gateway that finds %s in their place",
    (what) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const before = yield* Gateways.startListening(site)
        yield* Gateways.stop(before)
        yield* Effect.promise(async () => {
          await Fs.rm(runsFile(site), { force: true })
          if (what === "a folder") await Fs.mkdir(runsFile(site))
          if (what === "foreign text") await Fs.writeFile(runsFile(site), "\0torn {\"at\":")
          if (what === "a link that leads nowhere") await Fs.symlink("/nowhere/at/all", runsFile(site))
          if (what === "a FIFO without a reader") execFileSync("mkfifo", [runsFile(site)])
        })
        const gateway = yield* Gateways.startListening(site)
        const { runs = [] } = yield* frameOf(site)
        assert.deepStrictEqual(runs.map(({ ending }) => ending), ["running"])
        yield* Gateways.assertGone(site, yield* Gateways.within("5 seconds", Gateways.stop(gateway)))
      })
  )
})
