import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"
import * as Variants from "./support/variants.ts"

/**
 * Returns an environment with state and config folders for one test alone, and a function that makes the flags for a profile in
 * these folders.
 */
const profiles = Effect.gen(function*() {
  const site = yield* Gateways.newSite
  const env = {
    XDG_STATE_HOME: Path.join(site.root, "state"),
    XDG_CONFIG_HOME: Path.join(site.root, "config"),
    LOCALAPPDATA: Path.join(site.root, "state"),
    APPDATA: Path.join(site.root, "config")
  }
  const of = (profile: string) =>
    Effect.map(Ports.reserve, (port) => ({ port, args: ["--profile", profile, "--port", String(port)] }))
  return { site, env, of }
})

/** The uid of a user under which no other test starts a gateway. */
const loner = 61_803

describe("list", () => {
  Variants.each(
    "names those that run, serve nobody or are dead, each with its verdict",
    undefined,
    (main) =>
      Effect.gen(function*() {
        const { env, of, site } = yield* profiles
        const [blue, green, red] = yield* Effect.all([of("blue"), of("green"), of("red")])
        const running = yield* Gateways.startListening(site, { main, env, args: blue.args })
        const silent = yield* Gateways.startListening(site, { main, env, args: green.args })
        const dead = yield* Gateways.startListening(site, { main, env, args: red.args })
        yield* silent.signal("SIGSTOP")
        yield* Gateways.stop(dead, "SIGKILL")

        const { lines, list } = yield* Looking.list(site, { main, env })
        // `list` also shows gateways that other tests run under the same user at the same time.
        const mine = list.gateways.filter(({ stateDir }) => stateDir.startsWith(site.root))
        assert.deepStrictEqual(
          mine.map(({ owner, profile, verdict }) => [profile, verdict, owner?.pid, owner?.port]),
          [
            ["blue", "running", running.pid, blue.port],
            ["green", "unhealthy", silent.pid, green.port],
            ["red", "dead", dead.pid, red.port]
          ]
        )
        assert.match(lines[0] ?? "", /^PROFILE +VERDICT +OWNER +ADDRESS +SINCE +STATE DIRECTORY$/)
        const line = lines.find((line) => line.endsWith(mine[0]?.stateDir ?? "none"))
        assert.match(
          line ?? "",
          new RegExp(`^blue +running +pid ${running.pid} \\(node\\) +${Gateways.url({ ...site, ...blue })} `)
        )
      })
  )

  const elsewhere = Program.isLinux ? undefined : "needs Linux"
  it.scopedLive.skipIf(elsewhere !== undefined)(
    Program.named("finds one with a state directory of its own while it runs", elsewhere),
    () =>
      Effect.gen(function*() {
        const { env, site } = yield* profiles
        const owner = yield* Gateways.startListening(site, { env })
        const { list } = yield* Looking.list(site, { env })
        const mine = list.gateways.filter(({ stateDir }) => stateDir === site.stateDir)
        assert.deepStrictEqual(
          mine.map(({ configPath, lock, owner, profile, verdict }) => [
            profile,
            verdict,
            owner?.pid,
            lock.path,
            configPath
          ]),
          [[undefined, "running", owner.pid, Gateways.configLock(site), site.configPath]]
        )
        yield* Gateways.stop(owner, "SIGKILL")
        const after = yield* Looking.list(site, { env })
        assert.notInclude(after.list.gateways.map(({ stateDir }) => stateDir), site.stateDir)
      })
  )

  it.scopedLive.skipIf(Program.noOtherUser !== undefined)(
    Program.named("says so where there is none, and where it cannot look", Program.noOtherUser),
    () =>
      Effect.gen(function*() {
        const { env, site } = yield* profiles
        yield* Effect.promise(() => Fs.chmod(site.root, 0o755))
        const none = yield* Looking.list(site, { env, under: Program.as(loner) })
        assert.deepStrictEqual(none.list.gateways, [])
        assert.deepStrictEqual(none.lines, ["this user has no gateway on this host"])
        yield* Effect.promise(() =>
          Fs.mkdir(Path.join(site.root, "state", "gateway-lock"), { recursive: true, mode: 0o700 })
        )
        const hidden = yield* Looking.list(site, { env, under: Program.as(loner) })
        assert.strictEqual(hidden.list.notCovered.length, 1)
        assert.match(hidden.list.notCovered[0] ?? "", /EACCES/)
        assert.match(hidden.lines.at(-1) ?? "", /^not covered: .*EACCES/)
      })
  )
})
