import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as Fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import * as Gateways from "./support/gateways.ts"
import * as Namespaces from "./support/namespaces.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

const notLinux = Program.isLinux ? undefined : "needs proc(5)"

/** Returns one value of `/proc/<pid>/status`. `seen` is the path of a `/proc`, which may be that of another PID namespace. */
const statusOf = (pid: number, key: string, seen = "/proc") =>
  Effect.promise(async () =>
    new RegExp(`^${key}:\\s+(\\S+)`, "m").exec(await Fs.readFile(`${seen}/${pid}/status`, "utf8"))?.[1]
  )

describe("a child that outlives its gateway", () => {
  it.scopedLive.skipIf(notLinux !== undefined)(
    Program.named("keeps neither lock nor port: the next start is at once", notLinux),
    () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        const { configPath, port, stateDir } = site
        const app = yield* Gateways.startListening(site, {
          main: fileURLToPath(new URL("../fixtures/app.mjs", import.meta.url)),
          args: [JSON.stringify({ configPath, port, stateDir }), "with-child"]
        })
        const child = Number(/^child (\d+)$/.exec(yield* app.line(/^child \d+$/))?.[1])
        yield* Effect.addFinalizer(() => Effect.ignore(Effect.try(() => process.kill(child, "SIGKILL"))))
        yield* Gateways.stop(app, "SIGKILL")

        const next = yield* Gateways.startListening(site)
        assert.strictEqual(yield* statusOf(child, "Name"), "sleep")
        const ended = yield* Gateways.stop(next)
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${app.pid} since`))
        assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
      })
  )
})

describe("an owner that is a zombie", () => {
  Variants.each(
    "has left its lock, though its parent does not wait for it",
    notLinux,
    (main) =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        // The shell starts the gateway as its child and then becomes `sleep`. `sleep` never waits for its children, so the
        // gateway stays a zombie after its death.
        const parent = yield* Gateways.startListening(site, {
          main,
          under: ["sh", "-c", "\"$@\" & exec sleep 300", "sh"]
        })
        const { pid } = yield* Gateways.readRecord(Gateways.configLock(site))
        assert.strictEqual(pid, yield* Namespaces.childOf(parent))
        // The parent, `sleep`, never waits for its child. So the gateway keeps its pid until `sleep` ends, even after it was killed
        // below. So the signal that this finalizer sends cannot reach another process.
        yield* Effect.addFinalizer(() => Effect.ignore(Effect.try(() => process.kill(pid, "SIGKILL"))))
        yield* Effect.sync(() => process.kill(pid, "SIGKILL"))
        yield* Effect.repeat(statusOf(pid, "State"), {
          until: (state) => state === "Z",
          schedule: Schedule.spaced("10 millis").pipe(Schedule.intersect(Schedule.recurs(1000)))
        })
        assert.isTrue(process.kill(pid, 0), "kill(2) takes it for alive")

        const ended = yield* Gateways.stop(yield* Gateways.startListening(site, { main }))
        yield* Gateways.assertGone(site, ended)
        Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${pid} since`))
        assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
        assert.strictEqual(yield* statusOf(pid, "State"), "Z")
      })
  )
})

describe("a pid that was given away", () => {
  const gateway = 100

  /**
   * A shell script for a new PID namespace, where a process can choose the next pid (`ns_last_pid`). The script starts a gateway
   * and kills it. It then starts `stranger`, a process that is not a gateway, with the pid of the killed gateway. Then the shell,
   * which is pid 1, becomes the next gateway.
   */
  const giveAway = (stranger: string) =>
    [
      "next() { echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; }",
      "log=$1; shift",
      `next ${gateway}; "$@" 2> "$log" &`,
      `i=0; until grep -q 'gateway listening' "$log"; do [ $((i += 1)) -lt 2000 ]; sleep 0.02; done`,
      `kill -KILL ${gateway}; wait ${gateway} || :`,
      stranger,
      `kill -0 ${gateway}`,
      "exec \"$@\""
    ].join("\n")

  const strangers = [
    { what: "a stranger", start: `next ${gateway}; sleep 300 &`, leader: gateway },
    {
      what: "a stranger's thread",
      // Node's threads take the pids after Node's own pid, so one of them gets the dead gateway's pid. Until Node has started
      // its threads, no other process may start and take that pid.
      start: [
        "mkfifo \"$log.ready\"",
        `next ${
          gateway - 2
        }; "$1" -e 'fs.writeFileSync(process.argv[1], "ready"); setInterval(() => {}, 1e6)' "$log.ready" &`,
        "read -r _ < \"$log.ready\" || :"
      ].join("\n"),
      leader: gateway - 2
    }
  ]
  for (const { leader, start, what } of strangers) {
    Variants.each(
      `to ${what} keeps nobody out, and who has it is left alone`,
      Program.noNamespaces,
      (main) =>
        Effect.gen(function*() {
          const site = yield* Gateways.newSite
          const next = yield* Gateways.startListening(site, {
            main,
            under: [...Namespaces.pid, "sh", "-e", "-c", giveAway(start), "sh", `${site.root}/first.log`]
          })
          const seen = `/proc/${yield* Namespaces.childOf(next)}/root/proc`
          assert.strictEqual(yield* statusOf(gateway, "Tgid", seen), String(leader))
          assert.match((yield* statusOf(leader, "State", seen)) ?? "", /^[SR]$/)

          const ended = yield* Namespaces.stopChild(next)
          yield* Gateways.assertGone(site, ended)
          Gateways.assertReclaimedOnce(ended, new RegExp(`left by pid ${gateway} since`))
          assert.strictEqual(Gateways.count(ended.stderr, /waiting/), 0, ended.stderr)
        })
    )
  }
})
