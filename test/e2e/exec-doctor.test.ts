import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

const needsLocks = !Program.isLinux ? "needs /proc" : Program.kernelLocks ? undefined : "needs kernel locks"

const test = (
  name: string,
  body: () => Effect.Effect<void, never, Scope.Scope>,
  reason = needsLocks
) => it.scopedLive.skipIf(reason !== undefined)(Program.named(name, reason), body)

const decode = Schema.decodeUnknown(Schema.parseJson(DoctorReport.DoctorReport), { onExcessProperty: "error" })

/** Runs `doctor`, and returns its problems. Checks the exit status, and that each problem has a remedy. */
const examine = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const { code, stderr, stdout } = yield* Gateways.run(site, {
      ...options,
      flags: ["doctor", "--json", ...(options.flags ?? [])]
    })
    const { findings } = yield* Effect.orDie(decode(stdout))
    const problems = findings.filter(DoctorReport.isProblem)
    assert.strictEqual(code, problems.length === 0 ? 0 : 1, stderr)
    for (const { message, remedy } of problems) assert.isString(remedy, message)
    return { findings, problems }
  })

const theProblem = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.map(examine(site, options), ({ problems: [problem, ...more] }) => {
    if (problem === undefined || more.length > 0) assert.fail(JSON.stringify([problem, ...more], null, 2))
    return problem
  })

const assertHealthy = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.map(examine(site, options), ({ problems }) => assert.deepStrictEqual(problems, []))

/** Runs the part of a remedy before `&&`, which is a complete command of this program. */
const applyRemedy = (site: Gateways.Site, remedy: string | undefined, ...more: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const [program, ...words] = (remedy ?? "").split(" && ")[0]?.split(" ") ?? []
    assert.strictEqual(program, "gateway", remedy)
    const { code, stderr } = yield* Gateways.run(site, { args: [...words, ...more] })
    assert.strictEqual(code, 0, stderr)
  })

const undisturbed = { lock: { recheckInterval: "1 hour", staleAfter: "4 hours" } }

const newSite = Effect.tap(Gateways.newSite, (site) => Gateways.writeConfig(site, undisturbed))

/** Starts `gateway exec` with a command that has this JavaScript, and waits until the record has the phase `listening`. */
const startServer = (site: Gateways.Site, script: string, flags: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const wrapper = yield* Execs.start(
      site,
      ["node", "-e", `setInterval(() => {}, 60_000); ${script}; console.error("child", process.pid)`],
      { flags }
    )
    const pid = yield* Execs.pidOf(wrapper)
    yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
    return { wrapper, pid }
  })

const startListening = (site: Gateways.Site, options: Execs.Options = {}) =>
  Effect.tap(
    Execs.startChild(site, ["listen"], options),
    () => Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
  )

const killAndWait = (pid: number) =>
  Effect.zipRight(Effect.sync(() => process.kill(pid, "SIGKILL")), Execs.untilEnded(pid))

const restart = (site: Gateways.Site, flags = "") =>
  `gateway stop ${Gateways.selectors(site)} && gateway exec ${flags}${Gateways.selectors(site)} -- <command>`

/** `restart` on another port. */
const restartOn = (site: Gateways.Site, port: number) =>
  `gateway stop ${Gateways.selectors(site)} && gateway exec --port ${port} ${
    Gateways.selectors(site).replace(`--port ${site.port}`, "").replaceAll("  ", " ").trim()
  } -- <command>`

/** The flags of a site, in the order in which `doctor` got them. */
const assertRemedy = (remedy: string | undefined, expected: string) => {
  const sorted = (text: string) => text.split(" && ").map((line) => line.split(" ").toSorted().join(" "))
  assert.deepStrictEqual(sorted(remedy ?? ""), sorted(expected), remedy)
}

describe("gateway doctor finds nothing wrong with a healthy owner by exec:", () => {
  for (const flags of [[], ["--ready", "port"], ["--ready", "http:/"], ["--ready", "none"], ["--no-inherit-lock"]]) {
    test(`exec ${flags.join(" ")}`.trim(), () =>
      Effect.gen(function*() {
        const site = yield* newSite
        const { wrapper } = yield* startListening(site, { flags })
        const { findings, problems } = yield* examine(site)
        assert.deepStrictEqual(problems, [])
        const held = findings.find(({ check }) => check === "lock")
        assert.include(held?.message, `is held by pid ${wrapper.pid} (node) for its command, listening`)
      }))
  }

  test("exec --no-port", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      yield* Execs.startChild(site, [], { flags: ["--no-port"] })
      yield* Execs.untilRecord(site, "the command", ({ child, phase }) => child !== undefined && phase === "listening")
      yield* assertHealthy(site)
    }))

  for (const rule of ["port", "none"]) {
    test(`a command that does not speak HTTP, with --ready ${rule}`, () =>
      Effect.gen(function*() {
        const site = yield* newSite
        yield* startServer(
          site,
          "net.createServer(() => {}).listen(Number(process.env.PORT), '127.0.0.1')",
          ["--ready", rule]
        )
        yield* assertHealthy(site)
      }))
  }

  test("a command that has just started, and does not listen yet", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      yield* Execs.startChild(site, [])
      const { findings, problems } = yield* examine(site)
      assert.deepStrictEqual(problems, [])
      const port = findings.find(({ check }) => check === "port")
      assert.deepInclude(port, { severity: "info" })
      assert.match(
        port?.message ?? "",
        /^the command of pid \d+ \(node\) does not listen on ws:.*; it is still starting$/
      )
    }))
})

describe("gateway doctor finds", () => {
  test("a wrapper that was killed, while the command still has the lock", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      const { pid, wrapper } = yield* startListening(site)
      yield* killAndWait(wrapper.pid)
      const { message, remedy, ...found } = yield* theProblem(site)
      assert.deepStrictEqual(found, { check: "lock", severity: "warning" })
      assert.include(
        message,
        `is held by pid ${pid} (node), but its wrapper (pid ${wrapper.pid}) has ended, so no process relays signals`
      )
      assertRemedy(remedy, restart(site))
      // The command ignores SIGTERM.
      yield* applyRemedy(site, remedy, "--force", "--timeout", "100 millis")
      yield* Execs.untilEnded(pid)
      yield* assertHealthy(site)
    }))

  test(
    "a daemon that keeps the lock after the command has ended, with and without the wrapper",
    () =>
      Effect.gen(function*() {
        const site = yield* newSite
        const script =
          "(setsid sh -c 'echo daemon $$ >&2; exec sleep 300' </dev/null >/dev/null &); echo shell $$ >&2; read -r _ </dev/zero"
        const wrapper = yield* Execs.start(site, ["sh", "-c", script], { flags: ["--ready", "none"] })
        const daemon = yield* Execs.pidOf(wrapper, "daemon")
        const command = yield* Execs.pidOf(wrapper, "shell")
        yield* Execs.untilRecord(site, "the command", ({ child }) => child?.pid === command)
        yield* Execs.kill(command, (yield* Gateways.readRecord(Gateways.configLock(site))).child?.startTime ?? 0)
        yield* wrapper.line(/keep the lock/)
        const left = yield* theProblem(site)
        assert.deepInclude(left, { check: "lock", severity: "warning" })
        assert.include(
          left.message,
          `the command of pid ${wrapper.pid} has ended, but pid ${daemon} (sleep) still runs and keeps the lock`
        )
        assertRemedy(left.remedy, `gateway stop ${Gateways.selectors(site)}`)

        yield* killAndWait(wrapper.pid)
        const alone = yield* theProblem(site)
        assert.deepInclude(alone, { check: "lock", severity: "error" })
        assert.match(
          alone.message,
          new RegExp(
            `is held by pid ${daemon} \\(sleep\\), which inherited it from the command; its wrapper \\(pid ${wrapper.pid}\\) and`
          )
        )
        yield* applyRemedy(site, alone.remedy)
        yield* Execs.untilEnded(daemon)
        yield* assertHealthy(site)
      }),
    needsLocks ?? Program.without("setsid")
  )

  test("a command that listens on another port than its own, once it had time to start", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      const other = yield* Ports.reserve
      const wrapper = yield* Execs.start(site, [
        "node",
        "-e",
        `net.createServer().listen(${other}, "127.0.0.1", () => console.error("child", process.pid))`
      ])
      const pid = yield* Execs.pidOf(wrapper)
      yield* Execs.untilRecord(site, "the command", ({ child }) => child?.pid === pid)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
      // The record says that the lock was acquired two minutes ago.
      const record = yield* Gateways.readRecord(Gateways.configLock(site))
      const createdAt = DateTime.formatIso(DateTime.subtract(DateTime.unsafeMake(record.createdAt), { minutes: 2 }))
      yield* Effect.promise(() => Fs.writeFile(Gateways.configLock(site), JSON.stringify({ ...record, createdAt })))
      const { message, remedy, ...found } = yield* theProblem(site)
      assert.deepStrictEqual(found, { check: "port", severity: "error" })
      assert.strictEqual(
        message,
        `the command of pid ${wrapper.pid} (node) does not listen on ${Gateways.url(site)}; it listens on port ${other}`
      )
      assertRemedy(remedy, restartOn(site, other))
    }))

  test("a command that has closed its port", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      const { pid, wrapper } = yield* startServer(
        site,
        "const server = net.createServer().listen(Number(process.env.PORT), '127.0.0.1');"
          + " process.on('SIGUSR2', () => server.close(() => console.error('closed')))"
      )
      yield* wrapper.signal("SIGUSR2")
      yield* wrapper.line(/^closed$/)
      const { message, remedy, ...found } = yield* theProblem(site)
      assert.deepStrictEqual(found, { check: "port", severity: "error" })
      assert.strictEqual(
        message,
        `the command of pid ${wrapper.pid} (node) does not listen on ${Gateways.url(site)}`
      )
      assertRemedy(remedy, `gateway stop --force ${Gateways.selectors(site)}`)
      yield* applyRemedy(site, remedy)
      yield* Execs.untilEnded(pid)
    }))

  for (
    const [what, answer, says] of [
      ["does not answer", "return", /gave no answer to \/ready in time$/],
      ["answers 503", "response.statusCode = 503; response.end()", /answered \/ready with HTTP 503$/],
      ["answers 404", "response.statusCode = 404; response.end()", /answered \/ready with HTTP 404$/]
    ] as const
  ) {
    test(`a command that ${what} at its http: path`, () =>
      Effect.gen(function*() {
        const site = yield* newSite
        const { wrapper } = yield* startServer(
          site,
          `let broken = false; process.on("SIGUSR2", () => { broken = true; console.error("broken") });
           http.createServer((_, response) => { if (!broken) return response.end(); ${answer} })
             .listen(Number(process.env.PORT), "127.0.0.1")`,
          ["--ready", "http:/ready"]
        )
        yield* assertHealthy(site)
        yield* wrapper.signal("SIGUSR2")
        yield* wrapper.line(/^broken$/)
        const { message, remedy, ...found } = yield* theProblem(site)
        assert.deepStrictEqual(found, { check: "port", severity: "error" })
        assert.include(message, `listens on ${Gateways.url(site)}, but is not ready by its rule http:/ready: it `)
        assert.match(message, says)
        assertRemedy(
          remedy,
          what === "answers 404"
            ? restart(site, "--ready http:/<path> ")
            : `gateway stop --force ${Gateways.selectors(site)}`
        )
      }))
  }

  test("a stranger on the port of the command", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      yield* Execs.startChild(site, [])
      const record = yield* Gateways.readRecord(Gateways.configLock(site))
      yield* Effect.promise(() =>
        Fs.writeFile(Gateways.configLock(site), JSON.stringify({ ...record, phase: "listening" }))
      )
      yield* Strangers.web(site, 200, "{}")
      const { message, remedy, ...found } = yield* theProblem(site)
      assert.deepStrictEqual(found, { check: "port", severity: "error" })
      assert.include(message, `is in use by pid ${process.pid} (node), not by the command of pid ${record.pid} (node)`)
      assertRemedy(remedy, restartOn(site, site.port + 1))
    }))

  test("that only the record enforces the lock of the command, and how to get kernel locks", () =>
    Effect.gen(function*() {
      const site = yield* newSite
      const main = yield* Variants.bareProgram
      yield* startListening(site, { main })
      // This program has kernel locks, so a new start gets one.
      const { message, remedy, ...found } = yield* theProblem(site)
      assert.deepStrictEqual(found, { check: "lock", severity: "warning" })
      assert.include(message, "only its record enforces the lock")
      assertRemedy(remedy, restart(site))
      const { problems } = yield* examine(site, { main })
      assert.deepStrictEqual(
        problems.map(({ check, remedy }) => [check, remedy]),
        [["filesystem-locks", "npm install fs-native-extensions"], ["lock", "npm install fs-native-extensions"]]
      )
    }))
})
