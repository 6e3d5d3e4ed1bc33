/**
 * The compiled code that an installed package keeps for its user. The package has no compiled code of the build, so these tests run a
 * copy of the program without it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import * as Program from "./support/program.ts"

interface Installed {
  readonly main: string
  /** The folder in which compiled code is kept. */
  readonly kept: string
  readonly env: Readonly<Record<string, string>>
}

const makeInstalled = (): Installed & { readonly root: string } => {
  const root = Fs.mkdtempSync(Path.join(tmpdir(), "gateway-lock-kept-"))
  const dist = Path.join(root, "dist")
  Fs.cpSync(Path.dirname(Program.main), dist, {
    recursive: true,
    filter: (path) => !path.endsWith(".cache") && !path.includes(`${Path.sep}esm${Path.sep}`)
  })
  const addon = Path.resolve(Path.dirname(Program.main), "../node_modules")
  if (Fs.existsSync(addon)) Fs.symlinkSync(addon, Path.join(root, "node_modules"), "dir")
  const cache = Path.join(root, "cache")
  return {
    root,
    main: Path.join(dist, "main.js"),
    kept: Path.join(cache, "gateway-lock", "compiled"),
    env: {
      PATH: Program.searchPath,
      HOME: Path.join(root, "home"),
      XDG_CACHE_HOME: cache,
      XDG_STATE_HOME: Path.join(root, "state"),
      LOCALAPPDATA: cache
    }
  }
}

/** Runs a test with a copy of the program as npm installs it. */
const test = (body: (installed: Installed) => void | Promise<void>) => () =>
  Effect.acquireUseRelease(
    Effect.sync(makeInstalled),
    (installed) => Effect.promise(async () => body(installed)),
    ({ root }) => Effect.sync(() => Fs.rmSync(root, { recursive: true, force: true }))
  )

/** Runs a command to its end. Port 1 has no listener, and nothing that an unprivileged user starts. */
const run = ({ env, main }: Installed, words: ReadonlyArray<string>, more: Readonly<Record<string, string>> = {}) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [main, ...words], {
    encoding: "utf8",
    env: { ...env, ...more }
  })
  return { status, stderr, stdout }
}

/** Runs a command to its end, with a SIGTERM once it says `text`. Returns its exit status and all that it says. */
const runUntil = ({ env, main }: Installed, words: ReadonlyArray<string>, text?: string) =>
  new Promise<string>((resolve) => {
    const child = spawn(process.execPath, [main, ...words], { env, stdio: ["ignore", "pipe", "pipe"] })
    let said = ""
    const hear = (data: Buffer) => {
      const before = said
      said += String(data)
      if (text !== undefined && said.includes(text) && !before.includes(text)) child.kill("SIGTERM")
    }
    child.stdout.on("data", hear)
    child.stderr.on("data", hear)
    child.on("close", (status) => resolve(`${status} ${said}`))
  })

const look = ["status", "--port", "1"]
const notRunning = { status: 3, stderr: "" }

/** The kept files, each with what changes when it is written. */
const files = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (Fs.existsSync(folder) ? Fs.readdirSync(folder) : []).map((name) => {
      const { ino, mode, mtimeMs, size } = Fs.statSync(Path.join(folder, name))
      return [name, `${ino} ${size} ${mtimeMs} ${(mode & 0o777).toString(8)}`]
    })
  )

const ofProgram = (folder: string): string => {
  const name = Fs.readdirSync(folder).find((name) => name.includes("-program.cjs-"))
  assert.isDefined(name)
  return Path.join(folder, name)
}

describe("compiled code of an installed package", () => {
  it.live(
    "is kept by the first run and used by the next ones, which leave it as it is",
    test((installed) => {
      const first = run(installed, look)
      assert.deepInclude(first, notRunning)
      const kept = files(installed.kept)
      assert.isAbove(Object.keys(kept).length, 2)
      assert.isAbove(Fs.statSync(ofProgram(installed.kept)).size, 100_000)
      for (const [name, file] of Object.entries(kept)) {
        assert.match(name, /^status-[\w-]+\.cjs-/)
        assert.isTrue(file.endsWith(" 600"), file)
      }
      assert.strictEqual(Fs.statSync(installed.kept).mode & 0o777, 0o700)
      assert.deepStrictEqual(run(installed, look), first)
      assert.deepStrictEqual(files(installed.kept), kept)
    })
  )

  it.live(
    "is kept again, whole, by a run that goes another way",
    test(async (installed) => {
      const server = createServer((_, response) => response.end("another program")).unref()
      await once(server.listen(0, "127.0.0.1"), "listening")
      const address = server.address()
      if (address === null || typeof address === "string") throw new Error("no port")
      const words = ["run", "--port", String(address.port)]
      assert.include(await runUntil(installed, words), "1 GatewayLockError: another gateway")
      const kept = files(installed.kept)
      const program = Path.basename(ofProgram(installed.kept))
      server.closeAllConnections()
      await once(server.close(), "close")
      assert.match(await runUntil(installed, words, "gateway listening"), /^0 .*gateway stopped/s)
      const after = files(installed.kept)
      assert.isAbove(Object.keys(after).length, Object.keys(kept).length)
      assert.notStrictEqual(after[program], kept[program])
      assert.match(await runUntil(installed, words, "gateway listening"), /^0 .*gateway stopped/s)
      assert.deepStrictEqual(files(installed.kept), after)
    })
  )

  it.live(
    "is not used if another user may write it, and then written anew",
    test((installed) => {
      run(installed, look)
      const path = ofProgram(installed.kept)
      Fs.chmodSync(path, 0o666)
      assert.deepInclude(run(installed, look), notRunning)
      assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
    })
  )

  it.live(
    "is written anew if it is cut off, empty or of something else",
    test((installed) => {
      const first = run(installed, look)
      const path = ofProgram(installed.kept)
      const whole = Fs.readFileSync(path)
      for (const damaged of [whole.subarray(0, whole.length / 2), Buffer.alloc(0), Buffer.alloc(whole.length)]) {
        Fs.writeFileSync(path, damaged)
        assert.deepStrictEqual(run(installed, look), first)
        assert.isAbove(Fs.statSync(path).size, 100_000)
      }
    })
  )

  it.live(
    "is not used for a file that was edited, although its size is the same",
    test((installed) => {
      run(installed, look)
      const folder = Path.join(Path.dirname(installed.main), "program")
      for (const name of Fs.readdirSync(folder)) {
        const path = Path.join(folder, name)
        if (!name.endsWith(".cjs")) continue
        const { mtime } = Fs.statSync(path)
        Fs.writeFileSync(
          path,
          Fs.readFileSync(path, "utf8").replaceAll("nothing listens there", "NOTHING LISTENS THERE")
        )
        Fs.utimesSync(path, mtime, mtime)
      }
      assert.include(run(installed, look).stdout, "NOTHING LISTENS THERE")
    })
  )

  it.live(
    "is not kept after bad usage, help or the version, nor if the user turns it off",
    test((installed) => {
      assert.strictEqual(run(installed, ["status", "--no-such-flag"]).status, 64)
      assert.strictEqual(run(installed, ["status", "--help"]).status, 0)
      assert.strictEqual(run(installed, ["--version"]).status, 0)
      assert.deepInclude(run(installed, look, { NODE_DISABLE_COMPILE_CACHE: "1" }), notRunning)
      assert.isFalse(Fs.existsSync(installed.kept))
      const other = Path.join(installed.kept, "..", "other")
      assert.deepInclude(run(installed, look, { NODE_COMPILE_CACHE: other }), notRunning)
      assert.isFalse(Fs.existsSync(installed.kept))
      assert.isNotEmpty(files(Path.join(other, "gateway-lock")))
    })
  )

  it.live(
    "is not needed: a folder that cannot be made changes nothing",
    test((installed) => {
      const first = run(installed, look, { NODE_DISABLE_COMPILE_CACHE: "1" })
      const file = `${installed.main}.file`
      Fs.writeFileSync(file, "")
      for (const folder of [file, "/proc/nowhere"]) {
        assert.deepStrictEqual(run(installed, look, { XDG_CACHE_HOME: folder }), first)
      }
    })
  )

  it.live(
    "of an earlier version is removed if it was not read for a month",
    test((installed) => {
      Fs.mkdirSync(installed.kept, { recursive: true })
      const [old, recent] = ["status-program.cjs-old.cache", "status-program.cjs-recent.cache"] as const
      const day = 24 * 60 * 60
      const now = Fs.statSync(installed.kept).mtimeMs / 1000
      for (const [name, days] of [[old, 31], [recent, 29]] as const) {
        Fs.writeFileSync(Path.join(installed.kept, name), "")
        Fs.utimesSync(Path.join(installed.kept, name), now - days * day, now - days * day)
      }
      run(installed, look)
      assert.notProperty(files(installed.kept), old)
      assert.property(files(installed.kept), recent)
    })
  )

  it.live(
    "is whole whenever it is read, although many first runs write it at once",
    test(async (installed) => {
      const said = await Promise.all(Array.from({ length: 6 }, () => runUntil(installed, look)))
      assert.lengthOf(new Set(said), 1)
      const kept = files(installed.kept)
      assert.isEmpty(Object.keys(kept).filter((name) => name.endsWith(".draft")))
      run(installed, look)
      assert.deepStrictEqual(files(installed.kept), kept)
    })
  )
})
