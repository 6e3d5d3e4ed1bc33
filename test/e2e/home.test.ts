import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { notLinux, unless } from "../fixtures/skips.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"

/** A uid that the user database does not have. */
const nameless = 54_321

/** A command prefix that runs a program as the user `nameless`, without HOME. */
const homeless: ReadonlyArray<string> = ["env", "--unset=HOME", ...Program.as(nameless)]

/** A site (the folders and the port of one gateway) whose folders belong to the user `nameless`. */
const siteOfNameless = Effect.tap(
  Gateways.newSite,
  (site) => Gateways.giveTo(nameless, site.root)
)

const needsHome = Program.noOtherUser ?? (Program.isLinux ? undefined : "needs Linux")

describe("a user without a home folder and without HOME", () => {
  it.scopedLive.skipIf(needsHome !== undefined)(
    Program.named("runs, asks and stops a gateway whose paths are all given", needsHome),
    () =>
      Effect.gen(function*() {
        const site = yield* siteOfNameless
        yield* Gateways.writeConfig(site, {})
        const gateway = yield* Gateways.startListening(site, { under: homeless })
        const ask = (...words: ReadonlyArray<string>) =>
          Gateways.run(site, {
            under: homeless,
            args: [...words, "--port", String(site.port), "--state-dir", site.stateDir, "--config", site.configPath]
          })
        for (const words of [["status"], ["health"], ["list"], ["doctor"], ["run", "--ensure"], ["stop"]]) {
          const { code, stderr } = yield* ask(...words)
          assert.deepStrictEqual({ words, code }, { words, code: 0 }, stderr)
          assert.notMatch(stderr, /^\s+at /m)
        }
        yield* Gateways.assertGone(site, yield* gateway.ended)
      })
  )

  it.scopedLive.skipIf(needsHome !== undefined)(
    Program.named("gets help, the version and completions", needsHome),
    () =>
      Effect.gen(function*() {
        const site = yield* siteOfNameless
        for (const args of [["--version"], ["--help"], ["run", "--help"], ["completions", "bash"]]) {
          const { code, stderr, stdout } = yield* Gateways.run(site, { under: homeless, args })
          assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
          assert.notStrictEqual(stdout, "")
        }
      })
  )

  it.scopedLive.skipIf(needsHome !== undefined)(
    Program.named("is told in one line, with status 64, what is missing where a default folder is needed", needsHome),
    () =>
      Effect.gen(function*() {
        const site = yield* siteOfNameless
        yield* Gateways.writeConfig(site, {})
        const stateDir = ["--state-dir", site.stateDir]
        const config = ["--config", site.configPath]
        const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, missing: string]> = [
          [["run"], "config file"],
          [["run", ...stateDir], "config file"],
          [["run", ...config], "state directory"],
          [["status"], "config file"],
          [["health", ...config], "state directory"],
          [["stop"], "config file"],
          [["doctor", ...config], "state directory"],
          [["service", "print"], "config file"],
          // systemd reads a user's units from the home folder, so `service install` needs one.
          [["service", "install", "--dry-run", ...config, ...stateDir], "home folder"]
        ]
        for (const [args, missing] of cases) {
          const words = [...args, "--port", String(site.port)]
          const { code, stderr } = yield* Gateways.run(site, { under: homeless, args: words })
          assert.deepStrictEqual({ args, code }, { args, code: 64 }, stderr)
          assert.match(stderr, /^gateway: [^\n]+\n$/, stderr)
          for (const part of [missing, "HOME"]) assert.include(stderr, part)
        }
        const list = yield* Gateways.run(site, { under: homeless, args: ["list", "--json"] })
        assert.strictEqual(list.code, 0, list.stderr)
        assert.match(list.stdout, /"notCovered": \[\s+"[^"]*HOME/)
      })
  )

  it.scopedLive.skipIf(needsHome !== undefined)(
    Program.named("needs none where XDG variables name the folders", needsHome),
    () =>
      Effect.gen(function*() {
        const site = yield* siteOfNameless
        const env = { XDG_STATE_HOME: Path.join(site.root, "s"), XDG_CONFIG_HOME: Path.join(site.root, "c") }
        const stateDir = Path.join(env.XDG_STATE_HOME, "gateway-lock", "default")
        const configPath = Path.join(env.XDG_CONFIG_HOME, "gateway-lock", "default", "gateway.json")
        yield* Gateways.startListening(site, { under: homeless, args: ["--port", String(site.port)], env })
        const record = yield* Gateways.readRecord(Gateways.configLock({ ...site, stateDir, configPath }))
        assert.strictEqual(record.stateDir, stateDir)
      })
  )
})

describe("a home folder in which no folder can be made", () => {
  // A folder of /proc exists, but `mkdir` in it fails with ENOENT, as if it did not. Node's recursive `mkdir` then never ends.
  unless(notLinux).scopedLive("gateway service install says so in one line", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const installed = yield* Gateways.run(site, {
        args: ["service", "install", "--manager", "systemd"],
        env: { XDG_CONFIG_HOME: "/proc/nowhere" }
      })
      assert.strictEqual(installed.code, 1)
      // Another line is a warning, if the program under test is in a folder that the system cleans, such as /tmp.
      assert.match(
        installed.stderr,
        /(?:^|\n)gateway: cannot make the folder \/proc\/nowhere\/systemd\/user: ENOENT: [^\n]+ '\/proc\/nowhere'; make [^\n]+\n$/
      )
    }))
})

describe("a default folder does not depend on the folder that a start is typed in:", () => {
  const relative: ReadonlyArray<readonly [what: string, env: Record<string, string>]> = [
    ["relative XDG variables are ignored", { XDG_STATE_HOME: ".state", XDG_CONFIG_HOME: "config" }],
    ["XDG variables that begin with a tilde are", { XDG_STATE_HOME: "~/state", XDG_CONFIG_HOME: "~" }],
    ["and empty ones are", { XDG_STATE_HOME: "", XDG_CONFIG_HOME: "" }]
  ]
  for (const [what, env] of relative) {
    unless(notLinux).scopedLive(what, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const other = yield* Gateways.onAnotherPort(site)
        const [here, there] = [Path.join(site.root, "here"), Path.join(site.root, "there")]
        yield* Effect.promise(() => Promise.all([Fs.mkdir(here), Fs.mkdir(there)]))
        const from = (folder: string, { port }: Gateways.Site) => ({
          under: ["env", `--chdir=${folder}`],
          args: ["--port", String(port)],
          env
        })
        const gateway = yield* Gateways.startListening(site, from(here, site))
        const second = yield* Gateways.run(other, from(there, other))
        Gateways.assertRefused(second, `gateway already running (pid ${gateway.pid}) on ${Gateways.url(site)}`)
        const stateDir = Path.join(site.root, ".local/state/gateway-lock/default")
        const configPath = Path.join(site.root, ".config/gateway-lock/default/gateway.json")
        yield* Gateways.readRecord(Gateways.configLock({ ...site, stateDir, configPath }))
      }))
  }

  for (const [what, HOME] of [["empty", ""], ["relative", "."]] as const) {
    it.scopedLive.skipIf(needsHome !== undefined)(
      Program.named(`a HOME that is ${what} is no home`, needsHome),
      () =>
        Effect.gen(function*() {
          const site = yield* siteOfNameless
          const { code, stderr } = yield* Gateways.run(site, {
            under: Program.as(nameless),
            args: ["--port", String(site.port)],
            env: { HOME }
          })
          assert.strictEqual(code, 64, stderr)
          assert.match(stderr, /^gateway: [^\n]*HOME[^\n]*\n$/)
          assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
        })
    )
  }
})
