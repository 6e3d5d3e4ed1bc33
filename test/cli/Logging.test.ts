import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, LogLevel, Option } from "effect"
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
  const writing = (effect: Effect.Effect<void>) =>
    Effect.gen(function*() {
      const out: Array<string> = []
      const err: Array<string> = []
      const real = yield* Effect.consoleWith(Effect.succeed)
      const keep = (lines: Array<string>) => (...args: ReadonlyArray<unknown>) => {
        lines.push(args.map(String).join(" "))
      }
      yield* effect.pipe(
        // A logger is a plain function, which cannot run effects. So it calls the methods of `unsafe`, which are plain functions too.
        Effect.withConsole({ ...real, unsafe: { ...real.unsafe, log: keep(out), error: keep(err) } })
      )
      return { out, err }
    })

  const written = (
    effect: Effect.Effect<void>,
    config: { readonly logFormat: LogFormat; readonly logLevel: LogLevel.LogLevel },
    terminal: Logging.TerminalFacts = { isTerminal: false, colors: true }
  ) => writing(Logging.logged({ ...config, logFormat: Option.some(config.logFormat) }, terminal)(effect))

  it.live.each<readonly [format: LogFormat, line: RegExp]>([
    ["logfmt", /^timestamp=\S+ level=WARN message="two words"$/],
    ["json", /^\{"timestamp":"\d{4}-[^"]+Z","level":"WARN","message":"two words","annotations":\{\},"spans":\{\}\}$/],
    ["pretty", /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: two words$/]
  ])("%s goes to stderr, one line each, and nothing to stdout", ([logFormat, line]) =>
    Effect.gen(function*() {
      const { err, out } = yield* written(Effect.logWarning("two words"), { logFormat, logLevel: LogLevel.Info })
      assert.deepStrictEqual(out, [])
      assert.strictEqual(err.length, 1)
      assert.match(err[0] ?? "", line)
    }))

  const config = { logFormat: "logfmt", logLevel: LogLevel.Info } as const
  const rich = Effect.logError("two words", Cause.fail("a reason")).pipe(
    Effect.annotateLogs({ profile: "blue", lock: "/a b", port: 1 }),
    Effect.withLogSpan("wait")
  )

  it.live("writes annotations, spans and a cause where each format has its place for them", () =>
    Effect.gen(function*() {
      const lineOf = (logFormat: LogFormat) =>
        Effect.map(written(rich, { ...config, logFormat }), ({ err }) => {
          assert.lengthOf(err, 1)
          return err[0] ?? ""
        })
      const { timestamp, ...fields } = JSON.parse(yield* lineOf("json"))
      assert.isFalse(Number.isNaN(Date.parse(timestamp)))
      assert.match(fields.cause, /^Error: a reason/)
      assert.isNumber(fields.spans.wait)
      assert.deepStrictEqual({ ...fields, cause: "", spans: {} }, {
        level: "ERROR",
        message: "two words",
        annotations: { profile: "blue", lock: "/a b", port: 1 },
        spans: {},
        cause: ""
      })
      const logfmt = yield* lineOf("logfmt")
      assert.match(logfmt, /^timestamp=\S+ level=ERROR message="two words" cause="Error: a reason[^\n]* wait=\d+ms /)
      for (const pair of ["profile=blue", "lock=\"/a b\"", "port=1"]) assert.include(logfmt, ` ${pair}`)
      const [pretty, ...rest] = (yield* lineOf("pretty")).split("\n")
      assert.match(pretty ?? "", /^\[[\d:.]{12}\] ERROR: two words wait=\d+ms /)
      for (const pair of ["profile=blue", "lock=\"/a b\"", "port=1"]) assert.include(pretty, ` ${pair}`)
      assert.match(rest[0] ?? "", /^Error: a reason/)
    }))

  it.live("names no fiber, and leaves a message alone that looks like one", () =>
    Effect.gen(function*() {
      for (const logFormat of ["logfmt", "pretty", "json"] as const) {
        const { err } = yield* written(Effect.logInfo("level=INFO fiber=#7 message=x"), { ...config, logFormat })
        assert.deepStrictEqual(err[0]?.match(/fiber|#\d+/g), ["fiber", "#7"])
      }
    }))

  it.live("of a command that does not stay are like its other messages, and never on stdout", () =>
    Effect.gen(function*() {
      const noticed = (format: LogFormat, level: LogLevel.LogLevel) =>
        writing(
          Logging.loggedAsNotices(format, level)(
            Effect.zipRight(Effect.logInfo("quiet"), Effect.logWarning("two", "words"))
          )
        )
      for (const format of ["logfmt", "pretty"] as const) {
        assert.deepStrictEqual(yield* noticed(format, LogLevel.Warning), { out: [], err: ["gateway: two words"] })
      }
      const { err, out } = yield* noticed("json", LogLevel.Info)
      assert.deepStrictEqual(out, [])
      assert.deepStrictEqual(err.map((line) => JSON.parse(line).message), ["quiet", "two words"])
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
        const pretty = { ...config, logFormat: "pretty" } as const
        const { err, out } = yield* written(Effect.logWarning("two words"), pretty, terminal)
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
