/**
 * Tests the gateway with clients other than browsers, such as curl, Java and load balancers. Also tests the warning about ports
 * that browsers refuse.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Gateways from "./support/gateways.ts"
import * as Processes from "./support/processes.ts"
import * as Program from "./support/program.ts"

const run = (site: Gateways.Site, command: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(
    Processes.start(command, { cwd: site.root, env: { PATH: Program.searchPath, HOME: site.root } }),
    ({ ended }) => ended
  ))

const noCurl = Program.without("curl")
const noJava = Program.without("javac")

const javaClient = (port: number) => `
import java.net.URI;
import java.net.http.*;
public class Ask {
  public static void main(String[] args) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    for (String path : new String[] { "/healthz", "/readyz", "/nothing" }) {
      URI uri = URI.create("http://127.0.0.1:${port}" + path);
      HttpResponse<String> got = client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
      HttpResponse<String> posted = client.send(
        HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofString("body")).build(),
        HttpResponse.BodyHandlers.ofString());
      System.out.println(path + " " + got.version() + " " + got.statusCode() + " " + posted.statusCode());
    }
  }
}
`

describe("a client that asks for HTTP/2", () => {
  it.scopedLive.skipIf(noCurl !== undefined)(
    Program.named("is answered in HTTP/1.1: curl --http2, with and without a body", noCurl),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        const ask = (path: string, ...args: ReadonlyArray<string>) =>
          run(site, [
            "curl",
            "--silent",
            "--max-time",
            "5",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{http_code} %{num_connects}\n",
            ...args,
            `http://127.0.0.1:${site.port}${path}`,
            "--output",
            "/dev/null",
            `http://127.0.0.1:${site.port}${path}`
          ])
        for (const path of ["/healthz", "/readyz", "/", "/metrics", "/nothing"]) {
          for (const body of [[], ["--data", "body"]]) {
            const plain = yield* ask(path, ...body)
            assert.match(plain.stdout, /^1\.1 \d{3} 1\n1\.1 \d{3} 0\n$/)
            assert.deepStrictEqual(yield* ask(path, "--http2", ...body), plain, `${path} ${body.join(" ")}`)
          }
        }
        assert.match((yield* ask("/healthz", "--http2")).stdout, /^1\.1 200 1\n1\.1 200 0\n$/)
      })
  )

  it.scopedLive.skipIf(noJava !== undefined)(
    Program.named("is answered in HTTP/1.1: Java's HttpClient", noJava),
    () =>
      Effect.gen(function*() {
        const [site] = yield* Gateways.newGateway()
        yield* Effect.promise(() => Fs.writeFile(Path.join(site.root, "Ask.java"), javaClient(site.port)))
        const { code, stderr, stdout } = yield* run(site, ["java", "Ask.java"])
        assert.strictEqual(code, 0, stderr)
        assert.match(
          stdout,
          /^\/healthz HTTP_1_1 200 \d{3}\n\/readyz HTTP_1_1 200 \d{3}\n\/nothing HTTP_1_1 404 404\n$/
        )
      }),
    60_000
  )
})

describe("a connection without a request", () => {
  const sources = [
    ["5 seconds by default", 5, {}, {}],
    ["GATEWAY_KEEP_ALIVE_TIMEOUT", 2, { GATEWAY_KEEP_ALIVE_TIMEOUT: "2 seconds" }, {
      limits: { keepAliveTimeout: "60 seconds" }
    }],
    ["limits.keepAliveTimeout", 3, {}, { limits: { keepAliveTimeout: "3 seconds" } }]
  ] as const
  for (const [name, seconds, env, config] of sources) {
    it.scopedLive(`is kept for ${seconds} seconds, and closed then: ${name}`, () =>
      Effect.gen(function*() {
        const site = yield* Gateways.newSite
        yield* Gateways.writeConfig(site, config)
        yield* Gateways.startListening(site, { env })
        const client = yield* Clients.connect(site)
        yield* client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        const answer = yield* client.received(/live/)
        assert.match(answer, new RegExp(`keep-alive: timeout=${seconds}\\r\\n`, "i"))
        const [kept] = yield* Effect.timed(client.closed)
        assert.isAtLeast(Duration.toMillis(kept), seconds * 1000 - 50)
        // Node 24 and later keep an idle connection one second longer than the configured time.
        assert.isBelow(Duration.toMillis(kept), seconds * 1000 + 2500)
      }))
  }

  it.scopedLive("may not be kept for ever", () =>
    Effect.gen(function*() {
      const site = yield* Gateways.newSite
      for (const raw of ["0 seconds", "500 millis", "2 days", "5"]) {
        const { code, stderr } = yield* Gateways.run(site, { env: { GATEWAY_KEEP_ALIVE_TIMEOUT: raw } })
        assert.notStrictEqual(code, 0)
        assert.include(stderr, "invalid keep-alive timeout")
      }
    }))
})

describe("a port that browsers refuse", () => {
  const bad = (site: Gateways.Site) => ({ ...site, port: 6667 })

  it.scopedLive("is warned of once the gateway listens there, and not where another one does", () =>
    Effect.gen(function*() {
      const site = bad(yield* Gateways.newSite)
      const gateway = yield* Gateways.startListening(site)
      const refused = yield* Gateways.run(site)
      assert.notInclude(refused.stderr, "browsers refuse")
      const { stderr } = yield* Gateways.stop(gateway)
      assert.strictEqual(Gateways.count(stderr, /level=WARN .*browsers refuse port 6667/), 1, stderr)
      assert.isBelow(stderr.indexOf("gateway listening"), stderr.indexOf("browsers refuse"))
      assert.include(stderr, "--port 6670")
    }))
})
