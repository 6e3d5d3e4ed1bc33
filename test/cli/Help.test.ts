import { assert, describe, it } from "@effect/vitest"
import { commands } from "../../src/cli/CommandLine.ts"
import { descriptions } from "../../src/cli/ExitStatus.ts"
import { text } from "../../src/cli/Help.ts"
import { type Setting, settings } from "../../src/GatewayConfig.ts"
import { version } from "../../src/Version.ts"

const all: ReadonlyArray<readonly [name: string, setting: Setting<unknown>]> = Object.values(settings).map((
  setting
) => [
  setting.name,
  setting
])
const lines = text.split("\n")

describe("--help", () => {
  it.each(all)("tells of the %s: flag, environment variable, key and default", (_, setting) => {
    if (setting.flag !== undefined) {
      const at = lines.findIndex((line) => line.trim().startsWith(`--${setting.flag} ${setting.placeholder} `))
      assert.isAtLeast(at, 0, setting.flag)
      assert.include(lines[at], setting.description)
      assert.include(lines[at + 1], `default: ${setting.default}`)
      assert.include(lines[at + 1], setting.env ?? "")
    }
    if (setting.file !== undefined) {
      const key = setting.file.join(".")
      const line = lines.find((line) => line.trim().startsWith(`${key} `))
      assert.include(line, `${setting.description}; default: ${setting.default}`)
    }
    if (setting.env !== undefined) assert.include(text, setting.env)
    if (setting.flag === undefined && setting.file === undefined) {
      const line = lines.find((line) => line.trim().startsWith(`${setting.env} `))
      assert.include(line, `${setting.description}; ${setting.allowed}; default: ${setting.default}`)
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
    assert.include(text, name)
  })

  it("tells of every command with its own flags, and every exit status", () => {
    const rows = lines.map((line) => line.trim().replace(/ {2,}/, ": "))
    for (const [name, { argument, description, switches, values }] of Object.entries(commands)) {
      assert.include(rows, `${[name, argument?.allowed.join("|") ?? ""].join(" ").trim()}: ${description}`)
      for (const [flag, does] of Object.entries(switches)) assert.include(rows, `--${flag}: ${does}`)
      for (const [flag, { description, placeholder }] of Object.entries(values)) {
        assert.include(rows, `--${flag} ${placeholder}: ${description}`)
      }
    }
    for (const [status, when] of descriptions) assert.include(rows, `${status}: ${when}`)
  })

  it("says which version it is, and what it binds where nothing is said", () => {
    assert.isTrue(lines[0]?.startsWith(`gateway ${version}: `))
    assert.include(lines[0], "ws://127.0.0.1:18789")
  })

  it("has neither trailing space nor control characters", () => {
    for (const line of lines) assert.match(line, /^$|^[\x20-\x7e]*[\x21-\x7e]$/)
  })
})
