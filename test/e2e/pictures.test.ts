/**
 * The pictures of the README. `npm run pictures` makes them. Otherwise this test checks that they are there, and that what they show
 * still looks like that: by the text of the terminal, and by the outline of the page, because pixels vary with fonts.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, DateTime, Effect, Option } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as StatusReport from "../../src/cli/StatusReport.ts"
import type { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import * as Terminal from "../fixtures/terminal.ts"
import * as Browsers from "./support/browser.ts"
import * as PageStates from "./support/pageStates.ts"
import * as Program from "./support/program.ts"
import * as StatusPages from "./support/statusPages.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const [page, outline, terminal] = [
  Path.join(root, "docs/images/status-page.png"),
  Path.join(root, "test/fixtures/statusPage.outline.yml"),
  Path.join(root, "docs/images/status.svg")
]
const remake = Option.isSome(Effect.runSync(Config.option(Config.string("GATEWAY_PICTURES"))))

const getBrowser = Browsers.forFile()

const viewport = { width: 1120, height: 800 }

/** The same gateway as in the picture of the page. */
const running: GatewayStatus = {
  version: 1,
  asOf: DateTime.unsafeMake("2026-11-30T14:32:10.000Z"),
  verdict: "running",
  reason: "the owner of the lock answers and is healthy",
  profile: "blue",
  configPath: "/home/deploy/.config/gateway-lock/blue/gateway.json",
  stateDir: "/home/deploy/.local/state/gateway-lock/blue",
  lock: {
    path: "/home/deploy/.local/state/gateway-lock/blue/locks/gateway.17c972b3.lock",
    state: "held",
    enforcement: "kernel"
  },
  owner: {
    pid: 4711,
    pidMeaning: "Alive",
    command: "node",
    since: DateTime.unsafeMake("2026-11-30T09:32:11.000Z"),
    phase: "listening",
    profile: "blue",
    configPath: "/home/deploy/.config/gateway-lock/blue/gateway.json",
    stateDir: "/home/deploy/.local/state/gateway-lock/blue",
    host: "127.0.0.1",
    port: 18789,
    instanceId: "0583bbf6-675d-4cf7-bfc9-52697242039a",
    supervisor: "systemd",
    unit: { name: "gateway-blue.service", scope: "user" }
  },
  port: {
    host: "127.0.0.1",
    port: 18789,
    from: "owner",
    state: "gateway",
    listeners: [{ host: "127.0.0.1", pid: 4711, command: "node", isOwner: true }]
  },
  health: {
    healthy: true,
    identity: "owner",
    instanceId: "0583bbf6-675d-4cf7-bfc9-52697242039a",
    detail: "a healthy gateway"
  },
  warnings: []
}

describe("the picture of the status page", () => {
  it.scopedLive.skipIf(Browsers.noBrowser !== undefined)(
    Program.named("shows the page as it is", Browsers.noBrowser),
    () =>
      Effect.gen(function*() {
        const state = PageStates.states.find(({ name }) => name === "neighbours")
        assert.isDefined(state)
        const url = yield* PageStates.serve(state)
        const watched = yield* Browsers.open(getBrowser, {
          viewport,
          colorScheme: "light",
          timezoneId: "UTC",
          locale: "en-GB"
        })
        yield* Effect.promise(() => watched.page.goto(url))
        yield* StatusPages.isIn(watched.page, state.shows)
        const seen = yield* Effect.promise(() => watched.page.locator("body").ariaSnapshot())
        if (remake) {
          const png = yield* Effect.promise(() => watched.page.screenshot({ animations: "disabled" }))
          Fs.writeFileSync(page, png)
          Fs.writeFileSync(outline, `${seen}\n`)
        }
        assert.strictEqual(`${seen}\n`, Fs.readFileSync(outline, "utf8"), "the page has changed: npm run pictures")
      }),
    120_000
  )

  it("is small enough for a README, and has the size of its screen", () => {
    const png = Fs.readFileSync(page)
    Browsers.assertPicture(png, viewport.width)
    assert.isBelow(png.length, 150_000)
  })
})

describe("the picture of gateway status", () => {
  it("shows what the program prints", () => {
    const asked = { flags: new Map([["profile", "blue"]]), isLeased: false }
    const text = StatusReport.toText(running, asked, running.asOf.epochMillis, { colors: true }, "linux")
    const drawn = Terminal.draw("gateway status --profile blue", text)
    if (remake) Fs.writeFileSync(terminal, drawn)
    assert.strictEqual(drawn, Fs.readFileSync(terminal, "utf8"), "the output has changed: npm run pictures")
  })
})

describe("the pictures", () => {
  it("are near the top of the README, each with a text for those who do not see it", () => {
    const top = Fs.readFileSync(Path.join(root, "README.md"), "utf8").split("\n## ")[0] ?? ""
    for (const name of ["status-page.png", "status.svg"]) {
      assert.match(top, new RegExp(`!\\[[^\\]]{20,}\\]\\(docs/images/${name.replace(".", "\\.")}\\)`))
    }
  })
})
