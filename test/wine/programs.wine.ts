/**
 * These tests are about the Windows programs from which the gateway gets information (PowerShell and netstat), and about the
 * shells from which users start the gateway. In wine, stand-ins replace PowerShell and netstat. They answer with the true state
 * of the wine prefix, which is the folder of one simulated Windows.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, type Scope } from "effect"
import * as Gateways from "../e2e/support/gateways.ts"
import * as Windows from "./support/windows.ts"

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const value = yield* self
    return { value, took: (yield* Clock.currentTimeMillis) - began }
  })

const withPowerShell = (milliseconds: number): Effect.Effect<Gateways.Site, never, Scope.Scope> =>
  Effect.tap(
    Windows.newSite(),
    (site) => Windows.write(`${site.root}\\powershell.delay`, String(milliseconds))
  )

/** How long a start, a refused start and a `status` take, in milliseconds, if PowerShell answers only after `milliseconds`. */
const times = (milliseconds: number) =>
  Effect.scoped(Effect.gen(function*() {
    const site = yield* withPowerShell(milliseconds)
    const started = yield* timed(Windows.startListening(site))
    const refused = yield* timed(Windows.gateway(site))
    Gateways.assertRefused(refused.value, `another gateway instance is already listening on ${Gateways.url(site)}`)
    const status = yield* timed(Windows.gateway(site, { command: "status" }))
    assert.strictEqual(status.value.code, 0, status.value.stdout)
    return { started: started.took, refused: refused.took, status: status.took }
  }))

describe("PowerShell on Windows", () => {
  it.scopedLive("holds up no start, refused start or status by more than 5 seconds, slow or hanging (N71)", () =>
    Effect.gen(function*() {
      const quick = yield* times(0)
      for (const milliseconds of [3000, 600_000]) {
        const late = yield* times(milliseconds)
        const text = JSON.stringify({ milliseconds, quick, late })
        assert.isBelow(late.started, quick.started + 5000, text)
        assert.isBelow(late.refused, quick.refused + 5000, text)
        assert.isBelow(late.status, quick.status + 5000, text)
      }
    }))

  it.scopedLive("that hangs does not make a living owner's lock free, without the addon", () =>
    Effect.gen(function*() {
      const site = yield* withPowerShell(600_000)
      const bare = { main: Windows.installed.bareMain }
      yield* Windows.startListening(site, bare)
      const before = yield* Windows.record(site)
      const other = yield* Gateways.onAnotherPort(site)
      const { code, stderr } = yield* Windows.gateway(other, { ...bare, flags: ["--lock-timeout", "2 seconds"] })
      assert.strictEqual(code, 1, stderr)
      assert.match(stderr, /GatewayLockError: gateway already running/)
      assert.deepStrictEqual(yield* Windows.record(site), before)
    }))
})

describe("advice on Windows", () => {
  it.scopedLive("can be pasted into cmd, with a folder of spaces and an ampersand (N72)", () =>
    Effect.gen(function*() {
      const site = yield* Windows.newSite("one & (two)")
      yield* Windows.startListening(site)
      const advice = Gateways.facts(yield* Windows.gateway(site))
      const paste = (line: string | undefined) =>
        Effect.zipRight(
          Windows.write(`${site.root}\\pasted.cmd`, `@${line}\r\n`),
          Windows.run(["cmd.exe", "/d", "/c", "pasted.cmd"], { cwd: site.root })
        )
      const status = yield* paste(advice["to look at it"])
      assert.include(status.stdout, "gateway default: running\n", `${advice["to look at it"]}\n${status.stderr}`)
      const stop = yield* paste(advice["to stop it"])
      assert.include(
        stop.stdout,
        `stopped gateway on ${Gateways.url(site)} `,
        `${advice["to stop it"]}\n${stop.stderr}`
      )
    }))
})
