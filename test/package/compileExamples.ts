/**
 * Type-checks examples as a user's program: an example imports the package by the `exports` of package.json, with the types in
 * `dist`.
 */
import { assert } from "@effect/vitest"
import { fileURLToPath } from "node:url"
import ts from "typescript-api"

/** The compiler's paths have forward slashes on every platform, so this path must have them too. */
const root = fileURLToPath(new URL("../..", import.meta.url)).replaceAll("\\", "/").replace(/\/$/, "")

export interface Example {
  readonly source: string
  /** The number of the line of `source` in which the code begins, from 1. */
  readonly line: number
  readonly code: string
}

/** The project's compiler options, except that unused names are allowed. An example may declare a name only to show it. */
const compilerOptions = (): ts.CompilerOptions => {
  const { config }: { readonly config?: { readonly compilerOptions?: object } } = ts.readConfigFile(
    `${root}/tsconfig.json`,
    ts.sys.readFile
  )
  const { errors, options } = ts.convertCompilerOptionsFromJson(config?.compilerOptions ?? {}, root)
  assert.deepStrictEqual(errors, [])
  return { ...options, noUnusedLocals: false, noUnusedParameters: false }
}

/**
 * Type-checks examples in one program, each as a module of its own. Writes no file. An example can import `modules` by their
 * names: `app` as `./app.js`.
 */
export const check = (
  examples: ReadonlyArray<Example>,
  modules: Readonly<Record<string, string>> = {}
): ReadonlyArray<string> => {
  const options = compilerOptions()
  const files = new Map<string, Example>([
    ...examples.map((example, index) => [`${root}/test/package/example-${index}.ts`, example] as const),
    ...Object.entries(modules).map(([name, code]) =>
      [`${root}/test/package/${name}.ts`, { source: `${name}.ts`, line: 1, code }] as const
    )
  ])
  const host = ts.createCompilerHost(options)
  const program = ts.createProgram([...files.keys()], options, {
    ...host,
    getCurrentDirectory: () => root,
    fileExists: (path) => files.has(path) || host.fileExists(path),
    readFile: (path) => files.get(path)?.code ?? host.readFile(path),
    getSourceFile: (path, target, ...rest) => {
      const code = files.get(path)?.code
      return code === undefined
        ? host.getSourceFile(path, target, ...rest)
        : ts.createSourceFile(path, code, target)
    }
  })
  const ofExamples = [...files.keys()].flatMap((path) => {
    const file = program.getSourceFile(path)
    if (file === undefined) throw new Error(`${path} is no part of the program`)
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
  })
  return [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(), ...ofExamples].map(
    ({ code, file, messageText, start }) => {
      const example = file === undefined ? undefined : files.get(file.fileName)
      const where = file === undefined || example === undefined
        ? ""
        : `${example.source}:${example.line + file.getLineAndCharacterOfPosition(start ?? 0).line}: `
      return `${where}TS${code}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`
    }
  )
}
