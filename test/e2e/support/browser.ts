/**
 * Starts the headless Chromium that is installed on this machine, and opens pages in it. Each page records its errors and the
 * origins to which it sends requests.
 */
import { assert } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"
import { shared } from "../../fixtures/sharedResource.ts"
import * as Program from "./program.ts"

const executable = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
  .flatMap((name) => Option.toArray(Program.findTool(name)))
  .at(0)

/** The reason to skip a test that needs a browser; `undefined` if the test can run. */
export const noBrowser = executable === undefined ? "needs chromium(1)" : undefined

/** How long a test waits for one element, in milliseconds. */
const patience = 60_000

/** Flags for Chromium: they let it run as root and without a screen, and keep it from contacting other machines. */
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** Starts the browser with a temporary profile, which is deleted when the browser is closed with the scope. */
const launch: Effect.Effect<Browser, never, Scope.Scope> = executable === undefined
  ? Effect.dieMessage("no browser")
  : Effect.acquireRelease(
    Effect.promise(() => chromium.launch({ executablePath: executable, headless: true, args, timeout: 120_000 })),
    (browser) => Effect.promise(() => browser.close())
  )

/** Declares one browser for all tests of a file. `skipped`: the reason why these tests are skipped. */
export const forFile = (skipped = noBrowser): Effect.Effect<Browser> => shared(skipped, launch, 120_000)

export interface WatchedPage {
  readonly page: Page
  /** Returns the console messages and the uncaught errors of the page, and clears the list. */
  readonly complaints: () => ReadonlyArray<string>
  /** The origins that the page has sent requests to. */
  readonly origins: () => ReadonlyArray<string>
}

/** Opens a page in a new browser context, which has no stored data. The page and the context close when the scope closes. */
export const open = (
  getBrowser: Effect.Effect<Browser>,
  options: BrowserContextOptions = {}
): Effect.Effect<WatchedPage, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.acquireRelease(
      Effect.flatMap(getBrowser, (browser) => Effect.promise(() => browser.newContext(options))),
      (context) => Effect.promise(() => context.close())
    )
    const page = yield* Effect.promise(() => context.newPage())
    const complaints: Array<string> = []
    const origins = new Set<string>()
    page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`))
    page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`))
    page.on("request", (request) => {
      const url = new URL(request.url())
      origins.add(url.protocol === "data:" ? "data:" : url.origin)
    })
    page.on("websocket", (socket) => origins.add(new URL(socket.url()).origin))
    return {
      page,
      complaints: () => complaints.splice(0),
      origins: () => [...origins].toSorted()
    }
  })

/** Waits until an element exists and is visible. */
export const sees = (page: Page, selector: string, text?: string | RegExp): Effect.Effect<void> =>
  Effect.promise(() =>
    page.locator(selector, text === undefined ? {} : { hasText: text }).first().waitFor({ timeout: patience })
  )

/** The trimmed text of an element. */
export const textOf = (page: Page, selector: string): Effect.Effect<string> =>
  Effect.map(Effect.promise(() => page.locator(selector).first().innerText()), (text) => text.trim())

/** Checks that a PNG image has this width and more than one colour. */
export const assertPicture = (png: Buffer, width: number): void => {
  assert.strictEqual(png.subarray(1, 4).toString("latin1"), "PNG")
  assert.strictEqual(png.readUInt32BE(16), width)
  // A PNG of one colour compresses to less than 5,000 bytes, so a larger file has more than one colour.
  assert.isAbove(png.length, 5_000)
}
