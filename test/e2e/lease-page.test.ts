/**
 * What the status page shows of a leader and of a candidate, in a real browser and with a real PostgreSQL server.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import * as Postgres from "../fixtures/postgres.ts"
import { unless } from "../fixtures/skips.ts"
import * as Browsers from "./support/browser.ts"
import * as Gateways from "./support/gateways.ts"
import * as StatusPages from "./support/statusPages.ts"

const skipped = Browsers.noBrowser ?? Postgres.noPostgres
const getBrowser = Browsers.forFile(skipped)

const { fact, isIn, open, textsOf } = StatusPages
const { sees, textOf } = Browsers

const times = {
  GATEWAY_LEASE_DURATION: "5 seconds",
  GATEWAY_LEASE_RENEW_INTERVAL: "500 millis",
  GATEWAY_LEASE_ATTEMPT_TIMEOUT: "500 millis",
  GATEWAY_LEASE_RENEW_DEADLINE: "2500 millis",
  GATEWAY_LEASE_STOP_TIMEOUT: "2 seconds"
}

unless(skipped).describe("the status page of gateways with a lease", () => {
  unless(skipped).scopedLive(
    "says who leads and who stands by, on every screen, and follows a takeover",
    () =>
      Effect.gen(function*() {
        const server = yield* Postgres.startPostgres()
        const env = { ...times, GATEWAY_LEASE_URL: server.url({ password: "s3cret-word" }) }
        const one = yield* Gateways.newSite
        const leader = yield* Gateways.startListening(one, { env })
        const token = /token (\d+)/.exec(yield* leader.line(/leads default with fencing token \d+/))?.[1] ?? "none"
        const two = yield* Gateways.newSite
        const candidate = yield* Gateways.startListening(two, { env })
        yield* candidate.line(/waiting to lead default at /)
        for (const { name, ...screen } of StatusPages.screens) {
          yield* Effect.scoped(Effect.gen(function*() {
            const led = yield* open(getBrowser, one, screen)
            const waits = yield* open(getBrowser, two, screen, "standby")
            yield* sees(led.page, "#state-text", /, and leads default\.$/)
            assert.strictEqual(yield* fact(led.page, "This gateway"), "leads")
            assert.strictEqual(yield* fact(led.page, "Lease"), "default")
            assert.match(yield* fact(led.page, "Store"), /^postgresql:\/\/127\.0\.0\.1:\d+\/postgres$/)
            assert.strictEqual(yield* fact(led.page, "Fencing token"), token)
            assert.match(yield* fact(led.page, "Last renewal"), /^(just now|\d+ s ago) · \d\d:\d\d:\d\d$/)
            assert.match(yield* fact(led.page, "Stops leading"), /^(in \d s|now), unless it renews the lease$/)
            assert.strictEqual(yield* fact(led.page, "Leader"), "this gateway")
            assert.strictEqual(yield* textOf(waits.page, "#state-word"), "Standing by")
            assert.match(yield* textOf(waits.page, "#state-text"), /^Waits to lead default\. /)
            assert.strictEqual(yield* fact(waits.page, "This gateway"), "stands by")
            yield* sees(led.page, `#neighbours li:has-text("${two.configPath}") .word`, "standing by")
            for (const { complaints, page } of [led, waits]) {
              assert.isFalse(yield* StatusPages.isWiderThanScreen(page), name)
              assert.deepStrictEqual(yield* StatusPages.brokenRules(page), [], name)
              assert.deepStrictEqual(complaints(), [], name)
              assert.notInclude(yield* Effect.promise(() => page.content()), "s3cret")
            }
          }))
        }
        const led = yield* open(getBrowser, one)
        const waits = yield* open(getBrowser, two, {}, "standby")
        const resigned = yield* Gateways.run(two, { args: ["leader", "resign"], env })
        assert.strictEqual(resigned.code, 0, resigned.stderr)
        yield* isIn(led.page, "ended")
        yield* sees(led.page, "#state-text", "because it has lost its leadership")
        yield* isIn(waits.page, "listening")
        yield* StatusPages.unfold(waits.page)
        assert.deepStrictEqual((yield* textsOf(waits.page, "#history .what")).slice(0, 3), [
          "Leads",
          "Listening",
          "Waits to lead"
        ])
        assert.isTrue(BigInt(yield* fact(waits.page, "Fencing token")) > BigInt(token))
        // Not live any more: the page must not say when the lease ends as if it saw renewals.
        yield* sees(led.page, `xpath=//dl[@id="lease"]`, /lost; the gateway ends/)
      }),
    120_000
  )
})
