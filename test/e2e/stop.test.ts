import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Ports from "./support/ports.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

/** Runs `gateway stop` until it ends. */
const stop = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Gateways.run(site, { ...options, flags: ["stop", ...(options.flags ?? [])] })

const hasEnded = (pid: number): Effect.Effect<boolean> =>
  Effect.tryPromise(() => Fs.stat(`/proc/${pid}`)).pipe(Effect.isFailure)

const assertStopped = (ended: Processes.Ended, site: Gateways.Site, pid: number, how = "stopped"): void => {
  assert.deepStrictEqual(
    { code: ended.code, stdout: ended.stdout, lines: Gateways.linesOf(ended) },
    { code: 0, stdout: `${how} gateway on ${Gateways.url(site)} (pid ${pid})\n`, lines: [] }
  )
}

const assertNotStopped = (ended: Processes.Ended, line: RegExp): void => {
  assert.strictEqual(ended.code, 1, `${ended.stdout}${ended.stderr}`)
  assert.strictEqual(ended.stdout, "")
  assert.strictEqual(Gateways.linesOf(ended).length, 1, ended.stderr)
  assert.match(ended.stderr, line)
}

/** Options with which each step of a test may take up to 60 seconds, because the machine may be busy. */
const slow = { main: Program.main, patience: "60 seconds" } as const

describe("gateway stop", () => {
  Variants.each(
    "ends one that listens, and returns when lock and port are free",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        assertStopped(yield* stop(site, { main }), site, owner.pid)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
        assert.isTrue(yield* Ports.isFree(site.port))
        yield* Gateways.assertGone(site, yield* owner.ended)
        assert.isTrue(yield* hasEnded(owner.pid))
      })
  )

  it.scopedLive("finds the owner on another port than the one that is configured", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      const other = yield* Gateways.onAnotherPort(site)
      assertStopped(yield* stop(other), site, owner.pid)
    }))

  it.scopedLive("ends one that still starts, once its bind comes to an end", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      // The preloaded library delays the gateway after the gateway has acquired the lock and before it binds the port.
      const gateway = yield* Gateways.start(site, { env: { NODE_OPTIONS: `--require=${yield* holdUp}` } })
      yield* gateway.line(/^held up$/)
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).phase, "starting")
      assertStopped(yield* stop(site), site, gateway.pid)
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))

  it.scopedLive("does not cut the drain of one that drains already, and waits for it", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway({ ...slow, flags: ["--drain-timeout", "30 seconds"] })
      const client = yield* Clients.connect(site)
      // The body lacks its last byte. So the request stays in flight until the test sends that byte.
      yield* client.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\na")
      yield* Clients.request(site, "/healthz")
      yield* owner.signal("SIGTERM")
      yield* untilPhase(site, "draining")
      const second = yield* stop(site, { flags: ["--timeout", "1 seconds"] })
      assertNotStopped(
        second,
        /did not end within 1000ms: it is draining; to end it at once: gateway stop .* --force$/m
      )
      const third = yield* Effect.fork(stop(site))
      assert.isTrue(yield* client.isOpen)
      yield* client.send("b")
      yield* client.closed
      assertStopped(yield* third, site, owner.pid)
      yield* Gateways.assertGone(site, yield* owner.ended)
    }))

  Variants.each(
    "leaves one that is suspended, says why, and ends it by force",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        yield* owner.signal("SIGSTOP")
        const flags = ["--timeout", "500 millis"]
        assertNotStopped(
          yield* stop(site, { main, flags }),
          new RegExp(
            `^gateway: the gateway \\(pid ${owner.pid}\\) did not end within 500ms: it is suspended \\(SIGSTOP\\)`,
            "m"
          )
        )
        assert.isFalse(yield* hasEnded(owner.pid))
        assertStopped(yield* stop(site, { main, flags: [...flags, "--force"] }), site, owner.pid, "killed")
        assert.strictEqual((yield* owner.ended).signal, "SIGKILL")
        assert.isTrue(yield* Ports.isFree(site.port))
        yield* Gateways.startListening(site, { main })
      })
  )

  it.scopedLive("where nothing runs, says so and makes nothing", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr, stdout } = yield* stop(site)
      assert.deepStrictEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: "gateway is not running\n" })
      assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
    }))

  Variants.each(
    "where the owner is dead, says so and leaves its file, byte for byte",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        yield* Gateways.stop(owner, "SIGKILL")
        const before = yield* Gateways.lockIdentities(site)
        const { code, stdout } = yield* stop(site, { main })
        assert.strictEqual(code, 0)
        assert.strictEqual(
          stdout,
          `gateway is not running; ${
            Gateways.configLock(site)
          } was left by pid ${owner.pid}, and the next start reclaims it\n`
        )
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
      })
  )

  it.scopedLive("names a stranger on the port, and lets it be", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Strangers.web(site, 200, "{}")
      const { code, stderr, stdout } = yield* stop(site)
      assert.deepStrictEqual({ code, stdout }, { code: 0, stdout: "gateway is not running\n" })
      assert.include(
        stderr,
        `gateway: ${Gateways.url(site)} is in use by another program, pid ${process.pid} (node): answered HTTP 200`
      )
      assert.include(stderr, `ss -ltnp 'sport = :${site.port}'`)
      assert.isFalse(yield* Ports.isFree(site.port))
    }))

  it.scopedLive("never says success while it serves: its lock files were removed", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      yield* Effect.promise(() => Fs.rm(Gateways.locksFolder(site), { recursive: true }))
      assertNotStopped(
        yield* stop(site, { flags: ["--force"] }),
        /no process holds its lock .* is in use by pid \d+ \(node\) \(a healthy gateway\)/
      )
      assert.isFalse(yield* hasEnded(owner.pid))
    }))

  it.scopedLive("ends one of another config on the port never", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const other = { ...(yield* Gateways.newSite), port: site.port }
      const owner = yield* Gateways.startListening(other)
      assertNotStopped(yield* stop(site, { flags: ["--force"] }), /no process holds its lock/)
      assert.isFalse(yield* hasEnded(owner.pid))
      assert.strictEqual((yield* Clients.request(other, "/readyz")).status, 200)
    }))

  Variants.each(
    "says who has the lock afterwards: a standby",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        const standby = yield* Gateways.start(site, { main, flags: ["run", "--standby"] })
        yield* standby.line(/standing by: /)
        const ended = yield* stop(site, { main })
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.strictEqual(ended.stdout, `stopped gateway on ${Gateways.url(site)} (pid ${owner.pid})\n`)
        yield* standby.listening
        if (ended.stderr.includes("its lock is")) assert.include(ended.stderr, `its lock is pid ${standby.pid}'s now`)
        assertStopped(yield* stop(site, { main }), site, standby.pid)
      })
  )

  it.scopedLive("two at once end it once, and both succeed", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      const all = yield* Effect.all([stop(site), stop(site)], { concurrency: "unbounded" })
      for (const { code, stderr } of all) assert.strictEqual(code, 0, stderr)
      yield* Gateways.assertGone(site, yield* owner.ended)
    }))

  it.scopedLive.each([["--timeout", "soon"], ["--timeout", "2 days"], ["--timeout", "-1 seconds"]])(
    "refuses %s %s in one line",
    (flags) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { code, stderr } = yield* stop(site, { flags: [`${flags[0]}=${flags[1]}`] })
        assert.strictEqual(code, 64)
        assert.match(
          stderr,
          /^gateway: invalid stop timeout ".*" from --timeout: expected a duration from "0 millis" to "1 day", such as "15 seconds", "15s" or "1m30s" \(units: ms, s, m, h, d, or their words\)\n$/
        )
      })
  )
})

/** Writes a module for Node to preload, and returns its path. The module delays a gateway between acquiring the lock and listening. */
const holdUp = Effect.flatMap(Gateways.temporaryFolder, (folder) =>
  Effect.promise(async () => {
    const path = Path.join(folder, "hold.cjs")
    await Fs.writeFile(
      path,
      `const server = require("node:net").Server.prototype
const { listen } = server
server.listen = function(...words) {
  process.stderr.write("held up\\n")
  setTimeout(() => listen.apply(this, words), 2000)
  return this
}\n`
    )
    return path
  }))

const untilPhase = (site: Gateways.Site, phase: string): Effect.Effect<void> =>
  Gateways.readRecord(Gateways.configLock(site)).pipe(
    Effect.delay("20 millis"),
    Effect.repeat({ until: (record) => record.phase === phase, times: 500 }),
    Effect.map((record) => assert.strictEqual(record.phase, phase))
  )

// ---------------------------------------------------------------------------
// processes that `gateway stop` must not signal
// ---------------------------------------------------------------------------

/**
 * Makes a lock file whose record (its JSON text) names `stranger` as the owner. `stranger` is a living process that is not a
 * gateway.
 */
const forged = (site: Gateways.Site, stranger: Processes.Running, change: Record<string, unknown> = {}) =>
  Effect.gen(function*() {
    const owner = yield* Gateways.startListening(site)
    const record = yield* Gateways.readRecord(Gateways.configLock(site))
    yield* Gateways.stop(owner, "SIGKILL")
    const startTime = yield* Processes.startTimeOf(stranger.pid)
    const content = `${JSON.stringify({ ...record, pid: stranger.pid, startTime, ...change })}\n`
    yield* Effect.promise(() => Fs.writeFile(Gateways.configLock(site), content))
  })

const sleeper = Processes.start(["sleep", "120"], { cwd: "/", env: { PATH: Program.searchPath } })

const onlyLinux = Program.isLinux ? undefined : "needs /proc"

describe("gateway stop signals nobody", () => {
  for (
    const [what, change] of [
      ["a record that names a stranger to the tick, under a free lock", { lock: "kernel" }],
      ["a record that names a stranger to the tick, and says that it is the lock", { lock: "record" }],
      ["a record whose pid was given to a stranger", { lock: "record", startTime: 1 }]
    ] as const
  ) {
    it.scopedLive.skipIf(onlyLinux !== undefined)(Program.named(what, onlyLinux), () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const stranger = yield* sleeper
        yield* forged(site, stranger, change)
        const { code, stderr, stdout } = yield* stop(site, { flags: ["--force", "--timeout", "100 millis"] })
        if (change.lock === "record" && !("startTime" in change)) {
          assert.strictEqual(code, 1, stdout)
          assert.match(
            stderr,
            /does not have .* open, so the record belongs to another process; to see which process has it: lsof /
          )
        } else {
          assert.strictEqual(code, 0, stderr)
          assert.match(stdout, /^gateway is not running; .* was left by pid/)
        }
        assert.isFalse(yield* hasEnded(stranger.pid))
      }))
  }

  it.scopedLive.skipIf(onlyLinux !== undefined)(
    Program.named("a record under a held lock that names a stranger to the tick", onlyLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const stranger = yield* sleeper
        const owner = yield* Gateways.startListening(site)
        const record = yield* Gateways.readRecord(Gateways.configLock(site))
        const startTime = yield* Processes.startTimeOf(stranger.pid)
        yield* Effect.promise(() =>
          Fs.writeFile(Gateways.configLock(site), JSON.stringify({ ...record, pid: stranger.pid, startTime }))
        )
        assertNotStopped(yield* stop(site, { flags: ["--force"] }), new RegExp(`pid ${stranger.pid}.*does not have`))
        assert.isFalse(yield* hasEnded(stranger.pid))
        assert.isFalse(yield* hasEnded(owner.pid))
      })
  )

  it.scopedLive("a held lock whose record is gone: the owner is not known", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      yield* Effect.promise(() => Fs.writeFile(Gateways.configLock(site), "nothing to read\n"))
      const ended = yield* stop(site, { flags: ["--force"] })
      assertNotStopped(
        ended,
        Program.kernelLocks
          ? /is held, but its record names no owner; to see which process has it: lsof /
          : /cannot be inspected/
      )
      assert.isFalse(yield* hasEnded(owner.pid))
    }))

  it.scopedLive("an ancestor: a gateway below which the command runs", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const library = Path.join(yield* Gateways.temporaryFolder, "child.cjs")
      const output = `${library}.out`
      const words = Gateways.command(site, { flags: ["stop", "--force"] })
      // On SIGUSR2 the gateway runs a shell, and the shell runs `gateway stop`. The gateway keeps serving.
      yield* Effect.promise(() =>
        Fs.writeFile(
          library,
          `if (!process.argv.includes("stop")) process.once("SIGUSR2", () => {
  const { spawn } = require("node:child_process")
  const { NODE_OPTIONS, ...env } = process.env
  const child = spawn("sh", ["-c", '"$@"; echo "status $?"', "sh", ...${JSON.stringify(words)}], { env })
  let text = ""
  child.stdout.on("data", (chunk) => text += chunk)
  child.stderr.on("data", (chunk) => text += chunk)
  child.on("close", () => { require("node:fs").writeFileSync(${
            JSON.stringify(output)
          }, text); console.error("child ended") })
})\n`
        )
      )
      const owner = yield* Gateways.startListening(site, { env: { NODE_OPTIONS: `--require=${library}` } })
      yield* owner.signal("SIGUSR2")
      yield* owner.line(/^child ended$/)
      const text = yield* Effect.promise(() => Fs.readFile(output, "utf8"))
      assert.match(
        text,
        /cannot stop the gateway \(pid \d+\): this command runs under it and would end with it; run this command from a/
      )
      assert.match(text, /^status 1$/m)
      assert.strictEqual((yield* Clients.request(site, "/readyz")).status, 200)
      assertStopped(yield* stop(site), site, owner.pid)
    }))

  it.scopedLive.skipIf(Program.noNamespaces !== undefined)(
    Program.named("an owner in another PID namespace", Program.noNamespaces),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ under: Namespaces.pid })
        const ended = yield* stop(site, { flags: ["--force"] })
        assertNotStopped(ended, /it runs in another PID namespace, .*; stop it there \(docker stop, .*lsns \d+$/m)
        assert.strictEqual((yield* Clients.request(site, "/readyz")).status, 200)
        yield* Namespaces.stopChild(owner)
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("an owner of another user, and tells how", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Effect.promise(() => Fs.chmod(site.root, 0o755))
        const owner = yield* Gateways.startListening(site)
        const main = yield* Variants.bareProgram
        const unreadable = yield* stop(site, { main, under: Program.asNobody })
        assertNotStopped(unreadable, /cannot be inspected \(EACCES: .*sudo gateway stop --profile default --config /)
        for (const path of [site.stateDir, Gateways.locksFolder(site)]) {
          yield* Effect.promise(() => Fs.chmod(path, 0o755))
        }
        yield* Effect.promise(() => Fs.chmod(Gateways.configLock(site), 0o644))
        assertNotStopped(
          yield* stop(site, { under: Program.asNobody }),
          /it belongs to another user; .*sudo gateway stop/
        )
        assert.isFalse(yield* hasEnded(owner.pid))
      })
  )

  it.scopedLive.each(["systemd", "launchd", "schtasks"])(
    "an owner under %s, and tells its command",
    (supervisor) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ flags: ["--supervisor", supervisor] })
        const commands: Record<string, RegExp> = {
          systemd: /to stop it: systemctl (--user )?stop [\w@:.-]+\.service$/m,
          launchd:
            /to stop it: launchctl bootout gui\/\$\(id -u\)\/dev\.gateway-lock\.default \|\| sudo launchctl bootout system\/dev\.gateway-lock\.default$/m,
          schtasks: /to stop it: schtasks \/End \/TN \\gateway-lock\\default$/m
        }
        assertNotStopped(yield* stop(site), commands[supervisor] ?? /never/)
        assert.isFalse(yield* hasEnded(owner.pid))
        const { code, stderr, stdout } = yield* stop(site, { flags: ["--force"] })
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual(stdout, `stopped gateway on ${Gateways.url(site)} (pid ${owner.pid})\n`)
        assert.include(stderr, `the gateway ran under ${supervisor}, which may start it again`)
      })
  )
})

// ---------------------------------------------------------------------------
// run --force
// ---------------------------------------------------------------------------

const force = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Gateways.start(site, { ...options, flags: ["run", "--force", ...(options.flags ?? [])] })

describe("gateway run --force", () => {
  Variants.each(
    "ends a verified owner, which ends in order, and starts",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Gateways.newGateway({ main })
        const next = yield* force(site, { main })
        yield* next.listening
        yield* Gateways.assertClean(yield* owner.ended)
        assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, next.pid)
        assert.match(yield* next.stderr, new RegExp(`stopped pid ${owner.pid}`))
      })
  )

  it.scopedLive("kills one that is suspended once its time is up", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      yield* owner.signal("SIGSTOP")
      const next = yield* force(site, { flags: ["--drain-timeout", "0 seconds"] })
      yield* next.listening
      assert.strictEqual((yield* owner.ended).signal, "SIGKILL")
      assert.match(yield* next.stderr, new RegExp(`killed pid ${owner.pid}, which did not end within 5000ms`))
    }))

  it.scopedLive("starts where nothing runs, and after a dead owner", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const first = yield* force(site)
      yield* first.listening
      yield* Gateways.stop(first, "SIGKILL")
      const second = yield* force(site)
      yield* second.listening
      assert.match(yield* second.stderr, /reclaimed gateway lock/)
    }))

  it.scopedLive("refuses with the normal error, naming why: a stranger, another config's, one under a supervisor", () =>
    Effect.gen(function*() {
      const inUse = (site: Gateways.Site) =>
        `GatewayLockError: another gateway instance is already listening on ${Gateways.url(site)}`
      const refusal = (site: Gateways.Site) => Effect.scoped(Effect.flatMap(force(site), ({ ended }) => ended))

      const site = yield* Gateways.newSite
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Strangers.web(site, 200, "{}")
        const ended = yield* refusal(site)
        assert.strictEqual(ended.code, 1)
        assert.include(ended.stderr, inUse(site))
      }))

      const owner = yield* Gateways.startListening(site, { flags: ["--supervisor", "launchd"] })
      const other = { ...(yield* Gateways.newSite), port: site.port }
      for (
        const [at, why] of [[other, /no process holds its lock/], [
          site,
          /managed by launchd; to stop it: launchctl/
        ]] as const
      ) {
        const ended = yield* refusal(at)
        assert.strictEqual(ended.code, 1)
        assert.include(ended.stderr, inUse(site))
        assert.match(ended.stderr, /level=WARN .*--force stopped no process: /)
        assert.match(ended.stderr, why)
      }
      assert.isFalse(yield* hasEnded(owner.pid))
    }))

  it.scopedLive("is not followed under a supervisor: two of them would end each other for ever", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      const next = yield* force(site, { flags: ["--supervisor", "external"] })
      const { code, stderr } = yield* next.ended
      assert.strictEqual(code, 0, stderr)
      assert.match(stderr, /--force is ignored under external/)
      assert.include(stderr, "existing gateway is healthy, leaving it in control")
      assert.isFalse(yield* hasEnded(owner.pid))
    }))
})
