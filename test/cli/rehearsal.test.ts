/**
 * A rehearsal of a takeover runs the code of a real one, and leaves nothing behind.
 */
import { NodeCommandExecutor, NodeFileSystem } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Option } from "effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { rehearse } from "../../src/cli/rehearsal.ts"
import * as Gateway from "../../src/gateway/GatewayInstance.ts"
import * as KernelLock from "../../src/host/KernelLock.ts"
import * as ProbeTransport from "../../src/host/ProbeTransport.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as NodeServerSocket from "../../src/server/node/NodeServerSocket.ts"
import * as PrometheusMetrics from "../../src/telemetry/PrometheusMetrics.ts"

const machine = Layer.mergeAll(
  ProcessTable.layerLive,
  KernelLock.layerAbsent("a rehearsal must not use it"),
  ProbeTransport.layerLive,
  NodeServerSocket.layer
).pipe(Layer.provideMerge(NodeCommandExecutor.layer), Layer.provideMerge(NodeFileSystem.layer))

const stateDir = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "gateway-lock-rehearsal-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

/** An owner that listens, and the connections that it has got. */
const owner = Effect.acquireRelease(
  Effect.async<{ readonly server: Net.Server; readonly port: number; readonly connections: () => number }>((resume) => {
    let connections = 0
    const server = Net.createServer(() => {
      connections += 1
    }).listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resume(Effect.succeed({ server, port, connections: () => connections }))
    })
  }),
  ({ server }) => Effect.sync(() => server.close())
)

/** The metrics of gateways. Effect's own count fibers. */
const metrics = Effect.map(
  PrometheusMetrics.exported,
  (text) => text.split("\n").filter((line) => line.includes("gateway_"))
)

it.scopedLive("a rehearsal reclaims, binds and answers, beside the owner, and leaves nothing behind", () =>
  Effect.gen(function*() {
    const gateway = { stateDir: yield* stateDir, configPath: "/etc/rehearsal.json" }
    const { connections, port } = yield* owner
    const address = { host: "127.0.0.1", port }
    const logged: Array<unknown> = []
    const before = yield* metrics
    const start = Effect.gen(function*() {
      const lock = yield* Layer.build(LockFile.layerWithProbes({ ...gateway, address }))
      const served = yield* Effect.provide(Layer.build(Gateway.layerServing(address)), lock)
      yield* Effect.log("listening")
      return {
        gateway: yield* Effect.provide(Gateway.Gateway, served),
        history: yield* Effect.flatMap(Effect.provide(Gateway.Gateway, served), ({ history }) => history),
        entries: Fs.readdirSync(gateway.stateDir)
      }
    })
    const exit = yield* rehearse(gateway, address, start).pipe(
      Effect.provide([
        machine,
        Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => logged.push(message)))
      ])
    )
    assert.isTrue(Exit.isSuccess(exit), String(exit))
    const [seen, answers] = Option.getOrThrow(
      Exit.match(exit, { onFailure: () => Option.none(), onSuccess: Option.some })
    )
    assert.strictEqual(seen.gateway.enforcement, "kernel")
    assert.strictEqual(seen.gateway.address.port, port)
    assert.deepStrictEqual(seen.history.map(({ kind }) => kind), ["starting", "reclaimed", "listening"])
    assert.lengthOf(answers, 1)
    assert.match(answers[0] ?? "", /^HTTP\/1\.1 200 /)
    assert.include(answers[0], seen.gateway.instanceId)

    assert.deepStrictEqual(seen.entries, [])
    assert.deepStrictEqual(Fs.readdirSync(gateway.stateDir), [])
    assert.strictEqual(connections(), 0)
    assert.deepStrictEqual(logged, [])
    assert.deepStrictEqual(yield* metrics, before)
  }))

it.scopedLive("a start that fails, or dies, in its rehearsal fails nothing else", () =>
  Effect.gen(function*() {
    const gateway = { stateDir: yield* stateDir, configPath: "/etc/rehearsal.json" }
    const address = { host: "127.0.0.1", port: 1 }
    assert.isTrue(Exit.isFailure(yield* rehearse(gateway, address, Effect.fail("no"))))
    assert.isTrue(Exit.isFailure(yield* rehearse(gateway, address, Effect.die("no"))))
  }))
