import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { inherited } from "../../src/internal/child.ts"
import * as FakeTools from "../e2e/support/fakeTools.ts"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Processes from "../e2e/support/processes.ts"
import * as Program from "../e2e/support/program.ts"
import * as Bundle from "../fixtures/bundle.ts"

const source = fileURLToPath(new URL("../../src", import.meta.url))

describe("what a child inherits", () => {
  it("is where programs, files and the bus are, and no secret", () => {
    const given = { PATH: "/bin", HOME: "/root", LC_ALL: "C", LC_: "no", ...FakeTools.handed }
    const { LC_: _, ...passed } = given
    assert.deepStrictEqual(inherited({ ...given, ...FakeTools.withheld, EMPTY: undefined }), passed)
  })

  it("is found by a name of any case, as Windows has them", () => {
    assert.deepStrictEqual(
      inherited({ Path: "C:\\", SystemRoot: "C:\\Windows", "ProgramFiles(x86)": "C:\\P", Token: "x" }),
      {
        Path: "C:\\",
        SystemRoot: "C:\\Windows",
        "ProgramFiles(x86)": "C:\\P"
      }
    )
  })
})

describe("the library's children", () => {
  const names = ["ps", "lsof", "powershell.exe", "netstat.exe", "systemctl", "systemd-notify", "launchctl", "schtasks"]

  it.scopedLive.skipIf(!Program.isLinux)(
    Program.named(`${names.join(", ")} are handed no secret`, Program.isLinux ? undefined : "needs Linux"),
    () =>
      Effect.gen(function*() {
        const folder = yield* Gateways.temporaryFolder
        const tools = yield* FakeTools.make(names)
        const program = yield* Bundle.file(new URL("../fixtures/tools.ts", import.meta.url), folder)
        const environment: Readonly<Record<string, string>> = { PATH: tools.path, HOME: folder, ...FakeTools.handed }
        const running = yield* Processes.start([process.execPath, program, folder], {
          cwd: folder,
          env: { ...environment, ...FakeTools.withheld }
        })
        const { code, stderr } = yield* running.ended
        assert.strictEqual(code, 0, stderr)
        const started = yield* tools.started
        assert.sameMembers([...new Set(started.map(({ program }) => program))], names)
        for (const { environment: given, program } of started) {
          // The gateway sets some variables itself: the socket for `systemd-notify`, and the locale and the time zone for `ps`,
          // so that the output of `ps` can be parsed.
          const own = program === "systemd-notify" && "NOTIFY_SOCKET" in given
            ? { NOTIFY_SOCKET: FakeTools.withheld["NOTIFY_SOCKET"] }
            : program === "ps" && "LC_ALL" in given
            ? { LC_ALL: "C", TZ: "UTC" }
            : {}
          assert.deepStrictEqual({ ...given }, { ...environment, ...own }, program)
        }
        assert.isTrue(started.some(({ environment }) => "NOTIFY_SOCKET" in environment))
      })
  )

  it("are started nowhere else", async () => {
    const names = await Fs.readdir(source, { recursive: true })
    const starters = []
    for (const name of names.filter((name) => name.endsWith(".ts"))) {
      const text = await Fs.readFile(Path.join(source, name), "utf8")
      const code = text.replace(/^ \*.*$/gm, "")
      if (
        /\bCommand\.(?:make|start|string|lines|stream|streamLines|exitCode)\(|\bCommand\.(?:string|exitCode)\b|child_process|\bworker_threads\b|\.cluster\b/
          .test(code) &&
        !name.startsWith("cli/CommandLine")
      ) {
        starters.push(name)
      }
    }
    // `internal/child.ts` withholds environment variables that can be secret. `ChildProgram` does not use it, because it starts the
    // user's own command, which must inherit every variable. The watchdog of that command has no time limit.
    assert.deepStrictEqual(starters.toSorted(), [
      Path.join("host", "ChildProgram.ts"),
      Path.join("host", "CommandWatchdog.ts"),
      // A thread, and types alone.
      Path.join("host", "SelfFence.ts"),
      Path.join("host", "watchdogProgram.ts"),
      Path.join("internal", "child.ts")
    ])
  })
})
