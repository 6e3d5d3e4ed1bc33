/**
 * nginx as the command of `gateway exec`: a server of several processes, which gives signals a meaning of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Clients from "./support/clients.ts"
import * as Execs from "./support/execs.ts"
import * as Gateways from "./support/gateways.ts"
import * as Ports from "./support/ports.ts"
import * as Program from "./support/program.ts"

const skipped = (Program.isLinux ? undefined : "needs /proc") ?? Program.without("nginx")

/** A file that nginx sends slowly, for about two seconds. */
const slow = { size: 20_000, rate: 10_000 }

/** Writes a configuration in which nginx answers `/` with this text. All files of nginx are in the folder of the site. */
const configure = ({ port, root }: Gateways.Site, answer: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const path = Path.join(root, "nginx.conf")
    await Fs.writeFile(Path.join(root, "slow"), "x".repeat(slow.size))
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    await Fs.writeFile(
      path,
      [
        // As root, nginx would serve as another user, who may not read the folder of the site.
        ...(process.getuid?.() === 0 ? ["user root;"] : []),
        `pid ${root}/nginx.pid;`,
        "error_log stderr;",
        "worker_processes 2;",
        "events {}",
        "http {",
        "access_log off;",
        ...temporary.map((name) => `${name}_temp_path ${root}/${name};`),
        "server {",
        `listen 127.0.0.1:${port};`,
        `location = / { return 200 ${answer}; }`,
        `location = /slow { root ${root}; limit_rate ${slow.rate}; }`,
        "}",
        "}"
      ].join("\n")
    )
    return path
  })

/** Starts nginx in the foreground under `gateway exec`, and waits until it listens. */
const startNginx = (site: Gateways.Site) =>
  Effect.gen(function*() {
    const path = yield* configure(site, "first")
    const words = ["nginx", "-e", "stderr", "-p", site.root, "-c", path, "-g", "daemon off;"]
    const wrapper = yield* Execs.start(site, words, { flags: ["--ready", "port"] })
    yield* Execs.untilRecord(site, "the phase listening", ({ phase }) => phase === "listening")
    const { child } = yield* Gateways.readRecord(Gateways.configLock(site))
    const pid = yield* Execs.killLater(child?.pid ?? 0)
    assert.strictEqual((yield* Clients.request(site, "/")).body, "first")
    return { wrapper, pid }
  })

const assertRefused = (site: Gateways.Site) =>
  Effect.map(Execs.run(site, ["true"]), ({ code, stderr }) => assert.strictEqual(code, 75, stderr))

describe("nginx under gateway exec", () => {
  const test = (name: string, body: (site: Gateways.Site) => Effect.Effect<void, never, Scope.Scope>) =>
    it.scopedLive.skipIf(skipped !== undefined)(
      Program.named(name, skipped),
      () => Effect.flatMap(Gateways.newSite, body)
    )

  test("reads its configuration again on SIGHUP, and keeps the lock", (site) =>
    Effect.gen(function*() {
      const { pid, wrapper } = yield* startNginx(site)
      const before = yield* Gateways.lockIdentities(site)
      yield* configure(site, "second")
      yield* wrapper.signal("SIGHUP")
      yield* Execs.until(
        "the new configuration",
        Effect.map(Clients.request(site, "/"), ({ body }) => body === "second")
      )
      yield* assertRefused(site)
      assert.isFalse(yield* Execs.hasEnded(pid))
      assert.deepStrictEqual(yield* Gateways.lockIdentities(site), before)
      yield* Gateways.assertGone(site, yield* Gateways.stop(wrapper))
    }))

  test("finishes open requests on SIGQUIT", (site) =>
    Effect.gen(function*() {
      const { wrapper } = yield* startNginx(site)
      const connection = yield* Clients.connect(site)
      yield* connection.send("GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      yield* connection.received(/\r\n\r\nx/)
      yield* wrapper.signal("SIGQUIT")
      yield* Execs.until("the closed listener", Ports.isFree(site.port))
      yield* connection.received(new RegExp(`\r\n\r\nx{${slow.size}}$`))
      yield* Gateways.assertGone(site, yield* wrapper.ended)
    }))

  test("keeps the lock after SIGKILL of the wrapper, until stop ends it", (site) =>
    Effect.gen(function*() {
      const { pid, wrapper } = yield* startNginx(site)
      process.kill(wrapper.pid, "SIGKILL")
      yield* Execs.untilEnded(wrapper.pid)
      yield* assertRefused(site)
      assert.strictEqual((yield* Clients.request(site, "/")).body, "first")
      const stopped = yield* Gateways.run(site, { flags: ["stop"] })
      assert.strictEqual(stopped.code, 0, stopped.stderr)
      assert.isTrue(yield* Execs.hasEnded(pid))
      // The end of all output means that nginx's workers, which share the lock, have ended as well.
      assert.strictEqual((yield* wrapper.ended).signal, "SIGKILL")
      const next = yield* Execs.run(site, ["true"])
      assert.strictEqual(next.code, 0, next.stderr)
    }))
})
