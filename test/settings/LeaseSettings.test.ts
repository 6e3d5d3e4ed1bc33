import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, FastCheck as fc, Layer, Option, Redacted } from "effect"
import * as PlatformFolders from "../../src/host/PlatformFolders.ts"
import * as LeaseUrl from "../../src/leader/LeaseUrl.ts"
import * as GatewayConfig from "../../src/settings/GatewayConfig.ts"
import "../arbitraries.ts"

const configFile = "/etc/gateways/default/gateway.json"
const absent = (path: string) =>
  new PlatformError.SystemError({ reason: "NotFound", module: "FileSystem", method: "access", pathOrDescriptor: path })

const platform = (lease: unknown) =>
  Layer.merge(
    FileSystem.layerNoop({
      realPath: (path) => path === "/" ? Effect.succeed(path) : Effect.fail(absent(path)),
      readFileString: (path) =>
        path === configFile && lease !== undefined
          ? Effect.succeed(JSON.stringify({ lease }))
          : Effect.fail(absent(path))
    }),
    Layer.succeed(
      PlatformFolders.PlatformFolders,
      PlatformFolders.make({ config: "/etc/gateways", state: "/var/gateways" })
    )
  )

const given = (env: Readonly<Record<string, string>>, lease?: unknown) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  self.pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))),
    Effect.provide(platform(lease))
  )

const resolve = (
  env: Readonly<Record<string, string>>,
  lease?: unknown,
  flags: Readonly<Record<string, string>> = {}
) => given(env, lease)(GatewayConfig.resolve(new Map(Object.entries(flags))))

const refusal = (env: Readonly<Record<string, string>>, lease?: unknown) =>
  Effect.map(Effect.flip(resolve(env, lease)), ({ message }) => message)

const expected = `expected ${LeaseUrl.allowed}`

describe("the settings of the lease", () => {
  it.effect("times that do not fit together are refused with the relation and the numbers", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refusal({ GATEWAY_LEASE_STOP_TIMEOUT: "5s" }),
        "invalid lease times: lease.renewDeadline + lease.stopTimeout + 300ms is 10s + 5s + 300ms = 15s300ms: "
          + "expected at most 99 % of lease.duration (15s), which is 14s850ms"
      )
      assert.strictEqual(
        yield* refusal({}, { renewInterval: "6s", attemptTimeout: "2001ms" }),
        "invalid lease times: lease.renewInterval + 2 * lease.attemptTimeout is 6s + 2 * 2s1ms = 10s2ms: "
          + "expected at most lease.renewDeadline (10s)"
      )
      const { lease } = yield* resolve({ GATEWAY_LEASE_DURATION: "20s" }, { stopTimeout: "9s" })
      assert.strictEqual(Duration.toMillis(lease.stopTimeout), 9000)
    }))

  it.effect("a command that does not start a gateway goes on with the default times", () =>
    Effect.gen(function*() {
      const { config, problems } = yield* given({}, { duration: "1s" })(GatewayConfig.resolveLenient(new Map()))
      assert.deepStrictEqual(problems.map(({ _tag }) => _tag), ["LeaseTimesInvalid"])
      assert.strictEqual(Duration.toMillis(config.lease.duration), 15_000)
    }))

  it.effect("the name of the lease is the profile, unless another is given", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* resolve({ GATEWAY_PROFILE: "blue" })).lease.name, "blue")
      assert.strictEqual((yield* resolve({ GATEWAY_PROFILE: "blue", GATEWAY_LEASE_NAME: "red" })).lease.name, "red")
      assert.include(
        yield* refusal({ GATEWAY_LEASE_NAME: "a b" }),
        "invalid lease name \"a b\" from GATEWAY_LEASE_NAME"
      )
    }))

  it.effect("the URL is taken from one place: the flag's file, else the environment, which must not name both", () =>
    Effect.gen(function*() {
      const both = { GATEWAY_LEASE_URL: "etcd+http://a:2379", GATEWAY_LEASE_URL_FILE: "/file" }
      assert.strictEqual(
        yield* refusal(both),
        "invalid lease URL (not shown) from GATEWAY_LEASE_URL: expected only one of GATEWAY_LEASE_URL and "
          + "GATEWAY_LEASE_URL_FILE"
      )
      const flagged = yield* resolve(both, undefined, { "lease-url-file": "/flag" })
      assert.deepStrictEqual([flagged.lease.url, flagged.lease.urlFile], [Option.none(), Option.some("/flag")])
      const env = yield* resolve({ GATEWAY_LEASE_URL: "etcd+http://a:2379" }, { urlFile: "/in-the-file" })
      assert.deepStrictEqual(env.lease.urlFile, Option.none())
      assert.isTrue(GatewayConfig.isLeased(env.lease))
      assert.isFalse(GatewayConfig.isLeased((yield* resolve({}, { name: "a" })).lease))
      assert.include(yield* refusal({}, { url: "etcd+http://a:2379" }), "unknown key \"lease.url\"")
    }))

  it.effect.each(
    [
      ["mysql://u:secret@h/d", "it begins with another scheme"],
      ["postgresql://u:sec ret@h/d", "it has a space, a line end or a character that is not ASCII"],
      ["postgresql://u:secret@h1,h2/d", "it has several hosts; name one: a virtual address, a name or a pooler"],
      [
        "postgresql://u:secret@h1:5432,h2:5432/d",
        "it has several hosts; name one: a virtual address, a name or a pooler"
      ],
      ["postgresql:///d", "it has no host"],
      ["postgresql://u:secret/12@h/d", "it is not a URL; percent-encode @, /, ?, # and % in the user and the password"],
      [
        "postgresql://u:12/secret@h/d",
        "a character is not encoded; percent-encode @, /, ?, # and % in the user and the password"
      ],
      [
        "postgresql://u:12?secret@h/d",
        "a character is not encoded; percent-encode @, /, ?, # and % in the user and the password"
      ],
      [
        "postgresql://u:12#secret@h/d",
        "a character is not encoded; percent-encode @, /, ?, # and % in the user and the password"
      ],
      [
        "postgresql://u:12@secret@h/d",
        "a character is not encoded; percent-encode @, /, ?, # and % in the user and the password"
      ],
      ["etcd+http://", "it is not a list of hosts; percent-encode @, /, ?, # and % in the user and the password"],
      [
        "etcd+http://secret/1@h:2379",
        "it is not a list of hosts; percent-encode @, /, ?, # and % in the user and the password"
      ],
      [
        "etcd+https://h:2379,,secret:1",
        "it has the host \"\": expected etcd+http://[name:password@]host:port[,host:port] or etcd+https://…"
      ],
      ["postgresql://u:secret@h:0/d", "its port is 0: expected 1 to 65535"],
      [`postgresql://u:secret@h/${"d".repeat(4096)}`, "it has 4120 characters; at most 4096 are allowed"]
    ] as const
  )("a URL that is not allowed is refused and not shown: %s", ([url, reason]) =>
    Effect.gen(function*() {
      const message = yield* refusal({ GATEWAY_LEASE_URL: url })
      assert.strictEqual(message, `invalid lease URL (not shown) from GATEWAY_LEASE_URL: ${expected}; ${reason}`)
      assert.notInclude(message, "secret")
    }))

  it.each(
    [
      ["postgresql://u:secret@db.example:5432/app?sslmode=verify-full", "postgresql://db.example:5432/app"],
      ["postgres://db.example/app", "postgresql://db.example:5432/app"],
      ["postgresql://u@/app?host=/run/postgresql", "postgresql:///run/postgresql:5432/app"],
      ["postgresql://u:se%40cret%2F@[::1]:5432/app", "postgresql://[::1]:5432/app"],
      ["etcd+https://u:secret@a:2379,[::1]:2379/", "etcd+https://a:2379,[::1]:2379"],
      ["etcd+http://a:2379", "etcd+http://a:2379"]
    ] as const
  )("messages show a URL without its credentials: %s", (url, location) => {
    assert.strictEqual(Option.getOrThrow(LeaseUrl.parse(url)).location, location)
  })

  it.prop("no password appears in a location or in a fault", [
    fc.constantFrom("postgresql://", "etcd+http://", "etcd+https://"),
    fc.stringOf(fc.constantFrom("#", "@", "/", ":", "?", "%", ",", "1", " ", "\\", "[", "]")),
    fc.stringOf(fc.constantFrom("#", "@", "/", ":", "?", "%", ",", "1", "\\", "&", "="))
  ], ([scheme, before, after]) => {
    const url = `${scheme}user:${before}HIDDEN${after}@host:1/db`
    const told = Option.match(LeaseUrl.parse(url), { onNone: () => "", onSome: ({ location }) => location })
    assert.notInclude(`${told} ${Option.getOrElse(LeaseUrl.fault(url), () => "")}`, "HIDDEN")
  })

  it.effect("a start reads the URL from its file, without a line end, and only if no other user may read the file", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const path = `${folder}/url`
      const read = GatewayConfig.leaseUrl({ url: Option.none(), urlFile: Option.some(path) })
      const fault = Effect.map(Effect.flip(read), ({ message }) => message.replace(JSON.stringify(path), "it"))
      assert.match(yield* fault, /^invalid lease URL file it: .*no such file/i)
      yield* fs.writeFileString(path, "postgresql://u:secret@h/d\r\n", { mode: 0o600 })
      assert.strictEqual(Redacted.value(Option.getOrThrow(yield* read)), "postgresql://u:secret@h/d")
      yield* fs.chmod(path, 0o644)
      assert.strictEqual(
        yield* fault,
        `invalid lease URL file it: other users may read or change it (mode 0644); run: chmod 600 ${path}`
      )
      yield* fs.chmod(path, 0o600)
      yield* fs.writeFileString(path, "secret")
      assert.strictEqual(yield* fault, `invalid lease URL file it: ${expected}; it begins with another scheme`)
      yield* fs.writeFileString(path, `postgresql://h/${"d".repeat(5000)}`)
      assert.strictEqual(yield* fault, `invalid lease URL file it: ${expected}; it has 5015 bytes`)
      assert.deepStrictEqual(
        yield* GatewayConfig.leaseUrl({ url: Option.none(), urlFile: Option.none() }),
        Option.none()
      )
    }).pipe(Effect.scoped, Effect.provide(NodeContext.layer)))
})
