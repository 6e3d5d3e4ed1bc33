/**
 * Runs a script under a real systemd that only this script uses (see `with-systemd`).
 */
import { assert } from "@effect/vitest"
import { Console, Effect, Schema } from "effect"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Processes from "./processes.ts"
import * as Program from "./program.ts"

const support = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/**
 * Copies the program, its addon and the scripts to a folder that the systemd of this test can see. That systemd has its own `/tmp`,
 * so it could not see a checkout in the host's `/tmp`.
 */
const staged = (scripts: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = Fs.mkdtempSync("/var/tmp/gateway-lock-systemd-")
      Fs.cpSync(Path.dirname(Program.main), Path.join(folder, "dist"), { recursive: true })
      Fs.writeFileSync(Path.join(folder, "package.json"), "{\"type\":\"module\"}")
      for (const script of [...scripts, "systemdSteps.mjs"]) Fs.copyFileSync(support(script), Path.join(folder, script))
      if (Program.kernelLocks) {
        const addon = Path.dirname(createRequire(Program.main).resolve("fs-native-extensions/package.json"))
        Fs.cpSync(addon, Path.join(folder, "node_modules", "fs-native-extensions"), { recursive: true })
      }
      return folder
    }),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )

/**
 * Boots a systemd, runs the first of these scripts of this folder under it, and returns what the script prints last, which must be
 * JSON. The script may import the other ones. It gets the path of the program, and then `args`.
 */
export const play = <A, I>(
  scripts: readonly [string, ...Array<string>],
  Seen: Schema.Schema<A, I>,
  seconds: number,
  args: ReadonlyArray<string> = []
): Promise<A> =>
  Effect.scoped(Effect.gen(function*() {
    const folder = yield* staged(scripts)
    const played = yield* Processes.start(
      [
        support("with-systemd"),
        process.execPath,
        Path.join(folder, scripts[0]),
        Path.join(folder, "dist", "main.js"),
        ...args
      ],
      {
        cwd: "/",
        env: { PATH: Program.searchPath, WITH_SYSTEMD_S: String(seconds) },
        patience: `${seconds + 10} seconds`
      }
    )
    const { code, stderr, stdout } = yield* played.ended
    assert.strictEqual(code, 0, `${stdout}${stderr}`)
    return yield* Schema.decodeUnknown(Schema.parseJson(Seen))(stdout.trim().split("\n").at(-1)).pipe(
      // If a scene failed, the output has the reason of the failure instead of the observations. The decoding then fails, and the
      // output is printed.
      Effect.tapError(() => Console.error(`${stdout}\n${stderr}`))
    )
  })).pipe(Effect.runPromise)
