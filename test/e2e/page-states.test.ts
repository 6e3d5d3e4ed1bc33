/**
 * The status page in every state, on a desktop and on a phone, in the light and in the dark. With `GATEWAY_PICTURES=<folder>`, the
 * test writes a picture of each into that folder.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Path from "node:path"
import type { Browser, Page } from "playwright-core"
import * as Browsers from "./support/browser.ts"
import * as PageStates from "./support/pageStates.ts"
import * as Program from "./support/program.ts"
import * as StatusPages from "./support/statusPages.ts"

let browser: Browser

beforeAll(async () => {
  if (Browsers.noBrowser === undefined) browser = await Browsers.launch()
}, 120_000)
afterAll(async () => {
  if (Browsers.noBrowser === undefined) await browser.close()
})

const inBrowser = (name: string, test: Parameters<typeof it.scopedLive>[1]) =>
  it.scopedLive.skipIf(Browsers.noBrowser !== undefined)(Program.named(name, Browsers.noBrowser), test, 300_000)

const folder = process.env["GATEWAY_PICTURES"]

const desktop = { width: 1280, height: 900 }
const phone = { width: 390, height: 844 }
const screens = [desktop, phone].flatMap((viewport) =>
  (["light", "dark"] as const).map((colorScheme) => ({ viewport, colorScheme, timezoneId: "UTC", locale: "en-GB" }))
)

/** Opens the page in a state, and waits until it shows the state. */
const open = (state: PageStates.State, screen: Parameters<typeof Browsers.open>[1]) =>
  Effect.gen(function*() {
    const url = yield* PageStates.serve(state)
    const watched = yield* Browsers.open(browser, screen)
    yield* Effect.promise(() => watched.page.goto(url))
    yield* StatusPages.isIn(watched.page, state.shows)
    return { ...watched, url }
  })

const boxOf = (page: Page, selector: string) =>
  Effect.promise(() => page.locator(selector).first().boundingBox({ timeout: 10_000 }))

describe("the status page", () => {
  for (const state of PageStates.states) {
    inBrowser(`is accessible, fits and keeps its policy: ${state.name}`, () =>
      Effect.gen(function*() {
        for (const screen of screens) {
          yield* Effect.scoped(Effect.gen(function*() {
            const name = `${state.name}-${screen.viewport.width}-${screen.colorScheme}`
            const { complaints, origins, page, url } = yield* open(state, screen)
            if (folder !== undefined) {
              yield* Effect.promise(() =>
                page.screenshot({
                  path: Path.join(folder, `${name.replaceAll(" ", "-")}.png`),
                  fullPage: true,
                  animations: "disabled"
                })
              )
            }
            assert.deepStrictEqual(yield* StatusPages.brokenRules(page), [], name)
            assert.isFalse(yield* StatusPages.isWiderThanScreen(page), name)
            if (state.frame !== undefined) {
              yield* Effect.promise(() => page.locator("summary").click())
              assert.deepStrictEqual(yield* StatusPages.brokenRules(page), [], `${name}, with details`)
              assert.isFalse(yield* StatusPages.isWiderThanScreen(page), `${name}, with details`)
            }
            // The browser itself reports each connection that failed. The page must report nothing.
            const own = complaints().filter((complaint) =>
              !/ERR_CONNECTION_|401|WebSocket connection to/.test(complaint)
            )
            assert.deepStrictEqual(own, [], name)
            assert.deepStrictEqual(origins(), [new URL(url).origin, url.replace("http", "ws").slice(0, -1)], name)
          }))
        }
      }))
  }
})
