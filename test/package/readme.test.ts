import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const read = (path: string) => Effect.promise(() => Fs.readFile(Path.join(root, path), "utf8"))

/** The part of a page below a heading of the second level. */
const section = (path: string, heading: string) =>
  Effect.map(read(path), (text) => {
    const part = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
    return part ?? assert.fail(`${path} has no section ${heading}`)
  })

describe("the Install sections (N52)", () => {
  it.effect("the README's comes before the first command that uses what it installs", () =>
    Effect.gen(function*() {
      const text = yield* read("README.md")
      const install = text.indexOf("\n## Install\n")
      assert.isAbove(install, 0)
      assert.isAbove(text.search(/^(\$ )?gateway /m), install)
      assert.include(yield* section("README.md", "Install"), "npm install --global gateway-lock")
    }))

  it.effect("has the registry, a tarball, a checkout and npx, with the package's own name and version", () =>
    Effect.gen(function*() {
      const text = yield* section("docs/operate.md", "Install")
      const manifest: unknown = JSON.parse(
        yield* Effect.promise(() => Fs.readFile(Path.join(root, "package.json"), "utf8"))
      )
      assert.isTrue(typeof manifest === "object" && manifest !== null && "name" in manifest && "version" in manifest)
      if (typeof manifest !== "object" || manifest === null || !("name" in manifest && "version" in manifest)) return
      for (
        const command of [
          `npm install --global ${manifest.name}`,
          `npm install --global ./${manifest.name}-${manifest.version}.tgz`,
          `npx ${manifest.name} status`,
          "npm ci && npm run build && npm link"
        ]
      ) assert.include(text, command)
      assert.include(yield* section("docs/operate.md", "Uninstall"), `npm uninstall --global ${manifest.name}`)
    }))

  it.scopedLive(
    "from a checkout: after npm link one can type gateway, also for a service, and npm uninstall takes it back",
    () =>
      Effect.gen(function*() {
        const place = yield* Gateways.temporaryFolder
        const env = {
          PATH: `${Path.join(place, "bin")}${Path.delimiter}${Program.searchPath}`,
          HOME: place,
          // npm installs global packages below `NPM_CONFIG_PREFIX`. With `NPM_CONFIG_OFFLINE`, npm asks no registry.
          NPM_CONFIG_PREFIX: place,
          NPM_CONFIG_OFFLINE: "true"
        }
        const run = (cwd: string, ...words: ReadonlyArray<string>) =>
          Effect.scoped(
            Effect.flatMap(Processes.start(words, { cwd, env, patience: "60 seconds" }), ({ ended }) => ended)
          )
        const linked = yield* run(root, "npm", "link")
        assert.strictEqual(linked.code, 0, linked.stderr)

        const version = yield* run(place, "gateway", "--version")
        assert.match(version.stdout, /^gateway \d+\.\d+\.\d+\n$/)
        // The service definition names the link in npm's `bin` folder, because npm keeps that link when it replaces the
        // package.
        const printed = yield* run(place, "gateway", "service", "print", "--manager", "launchd")
        assert.include(
          printed.stdout,
          `<string>${Path.join(yield* Effect.promise(() => Fs.realpath(place)), "bin", "gateway")}</string>`
        )

        const removed = yield* run(place, "npm", "uninstall", "--global", "gateway-lock")
        assert.strictEqual(removed.code, 0, removed.stderr)
        assert.deepStrictEqual(yield* Gateways.namesIn(Path.join(place, "bin")), [])
      })
  )
})
