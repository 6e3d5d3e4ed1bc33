import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Bundle from "../fixtures/bundle.ts"
import { isLinux, named } from "../fixtures/machine.ts"

import * as Processes from "../fixtures/processes.ts"
import * as Gateways from "./support/gateways.ts"
import * as Looking from "./support/looking.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

const missing = !isLinux || !Program.kernelLocks || !Processes.works("python3", ["-V"])
  ? "needs Linux, kernel locks and python3"
  : undefined

const live = <A, E>(name: string, test: () => Effect.Effect<A, E, Scope.Scope>) =>
  it.scopedLive.skipIf(missing !== undefined)(named(name, missing), test)

const server = (site: Gateways.Site) => ["python3", "-m", "http.server", String(site.port), "--bind", "127.0.0.1"]

/** Starts a program that, like `gateway exec`, holds the lock of a new site (folders and a port) and runs a command. */
const wrapping = (
  ready: string,
  commandOf: (site: Gateways.Site) => ReadonlyArray<string> = server
) =>
  Effect.gen(function*() {
    const site = yield* Gateways.newSite
    const path = yield* Bundle.file(new URL("../fixtures/wrapping.ts", import.meta.url), site.root)
    const wrapper = yield* Processes.run(process.execPath, [
      path,
      site.stateDir,
      site.configPath,
      String(site.port),
      ready,
      ...commandOf(site)
    ])
    const command = Number(yield* wrapper.line)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        try {
          process.kill(command, "SIGKILL")
        } catch {
          // The command has ended already.
        }
      })
    )
    return { site, wrapper, command }
  })

const assertStopped = (
  site: Gateways.Site,
  ended: { readonly code: number | null; readonly stdout: string },
  pid: number
) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(
      [ended.code, ended.stdout],
      [0, `stopped gateway on ${Gateways.url(site)} (pid ${pid})\n`]
    )
    assert.isTrue(yield* Ports.isFree(site.port))
    assert.notStrictEqual((yield* Gateways.run(site, { flags: ["status"] })).code, 0)
  })

describe("an owner by exec", () => {
  live("runs and is healthy by its rule, and the listener is the owner's", () =>
    Effect.gen(function*() {
      const { command, site, wrapper } = yield* wrapping("port")
      const { rows, status } = yield* Looking.expectStatus(site, "running")
      assert.deepInclude(status.owner, { pid: wrapper.pid, pidMeaning: "Alive", command: "node", ready: "port" })
      assert.deepInclude(status.health, { healthy: true, identity: "owner", rule: "port" })
      assert.deepInclude(status.port?.listeners[0], { pid: command, isOwner: true })
      assert.match(rows["held by"] ?? "", new RegExp(`^pid ${wrapper.pid} \\(node\\)$`))
      const stopped = yield* Gateways.run(site, { flags: ["stop"] })
      yield* assertStopped(site, stopped, wrapper.pid)
      yield* wrapper.ended
      assert.deepStrictEqual(yield* Gateways.namesIn(Gateways.locksFolder(site)), [])
    }))

  live("with its wrapper killed is the command, which still has the lock", () =>
    Effect.gen(function*() {
      const { command, site, wrapper } = yield* wrapping("http:/")
      yield* wrapper.kill
      const { rows, status } = yield* Looking.expectStatus(site, "running")
      assert.deepInclude(status.owner, { pid: command, pidMeaning: "Alive", endedWrapper: wrapper.pid })
      assert.match(status.owner?.command ?? "", /^python3/)
      assert.deepInclude(status.lock, { state: "held", enforcement: "kernel" })
      assert.deepInclude(status.health, { healthy: true, identity: "owner", rule: "http:/" })
      assert.match(
        rows["held by"] ?? "",
        new RegExp(`^pid ${command} \\(python3.*; its wrapper \\(pid ${wrapper.pid}\\) has ended$`)
      )
      const { lines } = yield* Looking.list(site, { env: { XDG_STATE_HOME: site.root } })
      assert.isTrue(
        lines.some((line) => line.includes("running") && line.includes(`pid ${command} (`)),
        lines.join("\n")
      )

      const refused = yield* Gateways.run(site, { flags: ["run"] })
      Gateways.assertRefused(
        refused,
        `another gateway instance is already listening on ${Gateways.url(site)}`
      )
      assert.match(Gateways.facts(refused)["held by"] ?? "", new RegExp(`^pid ${command} `))

      yield* assertStopped(site, yield* Gateways.run(site, { flags: ["stop"] }), command)
    }))

  live(
    "beside it, a supervised start is told that the owner is healthy, and --ensure is satisfied",
    () =>
      Effect.gen(function*() {
        const { site, wrapper } = yield* wrapping("port")
        const supervised = yield* Gateways.run(site, { flags: ["--supervisor", "systemd"] })
        assert.strictEqual(supervised.code, 78, supervised.stderr)
        const ensured = yield* Gateways.run(site, { flags: ["--ensure"] })
        assert.deepStrictEqual(
          [ensured.code, ensured.stdout],
          [0, `gateway already running on ${Gateways.url(site)} (pid ${wrapper.pid})\n`]
        )
      })
  )

  live(
    "with a broken path is unhealthy, and stop --force kills the tree of a command that ignores SIGTERM",
    () =>
      Effect.gen(function*() {
        const { site, wrapper } = yield* wrapping(
          "http:/absent",
          (site) => ["sh", "-c", `trap '' TERM; ${server(site).join(" ")} & wait; sleep 60`]
        )
        const { status } = yield* Looking.expectStatus(site, "unhealthy")
        assert.deepInclude(status.health, { healthy: false, rule: "http:/absent" })
        yield* wrapper.kill
        assert.strictEqual((yield* Looking.expectStatus(site, "unhealthy")).status.owner?.endedWrapper, wrapper.pid)
        const stopped = yield* Gateways.run(site, { flags: ["stop", "--force", "--timeout", "1 second"] })
        assert.strictEqual(stopped.code, 0, stopped.stderr)
        assert.match(stopped.stdout, /^killed gateway on /)
        assert.isTrue(yield* Ports.isFree(site.port))
      })
  )

  live("with wrapper and command killed, the process that still has the lock is named", () =>
    Effect.gen(function*() {
      const { command, site, wrapper } = yield* wrapping("none", () => ["sh", "-c", "sleep 60 & wait"])
      yield* wrapper.kill
      yield* Effect.sync(() => process.kill(command, "SIGKILL"))
      const { rows, status } = yield* Looking.expectStatus(site, "running")
      const [holder] = status.lock.holders ?? []
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (holder !== undefined) process.kill(holder.pid, "SIGKILL")
        })
      )
      assert.deepInclude(status.owner, { pid: wrapper.pid, pidMeaning: "Gone" })
      assert.strictEqual(holder?.command, "sleep")
      assert.strictEqual(rows["lock open in"], `pid ${holder?.pid} (sleep)`)
    }))

  live("that needs only its lock runs, although it does not listen", () =>
    Effect.gen(function*() {
      const { command, site, wrapper } = yield* wrapping("none", () => ["sleep", "60"])
      assert.strictEqual((yield* Looking.expectStatus(site, "running")).status.owner?.pid, wrapper.pid)
      yield* wrapper.kill
      assert.strictEqual((yield* Looking.expectStatus(site, "running")).status.owner?.pid, command)
      const refused = yield* Gateways.run(site, { flags: ["run"] })
      Gateways.assertRefused(refused, `gateway already running (pid ${command}) on ${Gateways.url(site)}`)
      yield* assertStopped(site, yield* Gateways.run(site, { flags: ["stop"] }), command)
    }))
})
