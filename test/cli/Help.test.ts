import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { commandNames, commands } from "../../src/cli/CommandLine.ts"
import { ofEvery, ofRun } from "../../src/cli/ExitStatus.ts"
import { ofCommand, page } from "../../src/cli/Help.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import { version } from "../../src/Version.ts"
import "../arbitraries.ts"

const all: ReadonlyArray<readonly [name: string, setting: Setting<unknown>]> = Object.values(settings).map((
  setting
) => [
  setting.name,
  setting
])

/** Joins all lines into one, so that the position of line breaks does not matter. */
const flat = (text: string): string => text.replace(/\s+/g, " ")
const whole = flat(page())
/** The help of `run` has all settings. */
const ofRunPage = flat(ofCommand("run"))

describe("gateway --help", () => {
  it("fits one screen, with one line for each command and the way to everything else", () => {
    const lines = page().split("\n")
    assert.isAtMost(lines.length, 24, page())
    for (const name of commandNames) {
      assert.isTrue(
        lines.some((line) => new RegExp(`^ {2}${name} +\\S`).test(line) && line.endsWith(commands[name].description))
      )
    }
    assert.include(whole, "gateway <command> --help")
    assert.include(whole, "man gateway")
  })

  it("leaves no flag without a help that has it", () => {
    const pages = commandNames.map((name) => flat(ofCommand(name))).join(" ")
    for (const { flag } of Object.values<Setting<unknown>>(settings)) {
      if (flag !== undefined) assert.include(pages, ` --${flag} <`)
    }
    for (const { switches, values } of Object.values(commands)) {
      for (const flag of [...Object.keys(switches), ...Object.keys(values)]) assert.include(pages, ` --${flag} `)
    }
  })
})

describe("--help of a command", () => {
  it.each(all)("tells of the %s: flag, environment variable, key and default", (_, setting) => {
    const fallbacks = `${setting.env === undefined ? "" : `${setting.env}; `}default: ${setting.default}`
    if (setting.flag !== undefined) {
      assert.include(ofRunPage, `--${setting.flag} ${setting.placeholder} ${setting.description} ${fallbacks}`)
    }
    if (setting.file !== undefined) {
      assert.include(ofRunPage, `${setting.file.join(".")} ${setting.description}; default: ${setting.default}`)
    }
    if (setting.env !== undefined) assert.include(ofRunPage, setting.env)
    if (setting.flag === undefined && setting.file === undefined) {
      assert.include(ofRunPage, `${setting.env} ${setting.description}; ${setting.allowed} default: ${setting.default}`)
    }
  })

  it.each([
    "GATEWAY_PORT",
    "GATEWAY_HOST",
    "GATEWAY_PROFILE",
    "GATEWAY_CONFIG",
    "GATEWAY_STATE_DIR",
    "GATEWAY_SUPERVISOR",
    "GATEWAY_LOCK_TIMEOUT",
    "GATEWAY_HEALTH_RETRY_INTERVAL",
    "GATEWAY_HEALTH_TIMEOUT",
    "GATEWAY_DRAIN_TIMEOUT",
    "GATEWAY_LOG_FORMAT",
    "GATEWAY_LOG_LEVEL"
  ])("tells of the contract's %s", (name) => {
    assert.include(ofRunPage, name)
  })

  it.each(commandNames)("tells of %s with its own flags, and how it can end", (name) => {
    const { argument, description, exits, switches, values } = commands[name]
    const text = flat(ofCommand(name))
    assert.include(text, description)
    assert.include(text, [name, argument?.allowed.join("|") ?? ""].join(" ").trim())
    for (const [flag, does] of Object.entries(switches)) assert.include(text, `--${flag} ${does}`)
    for (const [flag, { description, placeholder }] of Object.entries(values)) {
      assert.include(text, `--${flag} ${placeholder} ${description}`)
    }
    for (const [status, when] of [...exits, ...ofEvery]) assert.include(text, `${status} ${when}`)
  })

  it.each(commandNames)("of %s tells of its settings, with variables and defaults, and of no other's flags", (name) => {
    const text = flat(ofCommand(name))
    for (const setting of Object.values<Setting<unknown>>(settings)) {
      if (setting.flag === undefined) continue
      const row = `--${setting.flag} ${setting.placeholder} ${setting.description}`
      const isIts = commands[name].settings.includes(setting)
      assert.strictEqual(text.includes(row), isIts, row)
      if (isIts && setting.env !== undefined) assert.include(text, `${setting.env}; default: ${setting.default}`)
    }
    for (const other of commandNames) {
      for (const flag of Object.keys(commands[other].switches)) {
        assert.strictEqual(text.includes(`--${flag} `), Object.hasOwn(commands[name].switches, flag), `--${flag}`)
      }
    }
  })

  it("has the statuses of status as the Linux Standard Base has them", () => {
    assert.deepStrictEqual(commands.status.exits.map(([status]) => status), [0, 1, 3, 4])
    assert.deepStrictEqual([...ofRun, ...ofEvery].map(([status]) => status).toSorted((a, b) => a - b), [
      0,
      1,
      64,
      70,
      78
    ])
  })

  it("says which version it is, what it binds where nothing is said, and where the manual is", () => {
    assert.isTrue(whole.startsWith(`gateway ${version}: `))
    assert.include(page().split("\n", 2).join(" "), "ws://127.0.0.1:18789")
    assert.include(whole, "man gateway")
  })

  const pages = fc.oneof(
    fc.constant(page),
    fc.constantFrom(...commandNames).map((name) => (width: number) => ofCommand(name, width))
  )
  it.prop(
    "fits any width but for words that are longer, and has neither trailing space nor control characters",
    [pages, fc.integer({ min: 1, max: 300 })],
    ([write, width]) => {
      const text = write(width)
      assert.strictEqual(flat(text), flat(write(100_000)), "only spaces differ")
      for (const line of text.split("\n")) {
        assert.match(line, /^$|^[\x20-\x7e]*[\x21-\x7e]$/)
        const rest = line.trimStart()
        // Two kinds of lines may be too long: an entry of the left column, which is never wrapped, and a single long word.
        const isWhole = !rest.includes(" ") || /^ {2}\S/.test(line)
        if (line.length > width) assert.isTrue(isWhole, `${line.length} > ${width}: ${line}`)
        if (width >= 60) assert.isAtMost(line.length, width, line)
      }
    }
  )

  it("is 80 columns wide where nobody says how wide", () => {
    for (const text of [page(), ...commandNames.map((name) => ofCommand(name))]) {
      for (const line of text.split("\n")) assert.isAtMost(line.length, 80, line)
    }
  })
})
