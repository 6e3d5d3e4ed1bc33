import { FileSystem } from "@effect/platform"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as CommandExecutor from "@effect/platform/CommandExecutor"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, FastCheck as fc, Fiber, Layer, Option, Schema, type Scope, TestClock } from "effect"
import type { Liveness } from "../../src/host/ProcessIdentity.ts"
import { ownClock } from "../../src/host/ProcessSource.ts"
import * as ProcessTable from "../../src/host/ProcessTable.ts"
import type * as OwnerRecord from "../../src/lock/OwnerRecord.ts"
import * as arbitraries from "../arbitraries.ts"
import * as Bundle from "../fixtures/bundle.ts"
import { eventually } from "../fixtures/net.ts"
import { run, works } from "../fixtures/processes.ts"
import * as Programs from "../fixtures/programs.ts"
import { notLinux, notPosix, unless } from "../fixtures/skips.ts"

const { Sighting, judge, parseBootOffsetTicks, parseCim, parseProcStat, parsePs, parseTgid } = ProcessTable

describe("ProcessTable.judge", () => {
  const self: OwnerRecord.ProcessIdentity = { pid: 1, startTime: 5, bootId: "boot", pidNamespace: "pid:[1]" }
  const recorded: OwnerRecord.ProcessIdentity = { pid: 7, startTime: 1000, bootId: "boot", pidNamespace: "pid:[1]" }
  const { startTime: _, ...withoutStart } = recorded
  const { bootId: _bootId, ...withoutBoot } = recorded

  it.each<readonly [string, OwnerRecord.ProcessIdentity, ProcessTable.Sighting, Liveness]>([
    ["nobody under the pid", recorded, Sighting.absent, "Gone"],
    ["somebody of whom nothing can be read", recorded, Sighting.hidden, "Unknown"],
    ["the same start time", recorded, Sighting.present(1000), "Alive"],
    ["a start time within the tolerance, later", recorded, Sighting.present(1001), "Alive"],
    ["a start time within the tolerance, earlier", recorded, Sighting.present(999), "Alive"],
    ["a later start time: the pid was given away", recorded, Sighting.present(1002), "Gone"],
    ["an earlier start time: not the one recorded", recorded, Sighting.present(998), "Gone"],
    ["no start time to compare", withoutStart, Sighting.present(1000), "Unknown"],
    ["no start time, and nobody there", withoutStart, Sighting.absent, "Gone"],
    ["another boot", { ...recorded, bootId: "earlier" }, Sighting.present(1000), "Unknown"],
    ["another boot, and nobody there", { ...recorded, bootId: "earlier" }, Sighting.absent, "Unknown"],
    ["another PID namespace", { ...recorded, pidNamespace: "pid:[2]" }, Sighting.present(1000), "Unknown"],
    ["another PID namespace, and nobody there", { ...recorded, pidNamespace: "pid:[2]" }, Sighting.absent, "Unknown"],
    ["no boot to compare", withoutBoot, Sighting.absent, "Unknown"]
  ])("%s", (_, recorded, sighting, liveness) => {
    assert.strictEqual(judge(self, recorded, sighting, 1), liveness)
  })

  const sighting = fc.oneof(
    fc.constantFrom<ProcessTable.Sighting>(Sighting.absent, Sighting.hidden),
    fc.nat().map(Sighting.present)
  )
  const tolerance = fc.nat({ max: 5000 })
  const identity = arbitraries.processIdentity

  it.prop(
    "from another namespace or another boot nothing is ever certain",
    [identity, identity, sighting, tolerance],
    ([
      self,
      recorded,
      sighting,
      tolerance
    ]) =>
      (self.bootId === recorded.bootId && self.pidNamespace === recorded.pidNamespace)
      || judge(self, recorded, sighting, tolerance) === "Unknown"
  )

  it.prop("what is hidden is never certain, what is absent here never alive", [identity, tolerance], ([
    recorded,
    tolerance
  ]) =>
    judge(recorded, recorded, Sighting.hidden, tolerance) === "Unknown"
    && judge(recorded, recorded, Sighting.absent, tolerance) === "Gone")

  it.prop("alive exactly where the start times are within the tolerance", [identity, fc.nat(), fc.nat(), tolerance], ([
    identity,
    recorded,
    seen,
    tolerance
  ]) =>
    judge(identity, { ...identity, startTime: recorded }, Sighting.present(seen), tolerance)
      === (Math.abs(recorded - seen) <= tolerance ? "Alive" : "Gone"))

  const own = ownClock
  const millis = fc.nat({ max: 2 ** 40 })

  it.prop(
    "a process that read its start by its own clock is never gone while it lives, however long its exec took",
    [millis, fc.nat({ max: 3_600_000 }), fc.boolean()],
    ([created, exec, toTheSecond]) => {
      // The process read its clock after the exec and recorded `created + exec` as its start. The system reports the time of the
      // fork, `created`. ps(1) truncates that time to seconds.
      const seen = toTheSecond ? Math.floor(created / 1000) * 1000 : created
      const liveness = judge(self, { ...recorded, startTime: created + exec }, Sighting.present(seen), own)
      assert.notStrictEqual(liveness, "Gone")
      if (exec <= 60_000) assert.strictEqual(liveness, "Alive")
    }
  )

  it.prop(
    "a pid that was given to a later process is gone, by any clock that does not move",
    [millis, fc.integer({ min: own.tolerance + 1, max: 2 ** 40 })],
    ([startTime, later]) => {
      const sighting = Sighting.present(startTime + later)
      assert.strictEqual(judge(self, { ...recorded, startTime }, sighting, own), "Gone")
      // FreeBSD computes the start time of a process from the boot time by the wall clock. So after the wall clock was set, the
      // same process has another start time. There, a different start time does not prove that the process is a different one.
      assert.strictEqual(judge(self, { ...recorded, startTime }, sighting, { ...own, isFixed: false }), "Unknown")
    }
  )

  it("a process that is much older than the record, as after a copy from another machine, is proof of nothing", () => {
    assert.strictEqual(judge(self, { ...recorded, startTime: 3_600_000 }, Sighting.present(0), own), "Unknown")
  })

  it.prop(
    "an earlier process with this pid has its pid, namespace and boot, and another start time",
    [identity, identity, tolerance],
    ([self, other, tolerance]) => {
      const samePlace = { ...self, ...(other.startTime === undefined ? {} : { startTime: other.startTime }) }
      const startsApart = self.startTime !== undefined && other.startTime !== undefined
        && Math.abs(self.startTime - other.startTime) > tolerance
      assert.strictEqual(ProcessTable.isPredecessor(self, samePlace, tolerance), startsApart)
      assert.isFalse(ProcessTable.isPredecessor(self, { ...samePlace, pid: self.pid + 1 }, tolerance))
      assert.isFalse(ProcessTable.isPredecessor(self, { ...samePlace, bootId: `not ${self.bootId}` }, tolerance))
      assert.isFalse(
        ProcessTable.isPredecessor(self, { ...samePlace, pidNamespace: `not ${self.pidNamespace}` }, tolerance)
      )
      assert.isFalse(ProcessTable.isPredecessor(self, self, tolerance))
    }
  )
})

describe("what the systems write", () => {
  const stat = (command: string, state = "S", threads = 3, start = 4242) =>
    `7 (${command}) ${state} 1 7 7 0 -1 4194304 5 6 7 8 9 10 11 12 20 0 ${threads} 0 ${start} 1000 200 18446744073709551615\n`

  it.each([
    "node",
    "a b",
    "",
    ")",
    "(x) Z 1 2 3",
    "a\nb",
    ") Z 1 7 7 0 -1 4194304 5 6 7 8 9 10 11 12 20 0 1 0 99 1 (",
    "\u00fc\u{1f600}"
  ])("a command named %j does not confuse /proc/<pid>/stat", (command) => {
    assert.deepStrictEqual(Option.getOrUndefined(parseProcStat(stat(command))), {
      state: "S",
      threads: 3,
      startTicks: 4242
    })
  })

  it.prop("no command name does", [fc.string({ unit: arbitraries.character, maxLength: 15 }), fc.nat(), fc.nat()], ([
    command,
    threads,
    start
  ]) => {
    assert.deepStrictEqual(Option.getOrUndefined(parseProcStat(stat(command, "Z", threads, start))), {
      state: "Z",
      threads,
      startTicks: start
    })
  })

  it.prop(
    "no text makes a parser throw",
    [fc.oneof(fc.string({ unit: arbitraries.character }), fc.json())],
    ([text]) => {
      assert.isTrue(Option.isOption(parseProcStat(text)))
      assert.isTrue(Option.isOption(parseTgid(text)))
      assert.isTrue(Option.isOption(parsePs(text)))
      assert.isTrue(Option.isOption(parseCim(text)))
      assert.isTrue(Number.isInteger(parseBootOffsetTicks(text)))
    }
  )

  it.each([
    "",
    "\n",
    "7",
    "7 (node)",
    "7 (node) S",
    "7 (node) S 1 2 3",
    stat("x").replace("4242", "soon"),
    stat("x", "")
  ])(
    "half a /proc/<pid>/stat is no information: %j",
    (text) => {
      assert.isTrue(Option.isNone(parseProcStat(text)))
    }
  )

  it("the thread group is found among the other lines, and only at the beginning of one", () => {
    assert.deepStrictEqual(parseTgid("Name:\tnode\nUmask:\t0022\nTgid:\t42\nNgid:\t0\nPid:\t43\n"), Option.some(42))
    assert.isTrue(Option.isNone(parseTgid("Name:\tTgid:\t42\nPid:\t43\n")))
    assert.isTrue(Option.isNone(parseTgid("")))
  })

  it.each<readonly [text: string, ticks: number]>([
    ["monotonic           0         0\nboottime            0         0\n", 0],
    ["monotonic           0         0\nboottime       100000         0\n", 10_000_000],
    ["monotonic           5         0\nboottime       100000 500000000\n", 10_000_050],
    ["boottime            -3         0\n", -300],
    ["boottime            -1 990000000\n", -1],
    ["", 0]
  ])("a time namespace's offset: %j", (text, ticks) => {
    assert.strictEqual(parseBootOffsetTicks(text), ticks)
  })

  it("ps: state, start to the second in UTC, and the program's own name", () => {
    assert.deepStrictEqual(Option.getOrUndefined(parsePs("Ss   Thu Jan  1 00:00:05 1970 /usr/local/bin/node\n")), {
      state: "Ss",
      startMillis: 5000,
      command: "node"
    })
    assert.deepStrictEqual(
      Option.getOrUndefined(parsePs("S+   Sat Feb 28 23:59:59 2026 /Applications/My Gateway.app/My Gateway\n"))
        ?.command,
      "My Gateway"
    )
    assert.strictEqual(Option.getOrUndefined(parsePs("Z    Mon Dec 31 12:00:00 2029 (node)\n"))?.state, "Z")
    for (const text of ["", "\n", "S", "S Thu Jan 1 1970 node", "error: no such process"]) {
      assert.isTrue(Option.isNone(parsePs(text)), text)
    }
  })

  it("CIM: name and creation time", () => {
    const one = "{\"ProcessId\":7,\"Name\":\"node.exe\",\"Created\":\"2026-01-01T00:00:00.1234567Z\"}"
    const found = [[7, { name: "node.exe", created: 1767225600123 }]]
    assert.deepStrictEqual([...Option.getOrThrow(parseCim(`${one}\r\n`))], found)
    const idle = "{\"ProcessId\":0,\"Name\":\"System Idle Process\",\"Created\":null}"
    assert.deepStrictEqual([...Option.getOrThrow(parseCim(`[${idle},${one}]\r\n`))], found)
    for (const text of ["", "null", "{\"Name\":\"node.exe\"}", "[{\"ProcessId\":1,\"Name\":3}]", "Access denied"]) {
      assert.isTrue(Option.isNone(parseCim(text)), text)
    }
  })
})

describe("parseCim", () => {
  const text = Schema.NullOr(Schema.String)
  const CimProcess = Schema.Struct({ ProcessId: Schema.Number, Name: text, Created: text })
  const isAnswer = Schema.is(Schema.Union(Schema.Array(CimProcess), CimProcess))
  const process = fc.record({
    ProcessId: fc.oneof(fc.integer(), fc.jsonValue()),
    Name: fc.oneof(fc.string(), fc.jsonValue()),
    Created: fc.oneof(fc.constant("2026-01-01T00:00:00.1234567Z"), fc.string(), fc.constant(null)),
    more: fc.jsonValue()
  }, { requiredKeys: ["ProcessId", "Name"] })

  it.prop(
    "reads what the schema of an answer allows",
    [fc.oneof(process, fc.array(process), fc.jsonValue())],
    ([answer]) => {
      const json = JSON.stringify(answer)
      assert.strictEqual(Option.isSome(parseCim(json)), isAnswer(JSON.parse(json)))
    }
  )
})

describe("what is left of this process", () => {
  const self = { pid: 1, startTime: 500, bootId: "boot", pidNamespace: "pid:[1]" }
  const table = ProcessTable.make({
    self: Effect.succeed(self),
    look: () => Effect.succeed(Sighting.present(500)),
    network: () => Effect.succeed("Unknown" as const),
    commandName: () => Effect.succeedNone,
    tolerance: 1
  })

  it.effect("is a file of an instance that it has released, and of no other copy of the library", () =>
    Effect.gen(function*() {
      const mine = yield* table
      const other = yield* table
      const record = { ...self, instanceId: "a" }
      yield* Effect.scoped(Effect.gen(function*() {
        yield* mine.noteRelease("a")
        assert.isFalse(yield* mine.isLeftover(record))
      }))
      assert.isTrue(yield* mine.isLeftover(record))
      assert.isFalse(yield* mine.isLeftover({ ...record, instanceId: "b" }))
      assert.isFalse(yield* other.isLeftover(record))
    }))

  it.effect("is a file of an earlier process with its pid, not one of another boot or of this very process", () =>
    Effect.gen(function*() {
      const { isLeftover } = yield* table
      const record = { ...self, instanceId: "a" }
      assert.isTrue(yield* isLeftover({ ...record, startTime: 498 }))
      assert.isFalse(yield* isLeftover({ ...record, startTime: 499 }))
      assert.isFalse(yield* isLeftover({ ...record, startTime: 498, bootId: "another" }))
    }))

  it.effect("is remembered for as long as it is met, however many instances come after it, and else for a hundred", () =>
    Effect.gen(function*() {
      const { isLeftover, noteRelease } = yield* table
      const isKnown = (instanceId: string) => isLeftover({ ...self, instanceId })
      for (const id of ["met", "forgotten"]) yield* Effect.scoped(noteRelease(id))
      for (let count = 0; count < 100; count += 1) {
        assert.isTrue(yield* isKnown("met"))
        yield* Effect.scoped(noteRelease(`later ${count}`))
      }
      assert.isTrue(yield* isKnown("met"))
      assert.isFalse(yield* isKnown("forgotten"))
    }))
})

describe("ProcessTable.layer", () => {
  it.effect.each(["darwin", "freebsd", "win32"])(
    "knows when it started without asking anybody, on %s",
    (platform) =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        assert.deepStrictEqual(yield* table.self, { pid: 1, startTime: 1000 })
        // `kill` throws ESRCH, so no process has pid 2. The table then starts neither ps(1) nor PowerShell to ask about it.
        assert.strictEqual(yield* table.liveness({ pid: 2, startTime: 1000 }), "Gone")
      }).pipe(
        Effect.provide(Layer.provide(
          ProcessTable.layer({
            pid: 1,
            platform,
            startedAt: 1000,
            kill: () => {
              throw Object.assign(new Error("no such process"), { code: "ESRCH" })
            }
          }),
          NodeContext.layer
        ))
      )
  )
})

/**
 * A stand-in for ps(1) that follows the rules of macOS or FreeBSD for `-o column=header`. On FreeBSD everything after the `=` is
 * the header of the column (bin/ps/keyword.c, parsefmt). On macOS the header ends at a comma, after which another column may
 * follow. The start time is written in the language of the locale.
 */
const psOf = (platform: "darwin" | "freebsd") =>
  Programs.make((_program, args, env) => {
    const formats = args.filter((_, at) => args[at - 1] === "-o")
    const columns = formats.flatMap((format) => platform === "darwin" ? format.split(",") : [format])
      .map((column) => column.slice(0, column.indexOf("=")))
    const values: Record<string, string> = {
      stat: "Ss  ",
      lstart: env["LC_ALL"] === "C" ? "Thu Jan  1 00:00:05 1970    " : "Do  1 Jan 00:00:05 1970     ",
      comm: platform === "darwin" ? "/usr/local/bin/node" : "node"
    }
    return { stdout: `${columns.map((column) => values[column] ?? "").join(" ")}\n` }
  })

describe("ps", () => {
  it.effect.each(["darwin", "freebsd"] as const)(
    "is asked for columns that it has on %s",
    (platform) =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        assert.deepStrictEqual(yield* table.commandName(2), Option.some("node"))
        assert.strictEqual(yield* table.liveness({ pid: 2, startTime: 5500 }), "Alive")
        assert.strictEqual(
          yield* table.liveness({ pid: 2, startTime: 1000 }),
          platform === "darwin" ? "Gone" : "Unknown"
        )
      }).pipe(
        Effect.provide(ProcessTable.layerPs({ pid: 1, platform, startedAt: 1000, kill: () => true })),
        Effect.provideService(CommandExecutor.CommandExecutor, psOf(platform).executor)
      )
  )
})

describe("PowerShell", () => {
  const stdout = JSON.stringify([
    { ProcessId: 2, Name: "node.exe", Created: "1970-01-01T00:00:05.0000000Z" },
    { ProcessId: 3, Name: "svchost.exe", Created: "1970-01-01T00:00:09.0000000Z" }
  ])

  const slow = (behaviour: Programs.Behaviour = { stdout, lasts: "3 seconds" }) => Programs.make(() => behaviour)

  const asking = <A, E, R>(programs: Programs.Programs, use: Effect.Effect<A, E, R>) =>
    use.pipe(
      Effect.provide(ProcessTable.layerCim({ pid: 1, platform: "win32", startedAt: 1000, kill: () => true })),
      Effect.provideService(CommandExecutor.CommandExecutor, programs.executor)
    )
  const liveness = (pid: number, startTime: number) =>
    Effect.flatMap(ProcessTable.ProcessTable, (table) => table.liveness({ pid, startTime }))
  const name = (pid: number) => Effect.flatMap(ProcessTable.ProcessTable, (table) => table.commandName(pid))
  const patient = (patience: Duration.DurationInput) =>
    Effect.provideService(ProcessTable.Patience, Duration.decode(patience))

  it.effect("is asked once, for all processes that somebody asks about", () =>
    Effect.gen(function*() {
      const programs = slow()
      const asked = yield* Effect.fork(asking(
        programs,
        Effect.all([liveness(2, 5100), liveness(3, 1000), liveness(4, 1000), name(2), name(3)], {
          concurrency: "unbounded"
        })
      ))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(asked), [
        "Alive",
        "Gone",
        "Unknown",
        Option.some("node.exe"),
        Option.some("svchost.exe")
      ])
      assert.strictEqual(programs.started.length, 1)
    }))

  it.effect("is not waited for by who has no patience, and answers who asks later", () =>
    Effect.gen(function*() {
      const programs = slow()
      yield* asking(
        programs,
        Effect.gen(function*() {
          const hurried = patient(0)(Effect.all([liveness(2, 1000), name(2)]))
          assert.deepStrictEqual(yield* hurried, ["Unknown", Option.none()])
          yield* TestClock.adjust("3 seconds")
          assert.deepStrictEqual(yield* hurried, ["Gone", Option.some("node.exe")])
          assert.strictEqual(programs.started.length, 1)
          // The cached answer is valid for a short time only.
          yield* TestClock.adjust("3 seconds")
          yield* hurried
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(programs.started.length, 2)
        })
      )
    }))

  it.effect("is waited for as long as the patience of one, by several questions one after the other", () =>
    Effect.gen(function*() {
      const programs = slow()
      const asked = yield* Effect.fork(asking(
        programs,
        patient("1 second")(Effect.all([liveness(2, 5100), name(2), liveness(2, 5100), name(3)]))
      ))
      yield* TestClock.adjust("1 second")
      const exit = yield* Effect.flatMap(Fiber.poll(asked), Effect.orDie)
      assert.deepStrictEqual(yield* exit, ["Unknown", Option.none(), "Unknown", Option.none()])
      // No caller needs the answer any more, so the program that was started to get it is killed.
      yield* Effect.yieldNow()
      assert.deepStrictEqual(programs.started.map(({ signals }) => signals), [["SIGKILL"]])
    }))

  it.effect.each<[string, Programs.Behaviour, number]>([
    ["hangs", { lasts: "1 day", ignoresSigterm: true }, 10],
    ["is missing", { isMissing: true }, 0],
    ["cannot be executed", { throws: Object.assign(new Error("spawn UNKNOWN"), { code: "UNKNOWN" }) }, 0],
    ["is forbidden to answer", { stdout: "Access denied", status: 1 }, 0]
  ])(
    "that %s leaves every question open, and is not tried again at once",
    ([, behaviour, seconds]) =>
      Effect.gen(function*() {
        const programs = slow(behaviour)
        yield* asking(
          programs,
          Effect.gen(function*() {
            const asked = yield* Effect.fork(liveness(2, 5100))
            yield* TestClock.adjust(Duration.seconds(seconds))
            assert.strictEqual(yield* Fiber.join(asked), "Unknown")
            assert.strictEqual(yield* liveness(2, 5100), "Unknown")
            assert.isTrue(Option.isNone(yield* name(2)))
            assert.strictEqual(programs.started.length, 1)
          })
        )
        if (seconds > 0) assert.deepStrictEqual(programs.started.map(({ signals }) => signals), [["SIGKILL"]])
      })
  )
})

unless(notLinux).describe("live, on Linux", () => {
  const live = (name: string, self: () => Effect.Effect<void, unknown, Live>, reason?: string) =>
    unless(reason).scopedLive(
      name,
      () => Effect.provide(self(), Layer.provideMerge(ProcessTable.layerLive, NodeContext.layer))
    )
  type Live = ProcessTable.ProcessTable | NodeContext.NodeContext | Scope.Scope

  /**
   * Returns the identity that the process with this pid would write into a lock file. Its boot id and its namespaces are those of
   * the process that runs this test.
   */
  const identityOf = (pid: number) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const table = yield* ProcessTable.ProcessTable
      const seen = parseProcStat(yield* fs.readFileString(`/proc/${pid}/stat`))
      return { ...yield* table.self, pid, startTime: Option.getOrThrow(seen).startTicks }
    })
  const liveness = (recorded: OwnerRecord.ProcessIdentity) =>
    Effect.flatMap(ProcessTable.ProcessTable, (table) => table.liveness(recorded))

  live("this process is alive, and knows itself in full", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const self = yield* table.self
      assert.strictEqual(self.pid, process.pid)
      assert.isAbove(self.startTime ?? 0, 0)
      assert.match(self.bootId ?? "", /^[0-9a-f-]{36}$/)
      assert.match(self.pidNamespace ?? "", /^pid:\[\d+\]$/)
      assert.strictEqual(yield* table.liveness(self), "Alive")
      assert.match(Option.getOrThrow(yield* table.commandName(process.pid)), /^node/)
    }))

  live("our pid with another start, boot or namespace is not us", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const self = yield* table.self
      const startTime = self.startTime ?? 0
      assert.strictEqual(yield* table.liveness({ ...self, startTime: startTime + 100 }), "Gone")
      assert.strictEqual(yield* table.liveness({ ...self, startTime: startTime - 100 }), "Gone")
      assert.strictEqual(yield* table.liveness({ ...self, bootId: "another" }), "Unknown")
      assert.strictEqual(yield* table.liveness({ ...self, pidNamespace: "pid:[1]" }), "Unknown")
      const { startTime: _, ...unstarted } = self
      assert.strictEqual(yield* table.liveness(unstarted), "Unknown")
    }))

  live("a child is alive, and gone once it was killed and reaped", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const child = yield* run("sleep", ["30"])
      const recorded = yield* identityOf(child.pid)
      assert.strictEqual(yield* liveness(recorded), "Alive")
      assert.deepStrictEqual(yield* table.commandName(child.pid), yield* namesOf("sleep"))
      yield* child.kill
      assert.strictEqual(yield* liveness(recorded), "Gone")
      assert.isTrue(Option.isNone(yield* table.commandName(child.pid)))
    }))

  /**
   * The name of the file that a command runs. It may differ from the command, because `sleep` can be a link to a program
   * with many names.
   */
  const namesOf = (command: string) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.realPath(`/bin/${command}`)
      return Option.some(path.split("/").pop() ?? "")
    })

  live("a stopped child is alive", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const child = yield* run("sleep", ["30"])
      const recorded = yield* identityOf(child.pid)
      process.kill(child.pid, "SIGSTOP")
      yield* eventually(
        "the child to stop",
        Effect.map(fs.readFileString(`/proc/${child.pid}/stat`), (text) =>
          Option.exists(parseProcStat(text), ({ state }) => state === "T"))
      )
      assert.strictEqual(yield* liveness(recorded), "Alive")
    }))

  live("a zombie is gone", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      // The shell becomes `sleep`, which never waits for its child. So the child is a zombie after it was killed.
      const parent = yield* run("sh", ["-c", "sleep 30 & echo $!; exec sleep 30"])
      const pid = Number(yield* parent.line)
      const recorded = yield* identityOf(pid)
      assert.strictEqual(yield* liveness(recorded), "Alive")
      process.kill(pid, "SIGKILL")
      yield* eventually(
        "a zombie",
        Effect.map(fs.readFileString(`/proc/${pid}/stat`), (text) =>
          Option.exists(parseProcStat(text), ({ state }) => state === "Z"))
      )
      assert.strictEqual(yield* liveness(recorded), "Gone")
    }))

  live("a zombie whose other threads still run is alive until they end", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "zombie-" })
      yield* fs.writeFileString(
        `${folder}/leader.c`,
        `#include <pthread.h>
         #include <stdio.h>
         #include <unistd.h>
         static void *stay(void *_) { puts("staying"); fflush(stdout); sleep(30); return _; }
         int main(void) { pthread_t other; pthread_create(&other, 0, stay, 0); pthread_exit(0); }`
      )
      const compiler = yield* run("cc", ["-pthread", "-o", `${folder}/leader`, `${folder}/leader.c`])
      assert.strictEqual(yield* compiler.ended, "")
      const leader = yield* run(`${folder}/leader`, [])
      assert.strictEqual(yield* leader.line, "staying")
      yield* eventually(
        "a zombie",
        Effect.map(fs.readFileString(`/proc/${leader.pid}/stat`), (text) =>
          Option.exists(parseProcStat(text), ({ state, threads }) => state === "Z" && threads === 2))
      )
      const recorded = yield* identityOf(leader.pid)
      assert.strictEqual(yield* liveness(recorded), "Alive")
      yield* leader.kill
      assert.strictEqual(yield* liveness(recorded), "Gone")
    }), works("cc", ["--version"]) ? undefined : "needs cc(1)")

  live("a thread under the recorded pid is not the process", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const threads = (yield* fs.readDirectory("/proc/self/task")).map(Number).filter((tid) => tid !== process.pid)
      assert.isNotEmpty(threads)
      const table = yield* ProcessTable.ProcessTable
      for (const pid of threads) {
        assert.strictEqual(yield* liveness({ ...yield* table.self, pid }), "Gone", `thread ${pid}`)
      }
    }))

  live("a pid that cannot exist is gone", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      assert.strictEqual(yield* liveness({ ...yield* table.self, pid: 2 ** 22 + 1 }), "Gone")
    }))

  // -------------------------------------------------------------------------
  // from other namespaces: the fixture reports whether it sees a process of this namespace as alive
  // -------------------------------------------------------------------------

  const fixture = Effect.runSync(Effect.cached(Bundle.text(new URL("../fixtures/liveness.ts", import.meta.url))))

  const seenFrom = (
    wrapper: ReadonlyArray<string>,
    recorded: OwnerRecord.ProcessIdentity
  ) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "liveness-" })
      // One test runs the fixture as another user, who must be able to read it.
      yield* fs.chmod(folder, 0o755)
      yield* fs.writeFileString(`${folder}/liveness.mjs`, yield* fixture)
      const [command = process.execPath, ...args] = [
        ...wrapper,
        process.execPath,
        `${folder}/liveness.mjs`,
        JSON.stringify(recorded)
      ]
      const seen = yield* run(command, args)
      const verdict = yield* seen.line
      const self: unknown = JSON.parse(yield* seen.line)
      return { verdict, self, network: yield* seen.line }
    })

  live("another process sees us alive, and is itself another one", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const self = yield* table.self
      const seen = yield* seenFrom([], self)
      assert.strictEqual(seen.verdict, "Alive")
      assert.deepInclude(seen.self, { bootId: self.bootId, pidNamespace: self.pidNamespace })
      assert.notDeepEqual(seen.self, self)
    }))

  const inTime = ["unshare", "-T", "--boottime", "100000", "--fork"]
  live("a time namespace does not change the verdict", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const self = yield* table.self
      assert.strictEqual((yield* seenFrom(inTime, self)).verdict, "Alive")
      assert.strictEqual(
        (yield* seenFrom(inTime, { ...self, startTime: (self.startTime ?? 0) + 100 })).verdict,
        "Gone"
      )
    }), works("unshare", [...inTime.slice(1), "true"]) ? undefined : "needs time namespaces")

  const elsewhere = ["unshare", "--pid", "--mount-proc", "--fork"]
  live("from another PID namespace nothing can be told", () =>
    Effect.gen(function*() {
      const table = yield* ProcessTable.ProcessTable
      const self = yield* table.self
      assert.strictEqual((yield* seenFrom(elsewhere, self)).verdict, "Unknown")
      // In the new PID namespace, pid 1 belongs to another process. The verdict for the recorded pid 1 must be `Unknown` as well.
      assert.strictEqual((yield* seenFrom(elsewhere, { ...self, pid: 1 })).verdict, "Unknown")
    }), works("unshare", [...elsewhere.slice(1), "true"]) ? undefined : "needs root and unshare(1)")

  const alone = ["unshare", "--net"]
  live(
    "from another network namespace, it is in another; a process is in its own",
    () =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        const self = yield* table.self
        assert.strictEqual(yield* table.network(self.pid), "Same")
        assert.deepInclude(yield* seenFrom([], self), { verdict: "Alive", network: "Same" })
        assert.deepInclude(yield* seenFrom(alone, self), { verdict: "Alive", network: "Other" })
        const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        assert.deepInclude(yield* seenFrom(asNobody, self), { verdict: "Alive", network: "Unknown" })
        // No process has this pid, because it is above the highest pid that 64-bit Linux gives.
        assert.strictEqual(yield* table.network(2 ** 22 + 1), "Unknown")
      }),
    works("unshare", [...alone.slice(1), "true"]) && works("setpriv", ["--reuid=65534", "true"])
      ? undefined
      : "needs root, unshare(1) and setpriv(1)"
  )

  const hidden = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"",
    "sh"
  ]
  live(
    "what /proc hides from another user is unknown, not gone",
    () =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        assert.strictEqual((yield* seenFrom(hidden, yield* table.self)).verdict, "Unknown")
      }),
    works("unshare", [...hidden.slice(1), process.execPath, "-e", "0"])
      ? undefined
      : "needs root, unshare(1) and setpriv(1)"
  )
})

unless(notPosix ?? (works("ps", ["-o", "stat=,lstart=,comm=", "-p", "1"]) ? undefined : "needs ps(1)")).describe(
  "live, from ps",
  () => {
    const live = (name: string, self: () => Effect.Effect<void, unknown, Live>) =>
      it.scopedLive(
        name,
        () =>
          Effect.provide(
            self(),
            Layer.provideMerge(
              ProcessTable.layerPs({ ...ProcessTable.currentProcess(), platform: "darwin" }),
              NodeContext.layer
            )
          )
      )
    type Live = ProcessTable.ProcessTable | NodeContext.NodeContext | Scope.Scope

    live("the tree of a process has its descendants, each after its parent", () =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        const shell = yield* run("sh", ["-c", "sleep 60 & echo $!; wait"])
        const sleeper = Number(yield* shell.line)
        const tree = yield* table.tree([shell.pid])
        assert.deepStrictEqual(tree.map(({ pid }) => pid), [shell.pid, sleeper])
        for (const process of tree) assert.strictEqual(yield* table.liveness(process), "Alive")
        assert.includeMembers((yield* table.tree([process.pid])).map(({ pid }) => pid), [
          process.pid,
          shell.pid,
          sleeper
        ])
        process.kill(sleeper, "SIGKILL")
        yield* shell.ended
        assert.deepStrictEqual(yield* table.tree([shell.pid]), [])
      }))

    live("this process is alive, with another start it is not", () =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        const self = yield* table.self
        assert.strictEqual(yield* table.liveness(self), "Alive")
        assert.strictEqual(yield* table.liveness({ ...self, startTime: (self.startTime ?? 0) - 10_000 }), "Gone")
        assert.match(Option.getOrThrow(yield* table.commandName(process.pid)), /^(node|MainThread)/)
      }))

    live("a child is alive, a zombie gone, and gone is gone", () =>
      Effect.gen(function*() {
        const table = yield* ProcessTable.ProcessTable
        const self = yield* table.self
        const parent = yield* run("sh", ["-c", "sleep 30 & echo $!; exec sleep 30"])
        const zombie = Number(yield* parent.line)
        const { startTime: _, ...where } = self
        process.kill(zombie, "SIGKILL")
        // `where` has no start time. Without a start time a living process is `Unknown`, so only the state of the process
        // (zombie) makes the verdict `Gone`.
        yield* eventually("a zombie", Effect.map(table.liveness({ ...where, pid: zombie }), (seen) => seen === "Gone"))
        assert.strictEqual(yield* table.liveness({ ...where, pid: parent.pid }), "Unknown")
        yield* parent.kill
        assert.strictEqual(yield* table.liveness({ ...where, pid: parent.pid }), "Gone")
        assert.isTrue(Option.isNone(yield* table.commandName(parent.pid)))
      }))
  }
)
