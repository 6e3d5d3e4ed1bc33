import { Error as PlatformError, FileSystem } from "@effect/platform"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Either, FastCheck as fc, Layer, Option, Redacted } from "effect"
import * as NodePath from "node:path"
import * as PlatformFolders from "../../src/host/PlatformFolders.ts"
import * as GatewayConfig from "../../src/settings/GatewayConfig.ts"
import * as arbitraries from "../arbitraries.ts"
import "../arbitraries.ts"

const folders = PlatformFolders.make({ config: "/etc/gateways", state: "/var/gateways" })
const defaultFile = "/etc/gateways/default/gateway.json"

const notFound = (path: string) =>
  new PlatformError.SystemError({ reason: "NotFound", module: "FileSystem", method: "access", pathOrDescriptor: path })

/** A file system without links. `files` maps the path of each file to its content. */
const fileSystem = (files: Readonly<Record<string, string>>) =>
  FileSystem.layerNoop({
    realPath: (path) => path in files || path === "/" ? Effect.succeed(path) : Effect.fail(notFound(path)),
    readFileString: (path) => {
      const content = files[path]
      return content === undefined ? Effect.fail(notFound(path)) : Effect.succeed(content)
    }
  })

interface Given {
  readonly flags?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  readonly files?: Readonly<Record<string, string>>
}

const given = ({ env = {}, files = {} }: Given) =>
<A, E>(
  resolved: Effect.Effect<A, E, FileSystem.FileSystem | PlatformFolders.PlatformFolders>
) =>
  resolved.pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))),
    Effect.provide(Layer.merge(
      fileSystem(files),
      Layer.succeed(PlatformFolders.PlatformFolders, folders)
    ))
  )
const flagsOf = ({ flags = {} }: Given) => new Map(Object.entries(flags))

const resolve = (what: Given) => given(what)(GatewayConfig.resolve(flagsOf(what)))
const resolveLenient = (what: Given) => given(what)(GatewayConfig.resolveLenient(flagsOf(what)))

const refusal = (given: Given) => Effect.map(Effect.flip(resolve(given)), (error) => error.message)

/** The content of a config file that sets one key. A key with dots, such as `lock.timeout`, becomes nested objects. */
const nested = (key: string, value: unknown): unknown =>
  key.split(".").reduceRight<unknown>((inner, name) => ({ [name]: inner }), value)
const file = (key: string, value: unknown) => ({ [defaultFile]: JSON.stringify(nested(key, value)) })

/** The resolved settings as plain data. */
const shown = ({ health, lease, limits, lock, ...config }: GatewayConfig.GatewayConfig) => ({
  ...config,
  "lock.timeout": Duration.toMillis(lock.timeout),
  "lock.pollInterval": Duration.toMillis(lock.pollInterval),
  "lock.staleAfter": Duration.toMillis(lock.staleAfter),
  "lock.recheckInterval": Duration.toMillis(lock.recheckInterval),
  "health.probeTimeout": Duration.toMillis(health.probeTimeout),
  "health.retryInterval": Duration.toMillis(health.retryInterval),
  "health.timeout": Duration.toMillis(health.timeout),
  drainTimeout: Duration.toMillis(config.drainTimeout),
  token: Option.getOrUndefined(Option.map(config.token, Redacted.value)),
  tokenFile: Option.getOrUndefined(config.tokenFile),
  allowedHosts: config.allowedHosts.join(),
  allowedOrigins: config.allowedOrigins.join(),
  "limits.connections": limits.connections,
  "limits.headersTimeout": Duration.toMillis(limits.headersTimeout),
  "limits.requestTimeout": Duration.toMillis(limits.requestTimeout),
  "limits.keepAliveTimeout": Duration.toMillis(limits.keepAliveTimeout),
  "limits.headerBytes": limits.headerBytes,
  "limits.controlSockets": limits.controlSockets,
  "limits.frameBytes": limits.frameBytes,
  "limits.framesPerSecond": limits.framesPerSecond,
  "lease.url": Option.getOrUndefined(Option.map(lease.url, Redacted.value)),
  "lease.urlFile": Option.getOrUndefined(lease.urlFile),
  "lease.name": lease.name,
  "lease.duration": Duration.toMillis(lease.duration),
  "lease.renewInterval": Duration.toMillis(lease.renewInterval),
  "lease.attemptTimeout": Duration.toMillis(lease.attemptTimeout),
  "lease.renewDeadline": Duration.toMillis(lease.renewDeadline),
  "lease.stopTimeout": Duration.toMillis(lease.stopTimeout),
  logFormat: Option.getOrUndefined(config.logFormat),
  logLevel: config.logLevel.label
})
type Shown = ReturnType<typeof shown>

/** One way to set a setting, such as a flag: its key, the raw value, and the value that the gateway must read from it. */
interface Source {
  readonly key: string
  readonly raw: string | number
  readonly value: string | number
}
interface Case {
  readonly setting: keyof Shown
  readonly flag?: Source
  readonly env?: Source
  readonly file?: Source
  readonly default: string | number | undefined
}

const aUrl = "postgresql://gateway:secret@db.example:5432/gateway"
const aToken = "0123456789abcdef0123456789ABCDEF"

const cases: ReadonlyArray<Case> = [
  {
    setting: "port",
    flag: { key: "port", raw: "1001", value: 1001 },
    env: { key: "GATEWAY_PORT", raw: "1002", value: 1002 },
    file: { key: "port", raw: 1003, value: 1003 },
    default: 18789
  },
  {
    setting: "host",
    flag: { key: "host", raw: "localhost", value: "localhost" },
    env: { key: "GATEWAY_HOST", raw: "[::1]", value: "::1" },
    file: { key: "host", raw: "127.0.0.4", value: "127.0.0.4" },
    default: "127.0.0.1"
  },
  {
    setting: "profile",
    flag: { key: "profile", raw: "a", value: "a" },
    env: { key: "GATEWAY_PROFILE", raw: "b", value: "b" },
    default: "default"
  },
  {
    setting: "configPath",
    flag: { key: "config", raw: "/a/../b.json", value: "/b.json" },
    env: { key: "GATEWAY_CONFIG", raw: "/c.json", value: "/c.json" },
    default: defaultFile
  },
  {
    setting: "stateDir",
    flag: { key: "state-dir", raw: "/a/", value: "/a" },
    env: { key: "GATEWAY_STATE_DIR", raw: "/b", value: "/b" },
    default: "/var/gateways/default"
  },
  {
    setting: "lock.timeout",
    flag: { key: "lock-timeout", raw: "0 millis", value: 0 },
    env: { key: "GATEWAY_LOCK_TIMEOUT", raw: "2 seconds", value: 2000 },
    file: { key: "lock.timeout", raw: "1 day", value: 86_400_000 },
    default: 5000
  },
  { setting: "lock.pollInterval", file: { key: "lock.pollInterval", raw: "10 millis", value: 10 }, default: 100 },
  { setting: "lock.staleAfter", file: { key: "lock.staleAfter", raw: "1.5 minutes", value: 90_000 }, default: 30_000 },
  {
    setting: "lock.recheckInterval",
    file: { key: "lock.recheckInterval", raw: "200 millis", value: 200 },
    default: 30_000
  },
  {
    setting: "health.probeTimeout",
    file: { key: "health.probeTimeout", raw: "250 millis", value: 250 },
    default: 1000
  },
  {
    setting: "health.retryInterval",
    env: { key: "GATEWAY_HEALTH_RETRY_INTERVAL", raw: "1 second", value: 1000 },
    file: { key: "health.retryInterval", raw: "10 millis", value: 10 },
    default: 5000
  },
  {
    setting: "health.timeout",
    env: { key: "GATEWAY_HEALTH_TIMEOUT", raw: "0 millis", value: 0 },
    file: { key: "health.timeout", raw: "1 hour", value: 3_600_000 },
    default: 300_000
  },
  {
    setting: "supervisor",
    flag: { key: "supervisor", raw: "none", value: "none" },
    env: { key: "GATEWAY_SUPERVISOR", raw: "systemd", value: "systemd" },
    default: "auto"
  },
  {
    setting: "drainTimeout",
    flag: { key: "drain-timeout", raw: "1 second", value: 1000 },
    env: { key: "GATEWAY_DRAIN_TIMEOUT", raw: "2 minutes", value: 120_000 },
    file: { key: "drainTimeout", raw: "3 hours", value: 10_800_000 },
    default: 10_000
  },
  {
    setting: "tokenFile",
    flag: { key: "token-file", raw: "/a/../b", value: "/b" },
    env: { key: "GATEWAY_TOKEN_FILE", raw: "/c", value: "/c" },
    file: { key: "tokenFile", raw: "token", value: "/etc/gateways/default/token" },
    default: undefined
  },
  { setting: "token", env: { key: "GATEWAY_TOKEN", raw: aToken, value: aToken }, default: undefined },
  {
    setting: "allowedHosts",
    env: { key: "GATEWAY_ALLOWED_HOSTS", raw: "Gateway.Example., [0:0::1]", value: "gateway.example,::1" },
    file: { key: "allowedHosts", raw: "*", value: "*" },
    default: ""
  },
  {
    setting: "allowedOrigins",
    env: {
      key: "GATEWAY_ALLOWED_ORIGINS",
      raw: "https://App.example:443,null,file://",
      value: "https://app.example,null,file://"
    },
    file: { key: "allowedOrigins", raw: "http://[::1]:80", value: "http://[::1]" },
    default: ""
  },
  { setting: "limits.connections", file: { key: "limits.connections", raw: 5, value: 5 }, default: 10_000 },
  {
    setting: "limits.headersTimeout",
    file: { key: "limits.headersTimeout", raw: "2 seconds", value: 2000 },
    default: 10_000
  },
  {
    setting: "limits.requestTimeout",
    file: { key: "limits.requestTimeout", raw: "3 seconds", value: 3000 },
    default: 60_000
  },
  {
    setting: "limits.keepAliveTimeout",
    env: { key: "GATEWAY_KEEP_ALIVE_TIMEOUT", raw: "65 seconds", value: 65_000 },
    file: { key: "limits.keepAliveTimeout", raw: "4 seconds", value: 4000 },
    default: 5000
  },
  { setting: "limits.headerBytes", file: { key: "limits.headerBytes", raw: 4096, value: 4096 }, default: 16_384 },
  { setting: "limits.controlSockets", file: { key: "limits.controlSockets", raw: "7", value: 7 }, default: 1000 },
  { setting: "limits.frameBytes", file: { key: "limits.frameBytes", raw: 1024, value: 1024 }, default: 65_536 },
  { setting: "limits.framesPerSecond", file: { key: "limits.framesPerSecond", raw: 1, value: 1 }, default: 100 },
  {
    setting: "lease.urlFile",
    flag: { key: "lease-url-file", raw: "/a/../b", value: "/b" },
    env: { key: "GATEWAY_LEASE_URL_FILE", raw: "/c", value: "/c" },
    file: { key: "lease.urlFile", raw: "lease-url", value: "/etc/gateways/default/lease-url" },
    default: undefined
  },
  { setting: "lease.url", env: { key: "GATEWAY_LEASE_URL", raw: aUrl, value: aUrl }, default: undefined },
  {
    setting: "lease.name",
    flag: { key: "lease-name", raw: "A/b:c.d", value: "A/b:c.d" },
    env: { key: "GATEWAY_LEASE_NAME", raw: "b", value: "b" },
    file: { key: "lease.name", raw: "c", value: "c" },
    default: "default"
  },
  {
    setting: "lease.duration",
    env: { key: "GATEWAY_LEASE_DURATION", raw: "1 minute", value: 60_000 },
    file: { key: "lease.duration", raw: "20s", value: 20_000 },
    default: 15_000
  },
  {
    setting: "lease.renewInterval",
    env: { key: "GATEWAY_LEASE_RENEW_INTERVAL", raw: "1 second", value: 1000 },
    file: { key: "lease.renewInterval", raw: "500ms", value: 500 },
    default: 3000
  },
  {
    setting: "lease.attemptTimeout",
    env: { key: "GATEWAY_LEASE_ATTEMPT_TIMEOUT", raw: "1 second", value: 1000 },
    file: { key: "lease.attemptTimeout", raw: "10 millis", value: 10 },
    default: 2000
  },
  {
    setting: "lease.renewDeadline",
    env: { key: "GATEWAY_LEASE_RENEW_DEADLINE", raw: "9 seconds", value: 9000 },
    file: { key: "lease.renewDeadline", raw: "8s", value: 8000 },
    default: 10_000
  },
  {
    setting: "lease.stopTimeout",
    env: { key: "GATEWAY_LEASE_STOP_TIMEOUT", raw: "1 second", value: 1000 },
    file: { key: "lease.stopTimeout", raw: "2s", value: 2000 },
    default: 4000
  },
  {
    setting: "logFormat",
    flag: { key: "log-format", raw: "json", value: "json" },
    env: { key: "GATEWAY_LOG_FORMAT", raw: "pretty", value: "pretty" },
    default: undefined
  },
  {
    setting: "logLevel",
    flag: { key: "log-level", raw: "debug", value: "DEBUG" },
    env: { key: "GATEWAY_LOG_LEVEL", raw: "warn", value: "WARN" },
    default: "INFO"
  }
]

describe("GatewayConfig.resolve", () => {
  it.effect("takes the default of the contract where nothing is said", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(shown(yield* resolve({})), {
        profile: "default",
        configPath: defaultFile,
        configName: defaultFile,
        configSource: "the default",
        isConfigStream: false,
        port: 18789,
        host: "127.0.0.1",
        stateDir: "/var/gateways/default",
        "lock.timeout": 5000,
        "lock.pollInterval": 100,
        "lock.staleAfter": 30_000,
        "lock.recheckInterval": 30_000,
        "health.probeTimeout": 1000,
        "health.retryInterval": 5000,
        "health.timeout": 300_000,
        supervisor: "auto",
        drainTimeout: 10_000,
        hostSource: "the default",
        token: undefined,
        tokenFile: undefined,
        allowedHosts: "",
        allowedOrigins: "",
        "limits.connections": 10_000,
        "limits.headersTimeout": 10_000,
        "limits.requestTimeout": 60_000,
        "limits.keepAliveTimeout": 5000,
        "limits.headerBytes": 16_384,
        "limits.controlSockets": 1000,
        "limits.frameBytes": 65_536,
        "limits.framesPerSecond": 100,
        "lease.url": undefined,
        "lease.urlFile": undefined,
        "lease.name": "default",
        "lease.duration": 15_000,
        "lease.renewInterval": 3000,
        "lease.attemptTimeout": 2000,
        "lease.renewDeadline": 10_000,
        "lease.stopTimeout": 4000,
        logFormat: undefined,
        logLevel: "INFO"
      })
    }))

  it.effect.each(cases)(
    "a flag goes before the environment, that before the config file, that before the default: $setting",
    (
      given
    ) =>
      Effect.gen(function*() {
        for (const flag of [given.flag, undefined]) {
          for (const env of [given.env, undefined]) {
            for (const inFile of [given.file, undefined]) {
              const config = yield* resolve({
                flags: flag === undefined ? {} : { [flag.key]: String(flag.raw) },
                env: env === undefined ? {} : { [env.key]: String(env.raw) },
                files: {
                  // A config file that a flag or a variable names must exist.
                  "/b.json": "{}",
                  "/c.json": "{}",
                  ...(inFile === undefined ? {} : file(inFile.key, inFile.raw))
                }
              })
              assert.strictEqual(shown(config)[given.setting], (flag ?? env ?? inFile)?.value ?? given.default)
            }
          }
        }
      })
  )

  it("the cases above name every way in which any setting can be given", () => {
    const ways = (all: ReadonlyArray<string | undefined>) => all.filter((way) => way !== undefined).toSorted()
    const settings: ReadonlyArray<GatewayConfig.Setting<unknown>> = Object.values(GatewayConfig.settings)
    for (const { env, file, flag } of settings) {
      if (flag !== undefined) assert.include(ways(cases.map(({ flag }) => flag?.key)), flag)
      if (env !== undefined) assert.include(ways(cases.map(({ env }) => env?.key)), env)
      if (file !== undefined) assert.include(ways(cases.map(({ file }) => file?.key)), file.join("."))
    }
  })

  it.effect("a setting has one name: in the config file, in the table and in what is resolved", () =>
    Effect.gen(function*() {
      const settings = Object.entries<GatewayConfig.Setting<unknown>>(GatewayConfig.settings)
      const inFile = settings.filter(([, { file }]) => file !== undefined)
      assert.isAbove(inFile.length, 20)
      assert.deepStrictEqual(
        inFile.map(([name]) => name),
        inFile.map(([, { file = [] }]) => file.join("."))
      )
      const config = yield* resolve({})
      for (const [name] of settings) assert.nestedProperty(config, name)
    }))

  it.effect("a profile has its own config file and state directory", () =>
    Effect.gen(function*() {
      const config = yield* resolve({
        flags: { profile: "night-2" },
        files: { "/etc/gateways/night-2/gateway.json": "{\"port\":7}", ...file("port", 8) }
      })
      assert.strictEqual(config.configPath, "/etc/gateways/night-2/gateway.json")
      assert.strictEqual(config.stateDir, "/var/gateways/night-2")
      assert.strictEqual(config.port, 7)
    }))

  it.effect("a relative path is taken from the working directory", () =>
    Effect.gen(function*() {
      const config = yield* resolve({
        flags: { config: "g.json", "state-dir": "state" },
        files: { [NodePath.resolve("g.json")]: "{}" }
      })
      assert.strictEqual(config.configPath, NodePath.resolve("g.json"))
      assert.strictEqual(config.stateDir, NodePath.resolve("state"))
    }))

  it.effect("an empty environment variable is one that is not set", () =>
    Effect.gen(function*() {
      const env = Object.fromEntries(cases.flatMap(({ env }) => env === undefined ? [] : [[env.key, ""]]))
      assert.deepStrictEqual(yield* resolve({ env }), yield* resolve({}))
      const config = yield* resolve({ env, files: file("port", 42) })
      assert.strictEqual(config.port, 42)
    }))

  it.effect("an empty flag is refused, not taken for absent", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refusal({ flags: { port: "" } }),
        "invalid port \"\" from --port: expected a whole number from 1 to 65535"
      )
      assert.strictEqual(
        yield* refusal({ flags: { config: "" } }),
        "invalid config file \"\" from --config: expected a path"
      )
    }))

  const wholePort = "expected a whole number from 1 to 65535"
  const aProfile = "expected 1 to 64 characters of a-z, 0-9, _ and -, of which the first is a letter or digit"
  const duration = (from: string, example: string, short: string) =>
    `expected a duration from "${from}" to "1 day", such as "${example}", "${short}" or "1m30s" (units: ms, s, m, h, d, or their words)`
  const lockTimeout = duration("0 millis", "5 seconds", "5s")
  const drainTimeout = duration("0 millis", "10 seconds", "10s")
  it.effect.each<readonly [line: string, given: Given]>([
    [`invalid port "0" from --port: ${wholePort}`, { flags: { port: "0" } }],
    [`invalid port "65536" from --port: ${wholePort}`, { flags: { port: "65536" } }],
    [`invalid port "-1" from --port: ${wholePort}`, { flags: { port: "-1" } }],
    [`invalid port "0x50" from GATEWAY_PORT: ${wholePort}`, { env: { GATEWAY_PORT: "0x50" } }],
    [`invalid port " 80" from GATEWAY_PORT: ${wholePort}`, { env: { GATEWAY_PORT: " 80" } }],
    [`invalid port "8e3" from GATEWAY_PORT: ${wholePort}`, { env: { GATEWAY_PORT: "8e3" } }],
    [`invalid port 80.5 from "port" in ${defaultFile}: ${wholePort}`, { files: file("port", 80.5) }],
    [`invalid port null from "port" in ${defaultFile}: ${wholePort}`, { files: file("port", null) }],
    [`invalid port [1] from "port" in ${defaultFile}: ${wholePort}`, { files: file("port", [1]) }],
    [`invalid port true from "port" in ${defaultFile}: ${wholePort}`, { files: file("port", true) }],
    [`invalid profile "Default" from --profile: ${aProfile}`, { flags: { profile: "Default" } }],
    [`invalid profile "../x" from GATEWAY_PROFILE: ${aProfile}`, { env: { GATEWAY_PROFILE: "../x" } }],
    [`invalid profile "-x" from GATEWAY_PROFILE: ${aProfile}`, { env: { GATEWAY_PROFILE: "-x" } }],
    [`invalid profile "a\\n" from --profile: ${aProfile}`, { flags: { profile: "a\n" } }],
    [`invalid profile "${"a".repeat(65)}" from --profile: ${aProfile}`, { flags: { profile: "a".repeat(65) } }],
    ["invalid state directory \"/a\\u0000\" from --state-dir: expected a path", { flags: { "state-dir": "/a\0" } }],
    [`invalid lock timeout "5" from --lock-timeout: ${lockTimeout}`, { flags: { "lock-timeout": "5" } }],
    [`invalid lock timeout "5M" from --lock-timeout: ${lockTimeout}`, { flags: { "lock-timeout": "5M" } }],
    [`invalid lock timeout "-5 seconds" from --lock-timeout: ${lockTimeout}`, {
      flags: { "lock-timeout": "-5 seconds" }
    }],
    [`invalid lock timeout "2 days" from GATEWAY_LOCK_TIMEOUT: ${lockTimeout}`, {
      env: { GATEWAY_LOCK_TIMEOUT: "2 days" }
    }],
    [`invalid lock timeout 5000 from "lock.timeout" in ${defaultFile}: ${lockTimeout}`, {
      files: file("lock.timeout", 5000)
    }],
    [
      `invalid lock poll interval "9 millis" from "lock.pollInterval" in ${defaultFile}: ${
        duration("10 millis", "100 millis", "100ms")
      }`,
      { files: file("lock.pollInterval", "9 millis") }
    ],
    [
      `invalid lock stale time "999 millis" from "lock.staleAfter" in ${defaultFile}: ${
        duration("1 second", "30 seconds", "30s")
      }`,
      { files: file("lock.staleAfter", "999 millis") }
    ],
    [
      `invalid lock recheck interval "9 millis" from "lock.recheckInterval" in ${defaultFile}: ${
        duration("10 millis", "30 seconds", "30s")
      }`,
      { files: file("lock.recheckInterval", "9 millis") }
    ],
    [
      `invalid health probe timeout "0 seconds" from "health.probeTimeout" in ${defaultFile}: ${
        duration("10 millis", "1 second", "1s")
      }`,
      { files: file("health.probeTimeout", "0 seconds") }
    ],
    [
      "invalid supervisor \"Systemd\" from GATEWAY_SUPERVISOR: expected auto, none, systemd, launchd, schtasks or external",
      { env: { GATEWAY_SUPERVISOR: "Systemd" } }
    ],
    [`invalid drain timeout "soon" from --drain-timeout: ${drainTimeout}`, { flags: { "drain-timeout": "soon" } }],
    [
      "invalid log format \"xml\" from GATEWAY_LOG_FORMAT: expected pretty, logfmt or json",
      { env: { GATEWAY_LOG_FORMAT: "xml" } }
    ],
    [
      "invalid log level \"INFO\" from --log-level: expected one of all, trace, debug, info, warning, error, fatal, none",
      { flags: { "log-level": "INFO" } }
    ]
  ])("%s", ([line, given]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* refusal(given), line)
    }))

  it.effect.each(["0.0.0.0", "192.168.1.5", "example.org", "128.0.0.1", "127.0.0.1.evil.example", "::"])(
    "a host that other machines can reach is refused without a token: %s",
    (host) =>
      Effect.gen(function*() {
        const config = yield* resolve({ flags: { host } })
        const error = yield* Effect.flip(GatewayConfig.checkExposure(config))
        assert.strictEqual(
          error.message,
          `invalid host "${host}" from --host: expected a loopback host (localhost, 127.0.0.0/8 or ::1), or another host `
            + "with a token: --token-file, GATEWAY_TOKEN_FILE or GATEWAY_TOKEN"
        )
        yield* GatewayConfig.checkExposure(yield* resolve({ flags: { host }, env: { GATEWAY_TOKEN: aToken } }))
        yield* GatewayConfig.checkExposure(yield* resolve({ flags: { host, "token-file": "t" } }))
      })
  )

  it.effect.each([
    "127.0.0.256",
    "127.1",
    "0x7f000001",
    "2130706433",
    "fe80::1%eth0",
    "a b",
    "[127.0.0.1",
    "*",
    "gäteway"
  ])(
    "what is no host is refused: %s",
    (host) =>
      Effect.gen(function*() {
        assert.match(
          yield* refusal({ flags: { host } }),
          /^invalid host ".+" from --host: expected a host name or address/
        )
      })
  )

  it.effect("a token that is too short is refused, and not shown", () =>
    Effect.gen(function*() {
      for (
        const [token, why] of [
          ["tooshort", "it has 8"],
          [`${aToken} `, "character 33 is a space"],
          [`${aToken}é`, "character 33 is not ASCII"],
          [`${aToken}\n\n`, "character 33 is a line end (LF)"],
          [`\uFEFF${aToken}`, "it begins with a byte order mark (UTF-8); save it without one"],
          ["x".repeat(1025), "it has 1025"]
        ] as const
      ) {
        assert.strictEqual(
          yield* refusal({ env: { GATEWAY_TOKEN: token } }),
          "invalid token (not shown) from GATEWAY_TOKEN: expected 32 to 1024 printable ASCII characters without spaces; "
            + why
        )
      }
    }))

  it.effect("one line end after a token in the environment is not part of it", () =>
    Effect.gen(function*() {
      for (const end of ["\n", "\r\n"]) {
        const { token } = shown(yield* resolve({ env: { GATEWAY_TOKEN: `${aToken}${end}` } }))
        assert.strictEqual(token, aToken)
      }
    }))

  it.effect("the token itself is no key of the config file, and what is in a broken one is not shown", () =>
    Effect.gen(function*() {
      const refusals = [
        { [defaultFile]: JSON.stringify({ token: aToken }) },
        { [defaultFile]: `{"token":"${aToken}" "port":1}` },
        { [defaultFile]: `${aToken}` },
        { [defaultFile]: `{"token":\n${aToken}\n}` },
        { [defaultFile]: `{"token":"${aToken}\n"}` }
      ]
      for (const files of refusals) assert.notInclude(yield* refusal({ files }), aToken.slice(0, 8))
    }))

  it.effect("a token is taken from one place: the flag's file, else the environment, which must not name both", () =>
    Effect.gen(function*() {
      const both = { GATEWAY_TOKEN: aToken, GATEWAY_TOKEN_FILE: "/file" }
      assert.strictEqual(
        yield* refusal({ env: both }),
        "invalid token (not shown) from GATEWAY_TOKEN: expected only one of GATEWAY_TOKEN and GATEWAY_TOKEN_FILE"
      )
      const flag = shown(yield* resolve({ env: both, flags: { "token-file": "/flag" } }))
      assert.deepInclude(flag, { token: undefined, tokenFile: "/flag" })
      const env = shown(yield* resolve({ env: { GATEWAY_TOKEN: aToken }, files: file("tokenFile", "/x") }))
      assert.deepInclude(env, { token: aToken, tokenFile: undefined })
    }))

  it.effect("a long value is cut in the message", () =>
    Effect.gen(function*() {
      const line = yield* refusal({ flags: { profile: "x".repeat(10_000) } })
      assert.isBelow(line.length, 300)
    }))

  it.prop("no value makes a setting throw", [fc.anything({ withNullPrototype: true, withBigInt: true })], ([raw]) => {
    for (const setting of Object.values(GatewayConfig.settings)) assert.isTrue(Option.isOption(setting.decode(raw)))
  })

  const controls = ["\n", "\r", "\t", "\u001b", "\u007f", "\u0085", "\u009b", "\u2028", "\u2029"]

  it.effect.prop("a refusal is one line that commands no terminal, whatever was given", [
    fc.oneof(
      fc.string({ unit: arbitraries.character }),
      fc.array(fc.constantFrom(...controls, "a", "/", "/dir", " "), { minLength: 1 }).map((parts) => parts.join(""))
    ),
    fc.constantFrom(...cases)
  ], ([raw, { env, flag }]) =>
    Effect.gen(function*() {
      const givens: ReadonlyArray<Given> = [
        ...(env === undefined ? [] : [{ env: { [env.key]: raw } }]),
        ...(flag === undefined ? [] : [{ flags: { [flag.key]: raw } }])
      ]
      for (const given of givens) {
        const result = yield* Effect.either(resolve(given))
        if (Either.isLeft(result)) assert.notMatch(result.left.message, /[\p{Cc}\u2028\u2029]/u)
      }
    }))

  it.effect.each(controls)(
    "a config file named with a control character (%j) is refused in one line",
    (control) =>
      Effect.gen(function*() {
        assert.strictEqual(
          yield* refusal({ env: { GATEWAY_CONFIG: `/a${control}b` } }),
          `invalid config file /a\\u${
            control.charCodeAt(0).toString(16).padStart(4, "0")
          }b: GATEWAY_CONFIG names this file, but it does not exist`
        )
      })
  )
})

describe("the config file", () => {
  it.effect.each<readonly [reason: string, content: string]>([
    [
      "unknown key \"prot\"; known here: allowedHosts, allowedOrigins, drainTimeout, health, host, lease, limits, lock, port, tokenFile",
      "{\"prot\":1}"
    ],
    [
      "unknown key \"lock.timeOut\"; known here: pollInterval, recheckInterval, staleAfter, timeout",
      "{\"lock\":{\"timeOut\":1}}"
    ],
    ["unknown key \"port.x\"; known here: ", "{\"port\":1,\"port.x\":1}"],
    ["unknown key \"__proto__\"; known here: ", "{\"__proto__\":{\"port\":1}}"],
    ["unknown key \"profile\"; known here: ", "{\"profile\":\"x\"}"],
    ["\"lock\" must be an object", "{\"lock\":5}"],
    ["\"lock\" must be an object", "{\"lock\":null}"],
    ["\"health\" must be an object", "{\"health\":[\"1 second\"]}"],
    ["not a JSON object", "[]"],
    ["not a JSON object", "null"],
    ["not a JSON object", "18789"],
    ["not JSON: line 1, column 1: expected a value", ""],
    ["not JSON: line 1, column 1: expected a value", "port = 1"],
    ["not JSON: line 1, column 11: expected a name in double quotes", "{\"port\":1,}"],
    ["not JSON: line 1, column 1: expected a value", "// five\n{}"],
    ["\"$schema\" must be a string", "{\"$schema\":5}"],
    ["unknown key \"lock.$schema\"; known here: ", "{\"lock\":{\"$schema\":\"x\"}}"],
    ["not JSON: the file is UTF-16; save it as UTF-8", "{\0}\0"]
  ])("%s", ([reason, content]) =>
    Effect.gen(function*() {
      const line = yield* refusal({ files: { [defaultFile]: content } })
      assert.isTrue(line.startsWith(`invalid config file ${defaultFile}: ${reason}`), line)
      assert.notInclude(line, "\n")
    }))

  it.effect("may be absent, empty of settings, or begin with a byte order mark", () =>
    Effect.gen(function*() {
      const without = yield* resolve({})
      assert.deepStrictEqual(yield* resolve({ files: { [defaultFile]: "{}" } }), without)
      assert.deepStrictEqual(yield* resolve({ files: { [defaultFile]: "{\"lock\":{}}" } }), without)
      const marked = yield* resolve({ files: { [defaultFile]: "\uFEFF{\"port\":5}" } })
      assert.strictEqual(marked.port, 5)
    }))

  it.effect("is not read for what a flag says, but its mistakes are refused all the same", () =>
    Effect.gen(function*() {
      const line = yield* refusal({ flags: { port: "5" }, files: { [defaultFile]: "{\"prot\":1}" } })
      assert.include(line, "unknown key \"prot\"")
      const config = yield* resolve({ flags: { port: "5" }, files: file("port", "nonsense") })
      assert.strictEqual(config.port, 5)
    }))

  it.prop("no content makes it die", [fc.oneof(fc.string({ unit: arbitraries.character }), fc.json())], ([content]) => {
    const result = Effect.runSync(Effect.either(resolve({ files: { [defaultFile]: content } })))
    return result._tag === "Right" || /^invalid [^\n]+$/.test(result.left.message)
  })

  it.scopedLive("that cannot be read is refused with the system's words", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath)
      const error = yield* GatewayConfig.resolve(new Map([["config", folder], ["state-dir", folder]])).pipe(
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map())),
        Effect.provideService(PlatformFolders.PlatformFolders, folders),
        Effect.flip
      )
      assert.strictEqual(error._tag, "ConfigFileInvalid")
      assert.include(String(error), `invalid config file ${folder}: EISDIR`)
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})

describe("GatewayConfig.resolveLenient", () => {
  it.effect("passes over what a config file gets wrong, and tells of each; the rest of it counts", () =>
    Effect.gen(function*() {
      const content = JSON.stringify({ port: 5, host: 7, prot: 1, lock: { timeout: "soon" } })
      const { config, problems } = yield* resolveLenient({ files: { [defaultFile]: content } })
      assert.deepInclude(shown(config), { port: 5, host: "127.0.0.1", "lock.timeout": 5000 })
      assert.deepStrictEqual(problems.map(({ message }) => message.replace(/[:;] .*/, "")), [
        `invalid config file ${defaultFile}`,
        `invalid host 7 from "host" in ${defaultFile}`,
        `invalid lock timeout "soon" from "lock.timeout" in ${defaultFile}`
      ])
    }))

  it.prop("whatever the content: the settings are those of resolve, or there is a problem", [
    fc.oneof(fc.string({ unit: arbitraries.character }), fc.json(), fc.constant("{\"port\":5}"))
  ], ([content]) => {
    const files = { [defaultFile]: content }
    const strict = Effect.runSync(Effect.either(resolve({ files })))
    const { config, problems } = Effect.runSync(resolveLenient({ files }))
    if (strict._tag === "Left") return problems[0]?.message === strict.left.message
    assert.deepStrictEqual([shown(config), problems], [shown(strict.right), []])
    return true
  })

  it.effect("refuses a flag or a variable that is not allowed", () =>
    Effect.gen(function*() {
      for (const what of [{ flags: { port: "0" } }, { env: { GATEWAY_PORT: "0" } }]) {
        assert.match((yield* Effect.flip(resolveLenient(what))).message, /^invalid port "0" from (--port|GATEWAY_PORT)/)
      }
    }))
})

describe("GatewayConfig.canonicalPath", () => {
  const withFolder = <A, E>(use: (folder: string) => Effect.Effect<A, E, FileSystem.FileSystem>) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      return yield* use(yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath))
    }).pipe(Effect.provide(NodeFileSystem.layer))

  it.scopedLive("resolves links, also those above a tail that does not exist yet", () =>
    withFolder((folder) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fs.makeDirectory(`${folder}/real`)
        yield* fs.writeFileString(`${folder}/real/gateway.json`, "{}")
        yield* fs.symlink(`${folder}/real`, `${folder}/link`)
        yield* fs.symlink("real/gateway.json", `${folder}/file-link`)
        const canonical = (path: string) => GatewayConfig.canonicalPath(`${folder}/${path}`)
        assert.strictEqual(yield* canonical("link/gateway.json"), `${folder}/real/gateway.json`)
        assert.strictEqual(yield* canonical("file-link"), `${folder}/real/gateway.json`)
        assert.strictEqual(yield* canonical("link/a/b/../c.json"), `${folder}/real/a/c.json`)
        assert.strictEqual(yield* canonical("link/./gateway.json"), yield* canonical("real//gateway.json"))
      })
    ))

  it.scopedLive("is the same again on its own result, whether the path exists or not", () =>
    withFolder((folder) =>
      Effect.gen(function*() {
        for (const path of [folder, `${folder}/missing`, `${folder}/missing/deeper`, "/", "relative"]) {
          const once = yield* GatewayConfig.canonicalPath(path)
          assert.strictEqual(yield* GatewayConfig.canonicalPath(once), once)
          assert.isTrue(NodePath.isAbsolute(once))
        }
      })
    ))

  it.scopedLive("ends on a link to itself", () =>
    withFolder((folder) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fs.symlink(`${folder}/loop`, `${folder}/loop`)
        assert.strictEqual(yield* GatewayConfig.canonicalPath(`${folder}/loop/x`), `${folder}/loop/x`)
      })
    ))
})
