import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Program from "./support/program.ts"
import * as Strangers from "./support/strangers.ts"

interface Case {
  readonly who: string
  readonly listen: (site: Gateways.Site) => Effect.Effect<Strangers.Stranger, never, Scope.Scope>
  /** Matches the text by which the error on stderr describes the listener's answer. */
  readonly answers: RegExp
}

const cases: ReadonlyArray<Case> = [
  { who: "a server that is not HTTP", listen: Strangers.babbling, answers: /^did not answer as HTTP \(.+\)$/ },
  {
    who: "a web server with other JSON",
    listen: (site) => Strangers.web(site, 200, "{\"hello\":\"world\"}"),
    answers: /^answered HTTP 200 to \/healthz, not as a gateway$/
  },
  {
    who: "a web server that is up, and no gateway",
    listen: (site) => Strangers.web(site, 200, "{\"ok\":true}"),
    answers: /^answered HTTP 200 to \/healthz, not as a gateway$/
  },
  {
    who: "a web server that knows no /healthz",
    listen: (site) => Strangers.web(site, 404, "<p>nothing here</p>"),
    answers: /^answered HTTP 404 to \/healthz, not as a gateway$/
  },
  {
    who: "a web server whose answer has no end in sight",
    listen: (site) => Strangers.web(site, 200, "x".repeat(4 * 1024 * 1024)),
    answers: /^answered HTTP 200 to \/healthz, not as a gateway$/
  },
  {
    who: "a listener that accepts and stalls",
    listen: Strangers.stalling,
    answers: /^gave no complete answer to \/healthz within 300ms$/
  },
  {
    who: "a server that drips bytes for ever",
    listen: Strangers.dripping,
    answers: /^gave no complete answer to \/healthz within 300ms$/
  }
]

describe("a start on a port that belongs to", () => {
  for (const { answers, listen, who } of cases) {
    it.scopedLive(`${who} is refused within the probe timeout, and writes nothing`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, { health: { probeTimeout: "300 millis" } })
        const stranger = yield* listen(site)

        const ended = yield* Gateways.within("15 seconds", Gateways.run(site))
        yield* stranger.visited
        Gateways.assertRefused(ended, `another gateway instance is already listening on ${Gateways.url(site)}`)
        const facts = Gateways.facts(ended)
        assert.match(facts["listener"] ?? "", answers)
        assert.strictEqual(facts["to identify it"], `gateway status ${Gateways.selectors(site)}`)
        // The test's own process runs the listener, so the error must name the test's pid.
        if (Program.isLinux) assert.match(facts["held by"] ?? "", new RegExp(`^pid ${process.pid} \\(\\S+\\)$`))
        assert.notProperty(facts, "to stop it")
        assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
      }))
  }

  it.scopedLive("a gateway that is not this one is refused, and told so", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      const instanceId = "0b5b7a5e-8f5c-4d0e-9d55-0123456789ab"
      yield* Strangers.web(site, 503, JSON.stringify({ ok: false, status: "draining", instanceId }))
      const ended = yield* Gateways.run(site)
      Gateways.assertRefused(ended, `another gateway instance is already listening on ${Gateways.url(site)}`)
      assert.match(Gateways.facts(ended)["listener"] ?? "", /^a gateway that answered HTTP 503 with status "draining"$/)
      assert.deepStrictEqual(yield* Gateways.namesIn(site.root), ["gateway.json"])
    }))

  it.scopedLive("a stranger leaves a dead gateway's lock files as they are", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.scoped(Effect.flatMap(Gateways.startListening(site), (first) => Gateways.stop(first, "SIGKILL")))
      const before = yield* Gateways.identityOf(Gateways.configLock(site))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Strangers.web(site, 200, "{}")
        const ended = yield* Gateways.run(site)
        Gateways.assertRefused(ended, `another gateway instance is already listening on ${Gateways.url(site)}`)
        if (Program.isLinux) assert.match(Gateways.facts(ended)["held by"] ?? "", new RegExp(`^pid ${process.pid} `))
        assert.deepStrictEqual(yield* Gateways.identityOf(Gateways.configLock(site)), before)
      }))
      yield* Gateways.startListening(site)
      assert.strictEqual((yield* Clients.request(site, "/readyz")).status, 200)
    }))

  it.scopedLive("a stranger that goes makes room at once", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      yield* Effect.promise(() => Fs.mkdir(site.stateDir))
      yield* Effect.scoped(Effect.zipRight(Strangers.babbling(site), Gateways.run(site)))
      yield* Gateways.startListening(site)
    }))
})
