/**
 * These tests read the declarations of `dist` through `exports`, as an app's compiler does. They list the names that an app can
 * import, and fail if that list differs from `publicNames.txt`. So no name becomes public by accident. After an intended change,
 * update that file by `vitest -u`.
 */
import { assert, describe, expect, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import ts from "typescript-api"

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>
}

/** The compiler's paths have forward slashes on every platform, so this path must have them too. */
const root = fileURLToPath(new URL("../..", import.meta.url)).replaceAll("\\", "/").replace(/\/$/, "")
const manifest: Manifest = JSON.parse(readFileSync(`${root}/package.json`, "utf8"))

/** Each entry of `exports` that has declarations, with the path of its declaration file. */
const entries = Object.entries(manifest.exports).flatMap(([name, target]) =>
  typeof target === "string" ? [] : [{ name, file: `${root}/${target.types.replace(/^\.\//, "")}` }]
)

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  noEmit: true
}

/**
 * Makes a compiler program of these files. `texts` has the content of files that do not exist, or replaces the content of
 * files.
 */
const compile = (
  files: ReadonlyArray<string>,
  options: ts.CompilerOptions,
  texts: ReadonlyMap<string, string> = new Map()
) => {
  const host = ts.createCompilerHost(options)
  return ts.createProgram(files, options, {
    ...host,
    getCurrentDirectory: () => root,
    fileExists: (path) => texts.has(path) || host.fileExists(path),
    readFile: (path) => texts.get(path) ?? host.readFile(path),
    getSourceFile: (path, target, ...rest) => {
      const text = texts.get(path)
      return text === undefined
        ? host.getSourceFile(path, target, ...rest)
        : ts.createSourceFile(path, text, target, true)
    }
  })
}

interface Name {
  /** The name with the names of the modules that contain it, such as `LockFile.OwnerRecord.parse`. */
  readonly path: string
  readonly symbol: ts.Symbol
}

/** The names that the entries export, including those of nested namespaces. */
const publicNames = (
  program: ts.Program,
  entries: ReadonlyArray<{ readonly name: string; readonly file: string }>
): ReadonlyArray<Name> => {
  const checker = program.getTypeChecker()
  const namesOf = (module: ts.Symbol, prefix: string): ReadonlyArray<Name> =>
    checker.getExportsOfModule(module).flatMap((exported) => {
      const symbol = (exported.flags & ts.SymbolFlags.Alias) === 0 ? exported : checker.getAliasedSymbol(exported)
      const path = `${prefix}${exported.name}`
      const isModule = symbol.declarations?.some(ts.isSourceFile) === true
      return isModule ? namesOf(symbol, `${path}.`) : [{ path, symbol }]
    })
  return entries.flatMap(({ file, name }) => {
    const source = program.getSourceFile(file)
    const module = source === undefined ? undefined : checker.getSymbolAtLocation(source)
    if (module === undefined) throw new Error(`${file}, the entry ${name}, is no module`)
    return namesOf(module, name === "." ? "" : `${name.slice(2)}.`)
  })
}

/**
 * Finds the types of the package that an app cannot import although the declarations of `names` mention them. Returns each such
 * type with the name whose declaration mentions it.
 *
 * If a file does not export a type, the type counts as part of the declaration that mentions it. An app does not need the name
 * of such a type, but it needs to import the types inside it.
 */
const unreachable = (program: ts.Program, names: ReadonlyArray<Name>, folder: string): ReadonlyArray<string> => {
  const checker = program.getTypeChecker()
  const reachable = new Set(names.map(({ symbol }) => symbol))
  const found = new Set<string>()
  for (const { path, symbol } of names) {
    const seen = new Set<ts.Symbol>()
    const visitSymbol = (symbol: ts.Symbol) => {
      if (seen.has(symbol)) return
      seen.add(symbol)
      for (const declaration of symbol.declarations ?? []) visit(declaration)
    }
    const mention = (node: ts.Node) => {
      const local = checker.getSymbolAtLocation(node)
      if (local === undefined) return
      const target = (local.flags & ts.SymbolFlags.Alias) === 0 ? local : checker.getAliasedSymbol(local)
      const declaration = target.declarations?.[0]
      if (declaration === undefined || ts.isSourceFile(declaration) || reachable.has(target)) return
      const source = declaration.getSourceFile()
      if (!source.fileName.startsWith(folder)) return
      const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
      if (statement.parent !== source) return
      const module = checker.getSymbolAtLocation(source)
      const isExported = module !== undefined &&
        checker.getExportsOfModule(module).some((exported) => exported === target)
      if (isExported) found.add(`${path} mentions ${target.name} of ${source.fileName.slice(folder.length)}`)
      else visitSymbol(target)
    }
    const visit = (node: ts.Node): void => {
      if (ts.isIdentifier(node)) mention(node)
      else ts.forEachChild(node, visit)
    }
    visitSymbol(symbol)
  }
  return [...found].toSorted()
}

const program = compile(entries.map(({ file }) => file), options)
const names = publicNames(program, entries)
const folder = `${root}/dist/esm/`

describe("the public face", () => {
  it("has at most 25 entries, and some for the engines that keep leases", () => {
    assert.isAtMost(Object.keys(manifest.exports).filter((name) => !/LeaseStore$|FencedWrite$/.test(name)).length, 25)
  })

  it("consists of the names that are listed, and of no other", async () => {
    const paths = [...new Set(names.map(({ path }) => path))].toSorted()
    await expect(`${paths.join("\n")}\n`).toMatchFileSnapshot("./publicNames.txt")
  })

  it("names nothing that an app cannot import", () => {
    assert.deepStrictEqual(unreachable(program, names, folder), [])
  })

  it("compiles without anything that is internal", () => {
    const own = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(folder))
    assert.isAbove(own.length, entries.length)
    const problems = own.flatMap((file) => program.getSemanticDiagnostics(file)).map(({ file, messageText }) =>
      `${file?.fileName.slice(folder.length)}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`
    )
    assert.deepStrictEqual(problems, [])
  })

  it("needs no type of Effect for gateway-lock/promise, also if library files are checked", () => {
    const entry = entries.filter(({ name }) => name === "./promise").map(({ file }) => file)
    const alone = compile(entry, { ...options, types: ["node"], skipLibCheck: false })
    const loaded = alone.getSourceFiles().map(({ fileName }) => fileName).filter((name) =>
      !/\/node_modules\/(typescript-api|@types\/node|undici-types)\//.test(name)
    )
    assert.deepStrictEqual(
      loaded.map((name) => name.slice(folder.length)).toSorted(),
      ["promise.d.ts", "promise/types.d.ts"]
    )
    const texts = loaded.map((name) => readFileSync(name, "utf8").replaceAll(/\/\*\*.*?\*\//gs, "")).join("\n")
    assert.notMatch(texts, /\b(Effect|Duration|DateTime|Option|Either|Schema|Layer|Scope|Cause)\b/)
    assert.deepStrictEqual(ts.getPreEmitDiagnostics(alone).map(({ messageText }) => messageText), [])
  })

  it("a mention that cannot be imported is seen, also behind a declaration that is not exported", () => {
    // The files do not exist, but their folder must exist. Otherwise the compiler resolves none of their imports.
    const at = (name: string) => `${root}/test/package/face${name}.d.ts`
    const program = compile(
      [at("Index")],
      { ...options, noLib: true, types: [] },
      new Map([
        [at("Index"), "export * as A from \"./faceA.js\"\n"],
        [
          at("A"),
          [
            "import * as B from \"./faceB.js\"",
            "interface Options extends B.Base { readonly kind: import(\"./faceB.js\").Kind }",
            "export interface Fine { readonly again: Fine }",
            "export declare const make: (options: Options, fine: Fine) => typeof B.constant",
            "export {}"
          ].join("\n")
        ],
        [
          at("B"),
          "export interface Base {}\nexport type Kind = \"a\"\nexport declare const constant: 1\nexport interface Other {}\n"
        ]
      ])
    )
    const names = publicNames(program, [{ name: ".", file: at("Index") }])
    assert.deepStrictEqual(names.map(({ path }) => path), ["A.Fine", "A.make"])
    assert.deepStrictEqual(
      unreachable(program, names, `${root}/test/package/`),
      [
        "A.make mentions Base of faceB.d.ts",
        "A.make mentions Kind of faceB.d.ts",
        "A.make mentions constant of faceB.d.ts"
      ]
    )
  })
}, 60_000)
