/** The judge of `npm run test:hosts`: it must find what those tests look for. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import { notPosix, unless } from "../fixtures/skips.ts"
import * as Journal from "./support/journal.ts"

/** A journal after work has written these lines. */
const written = (...lines: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const journal = yield* Journal.open
    yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect(journal.path).end([...lines, "over", ""].join("\n"))),
      (socket) => Effect.sync(() => socket.destroy())
    )
    yield* journal.until("all is read", () => journal.lines.includes("over"))
    return journal
  })

const { scopedLive } = unless(notPosix)

scopedLive("a judge accepts terms one after another with growing tokens", () =>
  Effect.gen(function*() {
    const { judge, terms } = yield* written("a 1 10 10", "a 1 30 30", "b 2 31 31", "a 3 40 42")
    judge()
    assert.deepStrictEqual(terms[0], { host: "a", token: 1n, first: 10, last: 30 })
  }))

scopedLive("a judge finds an act of a former leader after the first act of the next one", () =>
  Effect.gen(function*() {
    const { judge } = yield* written("a 1 10 10", "b 2 20 20", "a 1 21 21")
    assert.throws(judge, /a with token 1 acts beside b with token 2/)
  }))

scopedLive(
  "a judge counts a probe only for the time in which the answer was yes for certain",
  () =>
    Effect.gen(function*() {
      // Host b may have begun to lead just before 25, and host a may have ended just after 20.
      const { judge } = yield* written("a 1 10 12", "a 1 20 24", "b 2 18 25")
      judge()
      assert.throws((yield* written("a 1 26 30", "b 2 18 25")).judge, /token 1 after 2/)
    })
)

scopedLive("a judge finds a token that did not grow", () =>
  Effect.gen(function*() {
    assert.throws((yield* written("a 2 10 10", "b 1 20 20")).judge, /token 1 after 2/)
    assert.throws((yield* written("a 2 10 10", "b 2 20 20")).judge, /token 2 after 2/)
  }))
