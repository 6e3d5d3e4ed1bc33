// Builds `dist`: the library, the program and its manual page. With `--if-changed`, only if the sources have changed since the last
// build that ended. `npm start`, `npm pack` and the tests use that.
import { spawnSync } from "node:child_process"
import { closeSync, mkdirSync, openSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { inputsOf, isBuilt, markBuilt, removeBuild } from "./freshness.mjs"

const root = resolve(fileURLToPath(new URL("..", import.meta.url)))
const isConditional = process.argv.includes("--if-changed")

const steps = [
  ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"],
  [".build/program.mjs"],
  [".build/manPage.mjs"]
]

/**
 * Waits until no other process builds this checkout: a newcomer starts a second gateway while the first one is still being built.
 * Without the addon, which is optional, nothing is waited for.
 */
const alone = async () => {
  const addon = await import("fs-native-extensions").catch(() => undefined)
  if (addon === undefined) return
  const folder = join(root, "node_modules/.cache/gateway-lock")
  mkdirSync(folder, { recursive: true })
  const file = openSync(join(folder, "build.lock"), "a+")
  if (!addon.default.tryLock(file)) {
    console.error("waiting for another build of this checkout")
    await addon.default.waitForLock(file)
  }
  // The end of this process releases the lock.
  process.on("exit", () => closeSync(file))
}

await alone()
// What changes during the build is not in this build. So its inputs are those at its beginning.
const inputs = inputsOf(root)
if (!isConditional || !isBuilt(root, inputs)) {
  if (isConditional) console.error("building dist, because the sources have changed since the last build")
  removeBuild(root)
  for (const step of steps) {
    // `npm pack` prints the name of its file on stdout, so a build prints nothing there.
    const { error, signal, status } = spawnSync(process.execPath, step, { cwd: root, stdio: ["ignore", 2, 2] })
    if (error !== undefined) throw error
    if (status !== 0) {
      console.error(`the build failed: ${step.join(" ")} ended with ${signal ?? status}`)
      process.exit(1)
    }
  }
  markBuilt(root, inputs)
}
