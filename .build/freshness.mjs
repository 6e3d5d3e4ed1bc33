// Tells whether `dist` is what a build makes of the present sources. It compares contents: times of change are no proof, because a
// checkout of another branch, a copy or a restored file can have any.
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** All that a build reads. npm keeps the second list of packages: of those that are installed, which the program bundles. */
const inputs = ["src", ".build", "package.json", "package-lock.json", "tsconfig.json", "tsconfig.build.json", "node_modules/.package-lock.json"]

/** A build writes this file last and removes it first, so that a build that did not end leaves none. */
const stamp = "dist/.built"

/** The files of a folder, or the file itself, sorted. A path that does not exist has none. */
const filesOf = (root, path) => {
  try {
    return readdirSync(join(root, path), { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .toSorted()
  } catch (error) {
    if (error.code === "ENOTDIR") return [join(root, path)]
    if (error.code === "ENOENT") return []
    throw error
  }
}

const digest = (root, paths, more) => {
  const hash = createHash("sha256").update(more)
  for (const file of paths.flatMap((path) => filesOf(root, path))) {
    if (file === join(root, stamp)) continue
    const content = readFileSync(file)
    // The length keeps the end of one file from counting as the beginning of the next one.
    hash.update(`\0${file.slice(root.length)}\0${content.length}\0`).update(content)
  }
  return hash.digest("hex")
}

/** Identifies what a build would read now. V8's compiled code depends on the version of Node and on the processor. */
export const inputsOf = (root) => digest(root, inputs, `${process.version} ${process.arch}`)

const outputsOf = (root) => digest(root, ["dist"], "")

/** Whether the last build ended, had these inputs, and is still there. */
export const isBuilt = (root, inputs) => {
  try {
    const built = JSON.parse(readFileSync(join(root, stamp), "utf8"))
    return built.inputs === inputs && built.outputs === outputsOf(root)
  } catch {
    // No stamp, or half of one.
    return false
  }
}

/** Removes the last build. The stamp goes first. */
export const removeBuild = (root) => {
  rmSync(join(root, stamp), { force: true })
  rmSync(join(root, "dist"), { recursive: true, force: true })
}

export const markBuilt = (root, inputs) => writeFileSync(join(root, stamp), JSON.stringify({ inputs, outputs: outputsOf(root) }))
