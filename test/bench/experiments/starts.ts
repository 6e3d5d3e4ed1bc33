/**
 * Measures how long starts of the program take: a start that is refused, and many starts at one time.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { dirname, join } from "node:path"
import * as Crowd from "../crowd.ts"
import { measure } from "../measure.ts"
import { BenchFailed, bounded, Environment, firstAnswer, freePort, host, startNode } from "../processes.ts"
import * as Program from "../program.ts"

const nodeAlone = { name: "node -e 0", sample: Program.lifeOf(["-e", "0"], 0) }

/** The longest time that a refused start of the gateway should take, as a multiple of the time of `node -e 0`. */
const refusedAim = 2.5

/** Measures a second start of a gateway that already runs. The second start is refused, because the port or the lock is taken. */
export const refusedStart: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const port = yield* freePort
    const owner = yield* startNode(Program.gatewayArgs(folder, port))
    yield* firstAnswer(owner, port)

    const inUse = `GatewayLockError: another gateway instance is already listening on ws://${host}:${port}`
    const byPort = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: { name: "PortInUse", sample: Program.lifeOf(Program.gatewayArgs(folder, port), 1, inUse) },
      rows: [{
        name: "refused start: PortInUse",
        unit: "ms",
        read: Program.itself,
        compare: "ratio",
        aim: { most: refusedAim }
      }]
    })

    const held = `GatewayLockError: gateway already running (pid ${owner.pid}) on ws://${host}:${port}`
    const elsewhere = Effect.flatMap(freePort, (other) => Program.lifeOf(Program.gatewayArgs(folder, other), 1, held))
    const byLock = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: { name: "LockHeld", sample: elsewhere },
      rows: [{
        name: "refused start: LockHeld",
        unit: "ms",
        read: Program.itself,
        compare: "ratio",
        aim: { most: refusedAim }
      }]
    })
    const left = "existing gateway is healthy, exiting with code 78 to prevent a systemd Restart=always loop"
    const supervised = yield* measure({
      runs,
      baseline: nodeAlone,
      subject: {
        name: "OwnerHealthy",
        sample: Program.lifeOf([...Program.gatewayArgs(folder, port), "--supervisor", "systemd"], 78, left)
      },
      rows: [{
        name: "duplicate under systemd: exit 78",
        unit: "ms",
        read: Program.itself,
        compare: "ratio",
        aim: { most: refusedAim + 0.5 }
      }]
    })
    return [...byPort, ...byLock, ...supervised]
  })

/**
 * Measures a refused start of the package as npm installs it. The package has no code that V8 compiled for one version of Node. The
 * program keeps that code in a cache folder of the user. Each sample finds the folder that the warm-up filled.
 */
export const installed: Program.Experiment = (runs) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* Program.temporaryFolder
    const dist = join(folder, "dist")
    yield* Effect.gen(function*() {
      yield* fs.copy(dirname(Program.path), dist)
      const files = yield* fs.readDirectory(join(dist, "program"))
      yield* Effect.forEach(files.filter((name) => name.endsWith(".cache")), (name) =>
        fs.remove(join(dist, "program", name)))
    }).pipe(
      Effect.mapError(({ message }) =>
        new BenchFailed({ reason: message })
      ),
      bounded(`a copy in ${dist}`)
    )
    const port = yield* freePort
    const [, ...args] = Program.gatewayArgs(folder, port)
    const words = [join(dist, "main.js"), ...args]
    yield* firstAnswer(yield* startNode(words), port)
    const environment = { ...yield* Environment, XDG_CACHE_HOME: join(folder, "cache") }
    return yield* measure({
      runs,
      baseline: nodeAlone,
      subject: {
        name: "installed from npm",
        sample: Effect.provideService(Program.lifeOf(words, 1, "already listening"), Environment, environment)
      },
      rows: [{
        name: "refused start: PortInUse, installed from npm",
        unit: "ms",
        read: Program.itself,
        compare: "ratio"
      }]
    })
  })

/**
 * A script that counts what a process loads: the modules of Node, the modules in `folder`, and the bytes of the files in
 * `folder`.
 */
const countingScript = (folder: string, output: string) =>
  `const fs = require("node:fs")
const read = fs.readFileSync
const sizes = new Map()
fs.readFileSync = (path, ...rest) => {
  const data = read(path, ...rest)
  if (typeof path === "string" && path.startsWith(${JSON.stringify(folder)})) sizes.set(path, Buffer.byteLength(data))
  return data
}
require("node:module").syncBuiltinESMExports()
process.on("exit", () => {
  const own = [...sizes].filter(([path]) => path.endsWith("js"))
  fs.writeFileSync(${JSON.stringify(output)}, JSON.stringify({
    ownModules: own.length,
    ownKiB: own.reduce((sum, [, size]) => sum + size, 0) / 1024,
    nodeModules: process.moduleLoadList.filter((name) => name.startsWith("NativeModule ")).length
  }))
})
`

const Loaded = Schema.parseJson(
  Schema.Struct({ ownModules: Schema.Number, ownKiB: Schema.Number, nodeModules: Schema.Number })
)

/** Measures how many modules, and how many bytes of them, a refused start of the gateway loads. */
export const loaded: Program.Experiment = () =>
  Effect.gen(function*() {
    const folder = yield* Program.temporaryFolder
    const [script, output] = [join(folder, "counting.cjs"), join(folder, "loaded.json")]
    yield* Program.writeFile(script, countingScript(dirname(Program.path), output))
    const port = yield* freePort
    const owner = yield* startNode(Program.gatewayArgs(folder, port))
    yield* firstAnswer(owner, port)
    const loadedBy = (args: ReadonlyArray<string>, status: number) =>
      Effect.zipRight(
        Program.lifeOf(["--require", script, ...args], status),
        Effect.flatMap(
          Program.readFile(output),
          (text) => Effect.mapError(Schema.decode(Loaded)(text), (error) => new BenchFailed({ reason: error.message }))
        )
      )
    return yield* measure({
      runs: 1,
      baseline: { name: "node -e 0", sample: loadedBy(["-e", "0"], 0) },
      subject: { name: "PortInUse", sample: loadedBy(Program.gatewayArgs(folder, port), 1) },
      rows: [
        {
          name: "refused start: Node's modules",
          unit: "modules",
          read: (sample) => sample.nodeModules,
          compare: "ratio"
        },
        {
          name: "refused start: own modules",
          unit: "modules",
          read: (sample) => sample.ownModules,
          compare: "difference"
        },
        { name: "refused start: bytes of them", unit: "KiB", read: (sample) => sample.ownKiB, compare: "difference" }
      ]
    })
  })

const crowdSize = 64

/** Starts many gateways with the same settings at one time. One gateway serves, and all others are refused and end. */
export const crowd: Program.Experiment = (runs) =>
  measure({
    runs: Math.min(runs, 3),
    baseline: { name: `${crowdSize} x node -e 0`, sample: Crowd.nodes(crowdSize) },
    subject: { name: `${crowdSize} starts`, sample: Crowd.gateways(crowdSize) },
    rows: [
      {
        name: `${crowdSize} simultaneous starts, until all are settled`,
        unit: "ms",
        read: ({ total }) => total,
        compare: "ratio"
      },
      { name: "their slowest loser", unit: "ms", read: ({ slowest }) => slowest, compare: "ratio" }
    ]
  })
