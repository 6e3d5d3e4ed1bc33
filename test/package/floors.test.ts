/**
 * The modules of `src` are in layers, called floors (see `docs/internals.md`, "Floors"). These tests check that no module imports
 * from a higher floor. They also check that no file and no function is too long.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdir, readFile } from "node:fs/promises"
import { dirname, join, normalize, relative } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript-api"

/**
 * The floors, the lowest first. A room is a folder or a file of `src`, or all the files of a list in `oneRoom`. A file
 * imports from lower floors and from its own room. Rooms of one floor do not import each other.
 */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["Address.ts", "GatewayLockError.ts", "Version.ts", "internal"],
  ["host"],
  ["telemetry"],
  ["probe"],
  ["lock"],
  ["leader", "ready"],
  ["server"],
  ["inspect", "supervisor"],
  ["settings"],
  ["page", "stop", "doctor", "exec", "report"],
  ["Gateway.ts", "gateway"],
  ["cli", "testing", "promise.ts", "promise", "index.ts", "main.ts"]
]

/**
 * Each list names the files and folders that form one room. The first room is the lowest floor. The second room assembles a
 * gateway from its parts. The third room starts the program.
 */
const oneRoom: ReadonlyArray<ReadonlyArray<string>> = [
  ["Address.ts", "GatewayLockError.ts", "Version.ts", "internal"],
  ["Gateway.ts", "gateway"],
  ["cli", "index.ts", "main.ts"],
  ["promise.ts", "promise"]
]

const src = fileURLToPath(new URL("../../src/", import.meta.url))
const roomOf = (file: string): string => file.split("/")[0] ?? file
const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room))
const isOneRoom = (a: string, b: string): boolean =>
  a === b || oneRoom.some((rooms) => rooms.includes(a) && rooms.includes(b))

/** Relative imports: static, dynamic, type-only, re-exports. */
const importsOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)].flatMap(([, specifier]) => specifier ?? [])

const isAllowed = (from: string, to: string): boolean => {
  const [own, other] = [roomOf(from), roomOf(to)]
  return isOneRoom(own, other) || floorOf(other) < floorOf(own)
}

const sources = async (): Promise<ReadonlyArray<string>> =>
  (await readdir(src, { recursive: true })).filter((file) => file.endsWith(".ts")).map((file) =>
    file.replaceAll("\\", "/")
  )

const edges = async (): Promise<ReadonlyArray<readonly [from: string, to: string]>> => {
  const files = (await readdir(src, { recursive: true })).filter((file) => file.endsWith(".ts")).map((file) =>
    file.replaceAll("\\", "/")
  )
  const found = await Promise.all(
    files.map(async (file) =>
      importsOf(await readFile(join(src, file), "utf8")).map((specifier) =>
        [file, relative(src, normalize(join(src, dirname(file), specifier))).replaceAll("\\", "/")] as const
      )
    )
  )
  return found.flat()
}

const mostLinesOfFile = 450
const mostLinesOfFunction = 80

/** Finds the functions of a file that are too long. Returns each as `file:line`, with the number of its first line. */
const longFunctions = (file: string, text: string): ReadonlyArray<string> => {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const lineAt = (position: number) => source.getLineAndCharacterOfPosition(position).line
  const found: Array<string> = []
  const visit = (node: ts.Node): void => {
    const [first, last] = [lineAt(node.getStart(source)), lineAt(node.end)]
    if (ts.isFunctionLike(node) && last - first >= mostLinesOfFunction) found.push(`${file}:${first + 1}`)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

describe("the sizes in src", () => {
  it(`no file is over ${mostLinesOfFile} lines, no function over ${mostLinesOfFunction}`, async () => {
    const texts = await Promise.all(
      (await sources()).map(async (file) => [file, await readFile(join(src, file), "utf8")] as const)
    )
    assert.deepStrictEqual(
      texts.filter(([, text]) => text.trimEnd().split("\n").length > mostLinesOfFile).map(([file]) => file),
      []
    )
    assert.deepStrictEqual(texts.flatMap(([file, text]) => longFunctions(file, text)), [])
  })

  it("a function that is too long is seen", () => {
    const body = "  f()\n".repeat(mostLinesOfFunction - 2)
    assert.deepStrictEqual(longFunctions("a.ts", `const f = () => {\n${body}}\n`), [])
    assert.deepStrictEqual(longFunctions("a.ts", `\nconst f = () => {\n${body}  f()\n}\n`), ["a.ts:2"])
  })
})

describe("the floors of src", () => {
  it("are the floors of the diagram in docs/internals.md", async () => {
    const page = await readFile(join(src, "../docs/internals.md"), "utf8")
    const drawn = [...page.matchAll(/\["(\d+) · ([^":]+)/g)].flatMap(([, floor = "", rooms = ""]) =>
      rooms.split(", ").map((room) => `${floor} ${room}`)
    )
    const entries = ["index.ts", "main.ts"]
    const planned = floors.flatMap((rooms, floor) =>
      rooms.filter((room) => !entries.includes(room)).map((room) => `${floor} ${room.replace(/\.ts$/, "")}`)
    )
    assert.deepStrictEqual(drawn.toSorted(), [...new Set(planned)].toSorted())
  })

  it("are all there is: every file is in a room of the plan", async () => {
    const strays = (await readdir(src)).filter((entry) => floorOf(entry) < 0)
    assert.deepStrictEqual(strays, [])
  })

  it("no import runs up, nor from one room to another of its floor", async () => {
    const all = await edges()
    assert.isAbove(all.length, 400)
    assert.deepStrictEqual(all.filter(([from, to]) => !isAllowed(from, to)).map((edge) => edge.join(" -> ")), [])
  })

  it("an import that runs up is seen, whatever its form", () => {
    const text = [
      "import type { A } from \"../page/StatusFeed.ts\"",
      "export * as B from \"../lock/LockFile.ts\"",
      "const c = import(\"../cli/run.ts\")",
      "import \"./Access.ts\""
    ].join("\n")
    assert.deepStrictEqual(importsOf(text), [
      "../page/StatusFeed.ts",
      "../lock/LockFile.ts",
      "../cli/run.ts",
      "./Access.ts"
    ])
    assert.deepStrictEqual(
      importsOf(text).map((to) => isAllowed("server/Listener.ts", normalize(join("server", to)))),
      [false, true, false, true]
    )
    assert.isFalse(isAllowed("inspect/GatewayStatus.ts", "supervisor/Supervisor.ts"))
  })
})
