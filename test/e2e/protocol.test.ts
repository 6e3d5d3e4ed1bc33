/**
 * `docs/protocol.md`, taken at its word: an owner in Python that is written from that page alone, beside the built program.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import * as Ports from "./support/ports.ts"
import type * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"
import * as Python from "./support/python.ts"
import * as Variants from "./support/variants.ts"

const python = /^python3/

const inUse = (site: Gateways.Site) => `another gateway instance is already listening on ${Gateways.url(site)}`

/** Checks the verdict of `status` alone, for an owner that writes its record so often that `unchanged` would see it. */
const assertRunning = (site: Gateways.Site) =>
  Effect.map(Gateways.run(site, { flags: ["status"] }), ({ code, stdout }) => assert.strictEqual(code, 0, stdout))

const unnamed = "gateway already running; lock timeout after 400ms"

/** Checks that a refused start names an owner in Python. */
const assertHeldBy = (ended: Processes.Ended, pid: number) =>
  assert.match(Gateways.facts(ended)["held by"] ?? "", new RegExp(`^pid ${pid} \\(python3[^)]*\\)$`), ended.stderr)

/** Checks that an owner in Python ended in order: status 0, no lock files, a free port. */
const assertGone = (site: Gateways.Site, owner: Processes.Running) =>
  Effect.flatMap(owner.ended, (ended) => Gateways.assertGone(site, ended))

/** Checks that the next start of the program takes over from an owner in Python that was killed, without waiting. */
const assertTakesOver = (site: Gateways.Site, main: string, pid: number) =>
  Effect.gen(function*() {
    const next = yield* Gateways.startListening(site, { main })
    const ended = yield* Gateways.stop(next)
    yield* Gateways.assertGone(site, ended)
    Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${pid} `))
    assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
  })

/** The first program on the page. */
const example = Effect.promise(async () => {
  const page = await Fs.readFile(new URL("../../docs/protocol.md", import.meta.url), "utf8")
  return /```python\n([^]*?)```/.exec(page)?.[1] ?? assert.fail("the page has no program")
})

describe("the program at the beginning of the page", () => {
  Variants.each("is an owner that every command knows", Python.unavailable, (main) =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.flatMap(
        example,
        (text) => Effect.promise(() => Fs.writeFile(Path.join(site.root, "owner.py"), text))
      )
      const words = ["owner.py", "gateway.json", "state", String(site.port)]
      const owner = yield* Python.script(site, words)
      yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
      const { code, stdout } = yield* Gateways.run(site, { main, flags: ["status"] })
      assert.strictEqual(code, 0, stdout)
      assert.match(stdout, new RegExp(`^gateway default: running\\n {2}held by: +pid ${owner.pid} \\(python3`))

      const same = yield* Gateways.run(site, { main })
      Gateways.assertRefused(same, inUse(site))
      assertHeldBy(same, owner.pid)
      const { ended } = yield* Python.script(site, ["owner.py", "gateway.json", "state", String(site.port)])
      const second = yield* ended
      assert.deepStrictEqual([second.code, second.stderr], [1, `held by pid ${owner.pid}\n`])

      const stopped = yield* Gateways.run(site, { main, args: ["stop", ...Gateways.selectors(site).split(" ")] })
      assert.strictEqual(
        stopped.stdout,
        `stopped gateway on ${Gateways.url(site)} (pid ${owner.pid})\n`,
        stopped.stderr
      )
      yield* assertGone(site, owner)

      const killed = yield* Python.script(site, words)
      yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
      yield* killed.signal("SIGKILL")
      yield* killed.ended
      yield* assertTakesOver(site, main, killed.pid)
    }), [Variants.kernel])
})

describe("an owner in Python", () => {
  Variants.each(
    "refuses every start, and is shown by every command",
    Python.unavailable,
    (main, { lock }) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner()
        const run = (...flags: ReadonlyArray<string>) => Gateways.run(site, { main, flags })
        const { rows, status } = yield* Looking.expectStatus(site, "running", { main })
        assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Alive", phase: "listening" })
        assert.match(status.owner?.command ?? "", python)
        assert.deepInclude(status.health, { healthy: true, identity: "owner" })
        assert.deepInclude(status.port?.listeners[0], { pid: owner.pid, isOwner: true })
        assert.match(rows["held by"] ?? "", new RegExp(`^pid ${owner.pid} \\(python3`))
        const { lines } = yield* Looking.list(site, { main, env: { XDG_STATE_HOME: site.root } })
        assert.isTrue(
          lines.some((line) => line.includes("running") && line.includes(`pid ${owner.pid} (`)),
          lines.join("\n")
        )

        const same = yield* run()
        Gateways.assertRefused(same, inUse(site))
        assertHeldBy(same, owner.pid)
        const other = yield* Gateways.run(yield* Gateways.onAnotherPort(site), { main })
        Gateways.assertRefused(other, `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`)
        assertHeldBy(other, owner.pid)
        const sameState = yield* Gateways.withConfig(yield* Gateways.onAnotherPort(site), "other.json")
        const beside = yield* Gateways.run(sameState, { main })
        Gateways.assertRefused(beside, `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`)
        const command = yield* Execs.run(site, ["true"], { main })
        assert.strictEqual(command.code, 75, command.stderr)
        assertHeldBy(command, owner.pid)

        const ensured = yield* run("--ensure")
        assert.deepStrictEqual(
          [ensured.code, ensured.stdout],
          [0, `gateway already running on ${Gateways.url(site)} (pid ${owner.pid})\n`]
        )
        assert.strictEqual((yield* run("--supervisor", "systemd")).code, 78)
        assert.strictEqual((yield* run("--supervisor", "launchd")).code, 0)
        const doctor = yield* run("doctor")
        // Without kernel locks of its own, `doctor` warns of that. It must not say that the owner has none.
        assert.strictEqual(doctor.code, lock === "kernel" ? 0 : 1, doctor.stdout)
        assert.include(doctor.stdout, `is held by pid ${owner.pid}, listening`)
        assert.notInclude(doctor.stdout, "its owner has no kernel lock")

        const stopped = yield* run("stop")
        assert.deepStrictEqual(
          [stopped.code, stopped.stdout],
          [0, `stopped gateway on ${Gateways.url(site)} (pid ${owner.pid})\n`]
        )
        yield* assertGone(site, owner)
      })
  )

  Variants.each("is ended by run --force", Python.unavailable, (main) =>
    Effect.gen(function*() {
      const [site, owner] = yield* Python.newOwner()
      const next = yield* Gateways.startListening(site, { main, flags: ["--force"] })
      yield* Effect.flatMap(owner.ended, Gateways.assertClean)
      assert.strictEqual((yield* Gateways.readRecord(Gateways.configLock(site))).pid, next.pid)
      yield* Gateways.assertGone(site, yield* Gateways.stop(next))
    }), [Variants.kernel])

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    Variants.each(`is followed by a standby after ${signal}`, Python.unavailable, (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner()
        const standby = yield* Gateways.start(site, { main, flags: ["--standby"] })
        yield* standby.line(/standing by: /)
        yield* owner.signal(signal)
        yield* standby.listening
        yield* owner.ended
        yield* Gateways.assertGone(site, yield* Gateways.stop(standby))
      }), signal === "SIGKILL" ? Variants.all : [Variants.kernel])
  }

  Variants.each("that is killed is taken over from at once", Python.unavailable, (main) =>
    Effect.gen(function*() {
      const [site, owner] = yield* Python.newOwner()
      yield* owner.signal("SIGKILL")
      yield* owner.ended
      const { status } = yield* Looking.expectStatus(site, "dead", { main })
      assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Gone" })
      yield* assertTakesOver(site, main, owner.pid)
    }))

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("that is suspended is not stopped, but killed by stop --force", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner()
        yield* owner.signal("SIGSTOP")
        const stop = (...flags: ReadonlyArray<string>) =>
          Gateways.run(site, { flags: ["stop", "--timeout", "1 seconds", ...flags] })
        const asked = yield* stop()
        assert.strictEqual(asked.code, 1, asked.stdout)
        assert.include(asked.stderr, "it is suspended (SIGSTOP)")
        const killed = yield* stop("--force")
        assert.strictEqual(killed.code, 0, killed.stderr)
        assert.strictEqual(killed.stdout, `killed gateway on ${Gateways.url(site)} (pid ${owner.pid})\n`)
        assert.strictEqual((yield* owner.ended).signal, "SIGKILL")
      })
  )

  Variants.each(
    "that is suspended keeps port and lock, and is unhealthy",
    Python.unavailable,
    (main) =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner()
        yield* owner.signal("SIGSTOP")
        const { status } = yield* Looking.expectStatus(site, "unhealthy", { main })
        assert.deepInclude(status.owner, { pid: owner.pid, pidMeaning: "Alive" })
        const same = yield* Gateways.run(site, { main })
        Gateways.assertRefused(same, inUse(site))
        assertHeldBy(same, owner.pid)
        const other = yield* Gateways.onAnotherPort(site)
        Gateways.assertWaitedInVain(yield* Gateways.run(other, { main, flags: Gateways.hurried }), owner.pid)
        const supervised = yield* Gateways.start(site, { main, flags: ["--supervisor", "systemd"] })
        yield* supervised.line(/waiting up to 5m for the owner: /)
        yield* owner.signal("SIGCONT")
        assert.strictEqual((yield* supervised.ended).code, 78)
        yield* owner.signal("SIGTERM")
        yield* assertGone(site, owner)
      }),
    [Variants.kernel]
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("without /healthz is healthy by the rule in its record", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner({ flags: ["--ready", "port"] })
        const { status } = yield* Looking.expectStatus(site, "running")
        assert.deepInclude(status.health, { healthy: true, identity: "owner", rule: "port" })
        assertHeldBy(yield* Gateways.run(site), owner.pid)
        assert.strictEqual((yield* Gateways.run(site, { flags: ["--supervisor", "systemd"] })).code, 78)
        const stopped = yield* Gateways.run(site, { flags: ["stop"] })
        assert.strictEqual(stopped.code, 0, stopped.stderr)
        yield* assertGone(site, owner)
      })
  )

  for (const rule of ["none", "http:/ready", "notify"]) {
    it.scopedLive.skipIf(Python.unavailable !== undefined)(
      Program.named(`is healthy by the rule ${rule}, and refuses starts on other ports at once`, Python.unavailable),
      () =>
        Effect.gen(function*() {
          const [site, owner] = yield* Python.newOwner({ flags: ["--ready", rule] })
          const ensured = yield* Gateways.run(site, { flags: ["--ensure"] })
          assert.strictEqual(ensured.stdout, `gateway already running on ${Gateways.url(site)} (pid ${owner.pid})\n`)
          const elsewhere = yield* Gateways.onAnotherPort(site)
          Gateways.assertRefused(
            yield* Gateways.run(elsewhere),
            `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`
          )
          yield* Python.assertRefused(elsewhere, new RegExp(`^refused: held by pid ${owner.pid} `), [])
        })
    )
  }

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("whose health rule is broken is unhealthy", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Python.newOwner({ flags: ["--ready", "http:/absent"] })
        const { status } = yield* Looking.expectStatus(site, "unhealthy")
        assert.deepInclude(status.health, { healthy: false, rule: "http:/absent" })
      })
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("without a port is running, and starts wait for its end", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const owner = yield* Python.holdListening(site, { flags: ["--port", "0", "--ready", "none"] })
        yield* Looking.expectStatus(site, "running")
        const patient = yield* Gateways.start(site, { flags: ["--lock-timeout", "1 minutes"] })
        yield* patient.line(new RegExp(`waiting up to .* held by pid ${owner.pid} `))
        yield* owner.signal("SIGTERM")
        yield* patient.listening
        yield* Gateways.assertGone(site, yield* Gateways.stop(patient))
      })
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("may write keys of its own", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Python.newOwner({ flags: ["--extra", JSON.stringify({ "x-importer": { batch: [1] } })] })
        yield* Looking.expectStatus(site, "running")
        assert.include(yield* Effect.promise(() => Fs.readFile(Gateways.configLock(site), "utf8")), "x-importer")
      })
  )

  for (const extra of [{ version: 2 }, { lock: null }, { ready: "sometimes" }]) {
    const text = JSON.stringify(extra)
    it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
      Program.named(`whose record has ${text} keeps the lock, but is not named or signalled`, Python.noKernelLocks),
      () =>
        Effect.gen(function*() {
          const [site, owner] = yield* Python.newOwner({ flags: ["--extra", text] })
          const waited = yield* Gateways.run(yield* Gateways.onAnotherPort(site), { flags: Gateways.hurried })
          Gateways.assertRefused({ ...waited, stderr: waited.stderr.replace(/^timestamp.*\n/gm, "") }, unnamed)
          const stop = yield* Gateways.run(site, { flags: ["stop"] })
          assert.strictEqual(stop.code, 1, stop.stdout)
          assert.include(stop.stderr, "its record names no owner")
          yield* owner.signal("SIGTERM")
          yield* assertGone(site, owner)
        })
    )
  }

  for (const key of ["startTime", "bootId"]) {
    it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
      Program.named(`without ${key} is running, but stop does not signal it`, Python.noKernelLocks),
      () =>
        Effect.gen(function*() {
          const [site, owner] = yield* Python.newOwner({ flags: ["--omit", key] })
          const stop = yield* Gateways.run(site, { flags: ["stop"] })
          assert.strictEqual(stop.code, 1, stop.stdout)
          assert.include(stop.stderr, "state of that process is unknown here")
          assert.strictEqual((yield* Gateways.run(site, { flags: ["status"] })).code, 0)
          yield* owner.signal("SIGTERM")
          yield* assertGone(site, owner)
        })
    )
  }
})

/** Creates the file `argv[1]`, locks it as a gateway does, and keeps it. */
const lockForever = `
import fcntl, os, struct, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0x400000000000, 1, 0))
print("locked", file=sys.stderr, flush=True)
time.sleep(300)
`

describe("the lock files of an owner in Python", () => {
  const watchful = { flags: ["--recheck", "0.1"] }
  const locks = (site: Gateways.Site) => [Gateways.configLock(site), Gateways.stateLock(site)]

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("are restored when they are deleted or replaced", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner(watchful)
        const changes: ReadonlyArray<(path: string) => Promise<void>> = [
          (path) => Fs.rm(path),
          async (path) => {
            await Fs.copyFile(path, `${path}.copy`)
            await Fs.rename(`${path}.copy`, path)
          },
          async (path) => {
            await Fs.writeFile(`${path}.other`, "")
            await Fs.rename(`${path}.other`, path)
          }
        ]
        let regained = 0
        for (const change of changes) {
          for (const path of locks(site)) {
            yield* Effect.promise(() => change(path))
            regained += 1
            yield* Execs.until(
              `${path} to be restored`,
              Effect.map(owner.stderr, (text) => Gateways.count(text, /^regained /) >= regained)
            )
          }
        }
        Gateways.assertRefused(yield* Gateways.run(site), inUse(site))
        yield* owner.signal("SIGTERM")
        yield* assertGone(site, owner)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named(
      "are kept when they are put back while another process holds a file in their place",
      Python.noKernelLocks
    ),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner({ flags: [...watchful.flags, "--patience", "60"] })
        const path = Gateways.configLock(site)
        yield* owner.signal("SIGSTOP")
        yield* Effect.promise(() => Fs.rename(path, `${path}.aside`))
        const holder = yield* Python.script(site, ["-c", lockForever, path])
        yield* holder.line(/^locked$/)
        yield* owner.signal("SIGCONT")
        yield* owner.line(/was removed or replaced$/)
        yield* Effect.promise(() => Fs.rename(`${path}.aside`, path))
        yield* owner.line(/^found .* again$/)
        yield* assertRunning(site)
        yield* owner.signal("SIGTERM")
        yield* assertGone(site, owner)
      })
  )

  it.scopedLive.skipIf(Python.unavailable !== undefined)(
    Program.named("are written again when they are overwritten", Python.unavailable),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner(watchful)
        yield* Effect.promise(() => Fs.writeFile(Gateways.configLock(site), "{\"version\":1"))
        yield* Execs.untilRecord(site, "the record", ({ pid }) => pid === owner.pid)
        yield* assertRunning(site)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named("stay its own against a start that gets only one of them", Python.noKernelLocks),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner({ flags: ["--recheck", "2"] })
        yield* Effect.promise(() => Fs.rm(Gateways.configLock(site)))
        const other = yield* Gateways.run(yield* Gateways.onAnotherPort(site), {
          flags: ["--lock-timeout", "1 seconds"]
        })
        assert.strictEqual(other.code, 1, other.stderr)
        assert.include(other.stderr, `gateway already running (pid ${owner.pid}) on ${Gateways.url(site)}`)
        yield* owner.line(/^regained /)
        yield* assertRunning(site)
        yield* owner.signal("SIGTERM")
        yield* assertGone(site, owner)
      })
  )

  it.scopedLive.skipIf(Python.noKernelLocks !== undefined)(
    Program.named("are lost to a gateway that gets both of them", Python.noKernelLocks),
    () =>
      Effect.gen(function*() {
        const [site, owner] = yield* Python.newOwner({ flags: ["--recheck", "2"] })
        yield* owner.signal("SIGSTOP")
        yield* Effect.promise(() => Promise.all(locks(site).map((path) => Fs.rm(path))))
        const other = yield* Gateways.onAnotherPort(site)
        const gateway = yield* Gateways.startListening(other)
        yield* owner.signal("SIGCONT")
        const { code, stderr } = yield* owner.ended
        assert.strictEqual(code, 1, stderr)
        assert.match(stderr, new RegExp(`^failed: lost .*: held by pid ${gateway.pid} `, "m"))
        assert.isTrue(yield* Ports.isFree(site.port))
        for (const path of locks(site)) assert.strictEqual((yield* Gateways.readRecord(path)).pid, gateway.pid)
        yield* Gateways.assertGone(other, yield* Gateways.stop(gateway))
      })
  )
})
