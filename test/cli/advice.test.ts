import { CommandExecutor, FileSystem } from "@effect/platform"
import { SystemError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, FastCheck as fc, Layer, Option, TestClock } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { describe as healthWords } from "../../src/cli/health.ts"
import { sameGateway } from "../../src/cli/sameGateway.ts"
import * as StatusReport from "../../src/cli/StatusReport.ts"
import { describe as stopWords } from "../../src/cli/stop.ts"
import * as Doctor from "../../src/doctor/Doctor.ts"
import * as Gateway from "../../src/Gateway.ts"
import * as Errors from "../../src/GatewayLockError.ts"
import { GatewayStatus } from "../../src/inspect/GatewayStatus.ts"
import { type Advice, adviceFor } from "../../src/internal/advice.ts"
import * as LockFile from "../../src/lock/LockFile.ts"
import * as HealthProbe from "../../src/probe/HealthProbe.ts"
import * as PortProbe from "../../src/probe/PortProbe.ts"
import { facts, type Start } from "../../src/report/facts.ts"
import { toText } from "../../src/report/formats.ts"
import * as GatewayConfig from "../../src/settings/GatewayConfig.ts"
import * as StopOwner from "../../src/stop/StopOwner.ts"
import { SimulatedHost } from "../../src/testing/index.ts"
import * as arbitraries from "../arbitraries.ts"
import { simulated } from "../fixtures/simulated.ts"

/** For each platform, a pattern of the programs and the shell syntax that this platform does not have. */
const foreignTo = {
  win32:
    /(?<![\w.-])(?:chmod|chown|sudo|install|ss|lsof|lsns|systemctl|journalctl|launchctl|curl|kill|ps|cat|ls|rm|mv|touch|ip|ifconfig|sysctl|timedatectl|sntp)\s|'|\$\{EDITOR|\$\(id/,
  darwin: /(?<![\w.-])(?:ss|systemctl|journalctl|ip|sysctl|timedatectl|schtasks|taskkill|icacls|netstat)\s/
} as const
const platforms = ["win32", "darwin"] as const

const folders = {
  configPath: (profile: string) => `C:\\Users\\Jane Doe\\AppData\\Roaming\\gateway-lock\\${profile}\\gateway.json`,
  stateDir: (profile: string) => `C:\\Users\\Jane Doe\\AppData\\Local\\gateway-lock\\${profile}`
}
const self = {
  profile: "blue",
  configPath: folders.configPath("blue"),
  stateDir: "D:\\O'Brien\\state $1",
  host: "127.0.0.1",
  port: 18790
}
const start: Start = { self, folders, platform: "win32", nowMillis: 0 }

/**
 * Draws a plain word where a real error has free text, such as a path. Free text may contain anything, so `foreignTo` could match
 * it. With a plain word, `foreignTo` matches only texts of this project.
 */
const plain = fc.stringMatching(/^[A-Z]{1,8}$/)
const bindFailed = fc.record({
  host: arbitraries.host,
  port: arbitraries.port,
  reason: plain,
  code: fc.constantFrom("EACCES", "EADDRNOTAVAIL", "EADDRINUSE", "EBADF", "ENOTSOCK", "ENOBUFS"),
  available: fc.array(arbitraries.host, { maxLength: 3 })
}).map((fields) => new Errors.BindFailed(fields))
const error = fc.oneof(arbitraries.gatewayLockError, bindFailed)

/** Replaces or removes all free text in an error's holder, such as a command line. `foreignTo` could match free text by chance. */
const withPlainHolder = <E extends Errors.GatewayLockError>(error: E): E => {
  if (!("holder" in error) || error.holder === undefined) return error
  const { configPath, pid, pidMeaning, stateDir, supervisor } = error.holder
  const holder: Errors.Holder = {
    ...(pid === undefined ? {} : { pid }),
    ...(pidMeaning === undefined ? {} : { pidMeaning }),
    ...(configPath === undefined ? {} : { configPath: folders.configPath("green") }),
    ...(stateDir === undefined ? {} : { stateDir: folders.stateDir("green") }),
    ...(supervisor === undefined ? {} : { supervisor }),
    unit: { name: "gateway-green.service", scope: "user" }
  }
  return Object.assign(Object.create(Object.getPrototypeOf(error)), error, { holder })
}

describe("advice (N72)", () => {
  for (const platform of platforms) {
    it.prop(`of every error, on ${platform}, has only programs and quotes of that platform`, [error], ([drawn]) => {
      const rows = facts(withPlainHolder(drawn), {
        ...start,
        platform,
        self: platform === "win32" ? self : { ...self, stateDir: "/Users/jane/state" }
      })
      const supervised = platform === "darwin" && "holder" in drawn && drawn.holder?.supervisor !== "none"
      for (const { isNext, key, value } of rows) {
        if (!isNext || (supervised && (key === "stop" || key === "serviceStatus"))) continue
        assert.notMatch(value.replaceAll("O'Brien", ""), foreignTo[platform], key)
      }
    })
  }

  it("of a held lock can be pasted into PowerShell", () => {
    const error = new Errors.PortInUse({
      host: "127.0.0.1",
      port: 18790,
      holder: { pid: 12, pidMeaning: "Alive", configPath: self.configPath, stateDir: self.stateDir, supervisor: "none" }
    })
    assert.include(
      toText(error, start),
      "to stop it:       gateway stop --profile blue --state-dir \"D:\\O'Brien\\state `$1\" --port 18790"
    )
    const unknown = new Errors.PortInUse({
      host: "127.0.0.1",
      port: 1,
      holder: { pid: 12, pidMeaning: "Alive" }
    })
    assert.include(toText(unknown, start), "taskkill /F /PID 12")
    const path = folders.configPath("default")
    const other = new Errors.LockHeld({
      path: "C:\\l",
      timeout: Duration.millis(1),
      holder: { pid: 12, pidMeaning: "Alive", configPath: path, stateDir: folders.stateDir("default") }
    })
    const named = { ...self, configPath: "C:\\x.json", configSource: "GATEWAY_CONFIG" }
    assert.include(
      toText(other, { ...start, self: named, absent: new Set([path]) }),
      "$env:GATEWAY_CONFIG=$null; gateway stop "
    )
  })

  it.each([
    ["C:\\a\\b.json", "C:\\a\\b.json"],
    ["C:\\a b\\", "\"C:\\a b\\\\\""],
    ["it's", "\"it's\""],
    ["a,b", "\"a,b\""],
    ["$x`y\"z", "\"`$x``y`\"z\""],
    ["", "\"\""]
  ])("quotes %s for PowerShell", (word, quoted) => {
    assert.strictEqual(adviceFor("win32").word(word), quoted)
  })

  const status = Arbitrary.make(GatewayStatus)
  it.prop("of a status, of health and of doctor's judgements, on Windows", [status], ([drawn]) => {
    // Windows has no systemd, so `service` is left out. The drawn texts are replaced: by chance, they could contain the name
    // of a Unix program, and the test would fail.
    const { service: _service, ...seen } = {
      ...drawn,
      reason: "",
      warnings: [],
      lock: { ...drawn.lock, path: folders.stateDir("locks") },
      ...(drawn.lease === undefined ? {} : { lease: { ...drawn.lease, name: "reports" } }),
      ...(drawn.owner?.leaseName === undefined ? {} : { owner: { ...drawn.owner, leaseName: "reports" } }),
      ...(drawn.port === undefined ? {} : { port: { ...drawn.port, host: "127.0.0.1" } })
    }
    const command = (words: string) => sameGateway(words, new Map([["port", "1"]]), "win32")
    const advised = [
      ...StatusReport.rows(seen, { flags: new Map([["port", "1"]]), isLeased: false }, 0, "win32").filter(([label]) =>
        label.startsWith("to ")
      )
        .map(([, value]) => value),
      healthWords(seen, "win32"),
      ...[...Doctor.judgeLock(seen, command, "win32"), ...Doctor.judgePort(seen, command)].map(({ remedy }) =>
        remedy ?? ""
      )
    ]
    for (const value of advised) assert.notMatch(value, foreignTo.win32)
  })

  it("of a stop that finds another program on the port, per platform", () => {
    const outcome = {
      _tag: "NotRunning",
      left: Option.none(),
      port: { _tag: "Foreign", detail: "answered HTTP 404" },
      listeners: []
    } as const
    const note = (platform: string) =>
      stopWords(outcome, "/l", { host: "127.0.0.1", port: 18789 }, platform).notes[0]?.split("to see who it is: ")[1]
    assert.strictEqual(note("linux"), "ss -ltnp 'sport = :18789'")
    assert.strictEqual(note("darwin"), "lsof -nP -iTCP:18789 -sTCP:LISTEN")
    assert.strictEqual(note("win32"), "netstat -ano | findstr :18789")
  })

  const calls: Record<keyof Advice, (advice: Advice) => string> = {
    word: ({ word }) => word("C:\\a b"),
    unset: ({ unset }) => unset("GATEWAY_CONFIG", "gateway run"),
    removeFiles: ({ removeFiles }) => removeFiles(["C:\\a b", "C:\\c"]),
    removeFolderLink: ({ removeFolderLink }) => removeFolderLink("C:\\a b"),
    rename: ({ rename }) => rename("C:\\a b", "C:\\c"),
    showAccess: ({ showAccess }) => showAccess(["C:\\a b", "C:\\c"]),
    changeOwner: ({ changeOwner }) => changeOwner("C:\\a b", 1),
    changeOwnerAsRoot: ({ changeOwnerAsRoot }) => changeOwnerAsRoot("C:\\a b", undefined),
    closeToOthers: ({ closeToOthers }) => closeToOthers("C:\\a b"),
    ownFile: ({ ownFile }) => ownFile("C:\\a b", 1),
    setMode: ({ setMode }) => setMode("C:\\a b", "600"),
    makeWritable: ({ makeWritable }) => makeWritable("C:\\a b"),
    makeFolder: ({ makeFolder }) => makeFolder("C:\\a b", undefined),
    edit: ({ edit }) => edit("C:\\a b"),
    renewTime: ({ renewTime }) => renewTime("C:\\a b"),
    syncClock: ({ syncClock }) => syncClock,
    showFileUsers: ({ showFileUsers }) => showFileUsers("C:\\a b"),
    showListeners: ({ showListeners }) => showListeners(1),
    showProcess: ({ showProcess }) => showProcess(1),
    endProcess: ({ endProcess }) => endProcess(1),
    askUrl: ({ askUrl }) => askUrl("http://127.0.0.1:1/healthz"),
    checkUrl: ({ checkUrl }) => checkUrl("http://127.0.0.1:1/healthz"),
    asRoot: ({ asRoot }) => asRoot("gateway stop"),
    restoreLoopback: ({ restoreLoopback }) => restoreLoopback
  }
  it.each(Object.entries(calls))("%s is a command of the platform", (_, call) => {
    for (const platform of platforms) assert.notMatch(call(adviceFor(platform)), foreignTo[platform])
  })
})

const programs = Layer.succeed(
  CommandExecutor.CommandExecutor,
  CommandExecutor.makeExecutor(() =>
    Effect.fail(
      new SystemError({
        module: "Command",
        method: "spawn",
        reason: "NotFound",
        description: "ENOENT: no such program"
      })
    )
  )
)
const probes = PortProbe.layer.pipe(Layer.provideMerge(HealthProbe.layer()))
const place = { stateDir: "/state/default", configPath: "/config/default/gateway.json" }

describe("on a Windows host (N67, N72)", () => {
  const examined = (host: SimulatedHost.SimulatedHost) =>
    Effect.gen(function*() {
      const { config } = yield* GatewayConfig.resolveLenient(new Map())
      return yield* Doctor.examine({
        config,
        problems: ["the config file is not JSON"],
        process: { platform: "win32", pid: 1, parentPid: 0 },
        // `doctor` must ignore this uid on Windows. libuv reports uid 0 for every file there, so all files would seem to belong
        // to another user.
        uid: 1000,
        command: (words) => sameGateway(words, new Map([["port", "1"]]), "win32")
      })
    }).pipe(
      // The test provides an `access` that always succeeds. So `doctor` finds that this process may write every folder.
      (examine) =>
        Effect.flatMap(FileSystem.FileSystem, (fs) =>
          Effect.provideService(examine, FileSystem.FileSystem, { ...fs, access: () => Effect.void })),
      Effect.provide(Layer.merge(programs, probes).pipe(Layer.provideMerge(host.layer())))
    )

  simulated(
    "doctor judges no mode bits, says what it does not check, and advises Windows' own commands",
    () =>
      Effect.gen(function*() {
        const host = yield* SimulatedHost.makeWith({ platform: "win32" })
        const owner = yield* host.spawn(Gateway.launch(Gateway.layerPlatform(place)))
        yield* host.settle
        assert.isTrue(owner.isRunning())
        // On Windows, libuv reports mode 0666 for everything that is not read-only. So the test gives the folder this mode.
        yield* host.files.chmod("/state/default/locks", 0o666)
        yield* host.files.writeFileString("/state/default/locks/gateway.1.reclaim", "")
        const { findings } = yield* examined(host)
        assert.deepStrictEqual(findings.filter(({ check }) => check === "lock-folder"), [
          { check: "lock-folder", severity: "ok", message: "/state/default/locks can be written" },
          {
            check: "lock-folder",
            severity: "info",
            message:
              "the write access of other users is not checked, because Windows keeps it in access control lists; "
              + "to see them: icacls /state/default/locks"
          }
        ])
        assert.includeMembers(findings.map(({ check }) => check), ["config", "leftovers"])
        for (const { remedy } of findings) if (remedy !== undefined) assert.notMatch(remedy, foreignTo.win32)
      })
  )

  simulated("a stop of whom it cannot tell about advises no sudo, lsof or ps", () =>
    Effect.gen(function*() {
      const host = yield* SimulatedHost.makeWith({ platform: "win32" })
      yield* host.spawn(Gateway.launch(Gateway.layerPlatform(place)))
      yield* host.settle
      const path = LockFile.configLockPath(place)
      yield* host.files.writeFileString(path, "torn")
      const stopping = yield* host.spawn(
        Effect.flip(StopOwner.stop({
          path,
          address: { host: "127.0.0.1", port: 18789 },
          profile: "default",
          timeout: "1 second"
        })).pipe(Effect.provide(probes))
      )
      yield* host.settle
      yield* TestClock.adjust("1 second")
      const { message } = yield* yield* stopping.exit
      assert.include(message, "its record names no owner")
      assert.notMatch(message, foreignTo.win32)
    }))
})
