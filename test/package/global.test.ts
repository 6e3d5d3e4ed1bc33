/**
 * This test installs the packed package globally, and checks what a user gets in addition to modules: the program and its
 * manual page. The test leaves out the dependencies, so that npm asks no registry.
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

const run = (folder: string, ...words: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const running = yield* Processes.start(words, {
      cwd: folder,
      env: {
        PATH: Program.searchPath,
        HOME: folder,
        LC_ALL: "C.UTF-8",
        MANPATH: Path.join(folder, "global", "share", "man"),
        MANPAGER: "cat",
        MANWIDTH: "100"
      }
    })
    const ended = yield* running.ended
    assert.strictEqual(ended.code, 0, `${words.join(" ")}: ${ended.stdout}${ended.stderr}`)
    return ended.stdout
  })

/** Makes a folder with a copy of this package, whose manifest has no dependencies. Returns the path of the folder. */
const alone = (folder: string) =>
  Effect.promise(async () => {
    const copy = Path.join(folder, "package")
    const manifest: Record<string, unknown> = JSON.parse(await Fs.readFile(Path.join(root, "package.json"), "utf8"))
    for (const name of ["dependencies", "optionalDependencies", "peerDependencies", "devDependencies", "scripts"]) {
      delete manifest[name]
    }
    await Fs.cp(Path.join(root, "dist"), Path.join(copy, "dist"), { recursive: true })
    await Fs.writeFile(Path.join(copy, "package.json"), JSON.stringify(manifest))
    return copy
  })

const skipped = process.platform === "win32" ? "npm links no manual pages on Windows" : Program.without("man")

describe("npm install --global", () => {
  it.scopedLive.skipIf(skipped !== undefined)(
    Program.named("of the package makes `gateway` a program and `man gateway` its page", skipped),
    () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        const copy = yield* alone(folder)
        const packed = yield* run(folder, "npm", "pack", "--silent", "--offline", copy)
        const prefix = Path.join(folder, "global")
        const tarball = Path.join(folder, packed.trim().split("\n").at(-1) ?? "")
        yield* run(folder, "npm", "install", "--global", "--offline", "--no-audit", "--prefix", prefix, tarball)
        assert.match(yield* run(folder, Path.join(prefix, "bin", "gateway"), "--version"), /^gateway \d+\.\d+\.\d+\n$/)
        const page = yield* run(folder, "man", "gateway")
        assert.match(page, /^GATEWAY\(1\)/)
        assert.include(page, "--standby")
        assert.include(page, "GATEWAY_TOKEN_FILE")
      })
  )
})
