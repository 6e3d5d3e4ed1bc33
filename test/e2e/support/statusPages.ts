/**
 * Reads the status page of a gateway in a browser.
 */
import Axe from "axe-core"
import { Effect } from "effect"
import type { Browser, Page } from "playwright-core"
import * as Browsers from "./browser.ts"
import type * as Gateways from "./gateways.ts"

export const isIn = (page: Page, state: string) => Browsers.sees(page, `html[data-state="${state}"]`)

/** Opens the status page and waits until it shows `state`. */
export const open = (
  getBrowser: Effect.Effect<Browser>,
  site: Gateways.Site,
  options: Parameters<typeof Browsers.open>[1] = {},
  state = "listening"
) =>
  Effect.gen(function*() {
    const watched = yield* Browsers.open(getBrowser, options)
    yield* Effect.promise(() => watched.page.goto(`http://127.0.0.1:${site.port}/`))
    yield* isIn(watched.page, state)
    return watched
  })

export const textsOf = (page: Page, selector: string) => Effect.promise(() => page.locator(selector).allInnerTexts())

/** Opens the details. */
export const unfold = (page: Page) => Effect.promise(() => page.locator("summary").click())

/** The value that the list of facts shows for a label. */
export const fact = (page: Page, label: string) =>
  Browsers.textOf(page, `xpath=//dl[contains(@class,"facts")]/div[dt[.="${label}"]]/dd`)

/** Returns the accessibility rules that the page breaks, each with the elements that break it. */
export const brokenRules = (page: Page) =>
  Effect.promise(async () => {
    await page.evaluate(Axe.source)
    const { violations } = await page.evaluate((): Promise<Axe.AxeResults> =>
      // The axe script defines the global `axe`. The first `page.evaluate` above has run that script in the page.
      Reflect.get(globalThis, "axe").run()
    )
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)
  })

export const isWiderThanScreen = (page: Page) =>
  Effect.promise(() => page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

export const screens = [
  { name: "phone, light", viewport: { width: 360, height: 740 }, colorScheme: "light" },
  { name: "phone, dark", viewport: { width: 360, height: 740 }, colorScheme: "dark" },
  { name: "desktop, light", viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  { name: "desktop, dark", viewport: { width: 1280, height: 800 }, colorScheme: "dark", reducedMotion: "reduce" }
] as const
