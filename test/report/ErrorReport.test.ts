import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, FastCheck as fc, Layer, Schema } from "effect"
import * as Gateway from "../../src/Gateway.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import { HostPlatform } from "../../src/host/HostPlatform.ts"
import { FolderUnknown, PlatformFolders } from "../../src/host/PlatformFolders.ts"
import * as ErrorReport from "../../src/report/ErrorReport.ts"
import type { SimulatedHost } from "../../src/testing/SimulatedHost.ts"
import * as arbitraries from "../arbitraries.ts"
import { makeHost, simulated } from "../fixtures/simulated.ts"

const address = { host: "127.0.0.1", port: 18789 }

const launched = (options: Gateway.GatewayOptions) => Gateway.launch(Gateway.layerPlatform(options))

/** The error of a refused start, and the report about that error, made with the same options. */
const refused = (
  host: SimulatedHost,
  options: Gateway.GatewayOptions,
  more: Pick<ErrorReport.ErrorReportOptions, "command" | "run"> = {}
) =>
  Effect.gen(function*() {
    const { exit } = yield* host.spawn(launched(options))
    const error = yield* Effect.flip(Effect.flatten(exit))
    if (!Errors.isGatewayLockError(error)) return assert.fail("the start failed otherwise")
    const report = yield* Effect.provide(ErrorReport.make(error, { ...options, ...more }), host.layer())
    return { error, report, of: Object.fromEntries(report.facts.map(({ key, value }) => [key, value])) }
  })

const own = { command: "gateway", run: (change: ErrorReport.RunChange) => `app ${JSON.stringify(change)}` }

describe("ErrorReport.make, on a simulated host", () => {
  simulated("says who has the port, in the three forms", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(launched({}), { command: "node" })
      yield* host.settle
      const { error, of, report } = yield* refused(host, {})
      assert.strictEqual(error._tag, "PortInUse")
      assert.strictEqual(of["heldBy"], `pid ${first.pid} (node)`)
      assert.strictEqual(of["status"], "npx gateway-lock status")
      assert.strictEqual(of["stop"], "npx gateway-lock stop")
      const [line, ...lines] = report.text.split("\n")
      assert.strictEqual(
        line,
        "GatewayLockError: another gateway instance is already listening on ws://127.0.0.1:18789"
      )
      assert.deepStrictEqual(
        lines.map((line) => line.trim().replace(/: +/, ": ")),
        report.facts.map(({ label, value }) => `${label}: ${value}`)
      )
      assert.notInclude(report.json, "\n")
      const { error: encoded, facts, next } = JSON.parse(report.json)
      assert.deepStrictEqual(encoded, yield* Effect.orDie(Schema.encode(Errors.GatewayLockError)(error)))
      assert.deepStrictEqual({ ...facts, ...next }, of)
    }))

  simulated("has the command that starts the app, where that is known", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(launched({}))
      yield* host.settle
      const { of: without } = yield* refused(host, {})
      assert.notProperty(without, "runBeside")
      const { of } = yield* refused(host, {}, own)
      assert.strictEqual(of["runBeside"], `app {"profile":"<name>","port":18790}`)
      assert.strictEqual(of["stop"], "gateway stop")
    }))

  simulated(
    "is made for a user without a home folder too, whose app does not name its folders",
    () =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const first = yield* host.spawn(launched({}))
        yield* host.settle
        const { error } = yield* refused(host, {})
        const unknown = new FolderUnknown({ what: "home folder", advice: "set HOME" })
        const report = yield* ErrorReport.make(error).pipe(
          Effect.provideService(
            PlatformFolders,
            PlatformFolders.of({
              configPath: () => Either.left(unknown),
              stateDir: () => Either.left(unknown),
              stateRoot: Either.left(unknown)
            })
          ),
          Effect.provide(host.layer())
        )
        assert.include(report.text, error.message)
        assert.include(report.text, `pid ${first.pid}`)
        assert.notInclude(report.text, "''")
      })
  )

  simulated("names the gateway of another profile that has the port", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      const first = yield* host.spawn(launched({ profile: "blue" }), { command: "node" })
      yield* host.settle
      const { error, of, report } = yield* refused(host, { profile: "green" }, own)
      assert.isTrue(error._tag === "PortInUse" && error.holder === undefined)
      assert.strictEqual(of["heldBy"], `pid ${first.pid} (node)`)
      assert.strictEqual(of["stop"], "gateway stop --profile blue")
      assert.strictEqual(JSON.parse(report.json).error.holder.pid, first.pid)
    }))

  simulated("says that a stranger has the port, and finds no pid for it", () =>
    Effect.scoped(Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.ports.foreign(address, { _tag: "Answers", status: 404, body: "" })
      const { of } = yield* refused(host, {})
      assert.strictEqual(of["heldBy"], "an unknown process")
      assert.notProperty(of, "stop")
    })))

  simulated("says where the holder of the lock serves", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.spawn(launched({ profile: "blue" }))
      yield* host.settle
      const { error, of } = yield* refused(host, { profile: "blue", port: 18790 }, own)
      assert.strictEqual(error._tag, "LockHeld")
      assert.strictEqual(of["use"], "ws://127.0.0.1:18789")
      assert.strictEqual(of["status"], "gateway status --profile blue --port 18789")
      assert.strictEqual(of["runBeside"], `app {"profile":"<name>","port":"<port>"}`)
    }))

  simulated("names a port that was left to the kernel in no command", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      yield* host.setLocking("refused")
      const error = new Errors.LockUnavailable({ path: "/state/default/locks/gateway.state.lock", reason: "EROFS" })
      const report = yield* Effect.provide(ErrorReport.make(error, { port: 0 }), host.layer())
      assert.notInclude(report.text, "--port")
    }))

  simulated("does not name a config file that is absent, where it is the default one", () =>
    Effect.gen(function*() {
      const host = yield* makeHost()
      // The two gateways have different config files but the same state directory. So the lock of the state directory refuses
      // the second start.
      yield* host.spawn(launched({}))
      yield* host.settle
      const second = { configPath: "/etc/app.json", stateDir: "/state/default", port: 18790 }
      const absent = yield* refused(host, second)
      assert.strictEqual(absent.error._tag, "LockHeld")
      assert.notInclude(absent.of["status"] ?? "", "--config")

      yield* Effect.orDie(host.files.makeDirectory("/config/default", { recursive: true }))
      yield* Effect.orDie(host.files.writeFile("/config/default/gateway.json", new TextEncoder().encode("{}")))
      const present = yield* refused(host, second)
      assert.include(present.of["status"], "--config /config/default/gateway.json")
    }))
})

describe("ErrorReport.make", () => {
  it.effect.prop(
    "advises no command that starts another program, whatever the error",
    [arbitraries.gatewayLockError, fc.constantFrom("linux" as const, "darwin" as const, "win32" as const)],
    ([error, platform]) =>
      Effect.gen(function*() {
        const host = yield* makeHost()
        const report = yield* ErrorReport.make(error).pipe(
          Effect.provide(host.layer()),
          Effect.provideService(HostPlatform, platform)
        )
        for (const { key, value } of report.facts) {
          assert.notMatch(value, /^gateway /, key)
          assert.notInclude(["run", "runBeside", "runElsewhere"], key)
        }
      })
  )
})

describe("Gateway.report", () => {
  it.scopedLive("needs no platform, and says of a real process what it says of a simulated one", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const options = { stateDir: `${folder}/state`, configPath: `${folder}/gateway.json` }
      const first = yield* Layer.build(Gateway.layer({ ...options, port: 0 }))
      const { address: { port } } = Context.get(first, Gateway.Gateway)
      const second = { ...options, port }
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Gateway.layer(second))))
      const { facts, text } = yield* Gateway.report(error, second)
      assert.strictEqual(error._tag, "PortInUse")
      assert.match(text, new RegExp(`^  held by: +pid ${process.pid}\\b`, "m"))
      assert.strictEqual(
        facts.find(({ key }) => key === "status")?.value,
        `npx gateway-lock status --config ${options.configPath} --state-dir ${options.stateDir} --port ${port}`
      )
    }).pipe(Effect.provide(NodeContext.layer)))
})
