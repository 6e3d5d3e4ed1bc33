import { assert, describe, it } from "@effect/vitest"
import { Effect, LogLevel, Option } from "effect"
import * as Logging from "../../src/cli/Logging.ts"
import type { LogFormat } from "../../src/settings/GatewayConfig.ts"

describe("Logging.formatFor", () => {
  it.each<readonly [asked: LogFormat | undefined, isTerminal: boolean, format: LogFormat]>([
    [undefined, true, "pretty"],
    [undefined, false, "logfmt"],
    ["json", true, "json"],
    ["json", false, "json"],
    ["logfmt", true, "logfmt"],
    ["pretty", false, "pretty"]
  ])("asked for %s, terminal %s: %s", (asked, isTerminal, format) => {
    for (const colors of [true, false]) {
      assert.strictEqual(Logging.formatFor({ logFormat: Option.fromNullable(asked) }, { isTerminal, colors }), format)
    }
  })
})

describe("Logging.logged", () => {
  /** Runs an effect with a test console. Returns what the effect has written to stdout and to stderr. */
  const written = (
    effect: Effect.Effect<void>,
    config: { readonly logFormat: LogFormat; readonly logLevel: LogLevel.LogLevel },
    terminal: Logging.TerminalFacts = { isTerminal: false, colors: true }
  ) =>
    Effect.gen(function*() {
      const out: Array<string> = []
      const err: Array<string> = []
      const real = yield* Effect.consoleWith(Effect.succeed)
      const keep = (lines: Array<string>) => (...args: ReadonlyArray<unknown>) => {
        lines.push(args.map(String).join(" "))
      }
      yield* effect.pipe(
        Logging.logged({ ...config, logFormat: Option.some(config.logFormat) }, terminal),
        // A logger is a plain function, which cannot run effects. So it calls the methods of `unsafe`, which are plain functions too.
        Effect.withConsole({ ...real, unsafe: { ...real.unsafe, log: keep(out), error: keep(err) } })
      )
      return { out, err }
    })

  it.live.each<readonly [format: LogFormat, line: RegExp]>([
    ["logfmt", /^timestamp=\S+ level=WARN fiber=#\d+ message="two words"$/],
    ["json", /^\{"level":"WARN","timestamp":"\d{4}-[^"]+Z","message":"two words","fiber":"#\d+"\}$/]
  ])("%s goes to stderr, one line each, and nothing to stdout", ([logFormat, line]) =>
    Effect.gen(function*() {
      const { err, out } = yield* written(Effect.logWarning("two words"), { logFormat, logLevel: LogLevel.Info })
      assert.deepStrictEqual(out, [])
      assert.strictEqual(err.length, 1)
      assert.match(err[0] ?? "", line)
    }))

  it.live.each([
    { isTerminal: true, colors: true },
    { isTerminal: true, colors: false },
    { isTerminal: false, colors: true },
    { isTerminal: false, colors: false }
  ])(
    "pretty goes to stderr too, in colour only on a terminal that may have it: %o",
    (terminal) =>
      Effect.gen(function*() {
        const config = { logFormat: "pretty", logLevel: LogLevel.Info } as const
        const { err, out } = yield* written(Effect.logWarning("two words"), config, terminal)
        assert.deepStrictEqual(out, [])
        assert.strictEqual(err.length, 1)
        assert.include(err[0], "two words")
        assert.strictEqual(err[0]?.includes("\u001b["), terminal.isTerminal && terminal.colors)
      })
  )

  it.live.each<readonly [level: LogLevel.LogLevel, written: Array<string | undefined>]>([
    [LogLevel.Info, ["quiet", "loud"]],
    [LogLevel.Error, ["loud"]],
    [LogLevel.None, []]
  ])("writes nothing below the level", ([logLevel, messages]) =>
    Effect.gen(function*() {
      const say = Effect.zipRight(Effect.logInfo("quiet"), Effect.logError("loud"))
      const { err } = yield* written(say, { logFormat: "json", logLevel })
      assert.deepStrictEqual(err.map((line) => /"message":"(\w+)"/.exec(line)?.[1]), messages)
    }))
})
