// What the bundler changes in the code of Node's modules, Effect and ws, so that a start does less. Each plugin checks that the code
// that it replaces is still there, and fails the build otherwise.
import { ParseErrorTypeId } from "effect/ParseResult"
import { fileURLToPath } from "node:url"

const count = (text, part) => text.split(part).length - 1

/**
 * Replaces parts of one file of a dependency. Each change has the old text or a global regular expression, the new text, and how
 * often the old text occurs.
 */
const replacing = (name, file, changes) => {
  let isFound = false
  return {
    name,
    transform: {
      filter: { id: file },
      handler: (code) => {
        isFound = true
        return changes.reduce((text, [before, after, times = 1]) => {
          const found = typeof before === "string" ? count(text, before) : [...text.matchAll(before)].length
          if (found !== times) throw new Error(`${name}: ${file} has ${found} times, and not ${times} times: ${before}`)
          return text.replaceAll(before, after)
        }, code)
      }
    },
    generateBundle: () => {
      if (!isFound) throw new Error(`${name}: there is no file ${file}`)
    }
  }
}

/**
 * `ws` requires these modules when it is loaded, but uses them only as a client or for compression. The program does neither, so
 * this plugin moves each `require` to the place of use, and a start does not load the modules.
 */
const askedFor = /const (https|tls|zlib) = require\('\1'\);/g
const found = new Set()
const loadedOnUse = {
  name: "loaded-on-use",
  transform: {
    filter: { id: /[\\/]node_modules[\\/]ws[\\/]lib[\\/]/ },
    handler: (code) => {
      for (const [, name] of code.matchAll(askedFor)) found.add(name)
      return code.replaceAll(askedFor, "").replaceAll(/\b(https|tls|zlib)\./g, "require('$1').")
    }
  },
  generateBundle: () => {
    if (found.size !== 3) {
      throw new Error(`ws no longer requires https, tls and zlib in the expected way: found only ${[...found].join(", ")}`)
    }
  }
}

/**
 * Effect finds out by a stack trace whether a minifier has inlined a certain function. For that trace, V8 counts the lines of the
 * whole bundle. This bundle is not minified, so the answer is known.
 */
const withoutStackTrace = replacing("without-stack-trace", /[\\/]node_modules[\\/]effect[\\/]dist[\\/]esm[\\/]Utils\.js$/, [
  [/const isNotOptimizedAway = .*new Error\(\)\.stack.* === true;/g, "const isNotOptimizedAway = true;"]
])

/**
 * Effect asks `performance` for the present time when it is loaded, so that it can give times in nanoseconds since the epoch. Node
 * then loads the module `perf_hooks`. This plugin postpones that to the first use of such a time, and asks `Date.now` instead:
 * the sum that Effect computes is the same.
 */
const withoutPerformance = replacing(
  "without-performance",
  /[\\/]node_modules[\\/]effect[\\/]dist[\\/]esm[\\/]internal[\\/]clock\.js$/,
  [
    [/const performanceNowNanos = [^]*?\n\}\(\);\n/g, "const performanceNowNanos = () => BigInt(Date.now()) * 1000000n;\n"],
    ["const origin = /*#__PURE__*/performanceNowNanos() - /*#__PURE__*/processHrtime.bigint();", "let origin;"],
    [
      "return () => origin + processHrtime.bigint();",
      "return () => (origin ??= performanceNowNanos() - processHrtime.bigint()) + processHrtime.bigint();"
    ]
  ]
)

/**
 * Leaves out the copies of Node's modules. The bundler copies each of them into an object that has the whole module as `default`,
 * which takes a getter for each export. The program never uses that `default`.
 */
const copied = /^(let (node_\w+) = require\("node:\w+"\);)\n\2 = (?:\w+\.)?__toESM\(\2, 1\);$/gm
let foundCopies = 0
const withoutCopies = {
  name: "without-copies",
  renderChunk: (code) => {
    const after = code.replaceAll(copied, (text, loading, name) => {
      if (code.includes(`${name}.default`)) return text
      foundCopies += 1
      return loading
    })
    // The bundler's own functions are in a file of their own if several files need them. Without the copies, most files do not.
    return after.includes("require_rolldown_runtime.") ? after : after.replace(/^const require_rolldown_runtime = .*\n/m, "")
  },
  generateBundle: () => {
    if (foundCopies === 0) throw new Error("the bundler no longer copies Node's modules in the expected way")
  }
}

/**
 * Puts `src/internal/plainPlatformErrors.ts` in place of the module of platform's errors, whose classes are schemas. An export that
 * the program uses and that module does not have fails the build.
 */
const plainErrors = fileURLToPath(new URL("../src/internal/plainPlatformErrors.ts", import.meta.url))
let foundErrors = false
const withoutErrorSchemas = {
  name: "without-error-schemas",
  resolveId: {
    filter: { id: /^@effect\/platform\/Error$|\/Error\.js$/ },
    async handler(id, importer, options) {
      const resolved = await this.resolve(id, importer, { ...options, skipSelf: true })
      if (resolved === null || !/[\\/]platform[\\/]dist[\\/]esm[\\/]Error\.js$/.test(resolved.id)) return resolved
      foundErrors = true
      return plainErrors
    }
  },
  generateBundle: () => {
    if (!foundErrors) throw new Error("the program no longer imports the errors of platform in the expected way")
  }
}

/**
 * Platform defines schemas of headers, which the program does not use, and an error of uploads whose class is one. It also answers
 * an error of a schema with the status 400. Without these three, a serving gateway loads no schema.
 */
const ofPlatform = (name) => new RegExp(String.raw`[\\/]platform[\\/]dist[\\/]esm[\\/]${name}\.js$`)
const withoutHeaderSchemas = replacing("without-header-schemas", ofPlatform("Headers"), [
  [/^export const schemaFromSelf = [^]*?\n\}\);\n/gm, ""],
  [/^export const schema = [^]*?\n\}\);\n/gm, ""]
])
const withoutUploadSchemas = replacing("without-upload-schemas", ofPlatform("Multipart"), [
  [
    /\/\*#__PURE__\*\/Schema\.TaggedError\(\)\("MultipartError", \{\n {2}reason: .*,\n {2}cause: Schema\.Defect\n\}\)/g,
    "/*#__PURE__*/Data.TaggedError(\"MultipartError\")"
  ],
  ["import * as Schema from \"effect/Schema\";", "import * as Schema from \"effect/Schema\";\nimport * as Data from \"effect/Data\";"]
])
const withoutParseResult = replacing("without-parse-result", ofPlatform("HttpServerRespondable"), [
  [
    "import * as ParseResult from \"effect/ParseResult\";",
    `const ParseErrorTypeId = Symbol.for(${JSON.stringify(Symbol.keyFor(ParseErrorTypeId))});`
  ],
  ["ParseResult.isParseError(u)", "hasProperty(u, ParseErrorTypeId)"]
])

/** The files that the entry loads on use, with the names of their modules. A name may be only the beginning of a module's name. */
const modulesOnUse = {
  schemas: {
    effect: ["BigDecimal", "BigInt", "ParseResult", "Schema", "schema/"],
    platform: [],
    src: ["GatewayLockError", "doctor/DoctorModel", "host/ProcessIdentity", "inspect/ListModel", "inspect/StatusModel"]
      .concat("internal/milliseconds", "internal/optional", "lock/RecordSchema", "lock/StateChange", "stop/StopError")
  },
  streams: {
    effect: ["channel", "Channel", "core-stream", "mailbox", "Mailbox", "opCodes/channel", "opCodes/continuation", "rcRef", "RcRef"]
      .concat("sink", "Sink", "stream/", "stream.", "Stream", "take", "Take"),
    platform: ["command", "Command"],
    src: ["internal/child"]
  },
  acquiring: {
    effect: [],
    platform: [],
    src: ["host/makeFolders", "host/PsProcesses", "host/SecretFile"]
      .concat("internal/readStream", "lock/Attempt", "lock/Claim", "lock/DraftFile", "lock/HeldLock")
      .concat("lock/KernelAttempt", "lock/LockAttempt", "lock/LockFolder", "lock/LockInspection", "lock/LockWait", "lock/NamedFiles")
      .concat("lock/RecordAttempt", "lock/SelfTest", "lock/Staleness", "lock/VolumeGroup", "ready/")
      .concat("server/TokenFile", "supervisor/OwnerChange", "telemetry/Metrics")
  }
}

const folders = { effect: "/effect/dist/esm/(?:internal/)?", platform: "/platform/dist/esm/(?:internal/)?", src: "/src/" }

/** The files that the entry loads on use, each with an expression for the paths of its modules. */
export const onUse = Object.fromEntries(
  Object.entries(modulesOnUse).map(([file, modules]) => {
    const paths = Object.entries(modules).flatMap(([folder, names]) => names.map((name) => folders[folder] + name.replace(".", "\\.")))
    return [file, new RegExp(paths.join("|").replaceAll("/", String.raw`[\\/]`))]
  })
)

/**
 * Some modules of Node take Node long to load, and many commands do not use them. This plugin moves the `require` of these modules
 * from the beginning of the entry, and of the files that it loads on use, to the places of use. The parentheses are for `new`, whose
 * call would otherwise be that of `require`.
 */
const builtinsOnUse = (names) => {
  const found = new Set()
  const moved = (text, name) => {
    const loading = `let node_${name} = require("node:${name}");\n`
    if (!text.includes(loading)) return text
    found.add(name)
    const after = text.replace(loading, "").replaceAll(new RegExp(`\\bnode_${name}\\.`, "g"), `(require("node:${name}")).`)
    if (new RegExp(`\\bnode_${name}\\b`).test(after)) throw new Error(`the bundle uses node:${name} in an unexpected way`)
    return after
  }
  return {
    name: "builtins-on-use",
    renderChunk: (code, { isEntry, name }) => isEntry || Object.hasOwn(onUse, name) ? names.reduce(moved, code) : undefined,
    generateBundle: () => {
      const missing = names.filter((name) => !found.has(name))
      if (missing.length > 0) throw new Error(`the bundle no longer loads these modules of Node in the expected way: ${missing.join(", ")}`)
    }
  }
}

/** The files of the commands that look at a gateway and end. A server calls functions too often to look for their file at each call. */
const ofLooking = ["doctor", "GatewayList", "GatewayStatus", "health", "inspected", "list", "ListReport", "status", "StatusReport", "stop"]
  .concat("Signals", "SystemServices")

/**
 * A refused start runs no code of some modules that the entry imports. The build puts these modules into files of their own. This
 * plugin moves the `require` of these files from the beginning of the entry to the places of use, as `builtinsOnUse` does.
 */
const filesOnUse = (names) => {
  const found = new Set()
  // The file is imported only for types or for exports that are passed on. Its modules do nothing but define.
  const withoutBare = (text, name) => text.replace(new RegExp(`^require\\("\\./${name}-[^"]+"\\);\n`, "m"), "")
  const moved = (whole, name) => {
    const text = withoutBare(whole, name)
    const [line, require] = new RegExp(`^const require_${name} = (require\\("\\./${name}-[^"]+"\\));\n`, "m").exec(text) ?? []
    if (line === undefined) return text
    found.add(name)
    const after = text.replace(line, "").replaceAll(new RegExp(`\\brequire_${name}\\.`, "g"), `(${require}).`)
    if (new RegExp(`\\brequire_${name}\\b`).test(after)) throw new Error(`the bundle uses the file ${name} in an unexpected way`)
    return after
  }
  return {
    name: "files-on-use",
    renderChunk: (code, { isEntry, name }) =>
      names.reduce(isEntry || names.includes(name) || ofLooking.includes(name) ? moved : withoutBare, code),
    generateBundle: () => {
      const missing = names.filter((name) => !found.has(name))
      if (missing.length > 0) throw new Error(`the bundle no longer loads these files in the expected way: ${missing.join(", ")}`)
    }
  }
}

/**
 * Escapes characters outside ASCII: with one of them, V8 keeps the whole file in twice the memory. `String.raw` has no escapes, so
 * the file with the status page must have no such character.
 */
const outsideAscii = /[^\0-\x7f]/g
const ascii = {
  name: "ascii",
  renderChunk: (code, { name }) => {
    if (!code.includes("String.raw`")) {
      return code.replaceAll(outsideAscii, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    }
    const [found] = code.match(outsideAscii) ?? []
    if (found !== undefined) throw new Error(`${name} has String.raw and ${found}: write an escape or an entity instead`)
  }
}

/**
 * Builds the entry apart from the program that it loads, so that the two share no module. The bundler would copy the program's
 * exports one by one, because it does not know what it loads. The copy is left out.
 */
const copiedProgram = /(?:\/\* @__PURE__ \*\/ )?__toESM\((require\("\.\/program\.cjs"\)), 1\)/
const programApart = {
  name: "program-apart",
  resolveId: (id) => id === "./runProgram.ts" ? { id: "./program.cjs", external: true } : undefined,
  renderChunk: (code) => {
    if (!copiedProgram.test(code)) throw new Error("the entry no longer loads the program in the expected way")
    return code.replace(copiedProgram, "$1")
  }
}

/** For the bundle of the entry. */
export const entryPlugins = [programApart, builtinsOnUse(["net"]), ascii]

/** For the bundle of the program. */
export const plugins = [
  loadedOnUse,
  withoutStackTrace,
  withoutPerformance,
  withoutCopies,
  withoutErrorSchemas,
  withoutHeaderSchemas,
  withoutUploadSchemas,
  withoutParseResult,
  builtinsOnUse(["crypto", "dns", "http", "module", "net", "tty", "url"]),
  filesOnUse(Object.keys(onUse)),
  ascii
]
