/**
 * A headless Chromium that is installed here, and pages in it that are watched for what they must not do.
 */
import { assert } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"
import * as Program from "./program.ts"

const executable = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
  .flatMap((name) => Option.toArray(Program.findTool(name)))
  .at(0)

/** Why a test that needs a browser must be skipped; `undefined` where it can run. */
export const noBrowser = executable === undefined ? "needs chromium(1)" : undefined

/** For one element to appear, in milliseconds. */
const patience = 60_000

/** As root and without a screen; and it stays on this machine. */
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** With a profile of its own, which is gone when the browser is closed. */
export const launch = (): Promise<Browser> =>
  executable === undefined
    ? Promise.reject(new Error("no browser"))
    : chromium.launch({ executablePath: executable, headless: true, args })

export interface WatchedPage {
  readonly page: Page
  /** What it wrote to the console since the last time it was asked, and the errors that nobody caught. */
  readonly complaints: () => ReadonlyArray<string>
  /** Where it sent requests to. */
  readonly origins: () => ReadonlyArray<string>
}

/** A page of its own context, without storage; both are gone when the scope closes. */
export const open = (
  browser: Browser,
  options: BrowserContextOptions = {}
): Effect.Effect<WatchedPage, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.acquireRelease(
      Effect.promise(() => browser.newContext(options)),
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

/** Waits until an element is there and visible. */
export const sees = (page: Page, selector: string, text?: string | RegExp): Effect.Effect<void> =>
  Effect.promise(() =>
    page.locator(selector, text === undefined ? {} : { hasText: text }).first().waitFor({ timeout: patience })
  )

/** The text of an element, without what is around it. */
export const textOf = (page: Page, selector: string): Effect.Effect<string> =>
  Effect.map(Effect.promise(() => page.locator(selector).first().innerText()), (text) => text.trim())

/** What an image file is worth: it has a size, and is not of one colour. */
export const assertPicture = (png: Buffer, width: number): void => {
  assert.strictEqual(png.subarray(1, 4).toString("latin1"), "PNG")
  assert.strictEqual(png.readUInt32BE(16), width)
  // One colour compresses to next to nothing.
  assert.isAbove(png.length, 5_000)
}
