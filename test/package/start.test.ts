/**
 * These tests run the build's script in a small checkout, whose steps are stand-ins that end at once. They show when `npm start`
 * builds.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The stand-in for the bundler. It makes a program that prints the source, and notes each build. */
const bundler = `
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
appendFileSync("builds.log", "built\\n")
mkdirSync("dist/program", { recursive: true })
writeFileSync("dist/main.js", "console.log(" + JSON.stringify(readFileSync("src/main.ts", "utf8")) + ")")
if (existsSync("fails")) process.exit(1)
if (existsSync("edit")) writeFileSync("src/main.ts", "edited")
if (existsSync("gate")) {
  console.error("half built")
  // Reading a named pipe waits until the test writes to it.
  readFileSync("gate")
}
writeFileSync("dist/program/program.cjs", "")
`

const checkout = Effect.gen(function*() {
  const folder = yield* Gateways.temporaryFolder
  const path = (name: string) => Path.join(folder, name)
  const write = (name: string, text: string) =>
    Effect.promise(async () => {
      await Fs.mkdir(Path.dirname(path(name)), { recursive: true })
      await Fs.writeFile(path(name), text)
    })
  const { scripts }: { readonly scripts: Readonly<Record<string, string>> } = JSON.parse(
    yield* Effect.promise(() => Fs.readFile(Path.join(root, "package.json"), "utf8"))
  )
  yield* write(
    "package.json",
    JSON.stringify({ type: "module", version: "1.0.0", scripts })
  )
  yield* write("src/main.ts", "first")
  yield* write("src/host/other.ts", "")
  yield* write(".build/program.mjs", bundler)
  yield* write(".build/manPage.mjs", "")
  yield* write("node_modules/typescript/bin/tsc", "")
  yield* write("node_modules/.package-lock.json", "{}")
  yield* write("builds.log", "")
  for (const name of ["build.mjs", "freshness.mjs"]) {
    yield* Effect.promise(() => Fs.copyFile(Path.join(root, ".build", name), path(`.build/${name}`)))
  }
  // With the addon, builds wait for each other.
  for (const name of yield* Gateways.namesIn(Path.join(root, "node_modules"))) {
    if (!/^(?:fs-native|require-addon|which-runtime|bare-)/.test(name)) continue
    yield* Effect.promise(() =>
      Fs.symlink(Path.join(root, "node_modules", name), path(`node_modules/${name}`), "junction")
    )
  }
  const start = (...words: ReadonlyArray<string>) =>
    Processes.start(words, { cwd: folder, env: { PATH: Program.searchPath, HOME: folder } })
  const run = (...words: ReadonlyArray<string>) => Effect.scoped(Effect.flatMap(start(...words), ({ ended }) => ended))
  return {
    path,
    write,
    run,
    start: start(process.execPath, ".build/build.mjs", "--if-changed"),
    build: run(process.execPath, ".build/build.mjs", "--if-changed"),
    remove: (name: string) => Effect.promise(() => Fs.rm(path(name))),
    /** The number of builds since the last call. */
    builds: Effect.promise(async () => {
      const text = await Fs.readFile(path("builds.log"), "utf8")
      await Fs.writeFile(path("builds.log"), "")
      return text.split("\n").length - 1
    })
  }
})

const noPipes = Program.without("mkfifo")

describe("npm start", () => {
  it.scopedLive("builds the first time, and then only if a source has changed", () =>
    Effect.gen(function*() {
      const { builds, run, write } = yield* checkout
      const first = yield* run("npm", "start", "--silent")
      assert.strictEqual(first.stdout, "first\n", first.stderr)
      assert.strictEqual(yield* builds, 1)
      assert.strictEqual((yield* run("npm", "start", "--silent")).stdout, "first\n")
      assert.strictEqual(yield* builds, 0)
      yield* write("src/main.ts", "later")
      const changed = yield* run("npm", "start", "--silent")
      assert.strictEqual(changed.stdout, "later\n")
      assert.include(changed.stderr, "building dist")
      assert.strictEqual(yield* builds, 1)
    }))

  it.scopedLive("builds after each change of what a build reads or has written", () =>
    Effect.gen(function*() {
      const { build, builds, path, remove, write } = yield* checkout
      const restored = Effect.promise(async () => {
        // As a restored backup is: with the same size and the same time.
        const { atime, mtime } = await Fs.stat(path("src/main.ts"))
        await Fs.writeFile(path("src/main.ts"), "FIRST")
        await Fs.utimes(path("src/main.ts"), atime, mtime)
      })
      const changes: ReadonlyArray<readonly [string, Effect.Effect<void>]> = [
        ["the first build", Effect.void],
        ["another content of the same size and time", restored],
        ["a new source", write("src/host/new.ts", "")],
        ["a source that is gone", remove("src/host/new.ts")],
        [
          "a source that has another name",
          Effect.promise(() => Fs.rename(path("src/host/other.ts"), path("src/host/others.ts")))
        ],
        ["a part of the build", write(".build/plugins.mjs", "")],
        ["another version", write("package.json", "{\"type\":\"module\"}")],
        ["an installed package", write("node_modules/.package-lock.json", "{\"a\":1}")],
        ["a lost file of the build", remove("dist/main.js")],
        ["a changed file of the build", write("dist/program/program.cjs", "changed")],
        ["half a note of the last build", write("dist/.built", "{\"inputs\":")],
        ["the same by hand", write("dist/.built", "null")]
      ]
      for (const [what, change] of changes) {
        yield* change
        const { code, stderr } = yield* build
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual(yield* builds, 1, what)
        yield* build
        assert.strictEqual(yield* builds, 0, `${what}, twice`)
      }
    }))

  it.scopedLive("does not build after a change of a time, a test or a page", () =>
    Effect.gen(function*() {
      const { build, builds, path, write } = yield* checkout
      yield* build
      yield* builds
      yield* Effect.promise(() => Fs.utimes(path("src/main.ts"), 2_000_000_000, 2_000_000_000))
      yield* write("test/main.test.ts", "")
      yield* write("docs/page.md", "")
      yield* build
      assert.strictEqual(yield* builds, 0)
    }))

  it.scopedLive("builds again after a build that failed, and says so without starting the program", () =>
    Effect.gen(function*() {
      const { builds, remove, run, write } = yield* checkout
      yield* write("fails", "")
      const failed = yield* run("npm", "start", "--silent")
      assert.strictEqual(failed.code, 1)
      assert.strictEqual(failed.stdout, "")
      assert.include(failed.stderr, "the build failed: .build/program.mjs ended with 1")
      yield* remove("fails")
      assert.strictEqual((yield* run("npm", "start", "--silent")).stdout, "first\n")
      assert.strictEqual(yield* builds, 2)
    }))

  it.scopedLive("builds again if a source changed during the build", () =>
    Effect.gen(function*() {
      const { build, builds, remove, write } = yield* checkout
      yield* write("edit", "")
      yield* build
      yield* remove("edit")
      yield* build
      assert.strictEqual(yield* builds, 2)
    }))

  it.scopedLive.skipIf(noPipes !== undefined)(
    Program.named("builds again after a build that was killed", noPipes),
    () =>
      Effect.gen(function*() {
        const { build, builds, path, remove, run, start, write } = yield* checkout
        // A build before, so that the killed one begins with a whole `dist`.
        yield* build
        yield* write("src/main.ts", "later")
        yield* run("mkfifo", path("gate"))
        yield* Effect.scoped(Effect.gen(function*() {
          const killed = yield* start
          yield* killed.line(/half built/)
          yield* killed.signal("SIGKILL")
          // The step outlives its parent, and ends once it has read the pipe.
          yield* write("gate", "")
          assert.strictEqual((yield* killed.ended).signal, "SIGKILL")
        }))
        yield* remove("gate")
        assert.strictEqual(yield* builds, 2)
        yield* build
        assert.strictEqual(yield* builds, 1)
      })
  )

  it.scopedLive.skipIf(noPipes !== undefined || !Program.kernelLocks)(
    Program.named(
      "waits for a build that is under way, and then does not build",
      noPipes ?? (Program.kernelLocks ? undefined : "needs fs-native-extensions")
    ),
    () =>
      Effect.gen(function*() {
        const { builds, path, run, start, write } = yield* checkout
        yield* run("mkfifo", path("gate"))
        const first = yield* start
        yield* first.line(/half built/)
        const second = yield* start
        yield* second.line(/waiting for another build/)
        yield* write("gate", "")
        assert.strictEqual((yield* first.ended).code, 0)
        const ended = yield* second.ended
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.strictEqual(yield* builds, 1)
      })
  )
})
