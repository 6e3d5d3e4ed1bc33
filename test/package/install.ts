/**
 * `npm run test:package [-- --node 20,22,24,26]`: tests that the packed package works after an installation.
 *
 * The script packs the package. It installs the package into a new folder with npm and no install scripts, with the peers that the
 * README names: once whole, and once with `--omit=optional`. There, on each Node version, it runs the `gateway` program and the
 * README's library example. While the example runs, a second process that runs it must be refused, because the first one has the
 * lock. The same is done with the Express examples of `docs/promise.md`, in a folder that has only the package and Express.
 *
 * The Node binaries come from packages of the npm registry. They are installed into a folder that is removed afterwards. At the
 * end, the package is installed globally and run by npx, as `docs/operate.md` says.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Command from "@effect/platform/Command"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { createServer } from "node:net"
import { arch, platform } from "node:process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import ts from "typescript-api"

class Failed extends Data.TaggedError("Failed")<{ readonly what: string }> {
  override get message() {
    return this.what
  }
}

const check = (holds: boolean, what: string) => holds ? Effect.void : new Failed({ what })

const root = fileURLToPath(new URL("../..", import.meta.url))

const options = Effect.try({
  try: () => parseArgs({ args: process.argv.slice(2), options: { node: { type: "string", default: "20,22,24,26" } } }),
  catch: (cause) => new Failed({ what: `${cause}; options: --node 20,22,…` })
}).pipe(
  Effect.map(({ values }) => values.node.split(",")),
  Effect.filterOrFail(
    (majors) => majors.every((major) => /^\d{2}$/.test(major)),
    () => new Failed({ what: "--node: major versions, such as 20,22" })
  )
)

/** Runs a program to its end; returns its exit status and its output on both streams. */
const finish = (command: Command.Command) =>
  Effect.gen(function*() {
    const child = yield* Command.start(command)
    const read = (stream: Stream.Stream<Uint8Array, unknown>) =>
      stream.pipe(Stream.decodeText(), Stream.mkString, Effect.orElseSucceed(() => ""))
    const [status, stdout, stderr] = yield* Effect.all([child.exitCode, read(child.stdout), read(child.stderr)], {
      concurrency: "unbounded"
    })
    return { status: Number(status), text: `${stdout}${stderr}` }
  }).pipe(Effect.scoped, Effect.timeoutFail({ duration: "5 minutes", onTimeout: () => new Failed({ what: "hangs" }) }))

const npm = (folder: string, ...words: ReadonlyArray<string>) =>
  finish(Command.make("npm", ...words).pipe(Command.workingDirectory(folder))).pipe(
    Effect.filterOrFail(
      ({ status }) => status === 0,
      ({ text }) => new Failed({ what: `npm ${words.join(" ")}: ${text}` })
    ),
    Effect.map(({ text }) => text)
  )

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const bound = server.address()
    server.close(() => resume(Effect.succeed(typeof bound === "object" && bound !== null ? bound.port : 0)))
  })
})

/** The code of the README's first library example, with this port in place of the README's. */
const example = (port: number) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const readme = yield* fs.readFileString(`${root}/README.md`)
    const code = Option.fromNullable(/```ts\n(import[\s\S]*?Gateway\.layer[\s\S]*?)```/.exec(readme)?.[1])
    if (Option.isNone(code)) return yield* new Failed({ what: "README.md has no library example" })
    return code.value.replace("18789", String(port))
  })

/** The packages of the README's command that installs the library, without this package: its peers with their versions. */
const peers = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const readme = yield* fs.readFileString(`${root}/README.md`)
  const words = /^npm install gateway-lock (effect@.*)$/m.exec(readme)?.[1]
  if (words === undefined) return yield* new Failed({ what: "README.md has no command that installs the library" })
  return words.split(" ")
})

const answers = (port: number) =>
  Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/hello`)).pipe(
    // The answer is 503 until the app's routes are served.
    Effect.filterOrFail(({ status }) => status === 200, () => "starting" as const),
    Effect.flatMap((response) => Effect.promise(() => response.text())),
    Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(400))),
    Effect.mapError(() => new Failed({ what: "the example does not answer" }))
  )

interface Installed {
  readonly major: number
  readonly path: string
}

/** The folder in which the program `gateway` keeps its compiled code, on Linux. */
const compiled = (home: string) => `${home}/.cache/gateway-lock/compiled`

/** Runs the README's example and this package's program `gateway` on one Node version, in a folder where the package is installed. */
const tryOut = (folder: string, { path: node }: Installed) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const port = yield* freePort
    yield* fs.writeFileString(`${folder}/main.mjs`, yield* example(port))
    const home = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-package-" })
    const here = (...words: readonly [string, ...Array<string>]) =>
      Command.make(...words).pipe(
        Command.workingDirectory(folder),
        Command.env({ HOME: home, XDG_STATE_HOME: undefined, XDG_CACHE_HOME: undefined })
      )

    const first = yield* Command.start(here(node, "main.mjs"))
    yield* Effect.flatMap(answers(port), (text) => check(text === "world", `/hello answers ${text}`))
    const second = yield* finish(here(node, "main.mjs"))
    yield* check(
      second.status === 1 &&
        second.text.includes(`PortInUse: another gateway instance is already listening on ws://127.0.0.1:${port}`),
      `the second copy is not refused: ${second.text}`
    )
    const program = `${folder}/node_modules/gateway-lock/dist/main.js`
    const version = yield* finish(here(node, program, "--version"))
    yield* check(/^gateway \d+\.\d+\.\d+\n$/.test(version.text), `--version: ${version.text}`)
    const refused = yield* finish(here(node, program, "--port", String(port), "--profile", "other"))
    yield* check(refused.status === 1 && refused.text.includes("already listening"), `the program: ${refused.text}`)
    if (platform === "linux") {
      const kept = yield* Effect.orElseSucceed(fs.readDirectory(compiled(home)), () => [])
      yield* check(kept.length > 0, `compiled code kept in ${compiled(home)}: ${kept.join(", ")}`)
    }
    yield* first.kill("SIGTERM")
    yield* Effect.flatMap(first.exitCode, (status) => check(status === 0, `ended with ${status}`))
  }).pipe(Effect.scoped)

/** The Express examples of the page: one with `release()`, and one in TypeScript with `await using`. */
const expressExamples = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const page = yield* fs.readFileString(`${root}/docs/promise.md`)
  const block = (language: string) =>
    Effect.mapError(
      Effect.fromNullable(
        [...page.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, "g"))].map(([, code = ""]) => code)
          .find((code) => code.includes("from \"express\""))
      ),
      () => new Failed({ what: `docs/promise.md has no Express example in ${language}` })
    )
  return { js: yield* block("js"), ts: yield* block("ts") }
})

/** The lowest major version of Node that runs `await using`. */
const knowsUsing = 24

/** Runs an Express example of `docs/promise.md` on one Node version, in a folder where the package and Express are installed. */
const tryExpress = (folder: string, { path: node }: Installed, code: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const port = yield* freePort
    yield* fs.writeFileString(`${folder}/server.mjs`, code)
    const home = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-package-" })
    const here = (...words: readonly [string, ...Array<string>]) =>
      Command.make(...words).pipe(
        Command.workingDirectory(folder),
        Command.env({ HOME: home, XDG_STATE_HOME: undefined, PORT: String(port) })
      )
    const first = yield* Command.start(here(node, "server.mjs"))
    yield* Effect.flatMap(answers(port), (text) => check(text === "world", `/hello answers ${text}`))
    const second = yield* finish(here(node, "server.mjs"))
    yield* check(
      second.status === 1 &&
        second.text.includes(
          `GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:${port}`
        ) &&
        second.text.includes("to stop it:"),
      `the second copy is not refused: ${second.text}`
    )
    const program = `${folder}/node_modules/.bin/gateway`
    const names = ["--profile", "hello", "--port", String(port)]
    const status = yield* finish(here(node, program, "status", ...names))
    yield* check(status.status === 0, `status: ${status.text}`)
    yield* first.kill("SIGTERM")
    yield* Effect.flatMap(first.exitCode, (status) => check(status === 0, `ended with ${status}`))
    const files = yield* fs.readDirectory(`${home}/.local/state/gateway-lock/hello/locks`)
    // The log of the runs stays for the status page.
    const left = files.filter((name) => !name.endsWith(".runs"))
    yield* check(left.length === 0, `left behind: ${left.join(", ")}`)
  }).pipe(Effect.scoped)

/**
 * `npm install` of the tarball and of Express in an empty folder, then the examples of `docs/promise.md`. TypeScript compiles the
 * second one. Its `await using` stays as it is on a Node version that knows it.
 */
const tryPromise = (place: string, tarball: string, nodes: ReadonlyArray<Installed & { readonly version: string }>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = `${place}/promise`
    yield* fs.makeDirectory(folder)
    yield* npm(folder, "install", "--silent", "--ignore-scripts", tarball, "express")
    const { js, ts: typed } = yield* expressExamples
    const compiled = (target: ts.ScriptTarget) =>
      ts.transpileModule(typed, { compilerOptions: { target, module: ts.ModuleKind.ESNext } }).outputText
    for (const node of nodes) {
      yield* tryExpress(folder, node, js)
      yield* tryExpress(folder, node, compiled(ts.ScriptTarget.ES2022))
      if (node.major >= knowsUsing) yield* tryExpress(folder, node, compiled(ts.ScriptTarget.ESNext))
      yield* Console.log(`ok: gateway-lock/promise with Express, Node ${node.version}`)
    }
    for (const name of ["effect", "@effect"]) {
      yield* check(
        !(yield* fs.exists(`${folder}/node_modules/${name}`)),
        `npm installs ${name} for gateway-lock/promise`
      )
    }
  })

/**
 * Runs the commands of the section Install of `docs/operate.md`, with the npm and the Node that run this script: an installation with
 * `--global`, and npx.
 */
const tryCommands = (place: string, tarball: string) =>
  Effect.gen(function*() {
    const global = `${place}/global`
    const path = yield* Config.string("PATH")
    const here = (...words: readonly [string, ...Array<string>]) =>
      Command.make(...words).pipe(
        Command.workingDirectory(place),
        Command.env({
          HOME: global,
          // npm installs global packages below this prefix.
          NPM_CONFIG_PREFIX: global,
          PATH: `${global}/bin:${path}`
        })
      )
    const prints = (command: Command.Command, what: string) =>
      Effect.flatMap(finish(command), ({ status, text }) =>
        check(status === 0 && /^gateway \d+\.\d+\.\d+\n$/m.test(text), `${what}: ${text}`))
    const installed = yield* finish(here("npm", "install", "--global", "--silent", "--ignore-scripts", tarball))
    yield* check(installed.status === 0, `npm install --global: ${installed.text}`)
    yield* prints(here("gateway", "--version"), "gateway, installed globally")
    // The service definition names the link in npm's `bin` folder, because npm keeps that link when it replaces the package.
    const printed = yield* finish(here("gateway", "service", "print", "--manager", "launchd"))
    yield* check(printed.text.includes(`${global}/bin/gateway</string>`), `service print: ${printed.text}`)
    yield* prints(here("npx", "--yes", `--package=${tarball}`, "gateway", "--version"), "npx")
    const byNpx = yield* finish(here("npx", "--yes", `--package=${tarball}`, "gateway", "service", "print"))
    yield* check(
      byNpx.text.includes("(npx, a cache); prefer"),
      `npx gateway service print does not warn: ${byNpx.text}`
    )
  })

const installs = [["whole", []], ["without optional dependencies", ["--omit=optional"]]] as const

Effect.gen(function*() {
  const majors = yield* options
  const fs = yield* FileSystem.FileSystem
  const place = yield* fs.makeTempDirectoryScoped({ prefix: "gateway-lock-package-" })
  const packed = yield* npm(root, "pack", "--silent", "--pack-destination", place)
  const tarball = `${place}/${packed.trim().split("\n").at(-1)}`

  const nodes = yield* Effect.forEach(majors, (major) =>
    Effect.gen(function*() {
      const name = `node-${platform}-${arch}`
      const folder = `${place}/node${major}`
      yield* fs.makeDirectory(folder)
      yield* npm(folder, "install", "--silent", "--prefix", folder, `${name}@${major}`)
      const path = `${folder}/node_modules/${name}/bin/node`
      const { text } = yield* finish(Command.make(path, "--version"))
      yield* check(text.startsWith(`v${major}.`), `${name}@${major} is ${text}`)
      return { major: Number(major), path, version: text.trim() }
    }))

  for (const [how, flags] of installs) {
    const folder = `${place}/${how.replaceAll(" ", "-")}`
    yield* fs.makeDirectory(folder)
    yield* fs.writeFileString(`${folder}/package.json`, "{\"private\":true,\"type\":\"module\"}")
    // The package must work without install scripts, so npm runs none.
    yield* npm(folder, "install", "--silent", "--ignore-scripts", ...flags, tarball, ...(yield* peers))
    for (const node of nodes) {
      yield* tryOut(folder, node)
      yield* Console.log(`ok: ${how}, Node ${node.version}`)
    }
  }
  yield* tryPromise(place, tarball, nodes)
  yield* tryCommands(place, tarball)
  yield* Console.log("ok: globally and by npx")
}).pipe(
  Effect.scoped,
  Effect.tapErrorCause((cause) => Console.error(String(cause))),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : 1)
  })
)
