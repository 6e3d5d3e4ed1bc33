/**
 * Mutants: wrong versions of the lock's algorithm. Each contains one mistake that other programs with lock files have made. A mutant is
 * described as replacements in the source text.
 *
 * `mutantSources` is a plugin of the test runner. It loads a module that is imported as `…?mutant=<name>` with the mistake of
 * that mutant. It also loads anew every module of `src` that imports a changed module, directly or indirectly. All other
 * modules are shared with the other tests, because loading them anew for each mutant would take longer than finding the
 * mistake. If the text to replace is no longer in the source, the plugin fails.
 */
import { readFileSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { execMutants } from "../exec/mutants.ts"
import { etcdMutants } from "../hosts/support/etcdMutants.ts"
import { leaderMutants } from "../leader/mutants.ts"
import type { habitats } from "./scenario.ts"

export interface Mutant {
  readonly name: string
  /** The kind of scenarios in which the test searches for the mistake. */
  readonly habitat: keyof typeof habitats
  /** The number of the scenario that caught the mistake in the last search. The test tries this scenario first. */
  readonly caughtBy: number
  /** The replacements in the source files. Each `from` must be in its file exactly once. */
  readonly changes: ReadonlyArray<{ readonly file: string; readonly from: string; readonly to: string }>
}

const files = "src/lock/NamedFiles.ts"
const attempt = "src/lock/Attempt.ts"
const kernelAttempt = "src/lock/KernelAttempt.ts"
const recordAttempt = "src/lock/RecordAttempt.ts"
const staleness = "src/lock/Staleness.ts"
const wait = "src/lock/LockWait.ts"
const judge = "src/lock/StalenessJudge.ts"

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "no inode check after locking",
    habitat: "a crowd with kernel locks",
    caughtBy: 480,
    changes: [
      {
        file: kernelAttempt,
        from: `      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())
      yield* selfTest(`,
        to: "      yield* selfTest("
      },
      {
        file: kernelAttempt,
        from: "(yield* idOf(second)) !== id) return yield* Effect.fail(new Moved())",
        to: `(yield* idOf(second)) !== id) return yield* Effect.fail("another file")`
      },
      {
        file: kernelAttempt,
        from: "SelfTest.run(kernel, subject)",
        to: `Effect.catchIf(
      SelfTest.run(kernel, subject),
      (error) => error === "another file",
      () => Effect.succeed("works")
    )`
      },
      {
        file: kernelAttempt,
        from: `      yield* writeRecord(file, options.record("kernel"))
      if (!(yield* isStill(path, id))) return yield* Effect.fail(new Moved())`,
        to: `      yield* writeRecord(file, options.record("kernel"))`
      }
    ]
  },
  {
    name: "a start that was stopped gives up because of what it saw before",
    habitat: "kernel locks",
    caughtBy: 538,
    changes: [
      {
        file: wait,
        from: "      const next = again(remaining)\n",
        to: `      if (isLast) return yield* giveUp(request)(first)
      const next = again(remaining)
`
      }
    ]
  },
  {
    name: "unlink after close",
    habitat: "a crowd with kernel locks",
    caughtBy: 921,
    changes: [
      {
        file: kernelAttempt,
        from: "    const { created, file } = yield* openOrCreate(",
        to: `    let mineNow = ""
    yield* Effect.addFinalizer(() => mineNow === "" ? Effect.void : removeIfStill(path, mineNow))
    const { created, file } = yield* openOrCreate(`
      },
      {
        file: kernelAttempt,
        from: "      yield* onClose(removeIfStill(path, id))",
        to: "      mineNow = id"
      },
      {
        file: kernelAttempt,
        from: "      if (!created) yield* Scope.addFinalizer(scope, removeIfStill(path, id))",
        to: "      if (!created) mineNow = id"
      }
    ]
  },
  {
    name: "unlink without the inode check",
    habitat: "kernel locks",
    caughtBy: 130,
    changes: [{
      file: files,
      from: "Effect.flatMap((holds) => holds ? fs.remove(path) : Effect.void),",
      to: "Effect.flatMap(() => fs.remove(path)),"
    }]
  },
  {
    name: "a free port as proof of death",
    habitat: "a crowd with records only",
    caughtBy: 6,
    changes: [{
      file: staleness,
      from: `      return !evidence.portInUse
          && evidence.sameNetwork
          && shouldListen(evidence.record.value)
          && Duration.greaterThanOrEqualTo(evidence.silentFor, evidence.staleAfter)
        ? reclaim`,
      to: `      return !evidence.portInUse
        ? reclaim`
    }]
  },
  {
    name: "a port that is free in another network as proof of death",
    habitat: "patient starts in several networks",
    caughtBy: 0,
    changes: [{
      file: staleness,
      from: `          && evidence.sameNetwork
`,
      to: ""
    }, {
      file: judge,
      from: "            sameNetwork && !portInUse",
      to: "            owner === \"Alive\" && !portInUse"
    }]
  },
  {
    name: "an unknown owner as proof of death",
    habitat: "records only",
    caughtBy: 21,
    changes: [{
      file: staleness,
      from: `      if (evidence.portInUse) return wait("owner unknown, port in use")
      return old ? reclaim("port free") : wait("owner unknown")`,
      to: `      return reclaim("port free")`
    }]
  },
  {
    name: "stale by the wall clock alone",
    habitat: "records only",
    caughtBy: 49,
    changes: [{
      file: staleness,
      from: `  if (evidence.namesThisProcess) return reclaim("names this process")`,
      to: `  if (old) return reclaim("port free")
  if (evidence.namesThisProcess) return reclaim("names this process")`
    }]
  },
  {
    name: "reclaim by unlink, without a kernel lock",
    habitat: "a crowd with records only",
    caughtBy: 358,
    changes: [
      {
        file: recordAttempt,
        from: "if (!(yield* reclaim(files, options, judged.value))) return held(found.value)",
        to: "yield* fs.remove(path, { force: true })"
      }
    ]
  },
  {
    name: "release without comparing whose file it is, without a kernel lock",
    habitat: "records only",
    caughtBy: 71,
    changes: [{
      file: recordAttempt,
      from: "    yield* onClose(removeIf(path, isOursStill))",
      to: "    yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(path)))"
    }]
  },
  {
    name: "reclaim without one reclaimer at a time, without a kernel lock",
    habitat: "a crowd with records only",
    caughtBy: 18,
    changes: [{
      file: recordAttempt,
      from: "if (!(yield* reclaim(files, options, judged.value))) return held(found.value)",
      to: "yield* moveAside(files, path, judged.value)"
    }]
  },
  {
    name: "a living owner without kernel locks is not respected by one with",
    habitat: "a crowd of a mixed fleet",
    caughtBy: 0,
    changes: [{
      file: kernelAttempt,
      from: `Option.exists(record, ({ lock }) => lock === "record")`,
      to: `Option.exists(record, ({ lock }) => lock === undefined)`
    }]
  },
  {
    name: "a claim whose holder lives is taken for abandoned",
    habitat: "a crowd with records only",
    caughtBy: 71,
    changes: [{
      file: judge,
      from: `          if (owner !== "Unknown") return owner === "Gone"`,
      to: `          if (owner !== "Unknown") return true`
    }]
  },
  {
    name: "no self-test of a file system that grants everything",
    habitat: "a crowd with records only",
    caughtBy: 9,
    changes: [{
      file: kernelAttempt,
      from: `if (verdict === "grants everything") {`,
      to: `if (verdict === "grants everything" && kernel === undefined) {`
    }]
  },
  {
    name: "a holder with a kernel lock writes its record less often than it gets stale",
    habitat: "containers of a mixed fleet",
    caughtBy: 18,
    changes: [{
      file: "src/lock/HeldLock.ts",
      from: "Duration.min(options.recheckInterval, Duration.unsafeDivide(options.staleAfter, writesWhileFresh))",
      to: "options.recheckInterval"
    }]
  },
  {
    name: "another program in one's own process is taken for a leftover",
    habitat: "a crowd in one process",
    caughtBy: 3,
    changes: [{
      file: judge,
      from: `namesThisProcess: Option.isSome(record) && present?.isChild !== true &&
            (yield* table.isLeftover(record.value)),`,
      to: `namesThisProcess: Option.isSome(record) && (yield* Effect.map(table.self, (self) =>
            self.pid === record.value.pid && self.startTime === record.value.startTime)),`
    }]
  },
  {
    name: "another machine's process with one's own pid is taken for an earlier one",
    habitat: "two machines",
    caughtBy: 19,
    changes: [{
      file: judge,
      from: `namesThisProcess: Option.isSome(record) && present?.isChild !== true &&
            (yield* table.isLeftover(record.value)),`,
      to: `namesThisProcess: Option.isSome(record) && (yield* Effect.map(table.self, (self) =>
            self.pid === record.value.pid && self.pidNamespace === record.value.pidNamespace
            && self.startTime !== record.value.startTime)),`
    }]
  },
  {
    name: "a file that was taken over in place is removed by who lost it",
    habitat: "containers of a mixed fleet",
    caughtBy: 106,
    changes: [{
      file: recordAttempt,
      from: "isOurs(options, found) ? isStill(path, id) : Effect.succeed(false)",
      to: "Option.isOption(found) ? isStill(path, id) : Effect.succeed(false)"
    }]
  },
  {
    name: "a file that was taken over in place is written to by who lost it",
    habitat: "containers of a mixed fleet",
    caughtBy: 106,
    changes: [{
      file: attempt,
      from: "isOurs(options, found) ? writeRecord(file, record) : Effect.void",
      to: "Option.isOption(found) ? writeRecord(file, record) : Effect.void"
    }]
  },
  {
    name: "range lock on darwin",
    habitat: "a crowd with kernel locks",
    caughtBy: 2,
    changes: [{
      file: "src/host/KernelLock.ts",
      from: `platform === "darwin" ? wholeFile : farByte`,
      to: "farByte"
    }]
  },
  {
    name: "inodes as numbers",
    habitat: "a crowd with kernel locks",
    caughtBy: 364,
    changes: [{
      file: "src/host/NativeFiles.ts",
      from: "Number.isSafeInteger(info.dev) && Number.isSafeInteger(ino)",
      to: "info.dev >= 0 && ino >= 0"
    }, {
      file: "src/host/NativeFiles.ts",
      from: "${platform === \"win32\" ? dev & lowHalf : dev}:${ino}",
      to: "${platform === \"win32\" ? 0 : dev}:${ino}"
    }]
  },
  {
    name: "a refusal for a moment is final on Windows",
    habitat: "kernel locks",
    caughtBy: 321,
    changes: [{
      file: "src/host/momentary.ts",
      from: `platform === "win32" && error`,
      to: `platform === "none" && error`
    }]
  },
  {
    name: "an inspector is taken for an owner",
    habitat: "starts that are watched",
    caughtBy: 5,
    changes: [{
      file: kernelAttempt,
      from: "(locked) => locked ? Effect.succeed(false) : new Inspected()",
      to: "(locked) => locked || fd >= 0 ? Effect.succeed(false) : new Inspected()"
    }]
  }
]

const child = "src/internal/child.ts"

/**
 * Mistakes in the shared code that starts other programs. `test/internal/spawn.test.ts` calls every function that starts a program,
 * and finds each of the mistakes for each function.
 */
export const spawnMutants: ReadonlyArray<Pick<Mutant, "name" | "changes">> = [
  {
    name: "a spawn that is not caught",
    changes: [{ file: child, from: "    failIfThrown(programOf(command)),\n", to: "" }]
  },
  {
    name: "a program that does not end is waited for",
    changes: [{
      file: child,
      from: "    Effect.disconnect,\n    atMost(limit),",
      to: "    Effect.timeoutOption(limit),"
    }]
  },
  {
    name: "a program that does not end gets SIGTERM alone",
    changes: [{ file: child, from: "Exit.isSuccess(exit) ?", to: "Exit.isExit(exit) ?" }]
  }
]

/**
 * The name of a build that has no mistake but is loaded in the same way as the mutants. If a scenario fails with this build,
 * the cause is not the mistake of a mutant.
 */
export const unchanged = "unchanged"

const root = fileURLToPath(new URL("../../", import.meta.url))
const marker = "?mutant="
const virtual = "virtual:mutants"

const split = (id: string): readonly [file: string, mutant: string | undefined] => {
  const at = id.indexOf(marker)
  return at < 0 ? [id, undefined] : [id.slice(0, at), decodeURIComponent(id.slice(at + marker.length))]
}

const mutantsInEtcd = Object.values(etcdMutants).flat()

const changesOf = (name: string): Mutant["changes"] =>
  [...mutants, ...spawnMutants, ...execMutants, ...leaderMutants, ...mutantsInEtcd]
    .filter((mutant) => mutant.name === name)
    .flatMap(({ changes }) => changes)

const mutate = (code: string, file: string, name: string): string =>
  changesOf(name)
    .filter((change) => file === `${root}${change.file}`)
    .reduce((text, { from, to }) => {
      if (text.split(from).length !== 2) throw new Error(`mutant "${name}": ${file} has not exactly once:\n${from}`)
      return text.replace(from, () => to)
    }, code)

const importsByFile = new Map<string, ReadonlySet<string>>()

/** The file itself and all files that it imports, directly or indirectly. */
const importsOf = (file: string): ReadonlySet<string> => {
  const known = importsByFile.get(file)
  if (known !== undefined) return known
  const found = new Set([file])
  // A `for` loop over a Set also visits the entries that are added to the Set during the loop.
  for (const next of found) {
    for (const [, path = ""] of readFileSync(next, "utf8").matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+\.ts)"/g)) {
      found.add(resolve(dirname(next), path))
    }
  }
  importsByFile.set(file, found)
  return found
}

/**
 * Whether a file of `src` must be loaded anew for this mutant, because the mistake is in this file or in a file that it
 * imports. For `unchanged`, every file is loaded anew.
 */
const isAnother = (file: string, name: string): boolean =>
  file.startsWith(`${root}src/`)
  && (name === unchanged || changesOf(name).some((change) => importsOf(file).has(`${root}${change.file}`)))

/** The part of the test runner's plugin context that this plugin uses. */
interface Resolver {
  readonly resolve: (
    source: string,
    importer: string,
    options: { readonly skipSelf: boolean }
  ) => Promise<{ readonly id: string } | null>
}

export const mutantSources = () => ({
  name: "mutants",
  enforce: "pre" as const,
  async resolveId(this: Resolver, source: string, importer: string | undefined) {
    if (source === virtual) return `\0${virtual}`
    const [from, mutant] = split(importer ?? "")
    if (mutant === undefined || !source.startsWith(".")) return undefined
    const found = await this.resolve(source, from, { skipSelf: true })
    return found !== null && isAnother(found.id, mutant)
      ? `${found.id}${marker}${encodeURIComponent(mutant)}`
      : undefined
  },
  load(id: string) {
    if (id === `\0${virtual}`) {
      const loaders = (names: ReadonlyArray<string>, file: string) =>
        names.map((name) => {
          const entry = `${root}${file}${marker}${encodeURIComponent(name)}`
          return `${JSON.stringify(name)}: () => import(${JSON.stringify(entry)})`
        }).join(",\n")
      const subjects = loaders([unchanged, ...mutants.map(({ name }) => name)], "test/simulation/subject.ts")
      const places = loaders(spawnMutants.map(({ name }) => name), "test/internal/places.ts")
      const execs = loaders([unchanged, ...execMutants.map(({ name }) => name)], "test/exec/subject.ts")
      const leaders = loaders([unchanged, ...leaderMutants.map(({ name }) => name)], "test/leader/subject.ts")
      const inEtcd = loaders([unchanged, ...mutantsInEtcd.map(({ name }) => name)], "test/hosts/support/etcdSubject.ts")
      return [
        `export const load = {${subjects}}`,
        `export const loadPlaces = {${places}}`,
        `export const loadExec = {${execs}}`,
        `export const loadLeader = {${leaders}}`,
        `export const loadEtcd = {${inEtcd}}`
      ].join("\n")
    }
    const [file, mutant] = split(id)
    return mutant === undefined ? undefined : mutate(readFileSync(file, "utf8"), file, mutant)
  }
})
