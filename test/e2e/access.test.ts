import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { WebSocket } from "ws"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const token = "e2e-token-of-thirty-two-characters+"
const carrier = Clients.tokenCarrier(token)
const everywhere = ["--host", "0.0.0.0"]

const tokenFile = (site: Gateways.Site, content = `${token}\n`, mode = 0o600) =>
  Effect.promise(async () => {
    const path = Path.join(site.root, "token")
    await Fs.writeFile(path, content)
    await Fs.chmod(path, mode)
    return path
  })

/** Opens a WebSocket. Returns its subprotocol, or the HTTP status with which the gateway refused the WebSocket. */
const open = (site: Gateways.Site, protocols: ReadonlyArray<string>, headers: Readonly<Record<string, string>> = {}) =>
  Effect.async<string | number>((resume) => {
    const ws = new WebSocket(`ws://127.0.0.1:${site.port}/`, [...protocols], { headers })
    ws.on("open", () => resume(Effect.succeed(ws.protocol)))
    ws.on("unexpected-response", (_, response) => resume(Effect.succeed(response.statusCode ?? 0)))
    ws.on("error", () => {})
    return Effect.sync(() => ws.terminate())
  }).pipe(Effect.timeout("10 seconds"), Effect.orDie)

const assertSecret = (text: string, what: string) => {
  assert.notInclude(text, token, what)
  assert.notInclude(text, Buffer.from(token).toString("base64url"), what)
}

interface Refusal {
  readonly what: string
  readonly env?: Readonly<Record<string, string>>
  readonly flags?: ReadonlyArray<string>
  /** The content of the token file, and the file's mode bits. */
  readonly file?: readonly [content: string, mode: number]
  readonly line: (site: Gateways.Site) => string
}

const ofFile = (reason: string) => (site: Gateways.Site) =>
  `gateway: invalid token file "${Path.join(site.root, "token")}": ${
    reason.replaceAll("FILE", Path.join(site.root, "token"))
  }`
const isNone = (why: string) => `expected 32 to 1024 printable ASCII characters without spaces; ${why}`
/** The position, counted from 1, of the first character after the token. The error message names this position. */
const next = token.length + 1
const exposed =
  "expected a loopback host (localhost, 127.0.0.0/8 or ::1), or another host with a token: --token-file, GATEWAY_TOKEN_FILE or GATEWAY_TOKEN"

const refusals: ReadonlyArray<Refusal> = [
  {
    what: "a host that others can reach, without a token",
    flags: everywhere,
    line: () => `gateway: invalid host "0.0.0.0" from --host: ${exposed}`
  },
  {
    what: "the same from the environment",
    env: { GATEWAY_HOST: "gateway.example" },
    line: () => `gateway: invalid host "gateway.example" from GATEWAY_HOST: ${exposed}`
  },
  {
    what: "a token that is too short",
    flags: everywhere,
    env: { GATEWAY_TOKEN: token.slice(0, 31) },
    line: () => `gateway: invalid token (not shown) from GATEWAY_TOKEN: ${isNone("it has 31")}`
  },
  {
    what: "a token with a space",
    env: { GATEWAY_TOKEN: `${token} ` },
    line: () => `gateway: invalid token (not shown) from GATEWAY_TOKEN: ${isNone(`character ${next} is a space`)}`
  },
  { what: "a token file that is too short", file: [token.slice(0, 31), 0o600], line: ofFile(isNone("it has 31")) },
  {
    what: "a token file with two lines",
    file: [`${token}\n${token}\n`, 0o600],
    line: ofFile(isNone(`character ${next} is a line end (LF)`))
  },
  { what: "an empty token file", file: ["", 0o600], line: ofFile(isNone("it is empty")) },
  {
    what: "a token file that is too large",
    file: ["x".repeat(100_000), 0o600],
    line: ofFile(isNone("it has 100000 bytes"))
  },
  {
    what: "a token file that its group may read",
    file: [token, 0o640],
    line: ofFile("other users may read or change it (mode 0640); run: chmod 600 FILE")
  },
  {
    what: "a token file that everybody may read",
    file: [token, 0o604],
    line: ofFile("other users may read or change it (mode 0604); run: chmod 600 FILE")
  }
]

describe("a start is refused with status 64 and one line, and without the token, for", () => {
  for (const { env = {}, file, flags = [], line, what } of refusals) {
    it.scopedLive(what, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const named = file === undefined ? [] : ["--token-file", yield* tokenFile(site, ...file)]
        const { code, stderr, stdout } = yield* Gateways.run(site, { flags: [...flags, ...named], env })
        assert.strictEqual(stderr, `${line(site)}\n`)
        assert.deepStrictEqual({ code, stdout }, { code: 64, stdout: "" })
        assert.notInclude(stderr, token.slice(0, 31))
        assert.deepStrictEqual(yield* Gateways.namesIn(site.stateDir), [])
      }))
  }

  it.scopedLive("a token file that is missing, a folder or a FIFO, without waiting for its other end", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const fifo = Path.join(site.root, "fifo")
      yield* Effect.flatMap(
        Processes.start(["mkfifo", "-m", "600", fifo], { cwd: site.root, env: { PATH: Program.searchPath } }),
        ({ ended }) => ended
      )
      const reasons = [["missing", "ENOENT"], [".", "not a regular file but a directory"], [
        "fifo",
        "but a fifo"
      ]] as const
      for (const [name, reason] of reasons) {
        const { code, stderr } = yield* Gateways.run(site, { env: { GATEWAY_TOKEN_FILE: Path.join(site.root, name) } })
        assert.strictEqual(code, 64)
        assert.match(stderr, /^gateway: invalid token file [^\n]+\n$/)
        assert.include(stderr, reason)
      }
    }))

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a token file of another user; root's own may be its group's to read", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const path = yield* tokenFile(site)
        yield* Gateways.giveTo(Program.nobody - 1, path)
        const asRoot = yield* Gateways.run(site, { flags: ["--token-file", path] })
        assert.strictEqual(
          asRoot.stderr,
          `gateway: invalid token file "${path}": it belongs to uid ${
            Program.nobody - 1
          }, but this process runs as uid 0; run: `
            + `chown 0 ${path}\n`
        )
        yield* Gateways.giveTo(Program.nobody, site.root)
        yield* Effect.promise(async () => {
          await Fs.chown(path, 0, Program.nobody)
          await Fs.chmod(path, 0o440)
        })
        // Kubernetes and systemd pass a secret to a service as a symbolic link to a file that root owns and the service's
        // group may read.
        const link = Path.join(site.root, "link")
        yield* Gateways.symlink(path, link)
        const under = Program.asNobody
        yield* Gateways.startListening(site, { under, flags: ["--token-file", link] })
        assert.strictEqual(yield* open(site, []), 401)
        assert.strictEqual(yield* open(site, ["gateway", carrier]), "gateway")
      })
  )
})

describe("a gateway with a token", () => {
  it.scopedLive("that others can reach answers health to all, and sockets to those who show it", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const flags = [...everywhere, "--token-file", yield* tokenFile(site, `${token}\r\n`)]
      const gateway = yield* Gateways.startListening(site, { flags })
      assert.include(yield* gateway.stderr, Gateways.url(site, "0.0.0.0"))
      assert.strictEqual((yield* Clients.request(site, "/healthz")).status, 200)
      assert.strictEqual(yield* open(site, []), 401)
      assert.strictEqual(yield* open(site, ["gateway"]), 401)
      assert.strictEqual(yield* open(site, [], { authorization: `Bearer ${token.slice(1)}x` }), 401)
      assert.strictEqual(yield* open(site, [], { authorization: `Bearer ${token}` }), "")
      assert.strictEqual(yield* open(site, ["gateway", carrier]), "gateway")
      assert.strictEqual(yield* open(site, ["gateway", carrier], { origin: "https://evil.example" }), 403)
      assert.strictEqual(yield* open(site, ["gateway", carrier], { host: "evil.example" }), 421)
      yield* Gateways.assertGone(site, yield* Gateways.stop(gateway))
    }))

  for (const format of ["json", "logfmt", "pretty"]) {
    it.scopedLive(`never shows it: not in its ${format} log at any level, its errors, its lock file or its arguments`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const env = { GATEWAY_TOKEN: token }
        const flags = ["--log-level", "all", "--log-format", format]
        const gateway = yield* Gateways.startListening(site, { flags, env })
        assert.strictEqual(yield* open(site, ["gateway", carrier]), "gateway")
        assert.strictEqual(yield* open(site, ["gateway", `${carrier}x`]), 401)
        yield* Clients.request(site, `/missing?token=${token}`)
        const second = yield* Gateways.run(site, { flags, env })
        assert.strictEqual(second.code, 1)
        assertSecret(second.stderr + second.stdout, "a second start")
        for (const path of [Gateways.configLock(site), Gateways.stateLock(site)]) {
          assertSecret((yield* Gateways.identityOf(path)).content, path)
        }
        if (Program.isLinux) {
          assertSecret(yield* Effect.promise(() => Fs.readFile(`/proc/${gateway.pid}/cmdline`, "utf8")), "ps")
        }
        const { stderr, stdout } = yield* Gateways.stop(gateway)
        assertSecret(stderr + stdout, "the log")
        const help = yield* Gateways.run(site, { env, args: ["--help"] })
        assertSecret(help.stdout, "--help")
      }))
  }

  it.scopedLive("is watched by a standby without it, and succeeded at once", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway({ env: { GATEWAY_TOKEN: token } })
      // This standby has no token. It needs none, because a standby never sends a token to the process that it watches.
      const standby = yield* Gateways.start(site, { flags: ["--standby"] })
      yield* standby.line(/standing by/)
      yield* Gateways.stop(owner, "SIGKILL")
      yield* Gateways.within("10 seconds", standby.listening)
      assert.strictEqual(yield* open(site, []), "")
    }))

  it.scopedLive("is content with itself: --ensure", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const env = { GATEWAY_TOKEN: token }
      yield* Gateways.startListening(site, { env })
      assert.strictEqual((yield* Gateways.run(site, { env, flags: ["--ensure"] })).code, 0)
    }))

  it.scopedLive("is no service's that has it in its environment: a definition names the file, and no secret", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const path = yield* tokenFile(site)
      const print = (manager: string, flags: ReadonlyArray<string>) =>
        Gateways.run(site, {
          args: ["service", "print", "--manager", manager, "--state-dir", site.stateDir, ...flags],
          env: { GATEWAY_TOKEN: token }
        })
      for (const manager of ["systemd", "launchd", "schtasks"]) {
        const warned = yield* print(manager, [])
        assert.strictEqual(warned.code, 0, warned.stderr)
        assert.include(
          warned.stderr,
          "GATEWAY_TOKEN is set in this environment, but not for the service; put the token into a file and use --token-file"
        )
        assertSecret(warned.stdout + warned.stderr, manager)
        const named = yield* print(manager, [...everywhere, "--token-file", path])
        assert.include(named.stdout, path)
        assertSecret(named.stdout + named.stderr, manager)
      }
      const exposedService = yield* Gateways.run(site, { args: ["service", "print", ...everywhere] })
      assert.strictEqual(exposedService.code, 64)
      assert.strictEqual(exposedService.stderr, `gateway: invalid host "0.0.0.0" from --host: ${exposed}\n`)
    }))
})
