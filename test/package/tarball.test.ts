/**
 * These tests list the files that `npm pack` puts into the package, and check them as a user has them, without the repository
 * around them.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { posix } from "node:path"
import { fileURLToPath } from "node:url"
import * as Markdown from "./markdown.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8")

const pagesOfDocs = readdirSync(`${root}/docs`).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)

type Target = string | { readonly [condition: string]: Target }

const manifest: {
  readonly bin: Readonly<Record<string, string>>
  readonly man: ReadonlyArray<string>
  readonly exports: Readonly<Record<string, Target>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
} = JSON.parse(read("package.json"))

const [packed]: ReadonlyArray<{ readonly size: number; readonly files: ReadonlyArray<{ readonly path: string }> }> =
  JSON.parse(
    // On Windows, npm is a script of the shell.
    execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32"
    })
  )
const files = new Set(packed?.files.map(({ path }) => path))

/** Whether the package has this file, or a file in this folder. */
const isPacked = (path: string) => files.has(path) || [...files].some((file) => file.startsWith(`${path}/`))

const targets = (target: Target): ReadonlyArray<string> =>
  typeof target === "string" ? [target] : Object.values(target).flatMap(targets)

describe("the tarball", () => {
  it("has the program, its manual page, and each entry of the library", () => {
    const named = [...Object.values(manifest.bin), ...manifest.man, ...Object.values(manifest.exports).flatMap(targets)]
    assert.deepStrictEqual(named.filter((path) => !files.has(posix.normalize(path))), [])
  })

  it("has every page of the documents, with the licence and the changes", () => {
    const pages = pagesOfDocs
    const lacking = ["README.md", "LICENSE", "CHANGELOG.md", ...pages].filter((path) => !files.has(path))
    assert.deepStrictEqual(lacking, [])
  })

  it("has no sources, no tests, and no compiled code of one version of Node", () => {
    const examples = /^test\/examples\/(?!examples|promise\.|alerts\.test)/
    const others = [...files].filter((path) => !/^(?:dist|docs)\/|^[^/]+$/.test(path) && !examples.test(path))
    assert.deepStrictEqual(others, [])
    assert.deepStrictEqual([...files].filter((path) => /\.cache$|\/\.|^CONTRIBUTING/.test(path)), [])
  })

  it("has the file that each relative link of its documents leads to", () => {
    const documents = [...files].filter((path) => path.endsWith(".md"))
    const dead = documents.flatMap((path) =>
      Markdown.links(Markdown.parse(read(path)), path)
        .filter((link) => link.isRelative && !isPacked(posix.normalize(link.path).replace(/\/$/, "")))
        .map(({ text }) => `${path}: ${text}`)
    )
    assert.isAbove(documents.length, 20)
    assert.deepStrictEqual(dead, [])
  })

  // The package contains no source maps and no TypeScript sources, because they would double its size. Users do not need them:
  // the output of tsc reads like its source, and the declarations have the comments.
  it("has no source map whose sources it lacks", () => {
    const lacking: Array<string> = []
    for (const path of [...files].filter((path) => /\.(?:[cm]?js|d\.ts)$/.test(path))) {
      for (const [, url = ""] of read(path).matchAll(/^\/\/# sourceMappingURL=(\S+)$/gm)) {
        const map = posix.join(posix.dirname(path), url)
        if (files.has(map)) continue
        lacking.push(`${path}: ${url}`)
      }
    }
    for (const path of [...files].filter((path) => path.endsWith(".map"))) {
      const { sources }: { readonly sources: ReadonlyArray<string> } = JSON.parse(read(path))
      const away = sources.filter((source) => !files.has(posix.join(posix.dirname(path), source)))
      lacking.push(...away.map((source) => `${path}: ${source}`))
    }
    assert.deepStrictEqual(lacking, [])
  })

  it("has less than 2 MB", () => {
    assert.isBelow(packed?.size ?? Number.POSITIVE_INFINITY, 2_000_000)
  })
})

describe("the peers of the package", () => {
  // The program and gateway-lock/promise are bundled. With peers that are not optional, npm installs 80 MB more for them.
  it("are optional", () => {
    const optional = Object.entries(manifest.peerDependenciesMeta).filter(([, { optional }]) => optional)
    assert.sameMembers(optional.map(([name]) => name), Object.keys(manifest.peerDependencies))
  })

  it("have versions in each command that installs them, because the newest Effect is another one", () => {
    const pages = ["README.md", ...pagesOfDocs]
    const commands = pages.flatMap((path) =>
      [...read(path).matchAll(/npm install gateway-lock[^`\n]* effect[^`\n]*/g)].map(([command]) => command)
    )
    assert.isAtLeast(commands.length, 3)
    // `^3.22.0` allows every later 3.x, and `^0.97.0` only 0.97.x.
    const installed = (name: string) => {
      const [, major, minor] = /^\^(\d+)\.(\d+)\./.exec(manifest.peerDependencies[name] ?? "") ?? assert.fail(name)
      return `${name}@${major === "0" ? `0.${minor}` : major}`
    }
    const expected = ["effect", "@effect/platform", "@effect/platform-node"].map(installed)
    const names = new Set(Object.keys(manifest.peerDependencies))
    const isRight = (command: string) => {
      const words = command.split(" ").slice(3)
      const peers = words.filter((word) => names.has(word.replace(/(?!^)@.*/, "")))
      return expected.every((word) => words.includes(word))
        && peers.every((word) => word === installed(word.replace(/(?!^)@.*/, "")))
    }
    assert.deepStrictEqual(commands.filter((command) => !isRight(command)), [])
  })
})
