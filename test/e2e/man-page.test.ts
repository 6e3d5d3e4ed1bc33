import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { commands, parse } from "../../src/cli/CommandLine.ts"
import { ofEvery } from "../../src/cli/ExitStatus.ts"
import { manPage } from "../../src/cli/ManPage.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const source = manPage({ year: 2026, month: "January", day: 1 })

/** Writes the source of the manual page to a file, and runs a program with the path of this file as its last argument. */
const over = (...words: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const folder = yield* Gateways.temporaryFolder
    const file = Path.join(folder, "gateway.1")
    yield* Effect.promise(() => Fs.writeFile(file, source))
    const running = yield* Processes.start([...words, file], {
      cwd: folder,
      env: { PATH: Program.searchPath, HOME: folder, LC_ALL: "C.UTF-8" }
    })
    return yield* running.ended
  })

/**
 * Joins the lines of a formatted page into one line. Also removes the formatting: a bold character is printed as the character, a
 * backspace and the character again.
 */
const flat = (text: string): string =>
  text
    .split("\b")
    .map((part, index, parts) => index === parts.length - 1 ? part : part.slice(0, -1))
    .join("")
    .replace(/\s+/g, " ")

const tools = { groff: Program.without("groff"), mandoc: Program.without("mandoc") }

describe("gateway(1)", () => {
  it.scopedLive.skipIf(tools.groff !== undefined)(
    Program.named("gives groff nothing to warn of", tools.groff),
    () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* over("groff", "-mandoc", "-ww", "-z")
        assert.deepStrictEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: "" })
      })
  )

  it.scopedLive.skipIf(tools.mandoc !== undefined)(
    Program.named("gives mandoc nothing to warn of", tools.mandoc),
    () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* over("mandoc", "-T", "lint", "-W", "warning")
        assert.deepStrictEqual({ code, stdout }, { code: 0, stdout: "" })
      })
  )

  it.scopedLive.skipIf(tools.mandoc !== undefined)(
    Program.named("shows every command, flag, variable, key, default and exit status to its reader", tools.mandoc),
    () =>
      Effect.gen(function*() {
        const { stdout } = yield* over("mandoc", "-T", "ascii")
        const page = flat(stdout)
        const capital = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
        for (const setting of Object.values<Setting<unknown>>(settings)) {
          const { default: otherwise, description, env, file, flag, placeholder } = setting
          const tail = `${env === undefined ? "" : `Environment: ${env}. `}Default: ${otherwise}.`
          if (flag !== undefined) {
            assert.include(page, `--${flag} ${placeholder.slice(1, -1)} ${capital(description)} ${tail}`)
          }
          if (file !== undefined) assert.include(page, `${file.join(".")} ${capital(description)} ${tail}`)
          if (env !== undefined) assert.include(page, `${env} ${capital(description)}`)
        }
        for (const [name, { argument, description, exits, switches, values }] of Object.entries(commands)) {
          assert.include(
            page,
            `${[name, argument?.allowed.join("|") ?? ""].join(" ").trim()} ${capital(description)}`
          )
          for (const [flag, does] of Object.entries(switches)) assert.include(page, `--${flag} ${capital(does)}`)
          for (const [flag, value] of Object.entries(values)) {
            assert.include(page, `--${flag} ${value.placeholder.slice(1, -1)} ${capital(value.description)}`)
          }
          for (const [status, when] of [...exits, ...ofEvery]) assert.include(page, `${status} ${capital(when)}`)
        }
      })
  )

  it("has the sections of a manual page, and examples that the program accepts", () => {
    const sections = [...source.matchAll(/^\.Sh (.+)$/gm)].map(([, title]) => title)
    assert.sameMembers(sections, [
      "NAME",
      "SYNOPSIS",
      "DESCRIPTION",
      "COMMANDS",
      "OPTIONS",
      "EXAMPLES",
      "FILES",
      "ENVIRONMENT",
      "EXIT STATUS",
      "SEE ALSO"
    ])
    const lines = [...source.matchAll(/^\.Dl gateway(.*)$/gm)].map(([, line = ""]) =>
      line.replaceAll("\\-", "-").trim()
    )
    assert.isAtLeast(lines.length, 6)
    for (const line of lines) Effect.runSync(parse(line === "" ? [] : line.split(" ")))
  })

  const noMan = Program.without("man")
  it.scopedLive.skipIf(noMan !== undefined)(
    Program.named("gives man nothing to warn of", noMan),
    () =>
      Effect.gen(function*() {
        const { code, stderr } = yield* over("man", "--warnings", "-l")
        assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      })
  )

  it.scopedLive("is where package.json says that it is", () =>
    Effect.gen(function*() {
      const root = Path.resolve(Path.dirname(Program.main), "..")
      const manifest: unknown = JSON.parse(
        yield* Effect.promise(() => Fs.readFile(Path.join(root, "package.json"), "utf8"))
      )
      // bin-links, the package by which npm links manual pages, ignores a `man` that is not an array.
      assert.deepPropertyVal(manifest, "man", ["./dist/gateway.1"])
      const built = yield* Effect.promise(() => Fs.readFile(Path.join(root, "dist/gateway.1"), "utf8"))
      const undated = (page: string) => page.split("\n").slice(1)
      assert.deepStrictEqual(undated(built), undated(source))
      assert.match(built, /^\.Dd [A-Z][a-z]+ \d{1,2}, \d{4}\n/)
    }))
})
