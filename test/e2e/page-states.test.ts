/**
 * The status page in every state, on a desktop and on a phone, in the light and in the dark. With `GATEWAY_PICTURES=<folder>`, the
 * test writes a picture of each into that folder.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, Option } from "effect"
import * as Path from "node:path"
import type { Page } from "playwright-core"
import * as Browsers from "./support/browser.ts"
import * as PageStates from "./support/pageStates.ts"
import * as Program from "./support/program.ts"
import * as StatusPages from "./support/statusPages.ts"

const getBrowser = Browsers.forFile()

const inBrowser = (name: string, test: Parameters<typeof it.scopedLive>[1]) =>
  it.scopedLive.skipIf(Browsers.noBrowser !== undefined)(Program.named(name, Browsers.noBrowser), test, 300_000)

/** Where pictures are written. Without it, none is. */
const folder = Option.getOrUndefined(Effect.runSync(Config.option(Config.string("GATEWAY_PICTURES"))))

const desktop = { width: 1280, height: 900 }
const phone = { width: 390, height: 844 }
const place = { timezoneId: "UTC", locale: "en-GB" }

/** Each size and each colour scheme. For pictures, all pairs of them. */
const screens = ([[desktop, "light"], [phone, "dark"], [desktop, "dark"], [phone, "light"]] as const)
  .slice(0, folder === undefined ? 2 : 4)
  .map(([viewport, colorScheme]) => ({ viewport, colorScheme, ...place }))

/** Opens the page in a state, and waits until it shows the state. */
const open = (state: PageStates.State, screen: Parameters<typeof Browsers.open>[1]) =>
  Effect.gen(function*() {
    const url = yield* PageStates.serve(state)
    const watched = yield* Browsers.open(getBrowser, screen)
    yield* Effect.promise(() => watched.page.goto(url))
    yield* StatusPages.isIn(watched.page, state.shows)
    return { ...watched, url }
  })

/** Writes a picture of the whole page. */
const picture = (page: Page, name: string) =>
  Effect.promise(() =>
    page.screenshot({
      path: Path.join(folder ?? "", `${name.replaceAll(" ", "-")}.png`),
      fullPage: true,
      animations: "disabled"
    })
  )

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
            if (folder !== undefined) yield* picture(page, name)
            if (folder === undefined) assert.deepStrictEqual(yield* StatusPages.brokenRules(page), [], name)
            assert.isFalse(yield* StatusPages.isWiderThanScreen(page), name)
            if (state.frame !== undefined) {
              yield* StatusPages.unfold(page)
              if (folder === undefined) {
                assert.deepStrictEqual(yield* StatusPages.brokenRules(page), [], `${name}, with details`)
              } else {
                yield* picture(page, `${name}-details`)
              }
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

  inBrowser(
    "shows on its first screen who, the state, ten minutes, the runs and the worst of the others",
    () =>
      Effect.gen(function*() {
        const state = PageStates.states.find(({ name }) => name === "neighbours")
        assert.isDefined(state)
        const { page } = yield* open(state, { viewport: desktop, ...place })
        const first = [
          "#name",
          "#state-word",
          "#uptime",
          ...["connections", "requests", "memory", "lag"].map((id) => `#${id}-chart svg`),
          "#strip svg",
          "#neighbours li.tone-bad",
          "#commands code"
        ]
        const boxes = yield* Effect.forEach(first, (selector) => boxOf(page, selector))
        for (const [index, box] of boxes.entries()) {
          assert.isNotNull(box, first[index])
          assert.isAbove(box.height, 0, first[index])
          assert.isAtMost(box.y + box.height, desktop.height, first[index])
          assert.isAtMost(box.x + box.width, desktop.width, first[index])
        }
        // In this order, from top to bottom.
        const tops = boxes.slice(0, -1).map((box) => Math.round(box?.y ?? 0))
        assert.isBelow(tops[0] ?? 0, tops[1] ?? 0)
        assert.isBelow(tops[1] ?? 0, tops[3] ?? 0)
        assert.strictEqual(new Set(tops.slice(3, 7)).size, 1)
        assert.isBelow(tops[6] ?? 0, tops[7] ?? 0)
        assert.isBelow(tops[7] ?? 0, tops[8] ?? 0)
        const names = yield* StatusPages.textsOf(page, "#neighbours li .name :is(a, strong)")
        assert.deepStrictEqual(names, [
          "events",
          "billing",
          "mail",
          "docs",
          "web",
          "api",
          "cache",
          "green",
          "importer",
          "search"
        ])
        assert.strictEqual(yield* Browsers.textOf(page, "#neighbours-text"), "3 of 10 have problems")
        const links = yield* Effect.promise(() =>
          page.locator("#neighbours a").evaluateAll((all) => all.map((link) => link.getAttribute("href")))
        )
        // A gateway that has ended has no page.
        assert.lengthOf(links, 9)
        assert.include(links, "http://127.0.0.1:18805/")
      })
  )

  inBrowser("copies a command, and says so", () =>
    Effect.gen(function*() {
      const state = PageStates.states.find(({ name }) => name === "listening")
      assert.isDefined(state)
      const { page } = yield* open(state, {
        viewport: phone,
        permissions: ["clipboard-read", "clipboard-write"],
        ...place
      })
      const button = page.locator("#commands button").first()
      yield* Effect.promise(() => button.click())
      yield* Browsers.sees(page, "#commands button", "Copied")
      const copied = yield* Effect.promise(() => page.evaluate("navigator.clipboard.readText()"))
      assert.strictEqual(copied, "systemctl --user restart gateway-blue")
      assert.strictEqual(yield* Effect.promise(() => page.locator("#said").textContent()), `Copied: ${copied}`)
      // Where the browser gives no clipboard, as over plain HTTP from elsewhere, the selection is copied.
      yield* Effect.promise(() => page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })"))
      yield* Effect.promise(() => page.locator("#commands button").nth(1).click())
      yield* Browsers.sees(page, "#commands button:text('Copied') >> nth=0")
      assert.strictEqual(
        yield* Effect.promise(() => page.evaluate("getSelection().toString()")),
        "systemctl --user stop gateway-blue"
      )
    }))

  inBrowser("has a title and an icon of its own for each state", () =>
    Effect.gen(function*() {
      const icons = new Map<string, string>()
      for (const state of PageStates.states) {
        const { page } = yield* open(state, { viewport: desktop, ...place })
        const title = yield* Effect.promise(() => page.title())
        const word = state.shows === "token" ? "Access token" : yield* Browsers.textOf(page, "#state-word")
        assert.strictEqual(title.split(" · ")[0], word)
        if (state.frame !== undefined) assert.strictEqual(title.split(" · ")[1], "blue@web-01")
        const icon = yield* Effect.promise(() => page.locator("#icon").getAttribute("href"))
        assert.match(icon ?? "", /^data:image\/svg\+xml,/)
        icons.set(state.shows, icon ?? "")
      }
      assert.strictEqual(new Set(icons.values()).size, icons.size)
    }))

  inBrowser("dims what it knew when the connection is lost, and shows it bright again", () =>
    Effect.gen(function*() {
      const lost = PageStates.states.find(({ name }) => name === "lost")
      const listening = PageStates.states.find(({ name }) => name === "neighbours")
      assert.isDefined(lost)
      assert.isDefined(listening)
      const colours = (state: PageStates.State) =>
        Effect.gen(function*() {
          const { page } = yield* open(state, { viewport: desktop, ...place })
          return yield* Effect.promise(() =>
            page.evaluate(
              "['#connections', '#neighbours .word', '#strip .run'].map((one) => {"
                + "const style = getComputedStyle(document.querySelector(one)); return style.color + style.fill })"
            )
          )
        })
      const [before, after] = [yield* colours(listening), yield* colours(lost)]
      assert.notDeepEqual(after, before)
    }))
})
