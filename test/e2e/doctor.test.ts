import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as DoctorReport from "../../src/doctor/DoctorReport.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Shims from "./support/shims.ts"
import * as Strangers from "./support/strangers.ts"
import * as Variants from "./support/variants.ts"

const decode = Schema.decodeUnknown(Schema.parseJson(DoctorReport.DoctorReport), { onExcessProperty: "error" })

/** Runs `doctor` and returns its findings. Checks that the exit status is 1 if a finding is a problem, and 0 otherwise. */
const examine = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.gen(function*() {
    const { code, stderr, stdout } = yield* Gateways.run(site, {
      ...options,
      flags: ["doctor", "--json", ...(options.flags ?? [])]
    })
    const report = yield* Effect.orDie(decode(stdout))
    const problems = report.findings.filter(DoctorReport.isProblem)
    assert.strictEqual(code, problems.length === 0 ? 0 : 1, stderr)
    assert.strictEqual(report.healthy, problems.length === 0)
    for (const { message, remedy } of problems) assert.isString(remedy, message)
    assert.strictEqual(stderr, "")
    return { ...report, problems }
  })

/** Runs `doctor`, checks that it finds exactly one problem, and returns the problem. */
const theProblem = (site: Gateways.Site, options: Gateways.StartOptions = {}) =>
  Effect.map(examine(site, options), ({ problems }) => {
    assert.strictEqual(problems.length, 1, JSON.stringify(problems))
    return problems[0]
  })

/** Runs the command that `doctor` advises. */
const applyRemedy = (site: Gateways.Site, remedy: string | undefined) =>
  Effect.gen(function*() {
    const { code, stderr } = yield* Gateways.run(site, { under: ["sh", "-c", remedy ?? "false"] })
    assert.strictEqual(code, 0, stderr)
  })

const chmod = (path: string, mode: number) => Effect.promise(() => Fs.chmod(path, mode))

describe("gateway doctor", () => {
  it.scopedLive("finds nothing wrong where nothing is, and makes nothing", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { problems } = yield* examine(site)
      assert.deepStrictEqual(problems, [])
      assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
    }))

  Variants.each(
    "finds nothing wrong with one that runs, but for kernel locks that cannot be had",
    undefined,
    (main, variant) =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway({ main })
        const before = yield* Gateways.lockIdentities(site)
        const { problems } = yield* examine(site, { main })
        assert.deepStrictEqual(
          problems.map(({ check, remedy }) => [check, remedy]),
          variant.lock === "kernel" ? [] : [["filesystem-locks", "npm install fs-native-extensions"]]
        )
        assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
        assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), Gateways.lockNames(site))
      })
  )

  it.scopedLive("a port that browsers refuse: a warning, and a remedy that names another port", () =>
    Effect.gen(function*() {
      const site = { ...(yield* Gateways.newSite), port: 6667 }
      const found = yield* theProblem(site)
      assert.deepInclude(found, { check: "port", severity: "warning" })
      assert.match(found?.message ?? "", /browsers refuse port 6667/)
      assert.match(found?.remedy ?? "", / run .*--port 6670\b/)
      assert.deepStrictEqual((yield* examine({ ...site, port: 6670 })).problems, [])
    }))

  it.scopedLive("for a person: a line for each finding, the remedy under it", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.writeConfig(site, { prot: 1 })
      const { code, stdout } = yield* Gateways.run(site, { flags: ["doctor"] })
      assert.strictEqual(code, 1)
      const [first, second, third] = stdout.split("\n")
      assert.strictEqual(first, "gateway default: 1 error, 0 warnings")
      assert.match(second ?? "", /^ {2}error {4}config: invalid config file .*unknown key "prot"/)
      assert.strictEqual(third, `           to fix it: \${EDITOR:-vi} ${site.configPath}`)
    }))

  it.scopedLive("a config file that is not JSON does not keep it from the rest", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.writeFile(site.configPath, "{"))
      const { findings, problems } = yield* examine(site)
      assert.deepStrictEqual(problems.map(({ check }) => check), ["config"])
      for (const check of ["lock-folder", "filesystem-locks", "lock", "port", "supervisor"] as const) {
        assert.isTrue(findings.some((finding) => finding.check === check), check)
      }
    }))

  it.scopedLive("a lock folder that others may write: its remedy mends it", () =>
    Effect.gen(function*() {
      const [site] = yield* Gateways.newGateway()
      yield* chmod(Gateways.locksFolder(site), 0o777)
      const found = yield* theProblem(site)
      assert.deepInclude(found, { check: "lock-folder", severity: "error" })
      yield* applyRemedy(site, found?.remedy)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
    }))

  it.scopedLive("a lock folder that is a link, or no folder", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.mkdir(site.stateDir))
      yield* Effect.promise(() => Fs.mkdir(Path.join(site.root, "elsewhere")))
      yield* Gateways.symlink(Path.join(site.root, "elsewhere"), Gateways.locksFolder(site))
      const linked = yield* theProblem(site)
      assert.match(linked?.message ?? "", /is a symbolic link to .*elsewhere/)
      yield* applyRemedy(site, linked?.remedy)
      yield* Effect.promise(() => Fs.writeFile(Gateways.locksFolder(site), ""))
      const { problems } = yield* examine(site)
      assert.match(problems[0]?.message ?? "", /is not a folder but a File/)
      yield* applyRemedy(site, problems[0]?.remedy)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
    }))

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("a state directory of another user: unreadable, not ours, and not to be made", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const main = yield* Variants.bareProgram
        const asNobody = { main, under: Program.asNobody }
        const folders = (found: ReadonlyArray<DoctorReport.Finding>) =>
          found.filter(({ check }) => check === "lock-folder").map(({ message }) => message)
        yield* chmod(site.root, 0o755)
        const absent = folders((yield* examine(site, asNobody)).problems)
        assert.match(absent[0] ?? "", /cannot be made: EACCES/)

        yield* Gateways.startListening(site)
        const hidden = folders((yield* examine(site, asNobody)).problems)
        assert.match(hidden[0] ?? "", /cannot be inspected: EACCES/)

        yield* chmod(site.stateDir, 0o755)
        yield* chmod(Gateways.locksFolder(site), 0o755)
        const { problems } = yield* examine(site, asNobody)
        assert.match(folders(problems)[0] ?? "", /belongs to uid 0 /)
        assert.isTrue(problems.some(({ check, message }) => check === "lock" && message.includes("EACCES")))
      })
  )

  for (
    const [answer, message] of [
      ["errno = ENOLCK; return -1;", /does not support locks \(ENOLCK/],
      ["return 0;", /grants one lock twice/]
    ] as const
  ) {
    const skipped = Shims.noShims ?? Variants.kernel.skipped
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(`a file system that answers every lock with "${answer}"`, skipped),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const found = yield* theProblem(site, { env: yield* Shims.lockAnswers(answer) })
          assert.deepInclude(found, { check: "filesystem-locks", severity: "warning" })
          assert.match(found?.message ?? "", message)
          assert.match(found?.message ?? "", / \([a-z0-9.]+\)/)
          assert.match(found?.remedy ?? "", /^gateway run --state-dir <path> --port /)
          assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
        })
    )
  }

  it.scopedLive("a port that is a stranger's, and one who does not answer", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const listen of [Strangers.web(site, 200, "{}"), Strangers.stalling(site)]) {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* listen
          const found = yield* theProblem(site)
          assert.deepInclude(found, { check: "port", severity: "error" })
          assert.match(
            found?.message ?? "",
            new RegExp(`is in use by .*pid ${process.pid} \\(node\\), not by this gateway`)
          )
          assert.match(found?.remedy ?? "", new RegExp(`^gateway run --port ${site.port + 1} --state-dir `))
        }))
      }
    }))

  it.scopedLive("an owner that is suspended: its remedy mends it", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      yield* owner.signal("SIGSTOP")
      const { problems } = yield* examine(site)
      assert.deepStrictEqual(problems.map(({ check }) => check), ["lock", "port"])
      assert.match(problems[0]?.remedy ?? "", /^gateway stop --force --port /)
      const words = (problems[0]?.remedy ?? "").split(" ").slice(1)
      assert.strictEqual((yield* Gateways.run(site, { args: [...words, "--timeout", "100 millis"] })).code, 0)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
    }))

  it.scopedLive("a dead owner's files are no problem; claims of dead starters are, until they are removed", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.stop(yield* Gateways.startListening(site), "SIGKILL")
      const before = yield* Gateways.lockIdentities(site)
      const { findings, problems } = yield* examine(site)
      assert.deepStrictEqual(problems, [])
      assert.isTrue(findings.some(({ check, severity }) => check === "leftovers" && severity === "info"))
      yield* Effect.promise(() => Fs.writeFile(`${Gateways.configLock(site)}.0123456789abcdef.reclaim`, ""))
      const found = yield* theProblem(site)
      assert.deepInclude(found, { check: "leftovers", severity: "warning" })
      yield* applyRemedy(site, found?.remedy)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
      assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
    }))

  it.scopedLive("a lock file from the future: its remedy mends it", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Gateways.stop(yield* Gateways.startListening(site), "SIGKILL")
      yield* Effect.promise(() => Fs.rm(Gateways.stateLock(site)))
      const { mtimeMs } = yield* Effect.promise(() => Fs.stat(Gateways.configLock(site)))
      yield* Effect.promise(() => Fs.utimes(Gateways.configLock(site), mtimeMs / 1000, mtimeMs / 1000 + 7200))
      const found = yield* theProblem(site)
      assert.match(found?.message ?? "", /was written 1h 59m .*s in the future: the clock was set back, or is wrong/)
      yield* applyRemedy(site, found?.remedy)
      assert.deepStrictEqual((yield* examine(site)).problems, [])
    }))

  it.scopedLive("a state directory that a gateway of another config has", () =>
    Effect.gen(function*() {
      const [site, owner] = yield* Gateways.newGateway()
      const other = yield* Effect.flatMap(Gateways.withConfig(site, "other.json"), Gateways.onAnotherPort)
      const found = yield* theProblem(other)
      assert.deepInclude(found, { check: "lock", severity: "error" })
      assert.match(
        found?.message ?? "",
        new RegExp(`in use by pid ${owner.pid} for another config, ${site.configPath}$`)
      )
      assert.match(found?.remedy ?? "", /^gateway run --state-dir <path> --port \d+ --config \S+other\.json$/)
    }))

  it.scopedLive("says which supervisor a start would detect, and why", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { findings } = yield* examine(site, { env: { SYSTEMD_EXEC_PID: "1" } })
      const { message } = findings.find(({ check }) => check === "supervisor") ?? { message: "" }
      assert.match(
        message,
        /would detect: none \(SYSTEMD_EXEC_PID is 1, not this process \(pid \d+\): inherited from a service\)$/
      )
    }))

  it.scopedLive("refuses a wrong flag with one line", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const { code, stderr } = yield* Gateways.run(site, { flags: ["doctor", "--port", "0"] })
      assert.strictEqual(code, 64)
      assert.match(stderr, /^gateway: invalid port "0" from --port: expected .*\n$/)
    }))
})

describe("the folder of the locks is judged by doctor as by a start:", () => {
  const cases: ReadonlyArray<
    readonly [name: string, script: string, refused: boolean]
  > = [
    ["lock folder with mode 1777", "chmod 1777 \"$2\"", true],
    ["lock folder with mode 0777", "chmod 0777 \"$2\"", true],
    ["lock folder with mode 0700", "chmod 0700 \"$2\"", false],
    ["lock folder with mode 0755", "chmod 0755 \"$2\"", false],
    ["state folder with mode 0775", "chmod 0775 \"$1\"", false],
    ["state folder with mode 1777", "chmod 1777 \"$1\"", false],
    ["another user's state folder", "chown 65534 \"$1\"", false],
    ["another user's lock folder", "chown 65534 \"$2\"", true],
    ["another user's folders", "chown 65534 \"$1\" \"$2\"", true]
  ]
  for (const [name, script, refused] of cases) {
    it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
      Program.named(name, Program.noOtherUser),
      () =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const folder = Gateways.locksFolder(site)
          yield* Effect.promise(() => Fs.mkdir(folder, { recursive: true, mode: 0o700 }))
          yield* Effect.scoped(Effect.flatMap(
            Gateways.start(site, { under: ["sh", "-c", script, "sh", site.stateDir, folder] }),
            ({ ended }) => ended
          ))
          const { problems } = yield* examine(site)
          if (!refused) {
            assert.deepStrictEqual(problems, [])
            yield* Gateways.assertClean(yield* Gateways.stop(yield* Gateways.startListening(site)))
            return
          }
          const [problem] = problems
          assert.deepInclude(problem, { check: "lock-folder", severity: "error" })
          const [line = ""] = Gateways.linesOf(yield* Gateways.run(site))
          // A start that is refused prints the same explanation and the same command as `doctor`.
          const said = problem?.message.replace("the folder", "its folder")
          assert.isTrue(line.endsWith(`: ${said}; run: ${problem?.remedy}`), line)
        })
    )
  }
})
