import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { type CommandName, commandNames, commands } from "../../src/cli/CommandLine.ts"
import { flagsOf as ownFlagsOf } from "../../src/cli/commands.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Shells from "./support/shells.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

const flagsOf = (name: CommandName): ReadonlyArray<string> =>
  [
    ...Object.keys(ownFlagsOf(commands[name]).switches),
    ...Object.keys(ownFlagsOf(commands[name]).values),
    ...commands[name].settings.flatMap(({ flag }) => flag ?? []),
    "help",
    "version"
  ].map((flag) => `--${flag}`)

/** Makes a home folder with profiles, some files and the completion script that the program prints for the shell. */
const prepare = (shell: Shells.Shell) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const { code, stderr, stdout } = yield* Gateways.run(site, { args: ["completions", shell.name] })
    assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
    const script = Path.join(site.root, `script.${shell.name}`)
    yield* Effect.promise(async () => {
      await Fs.writeFile(script, stdout)
      for (const profile of ["blue", "night"]) {
        await Fs.mkdir(Path.join(site.root, ".local/state/gateway-lock", profile), { recursive: true })
      }
      await Fs.mkdir(Path.join(site.root, "place/folder"), { recursive: true })
      await Fs.writeFile(Path.join(site.root, "place/file.json"), "{}")
    })
    const complete = (line: string) =>
      Effect.map(Shells.lines(site, shell.complete(script, line)), (words) =>
        [...new Set(words.map((word) => word.replace(/\/$/, "")))].toSorted())
    return { site, script, complete }
  })

for (const shell of Shells.all) {
  const named = (name: string) => Program.named(name, shell.unavailable)
  describe.skipIf(shell.unavailable !== undefined)(`in ${shell.name}, the program's own script`, () => {
    it.scopedLive(named("has no mistake in it"), () =>
      Effect.gen(function*() {
        const { script, site } = yield* prepare(shell)
        assert.deepStrictEqual(yield* Shells.lines(site, shell.check(script)), [])
      }))

    it.scopedLive(named("completes every command, and what must follow it"), () =>
      Effect.gen(function*() {
        const { complete } = yield* prepare(shell)
        assert.deepStrictEqual(yield* complete("gateway "), commandNames.toSorted())
        assert.deepStrictEqual(yield* complete("gateway st"), ["status", "stop"])
        assert.deepStrictEqual(yield* complete("gateway --port 1 st"), ["status", "stop"])
        for (const name of commandNames) {
          const { argument } = commands[name]
          if (argument === undefined) continue
          assert.deepStrictEqual(yield* complete(`gateway ${name} `), argument.allowed.toSorted())
        }
        assert.deepStrictEqual(yield* complete("gateway service --profile status pr"), ["print"])
      }))

    it.scopedLive(named("completes the flags of each command, and no other's"), () =>
      Effect.gen(function*() {
        const { complete } = yield* prepare(shell)
        for (const name of commandNames) {
          const words = yield* complete(`gateway ${name} --`)
          assert.deepStrictEqual(
            words.map((word) => word.replace(/=$/, "")).filter((word) => word.startsWith("--")),
            flagsOf(name).toSorted(),
            name
          )
        }
        // `run` is the default command, so a line without a command is completed like a line of `gateway run`.
        assert.deepStrictEqual((yield* complete("gateway --stan")).map((word) => word.trim()), ["--standby"])
        assert.deepStrictEqual(yield* complete("gateway --jso"), [])
      }))

    it.scopedLive(named("completes the values of every flag that has a few"), () =>
      Effect.gen(function*() {
        const { complete } = yield* prepare(shell)
        for (const { flag, values } of all) {
          if (flag === undefined || values === undefined) continue
          assert.deepStrictEqual(yield* complete(`gateway run --${flag} `), values.toSorted(), flag)
        }
        assert.deepStrictEqual(yield* complete("gateway service print --manager l"), ["launchd"])
        assert.match((yield* complete("gateway --log-format=j")).join(), /^(?:--log-format=)?json$/)
        assert.deepStrictEqual(yield* complete("gateway --port "), [])
      }))

    it.scopedLive(named("completes profiles, files and folders"), () =>
      Effect.gen(function*() {
        const { complete, script, site } = yield* prepare(shell)
        assert.deepStrictEqual(yield* complete("gateway status --profile "), ["blue", "night"])
        const relative = ["env", "XDG_STATE_HOME=place", ...shell.complete(script, "gateway status --profile ")]
        assert.sameMembers(
          (yield* Shells.lines(site, relative)).map((word) => word.replace(/\/$/, "")),
          ["blue", "night"],
          "a relative XDG_STATE_HOME is ignored"
        )
        const ends = (words: ReadonlyArray<string>) => words.map((word) => Path.basename(word)).toSorted()
        assert.deepStrictEqual(ends(yield* complete("gateway --config place/")), ["file.json", "folder"])
        assert.deepStrictEqual(ends(yield* complete("gateway --state-dir place/")), ["folder"])
      }))
  })
}
