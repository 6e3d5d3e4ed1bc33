import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Browsers from "./support/browser.ts"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as StatusPages from "./support/statusPages.ts"

const getBrowser = Browsers.forFile()

/** Declares a test that uses a browser, with a long timeout for a busy machine. */
const inBrowser = (name: string, test: Parameters<typeof it.scopedLive>[1]) =>
  it.scopedLive.skipIf(Browsers.noBrowser !== undefined)(Program.named(name, Browsers.noBrowser), test, 120_000)

const { sees, textOf } = Browsers

const pageUrl = (site: Gateways.Site) => `http://127.0.0.1:${site.port}/`

const { brokenRules, fact, isIn, isWiderThanScreen, screens, textsOf } = StatusPages

/** Opens the status page and waits until it shows `state`. */
const openPage = (site: Gateways.Site, options: Parameters<typeof Browsers.open>[1] = {}, state = "listening") =>
  StatusPages.open(getBrowser, site, options, state)

/** An app that has its own WebSocket at `/`. */
const appFixture = fileURLToPath(new URL("../fixtures/webSockets.mjs", import.meta.url))

/** Sends a request without the empty line that ends its headers. A gateway that shuts down waits for such a request. */
const halfSent = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const connection = yield* Clients.connect(site)
    yield* connection.send("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n")
    // This request goes over a second connection, which is opened after the bytes above were sent. So when the gateway has
    // answered this request, it has received those bytes as well.
    yield* Clients.request(site, "/readyz")
    return connection
  })

describe("the status page", () => {
  inBrowser(
    "says which gateway this is, on every screen, and does nothing that its policy forbids",
    () =>
      Effect.gen(function*() {
        const [site, gateway] = yield* Gateways.newGateway({ flags: ["--profile", "blue"] })
        const record = yield* Gateways.readRecord(Gateways.configLock(site))
        for (const { name, ...screen } of screens) {
          yield* Effect.scoped(Effect.gen(function*() {
            const { complaints, origins, page } = yield* openPage(site, screen)
            yield* sees(page, "#neighbours-section")
            assert.strictEqual(yield* textOf(page, "h1"), `blue@${Os.hostname()}`)
            assert.strictEqual(
              yield* textOf(page, "#place"),
              `user ${Os.userInfo().username} · pid ${gateway.pid} · Node ${process.versions.node}`
            )
            assert.strictEqual(yield* textOf(page, "#state-text"), `Serving on ws://127.0.0.1:${site.port}.`)
            yield* StatusPages.unfold(page)
            assert.strictEqual(yield* fact(page, "Instance"), record.instanceId)
            assert.strictEqual(yield* fact(page, "Config"), site.configPath)
            assert.strictEqual(yield* fact(page, "State directory"), site.stateDir)
            assert.strictEqual(yield* fact(page, "Lock file"), Gateways.configLock(site))
            assert.match(yield* fact(page, "Enforced by"), Program.kernelLocks ? /^kernel lock$/ : /record only/)
            assert.match(yield* fact(page, "Held since"), / · \d\d:\d\d:\d\d$/)
            assert.strictEqual(yield* fact(page, "Supervisor"), "none")
            assert.notStrictEqual(yield* fact(page, "Reason"), "")
            assert.deepStrictEqual(yield* textsOf(page, "#history .what"), [
              "Listening",
              "Acquired the lock",
              "Started"
            ])
            assert.match(yield* textOf(page, "#uptime"), /^\d+ (s|min)$/)
            assert.isAtLeast(Number(yield* textOf(page, "#connections")), 1)
            assert.match(yield* Effect.promise(() => page.title()), /^Listening · blue@/)
            const typed = yield* textsOf(page, "#commands code")
            assert.lengthOf(typed, 3)
            assert.isTrue(
              typed.every((command) => command.includes(`--config ${site.configPath} --state-dir ${site.stateDir}`))
            )

            Browsers.assertPicture(yield* Effect.promise(() => page.screenshot()), screen.viewport.width)
            assert.isFalse(yield* isWiderThanScreen(page), name)
            assert.deepStrictEqual(yield* brokenRules(page), [], name)
            assert.deepStrictEqual(complaints(), [], name)
            assert.deepStrictEqual(origins(), [`http://127.0.0.1:${site.port}`, `ws://127.0.0.1:${site.port}`], name)
          }))
        }
      })
  )

  inBrowser("is live under a name below localhost, which the browser resolves by itself", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const named = `gateway.localhost:${site.port}`
      const { complaints, origins, page } = yield* Browsers.open(getBrowser)
      const answer = yield* Effect.promise(() => page.goto(`http://${named}/`))
      assert.strictEqual(answer?.status(), 200)
      yield* isIn(page, "listening")
      assert.deepStrictEqual(complaints(), [])
      assert.deepStrictEqual(origins(), [`http://${named}`, `ws://${named}`])
    }))

  inBrowser(
    "shows a drain, whom it waits for, its end, and the next start on the same port",
    () =>
      Effect.gen(function*() {
        const [site, first] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 minute"] })
        const { complaints, page } = yield* openPage(site)
        const stuck = yield* halfSent(site)
        yield* first.signal("SIGTERM")
        yield* isIn(page, "draining")
        yield* sees(page, "#state-text", "because it was asked to stop. Waiting for 1 connection.")
        assert.strictEqual(yield* textOf(page, "#state-word"), "Draining")
        yield* StatusPages.unfold(page)
        assert.deepStrictEqual((yield* textsOf(page, "#history .what")).slice(0, 2), ["Draining", "Listening"])
        assert.deepStrictEqual(yield* brokenRules(page), [])
        assert.deepStrictEqual(complaints(), [])

        yield* stuck.send("\r\n")
        yield* isIn(page, "ended")
        yield* sees(page, "#state-text", "has shut down, because it was asked to stop")
        yield* sees(page, "#as-of", /Last update .* \(\d\d:\d\d:\d\d\)/)
        yield* Gateways.assertGone(site, yield* first.ended)
        assert.deepStrictEqual(yield* brokenRules(page), [])

        const second = yield* Gateways.startListening(site)
        yield* isIn(page, "listening")
        yield* sees(page, "#place", `pid ${second.pid}`)
        // The browser logs each connection that failed while no gateway listened. The page itself must log nothing.
        for (const complaint of complaints()) assert.match(complaint, /ERR_CONNECTION_(REFUSED|RESET)/)
      })
  )

  inBrowser("open in a browser does not hold a shutdown", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway({ flags: ["--drain-timeout", "1 minute"] })
      const { page } = yield* openPage(site)
      yield* Gateways.assertGone(site, yield* Gateways.within("5 seconds", Gateways.stop(gateway)))
      yield* isIn(page, "ended")
    }))

  inBrowser("tells a crash from an end, and from whom the next one took the lock over", () =>
    Effect.gen(function*() {
      const [site, first] = yield* Gateways.newGateway()
      const { page } = yield* openPage(site)
      yield* Gateways.stop(first, "SIGKILL")
      yield* isIn(page, "lost")
      yield* sees(page, "#state-text", "no longer answers")
      yield* sees(page, "#retry-text", /Trying again/)
      yield* sees(page, "#as-of", "Last update")
      assert.deepStrictEqual(yield* brokenRules(page), [])

      yield* Gateways.startListening(site)
      yield* isIn(page, "listening")
      yield* StatusPages.unfold(page)
      yield* sees(page, "#history li", "Reclaimed a stale lock")
      yield* sees(page, "#history .detail", `left by pid ${first.pid} since `)
    }))

  inBrowser(
    "lists another gateway of this user when it comes, with what it is called as text",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const other = yield* Gateways.onAnotherPort(site)
        const markup = `<img src=x onerror=alert(1)><b>.json`
        const otherConfig = Path.join(site.root, markup)
        yield* Gateways.withConfig(site, markup)
        const env = { HOME: site.root }
        // The list of gateways also shows gateways of other tests, so the second profile needs a unique name.
        const profile = `second-${other.port}`
        const start = (site: Gateways.Site, profile: string, config: string) =>
          Gateways.startListening(site, {
            env,
            args: ["--port", String(site.port), "--profile", profile, "--config", config]
          })
        yield* start(site, "first", site.configPath)
        const { complaints, page } = yield* openPage(site)
        yield* sees(page, "#neighbours-section")
        const neighbour = yield* start(other, profile, otherConfig)
        yield* sees(page, "#neighbours li", profile)
        const card = page.locator("#neighbours li", { hasText: profile })
        const text = yield* Effect.promise(() => card.innerText())
        assert.include(text, `127.0.0.1:${other.port}`)
        assert.isDefined(neighbour.pid)
        assert.include(text, otherConfig)
        assert.strictEqual(
          yield* Effect.promise(() => card.locator("a").getAttribute("href")),
          `http://127.0.0.1:${other.port}/`
        )
        assert.isFalse(yield* isWiderThanScreen(page))
        assert.deepStrictEqual(yield* brokenRules(page), [])
        assert.strictEqual(yield* Effect.promise(() => page.locator("img, b").count()), 0)

        // The second gateway's own page also shows its config path as text and not as markup.
        yield* Effect.promise(() => card.locator("a").click())
        yield* sees(page, "#state-text", `127.0.0.1:${other.port}`)
        yield* StatusPages.unfold(page)
        assert.strictEqual(yield* fact(page, "Config"), otherConfig)
        assert.strictEqual(yield* Effect.promise(() => page.locator("img, b").count()), 0)
        assert.deepStrictEqual(complaints(), [])
      })
  )

  inBrowser("is used with the keyboard alone", () =>
    Effect.gen(function*() {
      const [site, gateway] = yield* Gateways.newGateway()
      const { page } = yield* openPage(site, { viewport: { width: 360, height: 740 } })
      const press = (key: string) => Effect.promise(() => page.keyboard.press(key))
      const focused = Effect.promise(() => page.locator(":focus").first().getAttribute("id"))
      const outlined = Effect.promise(() =>
        page.evaluate(
          "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
        )
      )

      yield* press("Tab")
      assert.strictEqual(yield* textOf(page, ":focus"), "Skip to the state")
      const box = yield* Effect.promise(() => page.locator(":focus").boundingBox())
      assert.isAtLeast(box?.y ?? -1, 0)
      assert.strictEqual(yield* outlined, "solid3px")
      yield* press("Enter")
      assert.strictEqual(yield* focused, "main")

      yield* Gateways.stop(gateway, "SIGKILL")
      yield* isIn(page, "lost")
      yield* press("Tab")
      assert.strictEqual(yield* focused, "retry-now")
      assert.strictEqual(yield* outlined, "solid3px")
      yield* Gateways.startListening(site)
      yield* press("Enter")
      yield* isIn(page, "listening")
    }))

  inBrowser("is for browsers: programs get 404, and the WebSocket", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      const { page } = yield* Browsers.open(getBrowser)
      const get = (accept: string, method = "GET") =>
        Effect.promise(() => page.request.fetch(pageUrl(site), { method, headers: { accept } }))
      const html = yield* get("text/html")
      assert.strictEqual(html.status(), 200)
      assert.strictEqual(html.headers()["content-type"], "text/html; charset=utf-8")
      assert.match(html.headers()["content-security-policy"] ?? "", /^default-src 'none'; script-src 'sha256-/)
      const head = yield* get("text/html", "HEAD")
      assert.strictEqual(head.status(), 200)
      assert.strictEqual((yield* Effect.promise(() => head.body())).length, 0)
      for (const accept of ["*/*", "application/json", "application/json, text/html;q=0.9"]) {
        assert.strictEqual((yield* get(accept)).status(), 404, accept)
      }
      assert.strictEqual((yield* get("text/html", "POST")).status(), 404)
      yield* Clients.hello(site)
      yield* Effect.promise(() => Fs.access(Gateways.configLock(site)))
    }))

  inBrowser("asks for the gateway's token, and keeps it for its tab alone", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const token = "a-token-of-more-than-32-characters/+="
      yield* Gateways.startListening(site, { env: { GATEWAY_TOKEN: token } })
      const { origins, page } = yield* openPage(site, {}, "token")
      const type = (text: string) =>
        Effect.promise(async () => {
          await page.keyboard.insertText(text)
          await page.keyboard.press("Enter")
        })
      yield* sees(page, "#token-form:not([hidden])")
      assert.strictEqual(yield* Effect.promise(() => page.locator(":focus").getAttribute("id")), "token")
      assert.strictEqual(yield* Effect.promise(() => page.locator("#token").getAttribute("type")), "password")
      assert.isFalse(yield* Effect.promise(() => page.locator("#facts").isVisible()))
      assert.isFalse(yield* Effect.promise(() => page.locator(".state").isVisible()))
      assert.strictEqual(yield* textOf(page, "#token-error"), "")
      assert.deepStrictEqual(yield* brokenRules(page), [])

      yield* type("another-token-of-more-than-32-characters")
      yield* sees(page, "#token-error", "This token was not accepted.")
      assert.strictEqual(yield* Effect.promise(() => page.locator("#token").getAttribute("aria-invalid")), "true")
      assert.deepStrictEqual(yield* brokenRules(page), [])
      yield* sees(page, "#token-form:not([hidden])")

      yield* Effect.promise(() => page.locator("#token").focus())
      yield* type(token)
      yield* isIn(page, "listening")
      assert.isFalse(yield* Effect.promise(() => page.locator("#token-form").isVisible()))
      // A link would get 401, because a browser sends no token with it.
      assert.notInclude(yield* textsOf(page, "#links a"), "Metrics")

      yield* Effect.promise(() => page.reload())
      yield* isIn(page, "listening")
      assert.strictEqual(yield* Effect.promise(() => page.evaluate("localStorage.length + document.cookie.length")), 0)
      assert.notInclude(yield* Effect.promise(() => page.content()), token)
      assert.notInclude(page.url(), token)
      assert.deepStrictEqual(origins(), [`http://127.0.0.1:${site.port}`, `ws://127.0.0.1:${site.port}`])

      // The browser keeps the token for the first tab only. So the page in a new tab has no token and is refused.
      yield* openPage(site, {}, "token")
    }))
})

describe("the status page in an app", () => {
  inBrowser(
    "finds the control socket where the app has moved it",
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const options = {
          port: site.port,
          stateDir: site.stateDir,
          configPath: site.configPath,
          routes: { "/": "/control" }
        }
        const app = yield* Processes.start([process.execPath, appFixture, "withPage", JSON.stringify(options)], {
          cwd: site.root,
          env: { PATH: Program.searchPath, HOME: site.root }
        })
        yield* app.listening
        const { complaints, page } = yield* Browsers.open(getBrowser)
        yield* Effect.promise(() => page.goto(`${pageUrl(site)}status`))
        yield* isIn(page, "listening")
        assert.deepStrictEqual(complaints(), [])
      })
  )
})
