/**
 * The documents are what users paste from and what they click on. These tests check every link, command, example and table of the
 * Markdown files against the files and the code.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Either, Exit, FastCheck as fc, Option, Schema } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as ExitStatus from "../../src/cli/ExitStatus.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import { facts } from "../../src/report/facts.ts"
import { type Setting, settings } from "../../src/settings/GatewayConfig.ts"
import { gatewayLockError } from "../arbitraries.ts"
import { check } from "./compileExamples.ts"
import * as Markdown from "./markdown.ts"
import { mostWords, tooLong } from "./sentences.ts"

const Manifest = Schema.Struct({ peerDependencies: Schema.Record({ key: Schema.String, value: Schema.String }) })

const allSettings: ReadonlyArray<Setting<unknown>> = Object.values(settings)

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8")

const pages = readdirSync(`${root}/docs`).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
  .toSorted()
const forUsers = ["README.md", ...pages]
const all = [...forUsers, "CONTRIBUTING.md", "CHANGELOG.md", "test/README.md"]
const documents = new Map(all.map((path) => [path, Markdown.parse(read(path))]))

const document = (path: string): Markdown.Document => documents.get(path) ?? assert.fail(`there is no ${path}`)

/** What is wrong in the documents, each with the path of its document. */
const wrong = (
  paths: ReadonlyArray<string>,
  problems: (document: Markdown.Document, path: string) => ReadonlyArray<string>
): ReadonlyArray<string> => paths.flatMap((path) => problems(document(path), path).map((what) => `${path}: ${what}`))

// ---------------------------------------------------------------------------
// links
// ---------------------------------------------------------------------------

const deadLinks = (page: Markdown.Document, path: string): ReadonlyArray<string> =>
  Markdown.links(page, path).flatMap((link) => {
    if (!existsSync(`${root}/${link.path}`)) return [`${link.text} leads to no file`]
    if (link.anchor === undefined) return []
    const target = documents.get(link.path)
    if (target === undefined) return [`${link.text} names a place in a file without headings`]
    return Markdown.anchors(target).has(link.anchor) ? [] : [`${link.text} leads to no heading`]
  })

describe("links", () => {
  it("lead to files and headings that exist", () => {
    assert.isAbove(all.flatMap((path) => Markdown.links(document(path), path)).length, 150)
    assert.deepStrictEqual(wrong(all, deadLinks), [])
  })

  it("lead from the README to every page", () => {
    const reached = new Set(["README.md"])
    for (const path of reached) {
      for (const link of Markdown.links(document(path), path)) {
        if (documents.has(link.path)) reached.add(link.path)
      }
    }
    assert.deepStrictEqual(all.filter((path) => !reached.has(path)), [])
  })

  it("that lead nowhere are found, and GitHub's anchors are known", () => {
    const page = Markdown.parse([
      "# Run it: `exec --listen`, on *C++*",
      "## Limits",
      "## Limits",
      "[a](missing.md) [b](README.md#no-such) [c](src/index.ts#a) [d](https://example.com/x.md) `[e](missing.md)`",
      "",
      "    [f](missing.md)"
    ].join("\n"))
    assert.deepStrictEqual([...Markdown.anchors(page)], ["run-it-exec---listen-on-c", "limits", "limits-1"])
    assert.deepStrictEqual(deadLinks(page, "README.md"), [
      "[a](missing.md) leads to no file",
      "[b](README.md#no-such) leads to no heading",
      "[c](src/index.ts#a) names a place in a file without headings"
    ])
  })
})

// ---------------------------------------------------------------------------
// prose
// ---------------------------------------------------------------------------

/** Words by which a sentence hides its subject. */
const subjectless = /\b(?:somebody|nobody|anybody|whoever)\b/i

describe("the prose", () => {
  it("of the README has at most 200 lines, code included", () => {
    assert.isAtMost(read("README.md").trimEnd().split("\n").length, 200)
  })

  it(`has no sentence of more than ${mostWords} words`, () => {
    assert.deepStrictEqual(wrong(all, (page) => tooLong(Markdown.sentences(page))), [])
  })

  it("names its subjects", () => {
    const found = wrong([...forUsers, "CONTRIBUTING.md"], ({ prose }) => prose.filter((line) => subjectless.test(line)))
    assert.deepStrictEqual(found, [])
  })

  it("has no line of more than 180 characters outside tables", () => {
    const found = wrong(
      [...forUsers, "CONTRIBUTING.md"],
      ({ prose }) => prose.filter((line) => line.length > 180 && !line.startsWith("|"))
    )
    assert.deepStrictEqual(found, [])
  })

  it("begins on every page with an example", () => {
    const late = pages.filter((path) => {
      const text = read(path)
      const example = document(path).code[0]
      const second = text.split("\n").findIndex((line, index, lines) =>
        line.startsWith("## ") && lines.slice(0, index).some((before) => before.startsWith("## "))
      )
      return example === undefined || (second >= 0 && example.line > second)
    })
    assert.deepStrictEqual(late, [])
  })
})

// ---------------------------------------------------------------------------
// commands
// ---------------------------------------------------------------------------

/** Splits a line as a shell does, as far as the documents need it. A placeholder such as `<name>` is one word. */
const wordsOf = (line: string): ReadonlyArray<string> =>
  (line.replaceAll(/<\([^()]*\)|<[^<>|]*>/g, "placeholder").replaceAll("[flags] ", "").match(
    /(?:'[^']*'|"[^"]*"|[^\s'"])+/g
  ) ?? []).map((word) => word.replaceAll(/^['"]|['"]$/g, ""))

const endsCommand = /^(?:\||\|\||&&|;|&|>|>>|#.*|\d?>.*)$/

/** The words after `gateway` of each command of the program in a line. */
const commandsIn = (line: string): ReadonlyArray<ReadonlyArray<string>> => {
  const words = wordsOf(line)
  return words.flatMap((word, index) => {
    const isProgram = /(?:^|[/=])gateway$/.test(word) || (word === "gateway-lock" && words[index - 1] === "npx")
    if (!isProgram) return []
    const rest = words.slice(index + 1)
    const end = rest.findIndex((next) => endsCommand.test(next))
    return [end < 0 ? rest : rest.slice(0, end)]
  })
}

/** The lines of a block that a reader types. Output is in blocks of the language `text`, or in a transcript with prompts. */
const typedLines = ({ language, lines }: Markdown.CodeBlock): ReadonlyArray<string> => {
  const joined = lines.join("\n").replaceAll(/\\\n\s*/g, "").split("\n")
  const prompts = joined.filter((line) => line.startsWith("$ ")).map((line) => line.slice(2))
  if (language === "console") return prompts
  if (language === "sh") return joined.filter((line) => !line.startsWith("#"))
  return language === "indented" ? (prompts.length > 0 ? prompts : joined) : []
}

/** Why the program would refuse these words. `undefined` if it would not. */
const refusal = (words: ReadonlyArray<string>): string | undefined => {
  const result = Effect.runSync(Effect.either(CommandLine.parse(words)))
  return Either.isLeft(result) ? `gateway ${words.join(" ")}: ${result.left.reason}` : undefined
}

/** Messages of the program begin with its name too, but are no commands. */
const isMessage = /^gateway (?:already running|listening|stopping|stopped|is not running)/

/** A command within prose may lack the value of its last flag, or the command after `--`. */
const completed = (words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const given = refusal(words) ?? ""
  const valued = / needs a value/.test(given) ? [...words, "placeholder"] : words
  return / needs "--"/.test(given) ? [...valued, "--", "command"] : valued
}

/** The commands within prose. They begin with the program, so that a quoted message in which the program occurs is none. */
const inProse = (page: Markdown.Document): ReadonlyArray<ReadonlyArray<string>> =>
  Markdown.spans(page)
    .filter((code) => /^(?:sudo |npx )*gateway/.test(code) && !isMessage.test(code))
    .flatMap((code) => commandsIn(code.replaceAll("\\|", "|")))
    // The name of a command alone, such as `gateway service`, is no command line.
    .filter((words) => words.length > 1 || !Object.hasOwn(CommandLine.commands, words[0] ?? ""))

const badCommands = (page: Markdown.Document): ReadonlyArray<string> => [
  ...page.code.flatMap(typedLines).flatMap(commandsIn).flatMap((words) => refusal(words) ?? []),
  ...inProse(page).flatMap((words) => refusal(completed(words)) ?? [])
]

/** The scripts of package.json that a document names. */
const scriptsIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\bnpm run (?:--silent )?([a-z:]+)/g)].map(([, name = ""]) => name)

describe("commands", () => {
  it("are accepted by the program", () => {
    const found = forUsers.flatMap((path) => document(path).code.flatMap(typedLines).flatMap(commandsIn))
    assert.isAbove(found.length, 60)
    assert.deepStrictEqual(wrong([...forUsers, "CONTRIBUTING.md"], badCommands), [])
  })

  it("of npm are scripts of package.json", () => {
    const { scripts }: { readonly scripts: Readonly<Record<string, string>> } = JSON.parse(read("package.json"))
    const found = wrong(
      [...forUsers, "CONTRIBUTING.md", "test/README.md"],
      (_, path) => scriptsIn(read(path)).filter((name) => !Object.hasOwn(scripts, name))
    )
    assert.deepStrictEqual(found, [])
  })

  it("that the program refuses are found, wherever they are", () => {
    for (
      const text of [
        "```sh\nsudo gateway run --prot 1\n```",
        "```console\n$ X=1 gateway sttaus\nfine\n```",
        "    ExecStart=/usr/bin/gateway exec --port 1",
        "    gateway status && gateway stop --timout 1s",
        "Type `gateway run --lease`.",
        "Type `npx gateway-lock sttop`."
      ]
    ) assert.lengthOf(badCommands(Markdown.parse(text)), 1, text)
    for (
      const text of [
        "```console\n$ gateway status\ngateway default: running\n```",
        "```text\ngateway sttaus\n```",
        "    gateway exec -- sh -c 'gateway sttaus' # sttaus",
        "Type `gateway run --lease-name` or `gateway exec`. It says `gateway already running (pid 1)`."
      ]
    ) assert.deepStrictEqual(badCommands(Markdown.parse(text)), [], text)
  })
})

// ---------------------------------------------------------------------------
// examples
// ---------------------------------------------------------------------------

/** Stands in for the reader's own app, which examples import. */
const app = [
  "import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpRouter, HttpServer } from \"@effect/platform\"",
  "import { Schema } from \"effect\"",
  "class Greetings extends HttpApiGroup.make(\"greetings\")",
  "  .add(HttpApiEndpoint.get(\"hello\", \"/hello\").addSuccess(Schema.Struct({ hello: Schema.String }))) {}",
  "export class Api extends HttpApi.make(\"greeter\").add(Greetings) {}",
  "export const App = HttpRouter.empty.pipe(HttpServer.serve())"
].join("\n")

/** The keys of a JSON document, with dots between nested keys, and their values. */
const leaves = (json: object, above = ""): ReadonlyArray<readonly [key: string, value: unknown]> =>
  Object.entries(json).flatMap(([key, value]: [string, unknown]) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? leaves(value, `${above}${key}.`)
      : [[`${above}${key}`, value] as const]
  )

describe("examples", () => {
  it("in TypeScript compile as in a user's program", () => {
    // The tests of the examples run the JavaScript of docs/promise.md.
    const isChecked = (path: string, language: string) =>
      language === "ts" || (language === "js" && path === "README.md")
    const examples = forUsers.flatMap((path) =>
      document(path).code.filter(({ language }) => isChecked(path, language)).map(({ line, lines }) => ({
        source: path,
        line,
        code: lines.join("\n")
      }))
    )
    assert.isAbove(examples.length, 8)
    assert.isTrue(examples.some(({ code }) => code.includes("gateway-lock/promise")))
    assert.deepStrictEqual(check(examples, { app, api: app }), [])
  }, 60_000)

  it("of the config file have keys and values that are allowed", () => {
    const blocks = forUsers.flatMap((path) => document(path).code.filter(({ language }) => language === "json"))
    assert.isAbove(blocks.length, 0)
    for (const { lines } of blocks) {
      const json: unknown = JSON.parse(lines.join("\n"))
      if (typeof json !== "object" || json === null) return assert.fail("a config file is an object")
      for (const [key, value] of leaves(json)) {
        const setting = allSettings.find(({ file }) => file?.join(".") === key)
        assert.isTrue(setting !== undefined && Option.isSome(setting.decode(value)), `${key}: ${JSON.stringify(value)}`)
      }
    }
  })

  // npm takes the latest version of a package that a command names without one, and that may be for Effect 4.
  it("of npm install name versions of the peers that fit together", () => {
    const { peerDependencies } = Schema.decodeUnknownSync(Schema.parseJson(Manifest))(read("package.json"))
    const named = forUsers.flatMap((path) =>
      [...read(path).matchAll(/npm install ([^\n`]*)/g)].flatMap(([, words = ""]) =>
        words.split(" ").flatMap((word) => {
          const [, name = "", version = ""] = /^(@?[^@]+)(?:@(.*))?$/.exec(word) ?? []
          return peerDependencies[name] === undefined ? [] : [{ path, name, version }]
        })
      )
    )
    assert.isAbove(named.length, 8)
    const wrong = named.filter(({ name, version }) => {
      const { groups: { major = "", minor = "" } = {} } =
        /^\^(?<major>\d+)\.(?<minor>\d+)\./.exec(peerDependencies[name] ?? "")
          ?? {}
      return version !== (major === "0" ? `0.${minor}` : major)
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("name languages that these tests know", () => {
    const known = ["console", "indented", "js", "json", "mermaid", "python", "sh", "text", "ts", "yaml"]
    const found = wrong(
      [...forUsers, "CONTRIBUTING.md"],
      ({ code }) =>
        code.filter(({ language }) => !known.includes(language)).map(({ language, line }) => `${line}: ${language}`)
    )
    assert.deepStrictEqual(found, [])
  })
})

// ---------------------------------------------------------------------------
// tables
// ---------------------------------------------------------------------------

const code = (cell: string | undefined): string => cell?.replaceAll("`", "") ?? ""

describe("the tables", () => {
  it("of settings has each setting, with its flag, its variable, its key and its default", () => {
    const rows = Markdown.rowsBelow(document("docs/settings.md"), "All settings")
    const documented = rows.map(([, flag, variable, key]) => [flag, variable, key].map(code).join(" "))
    const defined = allSettings.map(({ env, file, flag }) =>
      [flag === undefined ? "–" : `--${flag}`, env ?? "–", file?.join(".") ?? "–"].join(" ")
    )
    assert.deepStrictEqual([...documented].toSorted(), defined.toSorted())
    for (const setting of allSettings) {
      const row = rows.find(([, flag, variable, key]) =>
        code(flag) === (setting.flag === undefined ? "–" : `--${setting.flag}`) &&
        code(variable) === (setting.env ?? "–") && code(key) === (setting.file?.join(".") ?? "–")
      )
      assert.isTrue(code(row?.[4]).startsWith(setting.default), `${setting.name}: ${row?.[4]}, not ${setting.default}`)
    }
  })

  it("of exit statuses has each status of each command", () => {
    const rows = Markdown.rowsBelow(document("docs/errors.md"), "Exit statuses")
    const documented = (name: string) =>
      new Set(
        rows.filter(([command]) => code(command) === name).flatMap(([, status = ""]) => status.match(/\d+/g) ?? [])
      )
    for (const [name, { exits }] of Object.entries(CommandLine.commands)) {
      assert.deepStrictEqual(
        [...documented(`gateway ${name}`)].toSorted(),
        [
          ...new Set(exits.map(([status]) => String(status)))
        ].toSorted(),
        name
      )
    }
    for (const [status] of ExitStatus.ofEvery) assert.isTrue(documented("every command").has(String(status)))
  })

  it("of facts and next steps have the keys of the report", () => {
    const facts = read("src/report/facts.ts")
    const keys = (call: RegExp) => new Set([...facts.matchAll(call)].map(([, key = ""]) => key))
    const rows = Markdown.rowsBelow(document("docs/errors.md"), "Read errors and logs in a program")
    const documented = (field: string) =>
      new Set(rows.find(([name]) => code(name) === field)?.[1]?.match(/(?<=`)[A-Za-z]+(?=`)/g) ?? [])
    assert.deepStrictEqual(documented("facts"), keys(/\bfact\(\s*"([A-Za-z]+)"/g))
    assert.deepStrictEqual(documented("next"), keys(/\b(?:next|runWith)\(\s*"([A-Za-z]+)"/g))
  })
})

describe("docs/errors.md", () => {
  const page = document("docs/errors.md")
  const tags = Errors.GatewayLockError.members.map(({ _tag }) => _tag)
  const self = { profile: "default", configPath: "/c", stateDir: "/s", host: "127.0.0.1", port: 18789 }
  const start = { self, folders: { configPath: () => "/c", stateDir: () => "/s" }, platform: "linux", nowMillis: 0 }

  it("has a section for each error, and no other error", () => {
    const sections = Markdown.headings(page).filter(({ level }) => level === 3).map(({ text }) => text)
    assert.deepStrictEqual(sections.toSorted(), [...tags].toSorted())
  })

  it.each(tags)("is where the report of %s says that it is", (tag) => {
    const error = fc.sample(gatewayLockError.filter(({ _tag }) => _tag === tag), 1)[0] ?? assert.fail("no such error")
    const { value } = facts(error, start).find(({ key }) => key === "page") ?? assert.fail("the report names no page")
    const address = new URL(value)
    const { homepage }: { readonly homepage: string } = JSON.parse(read("package.json"))
    assert.strictEqual(
      `${address.origin}${address.pathname}`,
      `${homepage.replace("#readme", "")}/blob/main/docs/errors.md`
    )
    assert.isTrue(Markdown.anchors(page).has(address.hash.slice(1)), address.hash)
  })

  it.each(tags)("has message, cause, advice and exit statuses of %s", (tag) => {
    const rows = new Map(Markdown.rowsBelow(page, tag).map(([name = "", value = ""]) => [name, value]))
    assert.deepStrictEqual([...rows.keys()], ["cause", "type", "exit status"])
    const statuses = rows.get("exit status")?.match(/\d+/g) ?? []
    const [error] = fc.sample(gatewayLockError.filter(({ _tag }) => _tag === tag), 1)
    const ofRun = ExitStatus.fromExit(Exit.failCause(Cause.fail(error)))
    const ofExec = Option.getOrElse(ExitStatus.ofExecFailure(error, ExitStatus.ExitStatus.taken), () => ofRun)
    assert.includeMembers(statuses, [String(ofRun), String(ofExec)])
  })
})
